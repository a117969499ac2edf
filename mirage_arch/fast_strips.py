"""Strips and tiles of a feature map that is changed in place while it is read.

A convolution needs rows above its strip, and those have been overwritten by then. They are not needed themselves,
though, only their normalised copy, so the normalised rows that the next strip shares with this one are kept. Strips of
a wide map are handed out in tiles, so that the time for a pixel depends neither on the width nor on the height.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .fast_kernels import PlainKernels

__all__ = ['Tile', 'sweep', 'tile_shape']

_CPU_BYTES = 3_000_000  # of one feature map in a tile: some ten maps of this size share the cache
_MIN_ROWS = 32  # of a strip: what its halos need is computed twice
_DEVICE_BYTES = 256_000_000  # accelerators want long launches; this bounds their memory


def tile_shape(height: int, width: int, row_bytes: int, device: torch.device) -> tuple[int, int]:
    """Rows and columns of a tile whose intermediate maps stay in the cache (CPU) or in bounded memory (elsewhere)."""
    strips = max(1, round(height / max(_MIN_ROWS, tile_rows(row_bytes, device))))
    rows = -(-height // strips)
    tiles = max(1, round(rows * row_bytes / _CPU_BYTES)) if device.type == 'cpu' else 1
    return rows, -(-width // tiles)


def tile_rows(row_bytes: int, device: torch.device) -> int:
    """Whole rows of a map that make a tile."""
    return max(1, round((_CPU_BYTES if device.type == 'cpu' else _DEVICE_BYTES) / row_bytes))


@dataclass
class Tile:
    """A rectangle of a map, with the normalised pixels around it as far as the map reaches."""

    target: Tensor  # (h, w, c), the map itself
    top: int
    bottom: int
    left: int
    right: int
    first: int  # row of the map that is row 0 of ``normalised``
    normalised: Tensor  # (rows, w, c)

    def missing(self, halo: int) -> tuple[int, int, int, int]:
        """Rows above and below, columns left and right of a halo that lie beyond the edges of the map."""
        height, width = self.target.shape[:2]
        return (
            max(0, halo - self.top),
            max(0, self.bottom + halo - height),
            max(0, halo - self.left),
            max(0, self.right + halo - width),
        )

    def around(self, halo: int, channels: slice = slice(None)) -> Tensor:
        """Normalised pixels of the tile and of a halo around it, as far as the map reaches: contiguous (h, w, c)."""
        height, width = self.target.shape[:2]
        rows = slice(max(0, self.top - halo) - self.first, min(height, self.bottom + halo) - self.first)
        columns = slice(max(0, self.left - halo), min(width, self.right + halo))
        return self.normalised[rows, columns, channels].contiguous()

    def inner(self, around: Tensor, halo: int) -> Tensor:
        """The tile's own pixels (n, c) of what ``around(halo)`` returned."""
        above, _, before, _ = self.missing(halo)
        top, left = halo - above, halo - before
        inner = around[top : top + self.bottom - self.top, left : left + self.right - self.left]
        return inner.reshape(-1, around.shape[-1])

    def add(self, residual: Tensor) -> None:
        """Add (n, c) to the tile's pixels of the map."""
        pixels = self.target[self.top : self.bottom, self.left : self.right]
        pixels.add_(residual.view(pixels.shape))


def sweep(
    x: Tensor, halo: int, shape: tuple[int, int], kernels: type[PlainKernels], dtype: torch.dtype, epsilon: float
) -> Iterator[Tile]:
    """Go over a map in tiles, from the top and from the left, and normalise every pixel once.

    Args:
        x: (h, w, c) in float32. The caller may overwrite a tile's own pixels before asking for the next tile.
        halo: Pixels needed around a tile.
        shape: Rows and columns of a tile.
        kernels: Supplies the norm.
        dtype: Type of the normalised pixels.
        epsilon: Of the norm.
    """
    height, width, channels = x.shape
    rows, columns = shape
    buffer = torch.empty(min(height, rows + 2 * halo), width, channels, dtype=dtype, device=x.device)
    chunk = tile_rows(width * channels * x.itemsize, x.device)  # each step of the norm finds it in the cache
    first = done = 0  # row of the map at the buffer's row 0; rows normalised so far
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        low, high = max(0, top - halo), min(height, bottom + halo)
        kept = done - low
        if kept and low > first:
            shared = buffer[low - first : done - first]
            buffer[:kept] = shared.clone() if kept > low - first else shared
        for row in range(done, high, chunk):
            stop = min(row + chunk, high)
            kernels.normalise(x[row:stop], buffer[row - low : stop - low], epsilon)
        first, done = low, high
        for left in range(0, width, columns):
            yield Tile(x, top, bottom, left, min(left + columns, width), low, buffer[: high - low])
