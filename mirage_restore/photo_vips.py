"""Reading with libvips: JPEG, PNG, WebP, GIF, TIFF and AVIF."""

from __future__ import annotations

import logging
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyvips

from mirage_data.files.image_headers import ImageError

from . import containers, exif
from .photo import Photo, check_memory, finish, split_exif
from .photo_pillow import read_rare_tiff

logging.getLogger('pyvips').setLevel(logging.ERROR)  # what matters in a warning becomes a note or an error here

_NEW_SUBFILE_TYPE, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION = 254, 258, 259, 262, 274
_SAMPLES, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT, _EXTRA_SAMPLES = 277, 282, 283, 296, 338
_XMP, _IPTC, _PHOTOSHOP = 700, 33723, 34377
_JPEG_COMPRESSIONS = (6, 7)
_COMPRESSIONS = (1, 2, 3, 4, 5, *_JPEG_COMPRESSIONS, 8, 32773, 32946, 50001)  # what libvips reads
_PLANAR, _TILE_WIDTH = 284, 322
_SAMPLE_FORMAT, _FORMATS = 339, {2: 'int', 3: 'float', 5: 'complex int', 6: 'complex'}
_PILLOW_COMPRESSIONS = {34925: 'LZMA', 50000: 'Zstandard'}
_YCBCR, _LAB = 6, 8
_ALPHA = (1, 2)  # associated (libvips divides it out) and straight


def read_jpeg(data: bytes, path: Path) -> Photo:
    """A JPEG; of several pictures in one (MPO) the first, which is the primary one."""
    if containers.jpeg_precision(data) not in (0, 8):
        bits = containers.jpeg_precision(data)
        raise ImageError(f'{path}: is a JPEG of {bits} bits, which is not read here; convert it to 16-bit TIFF or PNG')
    image, notes = _load(data, path, {'unlimited': True})
    block, orientation = split_exif(_field(image, 'exif-data'))
    iptc = containers.iptc_of_photoshop(_field(image, 'iptc-data') or b'')
    photo = _photo(image, path, notes)
    photo = replace(photo, exif=block, iptc=iptc, dpi=containers.jpeg_density(data))
    return finish(photo, orientation)


def read_png(data: bytes, path: Path) -> Photo:
    """A PNG of any depth; checksums are compared, transparency by colour key becomes alpha."""
    chunks = containers.png_chunks(data)
    if containers.apng(chunks):
        raise _animated(path)
    image, notes = _load(data, path, {'unlimited': True})
    block, orientation = split_exif(next((body for kind, body in chunks if kind == b'eXIf'), None))
    wanted = (*containers.COLOUR_CHUNKS, *containers.TEXT_CHUNKS)
    kept = tuple(c for c in chunks if c[0] in wanted and not containers.is_xmp(*c) and not containers.is_iptc(*c))
    photo = _photo(image, path, notes)
    iptc = containers.iptc_of_png(chunks)
    photo = replace(photo, exif=block, iptc=iptc, dpi=containers.png_density(chunks), png_chunks=kept)
    return finish(photo, orientation)


def read_webp(data: bytes, path: Path) -> Photo:
    """A WebP that stands still."""
    chunks = containers.webp_chunks(data)
    if b'ANMF' in chunks or b'ANIM' in chunks:
        raise _animated(path)
    image, notes = _load(data, path)
    block, orientation = split_exif(_field(image, 'exif-data'))
    photo = replace(_photo(image, path, notes), exif=block, lossless=b'VP8L' in chunks)
    return finish(photo, orientation)


def read_gif(data: bytes, path: Path) -> Photo:
    """A GIF that stands still."""
    image, notes = _load(data, path)
    if _number(image, 'n-pages') > 1:
        raise _animated(path)
    return _photo(image, path, notes)


def read_avif(data: bytes, path: Path) -> Photo:
    """The primary picture of an AVIF; libheif turns it upright."""
    image, notes = _load(data, path, {'unlimited': True})
    bits = _number(image, 'bits-per-sample') or 8
    photo = _photo(image, path, notes)
    if photo.pixels.dtype == np.uint16 and bits < 16:  # libvips puts zeros behind the bits
        values = (photo.pixels >> (16 - bits)).astype(np.float32)
        photo = replace(photo, pixels=np.rint(values * np.float32(65535 / (2**bits - 1))).astype(np.uint16))
    block, _ = split_exif(_field(image, 'exif-data'))
    return finish(replace(photo, exif=block, bits=bits), 1)


