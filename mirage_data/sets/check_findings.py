"""What a check of data sets reports."""

from __future__ import annotations

from dataclasses import dataclass, field

from mirage_data.sets.leak_verify import Leak


@dataclass
class Finding:
    """Something a user should know.

    Attributes:
        level: 'error' (the data is not usable as it is), 'warning' (figures may differ), or 'note'.
        kind: 'absent', 'count', 'unreadable', 'foreign', 'unpaired', 'size', 'alignment', 'equal sides', 'duplicates',
            'grey', 'lmdb', 'list' or 'leak'.
        where: the folder or file.
        count: how many files it is about.
        message: in words.
        examples: some of them; all in the JSON report.
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
        rows: a line for each folder that exists.
        findings: worst first within a set.
        leaks: the pairs behind the 'leak' findings.
        leak_free: for each training folder that was compared, the samples whose photograph is in no test set.
    """

    rows: list[FolderRow] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    leaks: list[Leak] = field(default_factory=list)
    leak_free: dict[str, list[str]] = field(default_factory=dict)

    def worst(self) -> str:
        """'error', 'warning', 'note' or '' if nothing was found."""
        levels = {finding.level for finding in self.findings}
        return next((level for level in ('error', 'warning', 'note') if level in levels), '')
