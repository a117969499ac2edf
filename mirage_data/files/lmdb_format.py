"""Images in LMDB: BasicSR's format, and a raw one whose crops are read without decoding.

A database is a folder `NAME.lmdb` with LMDB's `data.mdb`, BasicSR's `meta_info.txt` (a line `name.png (h,w,c) level`
per image; the key is the name without its extension) and `format.json`, which says how values are stored:

`checksums.json` holds the CRC-32 of each value; it is looked at on request, not with every picture.

- `encoded`: the bytes of an image file. BasicSR reads these, too, as long as no name has a dot of its own.
- `raw`: a header of 64 bytes, then rows of RGB pixels, so that a crop touches only the pages it lies on.

A value may also be a reference to another name (`LmdbWriter.add_alias`); BasicSR does not know those.
"""

from __future__ import annotations

import struct
from pathlib import Path, PurePosixPath

import numpy as np

META_FILE, FORMAT_FILE, JOURNAL_FILE, CHECKSUM_FILE = 'meta_info.txt', 'format.json', 'journal.txt', 'checksums.json'
FORMAT_VERSION = 1
MAX_KEY = 511  # LMDB's limit, in bytes
ALIAS = b'MIRAGE-ALIAS\0'  # followed by the key whose value is meant
_RAW = b'MIRAGE-RAW\0'
_RAW_HEADER = struct.Struct('<11sBIII')  # magic, bytes per value, height, width, channels
_RAW_OFFSET = 64


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
        ValueError: if it is no such value.
    """
    try:
        magic, itemsize, *shape = _RAW_HEADER.unpack_from(value)
    except struct.error as error:
        raise ValueError(str(error)) from None
    if magic != _RAW or itemsize not in (1, 2):
        raise ValueError('another format')
    kind = np.uint8 if itemsize == 1 else np.uint16
    return np.frombuffer(value, kind, int(np.prod(shape)), _RAW_OFFSET).reshape(shape)
