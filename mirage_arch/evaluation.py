"""Evaluating a network with the memory there is, and in a float32 that is float32."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from .fast_forward import FastMIRAGE

__all__ = [
    'DeviceEvaluator',
    'evaluation_kernels',
    'is_out_of_memory',
    'restore_exactly',
    'self_ensemble',
    'strip_sizes',
    'unless_out_of_memory',
]

_Result = TypeVar('_Result')

#: Rows of ever smaller strips; the result is the same.
_STRIP_ROWS = (64, 16)
#: Above this many pixels a GPU computes in strips at once: they are no faster there, but need a fraction of the memory.
_WHOLE_PIXELS = 2**20

# PyTorch's allocators, the driver, cuBLAS, cuDNN, cuFFT, cuSOLVER and C++ each have words of their own. cuBLAS that
# finds no memory for its handle says that it is not initialised, cuDNN that finds none for its workspace that there is
# no engine.
_OUT_OF_MEMORY = re.compile(
    r"can't allocate memory|not enough memory|out[ _]of[ _]memory|ALLOC(ATION)?_FAILED|bad_alloc|insufficient memory"
    r'|CUBLAS_STATUS_NOT_INITIALIZED|unable to find an engine to execute',
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of PyTorch, a library below it, or Python says that memory ran out."""
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None
    )


def unless_out_of_memory(function: Callable[[], _Result]) -> _Result | None:
    """Calls a function; None where memory ran out, with all that it held given back."""
    try:
        return function()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Only here is the error gone, whose traceback kept every tensor of the attempt alive.
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    return None


@contextmanager
def evaluation_kernels() -> Iterator[None]:
    """Convolutions and products of float32 in float32, not in TF32, and no search for the fastest kernel.

    PyTorch lets Ampere and later GPUs convolve in TF32, which has ten bits of mantissa. And the search, which a
    training switches on, is made anew for every image size, with workspaces as large as memory allows.
    """
    before = _kernel_settings()
    for owner, name, _ in before:
        setattr(owner, name, 'ieee' if name == 'fp32_precision' else False)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def _kernel_settings() -> list[tuple[Any, str, Any]]:
    """Who holds each setting, its name and its value."""
    cudnn, product = torch.backends.cudnn, torch.backends.cuda.matmul
    names = [(cudnn, 'benchmark'), (cudnn, 'allow_tf32'), (product, 'allow_tf32')]
    try:
        return [(owner, name, getattr(owner, name)) for owner, name in names]
    except RuntimeError:  # set by the names of PyTorch 2.9 and later, one for each kind of operation
        names = [(cudnn, 'benchmark'), *((owner, 'fp32_precision') for owner in (cudnn.conv, cudnn.rnn, product))]
        return [(owner, name, getattr(owner, name)) for owner, name in names]


def strip_sizes(fast: FastMIRAGE) -> list[int | None]:
    """The strips to try, as rows, largest first; None are those that the network chooses."""
    if fast.device.type == 'cpu' or not fast.is_fast:  # there they are small already
        return [fast.strip_rows]
    return [fast.strip_rows, *(rows for rows in _STRIP_ROWS if fast.strip_rows is None or rows < fast.strip_rows)]


def restore_exactly(fast: FastMIRAGE, images: Tensor, free: float = math.inf) -> Tensor | None:
    """Evaluates in strips and, where memory runs out on a GPU, in smaller ones: the same result, in IEEE's float32.

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
            with evaluation_kernels():
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
