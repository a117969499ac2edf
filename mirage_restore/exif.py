"""EXIF blocks and TIFF directories: patched, taken out of a TIFF and put into one, every other byte as it was.

An EXIF block is a small TIFF file: a byte order, and directories of (tag, kind, count, value). Libraries that decode
and encode it again lose what they do not understand (text that is not ASCII, makers' notes); here bytes are only moved.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = [
    'Entry',
    'append_to_tiff',
    'block_of_tiff',
    'orientation_of',
    'tiff_directories',
    'upright',
    'without_orientation',
]

_ORIENTATION, _SUB_DIRECTORIES = 0x0112, (0x8769, 0x8825, 0xA005)  # EXIF, GPS, interoperability
_WIDTHS, _HEIGHTS = (0x0100, 0xA002), (0x0101, 0xA003)
_THUMBNAIL, _THUMBNAIL_LENGTH = 0x0201, 0x0202
_RESOLUTION = (0x011A, 0x011B, 0x0128)  # libraries write one of their own where none is known
#: Tags of a TIFF's first directory that describe the picture; the others are about how its pixels are stored.
_DESCRIPTIVE = {
    *(0x010D, 0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x013C),
    *(0x4746, 0x4749, 0x8298, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F, *_SUB_DIRECTORIES),
}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_UNITS = {**_SIZES, 5: 4, 10: 4}  # what is turned round when the byte order changes
_LARGEST_VALUE = 1 << 26


@dataclass(frozen=True)
class Entry:
    """One field of a directory.

    Attributes:
        tag: Its number.
        kind: Its TIFF type.
        value: The bytes, in the byte order of the file.
        place: Where they are in the file.
        below: The entries of the directory it points to, for EXIF, GPS and interoperability.
    """

    tag: int
    kind: int
    value: bytes
    place: int
    below: tuple[Entry, ...] = ()

    def numbers(self, order: str) -> tuple[int, ...]:
        """The value as whole numbers; empty for other kinds."""
        letter = {1: 'B', 3: 'H', 4: 'I', 13: 'I', 16: 'Q', 18: 'Q'}.get(self.kind)
        return struct.unpack(f'{order}{len(self.value) // _SIZES[self.kind]}{letter}', self.value) if letter else ()


@dataclass(frozen=True)
class _Layout:
    """How a TIFF counts: byte order, and whether it is one of more than 4 GB."""

    order: str
    big: bool

    @property
    def offset(self) -> str:
        return self.order + ('Q' if self.big else 'I')

    @property
    def count(self) -> str:
        return self.order + ('Q' if self.big else 'H')

    @property
    def room(self) -> int:
        return 8 if self.big else 4

    @property
    def head(self) -> int:
        """Where the place of the first directory is."""
        return 8 if self.big else 4


def orientation_of(block: bytes) -> int | None:
    """The EXIF orientation, 1 to 8; None where none is stated, 1 where it is another number."""
    layout = _layout(block)
    for entry in _first_directory(block):
        if layout is not None and entry.tag == _ORIENTATION:
            numbers = entry.numbers(layout.order)
            return numbers[0] if numbers and 1 <= numbers[0] <= 8 else 1
    return None


def upright(block: bytes, width: int, height: int) -> bytes:
    """An EXIF block for the turned and restored picture: orientation 1, its dimensions, no thumbnail of the old one.

    Args:
        block: As it was read, without ``Exif\\0\\0``.
        width: Of the picture that is written.
        height: Likewise.

    Returns:
        The same bytes elsewhere; the block unchanged if it is damaged.
    """
    layout = _layout(block)
    if layout is None:
        return block
    patched = bytearray(block)

    def put(entry: Entry, number: int) -> None:
        letter = {3: 'H', 4: 'I'}.get(entry.kind)
        if letter and len(entry.value) == _SIZES[entry.kind] and number < 256 ** _SIZES[entry.kind]:
            struct.pack_into(layout.order + letter, patched, entry.place, number)

    entries = _first_directory(block)
    for entry in (*entries, *(below for each in entries for below in each.below)):
        if entry.tag == _ORIENTATION:
            put(entry, 1)
        elif entry.tag in _WIDTHS:
            put(entry, width)
        elif entry.tag in _HEIGHTS:
            put(entry, height)
    _remove_thumbnail(patched, block, layout)
    return bytes(patched)


def without_orientation(block: bytes) -> bytes:
    """An EXIF block that says nothing of orientation, every value where it was: the entry is taken out of its table."""
    layout = _layout(block)
    if layout is None or layout.big:
        return block
    (place,) = struct.unpack_from(layout.offset, block, layout.head)
    (number,) = struct.unpack_from(layout.count, block, place)
    end = place + 2 + number * 12
    for at in range(place + 2, end, 12):
        if struct.unpack_from(layout.order + 'H', block, at)[0] == _ORIENTATION:
            table = struct.pack(layout.count, number - 1) + block[place + 2 : at] + block[at + 12 : end + 4] + bytes(12)
            return block[:place] + table + block[end + 4 :]
    return block


def tiff_directories(data: bytes) -> Iterator[tuple[str, list[Entry]]]:
    """(byte order, entries) of each page of a TIFF file; none if it is no TIFF."""
    layout = _layout(data)
    if layout is None:
        return
    seen: set[int] = set()
    (place,) = struct.unpack_from(layout.offset, data, layout.head)
    while place and place not in seen and len(seen) < 1000:
        seen.add(place)
        entries, place = _directory(data, place, layout)
        yield layout.order, entries


def block_of_tiff(order: str, entries: list[Entry]) -> bytes | None:
    """An EXIF block of what a TIFF's directory says about the picture; None if it says nothing."""
    kept = list({entry.tag: entry for entry in reversed(entries) if entry.tag in _DESCRIPTIVE}.values())[::-1]
    if not kept:
        return None
    layout = _Layout(order, False)
    head = (b'II*\0' if order == '<' else b'MM\0*') + struct.pack(layout.offset, 8)
    return head + _built(kept, 8, layout)


