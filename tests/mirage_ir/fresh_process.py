"""Runs pieces of code, each in a process that has imported nothing of BasicSR or of this project.

Importing torch and its company takes seconds, and none of it is under test: one process imports that once and then
forks for every piece.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_SERVER = """
import json, os, sys, traceback
import cv2, numpy, scipy.linalg, scipy.special, torch, torch.utils.data, torchvision.models, yaml
import torch.utils.tensorboard, skimage.metrics
torch.set_num_threads(1)
pieces = json.load(sys.stdin)
assert not any(name.partition('.')[0] in ('basicsr', 'mirage_ir', 'mirage_arch') for name in sys.modules)
answers = {}
for name, code in pieces.items():
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        status = 0
        try:
            exec(compile(code, name, 'exec'), {'__name__': 'piece'})
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    answers[name] = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text]
print('ANSWERS' + json.dumps(answers))
"""


def run_pieces(pieces: Mapping[str, str], folder: Path) -> dict[str, tuple[int, str]]:
    """Exit code and output of every piece of code.

    Args:
        pieces: Code by name.
        folder: Current directory of the processes, which is not on their import path; the project's root is.
    """
    done = subprocess.run(
        [sys.executable, '-c', _SERVER],
        input=json.dumps(pieces),
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHONSAFEPATH': '1'},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name: tuple(answer) for name, answer in json.loads(done.stdout.partition('ANSWERS')[2]).items()}
