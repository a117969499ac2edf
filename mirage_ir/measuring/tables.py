"""Tables of results: the rows as published, those of one's own runs, and both as Markdown, LaTeX or CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import yaml

from mirage_data.files.image_headers import harmless

from .metrics import METRICS
from .protocols import cropping
from .report import AVERAGE, Result

PUBLISHED = Path(__file__).with_name('published_results.yml')
ASSISTED = 'assisted'
#: Entries of a result's protocol that are lists of details, and what stands in the row itself.
CAVEATS = {
    'chosen': 'tasks left out',
    'trained on incomplete data': 'incomplete training data',
    'incomplete test sets': 'incomplete test sets',
}


@dataclass(frozen=True)
class TableRow:
    """One method.

    Args:
        method: Its name.
        scores: `scores[column][metric]`; lacks what was not measured.
        venue: Where it was published.
        params_m: Millions of parameters.
        group: `assisted` for methods with help from language and the like.
        own: Whether the row is ours, not the paper's.
        incomparable: Metrics that were measured by another definition than the paper's.
        caveats: What the figures should be read with, in few words; notes below the table have the details.
    """

    method: str
    scores: Mapping[str, Mapping[str, float]]
    venue: str = ''
    params_m: float | None = None
    group: str = ''
    own: bool = False
    incomparable: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()

    @property
    def remark(self) -> str:
        """The caveats as they stand behind the method."""
        return f' ({", ".join(self.caveats)})' if self.caveats else ''


@dataclass(frozen=True)
class PaperTable:
    """One table of the paper.

    Args:
        number: As the paper numbers it.
        title: What it compares.
        columns: Names of the data sets, and perhaps `average`.
        metrics: Figures in each column.
        rows: Methods, in the paper's order.
        average_of: Number of the table whose columns are averaged, where only the average is printed.
        images: How many images the published test sets have, by column.
    """

    number: str
    title: str
    columns: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: tuple[TableRow, ...]
    average_of: str = ''
    images: Mapping[str, int] = field(default_factory=dict)

    @property
    def crop_multiple(self) -> int:
        """To what the test images are cropped in this setting; CDD11 is left whole."""
        return 0 if self.columns[0].startswith('CDD11') else 16

    @property
    def data_sets(self) -> tuple[str, ...]:
        """The data sets that are measured for this table."""
        columns = published_table(self.average_of).columns if self.average_of else self.columns
        return tuple(column for column in columns if column != AVERAGE)

    def row(self, method: str) -> TableRow:
        """The published row of a method; ValueError if there is none."""
        for row in self.rows:
            if row.method == method:
                return row
        known = ', '.join(row.method for row in self.rows)
        raise ValueError(f'Table {self.number} has no method {method!r}; it has {known}')


@lru_cache
def published_tables(path: Path = PUBLISHED) -> tuple[PaperTable, ...]:
    """All tables of the data file, in the paper's order."""
    tables = []
    for entry in yaml.safe_load(path.read_text(encoding='utf-8')):
        columns, metrics = tuple(entry['columns']), tuple(entry['metrics'])
        rows = []
        for row in entry['rows']:
            scores = {
                column: {metric: value for metric, value in zip(metrics, values, strict=True) if value is not None}
                for column, values in zip(columns, row['scores'], strict=True)
            }
            rows.append(
                TableRow(row['method'], scores, row.get('venue', ''), row.get('params_m'), row.get('group', ''))
            )
        average_of, images = entry.get('average_of', ''), dict(zip(columns, entry.get('images', ()), strict=False))
        tables.append(PaperTable(entry['table'], entry['title'], columns, metrics, tuple(rows), average_of, images))
    return tuple(tables)


def published_table(number: str) -> PaperTable:
    """The table of a number; ValueError naming those there are."""
    for table in published_tables():
        if table.number.lower() == number.lower():
            return table
    raise ValueError(f'no table {number!r}; there are {", ".join(t.number for t in published_tables())}')


#: The metric that the paper's figures were made with, by the name of its column.
PAPER_METRICS = {name: metric.type for name, metric in METRICS.items() if metric.registered}
_DIGITS = {'memory_mb': 0, 'params_m': 2, 'flops_g': 2, **{name: metric.digits for name, metric in METRICS.items()}}
_USUAL = {'channel': 'rgb', 'crop_border': 0, 'eight_bit': False, 'gt_mean': False, 'window': 'uniform', 'net': 'alex'}
_HIGHER_IS_BETTER = tuple(name for name, metric in METRICS.items() if metric.better == 'higher')


