"""Reading the kinds of TIFF that neither libvips nor Pillow reads, with tifffile (extra ``tiff``)."""

from __future__ import annotations

import io
import logging
import math
from pathlib import Path

import numpy as np

from mirage_data.files.errors import ImageError

from .photo import Photo, check_memory

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
        check_memory(path, found.imagewidth, found.imagelength, found.samplesperpixel, found.dtype.itemsize)
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
