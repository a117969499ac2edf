"""Part of a PNG without decoding the rest of it.

Most of the time of a training sample goes into inflating PNGs of which one crop is kept. A PNG's rows come one after
the other, so everything below the crop can stay compressed; and where rows refer only to themselves (what OpenCV
writes) the rows above need not be reconstructed either.
"""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np

from mirage_data.files.crops import Window
from mirage_data.files.image import decode_rgb
from mirage_data.files.image_headers import png_head

_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_HEAD = struct.Struct('>8s4x4sIIBBBBB')
_PLAIN = (8, 2, 0, 0, 0)  # 8 bits, RGB, the one compression and filter method, not interlaced
_NONE, _LEFT = 0, 1  # filters by which a row refers to no other row


class PartialPng:
    """A PNG file in memory, of which crops can be read.

    Args:
        data: the whole file.
        name: what to call it in errors.
        height: rows, from its header.
        width: columns, from its header.
        pixels: where the first chunk of pixels begins.
    """

    def __init__(self, data: bytes, name: str, height: int, width: int, pixels: int) -> None:
        self._data, self._name, self._pixels = data, name, pixels
        self.height, self.width = height, width

    @staticmethod
    def open(data: bytes, name: str) -> PartialPng | None:
        """The file, if it is an RGB PNG of 8 bits without anything that changes how pixels are shown; else None."""
        if len(data) < 64 or data[-8:-4] != b'IEND':
            return None
        signature, kind, width, height, *method = _HEAD.unpack_from(data)
        if signature != _SIGNATURE or kind != b'IHDR' or tuple(method) != _PLAIN or not height or not width:
            return None
        kinds, pixels = png_head(data)
        if kinds & {b'tRNS', b'acTL'} or b'eXIf' in data:  # the orientation may also stand behind the pixels
            return None
        return PartialPng(data, name, height, width, pixels)

    def crop(self, window: Window) -> np.ndarray:
        """The pixels in the window, (h, w, 3) uint8 RGB.

        Raises:
            ImageError: if the file is damaged above the window's end.
        """
        bottom = window.top + window.height
        rows = self._rows(bottom) if bottom < self.height else None
        if rows is None:  # all of it is wanted, or it is damaged: the ordinary decoder gives it, or the right error
            return window.of(decode_rgb(self._data, self._name))
        if np.all(rows[window.top :, 0] <= _LEFT):
            return self._sums(rows[window.top :], window)
        image = cv2.imdecode(np.frombuffer(self._stored(rows), np.uint8), cv2.IMREAD_COLOR)
        return window.of(decode_rgb(self._data, self._name) if image is None else image[..., ::-1])

    def _rows(self, count: int) -> np.ndarray | None:
        """The first rows as they are in the file, (count, 1 + 3 w): the filter's number, then the filtered values."""
        length = 1 + 3 * self.width
        inflater, parts, missing = zlib.decompressobj(), [], count * length
        place, view = self._pixels, memoryview(self._data)
        try:
            while missing:
                size, kind = struct.unpack_from('>I4s', view, place)
                (check,) = struct.unpack_from('>I', view, place + 8 + size)
                if kind != b'IDAT' or zlib.crc32(view[place + 4 : place + 8 + size]) != check:
                    return None
                part = inflater.decompress(view[place + 8 : place + 8 + size], missing)
                parts.append(part)
                missing -= len(part)
                place += 12 + size
        except (struct.error, zlib.error):
            return None
        return np.frombuffer(b''.join(parts), np.uint8).reshape(count, length)

    def _sums(self, rows: np.ndarray, window: Window) -> np.ndarray:
        """Undoes the filter that stores differences to the left neighbour: a running sum, modulo 256."""
        right = window.left + window.width
        values = rows[:, 1 : 1 + 3 * right].reshape(len(rows), right, 3)
        image = np.add.accumulate(values, axis=1, dtype=np.uint8)
        plain = rows[:, 0] == _NONE
        image[plain] = values[plain]
        return image[:, window.left :]

    def _stored(self, rows: np.ndarray) -> bytes:
        """The rows as a PNG of their own without compression, so that libpng undoes their filters."""
        head = struct.pack('>II', self.width, len(rows)) + bytes(_PLAIN)
        return b''.join(
            (_SIGNATURE, _chunk(b'IHDR', head), _chunk(b'IDAT', zlib.compress(rows, 0)), _chunk(b'IEND', b''))
        )


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(content, zlib.crc32(kind)))
