"""What an image file's first and last bytes say about it, before it is decoded; the error for what is of no use,
and names that can do nothing but be read."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator

_PNG = b'\x89PNG\r\n\x1a\n'
_PNM = re.compile(rb'P[2356]' + 3 * rb'(?:\s|#[^\n]*\n)+(\d{1,9})')  # width, height, largest value
CONTROL = re.compile('[\x00-\x1f\x7f-\x9f\u2028\u2029]')  # these begin a line, move the cursor, or worse
MOST_PIXELS = 2**28  # of one file: up to 1.6 GB when decoded; a damaged or made-up header may ask for any number


class ImageError(ValueError):
    """An image that cannot be used; the message begins with its name and ends with the cure."""


def harmless(text: str) -> str:
    """Text in one line without control characters: in a file name they would move the cursor, or worse."""
    return ''.join(c if c.isprintable() or c == ' ' else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that is no text, as Python keeps it in file names
        return f'\\x{number - 0xDC00:02x}'
    return f'\\x{number:02x}' if number < 256 else f'\\u{number:04x}' if number < 65536 else f'\\U{number:08x}'


def refuse_unsuitable(data: bytes, name: str) -> None:
    """Raises `ImageError` for files that OpenCV would decode to something other than the one picture they show.

    Args:
        data: The whole file.
        name: What to call it in the error.
    """
    if not data:
        raise ImageError(f'{name}: the file is empty; copy it again from its source')
    if data.startswith(b'\xff\xd8\xff'):
        _check_jpeg(data, name)
    elif data.startswith(_PNG):
        _check_png(data, name)
        if b'acTL' in png_head(data)[0]:
            raise _animated(name)
    elif data[:4] == b'RIFF' and data[8:12] == b'WEBP':
        if data[12:16] == b'VP8X' and len(data) > 20 and data[20] & 0x02:
            raise _animated(name)
    elif data[:6] in (b'GIF87a', b'GIF89a'):
        if _is_animated_gif(data):
            raise _animated(name)
    elif data[:4] in (b'II*\0', b'MM\0*'):
        _check_tiff(data, name)
    elif data[:2] in (b'P2', b'P3', b'P5', b'P6'):
        _check_pnm(data, name)
    elif data[:2] != b'BM':
        raise ImageError(f'{name}: not an image (begins with {data[:8]!r}); remove it or give the right file')
    width, height = declared_size(data) or (0, 0)
    if width * height > MOST_PIXELS:
        raise ImageError(
            f'{name}: {width}x{height} pixels by its header; at most {MOST_PIXELS / 1e6:.0f} megapixels are read: '
            'cut it into smaller pictures'
        )


def declared_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that the header of a PNG, JPEG, GIF, BMP, PNM or TIFF states; None if it states none.

    WebP cannot hold more than 16,383 pixels a side.
    """
    try:
        if data.startswith(_PNG):
            return struct.unpack_from('>II', data, 16)
        if data.startswith(b'GIF8'):
            return struct.unpack_from('<HH', data, 6)
        if data.startswith(b'BM'):
            width, height = struct.unpack_from('<ii', data, 18)
            return abs(width), abs(height)
        if data.startswith(b'\xff\xd8'):
            height, width = struct.unpack_from('>HH', data, (_jpeg_frame(data) or len(data)) + 5)
            return width, height
        if data[:4] in (b'II*\0', b'MM\0*'):
            tags = dict(_tiff_tags(data))
            return tags[256], tags[257]
    except (struct.error, KeyError):
        return None
    found = _PNM.match(data[:4096])
    return (int(found[1]), int(found[2])) if found else None


def _check_pnm(data: bytes, name: str) -> None:
    """Refuses values that do not go to 255 or 65535: OpenCV leaves them as they are, which is too dark."""
    found = _PNM.match(data[:4096])
    if found and int(found[3]) not in (255, 65535):
        raise ImageError(
            f'{name}: its values go to {int(found[3])}; allowed are 255 and 65535: convert it to PNG '
            '(e.g. magick IN OUT.png)'
        )


def _check_png(data: bytes, name: str) -> None:
    """Every chunk must fit into the file, the checksums of those that decide about pixels must be right."""
    place, view = len(_PNG), memoryview(data)
    while place + 12 <= len(data):
        size, kind = int.from_bytes(data[place : place + 4], 'big'), data[place + 4 : place + 8]
        end = place + 8 + size
        if end + 4 > len(data):
            break
        decisive = kind[:1].isupper() or kind == b'tRNS'
        if decisive and zlib.crc32(view[place + 4 : end]) != int.from_bytes(data[end : end + 4], 'big'):
            raise ImageError(f'{name}: the PNG is damaged (checksum of {kind!r}); copy it again from its source')
        if kind == b'IEND':
            return
        place = end + 4
    raise ImageError(f'{name}: the PNG is truncated (no end chunk); copy it again from its source')


