"""Reading what libvips does not: BMP, TGA, PNM, some TIFF, HEIC (extra ``heic``) and camera raw (extra ``raw``)."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from mirage_data.files.image_headers import ImageError

from . import exif
from .photo import Photo, check_memory, finish, split_exif

_limit = threading.Lock()


@contextlib.contextmanager
def opened(data: bytes, path: Path, page: int = 0) -> Iterator[Image.Image]:
    """A picture open in Pillow, without its limit on megapixels; memory and `pixels_limited_to` are the limit."""
    with _limit:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(io.BytesIO(data))
        finally:
            Image.MAX_IMAGE_PIXELS = before
    with image:
        if page:
            image.seek(page)
        check_memory(path, image.width, image.height, 4, 1)
        yield image


def read_plain(data: bytes, path: Path) -> Photo:
    """BMP and TGA."""
    with opened(data, path) as image:
        pixels, dpi = _pixels(image), image.info.get('dpi')
    return Photo(pixels, dpi=(float(dpi[0]), float(dpi[1])) if dpi and all(dpi) else None)


def tiff_pixels(data: bytes, path: Path, page: int) -> tuple[np.ndarray, bytes | None, bool]:
    """Pixels of a page of an 8-bit TIFF, its profile, and whether they are Lab (then float32 L, a, b)."""
    with opened(data, path, page) as image:
        image.load()
        if image.mode == 'LAB':
            values = np.array(image)
            ab = values[..., 1:].view(np.int8).astype(np.float32)
            return np.concatenate([values[..., :1] * np.float32(100 / 255), ab], axis=2), None, True
        return _pixels(image), image.info.get('icc_profile'), False


def read_pnm(data: bytes, path: Path) -> Photo:
    """PBM, PGM and PPM with any largest value; more than 8 bits become 16."""
    kind, (width, height, most), place = _pnm_header(data, path)
    bands = 3 if kind in (b'P3', b'P6') else 1
    check_memory(path, width, height, bands, 2)
    count = width * height * bands
    if kind == b'P4':
        rows = np.frombuffer(data, np.uint8, height * (-(-width // 8)), place).reshape(height, -1)
        values = 1 - np.unpackbits(rows, axis=1)[:, :width]
    elif kind in (b'P5', b'P6'):
        values = np.frombuffer(data, '>u2' if most > 255 else np.uint8, count, place)
    elif kind == b'P1':
        digits = np.frombuffer(data, np.uint8, offset=place)
        values = 1 - (digits[(digits == 48) | (digits == 49)][:count] - 48)
    else:
        values = np.array(data[place:].split()[:count], dtype=np.int64)
    values = values.reshape((height, width, bands) if bands > 1 else (height, width))
    if most == 65535 or most == 255:
        return Photo(values.astype(np.uint16 if most > 255 else np.uint8))
    full, dtype = (65535, np.uint16) if most > 255 else (255, np.uint8)
    return Photo(np.rint(np.minimum(values, most) * np.float64(full / most)).astype(dtype))


def _pnm_header(data: bytes, path: Path) -> tuple[bytes, tuple[int, int, int], int]:
    kind, place = data[:2], 2
    numbers: list[int] = []
    wanted = 2 if kind in (b'P1', b'P4') else 3
    while len(numbers) < wanted and place < len(data):
        if data[place : place + 1].isspace():
            place += 1
        elif data[place : place + 1] == b'#':
            place = data.find(b'\n', place) + 1 or len(data)
        else:
            end = place
            while end < len(data) and data[end : end + 1].isdigit():
                end += 1
            if end == place:
                break
            numbers.append(int(data[place : min(end, place + 12)]))
            place = end
    if len(numbers) < wanted or min(numbers) < 1 or (wanted == 3 and numbers[2] > 65535):
        raise ImageError(f'{path}: not a portable bitmap, greymap or pixmap (its header is damaged)')
    return kind, (numbers[0], numbers[1], numbers[2] if wanted == 3 else 1), place + 1


def read_heic(data: bytes, path: Path) -> Photo:
    """The primary picture of a HEIC, upright; 10 and 12 bits become 16."""
    heif = _pillow_heif(path)
    container = heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    image = container[container.primary_index]
    width, height = image.size
    check_memory(path, width, height, 4, 2)
    pixels = np.asarray(image)
    if image.mode in ('RGBa', 'RGBa;16'):
        raise ImageError(f'{path}: has premultiplied transparency, which is not read here; convert it to PNG')
    block, _ = split_exif(image.info.get('exif'))
    photo = Photo(pixels, image.info.get('icc_profile'), block, image.info.get('xmp') or None)
    return finish(replace(photo, bits=image.info.get('bit_depth', 8)), 1)


def read_raw(data: bytes, path: Path) -> Photo:
    """A camera's raw file, developed with its white balance to 16-bit sRGB."""
    try:
        import rawpy
    except ImportError:
        raise ImageError(f'{path}: camera raw files need one more package: pip install "mirage-ir[raw]"') from None
    with rawpy.imread(io.BytesIO(data)) as raw:
        check_memory(path, raw.sizes.width, raw.sizes.height, 3, 2)
        pixels = raw.postprocess(use_camera_wb=True, output_bps=16)
    block = None
    with contextlib.suppress(struct.error, StopIteration):  # most of them are TIFF files
        block = exif.block_of_tiff(*next(exif.tiff_directories(data)))
    notes = ('developed to 16-bit sRGB with the white balance of the camera',)
    return finish(Photo(pixels, exif=block, notes=notes), 1)  # LibRaw turns it upright


