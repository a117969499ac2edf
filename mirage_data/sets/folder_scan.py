"""Reads every image of a folder once and keeps what checks ask about."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from mirage_data.crew import Team
from mirage_data.files.image import ImageError, list_names, read_rgb
from mirage_data.sets.fingerprint import pixel_digest

Progress = Callable[[Iterable, int, str], Iterable]
_AHEAD = 256  # files in work at a time


@dataclass
class FolderScan:
    """What a folder holds.

    Attributes:
        folder: the folder.
        names: its images, relative, sorted; unreadable ones included.
        foreign: files that are no images.
        unreadable: name and error message of images that cannot be used.
        shapes: (height, width) of each readable image; empty after a quick scan.
        digests: hash of each readable image's pixels; empty after a quick scan.
        grey: images whose three channels are equal.
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


def scan_folder(
    folder: str | Path,
    *,
    recursive: bool = False,
    quick: bool = False,
    owns: Callable[[str], bool] = lambda name: True,
    workers: int | None = None,
    progress: Progress = lambda items, total, what: items,
    pool: Team | None = None,
) -> FolderScan:
    """Looks at all images of a folder.

    Args:
        folder: where; need not exist (the result is then empty).
        recursive: look into folders below, too.
        quick: list names only, read nothing.
        owns: which names count, for a folder that two sets share.
        workers: threads; default is the number of cores.
        progress: wraps what is iterated over, e.g. with a bar.
        pool: reads instead of threads.
    """
    scan = FolderScan(Path(folder))
    if not scan.folder.is_dir():
        return scan
    scan.names = [name for name in list_names(folder, recursive, scan.foreign) if owns(name)]
    if quick:
        return scan

    with contextlib.nullcontext(pool) if pool else ThreadPoolExecutor(workers or os.cpu_count()) as readers:

        def results() -> Iterable:
            for start in range(0, len(scan.names), _AHEAD):
                yield from readers.map(partial(_look, scan.folder), scan.names[start : start + _AHEAD])

        for name, result in zip(scan.names, progress(results(), len(scan.names), str(folder))):
            if isinstance(result, str):
                scan.unreadable[name] = result
                continue
            scan.shapes[name], scan.digests[name], grey = result
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