def table_for(result: Result) -> PaperTable:
    """The table whose data sets are most like those of a result.

    Raises:
        ValueError: No table has any of them.
    """
    measured = set(result.scores)

    def likeness(table: PaperTable) -> float:
        return len(measured & set(table.data_sets)) / len(measured | set(table.data_sets))

    candidates = [table for table in published_tables() if not table.average_of]
    best = max(candidates, key=likeness)
    if not likeness(best):
        known = sorted({name for table in candidates for name in table.data_sets})
        raise ValueError(
            f'{result.name}: no table has the data sets {", ".join(sorted(measured))}; known names: {", ".join(known)}'
        )
    return best


def own_row(result: Result, table: PaperTable, metric_keys: Mapping[str, str] | None = None) -> TableRow:
    """A result as a row of a table.

    Args:
        result: The result.
        table: The table.
        metric_keys: Which of the run's metrics stands for one of the table's, as {'psnr': 'psnr_y'}; by default the
            one of the same name.

    Returns:
        The row; its average is there only when every data set of the table was measured.

    Raises:
        ValueError: `metric_keys` names a metric that the run does not have.
    """
    keys = {metric: (metric_keys or {}).get(metric, metric) for metric in table.metrics}
    have = {metric for values in result.scores.values() for metric in values}
    for metric, key in (metric_keys or {}).items():
        if key not in have:
            raise ValueError(f'{result.name}: has no metric {key!r} (for {metric}); it has {", ".join(sorted(have))}')
    scores: dict[str, dict[str, float]] = {
        column: {m: result.scores[column][k] for m, k in keys.items() if k in result.scores[column]}
        for column in table.data_sets
        if column in result.scores
    }
    if AVERAGE in table.columns:
        scores[AVERAGE] = {
            metric: sum(scores[column][metric] for column in table.data_sets) / len(table.data_sets)
            for metric in table.metrics
            if all(metric in scores.get(column, {}) for column in table.data_sets)
        }
    # Whoever names a metric has chosen it for the comparison.
    other = tuple(m for m in table.metrics if m not in (metric_keys or {}) and not _is_the_papers(result, m))
    other_images = {'incomplete test sets': _other_images(result, table)}
    caveats = tuple(words for key, words in CAVEATS.items() if result.protocol.get(key) or other_images.get(key))
    return TableRow(result.name, scores, params_m=result.params_m, own=True, incomparable=other, caveats=caveats)


def _other_images(result: Result, table: PaperTable) -> list[str]:
    """Data sets of which a run measured another number of images than the published test set has."""
    full = (published_table(table.average_of) if table.average_of else table).images
    return [
        f'{c} {result.images[c]} of {full[c]}'
        for c in table.data_sets
        if result.images.get(c) and c in full and result.images[c] != full[c]
    ]


def _is_the_papers(result: Result, metric: str) -> bool:
    options = (result.protocol.get('metrics') or {}).get(metric)
    if not options or metric not in PAPER_METRICS:
        return True  # the run does not say, or the figure has one definition only
    return options.get('type') == PAPER_METRICS[metric] and not any(
        options.get(key, usual) != usual for key, usual in _USUAL.items()
    )


def difference(row: TableRow, reference: TableRow) -> TableRow:
    """What a row has over another one, where both have a figure of the same definition."""
    scores = {
        column: {
            m: v - reference.scores[column][m]
            for m, v in values.items()
            if m in reference.scores[column] and m not in row.incomparable
        }
        for column, values in row.scores.items()
        if column in reference.scores
    }
    return TableRow(f'{row.method} - {reference.method}', scores, own=True)


def best_cells(rows: Sequence[TableRow], table: PaperTable) -> set[tuple[str, str, float]]:
    """(column, metric, printed value) of the best figures; assisted methods do not compete, as in the paper."""
    best = set()
    for column in table.columns:
        for metric in table.metrics:
            values = [
                rounded(metric, row.scores[column][metric])
                for row in rows
                if row.group != ASSISTED and metric in row.scores.get(column, {}) and metric not in row.incomparable
            ]
            values = [value for value in values if not math.isnan(value)]
            if values:
                best.add((column, metric, max(values) if metric in _HIGHER_IS_BETTER else min(values)))
    return best


