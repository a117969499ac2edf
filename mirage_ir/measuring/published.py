"""The paper's tables as published, from `published_results.yml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import yaml

PUBLISHED = Path(__file__).with_name('published_results.yml')
AVERAGE = 'average'
ASSISTED = 'assisted'


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
    """

    method: str
    scores: Mapping[str, Mapping[str, float]]
    venue: str = ''
    params_m: float | None = None
    group: str = ''
    own: bool = False
    incomparable: tuple[str, ...] = ()


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
