"""Rows of a benchmark, printed and kept as they come, so that a stop loses none; and how a row is measured."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
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


def add_options(parser: argparse.ArgumentParser, name: str, devices: tuple[str, ...] | None = None) -> None:
    """Where a benchmark runs, how long, and where its report goes."""
    add = parser.add_argument
    add('--device', choices=devices, default='cuda' if torch.cuda.is_available() else 'cpu')
    add('--threads', type=int, default=torch.get_num_threads())
    add('--seconds', type=float, default=float('inf'), help='begin no row after so many seconds')
    add('--out', metavar='FOLDER', help=f'for {name}.json and {name}.md')


def profile(run: Callable[[], object], file: Path, on_gpu: bool) -> dict[str, float]:
    """Writes what a call consists of; returns the number of its kernels (on a CPU operations), and their time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kinds = [torch.profiler.ProfilerActivity.CPU, *([torch.profiler.ProfilerActivity.CUDA] if on_gpu else [])]
    with torch.profiler.profile(activities=kinds) as profiler:
        run()
    averages = profiler.key_averages()
    sort = 'self_cuda_time_total' if on_gpu else 'self_cpu_time_total'
    file.write_text(averages.table(sort_by=sort, row_limit=60, max_name_column_width=90), encoding='utf-8')
    if not on_gpu:
        return {'operations': sum(a.count for a in averages if a.key.startswith('aten::'))}
    kernels = [event for event in profiler.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    return {'kernels': len(kernels), 'kernel_ms': sum(event.device_time_total for event in kernels) / 1e3}


def told_by_fresh_process(file: str, words: list[object], what: str) -> int | None:
    """The number that a command prints last, run in a process of its own; None, and a word on it, where it fails."""
    done = subprocess.run([sys.executable, file, *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        print(f'  {what}: no memory figure, the process ended with {done.returncode}: {last}', file=sys.stderr)
        return None
    return int(done.stdout.split()[-1])


def failure(error: RuntimeError) -> str:
    """Out of memory, or what a compiler says, in a line."""
    return f'{type(error).__name__}: {str(error).strip().splitlines()[0][:100]}'


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