def read_tiff(data: bytes, path: Path) -> Photo:
    """A TIFF of any structure; of several pages the first that is not a preview."""
    pages = list(exif.tiff_directories(data))
    if not any(entries for _, entries in pages):
        raise ImageError(f'{path}: the TIFF is damaged or truncated; copy it again from its source')
    full = [i for i, (order, entries) in enumerate(pages) if not _numbers(entries, order, _NEW_SUBFILE_TYPE, 0)[0] & 5]
    page = full[0] if full else 0
    order, entries = pages[page]
    notes: tuple[str, ...] = (f'has {len(full)} pages, of which the first was restored',) if len(full) > 1 else ()
    photometric = _numbers(entries, order, _PHOTOMETRIC, 1)[0]
    compression = _numbers(entries, order, _COMPRESSION, 1)[0]
    bits = max(_numbers(entries, order, _BITS, 1))
    sample = _FORMATS.get(_numbers(entries, order, _SAMPLE_FORMAT, 1)[0], '')
    if sample not in ('', 'float') or (not sample and bits > 16):
        raise ImageError(
            f'{path}: pixels are {sample or "uint"}{bits}; allowed are 8 and 16 bits without sign and floating-point: '
            'convert it first'
        )
    raw_ycbcr = photometric == _YCBCR and compression not in _JPEG_COMPRESSIONS
    planes_in_tiles = _numbers(entries, order, _PLANAR, 1)[0] == 2 and bool(_numbers(entries, order, _TILE_WIDTH))
    rare = compression not in (*_COMPRESSIONS, *_PILLOW_COMPRESSIONS) or (sample == 'float' and bits not in (16, 32))
    if rare or planes_in_tiles or (compression in _PILLOW_COMPRESSIONS and bits > 8):
        photo = read_rare_tiff(data, path, page, compression)
    elif compression in _PILLOW_COMPRESSIONS or raw_ycbcr or (photometric == _LAB and bits == 8):
        photo = _tiff_by_pillow(data, path, page, bits, _PILLOW_COMPRESSIONS.get(compression, 'YCbCr pixels'))
    else:
        image, more = _load(data, path, {'page': page})
        photo = _photo(_without_extra_channels(image, entries, order), path, more)
        extras = _numbers(entries, order, _EXTRA_SAMPLES)
        surplus = len(extras) - any(e in _ALPHA for e in extras)
        if surplus > 0:
            notes += (f'{surplus} channel{"s" * (surplus > 1)} beside colour and transparency left out',)
    iptc = _value(entries, _IPTC) or containers.iptc_of_photoshop(_value(entries, _PHOTOSHOP) or b'')
    photo = replace(
        photo,
        exif=exif.block_of_tiff(order, entries),
        xmp=_value(entries, _XMP),
        iptc=iptc,
        dpi=_dpi(entries, order),
        notes=(*notes, *photo.notes),
    )
    stated = _numbers(entries, order, _ORIENTATION)
    return finish(photo, stated[0] if stated else None)


def _load(data: bytes, path: Path, options: dict | None = None) -> tuple[pyvips.Image, tuple[str, ...]]:
    """Decode; where that only goes with warnings, a note says so."""
    options = {'access': 'sequential', **(options or {})}
    try:
        image = pyvips.Image.new_from_buffer(data, '', fail_on='warning', **options)
        check_memory(path, image.width, image.height, image.bands, _bytes_of(image))
        return image.copy_memory(), ()
    except pyvips.Error as error:
        warning = [line.strip() for line in str(error).splitlines() if line.strip()][-1]
        image = pyvips.Image.new_from_buffer(data, '', fail_on='error', **options)
        return image.copy_memory(), (f'is damaged in places ({warning}); restored as far as it can be read',)


def _bytes_of(image: pyvips.Image) -> int:
    return {'uchar': 1, 'char': 1, 'ushort': 2, 'short': 2, 'double': 8}.get(image.format, 4)


def _photo(image: pyvips.Image, path: Path, notes: tuple[str, ...]) -> Photo:
    """Pixels as grey or RGB, with their profile and XMP."""
    profile, kind = _field(image, 'icc-profile-data'), image.interpretation
    if kind == 'cmyk':
        image, how = _from_cmyk(image, profile)
        profile, notes = None, (*notes, f'CMYK became sRGB, {how}')
    elif kind in ('lab', 'labs', 'labq'):
        deep = kind != 'labq'
        pixels = lab_to_srgb(image.colourspace('lab'), deep)
        return Photo(pixels, xmp=_field(image, 'xmp-data'), notes=(*notes, 'Lab became sRGB'))
    elif kind == 'multiband' and image.bands > 4:
        raise ImageError(f'{path}: has {image.bands} channels of unknown meaning; allowed are grey, RGB, CMYK and Lab')
    pixels = image.numpy()
    if profile and profile[16:20] != (b'GRAY' if image.bands < 3 else b'RGB '):
        profile, notes = None, (*notes, 'its colour profile is for another kind of pixels and was left out')
    return Photo(pixels, icc_profile=profile, xmp=_field(image, 'xmp-data'), notes=notes)


