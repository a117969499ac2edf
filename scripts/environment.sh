# Sourced by quickstart.sh and run_tests.sh: makes the virtual environment .venv in the project's folder, installs
# BasicSR and the project into it, and sets $python. Nothing is done again unless the list of packages has changed.

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3.14 python3.10 python3; do
        [ -n "$candidate" ] || continue
        "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null || continue
        echo "$candidate"
        return
    done
    echo "Python 3.10 to 3.14 is needed and none was found; set PYTHON to one." >&2
    return 1
}

make_environment() {
    local found
    found=$(find_python) || exit 1
    echo "Making the environment .venv with $found"
    if "$found" -c 'import ensurepip' 2>/dev/null; then
        "$found" -m venv "$root/.venv" || exit 1
    else  # Debian and Ubuntu keep pip in a package of its own, which only root can install
        "$found" -m venv --without-pip "$root/.venv" && "$python" "$root/scripts/get_pip.py" || exit 1
    fi
}

prepare_environment() {
    local stamp="$root/.venv/installed.cksum"
    python="$root/.venv/bin/python"
    "$python" -m pip --version > /dev/null 2>&1 || make_environment
    if ! cat "$root/pyproject.toml" "$root/mirage_ir/install_basicsr.py" | cksum | cmp -s - "$stamp"; then
        echo "Installing the project and what it needs (PyTorch is large: some minutes)"
        "$python" "$root/mirage_ir/install_basicsr.py" || exit 1
        "$python" -m pip install -qq -e "$root[dev]" || exit 1
        cat "$root/pyproject.toml" "$root/mirage_ir/install_basicsr.py" | cksum > "$stamp"
    fi
}
