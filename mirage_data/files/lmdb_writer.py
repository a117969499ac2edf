"""Images in LMDB: BasicSR's format, a raw one whose crops are read without decoding, and the writing of both.

A database is a folder `NAME.lmdb` with LMDB's `data.mdb`, BasicSR's `meta_info.txt` (a line `name.png (h,w,c) level`
per image; the key is the name without its extension) and `format.json`, which says how values are stored:

- `encoded`: the bytes of an image file. BasicSR reads these, too, as long as no name has a dot of its own.
- `raw`: a header of 64 bytes, then rows of RGB pixels, so that a crop touches only the pages it lies on.

A value may also be a reference to another name (`LmdbWriter.add_alias`); BasicSR does not know those.
`checksums.json` holds the CRC-32 of each value; it is looked at on request, not with every picture.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from pathlib import Path, PurePosixPath

import cv2
import lmdb
import numpy as np

from mirage_data.files.image import ImageError, decode_rgb

META_FILE, FORMAT_FILE, JOURNAL_FILE, CHECKSUM_FILE = 'meta_info.txt', 'format.json', 'journal.txt', 'checksums.json'
FORMAT_VERSION = 1
MAX_KEY = 511  # LMDB's limit, in bytes
ALIAS = b'MIRAGE-ALIAS\0'  # followed by the key whose value is meant
_RAW = b'MIRAGE-RAW\0'
_RAW_HEADER = struct.Struct('<11sBIII')  # magic, bytes per value, height, width, channels
_RAW_OFFSET = 64
_FIRST_MAP, _COMMIT_BYTES = 1 << 26, 1 << 26


class LmdbError(ValueError):
    """A database that cannot be read or written; the message begins with its path and ends with the cure."""


def key_of(name: str) -> str:
    """The key of an image: its name without the last extension (other dots stay)."""
    return str(PurePosixPath(name).with_suffix(''))


def meta_ending(shape: tuple[int, ...]) -> str:
    """What follows a name in `meta_info.txt`; the last column, BasicSR's compression level, is read by nobody."""
    height, width, channels = shape
    return f' ({height},{width},{channels}) 1'


def name_of_meta_line(line: str) -> str:
    """The name of such a line (names may have blanks and brackets); of a line without a shape all of it."""
    return line.rpartition(' (')[0] or line.strip()


def partial_path(path: str | Path) -> Path:
    """Where an unfinished database lies until it is renamed to `path`."""
    path = Path(path)
    return path.with_name(path.name + '.partial')


def pack_raw(image: np.ndarray) -> bytes:
    """(h, w, c) uint8 or uint16 pixels as a value of a raw database."""
    header = _RAW_HEADER.pack(_RAW, image.itemsize, *image.shape).ljust(_RAW_OFFSET, b'\0')
    return header + np.ascontiguousarray(image).tobytes()


def unpack_raw(value: memoryview) -> np.ndarray:
    """The pixels of such a value, as a view of it.

    Raises:
        ValueError: If it is no such value.
    """
    try:
        magic, itemsize, *shape = _RAW_HEADER.unpack_from(value)
    except struct.error as error:
        raise ValueError(str(error)) from None
    if magic != _RAW or itemsize not in (1, 2):
        raise ValueError('another format')
    kind = np.uint8 if itemsize == 1 else np.uint16
    return np.frombuffer(value, kind, int(np.prod(shape)), _RAW_OFFSET).reshape(shape)


class LmdbWriter:
    """Writes a database that appears under its name only when it is whole.

    Work goes on in `PATH.partial`; a process that was killed, or met a full disk, goes on there when it is started
    again: `name in writer` says what is already stored. Leaving the `with` block without an error finishes the
    database.

    Args:
        path: The database to make; its name ends with `.lmdb`.
        raw: Store pixels instead of files.
        overwrite: Replace a finished database of that name (at the end, not before).

    Raises:
        LmdbError: If the name is unsuitable, a database is there already, or the unfinished one is of the other kind.
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
        self._sums: dict[str, int] = {}
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
                self._names[key_of(name_of_meta_line(line))] = line
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
            ImageError: If `data` is not a usable image.
            LmdbError: If the name is taken or too long, or the disk is full.
        """
        image = decode_rgb(data, name)
        if self.raw:
            self.add_image(name, image)
        else:
            self._put(name, data, meta_ending(image.shape))

    def add_image(self, name: str, image: np.ndarray) -> None:
        """Stores (h, w, 3) RGB uint8 or uint16 pixels, as PNG of OpenCV's own settings (quick to read), or raw.

        Raises:
            LmdbError: If the name is taken or too long, or the disk is full.
            ImageError: If the array is not of that kind.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype not in (np.uint8, np.uint16) or not image.size:
            raise ImageError(f'{name}: {image.dtype} array of shape {image.shape}; needed is (h, w, 3) uint8 or uint16')
        if self.raw:
            value = pack_raw(image)
        else:
            value = cv2.imencode('.png', image[..., ::-1])[1].tobytes()
        self._put(name, value, meta_ending(image.shape))

    def add_alias(self, name: str, target: str) -> None:
        """Lets `name` stand for the image stored under `target`, which must have been added before.

        Raises:
            LmdbError: If there is no such target, or the name is taken.
        """
        line = self._names.get(key_of(target))
        if line is None:
            raise LmdbError(f'{self.path}: {name} cannot stand for {target}, which is not stored')
        self._put(name, ALIAS + key_of(target).encode(), line[len(name_of_meta_line(line)) :])

    def _put(self, name: str, value: bytes, ending: str) -> None:
        if name in self:
            raise LmdbError(f'{self.path}: two images with the key {key_of(name)!r} ({name})')
        try:
            key = key_of(name).encode()
        except UnicodeEncodeError:  # a file name that is not UTF-8
            key = b''
        if not 1 <= len(key) <= MAX_KEY or '\n' in name:
            raise LmdbError(f'{self.path}: {name!r} cannot be a key; allowed are 1 to {MAX_KEY} bytes of UTF-8')
        line = name + ending
        self._names[key_of(name)] = line
        self._sums[key_of(name)] = zlib.crc32(value)
        self._pending.append((key, value, line))
        self._pending_bytes += len(value)
        if self._pending_bytes >= _COMMIT_BYTES:
            self.commit()

    def commit(self) -> None:
        """Brings what was added so far safely to the disk.

        Raises:
            LmdbError: If the disk is full or fails; what was committed before is kept.
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
        try:
            self._note_checksums()
            self.close()
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

    def _note_checksums(self) -> None:
        with self._env.begin(buffers=True) as transaction:
            for key in self._names.keys() - self._sums.keys():  # written by an earlier process
                self._sums[key] = zlib.crc32(transaction.get(key.encode()))
        (self._partial / CHECKSUM_FILE).write_text(json.dumps(self._sums, ensure_ascii=False), encoding='utf-8')

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
