"""The paper's Fig. 3 to 6 and B, drawn from what `analysis_run.analyse` returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mirage_ir.measuring.plotting import colour, new_figure
from research.features import analysis
from research.features.analysis import PLACES
from research.features.analysis_run import ALL, SHARE, TaskFeatures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LABELS = {'scale1': 'scale 1', 'scale2': 'scale 2', 'scale3': 'scale 3', 'scale4': 'scale 4', 'latent': 'latent'}
_FLOOR = 1e-7  # singular values below are rounding

Networks = Mapping[str, Mapping[str, TaskFeatures]]


def spectra(networks: Networks) -> Figure:
    """Fig. 3: explained variance and singular spectra of all images pooled, one row for each network."""
    figure = new_figure(10, 3.6 * len(networks))
    axes = figure.subplots(len(networks), 2, squeeze=False)
    for (left, right), (name, tasks) in zip(axes, networks.items()):
        found = _whole(tasks)
        for i, (place, moments) in enumerate(found.moments.items()):
            width = len(moments.total)
            number = analysis.components_for(moments, SHARE)
            steps = np.arange(1, width + 1)
            label = f'{_LABELS[place]}: {number} of {width}'
            left.plot(steps, analysis.explained_variance(moments), color=colour(i), label=label, lw=1.5)
            values = analysis.singular_spectrum(moments)
            shown = values > _FLOOR
            right.plot(steps[shown], values[shown], color=colour(i), label=_LABELS[place], lw=1.5)
        left.axhline(SHARE, color='0.6', lw=0.8, ls=':')
        left.set(
            title=f'{name}: variance explained',
            xlabel='principal components',
            ylabel='cumulative share',
            xscale='log',
            ylim=(None, 1.02),
        )
        left.legend(title=f'components for {SHARE:.0%}', fontsize=8, title_fontsize=8)
        right.set(
            title=f'{name}: singular values', xlabel='index', ylabel='over the largest', xscale='log', yscale='log'
        )
        right.legend(fontsize=8)
        for axis in (left, right):
            axis.grid(alpha=0.25, lw=0.5)
    return figure


def channels(tasks: Mapping[str, TaskFeatures], name: str) -> Figure:
    """Fig. 4 and B: similarity of channels at every place (columns) for every task (rows) of one network."""
    shown = {task: found for task, found in tasks.items() if task != ALL}
    figure = new_figure(2.5 * len(PLACES), 2.5 * len(shown) + 0.5)
    axes = figure.subplots(len(shown), len(PLACES), squeeze=False)
    for row, (task, found) in zip(axes, shown.items()):
        for axis, (place, moments) in zip(row, found.moments.items()):
            picture = axis.imshow(
                analysis.channel_similarity(moments), cmap='RdBu_r', vmin=-1, vmax=1, interpolation='nearest'
            )
            axis.set(xticks=[], yticks=[])
            axis.set_title(f'{_LABELS[place]} ({len(moments.total)})', fontsize=9)
        row[0].set_ylabel(task)
    figure.colorbar(picture, ax=axes, shrink=0.7, label='cosine')
    figure.suptitle(f'{name}: similarity of channels')
    return figure


def by_task(networks: Networks, how: str) -> Figure:
    """Fig. 5: shallow-latent cosine similarity of each image with itself, mean and deviation by task."""
    tasks = [task for task in next(iter(networks.values())) if task != ALL]
    figure = new_figure(max(4, 1.1 * len(tasks) * max(1, len(networks) / 2) + 1.5), 3.4)
    axis = figure.subplots()
    width = 0.8 / len(networks)
    for i, (name, found) in enumerate(networks.items()):
        diagonals = [np.diag(found[task].matrix(how)) for task in tasks]
        axis.bar(
            np.arange(len(tasks)) + (i + 0.5) * width - 0.4,
            [d.mean() for d in diagonals],
            width * 0.92,
            yerr=[d.std() for d in diagonals],
            color=colour(i),
            label=name,
            error_kw={'lw': 0.8},
            capsize=2,
        )
    axis.axhline(0, color='black', lw=0.6)
    axis.set_xticks(range(len(tasks)), tasks)
    axis.set_ylabel('cosine similarity')
    axis.set_title(f'shallow and latent features, {how}')
    axis.grid(axis='y', alpha=0.25, lw=0.5)
    if len(networks) > 1:
        axis.legend(fontsize=8)
    return figure


def samples(networks: Networks, how: str) -> Figure:
    """Fig. 6: similarity of the shallow features of one sample and the latent ones of another, by network."""
    figure = new_figure(3.4 * len(networks) + 1, 3.9)
    axes = figure.subplots(1, len(networks), squeeze=False)[0]
    matrices = [_whole(tasks).matrix(how) for tasks in networks.values()]
    # One scale for all networks, so that a collapsed one looks collapsed beside the others.
    low, high = min(m.min() for m in matrices), max(m.max() for m in matrices)
    if high - low < 1e-6:
        low, high = low - 0.5, high + 0.5
    for axis, name, matrix in zip(axes, networks, matrices):
        picture = axis.imshow(matrix, cmap='viridis', vmin=low, vmax=high, interpolation='nearest')
        text = name
        if len(matrix) > 1:
            text += (
                f'\noff-diagonal {analysis.mean_off_diagonal(matrix):.4f}, '
                f'ratio {analysis.off_diagonal_ratio(matrix):.3f}'
            )
        axis.set_title(text, fontsize=9)
        axis.set(xlabel='latent features of sample', ylabel='shallow features of sample')
    figure.colorbar(picture, ax=axes, shrink=0.8, label=f'cosine, {how}')
    return figure


def _whole(tasks: Mapping[str, TaskFeatures]) -> TaskFeatures:
    return tasks[ALL] if ALL in tasks else next(iter(tasks.values()))
