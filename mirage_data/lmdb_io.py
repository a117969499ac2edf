"""Images in LMDB: BasicSR's format, and a raw one whose crops are read without decoding.

A database is a folder `NAME.lmdb` with LMDB's `data.mdb`, BasicSR's `meta_info.txt` (a line `name.png (h,w,c) level`
per image; the key is the name without its extension) and `format.json`, which says how values are stored:

- `encoded`: the bytes of an image file. BasicSR reads these, too, as long as no name has a dot of its own.
- `raw`: a header of 64 bytes, then rows of RGB pixels, so that a crop touches only the pages it lies on.

A value may also be a reference to another name (`LmdbWriter.add_alias`); BasicSR does not know those.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path, PurePosixPath

import cv2
import lmdb
import numpy as np

from mirage_data.image_io import ImageError, decode_rgb
from mirage_data.name_list import NameList

META_FILE, FORMAT_FILE, JOURNAL_FILE = 'meta_info.txt', 'format.json', 'journal.txt'
FORMAT_VERSION = 1
_ALIAS = b'MIRAGE-ALIAS\0'
_RAW = b'MIRAGE-RAW\0'
_RAW_HEADER = struct.Struct('<11sBIII')  # magic, bytes per value, height, width, channels
_RAW_OFFSET = 64
_MAX_KEY = 511  # LMDB's limit, in bytes
_FIRST_MAP, _COMMIT_BYTES = 1 << 26, 1 << 26


class LmdbError(ValueError):
    """A database that cannot be read or written; the message begins with its path and ends with the cure."""


def key_of(name: str) -> str:
    """The key of an image: its name without the last extension (other dots stay)."""
    return str(PurePosixPath(name).with_suffix(''))


def _name_of_meta_line(line: str) -> str:
    return line.rsplit(' (', 1)[0]


def partial_path(path: str | Path) -> Path:
    """Where an unfinished database lies until it is renamed to `path`."""
    path = Path(path)
    return path.with_name(path.name + '.partial')


class LmdbWriter:
    """Writes a database that appears under its name only when it is whole.

    Work goes on in `PATH.partial`; a process that was killed, or met a full disk, goes on there when it is started
    again: `name in writer` says what is already stored. Leaving the `with` block without an error finishes the
    database.

    Args:
        path: the database to make; its name ends with `.lmdb`.
        raw: store pixels instead of files.
        overwrite: replace a finished database of that name (at the end, not before).

    Raises:
        LmdbError: if the name is unsuitable, a database is there already, or the unfinished one is of the other kind.
    """

    def __init__(self, path: str | Path, raw: bool = False, overwrite: bool = False) -> None:
        self.path, self.raw, self.overwrite = Path(path), raw, overwrite
        if self.path.suffix != '.lmdb':
            raise LmdbError(f'{path}: the name of a database must end with .lmdb')
        if self.path.exists() and not overwrite:
            raise LmdbError(f'{path}: exists already; remove it, or ask to overwrite it')
        self._partial = partial_path(path)
        self._names: dict[str, str] = {}  # key: its line in meta_info.txt
        try:
            self._partial.mkdir(parents=True, exist_ok=True)
            self._begin_format()
            self._resume()
            self._env = lmdb.open(str(self._partial), map_size=max(_FIRST_MAP, 2 * self._size_on_disk()))
        except (lmdb.Error, OSError) as error:
            raise LmdbError(
                f'{self._partial}: cannot be begun or continued ({error}); check the disk, or remove it and start again'
            ) from error
        self._pending: list[tuple[bytes, bytes, str]] = []
        self._pending_bytes = 0

    def _begin_format(self) -> None:
        wanted = {'format': 'raw' if self.raw else 'encoded', 'version': FORMAT_VERSION}
        file = self._partial / FORMAT_FILE
        found = file.read_text(encoding='utf-8') if file.exists() else ''
        if found and found != json.dumps(wanted):
            raise LmdbError(f'{self._partial}: an unfinished database of another format ({found}); remove it')
        file.write_text(json.dumps(wanted))

    def _resume(self) -> None:
        """Reads which names are stored: the journal is written after each commit, so it never names too many."""
        journal = self._partial / JOURNAL_FILE
        if journal.exists():
            text = journal.read_text(encoding='utf-8')
            whole = text[: text.rfind('\n') + 1]
            for line in whole.splitlines():
                self._names[key_of(_name_of_meta_line(line))] = line
            journal.write_text(whole, encoding='utf-8')

    def _size_on_disk(self) -> int:
        data = self._partial / 'data.mdb'
        return data.stat().st_size if data.exists() else 0

    def __contains__(self, name: str) -> bool:
        return key_of(name) in self._names

    def __len__(self) -> int:
        return len(self._names)

    def add_file(self, name: str, data: bytes) -> None:
        """Stores an image file under `name` (with extension), as it is, or as pixels in a raw database.

        Raises:
            ImageError: if `data` is not a usable image.
            LmdbError: if the name is taken or too long, or the disk is full.
        """
        image = decode_rgb(data, name)
        if self.raw:
            self.add_image(name, image)
        else:
            self._put(name, data, image.shape)

    def add_image(self, name: str, image: np.ndarray) -> None:
        """Stores (h, w, 3) RGB uint8 or uint16 pixels, as PNG of OpenCV's own settings (quick to read), or raw.

        Raises:
            LmdbError: if the name is taken or too long, or the disk is full.
            ImageError: if the array is not of that kind.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype not in (np.uint8, np.uint16) or not image.size:
            raise ImageError(f'{name}: {image.dtype} array of shape {image.shape}; needed is (h, w, 3) uint8 or uint16')
        if self.raw:
            header = _RAW_HEADER.pack(_RAW, image.itemsize, *image.shape).ljust(_RAW_OFFSET, b'\0')
            value = header + np.ascontiguousarray(image).tobytes()
        else:
            value = cv2.imencode('.png', image[..., ::-1])[1].tobytes()
        self._put(name, value, image.shape)

    def add_alias(self, name: str, target: str) -> None:
        """Lets `name` stand for the image stored under `target`, which must have been added before.

        Raises:
            LmdbError: if there is no such target, or the name is taken.
        """
        line = self._names.get(key_of(target))
        if line is None:
            raise LmdbError(f'{self.path}: {name} cannot stand for {target}, which is not stored')
        shape = tuple(int(number) for number in line.rsplit(' (', 1)[1].split(')')[0].split(','))
        self._put(name, _ALIAS + key_of(target).encode(), shape)

    def _put(self, name: str, value: bytes, shape: tuple[int, ...]) -> None:
        key = key_of(name).encode()
        if name in self:
            raise LmdbError(f'{self.path}: two images with the key {key_of(name)!r} ({name})')
        if len(key) > _MAX_KEY or not key or '\n' in name:
            raise LmdbError(f'{self.path}: {name!r} cannot be a key; allowed are 1 to {_MAX_KEY} bytes on one line')
        height, width, channels = shape
        line = f'{name} ({height},{width},{channels}) 1'  # BasicSR's column for the compression level; not read
        self._names[key_of(name)] = line
        self._pending.append((key, value, line))
        self._pending_bytes += len(value)
        if self._pending_bytes >= _COMMIT_BYTES:
            self.commit()

    def commit(self) -> None:
        """Brings what was added so far safely to the disk.

        Raises:
            LmdbError: if the disk is full or fails; what was committed before is kept.
        """
        while self._pending:
            try:
                with self._env.begin(write=True) as transaction:
                    for key, value, _ in self._pending:
                        transaction.put(key, value)
                with open(self._partial / JOURNAL_FILE, 'a', encoding='utf-8') as journal:
                    journal.write(''.join(line + '\n' for _, _, line in self._pending))
                    journal.flush()
                    os.fsync(journal.fileno())
            except lmdb.MapFullError:
                self._env.set_mapsize(2 * self._env.info()['map_size'] + self._pending_bytes)
                continue
            except (lmdb.Error, OSError) as error:
                raise LmdbError(
                    f'{self._partial}: cannot be written ({error}); free some space and run the same command again: '
                    'it goes on where it stopped'
                ) from error
            self._pending, self._pending_bytes = [], 0

    def finish(self) -> None:
        """Writes `meta_info.txt` and gives the database its name."""
        self.commit()
        self.close()
        try:
            lines = [self._names[key] for key in sorted(self._names)]
            with open(self._partial / META_FILE, 'w', encoding='utf-8') as meta:
                meta.write(''.join(line + '\n' for line in lines))
                meta.flush()
                os.fsync(meta.fileno())
            for name in (JOURNAL_FILE, 'lock.mdb'):
                (self._partial / name).unlink(missing_ok=True)
            if self.path.exists():
                old = self.path.with_name(self.path.name + '.old')
                shutil.rmtree(old, ignore_errors=True)
                os.replace(self.path, old)
                os.replace(self._partial, self.path)
                shutil.rmtree(old)
            else:
                os.replace(self._partial, self.path)
        except OSError as error:
            raise LmdbError(f'{self._partial}: cannot be finished ({error}); run the same command again') from error

    def close(self) -> None:
        """Closes the unfinished database; what was committed stays in it."""
        self._env.close()

    def __enter__(self) -> LmdbWriter:
        return self

    def __exit__(self, kind, error, trace) -> None:
        if kind is None:
            self.finish()
        else:
            self.close()


