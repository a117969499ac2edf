"""The tests for a GPU are run nowhere without one; here a CPU goes through some, so that they stay in step."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARITY = 'layout or dynamic or norm_and or bytes or (outputs and lively and 40)'
OTHERS = '(six_steps and freeze) or (nan and eager and lq) or (a_cpu and 61)'


def test_a_cpu_passes_those_that_do_not_need_a_card():
    command = [
        sys.executable,
        '-m',
        'pytest',
        '-q',
        '-p',
        'no:cacheprovider',
        'tests/gpu',
        '-k',
        f'{PARITY} or {OTHERS}',
    ]
    environment = {**os.environ, 'MIRAGE_GPU_TESTS': 'cpu'}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert done.stdout.splitlines()[0].count('.') >= 15, done.stdout