def rounded(metric: str, value: float) -> float:
    """A figure with the digits that the paper prints."""
    return round(value, _DIGITS.get(metric, 3))


def shown(metric: str, value: float | None, signed: bool = False) -> str:
    """A figure as text; '-' where there is none."""
    if value is None:
        return '-'
    return f'{value:{"+" if signed else ""}.{_DIGITS.get(metric, 3)}f}'


def protocol_notes(
    results: Sequence[Result], table: PaperTable, metric_keys: Mapping[str, str] | None = None
) -> list[str]:
    """Sentences below a table: how the figures were made, and where they cannot be compared."""
    notes = [f'Published rows: MIRAGE (ICLR 2026), Table {table.number}, as printed there.']
    for result in results:
        options = result.protocol.get('metrics') or {}
        have = {key for values in result.scores.values() for key in values}
        used = []
        for metric in table.metrics:
            key = (metric_keys or {}).get(metric, metric)
            if key in have:
                kind = dict(options.get(key) or {})
                name = kind.pop('type', 'unknown')
                extras = ', '.join(f'{k} {v}' for k, v in kind.items() if k != 'better')
                used.append(f'{metric} by {name}' + (f' ({extras})' if extras else ''))
        rest = [f'{key} {value}' for key, value in result.protocol.items() if key not in ('metrics', *CAVEATS)]
        counts = ', '.join(f'{c} {result.images[c]}' for c in table.data_sets if result.images.get(c))
        weights = [f'weights {result.weights}'] if result.weights else []
        weights += ['parameters without training heads'] if result.params_m else []
        notes.append(f'{result.name}: {"; ".join([*used, *rest, *weights, f"images: {counts}"])}.')
        for key in CAVEATS:
            details = result.protocol.get(key) or []
            details = details.split('; ') if isinstance(details, str) else details  # as older results have them
            notes += [f'{result.name}: {key}:', *(f'  {detail}' for detail in details)] if details else []
        other = [m for m in own_row(result, table, metric_keys).incomparable if m in have]
        if other:
            notes.append(
                f"{result.name}: {' and '.join(other)} by another definition than the paper's, so not compared with it."
            )
        if parts := _other_images(result, table):
            found = ', '.join(parts)
            notes.append(f'{result.name}: not the published test sets, to judge by the number of images: {found}.')
        crop = result.protocol.get('crop_multiple')
        if crop not in (None, table.crop_multiple):
            notes.append(f'{result.name}: {cropping(crop)}; the paper: {cropping(table.crop_multiple)}.')
    return notes


TITLES = {
    **{name: metric.title for name, metric in METRICS.items()},
    'params_m': 'parameters (M)',
    'flops_g': 'multiply-adds (G)',
    'memory_mb': 'memory (MB)',
}
Mark = Callable[[str], str]


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]], left: int | None = None) -> str:
    """A table as GitHub shows it.

    Args:
        heads: Titles of the columns.
        rows: Their cells.
        left: So many columns stand at the left, the others, which are numbers, at the right; None for all.
    """
    left = len(heads) if left is None else left
    heads, *rows = ([harmless(cell).replace('|', '\\|') for cell in cells] for cells in (heads, *rows))
    marks = ['---'] * left + ['---:'] * (len(heads) - left)
    lines = ['|' + ''.join(f' {cell} |' if cell else ' |' for cell in cells) for cells in (heads, *rows)]
    return '\n'.join([lines[0], f'|{"|".join(marks)}|', *lines[1:]])


def markdown(table: PaperTable, rows: Sequence[TableRow], differences: Sequence[TableRow], notes: Sequence[str]) -> str:
    """GitHub's tables, best figures in bold.

    Args:
        table: What the columns are.
        rows: Methods, published and own.
        differences: Rows of differences, printed last with signs.
        notes: Sentences below the table.
    """
    metrics = ' / '.join(TITLES.get(metric, metric) for metric in table.metrics)
    lines = [f'**Table {table.number}: {table.title}** ({metrics}; best in bold)', '']
    body = []
    best = best_cells(rows, table)
    for row in [*rows, *differences]:
        cells = _cells(row, table, best, '**{}**'.format, signed=row in differences, between=' / ')
        method = f'**{row.method}**{row.remark}' if row.own else row.method + ' (assisted)' * bool(row.group)
        body.append([method, row.venue, _params(row), *cells])
    lines.append(markdown_table(['method', 'venue', 'params (M)', *table.columns], body))
    return '\n'.join([*lines, '', *(_indented('- ', note) for note in notes), ''])


