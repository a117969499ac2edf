"""The record beside results: which source each of them was made from, so that a repeated command goes on."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

__all__ = ['RECORD_NAME', 'Record']

RECORD_NAME = '.mirage-restore.jsonl'


class Record:
    """Results of a folder and their sources; one line for each in the file `RECORD_NAME`, added as it is written.

    Args:
        folder: Folder of the results; need not exist.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._file = self._folder / RECORD_NAME
        self._of_source: dict[str, dict] = {}
        self._source_of: dict[str, str] = {}
        with contextlib.suppress(OSError):
            for line in self._file.read_text(encoding='utf-8', errors='surrogateescape').splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):  # a line cut short by a kill
                    entry = json.loads(line)
                    self._take(str(entry['source']), entry)

    def is_done(self, source: Path) -> bool:
        """Whether the result of a source is there, and the source has not changed since."""
        entry = self._of_source.get(_key(source))
        if entry is None or not (self._folder / entry['result']).is_file():
            return False
        try:
            return _state(source) == [entry.get('size'), entry.get('time')]
        except OSError:
            return False

    def result_of(self, source: Path) -> Path | None:
        """Where the result of a source was written, or None."""
        entry = self._of_source.get(_key(source))
        return self._folder / entry['result'] if entry else None

    def is_result(self, file: Path) -> bool:
        """Whether a file in the folder is a result."""
        with contextlib.suppress(ValueError):
            return file.relative_to(self._folder).as_posix() in self._source_of
        return False

    def belongs_to_another(self, result: Path, source: Path) -> bool:
        """Whether a result is there that was made from another source."""
        with contextlib.suppress(ValueError):
            owner = self._source_of.get(result.relative_to(self._folder).as_posix())
            return owner is not None and owner != _key(source) and result.exists()
        return False

    def add(self, source: Path, result: Path) -> None:
        """Note a result that has just been written.

        Raises:
            OSError: The record cannot be written.
        """
        size, time = _state(source)
        name = result.relative_to(self._folder).as_posix()
        entry: dict = {'source': _key(source), 'result': name, 'size': size, 'time': time}
        with open(self._file, 'a', encoding='utf-8', errors='surrogateescape') as file:
            file.write(json.dumps(entry) + '\n')
        self._take(entry['source'], entry)

    def _take(self, source: str, entry: dict) -> None:
        before = self._of_source.get(source)
        if before is not None and self._source_of.get(before['result']) == source:
            del self._source_of[before['result']]
        self._of_source[source] = entry
        self._source_of[entry['result']] = source


def _key(source: Path) -> str:
    return os.path.abspath(source)


def _state(source: Path) -> list[int]:
    found = os.stat(source)
    return [found.st_size, found.st_mtime_ns]
