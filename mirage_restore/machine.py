"""The machine: its memory, its threads, and lines for its terminal. Imports nothing that takes time."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mirage_data.files.image_headers import harmless

if TYPE_CHECKING:
    import torch

__all__ = ['available_bytes', 'available_in_machine', 'bound_spinning', 'ending_when_unread', 'harmless', 'say']

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


class _UntilUnread:
    """A stream that ends the program once nobody reads it, or nothing can be written to it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._ending():
            return self._stream.write(text)

    def flush(self) -> None:
        with self._ending():
            self._stream.flush()

    @contextlib.contextmanager
    def _ending(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            unread = isinstance(error, BrokenPipeError)
            if not unread:  # a full disk
                print(f'standard output: {error.strerror or error}', file=sys.stderr)
            with contextlib.suppress(OSError, ValueError):  # what is still in its buffer goes nowhere
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            raise SystemExit(UNREAD if unread else 1) from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


UNREAD = 141
"""Exit code of a command whose reader has closed, `| head` for example: what a shell gives for SIGPIPE."""


@contextlib.contextmanager
def ending_when_unread() -> Iterator[None]:
    """Inside the block, a program whose standard output nobody reads any more ends quietly with `UNREAD`.

    `SystemExit` and not an error, which the work that prints might take for one of its own.
    """
    stream = _UntilUnread(sys.stdout)
    with contextlib.redirect_stdout(stream):
        try:
            yield
        finally:
            stream.flush()
