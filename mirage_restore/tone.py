"""Brightness, colours and haze of a photograph for its restored version, where they are meant to be as they are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ['keep_tone']

_CELLS = 20  # along the shorter side: what differs between cells is light, what differs within them is texture
_SMALLEST_CELL = 16  # pixels: noise of sigma 50 then moves a cell's mean by 3 of 255
_FLAT = 1e-6  # of a variance: below it a plane has no contrast to compare


def keep_tone(before: Tensor, after: Tensor) -> Tensor:
    """Give a restored image the brightness and colours that it had before.

    Each colour of the result goes through the straight line that brings it closest to ``before`` (least squares, so
    that noise in ``before`` does not move it); what then still differs on average in cells of a twentieth of the image
    is added, interpolated between their centres. Noise and other fine defects stay removed. Haze and darkness come
    back, and so does, in part, what rain and snow add to the brightness.

    Args:
        before: The degraded image, (b, c, h, w), in [0, 1].
        after: The restored one, of the same shape; changed in place.

    Returns:
        ``after``, in [0, 1].
    """
    h, w = before.shape[-2:]
    side = max(min(h, w) / _CELLS, _SMALLEST_CELL)
    cells = (max(round(h / side), 1), max(round(w / side), 1))
    for old, new in zip(before.unbind(1), after.unbind(1)):  # plane by plane: of a large picture a copy is gigabytes
        slope, shift = _line(new, old)
        new.mul_(slope).add_(shift)
        light = F.adaptive_avg_pool2d((old - new)[:, None], cells)
        new.add_(F.interpolate(light, size=(h, w), mode='bilinear', align_corners=False)[:, 0]).clamp_(0, 1)
    return after


def _line(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Slope and shift, (b, 1, 1), of the line that takes ``x`` closest to ``y``, both (b, h, w)."""
    mean_x, mean_y = (plane.mean((1, 2), keepdim=True, dtype=torch.float64).to(plane.dtype) for plane in (x, y))
    centred = x - mean_x
    spread = (centred * centred).mean((1, 2), keepdim=True)
    shared = centred.mul_(y - mean_y).mean((1, 2), keepdim=True)
    slope = (shared + _FLAT) / (spread + _FLAT)
    return slope, mean_y - slope * mean_x
