"""Finds photographs of a training set that are in a test set, too: as the same file, re-encoded, resized or cropped.

1. Equal pixels are found by their hash.
2. Candidates: every training image asks an index of the test images' descriptors (`mirage_data.sets.fingerprint`,
   `mirage_data.sets.descriptor_index`).
3. Verification: the matched corners of the best candidates must agree on one shift, scale and rotation (RANSAC), and
   the training image, moved by it, must look like the test image: normalised correlation of details in the overlap.

So two photographs of one place are told apart from two copies of one photograph.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from mirage_data.files.image import ImageError
from mirage_data.sets.descriptor_index import DescriptorIndex
from mirage_data.sets.fingerprint import Fingerprint, fingerprint
from mirage_data.sets.leak_verify import Leak, verify

CHUNK = 4000  # test images in one index, which then takes about 0.5 GB
_BATCH = 256  # training images in work at a time


def find_leaks(
    train: Sequence[str | Path],
    test: Sequence[str | Path],
    *,
    workers: int | None = None,
    on_unreadable: Callable[[ImageError], None] | None = None,
    progress: Callable[[Iterable, int, str], Iterable] | None = None,
) -> list[Leak]:
    """Compares two sets of images by content.

    Args:
        train: image files of the training set.
        test: those of the test set (the clean sides suffice: a leaking pair has both).
        workers: threads; default is the number of cores.
        on_unreadable: called for every file that cannot be read; such files are left out. Default: raise.
        progress: `progress(iterable, total, what)` wraps what is iterated over, e.g. with a bar.

    Returns:
        Every pair found, in the order of `train`, the surest of each training image first. At most `CANDIDATES` test
        images are found for one training image and index, besides those of equal pixels.

    Raises:
        ImageError: for an unreadable file, unless `on_unreadable` is given.
    """
    wrap = progress or (lambda items, total, what: items)
    leaks: list[tuple[int, Leak]] = []
    pieces = [test[start : start + CHUNK] for start in range(0, len(test), CHUNK)]
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool, tempfile.TemporaryFile() as spool:
        for number, piece in enumerate(pieces):
            part = f' {number + 1} of {len(pieces)}' if len(pieces) > 1 else ''
            prints = wrap(_fingerprints(piece, pool, on_unreadable), len(piece), f'test images{part}')
            index = DescriptorIndex([p for p in prints if p is not None])
            if number == 0:
                queries = _fingerprints(train, pool, on_unreadable)
                queries = _keep(queries, spool) if len(pieces) > 1 else queries
            else:
                queries = _kept(spool)
            for place, query in enumerate(wrap(queries, len(train), f'training images{part}')):
                if query is not None:
                    leaks += [(place, leak) for leak in _leaks_of(query, index, pool)]
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
    paths: Sequence[str | Path], pool: ThreadPoolExecutor, on_unreadable: Callable[[ImageError], None] | None
) -> Iterator[Fingerprint | None]:
    def take(path: str | Path) -> Fingerprint | ImageError:
        try:
            return fingerprint(path)
        except ImageError as error:
            return error

    for start in range(0, len(paths), _BATCH):
        for result in pool.map(take, paths[start : start + _BATCH]):
            if not isinstance(result, ImageError):
                yield result
            elif on_unreadable is None:
                raise result
            else:
                on_unreadable(result)
                yield None


def _leaks_of(query: Fingerprint, index: DescriptorIndex, pool: ThreadPoolExecutor) -> list[Leak]:
    same = index.same_pixels(query)
    leaks = [Leak(query.path, other.path, 'same pixels', 0, 1.0, 1.0, 1.0) for other in same]
    if query.comparable:
        likely = [other for other in index.candidates(query) if other not in same]
        for leak, other in zip(pool.map(lambda other: verify(query, other), likely), likely, strict=True):
            if leak is not None:
                leaks += [replace(leak, test=copy.path) for copy in index.same_pixels(other)]
    return leaks
