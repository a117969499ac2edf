"""Restore many files with many workers: what each of them does, and what is planned, recorded and summed up."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from mirage_data.crew import OF_THE_NODE, Crew, Outcome, Processes, RayActors, Team

from ..files import Summary, check_target
from ..jobs import Job, Options, Record, find_jobs, is_file_name, named
from .places import UrlRecord, check_place, fetch, is_url, plan_urls, put, words_of

__all__ = ['Setup', 'Task', 'Worker', 'parse_devices', 'restore_many']


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


def restore_many(
    inputs: Sequence[str],
    target: str,
    setup: Setup,
    *,
    devices: str | None = None,
    ray: str | None = None,
    workers: int | None = None,
) -> Summary:
    """Restore files with several workers; every result is the same as that of a single process.

    Args:
        inputs: Files, folders, patterns, or URLs that fsspec reads.
        target: Folder of the results, or its URL.
        setup: How to restore.
        devices: A worker for each, such as '0,1' or 'cpu x 4'; see `parse_devices`.
        ray: 'auto' or the address of a Ray cluster, instead of ``devices``. Its nodes have to see the same folders.
        workers: How many on the cluster; None for one on each GPU, or on each CPU where there is none.

    Returns:
        What was done; failures are logged as they happen.

    Raises:
        ValueError: Wrong arguments, weights that cannot be used, or no cluster.
        OSError: The target cannot be written.
        RuntimeError: No worker can be had.
    """
    if ray is not None and devices is not None:
        raise ValueError('give --devices or --ray, not both')
    listed = parse_devices(devices or 'cpu') if ray is None else []
    if workers is not None and workers < 1:
        raise ValueError(f'--workers must be 1 or more, got {workers}')
    urls = is_url(target) or any(map(is_url, inputs))
    summary = Summary()
    tasks, add, flush = (_with_urls if urls else _with_files)(inputs, target, setup, summary)
    if not tasks:
        return summary
    log = logging.getLogger(__name__)
    make = partial(Worker, replace(setup, threads=_threads()))
    crew: Crew
    if ray is not None:
        crew = RayActors(make, ray, min(workers, len(tasks)) if workers else None, gpus=True)
    else:
        crew = Processes(make, listed[: len(tasks)])
    try:
        with Team(crew) as team, tqdm(total=len(tasks), unit='file', disable=not setup.options.progress) as bar:
            for task, outcome in team.do(tasks):
                source = Path(task.source) if not is_url(task.source) else task.source
                if outcome.failure is None:
                    add(task)
                    summary.restored += 1
                    summary.notes += [(source, note) for note in outcome.value]
                else:
                    summary.failures.append((source, outcome.failure))
                    log.error('%s', named(source, outcome.failure))
                bar.update()
    finally:
        flush()
    return summary


def _threads() -> int:
    """Threads of this process: with another number the sums of a CPU are rounded otherwise in their last bits."""
    import torch

    return torch.get_num_threads()


def _with_files(
    inputs: Sequence[str], target: str, setup: Setup, summary: Summary
) -> tuple[list[Task], Callable[[Task], None], Callable[[], None]]:
    folder = Path(target).parent if is_file_name(target) else Path(target)
    record = Record(folder)
    plan = find_jobs(inputs, target, setup.options, record)
    _take(summary, plan.useless, len(plan.done))
    summary.unread, summary.notes = plan.unread, list(plan.notes)
    if plan.jobs:
        check_target(target)
    tasks = [
        Task(
            os.path.abspath(job.source),
            os.path.abspath(job.target),
            os.path.abspath(job.comparison) if job.comparison else None,
        )
        for job in plan.jobs
    ]
    jobs = dict(zip(tasks, plan.jobs))

    def add(task: Task) -> None:
        job = jobs[task]
        record.add(job.source, job.target, job.comparison)

    return tasks, add, lambda: None


def _with_urls(
    inputs: Sequence[str], target: str, setup: Setup, summary: Summary
) -> tuple[list[Task], Callable[[Task], None], Callable[[], None]]:
    if setup.options.compare:
        raise ValueError('--compare is for folders of this machine, not for URLs')
    place = target if is_url(target) else os.path.abspath(target)
    folder = os.path.dirname(place) if is_file_name(target) else place
    if is_url(target):
        check_place(folder)
    else:
        check_target(target)
    record = UrlRecord(folder, read=setup.options.skip_existing)
    plan = plan_urls(inputs, place, setup.options, record)
    _take(summary, plan.useless, plan.done)
    summary.unread = plan.unread
    states = {source: state for source, _, state in plan.tasks}
    return (
        [Task(source, result) for source, result, _ in plan.tasks],
        lambda task: record.add(task.source, task.target, states[task.source]),
        record.flush,
    )


def _take(summary: Summary, useless: Sequence[tuple], done: int) -> None:
    summary.skipped = done
    for source, reason in useless:
        summary.failures.append((source, reason))
        logging.getLogger(__name__).error('%s', named(source, reason))


@dataclass(frozen=True)
class Setup:
    """How every worker restores; the content of the weights travels along, since nodes need not share a disk.

    Attributes:
        weights: (name, content) of a weights file; None for a model of the package.
        model: Name of the weights in the package, or None.
        precision, tile, tile_overlap, allow_pickle, strength, keep_tone, self_ensemble: As of `Restorer`.
        options: Naming and treatment of files.
        threads: Of PyTorch in each worker, whose number decides the last bits on a CPU; None leaves it as it is.
    """

    weights: tuple[str, bytes] | None = None
    model: str | None = None
    precision: str = 'fp32'
    tile: int | None = None
    tile_overlap: int | None = None
    allow_pickle: bool = False
    strength: float = 1.0
    keep_tone: bool = False
    self_ensemble: bool = False
    options: Options = Options()
    threads: int | None = None


@dataclass(frozen=True)
class Task:
    """A file to restore: path or URL of the input, of the result, and of the comparison."""

    source: str
    target: str
    comparison: str | None = None


class Worker:
    """Holds the network; restores one file after another. The value of an outcome are notes of what was left out.

    Args:
        setup: How.
        device: As of `Restorer`.

    Raises:
        ValueError: The weights or the device cannot be used.
    """

    def __init__(self, setup: Setup, device: str) -> None:
        import torch

        from ..restorer import Restorer

        if setup.threads:
            torch.set_num_threads(setup.threads)
        self._setup = setup
        self._scratch = tempfile.TemporaryDirectory(prefix='mirage-restore-')
        weights = None
        if setup.weights is not None:
            name, content = setup.weights
            weights = Path(self._scratch.name) / name
            weights.write_bytes(content)
        self._restore = Restorer(
            weights,
            device,
            setup.precision,
            setup.tile,
            setup.tile_overlap,
            setup.allow_pickle,
            setup.model,
            setup.strength,
            setup.keep_tone,
            setup.self_ensemble,
        )

    def work(self, task: Task) -> Outcome:
        """Restore a file; whatever is wrong with it is in the answer."""
        folder = ''
        try:
            with tempfile.TemporaryDirectory(dir=self._scratch.name) as folder:
                return Outcome(self._work(task, Path(folder)))
        except OSError as error:
            reason = f'{task.source}: {words_of(error)}'
            return Outcome(failure=reason.replace(folder, ''), elsewhere=error.errno in OF_THE_NODE)
        except (ValueError, RuntimeError, MemoryError) as error:
            words = str(error) or 'out of memory'
        except Exception as error:  # of a storage library: the next file may be fine
            words = f'{type(error).__name__}: {error}'
        for name in (os.path.join(folder, 'in', os.path.basename(task.source)), folder):
            words = words.replace(name, task.source) if folder else words
        return Outcome(failure=words if words.startswith(task.source) else f'{task.source}: {words}')

    def close(self) -> None:
        """Remove what was put aside."""
        self._scratch.cleanup()

    def _work(self, task: Task, folder: Path) -> tuple[str, ...]:
        from ..files import restore_job

        job = Job(
            self._local(task.source, folder / 'in'),
            self._local(task.target, folder / 'out'),
            self._local(task.comparison, folder / 'out') if task.comparison else None,
        )
        if is_url(task.source):
            job.source.parent.mkdir()
            fetch(task.source, job.source)
        notes = restore_job(self._restore, job, replace(self._setup.options, progress=False))
        for place, file in ((task.comparison, job.comparison), (task.target, job.target)):
            if place and file and is_url(place):
                put(file, place)
        return notes

    @staticmethod
    def _local(place: str, folder: Path) -> Path:
        return folder / os.path.basename(place) if is_url(place) else Path(place)
