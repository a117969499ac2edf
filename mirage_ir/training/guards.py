"""What keeps a run safe: one run of a name at a time, orderly stops, and the end when a loss explodes."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .ranks import RunError, largest_of_all_ranks
from .state import atomic_torch_save

IMPATIENCE_SECONDS = 2.0
"""A second Ctrl-C later than this ends the run at once; torchrun repeats the first one sooner."""

COMPILING_SECONDS = 8.0
"""A stop signal that arrives while the network is compiled, and that is not heeded for so long, ends the process.

The compiler's own processes are mostly signalled with it, die of it, and leave the trainer waiting for them for ever.
"""


class StopSignal:
    """Remembers a signal until the training loop asks for it, between two iterations.

    Before `arm` is called, while a run is still being set up, there is nothing to save and a signal ends it at once.
    Forked DataLoader workers inherit the handlers; `mirage_ir.compat.worker_init_fn` puts theirs back.
    """

    def __init__(self) -> None:
        self._received = 0
        self._since = 0.0
        self._armed = False
        self._compiling = False
        self._previous: dict[int, Any] = {}

    def arm(self) -> None:
        """Remember signals from now on."""
        self._armed = True

    def compiling(self, *, now: bool) -> None:
        """Tell whether a step is under way that may compile the network.

        If a signal has arrived meanwhile, `received` answers it as ever.
        """
        self._compiling = now

    def _leave_if_stuck(self, number: int) -> None:
        deadline = time.monotonic() + COMPILING_SECONDS
        while time.monotonic() < deadline:
            if not self._compiling:
                return
            time.sleep(0.1)
        os.write(
            2,
            b'The network was being compiled, and what compiles it was stopped, too: ended without saving. '
            b'To go on from the last state, give the same command with --auto_resume.\n',
        )
        os._exit(128 + number)

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is not threading.main_thread():
            return self  # python hands signals to the main thread only
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if not self._armed:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        impatient = time.monotonic() - self._since > IMPATIENCE_SECONDS
        if self._received and number == signal.SIGINT and impatient:
            raise KeyboardInterrupt
        if not self._received:
            self._received, self._since = number, time.monotonic()
            # The loader's workers get the signal, too. Whether or when they end no longer matters: all that is left to
            # do is to save, and PyTorch's complaint about a worker would come in between.
            if hasattr(signal, 'SIGCHLD'):
                signal.signal(signal.SIGCHLD, lambda *_: None)
            # os.write, because a print that was interrupted must not be entered again
            if self._compiling:
                threading.Thread(target=self._leave_if_stuck, args=(number,), daemon=True).start()
            os.write(2, b'\nStopping after this iteration or validation; Ctrl-C again stops at once, without saving.\n')

    @property
    def pending(self) -> bool:
        """Whether this process has received a signal; unlike `received` without asking the other ranks."""
        return bool(self._received)

    def received(self) -> int:
        """Return the number of the signal that any rank has received, or 0; every rank must ask."""
        return largest_of_all_ranks(self._received)


class NonFiniteError(RunError):
    """A loss or a gradient became NaN or infinite."""


def stop_run(
    batch: Mapping, losses: Mapping[str, float], iteration: int, folder: str, *, rank: int = 0, world_size: int = 1
) -> None:
    """Saves the batch that made a loss explode and raises; every rank must call it.

    Args:
        batch: What the model was fed: 'lq' and 'gt' tensors (b, c, h, w), 'lq_path' and other lists of b entries.
        losses: Values by log name, the gradient's norm included.
        iteration: Number of the step that is not taken.
        folder: Experiment folder; receives ``nonfinite_<iteration>_rank<rank>.pt``.
        rank: Rank of this process.
        world_size: Number of processes.

    Raises:
        NonFiniteError: Always; the same message on all ranks.
    """
    path = os.path.join(folder, f'nonfinite_{iteration}_rank{rank}.pt')
    content = {key: value.cpu() if torch.is_tensor(value) else value for key, value in batch.items()}
    report = _describe_batch(batch)
    try:
        atomic_torch_save({'iteration': iteration, 'losses': dict(losses), 'batch': content}, path)
    except RunError as error:  # the other ranks are waiting for this one's report
        report += f'\n  This batch could not be saved: {error}'
    if world_size > 1:
        reports: list = [None] * world_size
        dist.all_gather_object(reports, report)
        report = '\n'.join(f'rank {number}:\n{text}' for number, text in enumerate(reports))
    values = ', '.join(f'{name} = {value:g}' for name, value in losses.items())
    raise NonFiniteError(
        f'iteration {iteration}: a loss or its gradient is not finite ({values}). The run stops before the step: '
        f'the weights and the last checkpoint are as good as they were.\n{report}\n'
        f'The batch is saved in {os.path.join(folder, f"nonfinite_{iteration}_rank*.pt")} (torch.load it and look at '
        'batch["lq"], batch["gt"]). Then leave the image out or repair it, lower optim_g: lr, set grad_clip, or with '
        'amp: fp16 try bf16; and go on with --auto_resume.'
    )


def _describe_batch(batch: Mapping) -> str:
    """One line for each sample: its path, and which of its images hold a non-finite value."""
    lines = []
    for index in range(len(batch['lq'])):
        bad = [key for key in ('lq', 'gt') if key in batch and not _finite(batch[key][index])]
        note = f'  <- non-finite values in {" and ".join(bad)}' if bad else ''
        lines.append(f'  {_entry(batch, "lq_path", index)}{note}')
    return '\n'.join(lines)


def _entry(batch: Mapping, key: str, index: int) -> str:
    values = batch.get(key)
    return str(values[index]) if values is not None else f'sample {index} of the batch (its data set gives no {key})'


def _finite(image: Tensor) -> bool:
    return bool(torch.isfinite(image).all())


if sys.platform != 'win32':  # which has no flock: there the second run is not noticed
    import fcntl

GRACE_SECONDS = 5.0
"""A killed run may take this long to disappear; its successor waits instead of giving up."""


class RunLock:
    """An exclusive lock on an experiment folder, given back by the kernel however the process ends.

    The file stands beside the folder, which may be renamed while the run starts. Forked DataLoader workers close it,
    or they would hold the lock after their parent was killed.

    Args:
        folder: The experiment folder; only its parent has to exist when `acquire` is called.
    """

    def __init__(self, folder: str):
        parent, name = os.path.split(os.path.abspath(folder))
        self.folder = folder
        self.path = os.path.join(parent, f'.{name}.lock')
        self._descriptor: int | None = None
        if hasattr(os, 'register_at_fork'):
            os.register_at_fork(after_in_child=self.release)

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            RunError: If another process holds it, or the file cannot be written.
        """
        if sys.platform == 'win32':
            return
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunError(
                f'Cannot write to {os.path.dirname(self.path)}: {error.strerror}. Experiments are kept there: '
                'give the folder write permission, or start the run from a project folder that has it.'
            ) from error
        deadline = time.monotonic() + GRACE_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    holder = os.read(descriptor, 200).decode(errors='replace').strip()
                    os.close(descriptor)
                    raise RunError(
                        f'{self.folder} is in use by another run ({holder or "unknown process"}). Wait for it, stop '
                        'it, or give this run another name (`name:` in the option file).'
                    ) from None
                time.sleep(0.1)
            except OSError:  # a file system without locks, such as some Lustre mounts: go on unprotected
                os.close(descriptor)
                return
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f'process {os.getpid()} on {socket.gethostname()}, since {time.ctime()}\n'.encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Close the lock file; in a forked child this leaves the parent's lock as it is."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
