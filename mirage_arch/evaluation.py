"""Evaluating a network with the memory there is."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .fast_forward import FastMIRAGE
from .memory import unless_out_of_memory

__all__ = [
    'DeviceEvaluator',
    'restore_exactly',
    'self_ensemble',
    'strip_sizes',
]

#: Rows of ever smaller strips; the result is the same.
_STRIP_ROWS = (64, 16)
#: Above this many pixels a GPU computes in strips at once: they are no faster there, but need a fraction of the memory.
_WHOLE_PIXELS = 2**20


def strip_sizes(fast: FastMIRAGE) -> list[int | None]:
    """The strips to try, as rows, largest first; None are those that the network chooses."""
    if fast.device.type == 'cpu' or not fast.is_fast:  # there they are small already
        return [fast.strip_rows]
    return [fast.strip_rows, *(rows for rows in _STRIP_ROWS if fast.strip_rows is None or rows < fast.strip_rows)]


def restore_exactly(fast: FastMIRAGE, images: Tensor, free: float = math.inf) -> Tensor | None:
    """Evaluates in strips and, where memory runs out on a GPU, in smaller ones: the same result.

    Args:
        fast: The prepared network.
        images: (b, c, h, w).
        free: Bytes that are free; strips that probably need more are not tried, the smallest always.

    Returns:
        (b, c, h, w), or None where even the smallest strips do not fit.
    """
    chosen, sizes = fast.strip_rows, strip_sizes(fast)
    height, width = images.shape[-2:]
    while len(sizes) > 1 and fast.peak_bytes(height, width, sizes[0]) > free:
        del sizes[0]
    try:
        for rows in sizes:
            fast.strip_rows = rows
            restored = unless_out_of_memory(lambda: fast(images))
            if restored is not None:
                return restored
    finally:
        fast.strip_rows = chosen
    return None


def self_ensemble(restore: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Mean of the results on the eight flips and quarter turns of images (Timofte et al., CVPR 2016; EDSR's "+").

    Args:
        restore: Takes (b, c, h, w) and (b, c, w, h), and gives the same shape back.
        images: (b, c, h, w).

    Returns:
        (b, c, h, w).
    """
    total = torch.zeros_like(images)
    for flip in (False, True):
        for turns in range(4):
            view = torch.rot90(images.flip(-1) if flip else images, turns, (-2, -1))
            back = torch.rot90(restore(view), -turns, (-2, -1))
            total += back.flip(-1) if flip else back
    return total.div_(8)


class DeviceEvaluator:
    """A network on a GPU as a function of images: whole where that is quickest, in strips where memory is short.

    Args:
        net: The network, in evaluation mode when it is called.
        prepare: Makes its strip-wise equivalent, when one is needed; None where it has none.
    """

    def __init__(self, net: nn.Module, prepare: Callable[[], FastMIRAGE] | None) -> None:
        self._net, self._prepare = net, prepare
        self._fast: FastMIRAGE | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """(b, c, h, w) -> the same.

        Raises:
            RuntimeError: The images do not fit into memory in any way.
        """
        h, w = images.shape[-2:]
        restored = None
        if self._prepare is None or h * w <= _WHOLE_PIXELS:
            restored = unless_out_of_memory(lambda: self._net(images))
        if restored is None and self._prepare is not None:
            self._fast = self._fast or self._prepare()
            restored = restore_exactly(self._fast, images)
        if restored is None:
            strips = ', even in strips' if self._prepare else ''
            raise RuntimeError(
                f'out of memory: an image of {w}x{h} pixels does not fit into that of {images.device}{strips}; '
                'validate on smaller images, or where more memory is free'
            )
        return restored
