#!/usr/bin/env bash
# Build the site into site/, in an environment of its own unless mkdocs is there; a broken link ends it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
if ! "$python" -c 'import material, mkdocstrings_handlers.python' 2> /dev/null; then
    environment=$(mktemp -d)
    trap 'rm -rf "$environment"' EXIT
    "$python" -m venv "$environment"
    python="$environment/bin/python"
    "$python" -m pip install -q mkdocs-material 'mkdocstrings[python]'
fi
"$python" -m mkdocs build --strict --quiet
