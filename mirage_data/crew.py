"""Tasks over workers, which are processes of this machine or actors of a Ray cluster.

A worker has one task at a time, so nothing piles up; the task of a worker that died goes to another one. Restoring,
synthesising and checking of data share this.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

__all__ = ['OF_THE_NODE', 'Calling', 'Crew', 'Outcome', 'Processes', 'RayActors', 'Team', 'Worker']

#: Numbers of OSError that another machine need not have.
OF_THE_NODE = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM)
_ATTEMPTS = 3
_EARLY_DEATHS = 5
_PATIENCE = 300.0  # seconds without a single worker


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        value: The result.
        failure: The reason why there is none; None where there is one.
        elsewhere: The failure is one of this machine (a full disk): another may do it.
    """

    value: Any = None
    failure: str | None = None
    elsewhere: bool = False


class Worker(Protocol):
    """Does one task after another. It is made where it works, by a function that takes the device."""

    def work(self, task: Any) -> Outcome:
        """Do a task; whatever is wrong with it is in the answer."""

    def close(self) -> None:
        """Leave nothing behind."""


class Calling:
    """A worker that calls a function; ``partial(Calling, function)`` makes one.

    Args:
        function: Called with each task.
        device: Not used.
    """

    def __init__(self, function: Callable[[Any], Any], device: str = 'cpu') -> None:
        self._function = function

    def work(self, task: Any) -> Outcome:
        """See `Worker`; a wrong value is the task's failure, a disk's error may be one of this machine."""
        try:
            return Outcome(self._function(task))
        except ValueError as error:
            return Outcome(failure=str(error))
        except OSError as error:
            return Outcome(failure=str(error), elsewhere=True)

    def close(self) -> None:
        """See `Worker`."""


Make = Callable[[str], Worker]


class Crew(Protocol):
    """Workers by key. A worker is told of by `wait` for the first time when it is ready."""

    def give(self, worker: int, task: Any) -> None:
        """Let an idle worker do a task."""

    def wait(self, seconds: float) -> list[tuple[int, Outcome | None]]:
        """(worker, outcome) of those that answered; None for one that died. Empty when the time is over."""

    def replace(self, worker: int) -> None:
        """Start another in the place of one that died."""

    def close(self) -> None:
        """End all workers."""


