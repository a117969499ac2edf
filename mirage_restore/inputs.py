"""What `Restorer` takes: Pillow images, arrays and tensors, and the way back to each; and what of it can be seen.

The network's statistics are those of the whole image: a black bar or the black below a transparent surround would
decide how the visible part is restored. So constant borders are left out, and hidden pixels take the look of visible
ones.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

__all__ = [
    'Box',
    'filled',
    'from_unit_range',
    'restore_pillow',
    'restore_tensor',
    'restore_visible',
    'to_unit_range',
    'visible_box',
]

_SLACK = 1e-3  # beyond [0, 1], from rounding (float16 has steps of this size there): clipped
_ROWS = 256  # of a conversion at a time, so that a large picture needs no second float64 copy


def restore_pillow(restore: Callable[[np.ndarray], np.ndarray], image: Any) -> Any:
    """Restore a Pillow image; modes L, LA, RGB, RGBA and I;16 come back, the others become one of these.

    Transparency by a colour key or a palette becomes alpha, since the colours change (of I;16 it is left out). CMYK
    goes through its profile to sRGB. ``info`` comes back, save what then no longer holds.

    Args:
        restore: Takes and returns an array.
        image: `PIL.Image.Image`; its EXIF orientation is not looked at, as Pillow's own filters do not.
    """
    from PIL import Image

    if image.mode in ('I', 'F'):
        raise ValueError(f'a Pillow image of mode {image.mode!r} has no fixed range; give an array in [0, 1]')
    info = dict(image.info)
    if image.mode in ('I;16', 'I;16L', 'I;16B'):
        restored = Image.fromarray(restore(np.array(image).astype(np.uint16)))
    else:
        plain = _plain(image)
        restored = Image.fromarray(restore(np.array(plain)))
        if image.mode in ('CMYK', 'LAB'):
            info.pop('icc_profile', None)
    info.pop('transparency', None)
    restored.info = info
    return restored


def _plain(image: Any) -> Any:
    """A Pillow image as L, LA, RGB or RGBA."""
    mode = 'L' if image.mode in ('1', 'L', 'LA', 'La') else 'RGB'
    mode += 'A' if image.has_transparency_data else ''
    if image.mode == 'CMYK' and image.info.get('icc_profile'):
        from PIL import ImageCms

        with contextlib.suppress(ImageCms.PyCMSError, OSError):  # a profile that is damaged, or none of CMYK
            profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info['icc_profile']))
            return ImageCms.profileToProfile(
                image,
                profile,
                ImageCms.createProfile('sRGB'),
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
                mode,
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
    return image if image.mode == mode else image.convert(mode)


def restore_tensor(restore: Callable[[np.ndarray], np.ndarray], image: Tensor) -> Tensor:
    """Restore a tensor (c, h, w) or (b, c, h, w), c from 1 to 4; type and device come back.

    Raises:
        ValueError: Another shape.
    """
    import torch

    if image.dim() not in (3, 4) or image.shape[-3] not in (1, 2, 3, 4):
        raise ValueError(f'a tensor must be (c, h, w) or (b, c, h, w) with 1 to 4 channels, got {tuple(image.shape)}')
    batch = image.detach().cpu() if image.dim() == 4 else image.detach().cpu()[None]
    half = batch.dtype == torch.bfloat16  # numpy has no such type
    arrays = (batch.float() if half else batch).permute(0, 2, 3, 1).numpy()
    restored = [torch.from_numpy(np.ascontiguousarray(restore(a).transpose(2, 0, 1))) for a in arrays]
    result = (torch.stack(restored) if restored else batch).to(image.dtype).to(image.device)
    return result if image.dim() == 4 else result[0]


def to_unit_range(image: np.ndarray) -> np.ndarray:
    """uint8, uint16 or floating-point in [0, 1], any shape -> float32 in [0, 1].

    Raises:
        ValueError: Another type, NaN or infinity, or values outside [0, 1] by more than rounding.
    """
    if image.dtype in (np.uint8, np.uint16):
        return np.divide(image, np.float32(np.iinfo(image.dtype).max), dtype=np.float32)
    if not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f'pixels must be uint8, uint16 or floating-point, got {image.dtype}')
    if not np.isfinite(image).all():
        bad = int((~np.isfinite(image)).sum())
        raise ValueError(f'{bad} of {image.size} pixel values are NaN or infinite')
    least, most = float(image.min()), float(image.max())
    if least < -_SLACK or most > 1 + _SLACK:
        raise ValueError(f'floating-point pixels must be in [0, 1], got {least:g} to {most:g}')
    values = image.astype(np.float32)
    return np.clip(values, 0, 1, out=values) if least < 0 or most > 1 else values


def from_unit_range(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The way back: float32 in [0, 1] -> the type, rounded."""
    if not np.issubdtype(dtype, np.integer):
        return image.astype(dtype)
    result = np.empty(image.shape, dtype)
    full = np.float64(np.iinfo(dtype).max)
    for top in range(0, len(image), _ROWS):
        result[top : top + _ROWS] = np.rint(image[top : top + _ROWS] * full)
    return result


Box = tuple[slice, slice]

_TOLERANCE = 2 / 255  # of a bar that was stored as JPEG or video
_NEAR_WHITE = 0.9  # white borders do no harm
_THINNEST = 4  # rows or columns: fewer may be the picture's own
_BEHIND, _STEP = 3, 12 / 255  # so many lines behind a border, this is the least mean difference from its colour
_SMALLEST = 16  # rows and columns of a picture that borders leave


