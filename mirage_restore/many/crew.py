"""Workers as processes of this machine or as actors of Ray: give each a task, hear what became of it."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import re
from collections.abc import Hashable
from typing import Protocol

from .worker import Outcome, Setup, Task, Worker

__all__ = ['Crew', 'Processes', 'RayActors', 'parse_devices']


class Crew(Protocol):
    """Workers by key. A worker is told of by `wait` for the first time when it is ready."""

    def give(self, worker: Hashable, task: Task) -> None:
        """Let an idle worker do a task."""

    def wait(self, seconds: float) -> list[tuple[Hashable, Outcome | None]]:
        """(worker, outcome) of those that answered; None for one that died. Empty when the time is over."""

    def replace(self, worker: Hashable) -> None:
        """Start another in the place of one that died."""

    def close(self) -> None:
        """End all workers."""


def parse_devices(text: str) -> list[str]:
    """Devices of ``0,1``, ``cuda:0,cuda:1``, ``cpu,cpu`` or ``cpu x 4``.

    Raises:
        ValueError: Something else.
    """
    devices = []
    for part in text.split(','):
        found = re.fullmatch(r'\s*(\d+|cpu|mps|cuda(?::\d+)?)\s*(?:[x*]\s*(\d+))?\s*', part)
        if found is None or found[2] == '0':
            raise ValueError(f"--devices takes GPUs such as '0,1', or 'cpu x 4', got {text!r}")
        device = f'cuda:{found[1]}' if found[1].isdigit() else found[1]
        devices += [device] * int(found[2] or 1)
    return devices


def _serve(pipe: multiprocessing.connection.Connection, setup: Setup, device: str) -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    try:
        worker = Worker(setup, device)
    except ValueError as error:
        pipe.send(error)
        return
    with contextlib.suppress(EOFError, BrokenPipeError):  # the parent closed its end: the work is done
        pipe.send(worker.ready())
        while True:
            pipe.send(worker.work(pipe.recv()))


class Processes:
    """A process for each device of this machine.

    Args:
        setup: How they restore.
        devices: See `parse_devices`.
    """

    def __init__(self, setup: Setup, devices: list[str]) -> None:
        self._setup, self._devices = setup, devices
        self._context = multiprocessing.get_context('spawn')
        self._running: dict[int, tuple] = {}
        for number in range(len(devices)):
            self.replace(number)

    def give(self, worker: int, task: Task) -> None:
        """See `Crew`."""
        with contextlib.suppress(OSError):  # it died: `wait` tells
            self._running[worker][1].send(task)

    def wait(self, seconds: float) -> list[tuple[int, Outcome | None]]:
        """See `Crew`.

        Raises:
            ValueError: The weights or a device cannot be used.
        """
        by_pipe = {pipe: worker for worker, (_, pipe) in self._running.items()}
        told = []
        for pipe in multiprocessing.connection.wait(list(by_pipe), seconds):
            try:
                outcome = pipe.recv()
            except (EOFError, OSError):
                outcome = None
                self._running.pop(by_pipe[pipe])[0].join(5)
            if isinstance(outcome, ValueError):
                raise outcome
            told.append((by_pipe[pipe], outcome))
        return told

    def replace(self, worker: int) -> None:
        """See `Crew`."""
        mine, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve, args=(theirs, self._setup, self._devices[worker]), daemon=True, name=f'restore-{worker}'
        )
        process.start()
        theirs.close()
        self._running[worker] = (process, mine)

    def pids(self) -> list[int]:
        """Process numbers of the workers."""
        return [process.pid for process, _ in self._running.values()]

    def close(self) -> None:
        """See `Crew`."""
        for process, pipe in self._running.values():
            pipe.close()
            process.terminate()
            process.join(10)


class RayActors:
    """Actors of a Ray cluster, spread over its nodes.

    Args:
        setup: How they restore.
        address: 'auto' for the cluster that is there, else one on this machine; or the address of a cluster.
        workers: How many; None for one on each GPU, or on each CPU where there is no GPU.

    Raises:
        ValueError: Ray is missing, or there is no cluster at the address.
    """

    def __init__(self, setup: Setup, address: str, workers: int | None) -> None:
        try:
            import ray
        except ImportError as error:
            raise ValueError('--ray needs Ray: pip install "mirage-ir[ray]"') from error
        self._ray = ray
        self._mine = not ray.is_initialized()
        if self._mine:
            try:
                self._join(address)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise ValueError(f'--ray {address}: no cluster answers there: {error}') from error
        there = ray.cluster_resources()
        self._on_gpus = there.get('GPU', 0) >= 1
        workers = workers or int(there.get('GPU', 0)) or int(there.get('CPU', 1)) or 1
        self._setup = ray.put(setup)
        self._actors: dict[int, object] = {}
        self._pending: dict[object, int] = {}
        for number in range(workers):
            self.replace(number)

    def _join(self, address: str) -> None:
        quiet = {'log_to_driver': False, 'logging_level': 'ERROR'}
        if address != 'auto':
            self._ray.init(address=address, **quiet)
            return
        try:
            self._ray.init(address='auto', **quiet)
        except ConnectionError:
            self._ray.init(include_dashboard=False, **quiet)

    def give(self, worker: int, task: Task) -> None:
        """See `Crew`."""
        self._pending[self._actors[worker].work.remote(task)] = worker

    def wait(self, seconds: float) -> list[tuple[int, Outcome | None]]:
        """See `Crew`."""
        ready, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=seconds)
        told = []
        for reference in ready:
            worker = self._pending.pop(reference)
            try:
                told.append((worker, self._ray.get(reference)))
            except self._ray.exceptions.RayTaskError as error:
                cause = error.cause
                raise cause if isinstance(cause, ValueError) else RuntimeError(str(error)) from error
            except self._ray.exceptions.RayError as error:
                if isinstance(getattr(error, 'cause', None), ValueError):
                    raise error.cause from error
                told.append((worker, None))
        return told

    def replace(self, worker: int) -> None:
        """See `Crew`."""
        needs = {'num_gpus': 1} if self._on_gpus else {'num_cpus': 1}
        make = self._ray.remote(**needs)(Worker).options(scheduling_strategy='SPREAD')
        actor = make.remote(self._setup, 'cuda' if self._on_gpus else 'cpu')
        self._actors[worker] = actor
        self._pending[actor.ready.remote()] = worker

    def close(self) -> None:
        """See `Crew`."""
        for actor in self._actors.values():
            self._ray.kill(actor)
        if self._mine:
            self._ray.shutdown()