class Team:
    """Keeps a crew busy; a context manager that ends it."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._idle: list[int] = []
        self._alive: set[int] = set()
        self._busy: dict[int, tuple[deque, Any, int]] = {}
        self._early_deaths = 0

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *_: object) -> None:
        self._crew.close()

    def do(self, tasks: Iterable[Any]) -> Iterator[tuple[Any, Outcome]]:
        """Each task with what became of it, exactly once, in the order in which they end.

        More tasks may be done while these are: whoever hears of a task keeps its outcome for the one who gave it.

        Args:
            tasks: Taken one by one, as workers become free.

        Raises:
            RuntimeError: No worker can be had.
        """
        coming = ((task, 1) for task in tasks)
        again: deque[tuple[Any, int]] = deque()
        ended: deque[tuple[Any, int, Outcome, bool]] = deque()
        given, pending = next(coming, None), 0
        while given or pending:
            while given and self._idle:
                worker = self._idle.pop(0)
                self._busy[worker] = (ended, *given)
                self._crew.give(worker, given[0])
                pending += 1
                given = again.popleft() if again else next(coming, None)
            if not ended:
                self._listen()
            while ended:
                task, attempt, outcome, retried = ended.popleft()
                pending -= 1
                if retried and attempt < _ATTEMPTS:
                    again.append((task, attempt + 1))
                else:
                    yield task, outcome
            if given is None and again:
                given = again.popleft()

    def _listen(self) -> None:
        told = self._crew.wait(3600.0 if self._busy else _PATIENCE)
        if not told and not self._busy:
            raise RuntimeError(f'no worker could be started within {_PATIENCE:.0f} s; the cluster may have no room')
        for worker, outcome in told:
            given = self._busy.pop(worker, None)  # None: the worker is new, or died idle
            if outcome is None:
                self._died(worker)
            else:
                self._alive.add(worker)
                self._idle.append(worker)
                if given is None:
                    self._early_deaths = 0
            if given is not None:
                ended, task, attempt = given
                lost = Outcome(failure=f'{_ATTEMPTS} workers died over it, or were killed')
                ended.append((task, attempt, outcome or lost, outcome is None or outcome.elsewhere))

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        """Results of a function in the order of the items, of a crew that was made by `calling`.

        Raises:
            OSError: An item could not be done; the text of its error.
        """
        results: dict[int, Any] = {}
        following = 0
        for (number, _, _), outcome in self.do((number, function, item) for number, item in enumerate(items)):
            if outcome.failure is not None:
                raise OSError(f'{items[number]}: {outcome.failure}')
            results[number] = outcome.value
            while following in results:
                yield results.pop(following)
                following += 1

    def _died(self, worker: int) -> None:
        if worker in self._idle:
            self._idle.remove(worker)
        if worker not in self._alive:
            self._early_deaths += 1
            if self._early_deaths > _EARLY_DEATHS:
                if not self._alive:
                    raise RuntimeError('workers end before they are ready; the log of the cluster tells why')
                return  # its machine may be full: the others go on without it
        self._alive.discard(worker)
        self._crew.replace(worker)


def _call(task: tuple[int, Callable[[Any], Any], Any]) -> Any:
    import cv2

    cv2.setNumThreads(1)  # the workers are the parallelism
    return task[1](task[2])


#: Makes the workers that `Team.map` needs.
calling: Make = partial(Calling, _call)


def _serve(pipe: multiprocessing.connection.Connection, make: Make, device: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as it would end: nothing half-written or temporary stays
    try:
        worker = make(device)
    except ValueError as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends by itself; what it leaves is being cleared away
        pipe.send(error)
        return
    try:
        pipe.send(Outcome())
        while True:
            pipe.send(worker.work(pipe.recv()))
    except (EOFError, BrokenPipeError):  # the parent closed its end: the work is done
        pass
    finally:
        worker.close()


class Processes:
    """A process for each device of this machine.

    Args:
        make: Makes a worker; has to be picklable.
        devices: A device for each.
    """

    def __init__(self, make: Make, devices: Sequence[str]) -> None:
        self._make, self._devices = make, devices
        # spawned: a process that is forked from one with threads (OpenCV's) may hang
        self._context = multiprocessing.get_context('spawn')
        self._running: dict[int, tuple] = {}
        for number in range(len(devices)):
            self.replace(number)

    def give(self, worker: int, task: Any) -> None:
        """See `Crew`."""
        with contextlib.suppress(OSError):  # it died: `wait` tells
            self._running[worker][1].send(task)

    def wait(self, seconds: float) -> list[tuple[int, Outcome | None]]:
        """See `Crew`.

        Raises:
            ValueError: No worker can be made as asked for.
        """
        by_pipe: dict[Any, int] = {pipe: worker for worker, (_, pipe) in self._running.items()}
        told: list[tuple[int, Outcome | None]] = []
        ready: list[Any] = multiprocessing.connection.wait(list(by_pipe), seconds)
        for pipe in ready:
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
            target=_serve, args=(theirs, self._make, self._devices[worker]), daemon=True, name=f'worker-{worker}'
        )
        process.start()
        theirs.close()
        self._running[worker] = (process, mine)

    def close(self) -> None:
        """See `Crew`."""
        for process, pipe in self._running.values():
            pipe.close()
            process.terminate()
        for process, _ in self._running.values():
            process.join(10)
            process.kill()


class _Actor:
    """What runs on a node of a cluster; a worker that cannot be made is told of by `ready`."""

    def __init__(self, make: Make, device: str, folder: str) -> None:
        with contextlib.suppress(OSError):  # paths of the command mean the same here, where the node has its folder
            os.chdir(folder)
        self._worker: Worker | None = None
        self._wrong: ValueError | None = None
        try:
            self._worker = make(device)
        except ValueError as error:
            self._wrong = error

    def ready(self) -> Outcome | ValueError:
        return self._wrong or Outcome()

    def work(self, task: Any) -> Outcome:
        assert self._worker is not None
        return self._worker.work(task)

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()


class RayActors:
    """Actors of a Ray cluster, spread over its nodes.

    Args:
        make: Makes a worker; has to be picklable.
        address: 'auto' for the cluster that is there, else one on this machine; or the address of a cluster.
        workers: How many; None for one on each GPU, or on each CPU where there is no GPU.
        gpus: Whether a worker needs a GPU where the cluster has some.

    Raises:
        ValueError: Ray is missing, or there is no cluster at the address.
    """

    def __init__(self, make: Make, address: str, workers: int | None = None, gpus: bool = False) -> None:
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
        self._on_gpus = gpus and there.get('GPU', 0) >= 1
        workers = workers or int(there.get('GPU' if self._on_gpus else 'CPU', 1)) or 1
        self._make = ray.put(make)
        self._actors: dict[int, Any] = {}
        self._pending: dict[Any, int] = {}
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

    def give(self, worker: int, task: Any) -> None:
        """See `Crew`."""
        self._pending[self._actors[worker].work.remote(task)] = worker

    def wait(self, seconds: float) -> list[tuple[int, Outcome | None]]:
        """See `Crew`.

        Raises:
            ValueError: No worker can be made as asked for.
            RuntimeError: A worker has a fault of its own.
        """
        ready, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=seconds)
        told: list[tuple[int, Outcome | None]] = []
        for reference in ready:
            worker = self._pending.pop(reference)
            try:
                outcome = self._ray.get(reference)
            except self._ray.exceptions.RayTaskError as error:
                raise RuntimeError(f'a worker has a fault: {error}') from error
            except self._ray.exceptions.RayError:
                outcome = None
            if isinstance(outcome, ValueError):
                raise outcome
            told.append((worker, outcome))
        return told

    def replace(self, worker: int) -> None:
        """See `Crew`."""
        needs = {'num_gpus': 1} if self._on_gpus else {'num_cpus': 1}
        make = self._ray.remote(**needs)(_Actor).options(scheduling_strategy='SPREAD')
        actor = make.remote(self._make, 'cuda' if self._on_gpus else 'cpu', os.getcwd())
        self._actors[worker] = actor
        self._pending[actor.ready.remote()] = worker

    def close(self) -> None:
        """See `Crew`."""
        with contextlib.suppress(Exception):  # the cluster may be gone
            idle = [actor for number, actor in self._actors.items() if number not in self._pending.values()]
            ended = [actor.close.remote() for actor in idle]
            if ended:
                self._ray.wait(ended, num_returns=len(ended), timeout=5)
            for actor in self._actors.values():
                self._ray.kill(actor)
        if self._mine:
            self._ray.shutdown()
