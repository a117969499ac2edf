"""The wheel alone, in an empty folder: registers, restores, helps, and names no file that it does not bring."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
CHECKOUT_ONLY = re.compile(r'\b(?:scripts|research|tests)/[\w./-]*\w\.\w+')

# in one process, because each import of BasicSR takes seconds
USE = """
import contextlib, io, sys
import mirage_ir, mirage_web.cli
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY
from mirage_data.sets.table import all_data_sets
from mirage_ir import cli
from mirage_ir.measuring.tables import published_tables
from mirage_restore import cli as restore

assert mirage_ir.__file__.startswith(sys.argv[1]), mirage_ir.__file__
for registry, name in ((ARCH_REGISTRY, 'MIRAGEArch'), (MODEL_REGISTRY, 'MIRAGEModel'), (LOSS_REGISTRY, 'FourierLoss'),
                       (DATASET_REGISTRY, 'MixedDegradationDataset'), (METRIC_REGISTRY, 'psnr_float')):
    assert name in registry, name
assert len(all_data_sets()) > 20 and published_tables()
helps = [(cli.main, [name, '--help']) for name, _, _ in cli.COMMANDS]
for main, words in [*helps, (cli.main, ['--help']), (restore.main, ['--help']), (mirage_web.cli.main, ['--help'])]:
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown):
            main(words)
    except SystemExit as ended:
        assert not ended.code and 'usage' in shown.getvalue(), (words, ended.code)
assert cli.main(['prepare', '--list']) == 0
sys.exit(restore.main(['picture.png', '-o', 'restored', '--device', 'cpu']))
"""

ALONE = """
import sys
sys.modules.update(dict.fromkeys({others}))  # they cannot be imported
from mirage_restore.cli import main
sys.exit(main(['picture.png', '-o', 'restored', '--device', 'cpu']))
"""


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """A folder with what pip puts into site-packages, built from a copy that leaves no traces in the checkout."""
    folder = tmp_path_factory.mktemp('wheel')
    source, target = folder / 'source', folder / 'target'
    source.mkdir()
    for path in [*ROOT.glob('mirage_*'), *(ROOT / n for n in ('pyproject.toml', 'setup.py', 'README.md', 'LICENSE'))]:
        if path.is_dir() and not path.name.endswith('.egg-info'):
            shutil.copytree(path, source / path.name, ignore=shutil.ignore_patterns('__pycache__'))
        elif path.is_file():
            shutil.copy(path, source)
    build = 'import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))'
    done = subprocess.run([sys.executable, '-c', build, folder], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    install = [sys.executable, '-m', 'pip', 'install', '-qq', '--no-deps', '--no-index', '--no-compile']
    subprocess.run([*install, '--target', target, folder / done.stdout.split()[-1]], check=True)
    return target


def run(installed, empty, command):
    env = {**os.environ, 'PYTHONPATH': str(installed), 'OMP_NUM_THREADS': '1'}
    return subprocess.run(command, cwd=empty, env=env, capture_output=True, text=True)


def test_it_registers_helps_and_restores(installed, tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'picture.png'), picture)
    done = run(installed, tmp_path, [sys.executable, '-c', USE, str(installed)])
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    assert cv2.imread(str(tmp_path / 'restored' / 'picture.png')).shape == picture.shape
    assert 'rain100l' in done.stdout


def test_the_console_commands_are_there(installed, tmp_path):
    assert {'mirage-basicsr', 'mirage-restore', 'mirage-web'} <= {path.name for path in (installed / 'bin').iterdir()}
    done = run(installed, tmp_path, [installed / 'bin' / 'mirage-restore', '--help'])
    assert done.returncode == 0 and 'usage: mirage-restore' in done.stdout


def test_photographs_need_only_what_the_install_page_names(installed, tmp_path):
    page = (ROOT / 'docs' / 'install.md').read_text().split('**Only restoring photographs**')[1]
    modules = {'cv2': 'opencv-python-headless', 'PIL': 'pillow', 'pyvips': 'pyvips[binary]', 'yaml': 'pyyaml'}
    others = [
        name
        for name in (*modules, 'basicsr', 'torchvision', 'lmdb', 'av', 'safetensors', 'tqdm')
        if f'`{modules.get(name, name)}`' not in page.split('`mirage-restore`')[0]
    ]
    cv2.imwrite(str(tmp_path / 'picture.png'), np.full((16, 16, 3), 90, np.uint8))
    done = run(installed, tmp_path, [sys.executable, '-c', ALONE.format(others=others)])
    assert done.returncode == 0, done.stderr[-3000:]
    assert {'basicsr', 'lmdb', 'av'} <= set(others) and (tmp_path / 'restored' / 'picture.png').is_file()


def docstrings(tree):
    """The nodes of all docstrings."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    holders = [node for node in ast.walk(tree) if isinstance(node, kinds) and ast.get_docstring(node, clean=False)]
    return {id(node.body[0].value) for node in holders}


def test_no_message_names_a_file_that_only_a_checkout_has(installed):
    found, messages = [], 0
    for path in installed.glob('mirage_*/**/*.py'):
        tree = ast.parse(path.read_text(encoding='utf-8'))
        silent = set() if path.parent.name == 'commands' else docstrings(tree)  # those of commands are shown by --help
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
                messages += 1
                found += [f'{path.name}:{node.lineno}: {name}' for name in CHECKOUT_ONLY.findall(node.value)]
    assert messages > 5000
    assert not found
