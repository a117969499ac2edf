"""Hand tasks to workers: one each, no more, and those of a worker that died to another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable

from .crew import Crew
from .worker import Outcome, Task

__all__ = ['hand_out']

_ATTEMPTS = 3
_PATIENCE = 300.0  # seconds without a single worker


def hand_out(crew: Crew, tasks: Iterable[Task], finished: Callable[[Task, Outcome], None]) -> None:
    """Let a crew do tasks; each is told of exactly once.

    Args:
        crew: Workers.
        tasks: What to do; taken one by one, as workers become free.
        finished: Called with each task and what became of it.

    Raises:
        RuntimeError: No worker can be had.
    """
    coming, again = iter(tasks), deque()
    attempts: dict[Task, int] = {}
    busy: dict[Hashable, Task] = {}
    idle: list[Hashable] = []
    alive: set[Hashable] = set()
    early_deaths = 0

    def once_more(task: Task, failure: str) -> None:
        attempts[task] = attempts.get(task, 1) + 1
        if attempts[task] > _ATTEMPTS:
            finished(task, Outcome(failure=failure))
        else:
            again.append(task)

    while True:
        while idle:
            task = again.popleft() if again else next(coming, None)
            if task is None:
                break
            worker = idle.pop(0)
            busy[worker] = task
            crew.give(worker, task)
        if not busy and not again and idle:
            return
        told = crew.wait(_PATIENCE if not busy else 3600.0)
        if not told and not busy:
            raise RuntimeError(f'no worker could be started within {_PATIENCE:.0f} s; the cluster may have no room')
        for worker, outcome in told:
            task = busy.pop(worker, None)
            if outcome is None:
                if worker in idle:
                    idle.remove(worker)
                if worker not in alive:
                    early_deaths += 1
                    if early_deaths > 5:
                        raise RuntimeError('workers end before they are ready; the log of the cluster tells why')
                alive.discard(worker)
                if task is not None:
                    once_more(task, f'{task.source}: {_ATTEMPTS} workers died over it, or were killed')
                crew.replace(worker)
                continue
            alive.add(worker)
            idle.append(worker)
            if task is None:
                early_deaths = 0
            elif outcome.elsewhere:
                once_more(task, outcome.failure or '')
            else:
                finished(task, outcome)
