"""Restore many files with many workers: what is planned, recorded and summed up."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from mirage_data.crew import Crew, Processes, RayActors, Team

from ..files import Summary, check_target
from ..jobs import find_jobs, is_file_name, named
from ..record import Record
from .places import UrlRecord, check_place, is_url, plan_urls
from .worker import Setup, Task, Worker

__all__ = ['parse_devices', 'restore_many']


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
    summary.unread = plan.unread
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
    return tasks, lambda task: record.add(jobs[task].source, jobs[task].target), lambda: None


def _with_urls(
    inputs: Sequence[str], target: str, setup: Setup, summary: Summary
) -> tuple[list[Task], Callable[[Task], None], Callable[[], None]]:
    if setup.options.compare:
        raise ValueError('--compare is for folders of this machine, not for URLs')
    place = target if is_url(target) else os.path.abspath(target)
    if is_url(target):
        check_place(target)
    else:
        check_target(target)
    record = UrlRecord(place, read=setup.options.skip_existing)
    plan = plan_urls(inputs, place, setup.options, record)
    _take(summary, plan.useless, plan.done)
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