def append_to_tiff(tiff: bytes, block: bytes | None, more: dict[int, tuple[int, bytes]]) -> bytes:
    """A TIFF file with descriptive fields added to its first directory; a resolution that they do not state is none.

    Args:
        tiff: The file, with the fields of its own structure.
        block: EXIF block whose fields are added; those of the structure in it are left out.
        more: Further fields: tag -> (kind, value in the file's byte order).
    """
    layout = _layout(tiff)
    assert layout is not None
    (place,) = struct.unpack_from(layout.offset, tiff, layout.head)
    entries, following = _directory(tiff, place, layout)
    added = {tag: Entry(tag, kind, value, 0) for tag, (kind, value) in more.items()}
    if block is not None and (other := _layout(block)) is not None:
        described = [entry for entry in _first_directory(block) if entry.tag in _DESCRIPTIVE]
        added = {**{e.tag: _reordered(e, other.order, layout.order) for e in described}, **added}
    own = [entry for entry in entries if entry.tag not in (*added, *_RESOLUTION)]
    if not added.keys() & set(_RESOLUTION):
        one, no_unit = struct.pack(layout.order + 'II', 1, 1), struct.pack(layout.order + 'H', 1)
        own += [Entry(tag, kind, value, 0) for tag, kind, value in zip(_RESOLUTION, (5, 5, 3), (one, one, no_unit))]
    start = len(tiff) + len(tiff) % 2
    directory = _built(sorted([*own, *added.values()], key=lambda entry: entry.tag), start, layout, following)
    patched = bytearray(tiff.ljust(start, b'\0')) + directory
    struct.pack_into(layout.offset, patched, layout.head, start)
    return bytes(patched)


def _layout(data: bytes) -> _Layout | None:
    order = {b'II': '<', b'MM': '>'}.get(data[:2])
    if order is None or len(data) < 8:
        return None
    (magic,) = struct.unpack_from(order + 'H', data, 2)
    return _Layout(order, magic == 43) if magic in (42, 43) and len(data) >= (16 if magic == 43 else 8) else None


