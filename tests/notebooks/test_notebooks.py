"""Every notebook runs from top to bottom, in a process of its own as a person's kernel is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / 'notebooks').glob('*.ipynb'))


def test_there_is_a_notebook():
    assert NOTEBOOKS


@pytest.mark.parametrize('notebook', NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_a_cpu(notebook, tmp_path):
    cells = json.loads(notebook.read_text())['cells']
    assert not any(cell.get('outputs') for cell in cells), 'outputs are not committed'
    code = '\n\n'.join(''.join(cell['source']) for cell in cells if cell['cell_type'] == 'code')
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize('notebook', NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_valid(notebook):
    nbformat = pytest.importorskip('nbformat', reason='needs nbformat')
    nbformat.validate(nbformat.read(notebook, as_version=4))
