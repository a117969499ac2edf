"""Reads every image of a folder once and keeps what checks ask about."""

from __future__ import annotations

import contextlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from mirage_data.crew import Team
from mirage_data.files.image import ImageError, list_names, read_rgb
from mirage_data.files.write import write_file
from mirage_data.sets.fingerprint import pixel_digest

Progress = Callable[[Iterable, int, str], Iterable]
_AHEAD = 256  # files in work at a time


@dataclass
class FolderScan:
    """What a folder holds.

    Attributes:
        folder: The folder.
        names: Its images, relative, sorted; unreadable ones included.
        foreign: Files that are no images.
        unreadable: Name and error message of images that cannot be used.
        shapes: (height, width) of each readable image; empty after a quick scan.
        digests: Hash of each readable image's pixels; empty after a quick scan.
        grey: Images whose three channels are equal.
    """

    folder: Path
    names: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, tuple[int, int]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    grey: list[str] = field(default_factory=list)

    def duplicates(self) -> list[list[str]]:
        """Groups of images with equal pixels."""
        groups: dict[str, list[str]] = defaultdict(list)
        for name, digest in self.digests.items():
            groups[digest].append(name)
        return [group for group in groups.values() if len(group) > 1]


class CheckCache:
    """What earlier checks found of files that have not changed since: size and times of content and entry are the same.

    Args:
        file: Where it is kept; None keeps nothing. A damaged or foreign file counts as empty.
    """

    VERSION = 1  # of what is kept and of how it is found out

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self._seen: dict[str, list] = {}
        self._compared: dict[str, Any] = {}
        self._changed = False
        try:
            content = json.loads(file.read_text(encoding='utf-8')) if file else {}
            if content.get('version') == self.VERSION:
                self._seen, self._compared = dict(content['seen']), dict(content['compared'])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass

    @staticmethod
    def stamp(path: str | Path) -> str:
        """What changes when a file does; of a link that of its target."""
        try:
            found = os.stat(path)
        except OSError:
            return ''
        return f'{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}'

    def seen(self, path: Path, stamp: str) -> Any:
        """What was kept of a file, if it is still the same; None otherwise."""
        known = self._seen.get(str(path))
        return known[1] if stamp and known and known[0] == stamp else None

    def keep(self, path: Path, stamp: str, found: Any) -> None:
        """Keeps what was found of a file: JSON."""
        self._seen[str(path)] = [stamp, found]
        self._changed = True

    def compared(self, what: str, files: Iterable[str | Path], compare: Callable[[], Any]) -> Any:
        """The result of a comparison of files, from earlier if none of them has changed and all are still there.

        Args:
            what: Which comparison.
            files: Everything that it depends on, in its order.
            compare: Does it; its result is JSON.
        """
        digest = blake2b(f'{what} {self.VERSION}'.encode(), digest_size=16)
        for file in files:
            digest.update(f'{file}\0{self.stamp(file)}\n'.encode('utf-8', 'surrogateescape'))
        key = digest.hexdigest()
        if key not in self._compared:
            self._compared[key] = compare()
            self._changed = True
        return self._compared[key]

    def save(self) -> None:
        """Writes it, if there is anything new; a place that cannot be written is no fault of the data."""
        if self.file is None or not self._changed:
            return
        content = {'version': self.VERSION, 'seen': self._seen, 'compared': self._compared}
        with contextlib.suppress(OSError):
            write_file(self.file, json.dumps(content))
            self._changed = False


def scan_folder(
    folder: str | Path,
    *,
    recursive: bool = False,
    quick: bool = False,
    owns: Callable[[str], bool] = lambda name: True,
    workers: int | None = None,
    progress: Progress = lambda items, total, what: items,
    pool: Team | None = None,
    cache: CheckCache | None = None,
) -> FolderScan:
    """Looks at all images of a folder.

    Args:
        folder: Where; need not exist (the result is then empty).
        recursive: Look into folders below, too.
        quick: List names only, read nothing.
        owns: Which names count, for a folder that two sets share.
        workers: Threads; default is the number of cores.
        progress: Wraps what is iterated over, e.g. with a bar.
        pool: Reads instead of threads.
        cache: Knows files that have not changed.
    """
    scan = FolderScan(Path(folder))
    if not scan.folder.is_dir():
        return scan
    scan.names = [name for name in list_names(folder, recursive, scan.foreign) if owns(name)]
    if quick:
        return scan

    cache = cache or CheckCache()
    stamps = {name: cache.stamp(scan.folder / name) for name in scan.names}
    found = {name: cache.seen(scan.folder / name, stamp) for name, stamp in stamps.items()}
    new = [name for name, result in found.items() if result is None]
    with contextlib.nullcontext(pool) if pool else ThreadPoolExecutor(workers or os.cpu_count()) as readers:

        def results() -> Iterable:
            for start in range(0, len(new), _AHEAD):
                yield from readers.map(partial(_look, scan.folder), new[start : start + _AHEAD])

        for name, result in zip(new, progress(results(), len(new), str(folder)) if new else ()):
            found[name] = result
            cache.keep(scan.folder / name, stamps[name], result)
    for name, result in found.items():
        if isinstance(result, str):
            scan.unreadable[name] = result
            continue
        shape, scan.digests[name], grey = result
        scan.shapes[name] = shape[0], shape[1]
        if grey:
            scan.grey.append(name)
    return scan


def _look(folder: Path, name: str) -> tuple[tuple[int, int], str, bool] | str:
    try:
        image = read_rgb(folder / name)
    except ImageError as error:
        return str(error)
    first = image[..., :1]
    return image.shape[:2], pixel_digest(image), bool(np.array_equal(image, np.broadcast_to(first, image.shape)))