def _pillow_heif(path: Path):
    try:
        import pillow_heif
    except ImportError:
        raise ImageError(f'{path}: HEIC files need one more package: pip install "mirage-ir[heic]"') from None
    return pillow_heif


def _pixels(image: Image.Image) -> np.ndarray:
    if image.mode in ('L', 'LA', 'RGB', 'RGBA'):
        return np.array(image)
    if image.mode == '1':
        return np.array(image.convert('L'))
    if image.mode in ('P', 'PA'):
        return np.array(image.convert('RGBA' if image.has_transparency_data else 'RGB'))
    return np.array(image.convert('RGB'))


_ALPHA = (1, 2)  # associated, straight


def read_rare_tiff(data: bytes, path: Path, page: int, compression: int) -> Photo:
    """Pixels of a grey or RGB page with any compression and structure; float64 becomes float32.

    Raises:
        ImageError: Another kind of pixels, or no library for the compression.
    """
    try:
        import tifffile
    except ImportError:
        tifffile = None
    what = f'{path}: is a TIFF of a rare kind (compression {compression})'
    logging.getLogger('tifffile').setLevel(logging.CRITICAL)  # what matters in a damaged file becomes an error here
    if tifffile is None:
        raise ImageError(f'{what}, for which one more package is needed: pip install "mirage-ir[tiff]"')
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        found = file.pages[page]
        kind = found.photometric.name
        if kind not in ('RGB', 'MINISBLACK', 'MINISWHITE', 'YCBCR') or (kind == 'YCBCR' and found.jpegtables is None):
            raise ImageError(f'{what} with {kind.lower()} pixels, not read here; save it as RGB with LZW or ZIP')
        height = found.imagelength * found.imagedepth
        check_memory(path, found.imagewidth, height, found.samplesperpixel, found.dtype.itemsize)
        places, lengths = found.dataoffsets, found.databytecounts
        whole = all(place + length <= len(data) for place, length in zip(places, lengths))
        if not whole or min(len(places), len(lengths)) < math.prod(found.chunked):  # tifffile would fill it with zeros
            raise ValueError('some of its tiles or strips are missing')
        try:
            pixels = found.asarray()
        except ValueError as error:  # tifffile's word for a codec that imagecodecs would have
            raise ImageError(f'{what} that cannot be decoded ({error}); pip install "mirage-ir[tiff]"') from error
        profile = found.iccprofile
        colours = 1 if kind.startswith('MINIS') else 3
        extras = [int(extra) for extra in found.extrasamples]
        if int(found.planarconfig) == 2 and pixels.ndim == 3:
            pixels = np.moveaxis(pixels, 0, -1)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    colour, alpha = pixels[..., :colours], [pixels[..., colours + i, None] for i, e in enumerate(extras) if e in _ALPHA]
    if kind == 'MINISWHITE':
        colour = (1 if colour.dtype.kind == 'f' else np.iinfo(colour.dtype).max) - colour
    if alpha and _ALPHA[0] in extras:
        full = 1 if colour.dtype.kind == 'f' else np.iinfo(colour.dtype).max
        straight = np.minimum(colour * (full / np.maximum(alpha[0], 1e-9)), full)
        colour = straight.astype(colour.dtype) if full == 1 else np.rint(straight).astype(colour.dtype)
    pixels = np.concatenate([colour, *alpha[:1]], axis=2)
    pixels = pixels.astype(np.float32) if pixels.dtype == np.float64 else pixels
    return Photo(pixels, icc_profile=profile)
