# Sourced by quickstart.sh and run_tests.sh: makes the virtual environment .venv in the project's folder, installs the
# project into it, and sets $python. Nothing is done again unless setup.py has changed.

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.12 python3.11 python3.10 python3; do
        [ -n "$candidate" ] || continue
        "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null || continue
        echo "$candidate"
        return
    done
    echo "Python 3.10, 3.11 or 3.12 is needed (BasicSR cannot be built on 3.13); set PYTHON to one." >&2
    return 1
}

prepare_environment() {
    local found stamp
    python="$root/.venv/bin/python"
    stamp="$root/.venv/installed.cksum"
    if [ ! -x "$python" ]; then
        found=$(find_python) || exit 1
        echo "Making the environment .venv with $found"
        "$found" -m venv "$root/.venv" || exit 1
    fi
    if ! cksum < "$root/setup.py" | cmp -s - "$stamp"; then
        echo "Installing the project and what it needs (PyTorch is large: some minutes)"
        "$python" -m pip install --quiet -e "$root[dev]" || exit 1
        cksum < "$root/setup.py" > "$stamp"
    fi
}
