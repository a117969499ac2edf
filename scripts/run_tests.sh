#!/usr/bin/env bash
# Install into .venv if needed, check the style and the types, run every test. Arguments go to pytest.
# One worker for each core, eight at most; the tests of a file stay together, as they share what they made.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/scripts/environment.sh"
prepare_environment
cd "$root"
"$python" -m ruff check . || exit 1
"$python" -m ruff format --check --quiet . || { echo "Run: $python -m ruff format ." >&2; exit 1; }
"$python" -m mypy || exit 1
cores=$(nproc)
exec "$python" -m pytest -n $((cores < 8 ? cores : 8)) --dist loadfile "$@"
