"""Horizontal strips of a feature map that is changed in place while it is read.

A convolution needs rows above its strip, and those have been overwritten by then. They are not needed themselves,
though, only their normalised copy, so the normalised rows that the next strip shares with this one are kept.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .fast_kernels import PlainKernels

__all__ = ['Strip', 'strip_height', 'sweep']

_CPU_ELEMENTS = 400_000  # of one feature map in a strip: some ten maps of this size share the cache
_DEVICE_ELEMENTS = 64_000_000  # accelerators want long launches; this bounds their memory


def strip_height(width: int, channels: int, device: torch.device) -> int:
    """Rows of a strip whose intermediate maps stay in the cache (CPU) or in bounded memory (elsewhere)."""
    elements = _CPU_ELEMENTS if device.type == 'cpu' else _DEVICE_ELEMENTS
    return max(4, round(elements / (width * channels)))


@dataclass
class Strip:
    """Rows ``top`` to ``bottom`` of a map, with the normalised rows around them as far as the map reaches."""

    target: Tensor  # (h, w, c), the map itself
    top: int
    bottom: int
    first: int  # row of the map that is row 0 of ``normalised``
    normalised: Tensor  # (rows, w, c)

    @property
    def width(self) -> int:
        return self.target.shape[1]

    def missing(self, halo: int) -> tuple[int, int]:
        """Rows of a halo that lie beyond the upper and the lower edge of the map."""
        return max(0, halo - self.top), max(0, self.bottom + halo - self.target.shape[0])

    def rows(self, halo: int) -> Tensor:
        """Normalised rows of the strip and ``halo`` rows on both sides, (rows, w, c)."""
        top, bottom = max(0, self.top - halo), min(self.target.shape[0], self.bottom + halo)
        return self.normalised[top - self.first:bottom - self.first]

    def pixels(self, halo: int) -> Tensor:
        """The same as (n, c)."""
        return self.rows(halo).flatten(0, 1)

    def add(self, residual: Tensor) -> None:
        """Add (n, c) to the strip's rows of the map."""
        rows = self.target[self.top:self.bottom]
        rows.add_(residual.view(rows.shape))


def sweep(x: Tensor, halo: int, rows: int, kernels: type[PlainKernels], dtype: torch.dtype,
          epsilon: float) -> Iterator[Strip]:
    """Go down a map in strips and normalise every row once, before the caller changes it.

    Args:
        x: (h, w, c) in float32. The caller may overwrite a strip's own rows before asking for the next strip.
        halo: Rows needed above and below a strip.
        rows: Height of a strip.
        kernels: Supplies the norm.
        dtype: Type of the normalised rows.
        epsilon: Of the norm.
    """
    height, width, channels = x.shape
    buffer = torch.empty(min(height, rows + 2 * halo), width, channels, dtype=dtype, device=x.device)
    first = done = 0  # row of the map at the buffer's row 0; rows normalised so far
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        low, high = max(0, top - halo), min(height, bottom + halo)
        kept = done - low
        if kept and low > first:
            shared = buffer[low - first:done - first]
            buffer[:kept] = shared.clone() if kept > low - first else shared
        if high > done:
            kernels.normalise(x[done:high], buffer[kept:high - low], epsilon)
        first, done = low, high
        yield Strip(x, top, bottom, low, buffer[:high - low])