def _from_cmyk(image: pyvips.Image, profile: bytes | None) -> tuple[pyvips.Image, str]:
    depth = 16 if image.format == 'ushort' else 8
    if profile and profile[16:20] == b'CMYK' and profile[36:40] == b'acsp':  # else libvips takes one of its own
        try:
            options = {'embedded': True, 'depth': depth, 'intent': 'relative', 'black_point_compensation': True}
            return image.icc_transform('srgb', **options).copy_memory(), 'by its profile'
        except pyvips.Error:
            pass  # a profile that is damaged
    inks = image.numpy().astype(np.float32) / (2**depth - 1)
    rgb = (1 - inks[..., :3]) * (1 - inks[..., 3:4])
    rgb = np.concatenate([rgb, inks[..., 4:5]], axis=2) if image.bands > 4 else rgb
    pixels = np.rint(rgb * (2**depth - 1)).astype(np.uint16 if depth == 16 else np.uint8)
    without = 'without its profile, which is none of CMYK or damaged,' if profile else 'without a profile,'
    return as_vips(pixels), f'{without} so the colours are approximate'


def lab_to_srgb(image: pyvips.Image, deep: bool) -> np.ndarray:
    """A Lab image (light of D50, as in TIFF and ICC files) as (h, w, 3) sRGB, uint8 or uint16."""
    options = {'output_profile': 'srgb', 'intent': 'relative', 'depth': 16 if deep else 8}
    return image.icc_export(**options).numpy()


def as_vips(pixels: np.ndarray) -> pyvips.Image:
    """An array as an image whose bands libvips understands."""
    bands = 1 if pixels.ndim == 2 else pixels.shape[2]
    deep = pixels.dtype == np.uint16
    kind = ('grey16' if deep else 'b-w') if bands < 3 else 'rgb16' if deep else 'srgb'
    if pixels.dtype == np.float32 and bands >= 3:
        kind = 'scrgb'
    return pyvips.Image.new_from_array(np.ascontiguousarray(pixels), interpretation=kind)


def _tiff_by_pillow(data: bytes, path: Path, page: int, bits: int, what: str) -> Photo:
    from .photo_pillow import tiff_pixels

    if bits not in (1, 8):
        raise ImageError(f'{path}: is a TIFF of {bits} bits with {what}, not read here; save it as RGB with LZW or ZIP')
    pixels, profile, lab = tiff_pixels(data, path, page)
    if lab:
        return Photo(
            lab_to_srgb(pyvips.Image.new_from_array(pixels, interpretation='lab'), False), notes=('Lab became sRGB',)
        )
    return Photo(pixels, icc_profile=profile)


def _without_extra_channels(image: pyvips.Image, entries: list, order: str) -> pyvips.Image:
    """Colour and at most one alpha; channels that a TIFF calls unspecified (infrared, masks) are not transparency."""
    extras = _numbers(entries, order, _EXTRA_SAMPLES)
    colours = image.bands - len(extras)
    if not extras or colours not in (1, 3, 4):
        return image
    alpha = next((i for i, kind in enumerate(extras) if kind in _ALPHA), None)
    kept = image.extract_band(0, n=colours)
    return kept if alpha is None else kept.bandjoin(image.extract_band(colours + alpha))


def _field(image: pyvips.Image, name: str) -> bytes | None:
    return image.get(name) if image.get_typeof(name) else None


def _number(image: pyvips.Image, name: str) -> int:
    return int(image.get(name)) if image.get_typeof(name) else 0


def _value(entries: list, tag: int) -> bytes | None:
    return next((entry.value for entry in entries if entry.tag == tag), None)


def _numbers(entries: list, order: str, tag: int, default: int | None = None) -> tuple[int, ...]:
    found = next((entry.numbers(order) for entry in entries if entry.tag == tag), ())
    return found or (() if default is None else (default,))


def _dpi(entries: list, order: str) -> tuple[float, float] | None:
    def rational(tag: int) -> float:
        value = _value(entries, tag) or bytes(8)
        top, bottom = struct.unpack(order + 'II', value[:8])
        return top / bottom if bottom else 0.0

    scale = {2: 1.0, 3: 2.54}.get(_numbers(entries, order, _RESOLUTION_UNIT, 2)[0])
    x, y = rational(_X_RESOLUTION), rational(_Y_RESOLUTION)
    return (x * scale, y * scale) if scale and x and y else None


def _animated(path: Path) -> ImageError:
    return ImageError(f'{path}: is animated (several frames); extract the ones to restore, or give a video')