def visible_box(image: np.ndarray) -> Box:
    """The part of an image within its constant borders and its wholly transparent surround.

    Args:
        image: (h, w), or (h, w, c) with 1 to 4 channels, the second or fourth of which is alpha; uint8, uint16 or
            floating-point.

    Returns:
        Rows and columns; all of them where there is no border, or where too little of the image would be left.
    """
    planes = image[..., None] if image.ndim == 2 else image
    box = (slice(0, planes.shape[0]), slice(0, planes.shape[1]))
    if planes.shape[2] in (2, 4):
        visible = planes[..., -1] > 0
        if not visible.any():
            return box
        box = (_span(visible.any(axis=1)), _span(visible.any(axis=0)))
        planes = planes[..., :-1]
    for axis in (0, 1, 0):  # bars above and below, then beside, then those that reached into the corners
        box = _within(planes, box, axis)
    large_enough = all(part.stop - part.start >= min(_SMALLEST, side) for part, side in zip(box, planes.shape))
    return box if large_enough else (slice(0, planes.shape[0]), slice(0, planes.shape[1]))


def restore_visible(
    restore: Callable[[np.ndarray], np.ndarray], image: np.ndarray, box: Box | None = None
) -> np.ndarray:
    """Restore what can be seen of an image; borders, hidden pixels and images of one colour come back as they were.

    Where all pixels are hidden, all are restored: then alpha hides a picture, and not its surround.

    Args:
        restore: Takes and returns colour (h, w) or (h, w, 1 or 3) of the image's type.
        image: As in `visible_box`.
        box: The part to restore, if it is known.

    Returns:
        A new array like ``image``; alpha is that of ``image``.
    """
    rows, columns = box or visible_box(image)
    part = image[rows, columns]
    has_alpha = image.ndim == 3 and image.shape[2] in (2, 4)
    colour = part[..., :-1] if has_alpha else part
    if _is_of_one_colour(colour):
        return image.copy()
    hidden = part[..., -1] == 0 if has_alpha else None
    if hidden is not None and hidden.any() and not hidden.all():
        restored = restore(filled(colour, hidden))
        restored[hidden] = colour[hidden]
    else:
        restored = restore(colour)
    if not has_alpha and part.shape == image.shape:
        return restored
    result = image.copy()
    target = result[rows, columns]
    target[(..., slice(colour.shape[2])) if colour.ndim == 3 else ...] = restored
    return result


def filled(colour: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Colour whose hidden pixels repeat visible ones: each row, then each column, is reflected into what is hidden.

    Reflection keeps the texture and the noise that surround a hole, which a smooth filling would not have.

    Args:
        colour: (h, w, c), any type.
        hidden: (h, w) bool, neither all nor none.
    """
    result = colour.copy()
    known = ~hidden
    for transposed in (False, True):
        pixels = result.swapaxes(0, 1) if transposed else result
        there = known.T if transposed else known
        for line in np.flatnonzero(there.any(axis=1) & ~there.all(axis=1)):
            pixels[line] = pixels[line, _reflected(there[line])]
        known = known | known.any(axis=0 if transposed else 1, keepdims=True)
    return result


def _reflected(there: np.ndarray) -> np.ndarray:
    """For each place of a line the place to take its pixel from: itself where it is there, else mirrored at an edge."""
    places = np.arange(len(there))
    known = np.flatnonzero(there)
    after = np.searchsorted(known, places)
    left = known[np.maximum(after - 1, 0)]
    right = known[np.minimum(after, len(known) - 1)]
    nearest = np.where((places - left >= 0) & ((places - left <= right - places) | (right < places)), left, right)
    mirrored = np.clip(2 * nearest - places, 0, len(there) - 1)
    source = np.where(there[mirrored], mirrored, nearest)
    return np.where(there, places, source)


def _is_of_one_colour(colour: np.ndarray) -> bool:
    pixels = colour.reshape(-1, 1 if colour.ndim == 2 else colour.shape[2])
    least, most = pixels.min(axis=0).astype(np.float64), pixels.max(axis=0).astype(np.float64)
    full = np.iinfo(colour.dtype).max if np.issubdtype(colour.dtype, np.integer) else 1
    return bool((most - least <= _TOLERANCE * full).all())  # NaN: no


def _span(present: np.ndarray) -> slice:
    places = np.flatnonzero(present)
    return slice(int(places[0]), int(places[-1]) + 1)


def _within(planes: np.ndarray, box: Box, axis: int) -> Box:
    """``box`` without the constant rows (axis 0) or columns (axis 1) at its two ends."""
    part = planes[box].swapaxes(0, axis)
    first = _constant_lines(part)
    last = _constant_lines(part[::-1])
    if first + last >= len(part):
        return box
    span = slice(box[axis].start + first, box[axis].stop - last)
    return (span, box[1]) if axis == 0 else (box[0], span)


def _constant_lines(part: np.ndarray) -> int:
    """Number of leading lines (n, m, c) that have the colour of the first corner all along; 0 for too few of them."""
    full = np.iinfo(part.dtype).max if np.issubdtype(part.dtype, np.integer) else 1
    colour = part[0, 0].astype(np.float64)
    if colour.min() > _NEAR_WHITE * full:
        return 0
    tolerance = _TOLERANCE * full
    low, high = colour - tolerance, colour + tolerance
    count = 0
    while count < len(part) and ((part[count] >= low) & (part[count] <= high)).all():
        count += 1
    if not _THINNEST <= count < len(part):
        return 0
    # A night sky fades; a border ends, if with a line or two of both where it was compressed.
    step = np.abs(part[min(count + _BEHIND, len(part) - 1)] - colour).mean()
    return count if step >= _STEP * full else 0
