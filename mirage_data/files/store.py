"""Where images come from: a folder of files or an LMDB, behind the same questions."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy as np

from mirage_data.files.image import IMAGE_EXTENSIONS, ImageError, NameList, is_unread_picture, list_names, read_rgb
from mirage_data.files.image_headers import harmless
from mirage_data.files.lmdb import key_of, open_lmdb

logger = logging.getLogger('basicsr.mirage_data')  # that of the data sets

_opened: ContextVar[dict[str, FolderStore] | None] = ContextVar('opened', default=None)
_SHOWN = 5  # names of a folder


class FolderStore:
    """The images below a folder.

    Attributes:
        root: The folder.
        names: Names relative to it, sorted.
        foreign: How many other files it has.
        passed_over: Those of them that are pictures, sorted: of formats that are not read, or with control characters
            in the name.

    Raises:
        ImageError: If the folder is missing or has no images.
    """

    def __init__(self, root: str | Path, recursive: bool = True) -> None:
        self.root = str(root)
        foreign: list[str] = []
        self.names = NameList(list_names(self.root, recursive, foreign))
        self.foreign = len(foreign)
        self.passed_over = NameList(sorted(harmless(name) for name in foreign if is_unread_picture(name)))
        passed = [name for name in foreign if name.endswith('/')]
        if passed:
            logger.warning('%s: folders of the storage system are passed over: %s', self.root, ', '.join(passed[:5]))
        if not len(self.names):
            raise ImageError(
                f'{self.root}: no images in this folder (and {len(foreign)} other files); put the data there'
            )

    def path(self, index: int) -> str:
        """The file of image `index`."""
        return os.path.join(self.root, self.names[index])

    def view(self, index: int) -> np.ndarray:
        """Image `index` as (h, w, 3) RGB, uint8 or uint16; errors as `read_rgb`."""
        return read_rgb(self.path(index))


class LmdbStore:
    """The images of an LMDB.

    Attributes:
        root: The database.
        names: Names with extension, as in its `meta_info.txt`.
        foreign: Always 0: a database has no other files.
    """

    foreign = 0

    def __init__(self, root: str | Path) -> None:
        self.root = str(root)
        self.names = open_lmdb(self.root).names
        if not len(self.names):
            raise ImageError(f'{self.root}: an LMDB without images; make it again')

    def path(self, index: int) -> str:
        """The key of image `index`, as BasicSR's datasets call their LMDB paths."""
        return key_of(self.names[index])

    def view(self, index: int) -> np.ndarray:
        """Image `index` as (h, w, 3) RGB, perhaps a read-only view; errors as `LmdbReader.view`."""
        return open_lmdb(self.root).view(self.path(index))


def open_store(root: str | Path, io_backend: dict | None = None, recursive: bool = True) -> FolderStore | LmdbStore:
    """Opens a folder or an LMDB; within `telling_passed_over` what the folder passes over is told.

    Args:
        root: `dataroot_*`.
        io_backend: BasicSR's `{type: disk}` or `{type: lmdb}`. A root that ends with `.lmdb` is a database whatever it
            says, so one option file may name folders and databases.
        recursive: Look into folders below, too.

    Raises:
        ValueError: For another type, or a path that does not fit it.
    """
    is_database = str(root).rstrip('/\\').endswith('.lmdb')
    kind = (io_backend or {}).get('type') or 'disk'
    if kind not in ('disk', 'lmdb'):
        raise ValueError(f'io_backend: type: {kind!r}; allowed: disk, lmdb')
    if kind == 'lmdb' and not is_database:
        raise ValueError(f'{root}: with io_backend: {{type: lmdb}} the dataroot must be a folder NAME.lmdb')
    if not is_database and os.path.isfile(os.path.join(root, 'data.mdb')):
        raise ValueError(f'{root}: holds an LMDB; rename the folder to {os.path.basename(root)}.lmdb and use that name')
    if is_database:
        return LmdbStore(root)
    store = FolderStore(root, recursive)
    opened = _opened.get()
    if opened is not None:
        opened[store.root] = store
    return store


@contextmanager
def telling_passed_over() -> Iterator[None]:
    """Warns in one line of the pictures that the folders opened in the block pass over, each folder once.

    Of blocks within each other the outermost tells, so a data set made of others speaks for them. Files that are no
    pictures are counted in lines of level INFO. A block that fails says nothing.
    """
    if _opened.get() is not None:
        yield
        return
    opened: dict[str, FolderStore] = {}
    token = _opened.set(opened)
    try:
        yield
    finally:
        _opened.reset(token)
    told = []
    for root, store in opened.items():
        count = len(store.passed_over)
        if count:
            shown = ', '.join(store.passed_over[number] for number in range(min(count, _SHOWN)))
            told.append(f'{root}: {count} ({shown}{", ..." if count > _SHOWN else ""})')
        if store.foreign > count:
            logger.info('%s: %d files that are no pictures are ignored', root, store.foreign - count)
    if told:
        logger.warning(
            'pictures that cannot be used are passed over: %s; allowed are %s, and names without control characters',
            '; '.join(told),
            ' '.join(IMAGE_EXTENSIONS),
        )
