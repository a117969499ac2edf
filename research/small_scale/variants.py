"""Variants of a small experiment: the keys of an ablation's option file put into a reduced one, a run for each seed."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mirage_ir.measuring.report import AVERAGE, read_csv
from mirage_ir.options.file import nearest_hint
from mirage_ir.training.command_line import resolve_all

BASE = 'base'
#: Keys that a variant may not change, or the comparison would be of something else than the network and its losses.
BUDGET = ('datasets', 'val', 'manual_seed', 'train:total_iter', 'train:warmup_iter', 'train:optim_g', 'train:scheduler')
_LEFT_OUT = object()
_NOT_COMPARED = ('name',)

Changes = dict[tuple[str, ...], Any]


@dataclass(frozen=True)
class SmallRun:
    """One run of the comparison.

    Args:
        variant: Name of the variant.
        seed: Of the initial weights and of the order and degradation of the samples.
        options: Complete options.
    """

    variant: str
    seed: int
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the run and of its folder."""
        return f'{self.variant}_seed{self.seed}'


def read_options(path: str | Path) -> dict:
    """The values of an option file.

    Raises:
        ValueError: There is no such file, or no options in it.
    """
    path = Path(path)
    if not path.is_file():
        siblings = [str(p) for p in path.parent.glob('*.yml')] if path.parent.is_dir() else []
        raise ValueError(f'{path}: no such option file {nearest_hint(str(path), siblings)}'.rstrip())
    options = yaml.safe_load(path.read_text(encoding='utf-8'))
    if not isinstance(options, dict):
        raise ValueError(f'{path}: no options in it')
    return options


def changes_between(base: Mapping, variant: Mapping, place: tuple[str, ...] = ()) -> Changes:
    """The keys in which two option files differ, names of runs aside.

    Args:
        base: Options to start from.
        variant: Options to arrive at.
        place: Where both stand in their files.

    Returns:
        By the keys' paths, what `variant` has there; lists count as one value.
    """
    found: Changes = {}
    for key in dict.fromkeys((*base, *variant)):
        path = (*place, key)
        if path[0] in _NOT_COMPARED:
            continue
        if key not in variant:
            found[path] = _LEFT_OUT
        elif isinstance(base.get(key), Mapping) and isinstance(variant[key], Mapping):
            found.update(changes_between(base[key], variant[key], path))
        elif key not in base or base[key] != variant[key]:
            found[path] = variant[key]
    return found


def changes_of(variant: str, folder: str | Path, compared_with: str | Path) -> Changes:
    """What a variant changes, read from its option file.

    Args:
        variant: Name of a file in `folder`, without ending; ``base`` changes nothing.
        folder: Where the variants are.
        compared_with: The option file that they were derived from.

    Raises:
        ValueError: No such variant, or one that changes more than the network and its losses.
    """
    if variant == BASE:
        return {}
    path = Path(folder) / f'{variant}.yml'
    if not path.is_file():
        known = sorted(file.stem for file in Path(folder).glob('*.yml'))
        raise ValueError(f'variant {variant!r}: {path} does not exist; there are {", ".join([BASE, *known])}')
    changes = changes_between(read_options(compared_with), read_options(path))
    for key in changes:
        text = ':'.join(map(str, key))
        if any(text == fixed or text.startswith(f'{fixed}:') for fixed in BUDGET):
            raise ValueError(f'{path}: {text} is not that of {compared_with}; data, length and optimizer must be')
    return changes


def changed(options: Mapping, changes: Changes) -> dict:
    """A copy of `options` with the changes made; what they leave out is left out."""
    result = deepcopy(dict(options))
    for path, value in changes.items():
        section = result
        for key in path[:-1]:
            section = section.setdefault(key, {})
        if value is _LEFT_OUT:
            section.pop(path[-1], None)
        else:
            section[path[-1]] = deepcopy(value)
    return result