def latex(table: PaperTable, rows: Sequence[TableRow], differences: Sequence[TableRow], notes: Sequence[str]) -> str:
    """A `table*` environment for the package booktabs; arguments as `markdown`."""
    width = len(table.metrics)
    best = best_cells(rows, table)
    heads = ' & '.join(rf'\multicolumn{{{width}}}{{c}}{{{_escaped(column)}}}' for column in table.columns)
    rules = ' '.join(rf'\cmidrule(lr){{{4 + i * width}-{3 + (i + 1) * width}}}' for i in range(len(table.columns)))
    under = ' & '.join(' & '.join(_escaped(TITLES.get(m, m)) for m in table.metrics) for _ in table.columns)
    lines = [
        r'\begin{table*}',
        rf'\caption{{{_escaped(table.title)}. Best figures in bold.}}',
        rf'\begin{{tabular}}{{llr{"c" * width * len(table.columns)}}}',
        r'\toprule',
        rf'Method & Venue & Params (M) & {heads} \\',
        rules,
        rf' & & & {under} \\',
        r'\midrule',
    ]
    for row in [*rows, *differences]:
        if row.own and lines[-1] != r'\midrule' and not any(line.startswith('% own') for line in lines):
            lines += ['% own', r'\midrule']
        cells = _cells(row, table, best, r'\textbf{{{}}}'.format, signed=row in differences, between=' & ')
        method = _escaped(harmless(row.method + row.remark))
        lines.append(rf'{method} & {_escaped(row.venue)} & {_params(row)} & {" & ".join(cells)} \\')
    lines += [r'\bottomrule', r'\end{tabular}', *(f'% {harmless(note)}' for note in notes), r'\end{table*}', '']
    return '\n'.join(lines)


def as_csv(table: PaperTable, rows: Sequence[TableRow], differences: Sequence[TableRow], notes: Sequence[str]) -> str:
    """One line per method, one column per figure, `best` listing the winning ones; notes as comment lines."""
    text = io.StringIO()
    for note in notes:
        text.write(f'# {harmless(note)}\n')
    writer = csv.writer(text, lineterminator='\n')
    figures = [(column, metric) for column in table.columns for metric in table.metrics]
    writer.writerow(['table', 'method', 'venue', 'params_m', 'kind', *(f'{c}:{m}' for c, m in figures), 'best', 'note'])
    best = best_cells(rows, table)
    for row in [*rows, *differences]:
        values = {(c, m): row.scores.get(c, {}).get(m) for c, m in figures}
        kind = 'difference' if row in differences else 'own' if row.own else row.group or 'published'
        won = [f'{c}:{m}' for c, m in figures if row not in differences and _wins(row, c, m, best)]
        cells = ['' if v is None else f'{v:.6g}' if row.own else shown(m, v) for (_, m), v in values.items()]
        name = [table.number, row.method, row.venue, _params(row).strip('-'), kind]
        writer.writerow([*name, *cells, ' '.join(won), '; '.join(row.caveats)])
    return text.getvalue()


def _indented(mark: str, note: str) -> str:
    depth = len(note) - len(note.lstrip())
    return ' ' * depth + mark + harmless(note.lstrip())


FORMATS = {'markdown': markdown, 'latex': latex, 'csv': as_csv}


def _cells(
    row: TableRow, table: PaperTable, best: set[tuple[str, str, float]], mark: Mark, signed: bool, between: str
) -> list[str]:
    cells = []
    for column in table.columns:
        parts = []
        for metric in table.metrics:
            text = shown(metric, row.scores.get(column, {}).get(metric), signed)
            parts.append(mark(text) if not signed and _wins(row, column, metric, best) else text)
        cells.append('-' if set(parts) == {'-'} and between == ' / ' else between.join(parts))
    return cells


def _wins(row: TableRow, column: str, metric: str, best: set[tuple[str, str, float]]) -> bool:
    value = row.scores.get(column, {}).get(metric)
    if value is None or row.group or metric in row.incomparable:
        return False
    return (column, metric, rounded(metric, value)) in best


def _params(row: TableRow) -> str:
    return '-' if row.params_m is None else f'{row.params_m:.4g}'


def _escaped(text: str) -> str:
    return ''.join('\\' + c if c in '_&%#$' else c for c in text)
