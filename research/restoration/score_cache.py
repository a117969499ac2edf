"""Figures that were measured once, kept in a file: slow methods are run once for each picture, kills lose nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np


class ScoreCache:
    """Figures by content of the pictures and by what was done to them; one JSON object a line, appended at once.

    Args:
        path: file of the figures; made if needed. Two runs may write to it at a time.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._values: dict[str, dict[str, float]] = {}
        if self.path.is_file():
            for line in self.path.read_text(encoding='utf-8').splitlines():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError:
                    continue  # a kill cut it off; its figures are measured again
                self._values[row['key']] = row['values']

    def get(self, key: str) -> dict[str, float] | None:
        """Figures of a key, None if there are none."""
        return self._values.get(key)

    def put(self, key: str, values: Mapping[str, float], about: Mapping) -> None:
        """Keep figures; `about` says for a reader of the file what they belong to."""
        self._values[key] = dict(values)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({'key': key, 'values': dict(values), **about}) + '\n'
        with open(self.path, 'r+b' if self.path.exists() else 'w+b') as file:
            if file.seek(0, 2) and _last_byte(file) != b'\n':  # after a line that a kill cut off
                line = '\n' + line
        with open(self.path, 'a', encoding='utf-8') as file:
            file.write(line)


def _last_byte(file) -> bytes:
    file.seek(-1, 2)
    return file.read(1)


def digest(*images: np.ndarray) -> str:
    """The content of images as a short text; other pixels, shapes or types give another."""
    sha = hashlib.sha256()
    for image in images:
        sha.update(f'{image.shape}{image.dtype}'.encode())
        sha.update(np.ascontiguousarray(image).data)
    return sha.hexdigest()[:24]


def file_digest(path: str | Path) -> str:
    """The content of a file as a short text."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:24]
