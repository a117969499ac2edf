"""Rows of a benchmark: printed as they come, and kept as a table and as JSON after each, so that a stop loses none."""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path
from typing import Any

import torch

from mirage_ir.measuring.tables import markdown_table

_HIDDEN = ('all_seconds', 'floors')  # in the JSON only


def machine(device: str, threads: int) -> dict[str, Any]:
    """What was measured on: the name of the card or processor, threads, versions."""
    where = {'torch': torch.__version__, 'python': platform.python_version(), 'threads': threads}
    if device.startswith('cuda'):
        properties = torch.cuda.get_device_properties(device)
        return {
            'processor': properties.name,
            'memory_gib': properties.total_memory / 2**30,
            'cudnn': torch.backends.cudnn.version(),
            **where,
        }
    return {'processor': _cpu(), **where}


def _cpu() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        return next(line.split(':')[1].strip() for line in lines if line.startswith('model name'))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


class Report:
    """A table that grows.

    Args:
        name: Of the files, ``<name>.json`` and ``<name>.md``.
        settings: What the rows have in common; the machine among it.
        out: Folder for the files, made if needed; None writes none.
        seconds: After so many no further row should be begun.
    """

    def __init__(
        self, name: str, settings: dict[str, Any], out: str | Path | None = None, seconds: float = float('inf')
    ) -> None:
        self.rows: list[dict[str, Any]] = []
        self.left_out: list[str] = []
        self._settings, self._until = settings, time.monotonic() + seconds
        self._files = None
        if out is not None:
            Path(out).mkdir(parents=True, exist_ok=True)
            self._files = [Path(out) / f'{name}.{ending}' for ending in ('json', 'md')]
        print(', '.join(f'{key} {_text(value)}' for key, value in settings.items()), flush=True)

    def has_time_for(self, what: str) -> bool:
        """Whether another row may be begun; if not, its name is kept among those left out."""
        if time.monotonic() < self._until:
            return True
        self.left_out.append(what)
        print(f'  no time left for {what}', flush=True)
        self._write()
        return False

    def add(self, **row: Any) -> dict[str, Any]:
        """Keeps, prints and writes a row; returns it."""
        self.rows.append(row)
        print('  ' + ', '.join(f'{key} {_text(value)}' for key, value in row.items() if key not in _HIDDEN), flush=True)
        self._write()
        return row

    def table(self) -> str:
        """All rows as Markdown; a column is there if a row has it."""
        columns = list(dict.fromkeys(key for row in self.rows for key in row if key not in _HIDDEN))
        body = [[_text(row.get(column)) for column in columns] for row in self.rows]
        lines = [markdown_table(columns, body)] if columns else []
        return '\n'.join([*lines, *(f'\nNo time was left for {what}.' for what in self.left_out)])

    def _write(self) -> None:
        if self._files is None:
            return
        content = {'settings': self._settings, 'rows': self.rows, 'left_out': self.left_out}
        self._files[0].write_text(json.dumps(content, indent=1, default=str) + '\n', encoding='utf-8')
        about = ', '.join(f'{key} {_text(value)}' for key, value in self._settings.items())
        self._files[1].write_text(f'{about}\n\n{self.table()}\n', encoding='utf-8')


def _text(value: Any) -> str:
    if value is None:
        return '-'
    if isinstance(value, float):
        return f'{value:.4g}'
    return str(value).replace('|', '/').replace('\n', ' ')
