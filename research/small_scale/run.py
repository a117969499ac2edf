"""Ablations at a size that a CPU trains in minutes: one budget for all, several seeds, differences beside spreads.

    python research/small_scale/run.py --variants no_fusion static_conv no_contrast --seeds 0 1
    python research/small_scale/run.py --variants no_fusion static_conv no_contrast --seeds 0 1 2
    python research/small_scale/run.py --variants no_fusion --seeds 0 1 --table-only

A variant is a file of options/ablation; the keys in which it differs from options/train_mirage_3deg.yml are put into
the reduced experiment of options/small_scale/base.yml, which always takes part. Finished runs are kept and interrupted
ones go on, so a further seed or variant costs its own runs only. After each run --out has the table (Markdown, CSV,
JSON) of what there is so far, and its picture.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mirage_ir.measuring import plotting
from mirage_ir.measuring.report import AVERAGE, write_csv
from mirage_ir.measuring.tables import markdown_table
from research.common import ROOT, ended, parser_of
from research.small_scale import variants as small_scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure


INPUT = 'degraded input'
#: Figures of runs: variant -> seed -> data set -> value.
Scores = Mapping[str, Mapping[int, Mapping[str, float]]]


@dataclass(frozen=True)
class Cell:
    """What came out for one variant in one column.

    Args:
        variant: Its name.
        column: A data set, or ``average`` over them.
        seeds: Number of seeds.
        mean: Over the seeds.
        spread: The largest minus the smallest value over the seeds; NaN for one seed.
        difference: Of the means, variant minus base, over the seeds that both have; None for the base.
        threshold: The larger spread of the two; a difference up to it is not told from chance. NaN for one seed.
        verdict: ``base``, ``better``, ``worse``, ``within spread``, or ``one seed``.
    """

    variant: str
    column: str
    seeds: int
    mean: float
    spread: float
    difference: float | None
    threshold: float
    verdict: str


def summarise(scores: Scores, base: str = 'base', higher_is_better: bool = True) -> list[Cell]:
    """Compare variants with the base, column by column.

    Spreads of the two variants are those over the seeds that both have, since a spread of three seeds and one of two
    are not alike.

    Args:
        scores: Figures by variant, seed and data set.
        base: The variant that others are compared with.
        higher_is_better: What the sign of a difference means.

    Raises:
        ValueError: No figures of the base, two runs that measured different data sets, or a variant that shares no
            seed with the base.
    """
    if not scores.get(base):
        raise ValueError(f'no figures of {base!r}, with which the others are compared')
    columns = list(next(iter(scores[base].values())))
    for variant, runs in scores.items():
        for seed, values in runs.items():
            if list(values) != columns:
                raise ValueError(f'{variant}, seed {seed}: measured on {list(values)}, the base on {columns}')
    cells = []
    for variant, runs in scores.items():
        common = [seed for seed in runs if seed in scores[base]]
        if not common:
            raise ValueError(f'{variant}: seeds {sorted(runs)}, {base}: {sorted(scores[base])}; none in common')
        for column in [*columns, AVERAGE]:
            own = [_value(values, column) for values in runs.values()]
            mean, spread = math.fsum(own) / len(own), _spread(own)
            if variant == base:
                cells.append(Cell(variant, column, len(own), mean, spread, None, math.nan, 'base'))
                continue
            theirs = [_value(scores[base][seed], column) for seed in common]
            shared = [_value(runs[seed], column) for seed in common]
            difference = (math.fsum(shared) - math.fsum(theirs)) / len(common)
            threshold = max(_spread(shared), _spread(theirs))
            verdict = _verdict(difference if higher_is_better else -difference, threshold)
            cells.append(Cell(variant, column, len(own), mean, spread, difference, threshold, verdict))
    return cells


def _value(values: Mapping[str, float], column: str) -> float:
    return math.fsum(values.values()) / len(values) if column == AVERAGE else values[column]


def _spread(values: Sequence[float]) -> float:
    return max(values) - min(values) if len(values) > 1 else math.nan


def _verdict(gain: float, threshold: float) -> str:
    if math.isnan(threshold):
        return 'one seed'
    if abs(gain) <= threshold:
        return 'within spread'
    return 'better' if gain > 0 else 'worse'


def markdown(cells: Sequence[Cell], metric: str, iterations: int, of_input: Mapping[str, float] | None = None) -> str:
    """The comparison as a table of GitHub's Markdown, with a sentence that says what its cells are.

    Args:
        cells: Of `summarise`.
        metric: Name of the figure, for the text.
        iterations: Of each run, for the text.
        of_input: The same figures of the degraded images, by column.
    """
    columns, variants = (list(dict.fromkeys(getattr(cell, name) for cell in cells)) for name in ('column', 'variant'))
    found = {(cell.variant, cell.column): cell for cell in cells}
    body = []
    if of_input:
        figures = {**of_input, AVERAGE: _value(of_input, AVERAGE)}
        body.append([INPUT, '', *(f'{figures[column]:.2f}' for column in columns)])
    for variant in variants:
        row = [found[variant, column] for column in columns]
        body.append([variant, str(row[0].seeds), *map(_text, row)])
    lines = [
        markdown_table(['variant', 'seeds', *columns], body, left=1),
        '',
        f'{metric} after {iterations:,} iterations: mean over the seeds ± half their spread (largest minus smallest), '
        'and the difference to the base over the seeds that both have. `=` marks a difference within the larger '
        'spread of the two, which shows nothing; `?` one that cannot be judged from one seed.',
    ]
    return '\n'.join(lines) + '\n'


def _text(cell: Cell) -> str:
    mean = f'{cell.mean:.2f}' if math.isnan(cell.spread) else f'{cell.mean:.2f} ± {cell.spread / 2:.2f}'
    if cell.difference is None:
        return mean
    marks = {'within spread': ' =', 'one seed': ' ?'}
    return f'{mean} ({cell.difference:+.2f}{marks.get(cell.verdict, "")})'


def write(
    folder: str | Path, name: str, cells: Sequence[Cell], scores: Scores, text: str, **about: object
) -> list[Path]:
    """Write `name`.md (the text), .csv (one line for each cell) and .json (all figures) into a folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f'{name}.{ending}' for ending in ('md', 'csv', 'json')]
    files[0].write_text(text, encoding='utf-8')
    rows = [{key: None if _is_nan(value) else value for key, value in asdict(cell).items()} for cell in cells]
    write_csv(files[1], [list(rows[0]), *(row.values() for row in rows)])
    content = {**about, 'cells': rows, 'runs': {variant: dict(runs) for variant, runs in scores.items()}}
    files[2].write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')
    return files


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def draw(scores: Scores, metric: str, base: str = 'base') -> Figure:
    """A panel for each data set and the average: a dot for each run, a line at each mean, the base's range shaded.

    Args:
        scores: Figures by variant, seed and data set.
        metric: Name of the figure, for the axis.
        base: The variant whose range is shaded.
    """
    columns = [*next(iter(scores[base].values())), AVERAGE]
    names = list(scores)
    figure = plotting.new_figure(2.3 * len(columns) + 1.2, 0.32 * len(names) + 1.1)
    for i, (axis, column) in enumerate(zip(figure.subplots(1, len(columns), sharey=True, squeeze=False)[0], columns)):
        of_base = [_value(values, column) for values in scores[base].values()]
        axis.axvspan(min(of_base), max(of_base), color='0.85', lw=0)
        for place, name in enumerate(names):
            values = [_value(run, column) for run in scores[name].values()]
            axis.plot(
                values, [place] * len(values), 'o', color=plotting.colour(0 if name == base else 1), ms=4, alpha=0.8
            )
            axis.plot([sum(values) / len(values)], [place], '|', color='black', ms=13)
        axis.set_title(column, fontsize=9)
        axis.set_xlabel(metric, fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.25, lw=0.5)
        if i == 0:
            axis.set_yticks(range(len(names)), names, fontsize=8)
            axis.invert_yaxis()
    return figure


