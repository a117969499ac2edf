"""A table of results as Markdown, LaTeX or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from .metrics import METRICS
from .published import PaperTable, TableRow
from .results import best_cells, rounded, shown

TITLES = {
    **{name: metric.title for name, metric in METRICS.items()},
    'params_m': 'parameters (M)',
    'flops_g': 'multiply-adds (G)',
    'memory_mb': 'memory (MB)',
}
Mark = Callable[[str], str]


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
    lines.append('| method | venue | params (M) | ' + ' | '.join(table.columns) + ' |')
    lines.append('|---|---|---|' + '---|' * len(table.columns))
    best = best_cells(rows, table)
    for row in [*rows, *differences]:
        cells = _cells(row, table, best, '**{}**'.format, signed=row in differences, between=' / ')
        method = f'{row.method} (assisted)' if row.group else f'**{row.method}**' if row.own else row.method
        lines.append(f'| {method} | {row.venue} | {_params(row)} | ' + ' | '.join(cells) + ' |')
    return '\n'.join([*lines, '', *(f'- {note}' for note in notes), ''])


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
        lines.append(rf'{_escaped(row.method)} & {_escaped(row.venue)} & {_params(row)} & {" & ".join(cells)} \\')
    lines += [r'\bottomrule', r'\end{tabular}', *(f'% {note}' for note in notes), r'\end{table*}', '']
    return '\n'.join(lines)


def as_csv(table: PaperTable, rows: Sequence[TableRow], differences: Sequence[TableRow], notes: Sequence[str]) -> str:
    """One line per method, one column per figure, `best` listing the winning ones; notes as comment lines."""
    text = io.StringIO()
    for note in notes:
        text.write(f'# {note}\n')
    writer = csv.writer(text, lineterminator='\n')
    figures = [(column, metric) for column in table.columns for metric in table.metrics]
    writer.writerow(['table', 'method', 'venue', 'params_m', 'kind', *(f'{c}:{m}' for c, m in figures), 'best'])
    best = best_cells(rows, table)
    for row in [*rows, *differences]:
        values = {(c, m): row.scores.get(c, {}).get(m) for c, m in figures}
        kind = 'difference' if row in differences else 'own' if row.own else row.group or 'published'
        won = [f'{c}:{m}' for c, m in figures if row not in differences and _wins(row, c, m, best)]
        cells = ['' if v is None else f'{v:.6g}' if row.own else shown(m, v) for (_, m), v in values.items()]
        writer.writerow([table.number, row.method, row.venue, _params(row).strip('-'), kind, *cells, ' '.join(won)])
    return text.getvalue()


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
