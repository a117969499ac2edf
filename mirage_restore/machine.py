"""The machine: its memory, its threads, and lines for its terminal. Imports nothing that takes time."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from mirage_data.files.image_headers import harmless

if TYPE_CHECKING:
    import torch

__all__ = ['available_bytes', 'available_in_machine', 'bound_spinning', 'harmless', 'say']

_CGROUP = Path('/sys/fs/cgroup')  # the limit of a container


def available_bytes(device: torch.device) -> float:
    """Memory that can be taken on a device without swapping; infinity where the system does not tell."""
    if device.type == 'cuda':
        import torch  # not needed to read photographs

        return torch.cuda.mem_get_info(device)[0] + (
            torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        )
    return available_in_machine()


def available_in_machine() -> float:
    """Memory in bytes that the processor can take without swapping; infinity where the system does not tell."""
    return min(_memory_of_machine(), _memory_of_container())


def _memory_of_machine() -> float:
    try:
        for line in Path('/proc/meminfo').read_text().splitlines():
            if line.startswith('MemAvailable:'):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux
    return math.inf


def _memory_of_container() -> float:
    try:
        limit = (_CGROUP / 'memory.max').read_text().strip()
        used = int((_CGROUP / 'memory.current').read_text())
        return math.inf if limit == 'max' else int(limit) - used
    except (OSError, ValueError):
        return math.inf


#: Turns of a waiting thread's loop, a fraction of a millisecond: longer than from one operation to the next, short
#: beside what another program that wants the core gets at a time. Left alone, GNU's OpenMP turns for milliseconds at
#: every barrier.
SPIN_TURNS = 5000


def bound_spinning() -> None:
    """Lets OpenMP's threads spin briefly and then sleep, unless the environment says how they shall wait.

    Called by the commands and launchers before anything imports torch; afterwards it would have no effect, and nothing
    is changed. ``OMP_WAIT_POLICY``, ``GOMP_SPINCOUNT`` and ``KMP_BLOCKTIME`` of the environment stay as they are.
    """
    if 'torch' in sys.modules or 'OMP_WAIT_POLICY' in os.environ:
        return
    os.environ.setdefault('GOMP_SPINCOUNT', str(SPIN_TURNS))  # GNU's: PyTorch for Linux
    os.environ.setdefault('KMP_BLOCKTIME', '1')  # LLVM's and Intel's, in milliseconds (200 by themselves): the others


def say(text: str, stream: TextIO | None = None) -> None:
    """Print a line, escaping what the stream's encoding does not have; above a progress bar if there is one."""
    stream = stream or sys.stdout
    line = harmless(text)
    encoding = getattr(stream, 'encoding', None) or 'utf-8'
    line = line.encode(encoding, 'backslashreplace').decode(encoding)
    if 'tqdm' in sys.modules:
        from tqdm import tqdm

        tqdm.write(line, file=stream)
    else:
        print(line, file=stream, flush=True)
