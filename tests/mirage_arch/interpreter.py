"""Python in a process of its own, where Triton's interpreter can be switched on: that is read once, at its import."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent


def run_python(code_or_file, **environment):
    """What a piece of code or a file prints."""
    path = os.pathsep.join([str(HERE.parents[1]), os.environ.get('PYTHONPATH', '')])
    command = [sys.executable] + ([str(code_or_file)] if isinstance(code_or_file, Path) else ['-c', code_or_file])
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, env={**os.environ, 'PYTHONPATH': path, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def version(name):
    return tuple(int(part) for part in importlib.metadata.version(name).split('.')[:2])


def interpret(name):
    """The JSON that a file beside this one prints with the kernels in Triton's interpreter."""
    if version('triton') < (3, 7) and tuple(int(part) for part in np.__version__.split('.')[:2]) >= (2, 4):
        pytest.skip('the interpreter of this Triton does not work with this NumPy')
    return json.loads(run_python(HERE / name, TRITON_INTERPRET='1', MIRAGE_TRITON='1'))
