"""Photographs with what belongs to them: pixels at their full depth, transparency, colour profile, EXIF."""
from __future__ import annotations

import contextlib
import io
import os
import struct
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mirage_data.files.image import ImageError

__all__ = ['FORMATS', 'Photo', 'read_photo', 'write_atomically', 'write_photo']

FORMATS = {'.png': 'PNG', '.jpg': 'JPEG', '.jpeg': 'JPEG', '.webp': 'WEBP', '.tif': 'TIFF', '.tiff': 'TIFF',
           '.bmp': 'BMP'}
_QUALITY = {'JPEG': {'quality': 95, 'subsampling': 0}, 'WEBP': {'quality': 95}, 'TIFF': {'compression': 'tiff_lzw'}}
_WITHOUT_ALPHA = ('JPEG', 'BMP')
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Photo:
    """An image file's content.

    Attributes:
        pixels: (h, w) grey, (h, w, 2) grey and alpha, (h, w, 3) RGB or (h, w, 4) RGB and alpha; uint8 or uint16.
        icc_profile: Colour profile, or None.
        exif: EXIF block whose orientation is 1 (already applied to the pixels), or None.
    """

    pixels: np.ndarray
    icc_profile: bytes | None = None
    exif: bytes | None = None


def read_photo(path: str | Path) -> Photo:
    """Read an image file for restoration.

    The EXIF orientation is applied; palettes become RGB; CMYK becomes RGB, without its profile.

    Raises:
        ImageError: Missing, empty, truncated, foreign or animated file, or pixels of an unknown kind.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f'{path}: cannot be read: {error.strerror or error}') from error
    if not data:
        raise ImageError(f'{path}: is empty')
    try:
        with Image.open(io.BytesIO(data)) as image:
            if getattr(image, 'n_frames', 1) > 1:
                raise ImageError(f'{path}: has {image.n_frames} frames; extract the ones to restore, or give a video')
            image.load()
            icc_profile = image.info.get('icc_profile') if image.mode != 'CMYK' else None
            if _is_deep(image, data):
                pixels = _turned(_deep_pixels(data), image.getexif().get(_ORIENTATION, 1))
            else:
                pixels = _pixels(ImageOps.exif_transpose(image), path)
            exif = _upright_exif(image)  # last: it changes the image's EXIF
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f'{path}: is not an image that can be read here') from None
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise ImageError(f'{path}: damaged or truncated: {error}') from error
    return Photo(pixels, icc_profile, exif)


def write_photo(photo: Photo, path: str | Path) -> None:
    """Write an image file at once: a reader sees the whole new file or what was there before.

    16-bit pixels are kept by PNG and TIFF and rounded to 8 bits by other formats; transparency is laid on white
    for JPEG and BMP.

    Raises:
        ValueError: Another file ending.
        OSError: The file cannot be written; nothing is left behind.
    """
    path = Path(path)
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f'{path}: images are written as {", ".join(FORMATS)}, got {path.suffix!r}')
    pixels = photo.pixels
    if pixels.dtype == np.uint16 and kind in ('PNG', 'TIFF'):
        write_atomically(path, _encode_deep(photo, path.suffix))
        return
    if pixels.dtype == np.uint16:
        pixels = np.rint(pixels / np.float64(257)).astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4) and kind in _WITHOUT_ALPHA:
        pixels = _flatten(pixels)
    image = Image.fromarray(pixels)
    metadata = {key: value for key, value in (('icc_profile', photo.icc_profile), ('exif', photo.exif)) if value}
    if kind == 'BMP':
        metadata = {}
    encoded = io.BytesIO()
    image.save(encoded, kind, **_QUALITY.get(kind, {}), **metadata)
    write_atomically(path, encoded.getvalue())


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file beside its place and move it there; a failure leaves nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(prefix='.', suffix=f'{path.suffix}.part', dir=path.parent)
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(data)
        os.chmod(aside, 0o666 & ~_umask())
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(aside)
        raise


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _is_deep(image: Image.Image, data: bytes) -> bool:
    """Whether the file has 16 bits a channel, which Pillow would cut to 8 for colour."""
    if image.mode.startswith('I;16') or image.mode == 'I':
        return True
    if image.format == 'PNG':
        return data[24] == 16  # bit depth in the header
    if image.format == 'TIFF':
        bits = image.tag_v2.get(258, (8,))
        return max(bits if isinstance(bits, tuple) else (bits,)) == 16
    return False


def _deep_pixels(data: bytes) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError('16-bit pixels of a kind that cannot be decoded')
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    return pixels


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation (1 to 8): 5 to 8 transpose, then rows or columns are reversed."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _pixels(image: Image.Image, path: Path) -> np.ndarray:
    if image.mode in ('L', 'LA', 'RGB', 'RGBA'):
        return np.array(image)
    if image.mode == '1':
        return np.array(image.convert('L'))
    if image.mode in ('P', 'PA'):
        return np.array(image.convert('RGBA' if 'transparency' in image.info or image.mode == 'PA' else 'RGB'))
    if image.mode in ('CMYK', 'YCbCr', 'LAB', 'HSV', 'RGBX', 'RGBa', 'La'):
        return np.array(image.convert('RGB'))
    raise ImageError(f'{path}: pixels of kind {image.mode!r}; allowed are 8- and 16-bit grey and colour')


def _upright_exif(image: Image.Image) -> bytes | None:
    exif = image.getexif()
    if not exif:
        return None
    if _ORIENTATION in exif:
        exif[_ORIENTATION] = 1
    return exif.tobytes()


def _flatten(pixels: np.ndarray) -> np.ndarray:
    alpha = pixels[..., -1:].astype(np.float32) / 255
    flat = np.rint(pixels[..., :-1] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return flat[..., 0] if flat.shape[2] == 1 else flat


def _encode_deep(photo: Photo, suffix: str) -> bytes:
    pixels = photo.pixels
    if pixels.ndim == 3:
        if pixels.shape[2] == 2:  # OpenCV writes no grey and alpha
            pixels = pixels[..., [0, 0, 0, 1]]
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(suffix, pixels)
    if not done:
        raise OSError(f'OpenCV could not encode {pixels.shape} {pixels.dtype} as {suffix}')
    data = encoded.tobytes()
    return _with_png_metadata(data, photo) if suffix.lower() == '.png' else data


def _with_png_metadata(png: bytes, photo: Photo) -> bytes:
    """Insert colour profile and EXIF behind the header of a PNG file (PNG specification, chunks iCCP and eXIf)."""
    chunks = b''
    if photo.icc_profile:
        chunks += _png_chunk(b'iCCP', b'ICC profile\0\0' + zlib.compress(photo.icc_profile))
    if photo.exif:
        chunks += _png_chunk(b'eXIf', photo.exif.removeprefix(b'Exif\0\0'))
    header_end = 8 + 25
    return png[:header_end] + chunks + png[header_end:]


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack('>I', len(body)) + name + body + struct.pack('>I', zlib.crc32(name + body))
