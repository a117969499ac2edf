"""A check's findings as text for people and JSON for programs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mirage_data.files.image_headers import harmless
from mirage_data.sets.leaks import Leak


@dataclass
class Finding:
    """Something a user should know.

    Attributes:
        level: 'error' (the data is not usable as it is), 'warning' (figures may differ), or 'note'.
        kind: 'absent', 'count', 'unreadable', 'foreign', 'unpaired', 'size', 'alignment', 'equal sides', 'duplicates',
            'grey', 'lmdb', 'list' or 'leak'.
        where: The folder or file.
        count: How many files it is about.
        message: In words.
        examples: Some of them; all in the JSON report.
    """

    level: str
    kind: str
    where: str
    count: int
    message: str
    examples: list[str] = field(default_factory=list)


@dataclass
class FolderRow:
    """A line of the table: how many images a folder has, should have, and how many of them are faulty."""

    data_set: str
    split: str
    folder: str
    images: int
    expected: int
    unreadable: int = 0
    foreign: int = 0
    unpaired: int = 0
    unequal: int = 0
    duplicates: int = 0
    leaks: int = 0


@dataclass
class Report:
    """All that was found.

    Attributes:
        rows: A line for each folder that exists.
        findings: Worst first within a set.
        leaks: The pairs behind the 'leak' findings.
        leak_free: For each training folder that was compared, the samples whose photograph is in no test set.
    """

    rows: list[FolderRow] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    leaks: list[Leak] = field(default_factory=list)
    leak_free: dict[str, list[str]] = field(default_factory=dict)

    def worst(self) -> str:
        """'error', 'warning', 'note' or '' if nothing was found."""
        levels = {finding.level for finding in self.findings}
        return next((level for level in ('error', 'warning', 'note') if level in levels), '')


_COLUMNS = ('images', 'expected', 'unreadable', 'foreign', 'unpaired', 'unequal', 'duplicates', 'leaks')
_NOT_DONE = '-'
EXAMPLES = 5  # names shown with a finding


def as_text(report: Report, quick: bool = False, leaks_checked: bool = True, examples: int | None = EXAMPLES) -> str:
    """The table of folders, then the findings with a few examples each, then the verdict.

    Args:
        report: What was found.
        quick: No image was read, so the columns that need it show a dash.
        leaks_checked: Whether leaks were looked for.
        examples: How many names are shown with a finding; None for all.
    """
    unknown = {'unreadable', 'unequal', 'duplicates'} if quick else set()
    lines: list[tuple[str, ...]] = [('set', 'split', 'folder', *_COLUMNS)]
    for row in report.rows:
        cells = []
        for column in _COLUMNS:
            value = getattr(row, column)
            no_leaks = column == 'leaks' and (row.split != 'train' or not leaks_checked)
            no_count = column == 'expected' and not value
            cells.append(_NOT_DONE if column in unknown or no_leaks or no_count else f'{value:,}')
        lines.append((harmless(row.data_set), row.split, harmless(row.folder), *cells))
    parts = [_table(lines)] if report.rows else []
    for finding in report.findings:
        shown = ''.join(f'\n    {harmless(example)}' for example in finding.examples[:examples])
        more = len(finding.examples) - (len(finding.examples) if examples is None else examples)
        count = f'{finding.count:,} ' if finding.count and finding.kind != 'count' else ''
        text = harmless(f'{finding.level}: {finding.where}: {count}{finding.message}')
        parts.append(text + shown + (f'\n    and {more:,} more (--all-names)' if more > 0 else ''))
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


def below(path: str | Path, root: str | Path) -> str:
    """A path as it is below the root, or whole if it is elsewhere."""
    path, root = Path(os.path.abspath(path)), Path(os.path.abspath(root))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def leaks_in(report: str | Path) -> list[tuple[str, str]]:
    """The leaking pairs of a JSON report: (training image, test image), each below its root or whole.

    Raises:
        ValueError: For a file that is no such report.
        OSError: If it cannot be read.
    """
    try:
        content = json.loads(Path(report).read_text(encoding='utf-8'))
        root = content['root']
        return [(below(leak['train'], root), below(leak['test'], root)) for leak in content['leaks']]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f'{report}: no JSON report of check-data ({type(error).__name__}: {error})') from None
