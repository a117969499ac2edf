"""What the OpenMP of PyTorch is told, and when; `OMP_DISPLAY_ENV` makes it say what it has read."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch

import mirage_ir  # noqa: F401
from mirage_ir.compat import worker_init_fn
from mirage_restore.machine import SPIN_TURNS

ROOT = Path(__file__).resolve().parents[2]
GNU = sys.platform == 'linux' and 'libgomp' in Path('/proc/self/maps').read_text()
COMMANDS = {
    'launcher': [str(ROOT / 'basicsr' / 'train.py'), '--help'],
    'mirage-basicsr': ['-c', 'from mirage_ir.cli import main; main(["check", "absent.yml"])'],
    'mirage-restore': ['-c', 'from mirage_restore.cli import main; main(["absent.png"])\nimport torch'],
}


def told(arguments, **environment):
    """What GNU's OpenMP says of its spinning in a new process."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(('OMP_', 'GOMP_', 'KMP_'))}
    environment = {**inherited, 'PYTHONPATH': str(ROOT), 'OMP_DISPLAY_ENV': 'VERBOSE', **environment}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)
    lines = [line.partition('GOMP_SPINCOUNT = ')[2] for line in done.stderr.splitlines() if 'GOMP_SPINCOUNT' in line]
    assert lines, done.stderr[-2000:]
    return {line.strip(" '") for line in lines}


@pytest.mark.skipif(not GNU, reason='another OpenMP than that of GNU')
@pytest.mark.parametrize('command', COMMANDS)
def test_waiting_threads_spin_briefly(command):
    assert told(COMMANDS[command]) == {str(SPIN_TURNS)}


@pytest.mark.skipif(not GNU, reason='another OpenMP than that of GNU')
def test_who_says_how_to_wait_is_heeded():
    assert told(COMMANDS['launcher'], GOMP_SPINCOUNT='7') == {'7'}
    assert told(COMMANDS['launcher'], OMP_WAIT_POLICY='PASSIVE') == {'0'}
    assert told(['-c', 'import torch, mirage_ir']) != {str(SPIN_TURNS)}  # too late, so nothing is changed


class ThreadCounts(torch.utils.data.Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return torch.get_num_threads(), cv2.getNumThreads()


def test_a_worker_has_one_thread_of_each_kind():
    def init(worker):
        worker_init_fn(worker, num_workers=1, rank=0, seed=0)

    options = {'num_workers': 1, 'worker_init_fn': init, 'multiprocessing_context': 'fork'}
    ((torch_threads, cv2_threads),) = torch.utils.data.DataLoader(ThreadCounts(), **options)
    assert torch_threads.item() == 1 and cv2_threads.item() <= 1
