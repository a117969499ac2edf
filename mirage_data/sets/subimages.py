"""Cuts large photographs into overlapping squares, as users of BasicSR train on GoPro and WED.

A crop from a small file is read much faster than one from a large file. Names and places are those of BasicSR's
`extract_subimages.py`: `NAME_s001.png` and so on, row by row, with a last row and column that reach the border.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from mirage_data.files.image import ImageError, list_names, read_rgb

SUFFIX = '_sub'


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
    """Cuts all images of a folder (and of folders below it) into squares; those that exist already are kept.

    Args:
        folder: with images of at least `size` pixels each side; smaller ones are reported and left out.
        target: folder for the PNG files; made if needed.
        size: side of a square in pixels.
        step: distance of neighbouring squares in pixels, at most `size` if nothing is to be left out.
        workers: threads; default is the number of cores.
        progress: wraps what is iterated over, e.g. with a bar.

    Raises:
        ValueError: for a size or step below 1, or a step above the size.
        OSError: if a file cannot be written.
    """
    if size < 1 or not 1 <= step <= size:
        raise ValueError(f'--subimages {size} {step}: allowed are sizes of at least 1 and steps from 1 to the size')
    target = Path(target)
    names = list_names(folder, recursive=True)
    result = Cut()
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        jobs = pool.map(lambda name: _cut(Path(folder), name, target, size, step), names)
        for written, kept, problem in progress(jobs, len(names)):
            result.written += written
            result.there_already += kept
            if problem:
                result.problems.append(problem)
    return result


def _cut(folder: Path, name: str, target: Path, size: int, step: int) -> tuple[int, int, str]:
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
            if place.exists():
                kept += 1
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            _write(place, image[top : top + size, left : left + size])
            written += 1
    return written, kept, ''


def _write(place: Path, image: np.ndarray) -> None:
    data = cv2.imencode('.png', np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, 3])[1]
    aside = place.with_name(place.name + '.part')
    aside.write_bytes(data.tobytes())
    os.replace(aside, place)
