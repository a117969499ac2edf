"""The summary of Fig. 1(e): average PSNR and SSIM of every setting, own results among the published ones."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mirage_ir.measuring import tables
from mirage_ir.measuring.plotting import colour, new_figure
from mirage_ir.measuring.tables import ASSISTED, AVERAGE, TableRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS = ('psnr', 'ssim')
_UNITS = {'psnr': 'PSNR (dB)', 'ssim': 'SSIM'}
_OTHER_IMAGES = '†'


def averages(number: str, own: Sequence[tables.Result], best: int = 5) -> list[tuple[TableRow, dict[str, float]]]:
    """Methods of one setting with their averages, worst first.

    Args:
        number: Of the paper's table. A table with one data set and no average stands for its average.
        own: Results of that setting.
        best: Published methods kept: those of highest PSNR, and MIRAGE in any case. Assisted ones do not compete.

    Returns:
        Rows with PSNR and SSIM. The name of a result with another number of images than the published test sets ends
        in a dagger.

    Raises:
        ValueError: A result lacks data sets of the table, so that it has no average (all named), or no such table.
    """
    table = tables.published_table(number)
    column = AVERAGE if AVERAGE in table.columns else table.columns[0]
    if AVERAGE not in table.columns and len(table.columns) > 1:
        raise ValueError(f'Table {number} has no average over its data sets {", ".join(table.columns)}')
    rows = [
        row for row in table.rows if row.group != ASSISTED and all(m in row.scores.get(column, {}) for m in METRICS)
    ]
    rows.sort(key=lambda row: row.scores[column]['psnr'])
    kept = [row for i, row in enumerate(rows) if i >= len(rows) - best or row.method.startswith('MIRAGE')]
    for result in own:
        row = tables.own_row(result, table)
        lacking = [name for name in table.data_sets if any(m not in row.scores.get(name, {}) for m in METRICS)]
        if lacking:
            raise ValueError(
                f'{result.name}: no average for Table {number}, PSNR or SSIM of {", ".join(lacking)} is missing'
            )
        other_images = any(result.images.get(c) != n for c, n in table.images.items() if c in table.data_sets)
        kept.append(replace(row, method=row.method + _OTHER_IMAGES) if other_images else row)
    pairs = [(row, {metric: row.scores[column][metric] for metric in METRICS}) for row in kept]
    return sorted(pairs, key=lambda pair: pair[1]['psnr'])


def summary(own: Sequence[tables.Result], further: Sequence[str] = (), best: int = 5) -> Figure:
    """Bars of the averages, one column of panels for each setting and a row each for PSNR and SSIM.

    Args:
        own: Results of test runs; each goes to the setting of its data sets.
        further: Further settings of the paper, by the number of their tables.
        best: See `averages`.

    Raises:
        ValueError: Nothing to draw, or as `averages` and `tables.table_for`.
    """
    settings: dict[str, list[tables.Result]] = {number: [] for number in further}
    for result in own:
        settings.setdefault(tables.table_for(result).number, []).append(result)
    if not settings:
        raise ValueError('name at least one result or table')
    found = {number: averages(number, members, best) for number, members in settings.items()}
    most = max(map(len, found.values()))
    figure = new_figure(3.2 * len(found), 2 * (0.26 * most + 0.9))
    axes = figure.subplots(2, len(found), squeeze=False)
    for column, (number, rows) in enumerate(found.items()):
        axes[0, column].set_title(textwrap.fill(tables.published_table(number).title, 28), fontsize=9)
        for axis, metric in zip(axes[:, column], METRICS):
            _bars(axis, rows, metric)
    figure.supxlabel(
        f'own results in orange, others as printed in the paper ({_OTHER_IMAGES} not its test images, '
        'to judge by their number; * not its definition of the figure)',
        fontsize=8,
        wrap=True,
    )
    return figure


def _bars(axis, rows: Sequence[tuple[TableRow, dict[str, float]]], metric: str) -> None:
    values = [scores[metric] for _, scores in rows]
    names = [row.method + ('*' if metric in row.incomparable else '') for row, _ in rows]
    colours = [colour(1) if row.own else colour(0) if row.method.startswith('MIRAGE') else '0.7' for row, _ in rows]
    axis.barh(range(len(rows)), values, color=colours, height=0.75)
    axis.set_yticks(range(len(rows)), names, fontsize=8)
    for place, value in enumerate(values):
        axis.annotate(
            tables.shown(metric, value),
            (value, place),
            xytext=(2, 0),
            textcoords='offset points',
            va='center',
            fontsize=7,
        )
    # Bars that began at 0 would all look alike.
    low, high = min(values), max(values)
    margin = (high - low) or abs(high) * 0.1 or 1
    axis.set_xlim(low - 0.5 * margin, high + 0.45 * margin)
    axis.set_xlabel(_UNITS[metric], fontsize=8)
    axis.tick_params(axis='x', labelsize=7)
    axis.spines[['top', 'right']].set_visible(False)