def main(argv: list[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument('--variants', nargs='+', required=True, help='names of files in --ablations, without ending')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1], help='default: 0 1')
    parser.add_argument('--out', type=Path, default=Path('results/small_ablation'), help='folder for runs and tables')
    parser.add_argument('--base', type=Path, default=ROOT / 'options/small_scale/base.yml')
    parser.add_argument('--ablations', type=Path, default=ROOT / 'options/ablation')
    parser.add_argument(
        '--compared-with',
        type=Path,
        default=ROOT / 'options/train_mirage_3deg.yml',
        help='the option file that the ablations were derived from',
    )
    parser.add_argument('--name', default='ablation', help='name of the table and its picture')
    parser.add_argument('--metric', default='psnr', help='of the validation; higher is better')
    parser.add_argument('--threads', type=int, help='of PyTorch')
    parser.add_argument('--table-only', action='store_true', help='train nothing')
    arguments = parser.parse_args(argv)
    return ended(lambda: compare(arguments))


def compare(arguments: argparse.Namespace) -> int:
    """Makes the runs and their table; returns 1 if a run failed."""
    names = dict.fromkeys([small_scale.BASE, *arguments.variants])
    variants = {name: small_scale.changes_of(name, arguments.ablations, arguments.compared_with) for name in names}
    runs = small_scale.plan(small_scale.read_options(arguments.base), variants, arguments.seeds, ROOT)
    failures = [] if arguments.table_only else train(runs, arguments)
    print(*report(runs, arguments), *failures, sep='\n')
    return int(bool(failures))


