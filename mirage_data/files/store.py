"""Where images come from: a folder of files or an LMDB, behind the same questions."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np

from mirage_data.files.image import ImageError, NameList, list_names, read_rgb
from mirage_data.files.lmdb import key_of, open_lmdb

logger = logging.getLogger('basicsr.mirage_data')  # that of the data sets


class FolderStore:
    """The images below a folder.

    Attributes:
        root: The folder.
        names: Names relative to it, sorted.

    Raises:
        ImageError: If the folder is missing or has no images.
    """

    def __init__(self, root: str | Path, recursive: bool = True) -> None:
        self.root = str(root)
        foreign: list[str] = []
        self.names = NameList(list_names(self.root, recursive, foreign))
        self.foreign = len(foreign)
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
    """Opens a folder or an LMDB.

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
    return LmdbStore(root) if is_database else FolderStore(root, recursive)
