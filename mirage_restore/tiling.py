"""Restoration tile by tile, for images that do not fit into memory: an approximation, with blended seams."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """First pixels of tiles that cover ``length`` pixels, evenly spread, sharing at least ``overlap`` pixels."""
    if length <= tile:
        return [0]
    count = -(-(length - overlap) // (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def restore_in_tiles(forward: Callable[[Tensor], Tensor], x: Tensor, tile: int, overlap: int) -> Tensor:
    """Restore (b, c, h, w) in square tiles whose weights rise linearly over what they share.

    Args:
        forward: What restores a tile.
        x: The image.
        tile: Side of a tile in pixels.
        overlap: Least number of pixels that neighbours share, below ``tile``.

    Returns:
        The restored image, (b, c, h, w).
    """
    h, w = x.shape[-2:]
    total = torch.zeros_like(x)
    weight = x.new_zeros(h, w)
    for top, bottom, rows in _spans(h, tile, overlap):
        for left, right, columns in _spans(w, tile, overlap):
            ramp = rows[:, None] * columns
            total[..., top:bottom, left:right] += forward(x[..., top:bottom, left:right]) * ramp
            weight[top:bottom, left:right] += ramp
    return total.div_(weight)  # in place: of a large picture every copy is gigabytes


def _spans(length: int, tile: int, overlap: int) -> Iterator[tuple[int, int, Tensor]]:
    """Start, end and weights of the tiles along one axis; weights fall towards inner edges only."""
    starts = tile_starts(length, tile, overlap)
    size = min(tile, length)
    for start in starts:
        ramp = torch.ones(size)
        if overlap:
            rise = (torch.arange(size) + 0.5) / overlap
            if start > 0:
                ramp = torch.minimum(ramp, rise)
            if start + size < length:
                ramp = torch.minimum(ramp, rise.flip(0))
        yield start, start + size, ramp
