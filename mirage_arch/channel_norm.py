"""Layer norm over the channels of every pixel, by Triton where a GPU and Triton are there.

PyTorch's kernel takes a row at a time and is slow for many rows of few channels: at 24 to 192 channels ten times what
reading and writing the map takes. The switch, and what happens where the kernels cannot be built, are in
``triton_kernels``. ``torch.compile`` gets PyTorch's own norm, which it fuses with what stands around it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from . import triton_kernels
from .triton_kernels import Kernels

__all__ = ['applies', 'channel_norm', 'kernels', 'least_pixels', 'normalise_pixels', 'plain']

kernels = Kernels('channel_norm_kernels', 'the layer norm', 'PyTorch normalises')
#: Smaller maps are PyTorch's: what its kernel loses on them is less than what a Triton kernel costs the host to start.
least_pixels = 1 << 17
_MOST = 1024  # channels: a program holds a whole pixel
_CLASSES = (Tensor, nn.Parameter)
_TYPES = (torch.float32, torch.bfloat16, torch.float16)


def _can_take(x: Tensor, axis: int) -> bool:
    """Whether the kernels take this tensor, with its channels along ``axis``."""
    return (
        triton_kernels.applies(x)
        and not torch.compiler.is_compiling()
        and type(x) in _CLASSES
        and not kernels.failed
        and 2 <= x.shape[axis] <= _MOST
        and x.numel() >= least_pixels * x.shape[axis]
    )


def applies(x: Tensor, norm: nn.LayerNorm) -> bool:
    """Whether `channel_norm` should normalise this map with the weights of ``norm``, not ``norm`` itself.

    Not for small maps (`least_pixels`), not where something looks into the network (compilers, tracing, functorch,
    tensors of other classes, hooks on every module), nor for a norm that was replaced, extended or given a hook, nor
    for types that PyTorch would refuse.
    """
    if not _can_take(x, 1) or x.dim() != 4 or type(norm) is not nn.LayerNorm:
        return False
    weight, bias = norm.weight, norm.bias
    types = _TYPES if torch.is_autocast_enabled(x.device.type) else (x.dtype,)
    hooks = (norm._forward_hooks, norm._forward_pre_hooks, norm._backward_hooks, norm._backward_pre_hooks)
    return (
        type(weight) in _CLASSES
        and type(bias) in _CLASSES
        and weight.shape == x.shape[1:2]
        and weight.dtype in types
        and bias.dtype in types
        and weight.device == x.device
        and not any(hooks)
        and not _has_any_global_hook()
    )


def plain(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float = 1e-5) -> Tensor:
    """The same by PyTorch's layer norm, on any device; all in one type."""
    return F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], weight, bias, epsilon).permute(0, 3, 1, 2)


def channel_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Normalise every pixel over its channels: ``(x - mean) / sqrt(variance + epsilon) * weight + bias``.

    Differentiable in all three, as often as wanted; deterministic.

    Args:
        x: (b, c, h, w) in float32, bfloat16 or float16. Not copied where it is channels_last, or a slice of the
            channels of such a map.
        weight: (c,).
        bias: (c,).
        epsilon: Added to the variance.

    Returns:
        (b, c, h, w), channels_last, of the type of ``x``; under autocast in float32, as PyTorch's layer norm on a
        GPU. Computed in float32.

    Raises:
        ValueError: Shapes that do not fit one another.
    """
    if x.dim() != 4 or not weight.shape == bias.shape == x.shape[1:2]:
        raise ValueError(
            f'expected x (b, c, h, w), weight (c,) and bias (c,), got {tuple(x.shape)}, {tuple(weight.shape)} and '
            f'{tuple(bias.shape)}'
        )
    dtype = torch.float32 if torch.is_autocast_enabled(x.device.type) else x.dtype
    return _ChannelNorm.apply(x, weight.to(dtype), bias.to(dtype), epsilon, dtype)


def normalise_pixels(x: Tensor, out: Tensor, epsilon: float) -> bool:
    """The norm without weight and bias over the last axis of ``x``, without gradients.

    Args:
        x: (rows, width, c).
        out: The same shape in any of the three types, contiguous; written to.
        epsilon: Added to the variance.

    Returns:
        Whether it was done; where not, nothing was written that counts.
    """
    if not _can_take(x, -1) or not out.is_contiguous():
        return False
    image, result = (t.unsqueeze(0).permute(0, 3, 1, 2) for t in (x, out))
    return kernels.attempt(x, lambda module: module.normalise(image, None, None, epsilon, result)) is not None


def _normalise(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, dtype: torch.dtype) -> Tensor:
    def run(module):
        out = torch.empty(x.shape, dtype=dtype, device=x.device, memory_format=torch.channels_last)
        return module.normalise(x, weight, bias, epsilon, out)

    found = kernels.attempt(x, run)
    if found is not None:
        return found
    return plain(x.to(dtype), weight, bias, epsilon).contiguous(memory_format=torch.channels_last)


def _derivatives(x: Tensor, weight: Tensor, gradient: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Gradients of x, and of weight and bias (2, c), by operations of PyTorch that can be differentiated themselves."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    values, g, factor = x.to(dtype), gradient.to(dtype), weight.to(dtype).reshape(1, -1, 1, 1)
    centred = values - values.mean(dim=1, keepdim=True)
    scale = (centred.square().mean(dim=1, keepdim=True) + epsilon).rsqrt()
    values, scaled = centred * scale, g * factor
    along = (scaled * values).mean(dim=1, keepdim=True)
    dx = (scaled - scaled.mean(dim=1, keepdim=True) - values * along) * scale
    affine = torch.stack([t.sum(dim=(0, 2, 3)) for t in (g * values, g)])
    return dx.to(x.dtype), affine.to(weight.dtype)


def _gradients(
    x: Tensor, weight: Tensor, gradient: Tensor, epsilon: float, of_x: bool, of_affine: bool
) -> tuple[Tensor, Tensor]:
    found = kernels.attempt(x, lambda module: module.gradients(x, weight, gradient, epsilon, of_x, of_affine))
    if found is not None:
        return found
    dx, affine = _derivatives(x, weight, gradient, epsilon)
    dx = dx.contiguous(memory_format=torch.channels_last) if of_x else x.new_empty((0, x.shape[1], 1, 1))
    return dx, affine if of_affine else weight.new_empty((2, 0))


class _ChannelNorm(torch.autograd.Function):
    """A function of autograd, not an operator as the convolution is: compilers get PyTorch's own norm, and an operator
    takes more of the host's time, for which small steps wait."""

    @staticmethod
    def forward(ctx, x, weight, bias, epsilon, dtype):
        ctx.save_for_backward(x, weight)
        ctx.epsilon = epsilon
        return _normalise(x, weight, bias, epsilon, dtype)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        of_x, of_affine = ctx.needs_input_grad[0], any(ctx.needs_input_grad[1:3])
        if torch.is_grad_enabled():  # create_graph=True: these gradients are to be differentiated again
            dx, affine = _derivatives(x, weight, gradient, ctx.epsilon)
        else:
            dx, affine = _gradients(x, weight, gradient, ctx.epsilon, of_x, of_affine)
        return dx if of_x else None, *((affine[0], affine[1]) if of_affine else (None, None)), None, None
