"""A check's findings as text for people and JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mirage_data.sets.check_findings import Report

_COLUMNS = ('images', 'expected', 'unreadable', 'foreign', 'unpaired', 'unequal', 'duplicates', 'leaks')
_NOT_DONE = '-'
EXAMPLES = 5  # names shown with a finding


def as_text(report: Report, quick: bool = False, leaks_checked: bool = True) -> str:
    """The table of folders, then the findings with a few examples each, then the verdict.

    Args:
        report: what was found.
        quick: no image was read, so the columns that need it show a dash.
        leaks_checked: whether leaks were looked for.
    """
    unknown = {'unreadable', 'unequal', 'duplicates'} if quick else set()
    lines = [('set', 'split', 'folder', *_COLUMNS)]
    for row in report.rows:
        cells = []
        for column in _COLUMNS:
            value = getattr(row, column)
            no_leaks = column == 'leaks' and (row.split != 'train' or not leaks_checked)
            no_count = column == 'expected' and not value
            cells.append(_NOT_DONE if column in unknown or no_leaks or no_count else f'{value:,}')
        lines.append((row.data_set, row.split, row.folder, *cells))
    parts = [_table(lines)] if report.rows else []
    for finding in report.findings:
        shown = ''.join(f'\n    {example}' for example in finding.examples[:EXAMPLES])
        more = len(finding.examples) - EXAMPLES
        count = f'{finding.count:,} ' if finding.count and finding.kind != 'count' else ''
        text = f'{finding.level}: {finding.where}: {count}{finding.message}{shown}'
        parts.append(text + (f'\n    and {more:,} more' if more > 0 else ''))
    parts.append(_verdict(report))
    return '\n'.join(parts)


def _table(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rendered = []
    for number, line in enumerate(lines):
        cells = [
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths))
        ]
        rendered.append('  '.join(cells).rstrip())
        if number == 0:
            rendered.append('  '.join('-' * width for width in widths))
    return '\n'.join(rendered) + '\n'


def _verdict(report: Report) -> str:
    counts = {level: sum(f.level == level for f in report.findings) for level in ('error', 'warning', 'note')}
    if not report.rows and not report.findings:
        return 'nothing to check: no data set is prepared here'
    if not any(counts.values()):
        return 'all in order'
    return ', '.join(f'{count} {level}{"s" if count > 1 else ""}' for level, count in counts.items() if count)


def as_json(report: Report, root: str | Path) -> str:
    """Everything, with all names."""
    content = {
        'root': str(root),
        'worst': report.worst(),
        'folders': [asdict(row) for row in report.rows],
        'findings': [asdict(finding) for finding in report.findings],
        'leaks': [asdict(leak) for leak in report.leaks],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + '\n'