def needs_alpha_check(data: bytes) -> bool:
    """Whether the format stores transparency that a decoder would drop."""
    if data.startswith(_PNG):
        return data[25:26] in (b'\x04', b'\x06') or b'tRNS' in png_head(data)[0]
    if data[:4] == b'RIFF':
        return data[12:16] in (b'VP8X', b'VP8L')
    return data[:4] in (b'II*\0', b'MM\0*', b'GIF8')


def _animated(name: str) -> ImageError:
    return ImageError(f'{name}: animated or with several pages; store the picture you mean as a file of its own')


def png_head(data: bytes) -> tuple[set[bytes], int]:
    """The chunks of a PNG before its pixels, where those about animation and transparency are.

    Returns:
        Their kinds, and the place of the first chunk of pixels (that of the end if there is none).
    """
    kinds, place = set(), len(_PNG)
    while place + 8 <= len(data) and data[place + 4 : place + 8] != b'IDAT':
        kinds.add(data[place + 4 : place + 8])
        place += 12 + int.from_bytes(data[place : place + 4], 'big')
    return kinds, min(place, len(data))


def _jpeg_frame(data: bytes) -> int | None:
    """The place of the marker that states size and colours; None if there is none before the pixels."""
    for place, marker in _jpeg_markers(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return place
    return None


def _jpeg_markers(data: bytes) -> Iterator[tuple[int, int]]:
    """Place and kind of the markers up to that of the pixels."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # a filling byte
            place += 1
            continue
        yield place, marker
        if marker == 0xDA:
            return
        place += 2 + int.from_bytes(data[place + 2 : place + 4], 'big')


def _check_jpeg(data: bytes, name: str) -> None:
    """Looks for the number of colour components, and for the end marker that a truncated file lacks."""
    frame = _jpeg_frame(data)
    if frame is not None and data[frame + 9 : frame + 10] == b'\x04':
        raise ImageError(
            f'{name}: CMYK (a print file), whose colours need its profile; convert it first '
            '(e.g. magick IN -colorspace sRGB OUT)'
        )
    # the pixels begin: an end marker must follow (thumbnails, with their own, lie before)
    pixels = next((place for place, marker in _jpeg_markers(data) if marker == 0xDA), None)
    if pixels is None or not (data.endswith(b'\xff\xd9') or data.rfind(b'\xff\xd9', pixels) > 0):
        raise ImageError(f'{name}: the JPEG is damaged or truncated ({len(data)} bytes); copy it again from its source')


def _is_animated_gif(data: bytes) -> bool:
    from PIL.GifImagePlugin import GifImageFile  # GIF files are rare

    try:
        return GifImageFile(io.BytesIO(data)).is_animated
    except Exception:  # damaged: the decoder says so
        return False


def _tiff_tags(data: bytes) -> Iterator[tuple[int, int]]:
    """Tags and values of the first directory that are one whole number; last (0, place of the next directory)."""
    order = '<' if data[:2] == b'II' else '>'
    (place,) = struct.unpack_from(order + 'I', data, 4)
    (count,) = struct.unpack_from(order + 'H', data, place)
    for entry in range(place + 2, place + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + 'HH', data, entry)
        if kind in (3, 4):
            yield tag, struct.unpack_from(order + ('H' if kind == 3 else 'I'), data, entry + 8)[0]
    yield 0, struct.unpack_from(order + 'I', data, place + 2 + 12 * count)[0]


def has_separate_planes(data: bytes) -> bool:
    """Whether a TIFF keeps a plane for each of several channels."""
    if data[:4] not in (b'II*\0', b'MM\0*'):
        return False
    tags = dict(_tiff_tags(data))
    return tags.get(284) == 2 and tags.get(277, 1) > 1


def _check_tiff(data: bytes, name: str) -> None:
    """Refuses a second page and CMYK, both of which the first directory shows."""
    try:
        tags = dict(_tiff_tags(data))
    except struct.error:
        raise ImageError(f'{name}: the TIFF is damaged or truncated; copy it again from its source') from None
    if tags.get(262) == 5:
        raise ImageError(f'{name}: CMYK (a print file), whose colours need its profile; convert it to sRGB first')
    if tags[0]:
        raise _animated(name)