def train(runs: Sequence[small_scale.SmallRun], arguments: argparse.Namespace) -> list[str]:
    """Make the runs that are not finished; returns what went wrong, since one failure need not stop the others."""
    failures = []
    bar = tqdm(runs, unit='run')
    for run in bar:
        bar.set_description(run.name)
        if small_scale.scores_of(run, arguments.out) is not None:
            continue
        try:
            small_scale.carry_out(run, arguments.out, arguments.threads)
        except RuntimeError as error:
            failures.append(str(error))
            tqdm.write(f'failed: {error}')
            continue
        report(runs, arguments)
    return failures


def report(runs: Sequence[small_scale.SmallRun], arguments: argparse.Namespace) -> list[Path]:
    """Tables and picture of the finished runs; none before the base has one."""
    scores: dict[str, dict[int, dict[str, float]]] = {}
    of_input: dict[str, float] = {}
    for run in runs:
        found = small_scale.scores_of(run, arguments.out)
        if found is None:
            continue
        values = {dataset: value for (dataset, metric), value in found.items() if metric == arguments.metric}
        if not values:
            known = ', '.join(dict.fromkeys(metric for _, metric in found))
            raise ValueError(f'metric {arguments.metric!r}: {run.name} was validated with {known}')
        scores.setdefault(run.variant, {})[run.seed] = values
        of_input = {d: v for (d, metric), v in found.items() if metric == f'input_{arguments.metric}'}
    if small_scale.BASE not in scores:
        return []
    of_base = scores[small_scale.BASE]
    scores = {name: found for name, found in scores.items() if set(found) & set(of_base)}
    cells = summarise(scores)
    iterations = runs[0].options['train']['total_iter']
    text = markdown(cells, arguments.metric.upper(), iterations, of_input)
    files = write(
        arguments.out,
        arguments.name,
        cells,
        scores,
        text,
        metric=arguments.metric,
        iterations=iterations,
        input=of_input,
    )
    figure = draw(scores, arguments.metric.upper())
    return [*files, *plotting.save(figure, arguments.out / arguments.name)]


if __name__ == '__main__':
    sys.exit(main())
