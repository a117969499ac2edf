"""Finds photographs of a training set that are in a test set, too: as the same file, re-encoded, resized or cropped.

1. Equal pixels are found by their hash.
2. Candidates: every training image asks an index of the test images' descriptors (`mirage_data.sets.fingerprint`).
3. Verification: the matched corners of the best candidates must agree on one shift, scale and rotation (RANSAC), and
   the training image, moved by it, must look like the test image: normalised correlation of details in the overlap.

So two photographs of one place are told apart from two copies of one photograph.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from mirage_data.crew import Team
from mirage_data.files.image import ImageError, read_rgb
from mirage_data.sets.fingerprint import DescriptorIndex, Fingerprint, fingerprint, grey

CHUNK = 4000  # test images in one index, which then takes about 0.5 GB
_BATCH = 256  # training images in work at a time


def find_leaks(
    train: Sequence[str | Path],
    test: Sequence[str | Path],
    *,
    workers: int | None = None,
    on_unreadable: Callable[[ImageError], None] | None = None,
    progress: Callable[[Iterable, int, str], Iterable] | None = None,
    pool: Team | None = None,
) -> list[Leak]:
    """Compares two sets of images by content.

    Args:
        train: Image files of the training set.
        test: Those of the test set (the clean sides suffice: a leaking pair has both).
        workers: Threads; default is the number of cores.
        on_unreadable: Called for every file that cannot be read; such files are left out. Default: raise.
        progress: `progress(iterable, total, what)` wraps what is iterated over, e.g. with a bar.
        pool: Reads and compares instead of threads.

    Returns:
        Every pair found, in the order of `train`, the surest of each training image first. At most `CANDIDATES` test
        images are found for one training image and index, besides those of equal pixels.

    Raises:
        ImageError: For an unreadable file, unless `on_unreadable` is given.
    """
    wrap = progress or (lambda items, total, what: items)
    leaks: list[tuple[int, Leak]] = []
    pieces = [test[start : start + CHUNK] for start in range(0, len(test), CHUNK)]
    threads = contextlib.nullcontext(pool) if pool else ThreadPoolExecutor(workers or os.cpu_count())
    with threads as crew, tempfile.TemporaryFile() as spool:
        for number, piece in enumerate(pieces):
            part = f' {number + 1} of {len(pieces)}' if len(pieces) > 1 else ''
            prints = wrap(_fingerprints(piece, crew, on_unreadable), len(piece), f'test images{part}')
            index = DescriptorIndex([p for p in prints if p is not None])
            if number == 0:
                queries = _fingerprints(train, crew, on_unreadable)
                queries = _keep(queries, spool) if len(pieces) > 1 else queries
            else:
                queries = _kept(spool)
            for place, query in enumerate(wrap(queries, len(train), f'training images{part}')):
                if query is not None:
                    leaks += [(place, leak) for leak in _leaks_of(query, index, crew)]
    leaks.sort(key=lambda item: (item[0], item[1].kind != 'same pixels', -item[1].agreeing))
    return [leak for _, leak in leaks]


def _keep(queries: Iterable[Fingerprint | None], spool: BinaryIO) -> Iterator[Fingerprint | None]:
    """Writes fingerprints aside while they are used: taking them takes the time, and memory is for the index."""
    for query in queries:
        pickle.dump(query, spool)
        yield query


def _kept(spool: BinaryIO) -> Iterator[Fingerprint | None]:
    spool.seek(0)
    while True:
        try:
            yield pickle.load(spool)
        except EOFError:
            return


def _fingerprints(
    paths: Sequence[str | Path], pool: ThreadPoolExecutor | Team, on_unreadable: Callable[[ImageError], None] | None
) -> Iterator[Fingerprint | None]:
    for start in range(0, len(paths), _BATCH):
        for result in pool.map(_take, paths[start : start + _BATCH]):
            if not isinstance(result, ImageError):
                yield result
            elif on_unreadable is None:
                raise result
            else:
                on_unreadable(result)
                yield None


def _take(path: str | Path) -> Fingerprint | ImageError:
    try:
        return fingerprint(path)
    except ImageError as error:
        return error


def _leaks_of(query: Fingerprint, index: DescriptorIndex, pool: ThreadPoolExecutor | Team) -> list[Leak]:
    same = index.same_pixels(query)
    leaks = [Leak(query.path, other.path, 'same pixels', 0, 1.0, 1.0, 1.0) for other in same]
    if query.comparable:
        likely = [other for other in index.candidates(query) if other not in same]
        for leak, other in zip(pool.map(partial(verify, query), likely), likely, strict=True):
            if leak is not None:
                leaks += [replace(leak, test=copy.path) for copy in index.same_pixels(other)]
    return leaks


MIN_AGREEING, MIN_CORRELATION = 8, 0.8
OTHER_LIGHT = 8  # of 255: the mean difference of brightness from which a copy is no mere re-encoding


@dataclass(frozen=True)
class Leak:
    """A training image that shows a test image's photograph.

    Attributes:
        train: Path of the training image.
        test: Path of the test image.
        kind: 'same pixels', 're-encoded', 'the same view in other light', 'resized' or 'part' (a crop
            either way); the last two with ', other light' where the brightness differs as between two exposures.
        agreeing: Matched corners that agree on one movement; 0 for equal pixels.
        correlation: Of the two images' details where they overlap, at most 1.
        scale: Size of the test image's content over that of the training image's.
        coverage: Share of the test image that the training image shows.
    """

    train: str
    test: str
    kind: str
    agreeing: int
    correlation: float
    scale: float
    coverage: float


def verify(train: Fingerprint, test: Fingerprint) -> Leak | None:
    """Decides whether two images show the same photograph; see `mirage_data.sets.leaks` for how.

    Raises:
        ImageError: If a file has become unreadable since its fingerprint was taken.
    """
    if not (train.comparable and test.comparable):
        return None
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(train.descriptors, test.descriptors)
    matches = [match for match in matches if match.distance < 64]
    if len(matches) < MIN_AGREEING:
        return None
    source = train.points[[match.queryIdx for match in matches]]
    target = test.points[[match.trainIdx for match in matches]]
    tolerance = max(3.0, max(test.shape) / 200)
    movement, inliers = cv2.estimateAffinePartial2D(
        source, target, method=cv2.RANSAC, ransacReprojThreshold=tolerance, maxIters=1000
    )
    agreeing = 0 if movement is None else int(inliers.sum())
    if agreeing < MIN_AGREEING:
        return None
    scale = float(np.hypot(movement[0, 0], movement[1, 0]))
    if not 0.1 < scale < 10:
        return None
    correlation, coverage, light = _compare(grey(read_rgb(train.path)), grey(read_rgb(test.path)), movement, scale)
    if correlation < MIN_CORRELATION:
        return None
    return Leak(
        train.path,
        test.path,
        _kind(train, test, scale, coverage, light),
        agreeing,
        round(correlation, 4),
        round(scale, 3),
        round(coverage, 3),
    )


def _compare(train: np.ndarray, test: np.ndarray, movement: np.ndarray, scale: float) -> tuple[float, float, float]:
    """Correlation of details where the moved training image covers the test image, the share covered, and the mean
    difference of brightness there, of 255."""
    shrink = min(1.0, 480 / max(test.shape))  # compared at a size where small misalignments do not matter
    size = (max(1, round(test.shape[1] * shrink)), max(1, round(test.shape[0] * shrink)))
    test = cv2.resize(test, size, interpolation=cv2.INTER_AREA)
    movement = movement * shrink
    if scale * shrink < 0.7:  # before a strong reduction, low-pass, or the details alias
        train = cv2.GaussianBlur(train, (0, 0), 0.5 / (scale * shrink))
    moved = cv2.warpAffine(train, movement, size)
    inside = cv2.warpAffine(np.full(train.shape, 255, np.uint8), movement, size) == 255
    if inside.sum() < 400:
        return 0.0, 0.0, 0.0
    a, b = (_details(image, inside) for image in (moved, test))
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    light = float(np.abs(cv2.GaussianBlur(cv2.absdiff(moved, test), (0, 0), 2)[inside]).mean())
    return (float((a * b).sum()) / norm if norm > 0 else 0.0), float(inside.mean()), light


def _details(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """A band of frequencies: without the broad lights and shades that many photographs share, and without noise."""
    weight = inside.astype(np.float32)
    broad = cv2.GaussianBlur(image * weight, (0, 0), 16) / np.maximum(cv2.GaussianBlur(weight, (0, 0), 16), 1e-3)
    band = (cv2.GaussianBlur(image.astype(np.float32), (0, 0), 2) - broad)[inside]
    return band - band.mean()


def _kind(train: Fingerprint, test: Fingerprint, scale: float, coverage: float, light: float) -> str:
    area = train.shape[0] * train.shape[1] * scale**2 / (test.shape[0] * test.shape[1])
    if coverage < 0.97 or area > 1.03:
        kind = 'part'
    elif abs(scale - 1) >= 0.01:
        kind = 'resized'
    elif light >= OTHER_LIGHT:
        return 'the same view in other light'
    else:
        return 're-encoded'
    return f'{kind}, other light' if light >= OTHER_LIGHT else kind
