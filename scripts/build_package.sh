#!/usr/bin/env bash
# Build the wheel and the source archive into dist/, in an environment of their own, and see that the wheel is complete.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
environment=$(mktemp -d)
trap 'rm -rf "$environment"' EXIT
"${PYTHON:-python3}" -m venv "$environment"
"$environment/bin/python" -m pip install -q build
"$environment/bin/python" -m build --outdir dist .
"$environment/bin/python" - <<'PYTHON'
import glob, zipfile
names = zipfile.ZipFile(max(glob.glob('dist/*.whl'))).namelist()
needed = ['mirage_restore/weights/mirage_nano.safetensors', 'mirage_web/static/index.html', 'mirage_web/examples/rain.jpg']
missing = [name for name in needed if name not in names]
foreign = [name for name in names if name.startswith(('basicsr/', 'tests/', 'research/'))]
raise SystemExit(f'missing in the wheel: {missing}; foreign: {foreign}' if missing or foreign else None)
PYTHON