def plan(base: Mapping, variants: Mapping[str, Changes], seeds: Sequence[int], root: str | Path) -> list[SmallRun]:
    """The runs in the order in which they are made: all variants with the first seed, then with the next.

    Args:
        base: Options of the reduced experiment.
        variants: Changes by name.
        seeds: At least one; each sets the initial weights as well as the samples.
        root: Where relative paths are tried that do not exist in the current directory.

    Raises:
        ValueError: No or doubled seeds, no validation at the last iteration.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f'seeds: {list(seeds)}; allowed are one or more different whole numbers')
    total, frequency = base['train']['total_iter'], base['val']['val_freq']
    if total % frequency:
        raise ValueError(f'val_freq: {frequency} does not divide total_iter: {total}, so the end would not be measured')
    runs = []
    for seed in seeds:
        for variant, changes in variants.items():
            options = changed(base, changes)
            resolve_all(options, str(root))
            options['manual_seed'] = seed
            run = SmallRun(variant, seed, options)
            options['name'] = run.name
            runs.append(run)
    return runs


def scores_of(run: SmallRun, out: str | Path) -> dict[tuple[str, str], float] | None:
    """Figures of a finished run by (data set, metric), of the last iteration; None where it has yet to finish.

    Raises:
        ValueError: A run of that name was made with other options.
    """
    folder = Path(out)
    _check_same_options(run, folder)
    total = run.options['train']['total_iter']
    scores = {
        (dataset, metric): value
        for iteration, dataset, _, metric, value in read_csv(folder / 'experiments' / run.name / 'validation.csv')
        if iteration == total and dataset != AVERAGE
    }
    names = {data['name'] for phase, data in run.options['datasets'].items() if phase != 'train'}
    return scores if names and names <= {dataset for dataset, _ in scores} else None


def carry_out(run: SmallRun, out: str | Path, threads: int | None = None) -> None:
    """Train a run in a process of its own, from its last saved state if it was begun before.

    What it prints goes to ``OUT/logs/NAME.txt``. An interrupt or SIGTERM is passed on to it, so that it saves.

    Args:
        run: What to train.
        out: Folder that receives ``experiments``, ``options`` and ``logs``.
        threads: Of PyTorch; its own choice by default.

    Raises:
        ValueError: A run of that name was made with other options.
        RuntimeError: It failed; the message ends with what it said last.
        SystemExit: After a signal, with 128 plus its number.
    """
    folder = Path(out).resolve()
    _check_same_options(run, folder)
    option_file = _option_file(run, folder)
    log = folder / 'logs' / f'{run.name}.txt'
    for path in (option_file, log):
        path.parent.mkdir(parents=True, exist_ok=True)
    option_file.write_text(yaml.safe_dump(dict(run.options), sort_keys=False), encoding='utf-8')
    # a server that has done the imports makes a fresh process in no time
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context('forkserver' if 'forkserver' in methods else 'spawn')
    if context.get_start_method() == 'forkserver':
        context.set_forkserver_preload(['mirage_ir.training.runner', 'mirage_ir.measuring.metrics', 'basicsr.train'])
    process = context.Process(target=_train, args=(str(option_file), str(folder), str(log), threads))
    process.start()
    signals = _wait(process)
    if signals:
        raise SystemExit(128 + signals[0])
    if process.exitcode:
        last = log.read_text(encoding='utf-8', errors='replace').strip().splitlines()[-1:]
        raise RuntimeError(f'{run.name} ended with {process.exitcode}, see {log}: {"".join(last)}')


def _wait(process: multiprocessing.Process) -> list[int]:
    """Wait for the end of a process; signals received meanwhile go to it and are returned."""
    received: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        received.append(number)
        process.terminate()

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        process.join()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return received


def _train(option_file: str, root: str, log: str, threads: int | None) -> None:
    """The new process: a training as from the command line."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if hasattr(os, 'fork'):
        multiprocessing.set_start_method('fork', force=True)  # for loading workers, as in a run from the command line
    import torch

    from mirage_ir.commands import run

    if threads:
        torch.set_num_threads(threads)
    run.train(['-opt', option_file, '--auto_resume'], root=root)


def _option_file(run: SmallRun, folder: Path) -> Path:
    return folder / 'options' / f'{run.name}.yml'


def _check_same_options(run: SmallRun, folder: Path) -> None:
    path = _option_file(run, folder)
    if not path.is_file() or not (folder / 'experiments' / run.name).is_dir():
        return
    differences = changes_between(read_options(path), run.options)
    if differences:
        keys = ', '.join(':'.join(map(str, key)) for key in differences)
        made = folder / 'experiments' / run.name
        raise ValueError(f'{made}: was made with other options ({keys}); take another --out')
