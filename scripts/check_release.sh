#!/usr/bin/env bash
# Builds the release, checks it as PyPI does, and tries the wheel in an environment that has nothing else of the project:
# registers, restores, exports, and runs every console command.
#
#   bash scripts/check_release.sh [PYTHON]      the wheel and the sdist are in dist/ afterwards; nothing is uploaded
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${1:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$python" -m venv "$folder/tools"
"$folder/tools/bin/pip" install --quiet build twine
rm -rf "$root/dist"
"$folder/tools/bin/python" -m build --outdir "$root/dist" "$root" > "$folder/build.log" 2>&1 || { tail "$folder/build.log"; exit 1; }
"$folder/tools/bin/twine" check --strict "$root"/dist/*
"$python" - "$root"/dist/*.whl "$root/mirage_restore/weights" <<'PYTHON'
import pathlib, sys, zipfile
names = zipfile.ZipFile(sys.argv[1]).namelist()
needed = ['mirage_web/static/index.html', 'mirage_web/examples/rain.jpg']
needed += [f'mirage_restore/weights/{file.name}' for file in pathlib.Path(sys.argv[2]).iterdir()]
missing = [name for name in needed if name not in names]
foreign = [name for name in names if name.startswith(('basicsr/', 'tests/', 'research/'))]
raise SystemExit(f'missing in the wheel: {missing}; foreign: {foreign}' if missing or foreign else None)
PYTHON

"$python" -m venv "$folder/empty"
bin=$folder/empty/bin
"$bin/python" "$root/mirage_ir/install_basicsr.py"
"$bin/pip" install --quiet "$(echo "$root"/dist/*.whl)[export]"
"$bin/python" "$root/mirage_ir/install_basicsr.py"
cd "$folder"  # nothing of the checkout can be imported from here
"$bin/python" - <<'PYTHON'
import numpy as np
import mirage_ir
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY
from mirage_restore import Restorer
from PIL import Image

assert 'site-packages' in mirage_ir.__file__, mirage_ir.__file__
for registry, name in ((ARCH_REGISTRY, 'MIRAGEArch'), (MODEL_REGISTRY, 'MIRAGEModel'), (LOSS_REGISTRY, 'FourierLoss'),
                       (DATASET_REGISTRY, 'MixedDegradationDataset'), (METRIC_REGISTRY, 'psnr_float')):
    assert name in registry, name
picture = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
for model in (None, 'auto'):
    assert Restorer(device='cpu', model=model)(picture).shape == picture.shape
Image.fromarray(picture).save('picture.png')
PYTHON
"$bin/mirage-restore" picture.png -o restored > /dev/null
"$bin/python" -c "from importlib.metadata import entry_points as e; print(*(x.name for x in e(group='console_scripts') if x.name.startswith('mirage')))" > names
for name in $(cat names); do
    "$bin/$name" --help > /dev/null
done
"$bin/python" - > /dev/null <<'PYTHON'
from mirage_ir.cli import COMMANDS, main

for name, *_ in COMMANDS:
    try:
        main([name, '--help'])
    except SystemExit as end:
        assert not end.code, name
PYTHON
"$bin/mirage-basicsr" doctor
weights=$("$bin/python" -c 'from mirage_restore.bundled import bundled_weights; print(bundled_weights())')
"$bin/mirage-basicsr" export "$weights" network.onnx
echo "passed: $(ls "$root/dist" | tr '\n' ' ')"
