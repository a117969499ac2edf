"""Writing photographs: each format gets what it can hold, and what it cannot is named."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from mirage_data.files.write import write_file

from . import containers, exif
from .formats import FORMATS
from .photo import Photo

__all__ = ['encode', 'write_photo']

QUALITY = 95
_HOLDS = {  # beside pixels
    'PNG': {'colour profile', 'EXIF', 'XMP', 'IPTC', 'resolution', 'PNG text', 'PNG colour'},
    'JPEG': {'colour profile', 'EXIF', 'XMP', 'IPTC', 'resolution'},
    'TIFF': {'colour profile', 'EXIF', 'XMP', 'IPTC', 'resolution'},
    'WEBP': {'colour profile', 'EXIF', 'XMP'},
    'AVIF': {'colour profile', 'EXIF', 'XMP'},
    'HEIC': {'colour profile', 'EXIF', 'XMP'},
    'BMP': {'resolution'},
}
_DEEP = ('PNG', 'TIFF', 'PNM', 'AVIF', 'HEIC')
_WITHOUT_ALPHA = ('JPEG', 'PNM', 'GIF')  # GIF: none that is not all or nothing
_LARGEST_SEGMENT = 65533 - 32
_ICC, _XMP, _IPTC, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 34675, 700, 33723, 282, 283, 296
_BYTES, _UNDEFINED, _SHORT, _RATIONAL = 1, 7, 3, 5


def write_photo(photo: Photo, path: str | Path, quality: int | None = None) -> tuple[str, ...]:
    """Write an image file at once: a reader sees the whole new file or what was there before.

    Args:
        photo: What to write; transparency is laid on white where the format has none, and 16 bits are rounded to 8.
        path: Its ending, one of `FORMATS`, decides the format.
        quality: 1 to 100, for JPEG, WebP, AVIF and HEIC.

    Returns:
        What the format could not hold, such as 'IPTC'.

    Raises:
        ValueError: Another file ending.
        OSError: The file cannot be written; nothing is left behind.
    """
    data, dropped = encode(photo, path, quality)
    write_file(path, data)
    return dropped


def encode(photo: Photo, path: str | Path, quality: int | None = None) -> tuple[bytes, tuple[str, ...]]:
    """The content of an image file, and what it does not hold; see `write_photo`."""
    kind = FORMATS.get(Path(path).suffix.lower())
    if kind is None:
        raise ValueError(f'{path}: images are written as {", ".join(FORMATS)}, got {Path(path).suffix!r}')
    had = {
        'colour profile': photo.icc_profile,
        'EXIF': photo.exif,
        'XMP': photo.xmp,
        'IPTC': photo.iptc,
        'resolution': photo.dpi and not (photo.exif and 'EXIF' in _HOLDS.get(kind, ())),  # EXIF has it, too
        'PNG text': any(name in containers.TEXT_CHUNKS for name, _ in photo.png_chunks),
        'PNG colour': any(name in containers.COLOUR_CHUNKS for name, _ in photo.png_chunks),
    }
    dropped = [name for name, value in had.items() if value and name not in _HOLDS.get(kind, ())]
    pixels, lost = _fitting(photo.pixels, kind)
    data, more = _ENCODERS[kind](pixels, photo, quality or QUALITY)
    return data, (*lost, *dropped, *more)


def _fitting(pixels: np.ndarray, kind: str) -> tuple[np.ndarray, list[str]]:
    """Pixels of a type and number of channels that the format has, and what that cost."""
    lost = []
    if pixels.dtype == np.float32 and kind != 'TIFF':
        deep = kind in _DEEP
        pixels = np.rint(pixels * np.float64(65535 if deep else 255)).astype(np.uint16 if deep else np.uint8)
        lost.append(f'floating-point (written with {16 if deep else 8} bits)')
    elif pixels.dtype == np.uint16 and kind not in _DEEP:
        pixels = np.rint(pixels / np.float64(257)).astype(np.uint8)
        lost.append('16 bits (written with 8)')
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4) and kind in _WITHOUT_ALPHA:
        full = 1 if pixels.dtype == np.float32 else np.iinfo(pixels.dtype).max
        alpha = pixels[..., -1:].astype(np.float64) / full
        if (pixels[..., -1] != full).any():
            lost.append('transparency (laid on white)')
        flat = pixels[..., :-1] * alpha + full * (1 - alpha)
        pixels = (flat if full == 1 else np.rint(flat)).astype(pixels.dtype)
        pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    return pixels, lost


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, kind, **{key: value for key, value in options.items() if value})
    return encoded.getvalue()


def _exif(photo: Photo) -> bytes | None:
    return b'Exif\0\0' + photo.exif if photo.exif else None


def _png(pixels: np.ndarray, photo: Photo, quality: int) -> tuple[bytes, list[str]]:
    chunks = list(photo.png_chunks)
    colour_said = photo.icc_profile is not None
    chunks = [c for c in chunks if not (colour_said and c[0] in (b'sRGB', b'cICP'))]
    if photo.dpi:
        chunks.append((b'pHYs', struct.pack('>IIB', *(round(v / 0.0254) for v in photo.dpi), 1)))
    if photo.xmp:
        chunks.append(containers.png_xmp(photo.xmp))
    if photo.iptc:
        chunks.append(containers.png_iptc(photo.iptc))
    if pixels.dtype == np.uint8:
        png = _saved(Image.fromarray(pixels), 'PNG', icc_profile=photo.icc_profile, exif=_exif(photo))
    else:
        from .photo_vips import as_vips

        png = containers.without_chunk(as_vips(pixels).pngsave_buffer(keep='none', bitdepth=16), b'pHYs')
        if photo.icc_profile:
            chunks.insert(0, (b'iCCP', b'ICC profile\0\0' + zlib.compress(photo.icc_profile)))
        if photo.exif:
            chunks.append((b'eXIf', photo.exif))
    return containers.with_png_chunks(png, chunks), []


def _jpeg(pixels: np.ndarray, photo: Photo, quality: int) -> tuple[bytes, list[str]]:
    block, xmp = _exif(photo), photo.xmp
    dropped: list[str] = []
    if block and len(block) > _LARGEST_SEGMENT:
        block, dropped = None, [*dropped, 'EXIF (too long for JPEG)']
    if xmp and len(xmp) > _LARGEST_SEGMENT:
        xmp, dropped = None, [*dropped, 'XMP (too long for JPEG)']
    iptc = containers.photoshop_segment(photo.iptc) if photo.iptc else None
    if photo.iptc and iptc is None:
        dropped.append('IPTC (too long for JPEG)')
    dpi = tuple(min(round(v), 65535) for v in photo.dpi) if photo.dpi else None
    options = {'exif': block, 'icc_profile': photo.icc_profile, 'xmp': xmp, 'dpi': dpi, 'extra': iptc}
    return _saved(Image.fromarray(pixels), 'JPEG', quality=quality, subsampling='4:4:4', **options), dropped


def _webp(pixels: np.ndarray, photo: Photo, quality: int) -> tuple[bytes, list[str]]:
    how = {'lossless': True, 'exact': True} if photo.lossless else {'quality': quality}
    options = {'exif': _exif(photo), 'icc_profile': photo.icc_profile, 'xmp': photo.xmp}
    return _saved(Image.fromarray(pixels), 'WEBP', **how, **options), []


def _tiff(pixels: np.ndarray, photo: Photo, quality: int) -> tuple[bytes, list[str]]:
    from .photo_vips import as_vips

    big = pixels.nbytes > 3_500_000_000
    predictor = 'float' if pixels.dtype == np.float32 else 'horizontal'
    options = {'compression': 'lzw', 'predictor': predictor, 'keep': 'none', 'bigtiff': big}
    if photo.dpi:
        options |= {'xres': photo.dpi[0] / 25.4, 'yres': photo.dpi[1] / 25.4, 'resunit': 'inch'}
    tiff = as_vips(pixels).tiffsave_buffer(**options)
    order = '<' if tiff[:2] == b'II' else '>'
    more = {}
    if photo.icc_profile:
        more[_ICC] = (_UNDEFINED, photo.icc_profile)
    if photo.xmp:
        more[_XMP] = (_BYTES, photo.xmp)
    if photo.iptc:
        more[_IPTC] = (_UNDEFINED, photo.iptc)
    if photo.dpi:  # as rationals of our own: a library's floating-point ones would differ in the last digit
        for tag, value in zip((_X_RESOLUTION, _Y_RESOLUTION), photo.dpi):
            more[tag] = (_RATIONAL, struct.pack(order + 'II', round(value * 10000), 10000))
        more[_RESOLUTION_UNIT] = (_SHORT, struct.pack(order + 'H', 2))
    return exif.append_to_tiff(tiff, photo.exif, more), []


def _avif(pixels: np.ndarray, photo: Photo, quality: int) -> tuple[bytes, list[str]]:
    if pixels.dtype == np.uint8:
        # Pillow would decode and encode a block that states the orientation, and lose text that is not ASCII.
        block = b'Exif\0\0' + exif.without_orientation(photo.exif) if photo.exif else None
        options = {'exif': block, 'icc_profile': photo.icc_profile, 'xmp': photo.xmp}
        return _saved(Image.fromarray(pixels), 'AVIF', quality=quality, subsampling='4:4:4', **options), []
    import pyvips

    from .photo_vips import as_vips

    bits = photo.bits if photo.bits in (10, 12) else 12
    values = np.rint(pixels * np.float64((2**bits - 1) / 65535)).astype(np.uint16) << (16 - bits)
    image = as_vips(values).copy()
    for name, value in (('icc-profile-data', photo.icc_profile), ('xmp-data', photo.xmp), ('exif-data', _exif(photo))):
        if value:
            image.set_type(pyvips.GValue.blob_type, name, value)
    data = image.heifsave_buffer(compression='av1', bitdepth=bits, Q=quality, subsample_mode='off')
    return data, [] if bits == photo.bits else [f'16 bits (written with {bits})']


def _heic(pixels: np.ndarray, photo: Photo, quality: int) -> tuple[bytes, list[str]]:
    try:
        import pillow_heif
    except ImportError:
        raise ValueError(
            'HEIC files need one more package: pip install "mirage-ir[heic]"; or choose another --format'
        ) from None
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    elif pixels.shape[2] == 2:
        pixels = pixels[..., [0, 0, 0, 1]]
    deep = pixels.dtype == np.uint16
    mode = ('RGBA' if pixels.shape[2] == 4 else 'RGB') + (';16' if deep else '')
    image = pillow_heif.from_bytes(mode, (pixels.shape[1], pixels.shape[0]), np.ascontiguousarray(pixels).tobytes())
    encoded = io.BytesIO()
    options = {'exif': _exif(photo), 'xmp': photo.xmp, 'icc_profile': photo.icc_profile}
    for key, value in options.items():
        if value:
            image[0].info[key] = value
    image.save(encoded, quality=quality, chroma=444)
    return encoded.getvalue(), []


def _bmp(pixels: np.ndarray, photo: Photo, quality: int) -> tuple[bytes, list[str]]:
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):  # Pillow writes a header without alpha
        rgba = pixels[..., [0, 0, 0, 1]] if pixels.shape[2] == 2 else pixels
        return _bmp_with_alpha(rgba, photo), []
    dpi = tuple(round(v) for v in photo.dpi) if photo.dpi else None
    return _saved(Image.fromarray(pixels), 'BMP', dpi=dpi), []


def _bmp_with_alpha(rgba: np.ndarray, photo: Photo) -> bytes:
    height, width = rgba.shape[:2]
    body = rgba[::-1, :, [2, 1, 0, 3]].tobytes()
    density = [round(v / 0.0254) for v in photo.dpi or (96, 96)]
    masks = (0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000)
    header = struct.pack('<IiiHHIIiiII', 108, width, height, 1, 32, 3, len(body), *density, 0, 0)
    header += struct.pack('<IIII', *masks) + b'BGRs' + bytes(48)
    start = 14 + len(header)
    return b'BM' + struct.pack('<IHHI', start + len(body), 0, 0, start) + header + body


def _pnm(pixels: np.ndarray, photo: Photo, quality: int) -> tuple[bytes, list[str]]:
    most = 65535 if pixels.dtype == np.uint16 else 255
    kind = b'P5' if pixels.ndim == 2 else b'P6'
    values = pixels.astype('>u2') if most > 255 else pixels
    return kind + b'\n%d %d\n%d\n' % (pixels.shape[1], pixels.shape[0], most) + values.tobytes(), []


def _tga(pixels: np.ndarray, photo: Photo, quality: int) -> tuple[bytes, list[str]]:
    return _saved(Image.fromarray(pixels), 'TGA'), []


def _gif(pixels: np.ndarray, photo: Photo, quality: int) -> tuple[bytes, list[str]]:
    image = Image.fromarray(pixels)
    if pixels.ndim == 3:
        image = image.quantize()
    return _saved(image, 'GIF'), ['more than 256 colours'] if pixels.ndim == 3 else []


_ENCODERS: dict[str, Callable[[np.ndarray, Photo, int], tuple[bytes, list[str]]]] = {
    'PNG': _png,
    'JPEG': _jpeg,
    'WEBP': _webp,
    'TIFF': _tiff,
    'AVIF': _avif,
    'HEIC': _heic,
    'BMP': _bmp,
    'PNM': _pnm,
    'TGA': _tga,
    'GIF': _gif,
}
