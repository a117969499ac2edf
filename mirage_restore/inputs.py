"""What `Restorer` takes: Pillow images, arrays and tensors, and the way back to each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

__all__ = ['from_unit_range', 'restore_pillow', 'restore_tensor', 'to_unit_range']

_SLACK = 1e-3  # beyond [0, 1], from rounding (float16 has steps of this size there): clipped
_ROWS = 256  # of a conversion at a time, so that a large picture needs no second float64 copy


def restore_pillow(restore: Callable[[np.ndarray], np.ndarray], image: Any) -> Any:
    """Restore a Pillow image; modes L, LA, RGB, RGBA and I;16 come back, the others become RGB or RGBA.

    Args:
        restore: Takes and returns an array.
        image: `PIL.Image.Image`; its EXIF orientation is not looked at, as Pillow's own filters do not.
    """
    from PIL import Image

    if image.mode in ('I;16', 'I;16L', 'I;16B'):
        return Image.fromarray(restore(np.array(image).astype(np.uint16)))
    if image.mode == '1':
        image = image.convert('L')
    if image.mode not in ('L', 'LA', 'RGB', 'RGBA'):
        if image.mode in ('I', 'F'):
            raise ValueError(f'a Pillow image of mode {image.mode!r} has no fixed range; give an array in [0, 1]')
        transparent = image.mode in ('PA', 'La', 'RGBa') or 'transparency' in image.info
        image = image.convert('RGBA' if transparent else 'RGB')
    restored = Image.fromarray(restore(np.array(image)), image.mode)
    restored.info = dict(image.info)
    return restored


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
