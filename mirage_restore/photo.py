"""Photographs with what belongs to them: pixels at their full depth, transparency, profile, EXIF, XMP, IPTC, density.

libvips decodes (through pyvips), because it reads every kind of TIFF and PNG at its depth, converts print colours by
their profile, checks checksums and has no limit on megapixels. Pillow reads the formats and kinds that it does not.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mirage_data.files.image_headers import ImageError

from . import containers, exif
from .formats import RAW_EXTENSIONS
from .machine import available_in_machine

__all__ = ['Photo', 'pixels_limited_to', 'read_photo', 'turned']

_FOREIGN = (  # what a file begins with, and what that is
    (b'v/1\x01', 'an OpenEXR picture'),
    (b'#?RADIANCE', 'a Radiance HDR picture'),
    (b'\xff\x0a', 'a JPEG XL picture'),
    (b'\0\0\0\x0cJXL ', 'a JPEG XL picture'),
    (b'\0\0\0\x0cjP  ', 'a JPEG 2000 picture'),
    (b'8BPS', 'a Photoshop document'),
    (b'%PDF', 'a PDF document'),
    (b'II\xbc\x01', 'a JPEG XR picture'),
)
_HEVC_BRANDS = (b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1')
_most_pixels: ContextVar[int | None] = ContextVar('most_pixels', default=None)
_RESTORING_BYTES = 32  # a pixel: its float32 copies besides what the network takes


@dataclass(frozen=True)
class Photo:
    """An image file's content.

    Attributes:
        pixels: (h, w) grey, (h, w, 2) grey and alpha, (h, w, 3) RGB or (h, w, 4) RGB and alpha; uint8, uint16, or
            float32 in [0, 1].
        icc_profile: Colour profile, or None.
        exif: EXIF block whose orientation is 1 (already applied to the pixels), or None.
        xmp: XMP packet, or None.
        iptc: IPTC records, or None.
        dpi: Pixels per inch across and down, or None.
        png_chunks: (kind, body) of a PNG's chunks about colour and text.
        lossless: Came out of a lossless WebP file.
        bits: Bits a channel of an AVIF or HEIC file; None for others.
        notes: What reading changed, for the user.
    """

    pixels: np.ndarray
    icc_profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    png_chunks: tuple[tuple[bytes, bytes], ...] = ()
    lossless: bool = False
    bits: int | None = None
    notes: tuple[str, ...] = ()


def read_photo(path: str | Path) -> Photo:
    """Read an image file for restoration.

    The orientation is applied, that of XMP where EXIF has none; palettes become RGB; CMYK and Lab become sRGB, through
    the profile where there is one. Of files with several pictures the primary one is read; animations are refused.

    Raises:
        ImageError: Missing, empty, truncated, foreign or animated file, pixels of an unknown kind, too little memory.
    """
    path = Path(path)
    data = _content(path)
    try:
        photo = _reader(data, path)(data, path)
    except ImageError:
        raise
    except MemoryError:
        raise ImageError(f'{path}: too large for the memory of this machine') from None
    except Exception as error:  # each library has errors of its own
        raise ImageError(f'{path}: damaged or truncated ({_one_line(error)}); copy it again from its source') from error
    return replace(photo, pixels=_checked(photo.pixels, path))


@contextlib.contextmanager
def pixels_limited_to(most: int | None) -> Iterator[None]:
    """Within it `read_photo` refuses larger pictures by their header, as a server must; None is without a limit."""
    token = _most_pixels.set(most)
    try:
        yield
    finally:
        _most_pixels.reset(token)


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation (1 to 8): 5 to 8 transpose, then rows or columns are reversed."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _content(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ImageError(f'{path}: is not a file (a folder, device or pipe); give an image file')
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f'{path}: cannot be read: {error.strerror or error}') from error
    if not data:
        raise ImageError(f'{path}: is empty; copy it again from its source')
    return data


def _reader(data: bytes, path: Path) -> Callable[[bytes, Path], Photo]:
    try:
        from . import photo_pillow, photo_vips
    except (ImportError, OSError) as error:  # no pyvips; or pyvips without libvips
        raise ImageError(
            f'{path}: pictures are read with libvips, which is not there ({_one_line(error)}): '
            'pip install "pyvips[binary]"'
        ) from error

    ending = path.suffix.lower()
    if ending in RAW_EXTENSIONS:
        return photo_pillow.read_raw
    if data.startswith(b'\xff\xd8\xff'):
        return photo_vips.read_jpeg
    if data.startswith(containers.PNG):
        return photo_vips.read_png
    if data[:4] == b'RIFF' and data[8:12] == b'WEBP':
        return photo_vips.read_webp
    if data[:6] in (b'GIF87a', b'GIF89a'):
        return photo_vips.read_gif
    if data[:4] in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'):
        return photo_vips.read_tiff
    if data[4:8] == b'ftyp' and data[8:12] in _HEVC_BRANDS and b'av01' not in data[:4096]:
        return photo_pillow.read_heic
    if data[4:8] == b'ftyp' and data[8:12] in (*_HEVC_BRANDS, b'avif', b'avis'):
        return photo_vips.read_avif
    if data[:2] in (b'P1', b'P2', b'P3', b'P4', b'P5', b'P6'):
        return photo_pillow.read_pnm
    if data[:2] == b'BM' or ending in ('.tga', '.dib'):
        return photo_pillow.read_plain
    for start, what in _FOREIGN:
        if data.startswith(start):
            raise ImageError(f'{path}: is {what}, which is not read here; convert it to PNG or TIFF (16 bits) first')
    raise ImageError(f'{path}: is not an image that can be read here (it begins with {data[:8]!r})')


def check_memory(path: Path, width: int, height: int, bands: int, size: int) -> None:
    """Raises `ImageError` where decoding and restoring would need more memory than there is, before it is taken."""
    most = _most_pixels.get()
    if most is not None and width * height > most:
        raise ImageError(
            f'{path}: {width}x{height} pixels ({width * height / 1e6:.1f} megapixels); allowed here are at most '
            f'{most / 1e6:.1f} megapixels: make it smaller, or cut it'
        )
    needed = width * height * (2 * bands * size + _RESTORING_BYTES)
    there = available_in_machine()
    if needed > there:
        raise ImageError(
            f'{path}: {width}x{height} pixels ({width * height / 1e6:.0f} megapixels) need about {needed / 1e9:.1f} GB '
            f'of memory, and {there / 1e9:.1f} GB are free; use a machine with more memory, or cut the picture'
        )


def _checked(pixels: np.ndarray, path: Path) -> np.ndarray:
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim == 3 and pixels.shape[2] not in (2, 3, 4):
        raise ImageError(f'{path}: has {pixels.shape[2]} channels; allowed are grey and RGB, with or without alpha')
    if pixels.dtype in (np.uint8, np.uint16):
        return np.ascontiguousarray(pixels)
    if pixels.dtype != np.float32:
        raise ImageError(
            f'{path}: pixels are {pixels.dtype}; allowed are 8 and 16 bits without sign and 32-bit floating-point: '
            'convert it first'
        )
    bad = int((~np.isfinite(pixels)).sum())
    if bad:
        raise ImageError(f'{path}: {bad} of {pixels.size} pixel values are NaN or infinite; allowed are 0 to 1')
    least, most = float(pixels.min()), float(pixels.max())
    if not (least >= -1e-3 and most <= 1 + 1e-3):
        raise ImageError(
            f'{path}: floating-point pixels from {least:g} to {most:g}; allowed are 0 to 1: scale (tone-map) it first'
        )
    return np.clip(pixels, 0, 1)


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]


def split_exif(block: bytes | None) -> tuple[bytes | None, int | None]:
    """An EXIF block without its name, and the orientation that it states, if any."""
    block = (block or b'').removeprefix(b'Exif\0\0')
    try:
        return block or None, exif.orientation_of(block)
    except (struct.error, IndexError):
        return block or None, None


def finish(photo: Photo, orientation: int | None) -> Photo:
    """Turn the pixels upright, and make EXIF and XMP say so; without an orientation that of XMP counts."""
    block, xmp = photo.exif, photo.xmp
    if orientation is None:
        orientation = containers.xmp_orientation(xmp or b'')
    pixels = turned(photo.pixels, orientation)
    if block:
        try:
            block = exif.upright(block, pixels.shape[1], pixels.shape[0])
        except (struct.error, IndexError):
            block = None  # damaged: nothing reads it
    return replace(photo, pixels=pixels, exif=block, xmp=containers.upright_xmp(xmp) if xmp else None)
