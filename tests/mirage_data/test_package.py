import subprocess
import sys
from pathlib import Path

import mirage_data

ROOT = Path(__file__).resolve().parents[2]


def run(code):
    return subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_every_public_name_is_there_and_none_needs_basicsr():
    code = 'import sys, mirage_data; [getattr(mirage_data, name) for name in mirage_data.__all__]; print(*sys.modules)'
    modules = run(code).split()
    assert 'mirage_data.datasets.synthetic' in modules
    assert not {'basicsr', 'torchvision', 'mirage_ir', 'mirage_arch', 'mirage_losses'} & set(modules)


def test_reading_and_writing_files_does_not_load_torch():
    modules = run(
        'import sys, mirage_data.files.lmdb, mirage_data.files.pairing, mirage_data.sets.table; print(*sys.modules)'
    )
    assert 'torch' not in modules.split()


def test_unknown_names_are_attribute_errors():
    assert not hasattr(mirage_data, 'Dataset')
    assert set(mirage_data.__all__) <= set(dir(mirage_data))
