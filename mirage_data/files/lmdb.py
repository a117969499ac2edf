"""Reading image databases, and the one place from which the rest of the package takes what concerns LMDB."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import lmdb
import numpy as np

from mirage_data.files.image import ImageError, NameList, decode_rgb
from mirage_data.files.image_headers import CONTROL, harmless
from mirage_data.files.lmdb_writer import (
    ALIAS,
    CHECKSUM_FILE,
    FORMAT_FILE,
    FORMAT_VERSION,
    META_FILE,
    LmdbError,
    LmdbWriter,
    key_of,
    name_of_meta_line,
    partial_path,
    unpack_raw,
)

__all__ = ['LmdbError', 'LmdbReader', 'LmdbWriter', 'key_of', 'open_lmdb', 'partial_path']


class LmdbReader:
    """Reads a database; use `open_lmdb`, which opens each only once in a process.

    Attributes:
        path: The database.
        names: The images' names as in `meta_info.txt`, with extension, in its order.
        raw: Whether crops can be read without decoding.

    Raises:
        LmdbError: If it is missing, unfinished, damaged, or of another version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._check_files()
        self.raw = self._read_format()
        self.names = NameList(self._read_names())
        try:
            self._env = lmdb.open(str(self.path), readonly=True, lock=False, readahead=False, create=False)
            stored, page_size = (self._env.stat()[key] for key in ('entries', 'psize'))
            # One transaction for good: the file never changes under its name, and views of it stay valid.
            self._transaction = self._env.begin(buffers=True)
        except lmdb.Error as error:
            hint = '; close the other reader' if 'already open' in str(error) else '; make it again'
            raise LmdbError(f'{self.path}: not a readable LMDB ({error}){hint}') from error
        pages = self._env.info()['last_pgno'] + 1
        if pages * page_size > (self.path / 'data.mdb').stat().st_size:  # reading beyond the end would kill the process
            self.close()
            raise LmdbError(f'{self.path}: data.mdb is cut off; copy it again, or make the database again')
        if stored < len(self.names):
            self.close()
            raise LmdbError(
                f'{self.path}: half written: {META_FILE} names {len(self.names)} images, the database has {stored}; '
                'make it again'
            )

    def _check_files(self) -> None:
        if not self.path.is_dir():
            unfinished = partial_path(self.path)
            hint = (
                f' ({unfinished.name} is unfinished: run the command that makes it again)'
                if unfinished.exists()
                else ''
            )
            raise LmdbError(f'{self.path}: no such database{hint}')
        for name in ('data.mdb', META_FILE):
            if not (self.path / name).is_file():
                raise LmdbError(f'{self.path}: has no {name}: not an image LMDB, or half written; make it again')

    def _read_format(self) -> bool:
        file = self.path / FORMAT_FILE
        if not file.exists():  # written by BasicSR
            return False
        try:
            found = json.loads(file.read_text(encoding='utf-8'))
            version, kind = found['version'], found['format']
        except (ValueError, KeyError, TypeError, OSError):
            raise LmdbError(f'{file}: unreadable; make the database again') from None
        if version != FORMAT_VERSION or kind not in ('raw', 'encoded'):
            raise LmdbError(
                f'{self.path}: format {kind!r} version {version}; this program reads version {FORMAT_VERSION}'
            )
        return kind == 'raw'

    def _read_names(self) -> list[str]:
        try:
            lines = (self.path / META_FILE).read_text(encoding='utf-8').splitlines()
            names = [name_of_meta_line(line) for line in lines if line.strip()]
        except (OSError, ValueError) as error:
            raise LmdbError(f'{self.path}: {META_FILE} cannot be read ({error}); make the database again') from error
        if strange := next(filter(CONTROL.search, names), None):
            raise LmdbError(
                f'{self.path}: {META_FILE}: {harmless(strange)}: control characters; make the database again'
            )
        return names

    def __len__(self) -> int:
        return len(self.names)

    def close(self) -> None:
        """Closes the database; views of its images must not be used any more."""
        self._transaction.abort()
        self._env.close()

    def value(self, key: str) -> memoryview:
        """The stored bytes of a key (aliases followed), not copied; valid as long as this reader.

        Raises:
            LmdbError: If there is no such key.
        """
        found = self._get(key)
        if bytes(found[: len(ALIAS)]) == ALIAS:
            found = self._get(bytes(found[len(ALIAS) :]).decode())
        return found

    def _get(self, key: str) -> memoryview:
        try:
            found = self._transaction.get(key.encode())
        except lmdb.Error as error:
            raise LmdbError(f'{self.path}: key {key!r}: damaged ({error}); make the database again') from error
        if found is None:
            raise LmdbError(f'{self.path}: no key {key!r}, which {META_FILE} or a list names; make the database again')
        return found

    def view(self, key: str) -> np.ndarray:
        """The image as (h, w, 3) RGB; in a raw database a read-only view of the file, of which nothing is read yet.

        Raises:
            ImageError: If the value is not a usable image.
            LmdbError: If there is no such key.
        """
        value, name = self.value(key), f'{self.path}: {key}'
        if not self.raw:
            return decode_rgb(bytes(value), name)
        try:
            return unpack_raw(value)
        except ValueError:
            raise ImageError(f'{name}: not raw pixels of version {FORMAT_VERSION}; make the database again') from None

    def damaged(self) -> list[str] | None:
        """Reads all values: the names of those that are not as they were written; None if no checksums are kept.

        Databases of BasicSR keep none, nor do those that were made before there were checksums.
        """
        file = self.path / CHECKSUM_FILE
        if not file.exists():
            return None
        try:
            sums = json.loads(file.read_text(encoding='utf-8'))
            expected = {key_of(name): int(sums[key_of(name)]) for name in self.names}
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise LmdbError(f'{file}: unreadable, or of another database; make the database again') from None
        return [key for key, checksum in expected.items() if self._sum(key) != checksum]

    def _sum(self, key: str) -> int | None:
        try:
            return zlib.crc32(self._get(key))
        except LmdbError:
            return None

    def read(self, key: str) -> np.ndarray:
        """The image as an (h, w, 3) RGB array of its own; errors as `view`."""
        return np.array(self.view(key))

    def read_crop(self, key: str, top: int, left: int, height: int, width: int) -> np.ndarray:
        """A (height, width, 3) part of the image, copied; a raw database reads no other rows.

        Raises:
            ImageError: If the rectangle does not lie inside the image.
        """
        image = self.view(key)
        if (
            min(top, left) < 0
            or min(height, width) < 1
            or top + height > image.shape[0]
            or left + width > image.shape[1]
        ):
            raise ImageError(
                f'{self.path}: {key}: {height}x{width} pixels at ({top}, {left}) are not inside {image.shape[:2]}'
            )
        return np.array(image[top : top + height, left : left + width])


_readers: dict[str, LmdbReader] = {}


def open_lmdb(path: str | Path) -> LmdbReader:
    """The reader of a database, the same one for every caller in this process (LMDB must not open a file twice)."""
    key = os.path.realpath(path)
    if key not in _readers:
        _readers[key] = LmdbReader(path)
    return _readers[key]


def _forget_parent_readers() -> None:
    """LMDB must not be carried through a fork: a worker process opens its own readers when it needs them."""
    for reader in _readers.values():
        reader.close()
    _readers.clear()


if hasattr(os, 'register_at_fork'):  # absent on Windows, which does not fork
    os.register_at_fork(after_in_child=_forget_parent_readers)
