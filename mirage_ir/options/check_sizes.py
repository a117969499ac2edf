"""Pre-flight of pictures by their heads: pairs of two sizes, pictures smaller than a crop, kinds that are refused."""

from __future__ import annotations

import io
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from itertools import chain

import numpy as np
from PIL import Image

from mirage_data.datasets.base import TaskDataset
from mirage_data.datasets.paired import PairedTaskDataset
from mirage_data.files.lmdb import open_lmdb
from mirage_data.files.store import FolderStore, LmdbStore

LOOKED_AT = 2000  # pictures of a data set, or pairs; spread over its sources
_SMALLEST = 20  # of each source, by the bytes of their files: what is too small for a crop is mostly there
_STATED = 20_000  # files of a source whose bytes are asked for
_DECODED = 40  # of a folder
_EXIF_ORIENTATION = 0x0112
_LYING = (5, 6, 7, 8)  # orientations that swap height and width
_PLAIN = ('1', 'L', 'P', 'RGB', 'I;16', 'I;16B')  # modes of Pillow that our reader takes without a look

Place = tuple[FolderStore | LmdbStore, int]


def pictures_at_fault(dataset: TaskDataset, limit: int = 3) -> list[str]:
    """Pictures of a data set that would end a run when they are drawn, without decoding any that is in order.

    Large sets are looked at in part: `LOOKED_AT` pictures spread evenly, and those with the smallest files. A data set
    with ``on_error: skip`` replaces such pictures by itself.

    Args:
        dataset: Any of ours, a mixture included.
        limit: How many of each kind to name.

    Returns:
        A sentence each, with file and sizes; `... and N more` where there are more of a kind.
    """
    parts = list(_parts(dataset))
    head = _Heads()
    unequal, unfit = [], []
    for part in parts:
        if part.train and part.on_error == 'skip':
            continue
        for places in _looked_at(list(_pictures(part)), max(50, LOOKED_AT // len(parts))):
            found = [head(*place) for place in places]
            faults = [fault for fault in found if isinstance(fault, str)]
            sizes = [size for size in found if isinstance(size, tuple)]
            if len(sizes) == len(places):
                names, (width, height) = [_file(*place) for place in places], sizes[0]
                if sizes[0] != sizes[-1]:
                    pair = '{} is {}x{}, its ground truth {} {}x{}'
                    unequal.append(pair.format(names[0], *sizes[0], names[-1], *sizes[-1]))
                else:
                    faults = _too_small(part, width, height, names[0])
            unfit += faults
    return [*_some(unequal, limit), *_some(unfit, limit)]


def _some(sentences: list[str], limit: int) -> list[str]:
    sentences = list(dict.fromkeys(sentences))
    more = len(sentences) - limit
    return sentences[:limit] + ([f'... and {more} more like the one before'] if more > 0 else [])


def _parts(dataset: TaskDataset) -> Iterator[TaskDataset]:
    below = getattr(dataset, 'sources', None) or getattr(dataset, 'parts', None)
    yield from chain.from_iterable(map(_parts, below)) if below else (dataset,)


def _pictures(part: TaskDataset) -> Iterator[list[Place]]:
    """Degraded and clean picture of each pair, or the one that a sample is made from."""
    if isinstance(part, PairedTaskDataset):
        sides = (part.lq,) if part.gt is None else (part.lq, part.gt)
        for numbers in np.reshape(part.pairs, (-1, len(sides))).tolist():
            yield list(zip(sides, numbers))
    elif hasattr(part, 'files'):
        yield from ([(part.gt, number)] for number in part.files.tolist())
    elif hasattr(part, 'places'):
        yield from ([(part.stores[store], number)] for store, number in part.places.tolist())


def _looked_at(pictures: list[list[Place]], most: int) -> list[list[Place]]:
    if len(pictures) <= most:
        return pictures
    chosen = set(np.linspace(0, len(pictures) - 1, most).astype(int).tolist())
    if len(pictures) <= _STATED and isinstance(pictures[0][-1][0], FolderStore):
        sizes = [os.path.getsize(_file(*places[-1])) for places in pictures]
        chosen.update(np.argsort(sizes)[:_SMALLEST].tolist())
    return [pictures[number] for number in sorted(chosen)]


def _file(store: FolderStore | LmdbStore, number: int) -> str:
    return store.path(number) if isinstance(store, FolderStore) else f'{store.root}: {store.path(number)}'


def _too_small(part: TaskDataset, width: int, height: int, name: str) -> list[str]:
    try:
        part.window(height, width, np.random.default_rng(0), name)
    except ValueError as error:
        return [str(error)]
    return []


def _size(image: Image.Image) -> tuple[int, int] | None:
    """None where it depends on the version of the reader whether the picture is turned."""
    lying = image.getexif().get(_EXIF_ORIENTATION) in _LYING
    if lying and image.format != 'JPEG':
        return None
    return image.size[::-1] if lying else image.size


class _Heads:
    """(width, height) of pictures as our reader sees them, or what is wrong with one; None where nobody has looked.

    Pictures of kinds that Pillow does not know, or that may be refused, are decoded; of each source a few only.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int] | str | None] = {}
        self._decoded: Counter[str] = Counter()

    def __call__(self, store: FolderStore | LmdbStore, number: int) -> tuple[int, int] | str | None:
        name = _file(store, number)
        if name not in self._known:
            try:
                self._known[name] = self._look(store, number)
            except ValueError as error:  # of a database its name comes first
                self._known[name] = str(error) if store.path(number) in str(error) else f'{name}: {error}'
        return self._known[name]

    def _look(self, store: FolderStore | LmdbStore, number: int) -> tuple[int, int] | None:
        name = store.path(number)
        source: str | io.BytesIO = name
        if isinstance(store, LmdbStore):
            reader = open_lmdb(store.root)
            if reader.raw:
                return reader.view(name).shape[1::-1]
            source = io.BytesIO(reader.value(name))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # of many pixels
                with Image.open(source) as image:
                    hides = image.mode not in _PLAIN or 'transparency' in image.info
                    animated = getattr(image, 'is_animated', False)
                    if not (hides or animated) and (size := _size(image)):
                        return size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            pass
        self._decoded[store.root] += 1
        return store.view(number).shape[1::-1] if self._decoded[store.root] <= _DECODED else None
