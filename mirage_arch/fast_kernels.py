"""The handful of operations that the strip-wise evaluation is made of, with and without fusion.

Feature maps are (rows, width, channels) or (pixels, channels), channels fastest. On a CPU PyTorch brings oneDNN, whose
products and convolutions apply GELU, a sigmoid, a sum or a product to their result before it leaves the registers;
``torch.compile`` reaches them through the operators used here. Elsewhere the same operations run one by one, on a GPU
with the norm of ``channel_norm`` where Triton is there.
"""

from __future__ import annotations

import functools
import logging

import torch
import torch.nn.functional as F
from torch import Tensor

from .channel_norm import normalise_pixels

__all__ = [
    'OneDnnKernels',
    'PlainKernels',
    'TritonKernels',
    'as_image',
    'as_rows',
    'choose_kernels',
    'has_half_arithmetic',
]

_ACTIVATIONS = {'gelu': F.gelu, 'sigmoid': torch.sigmoid, 'none': lambda x: x}


def as_image(x: Tensor) -> Tensor:
    """(rows, width, c) -> (1, c, rows, width) in channels_last, without a copy."""
    # In this order: permuting first gives a batch stride by which oneDNN does not recognise channels_last, and copies.
    return x.unsqueeze(0).permute(0, 3, 1, 2)


def as_rows(x: Tensor) -> Tensor:
    """Back: (1, c, rows, width) -> (rows, width, c)."""
    return x.permute(0, 2, 3, 1)[0]


class PlainKernels:
    """Operations of PyTorch as they are, for any device and type."""

    @staticmethod
    def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, act: str = 'none') -> Tensor:
        """``act(x weight^T + bias)``: (n, i), (o, i), (o,) -> (n, o); ``act`` is 'none', 'gelu' or 'sigmoid'."""
        return _ACTIVATIONS[act](F.linear(x, weight, bias))

    @staticmethod
    def linear_add(x: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor) -> Tensor:
        """``x weight^T + bias + other``, all of (n, o)."""
        return F.linear(x, weight, bias).add_(other)

    @staticmethod
    def linear_mul(x: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor) -> Tensor:
        """``(x weight^T + bias) * other``, all of (n, o)."""
        return F.linear(x, weight, bias).mul_(other)

    @classmethod
    def depthwise(
        cls,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        missing: tuple[int, int, int, int] = (0, 0, 0, 0),
        act: str = 'none',
        mul: Tensor | None = None,
    ) -> Tensor:
        """Depthwise convolution of a tile.

        Args:
            x: (rows, columns, c).
            weight: (c, 1, k, k).
            bias: (c,).
            missing: Rows above and below, columns left and right of ``x`` that count as zeros.
            act: Applied to the result.
            mul: (n, c), multiplied onto the result.

        Returns:
            (n, c), for the pixels that ``k // 2`` rows and columns surround.
        """
        reach = weight.shape[-1] // 2
        top, bottom, left, right = missing
        # Where one side only ends at an edge, both are padded and the surplus left out: cheaper than padding a copy.
        padding = (reach if top or bottom else 0, reach if left or right else 0)
        out = cls._convolve(as_image(x), weight, bias, padding, act)
        if padding[0]:
            out = out[reach - top : out.shape[0] - (reach - bottom)]
        if padding[1]:
            out = out[:, reach - left : out.shape[1] - (reach - right)]
        out = out.reshape(-1, out.shape[-1])
        return out if mul is None else out.mul_(mul)

    @staticmethod
    def _convolve(x, weight, bias, padding, act):
        return as_rows(_ACTIVATIONS[act](F.conv2d(x, weight, bias, padding=padding, groups=weight.shape[0])))

    @staticmethod
    def normalise(x: Tensor, out: Tensor, epsilon: float) -> None:
        """Layer norm without its affine map over the last axis of float32 (..., c), written to ``out``."""
        out.copy_(F.layer_norm(x, x.shape[-1:], eps=epsilon))


class TritonKernels(PlainKernels):
    """The same with the norm of ``channel_norm``, where that applies (GPU)."""

    @staticmethod
    def normalise(x, out, epsilon):
        if not normalise_pixels(x, out, epsilon):
            PlainKernels.normalise(x, out, epsilon)


class OneDnnKernels(PlainKernels):
    """The same with element-wise work fused into oneDNN's products and convolutions (CPU)."""

    @staticmethod
    def linear(x, weight, bias=None, act='none'):
        algorithm = 'none' if act == 'gelu' else ''  # the exact GELU, not its tanh approximation
        return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, act, [], algorithm)

    @staticmethod
    def linear_add(x, weight, bias, other):
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, weight, bias, 'add')

    @staticmethod
    def linear_mul(x, weight, bias, other):
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, weight, bias, 'mul')

    @staticmethod
    def _convolve(x, weight, bias, padding, act):
        algorithm = 'none' if act == 'gelu' else ''
        return as_rows(
            torch.ops.mkldnn._convolution_pointwise.default(
                x, weight, bias, list(padding), [1, 1], [1, 1], weight.shape[0], act, [], algorithm
            )
        )

    @staticmethod
    def normalise(x, out, epsilon):
        # PyTorch's layer norm spends most of its time on the bookkeeping of short rows; these steps are three times
        # as fast on up to some hundred channels. Two passes, as the variance of a shifted mean would lose digits.
        c = x.shape[-1]
        centred = torch.sub(x, x.mean(dim=-1, keepdim=True), out=out if out.dtype == x.dtype else None)
        scale = torch.linalg.vector_norm(centred, dim=-1, keepdim=True)
        scale.square_().mul_(1 / c).add_(epsilon).rsqrt_()
        centred.mul_(scale)
        if centred is not out:
            out.copy_(centred)


@functools.cache
def _fusion_works(dtype: torch.dtype) -> bool:
    """Try every fused operation on a small example: they are not part of PyTorch's public interface."""
    plain, fused = PlainKernels, OneDnnKernels
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    x, other, w, b, wide = draw(60, 8), draw(60, 12), draw(12, 8), draw(12), draw(8, 12, 12)
    kernel = draw(12, 1, 3, 3)
    try:
        with torch.no_grad():
            pairs = [
                (
                    k.linear(x, w, b, 'gelu'),
                    k.linear(x, w, b, 'sigmoid'),
                    k.linear(x[:, 2:6], w[:, 2:6]),
                    k.linear_add(x, w, b, other),
                    k.linear_mul(x, w, None, other),
                    k.depthwise(wide, kernel, b, act='gelu'),
                    k.depthwise(wide, kernel, None, mul=other),
                    k.depthwise(wide, kernel, b, (1, 0, 1, 1)),
                )
                for k in (plain, fused)
            ]
        limit = 1e-5 if dtype == torch.float32 else 0.1
        return all(torch.allclose(p.float(), f.float(), rtol=limit, atol=limit) for p, f in zip(*pairs))
    except (RuntimeError, AttributeError, TypeError) as error:
        logging.getLogger(__name__).info('no fused operations in this PyTorch: %s', error)
        return False


def choose_kernels(device: torch.device, dtype: torch.dtype) -> type[PlainKernels]:
    """The fastest set of operations that works for this device and type here."""
    if device.type == 'cuda':
        return TritonKernels
    return OneDnnKernels if device.type == 'cpu' and _fusion_works(dtype) else PlainKernels


def has_half_arithmetic() -> bool:
    """Whether this CPU computes in float16; without, PyTorch converts every number back and forth."""
    supported = getattr(torch.ops.mkldnn, '_is_mkldnn_fp16_supported', None)
    return supported is not None and bool(supported())
