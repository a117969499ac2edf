"""Cuts large photographs into overlapping squares, as users of BasicSR train on GoPro and WED.

A crop from a small file is read much faster than one from a large file. Names and places are those of BasicSR's
`extract_subimages.py`: `NAME_s001.png` and so on, row by row, with a last row and column that reach the border.
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from mirage_data.files.image import ImageError, list_names, read_rgb
from mirage_data.files.write import write_file, write_image

SUFFIX = '_sub'
RECORD = '.subimages.json'


@dataclass
class Cut:
    """Squares written and found there already, and files that could not be cut, with the reason."""

    written: int = 0
    there_already: int = 0
    problems: list[str] = field(default_factory=list)


def starts(length: int, size: int, step: int) -> list[int]:
    """Where squares begin along a side: every `step` pixels, and once more at the end if something is left.

    Args:
        length: of the side, in pixels, at least `size`.
        size: of a square.
        step: between two squares.
    """
    places = list(range(0, length - size + 1, step))
    if places[-1] + size < length:
        places.append(length - size)
    return places


def cut_folder(
    folder: str | Path,
    target: str | Path,
    size: int,
    step: int,
    *,
    workers: int | None = None,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
) -> Cut:
    """Cuts all images of a folder (and of folders below it) into squares.

    Squares that exist already are kept if they were cut from the same file (by its size and time, kept in
    `RECORD` beside the squares); of a changed file they are cut again.

    Args:
        folder: with images of at least `size` pixels each side; smaller ones are reported and left out.
        target: folder for the PNG files; made if needed.
        size: side of a square in pixels.
        step: distance of neighbouring squares in pixels, at most `size` if nothing is to be left out.
        workers: threads; default is the number of cores.
        progress: wraps what is iterated over, e.g. with a bar.

    Raises:
        ValueError: for a size or step below 1, a step above the size, or a target with squares of another size or step.
        OSError: if a file cannot be written.
    """
    if size < 1 or not 1 <= step <= size:
        raise ValueError(f'--subimages {size} {step}: allowed are sizes of at least 1 and steps from 1 to the size')
    target = Path(target)
    names = list_names(folder, recursive=True)
    result = Cut()
    record = _read_record(target, size, step)
    known = record['sources']
    stamps = {name: [state.st_size, state.st_mtime_ns] for name in names for state in [os.stat(Path(folder, name))]}
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        jobs = pool.map(
            lambda name: _cut(Path(folder), name, target, size, step, keep=known.get(name) == stamps[name]), names
        )
        for name, (written, kept, problem) in zip(names, progress(jobs, len(names))):
            if not problem:
                known[name] = stamps[name]
            result.written += written
            result.there_already += kept
            if problem:
                result.problems.append(problem)
    if target.is_dir():
        write_file(target / RECORD, json.dumps(record))
    return result


def _read_record(target: Path, size: int, step: int) -> dict:
    """What the squares of a folder were cut from; without a record nothing is known, and all are cut again."""
    wanted = {'size': size, 'step': step, 'sources': {}}
    try:
        found = json.loads((target / RECORD).read_text(encoding='utf-8'))
        if not isinstance(found['sources'], dict):
            return wanted
        if (found['size'], found['step']) == (size, step):
            return found
    except (OSError, ValueError, LookupError, TypeError):
        return wanted
    raise ValueError(
        f'{target}: holds squares of --subimages {found["size"]} {found["step"]}, not of {size} {step}; '
        'remove or rename that folder, and run the command again'
    )


def _cut(folder: Path, name: str, target: Path, size: int, step: int, keep: bool) -> tuple[int, int, str]:
    try:
        image = read_rgb(folder / name)
    except ImageError as error:
        return 0, 0, str(error)
    height, width = image.shape[:2]
    if min(height, width) < size:
        return 0, 0, f'{folder / name}: {height}x{width} is smaller than a square of {size}; left out'
    stem = str(PurePosixPath(name).with_suffix(''))
    written = kept = 0
    number = 0
    for top in starts(height, size, step):
        for left in starts(width, size, step):
            number += 1
            place = target / f'{stem}_s{number:03d}.png'
            if keep and place.exists():
                kept += 1
                continue
            write_image(place, image[top : top + size, left : left + size])
            written += 1
    for old in () if keep else sorted(target.glob(f'{glob.escape(stem)}_s*.png')):  # of a larger picture before
        tail = old.stem.rpartition('_s')[2]
        if tail.isdigit() and int(tail) > number:
            old.unlink()
    return written, kept, ''
