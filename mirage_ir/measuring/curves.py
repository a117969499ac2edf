"""Curves of training runs, from what a run leaves: its logs or TensorBoard events, and ``validation.csv``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .plotting import colour, new_figure
from .report import read_csv, write_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SOURCES = ('auto', 'log', 'events')
_LINE = re.compile(r'\[epoch:\s*[\d,]+, iter:\s*(?P<iter>[\d,]+), lr:\((?P<lr>[^,)]+)')
_VALUE = re.compile(r'(?P<name>[A-Za-z][\w/]*): (?P<value>[-+]?(?:\d+\.\d+e[-+]\d+|nan|inf))(?=\s|$)')
_MARKS = ('o', 's', '^', 'D', 'v', 'P', 'X', '*')
_OF_INPUT = 'input_'


@dataclass(frozen=True)
class Run:
    """What one experiment logged.

    Args:
        name: Name of its folder.
        scalars: Figures by iteration, by name: ``l_pix``, ``l_fourier``, ``l_spd``, ``lr`` and what else there is.
        validation: Figures by iteration, by (data set, task, metric).
    """

    name: str
    scalars: Mapping[str, Mapping[int, float]]
    validation: Mapping[tuple[str, str, str], Mapping[int, float]] = field(default_factory=dict)


def load_run(folder: str | Path, source: str = 'auto') -> Run:
    """Read the folder of an experiment.

    Logs are read in the order of their names, so of their times. What a resumed run logged again replaces what was
    logged for its first iteration and all later ones, since that past was repeated.

    Args:
        folder: ``experiments/NAME``.
        source: ``log``, ``events`` (TensorBoard's, in the folder or in ``tb_logger/NAME`` beside ``experiments``), or
            ``auto``: logs, and events where there is no iteration in a log.

    Raises:
        ValueError: No such folder, an unknown source, nothing logged in it, or a damaged ``validation.csv``.
    """
    folder = Path(folder)
    if source not in SOURCES:
        raise ValueError(f'source {source!r}: allowed are {", ".join(SOURCES)}')
    if not folder.is_dir():
        raise ValueError(f'{folder}: no such folder; a training run leaves experiments/NAME')
    scalars: dict[str, dict[int, float]] = {}
    if source != 'events':
        for log in sorted(folder.glob('train_*.log')):
            _read_log(log, scalars)
    if source != 'log' and not scalars:
        name = folder.resolve().name
        for place in (folder, folder.resolve().parent.parent / 'tb_logger' / name):
            for file in sorted(place.glob('events.out.tfevents.*')):
                _read_events(file, scalars)
    validation: dict[tuple[str, str, str], dict[int, float]] = {}
    for iteration, dataset, task, metric, value in read_csv(folder / 'validation.csv'):
        validation.setdefault((dataset, task, metric), {})[iteration] = value
    if not scalars and not validation:
        raise ValueError(f'{folder}: no iteration in a train_*.log or TensorBoard events, and no validation.csv')
    return Run(folder.resolve().name, scalars, validation)


def _read_log(path: Path, into: dict[str, dict[int, float]]) -> None:
    first = None
    with path.open(encoding='utf-8', errors='replace') as lines:
        for line in lines:
            head = _LINE.search(line)
            if head is None:
                continue
            iteration = int(head['iter'].replace(',', ''))
            if first is None:
                first = iteration
                _forget(into, first)
            values = {match['name']: match['value'] for match in _VALUE.finditer(line, head.end())}
            for name, value in {**values, 'lr': head['lr']}.items():
                into.setdefault(name, {})[iteration] = float(value)


def _read_events(path: Path, into: dict[str, dict[int, float]]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(path), size_guidance={'scalars': 0})
    events.Reload()
    found = {tag: events.Scalars(tag) for tag in events.Tags()['scalars']}
    steps = [event.step for entries in found.values() for event in entries]
    if steps:
        _forget(into, min(steps))
    for tag, entries in found.items():
        name = tag.removeprefix('losses/').removeprefix('progress/')
        into.setdefault(name, {}).update({event.step: event.value for event in entries})


def _forget(scalars: dict[str, dict[int, float]], first: int) -> None:
    for name, values in scalars.items():
        scalars[name] = {iteration: value for iteration, value in values.items() if iteration < first}


def smoothed(values: Sequence[float], weight: float) -> np.ndarray:
    """Running mean with exponentially falling weights, without the pull towards its start.

    Args:
        values: In order of time; those that are not finite are left out of the mean.
        weight: Share of the past in [0, 1); 0 changes nothing.
    """
    if not 0 <= weight < 1:
        raise ValueError(f'smoothing must be in [0, 1), got {weight}')
    result, mean, mass = [], 0.0, 0.0
    for value in values:
        if math.isfinite(value):
            mean, mass = weight * mean + (1 - weight) * value, weight * mass + 1 - weight
        result.append(mean / mass if mass else value)
    return np.array(result)


def draw(runs: Sequence[Run], smoothing: float = 0.9, metrics: Sequence[str] = ()) -> Figure:
    """Losses, learning rate and validation of several runs.

    One panel for each loss, one for the learning rate, and one for each metric and task; colours tell runs, and
    markers data sets of one task. Losses are drawn pale as logged and strong as `smoothed`. What the degraded input
    itself scores (metrics that begin with ``input_``) is a dotted line in the panel of its metric.

    Args:
        runs: At least one, of different names.
        smoothing: Weight of the past for the losses.
        metrics: Metrics of the validation that are drawn; all without it.

    Raises:
        ValueError: No run, or a metric that none has.
    """
    if not runs:
        raise ValueError('name at least one experiment')
    known = list(dict.fromkeys(m for run in runs for _, _, m in run.validation if not m.startswith(_OF_INPUT)))
    absent = [metric for metric in metrics if metric not in known]
    if absent:
        raise ValueError(f'no run has the metric {absent[0]!r}; there are {", ".join(known) or "none"}')
    names = dict.fromkeys(name for run in runs for name in run.scalars)
    losses = [name for name in names if name.startswith('l_')]
    tasks = list(
        dict.fromkeys(
            (metric, task)
            for metric in metrics or known
            for run in runs
            for _, task, own in run.validation
            if own == metric
        )
    )
    panels = [*losses, *(['lr'] if 'lr' in names else []), *tasks]
    if not panels:
        raise ValueError(f'{runs[0].name}: has neither losses nor a learning rate nor a validation to draw')
    columns = min(4, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = new_figure(3.4 * columns, 2.7 * lines + 0.4)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis, panel in zip(axes, panels):
        axis.set_xlabel('iteration', fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.25, lw=0.5)
        if isinstance(panel, str):
            _scalars(axis, runs, panel, smoothing)
        else:
            _validation(axis, runs, *panel)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour(i), label=run.name) for i, run in enumerate(runs)]
    figure.legend(handles=handles, loc='outside lower center', ncols=min(3, len(runs)), fontsize=8)
    return figure


def _scalars(axis, runs: Sequence[Run], name: str, smoothing: float) -> None:
    axis.set_title('learning rate' if name == 'lr' else name, fontsize=9)
    for i, run in enumerate(runs):
        points = sorted(run.scalars.get(name, {}).items())
        if not points:
            continue
        steps, values = zip(*points)
        if name == 'lr':
            axis.plot(steps, values, color=colour(i), lw=1.5)
            continue
        axis.plot(steps, values, color=colour(i), lw=0.8, alpha=0.3)
        axis.plot(steps, smoothed(values, smoothing), color=colour(i), lw=1.5)


def _validation(axis, runs: Sequence[Run], metric: str, task: str) -> None:
    axis.set_title(f'{metric}, {task}' if task else metric, fontsize=9)
    sets = list(dict.fromkeys(s for run in runs for s, own, m in run.validation if (own, m) == (task, metric)))
    for i, run in enumerate(runs):
        for mark, dataset in zip(_MARKS * len(sets), sets):
            points = sorted(run.validation.get((dataset, task, metric), {}).items())
            if points:
                axis.plot(*zip(*points), color=colour(i), marker=mark, ms=3.5, lw=1.2)
            untouched = run.validation.get((dataset, task, _OF_INPUT + metric))
            if untouched:  # of the same images each time, so one figure stands for all
                axis.axhline(untouched[max(untouched)], color='0.4', ls=':', lw=1)
    if len(sets) > 1:
        from matplotlib.lines import Line2D

        handles = [
            Line2D([], [], color='0.2', marker=mark, ms=3.5, lw=0, label=dataset)
            for mark, dataset in zip(_MARKS * len(sets), sets)
        ]
        axis.legend(handles=handles, fontsize=6)


def write_figures(path: str | Path, runs: Sequence[Run]) -> Path:
    """Everything that was read, one row for each figure: run, iteration, data set, task, name, value."""
    rows = [
        (run.name, step, dataset, task, name, value)
        for run in runs
        for (dataset, task, name), values in [
            *((('', '', name), values) for name, values in run.scalars.items()),
            *run.validation.items(),
        ]
        for step, value in sorted(values.items())
    ]
    write_csv(path, [('run', 'iter', 'dataset', 'task', 'name', 'value'), *rows])
    return Path(path)
