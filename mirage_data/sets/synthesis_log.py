"""What a synthesised data set remembers about itself: its settings and every drawn parameter."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

SETTINGS_FILE, RECORDS_FILE = 'synthesis.json', 'records.jsonl'

Key = tuple[str, str]
"""Clean and degraded file of a pair as the layout names them, before parameters are filled in."""


def claim(output: Path, settings: Mapping[str, Any]) -> None:
    """Note the settings of an output folder, or compare them with those it was begun with.

    Raises:
        ValueError: they differ.
    """
    path = output / SETTINGS_FILE
    settings = json.loads(json.dumps(settings))  # as they will be read back
    if not path.exists():
        path.write_text(json.dumps(settings, indent=1) + '\n', encoding='utf-8')
        return
    before = json.loads(path.read_text(encoding='utf-8'))
    other = [f'{key}: {before.get(key)!r}, now {new!r}' for key, new in settings.items() if before.get(key) != new]
    if other:
        raise ValueError(f'{output} was begun with other settings ({"; ".join(other)}); choose another --output')


def finished(output: Path) -> dict[Key, dict[str, Any]]:
    """Records of the pairs whose files are all there; where a pair was made twice, the later one."""
    log, done = output / RECORDS_FILE, {}
    for line in log.read_text(encoding='utf-8').splitlines() if log.exists() else []:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue  # a killed run's last line
        template = record.pop('template')
        if all((output / record[side]).is_file() for side in ('clean', 'degraded') if record[side]):
            done[record['clean'], template] = record
    return done


def append(log: TextIO, key: Key, record: Mapping[str, Any]) -> None:
    """Write one record."""
    log.write(json.dumps({**record, 'template': key[1]}) + '\n')


def rewrite(output: Path, order: Sequence[Key], done: Mapping[Key, Mapping[str, Any]]) -> None:
    """Put the records into the layout's order, so that the file does not tell how many processes wrote it."""
    log = output / RECORDS_FILE
    aside = log.with_name(f'.{log.name}.partial')
    with open(aside, 'w', encoding='utf-8') as file:
        for key in dict.fromkeys((*order, *sorted(done))):
            if key in done:
                append(file, key, done[key])
    os.replace(aside, log)