class LmdbReader:
    """Reads a database; use `open_lmdb`, which opens each only once in a process.

    Attributes:
        path: the database.
        names: the images' names as in `meta_info.txt`, with extension, in its order.
        raw: whether crops can be read without decoding.

    Raises:
        LmdbError: if it is missing, unfinished, damaged, or of another version.
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
        lines = (self.path / META_FILE).read_text(encoding='utf-8').splitlines()
        return [_name_of_meta_line(line) for line in lines if line.strip()]

    def __len__(self) -> int:
        return len(self.names)

    def close(self) -> None:
        """Closes the database; views of its images must not be used any more."""
        self._transaction.abort()
        self._env.close()

    def value(self, key: str) -> memoryview:
        """The stored bytes of a key (aliases followed), not copied; valid as long as this reader.

        Raises:
            LmdbError: if there is no such key.
        """
        found = self._get(key)
        if bytes(found[: len(_ALIAS)]) == _ALIAS:
            found = self._get(bytes(found[len(_ALIAS) :]).decode())
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
            ImageError: if the value is not a usable image.
            LmdbError: if there is no such key.
        """
        value, name = self.value(key), f'{self.path}: {key}'
        if not self.raw:
            return decode_rgb(bytes(value), name)
        try:
            magic, itemsize, *shape = _RAW_HEADER.unpack_from(value)
            if magic != _RAW or itemsize not in (1, 2):
                raise ValueError
            kind = np.uint8 if itemsize == 1 else np.uint16
            return np.frombuffer(value, kind, int(np.prod(shape)), _RAW_OFFSET).reshape(shape)
        except (struct.error, ValueError):
            raise ImageError(f'{name}: not raw pixels of version {FORMAT_VERSION}; make the database again') from None

    def read(self, key: str) -> np.ndarray:
        """The image as an (h, w, 3) RGB array of its own; errors as `view`."""
        return np.array(self.view(key))

    def read_crop(self, key: str, top: int, left: int, height: int, width: int) -> np.ndarray:
        """A (height, width, 3) part of the image, copied; a raw database reads no other rows.

        Raises:
            ImageError: if the rectangle does not lie inside the image.
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
