"""What an image file's first and last bytes say about it, before it is decoded."""

from __future__ import annotations

import struct

from mirage_data.files.errors import ImageError

_PNG = b'\x89PNG\r\n\x1a\n'


def refuse_unsuitable(data: bytes, name: str) -> None:
    """Raises `ImageError` for files that OpenCV would decode to something other than the one picture they show.

    Args:
        data: the whole file.
        name: what to call it in the error.
    """
    if not data:
        raise ImageError(f'{name}: the file is empty; copy it again from its source')
    if data.startswith(b'\xff\xd8\xff'):
        _check_jpeg(data, name)
    elif data.startswith(_PNG):
        if data[-8:-4] != b'IEND' and b'IEND' not in data[-4096:]:
            raise ImageError(f'{name}: the PNG is truncated (no end chunk); copy it again from its source')
        if b'acTL' in png_head(data)[0]:
            raise _animated(name)
    elif data[:4] == b'RIFF' and data[8:12] == b'WEBP':
        if data[12:16] == b'VP8X' and len(data) > 20 and data[20] & 0x02:
            raise _animated(name)
    elif data[:6] in (b'GIF87a', b'GIF89a'):
        if _gif_frames(data) > 1:
            raise _animated(name)
    elif data[:4] in (b'II*\0', b'MM\0*'):
        _check_tiff(data, name)
    elif data[:2] != b'BM' and data[:2] not in (b'P2', b'P3', b'P5', b'P6'):
        raise ImageError(f'{name}: not an image (begins with {data[:8]!r}); remove it or give the right file')


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


def _check_jpeg(data: bytes, name: str) -> None:
    """Looks for the number of colour components, and for the end marker that a truncated file lacks."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker, size = data[place + 1], int.from_bytes(data[place + 2 : place + 4], 'big')
        if marker == 0xFF:  # a filling byte
            place += 1
            continue
        if (
            0xC0 <= marker <= 0xCF
            and marker not in (0xC4, 0xC8, 0xCC)
            and place + 9 < len(data)
            and data[place + 9] == 4
        ):
            raise ImageError(
                f'{name}: CMYK (a print file), whose colours need its profile; convert it first '
                '(e.g. magick IN -colorspace sRGB OUT)'
            )
        if marker == 0xDA:  # the pixels begin: an end marker must follow (thumbnails, with their own, lie before)
            if data.endswith(b'\xff\xd9') or data.rfind(b'\xff\xd9', place) > 0:
                return
            break
        place += 2 + size
    raise ImageError(f'{name}: the JPEG is damaged or truncated ({len(data)} bytes); copy it again from its source')


def _gif_frames(data: bytes) -> int:
    """Counts pictures, at most two, by walking over the blocks."""

    def table(flags: int) -> int:
        return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0

    frames, place = 0, 13 + table(data[10] if len(data) > 10 else 0)
    while place < len(data) and frames < 2 and data[place] in (0x21, 0x2C):
        if data[place] == 0x2C:
            frames += 1
            place += 11 + table(data[place + 9] if len(data) > place + 9 else 0)
        else:
            place += 2
        while place < len(data) and data[place]:
            place += data[place] + 1
        place += 1
    return frames


def _check_tiff(data: bytes, name: str) -> None:
    """Refuses a second page and CMYK, both of which the first directory shows."""
    order = '<' if data[:2] == b'II' else '>'
    try:
        (place,) = struct.unpack_from(order + 'I', data, 4)
        (count,) = struct.unpack_from(order + 'H', data, place)
        for entry in range(count):
            tag, kind, _, value = struct.unpack_from(order + 'HHI2s', data, place + 2 + 12 * entry)
            if tag == 262 and kind == 3 and struct.unpack(order + 'H', value)[0] == 5:
                raise ImageError(
                    f'{name}: CMYK (a print file), whose colours need its profile; convert it to sRGB first'
                )
        (following,) = struct.unpack_from(order + 'I', data, place + 2 + 12 * count)
    except struct.error:
        raise ImageError(f'{name}: the TIFF is damaged or truncated; copy it again from its source') from None
    if following:
        raise _animated(name)