def _first_directory(block: bytes) -> list[Entry]:
    layout = _layout(block)
    if layout is None:
        return []
    (place,) = struct.unpack_from(layout.offset, block, layout.head)
    return _directory(block, place, layout)[0]


def _directory(data: bytes, place: int, layout: _Layout, depth: int = 0) -> tuple[list[Entry], int]:
    """Entries of the directory at ``place`` and the place of the next one; what points outside the file is left out."""
    counted, size = struct.calcsize(layout.count), 20 if layout.big else 12
    if place <= 0 or place + counted > len(data):
        return [], 0
    (number,) = struct.unpack_from(layout.count, data, place)
    entries = []
    for at in range(place + counted, min(place + counted + number * size, len(data) - size + 1), size):
        tag, kind = struct.unpack_from(layout.order + 'HH', data, at)
        (count,) = struct.unpack_from(layout.offset, data, at + 4)
        length = count * _SIZES.get(kind, 0)
        where = at + 4 + layout.room
        if length > layout.room:
            (where,) = struct.unpack_from(layout.offset, data, where)
        if kind not in _SIZES or length > _LARGEST_VALUE or where + length > len(data):
            continue
        below: list[Entry] = []
        value = bytes(data[where : where + length])
        if tag in _SUB_DIRECTORIES and depth < 3 and length == _SIZES[kind] and kind in (4, 13, 16, 18):
            target = Entry(tag, kind, value, where).numbers(layout.order)[0]
            below = _directory(data, target, layout, depth + 1)[0]
        entries.append(Entry(tag, kind, value, where, tuple(below)))
    end = place + counted + number * size
    following = struct.unpack_from(layout.offset, data, end)[0] if end + layout.room <= len(data) else 0
    return entries, following


def _built(entries: list[Entry], start: int, layout: _Layout, following: int = 0) -> bytes:
    """A directory for the place ``start`` of a file, followed by its values and the directories below it."""
    number = len(entries)
    table = struct.pack(layout.count, number)
    after = start + len(table) + number * (20 if layout.big else 12) + layout.room
    values = b''
    for entry in entries:
        kind, value = entry.kind, entry.value
        if entry.below:
            kind = 16 if layout.big else 4
            place = after + len(values)
            values += _built(list(entry.below), place, layout)
            value = struct.pack(layout.offset, place)
        count = len(value) // _SIZES[kind]
        if len(value) > layout.room:
            place = after + len(values)
            values += value + b'\0' * (len(value) % 2)
            value = struct.pack(layout.offset, place)
        table += struct.pack(layout.order + 'HH', entry.tag, kind) + struct.pack(layout.offset, count)
        table += value.ljust(layout.room, b'\0')
    return table + struct.pack(layout.offset, following) + values


def _reordered(entry: Entry, before: str, after: str) -> Entry:
    below = tuple(_reordered(e, before, after) for e in entry.below)
    value, unit = entry.value, _UNITS[entry.kind]
    if before != after and unit > 1:
        value = b''.join(value[i : i + unit][::-1] for i in range(0, len(value), unit))
    return Entry(entry.tag, entry.kind, value, entry.place, below)


def _remove_thumbnail(patched: bytearray, block: bytes, layout: _Layout) -> None:
    """Unlinks the second directory and blanks its picture."""
    (place,) = struct.unpack_from(layout.offset, block, layout.head)
    following = _directory(block, place, layout)[1]
    if not following:
        return
    counted, size = struct.calcsize(layout.count), 20 if layout.big else 12
    (number,) = struct.unpack_from(layout.count, block, place)
    struct.pack_into(layout.offset, patched, place + counted + number * size, 0)
    found = {entry.tag: entry.numbers(layout.order) for entry in _directory(block, following, layout)[0]}
    if found.get(_THUMBNAIL) and found.get(_THUMBNAIL_LENGTH):
        at, length = found[_THUMBNAIL][0], found[_THUMBNAIL_LENGTH][0]
        if at > 0 and at + length <= len(block):
            patched[at : at + length] = bytes(length)
