"""Depthwise convolution with a 7x7 kernel for each sample, by Triton where a GPU and Triton are there.

PyTorch has a grouped convolution for this, with the batch made channels; on a GPU that ends in its slowest kernel and
leaves the channels_last layout on the way in and out. The switch, and what happens where the kernels cannot be built,
are in ``triton_kernels``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .triton_kernels import THERE, Kernels, applies

__all__ = ['applies', 'dynamic_depthwise', 'kernels', 'plain']

kernels = Kernels('dynamic_depthwise_kernels', 'the dynamic convolution', 'PyTorch convolves')
_SIZE = 7


def plain(x: Tensor, weight: Tensor) -> Tensor:
    """The same by PyTorch's grouped convolution, in any type and on any device."""
    b, c, h, w = x.shape
    kernel = weight.reshape(b * c, 1, _SIZE, _SIZE).to(x.dtype)
    out = F.conv2d(x.reshape(1, b * c, h, w), kernel, padding=_SIZE // 2, groups=b * c)
    return out.reshape(b, c, h, w)


def dynamic_depthwise(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve every channel of every sample with a kernel of its own, zeros around the map.

    Differentiable in both; deterministic; one operator for ``torch.compile``. Under autocast in its type, like a
    convolution.

    Args:
        x: (b, c, h, w) in float32, bfloat16 or float16. Not copied where the channels of a pixel are neighbours in
            memory: channels_last, or a slice of the channels of such a map.
        weight: (b, c, 7, 7), rounded to the type of ``x``.

    Returns:
        (b, c, h, w) of the type of ``x``, channels_last. Sums are in float32.

    Raises:
        ValueError: Shapes that do not fit one another.
    """
    if x.dim() != 4 or weight.shape != (*x.shape[:2], _SIZE, _SIZE):
        raise ValueError(
            f'expected x (b, c, h, w) and weight (b, c, {_SIZE}, {_SIZE}), got {tuple(x.shape)} and '
            f'{tuple(weight.shape)}'
        )
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    return torch.ops.mirage.dynamic_depthwise(x, weight.to(x.dtype), False)


def _convolve(x: Tensor, weight: Tensor, flip: bool) -> Tensor:
    found = kernels.attempt(x, lambda module: module.convolve(x, weight, flip))
    if found is not None:
        return found
    out = plain(x, weight.flip(-2, -1) if flip else weight)
    return out.contiguous(memory_format=torch.channels_last)


def _weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    found = kernels.attempt(x, lambda module: module.weight_gradient(x, gradient))
    if found is not None:
        return found
    b, c, h, w = x.shape
    groups = b * c
    shape = (1, groups, h, w)
    return torch.ops.aten.convolution_backward(
        gradient.reshape(shape),
        x.reshape(shape),
        x.new_empty((groups, 1, _SIZE, _SIZE)),
        None,
        (1, 1),
        (_SIZE // 2, _SIZE // 2),
        (1, 1),
        False,
        (0, 0),
        groups,
        (False, True, False),
    )[1].reshape(b, c, _SIZE, _SIZE)


def _register() -> torch.library.Library:
    library = torch.library.Library('mirage', 'FRAGMENT')
    tags = (torch.Tag.needs_fixed_stride_order,)  # under torch.compile the maps arrive in the layout they have without
    library.define('dynamic_depthwise(Tensor x, Tensor weight, bool flip) -> Tensor', tags=tags)
    library.define('dynamic_depthwise_weight(Tensor x, Tensor gradient) -> Tensor', tags=tags)
    library.impl('dynamic_depthwise', _convolve, 'CompositeExplicitAutograd')
    library.impl('dynamic_depthwise_weight', _weight_gradient, 'CompositeExplicitAutograd')

    @torch.library.register_fake('mirage::dynamic_depthwise', lib=library)
    def _(x, weight, flip):
        return torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)

    @torch.library.register_fake('mirage::dynamic_depthwise_weight', lib=library)
    def _(x, gradient):
        return x.new_empty((x.shape[0], x.shape[1], _SIZE, _SIZE))

    # The convolution, its two gradients and the gradients of those are all of these two operators.
    def keep(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:2])
        ctx.flip = inputs[2] if len(inputs) > 2 else False

    def gradients(ctx, g):
        x, weight = ctx.saved_tensors
        dx = torch.ops.mirage.dynamic_depthwise(g, weight, not ctx.flip) if ctx.needs_input_grad[0] else None
        pair = (g, x) if ctx.flip else (x, g)
        dw = torch.ops.mirage.dynamic_depthwise_weight(*pair) if ctx.needs_input_grad[1] else None
        return dx, dw, None

    def gradients_of_weight(ctx, g):
        x, gradient = ctx.saved_tensors
        dx = torch.ops.mirage.dynamic_depthwise(gradient, g, True) if ctx.needs_input_grad[0] else None
        dg = torch.ops.mirage.dynamic_depthwise(x, g, False) if ctx.needs_input_grad[1] else None
        return dx, dg

    torch.library.register_autograd('mirage::dynamic_depthwise', gradients, setup_context=keep, lib=library)
    torch.library.register_autograd(
        'mirage::dynamic_depthwise_weight', gradients_of_weight, setup_context=keep, lib=library
    )
    return library


_library = _register() if THERE else None
