"""What image files hold beside pixels, byte by byte: chunks of PNG, segments of JPEG, text of XMP and IPTC."""

from __future__ import annotations

import contextlib
import re
import struct
import zlib

__all__ = [
    'apng',
    'iptc_of_photoshop',
    'jpeg_density',
    'jpeg_precision',
    'photoshop_segment',
    'png_chunk',
    'png_chunks',
    'png_density',
    'png_xmp',
    'upright_xmp',
    'webp_chunks',
    'with_png_chunks',
    'without_chunk',
    'xmp_orientation',
]

PNG = b'\x89PNG\r\n\x1a\n'
#: Chunks that say what colour the values of a PNG are, and those of its text.
COLOUR_CHUNKS = (b'cHRM', b'gAMA', b'sRGB', b'cICP', b'mDCV', b'cLLI')
TEXT_CHUNKS = (b'tEXt', b'zTXt', b'iTXt')
_XMP_KEYWORD, _IPTC_KEYWORD = b'XML:com.adobe.xmp', b'Raw profile type iptc'
_BEHIND_HEADER = 8 + 25
_PHOTOSHOP = b'Photoshop 3.0\0'
_XMP_TURNED = rb'(tiff:Orientation(?:=["\']|>)\s*)([2-8])(?![0-9])'
_IPTC_RESOURCE = 0x0404


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """(kind, body) of a PNG's chunks, those of the pixels left out."""
    found, place = [], len(PNG)
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], 'big')
        kind = data[place + 4 : place + 8]
        if kind != b'IDAT' and place + 12 + length <= len(data):
            found.append((kind, data[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


def apng(chunks: list[tuple[bytes, bytes]]) -> bool:
    """Whether a PNG is animated."""
    return any(kind == b'acTL' and len(body) >= 4 and int.from_bytes(body[:4], 'big') > 1 for kind, body in chunks)


def is_xmp(kind: bytes, body: bytes) -> bool:
    """Whether a PNG chunk holds XMP."""
    return kind == b'iTXt' and body.startswith(_XMP_KEYWORD + b'\0')


def png_density(chunks: list[tuple[bytes, bytes]]) -> tuple[float, float] | None:
    """Pixels per inch of a PNG, or None."""
    for kind, body in chunks:
        if kind == b'pHYs' and len(body) == 9 and body[8] == 1:
            x, y = struct.unpack('>II', body[:8])
            return x * 0.0254, y * 0.0254
    return None


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))


def png_xmp(xmp: bytes) -> tuple[bytes, bytes]:
    """The chunk of a PNG that holds XMP."""
    return b'iTXt', _XMP_KEYWORD + b'\0\0\0\0\0' + xmp


def png_iptc(iptc: bytes) -> tuple[bytes, bytes]:
    """The chunk in which programs look for IPTC in a PNG (ImageMagick's convention)."""
    resource = _resource(iptc)
    text = b'\niptc\n%8d\n' % len(resource) + re.sub(rb'(.{72})', rb'\1\n', resource.hex().encode()) + b'\n'
    return b'zTXt', _IPTC_KEYWORD + b'\0\0' + zlib.compress(text)


def iptc_of_png(chunks: list[tuple[bytes, bytes]]) -> bytes | None:
    """The IPTC records that `png_iptc` and other programs put into a PNG, or None."""
    for kind, body in chunks:
        if is_iptc(kind, body):
            with contextlib.suppress(ValueError, zlib.error):  # damaged
                text = body[len(_IPTC_KEYWORD) + 1 :]
                text = zlib.decompress(text[1:]) if kind == b'zTXt' else text
                return iptc_of_photoshop(bytes.fromhex(b''.join(text.split(b'\n')[3:]).decode('ascii')))
    return None


def is_iptc(kind: bytes, body: bytes) -> bool:
    """Whether a PNG chunk holds IPTC."""
    return kind in (b'zTXt', b'tEXt') and body.startswith(_IPTC_KEYWORD + b'\0')


def with_png_chunks(png: bytes, chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG with chunks put behind its header."""
    added = b''.join(png_chunk(kind, body) for kind, body in chunks)
    return png[:_BEHIND_HEADER] + added + png[_BEHIND_HEADER:] if added else png


def without_chunk(png: bytes, kind: bytes) -> bytes:
    """A PNG without its first chunk of a kind, which stands before the pixels."""
    place = png.find(kind, 0, png.find(b'IDAT'))
    return png if place < 0 else png[: place - 4] + png[place + 8 + int.from_bytes(png[place - 4 : place], 'big') :]


def jpeg_density(data: bytes) -> tuple[float, float] | None:
    """Pixels per inch that a JFIF header states, or None."""
    if data[2:4] != b'\xff\xe0' or data[6:11] != b'JFIF\0' or len(data) < 18:
        return None
    x, y = struct.unpack_from('>HH', data, 14)
    scale = {1: 1.0, 2: 2.54}.get(data[13])
    return (x * scale, y * scale) if scale and x and y else None


def jpeg_precision(data: bytes) -> int:
    """Bits a sample of a JPEG, 8 or 12; 8 where the file does not get so far."""
    place = 2
    while place + 9 < len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return data[place + 4]
        place += 1 if marker == 0xFF else 2 + int.from_bytes(data[place + 2 : place + 4], 'big')
    return 8


def webp_chunks(data: bytes) -> dict[bytes, bytes]:
    """First chunk of each kind of a WebP file; those of pixels cut to 32 bytes."""
    found: dict[bytes, bytes] = {}
    place = 12
    while place + 8 <= len(data):
        kind, length = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], 'little')
        shown = min(length, 32) if kind in (b'VP8 ', b'VP8L', b'ALPH', b'ANMF') else length
        found.setdefault(kind, data[place + 8 : place + 8 + shown])
        place += 8 + length + length % 2
    return found


def upright_xmp(xmp: bytes) -> bytes:
    """XMP that says the picture stands upright, every other byte as it was."""
    return re.sub(_XMP_TURNED, rb'\g<1>1', xmp)


def xmp_orientation(xmp: bytes) -> int:
    """The orientation that XMP states, 1 to 8; 1 where there is none."""
    found = re.search(_XMP_TURNED, xmp)
    return int(found[2]) if found else 1


def iptc_of_photoshop(data: bytes) -> bytes | None:
    """The IPTC records in a Photoshop block (of a JPEG's APP13, or TIFF tag 34377), or None."""
    data = data.removeprefix(_PHOTOSHOP)
    place = 0
    while data[place : place + 4] == b'8BIM' and place + 12 <= len(data):
        (number,) = struct.unpack_from('>H', data, place + 4)
        name = data[place + 6] + 1
        at = place + 6 + name + name % 2
        if at + 4 > len(data):
            break
        (length,) = struct.unpack_from('>I', data, at)
        if number == _IPTC_RESOURCE:
            return data[at + 4 : at + 4 + length] or None
        place = at + 4 + length + length % 2
    return None


def photoshop_segment(iptc: bytes) -> bytes | None:
    """A JPEG's APP13 segment with IPTC records; None where they are too long for one."""
    body = _PHOTOSHOP + _resource(iptc)
    return b'\xff\xed' + struct.pack('>H', len(body) + 2) + body if len(body) < 65534 else None


def _resource(iptc: bytes) -> bytes:
    return b'8BIM' + struct.pack('>HHI', _IPTC_RESOURCE, 0, len(iptc)) + iptc + b'\0' * (len(iptc) % 2)
