"""Triton kernels of the layer norm over the channels of every pixel (`channel_norm`).

Bound by memory, so a value is read once and everything else happens in registers: a program takes ``ROWS`` pixels with
all their channels, padded to the power of two ``BLOCK``, finds mean and variance in two passes over what it holds, and
writes its result. The gradients find both anew from the pixels, which they need anyway. Sums over pixels are added up
in a fixed order: by each program over its own pixels, then over the programs.

The number of channels and the distance between pixels are constants of a compiled kernel. Only so does Triton know
that 24 channels of bfloat16 may be read 16 bytes at a time; a network has a handful of widths. The number of pixels is
none, since every size of picture would compile again. Imported where a kernel runs only, since it imports Triton.
"""

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor

from .triton_kernels import launch

__all__ = ['gradients', 'normalise']

_ELEMENTS = 2048  # of a program's tile: 16 for each thread, which keeps enough of them on their way from memory
_WARPS = 4
_RESIDENT = 4  # programs of the gradients on a multiprocessor, as their registers allow


@triton.jit
def _standardised(x, row, rows, epsilon, STRIDE: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr):
    """Pixels of mean 0 and variance 1 in float32, which of the tile is there at all, and what centred pixels are
    multiplied by; 0 outside."""
    channel = tl.arange(0, BLOCK)
    inside = (row < rows)[:, None] & (channel < C)[None, :]
    values = tl.load(x + row[:, None] * STRIDE + channel[None, :], mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(values, axis=1) / C
    centred = tl.where(inside, values - mean[:, None], 0.0)
    variance = tl.sum(centred * centred, axis=1) / C
    scale = tl.where(row < rows, tl.rsqrt(variance + epsilon), 0.0)
    return centred * scale[:, None], inside, scale


@triton.jit(do_not_specialize=('rows', 'epsilon'))
def _normalise(
    x,
    weight,
    bias,
    out,
    rows,
    epsilon,
    X_STRIDE: tl.constexpr,
    OUT_STRIDE: tl.constexpr,
    C: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    AFFINE: tl.constexpr,
):
    """One program: ``ROWS`` pixels."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, BLOCK)
    values, inside, _ = _standardised(x, row, rows, epsilon, X_STRIDE, C, BLOCK)
    if AFFINE:
        factor = tl.load(weight + channel, mask=channel < C, other=0.0).to(tl.float32)
        offset = tl.load(bias + channel, mask=channel < C, other=0.0).to(tl.float32)
        values = values * factor[None, :] + offset[None, :]
    tl.store(out + row[:, None] * OUT_STRIDE + channel[None, :], values.to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=('rows', 'epsilon'))
def _gradients(
    x,
    weight,
    gradient,
    x_gradient,
    parts,
    rows,
    epsilon,
    X_STRIDE: tl.constexpr,
    G_STRIDE: tl.constexpr,
    C: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    OF_X: tl.constexpr,
    OF_AFFINE: tl.constexpr,
):
    """One program: every so many-th tile of ``ROWS`` pixels, and the sums over them for weight and bias."""
    program = tl.program_id(0)
    channel = tl.arange(0, BLOCK)
    factor = tl.load(weight + channel, mask=channel < C, other=0.0).to(tl.float32)
    of_weight = tl.zeros((ROWS, BLOCK), tl.float32)
    of_bias = tl.zeros((ROWS, BLOCK), tl.float32)
    row = program.to(tl.int64) * ROWS + tl.arange(0, ROWS)
    for _ in range(program, tl.cdiv(rows, ROWS), tl.num_programs(0)):
        values, inside, scale = _standardised(x, row, rows, epsilon, X_STRIDE, C, BLOCK)
        g = tl.load(gradient + row[:, None] * G_STRIDE + channel[None, :], mask=inside, other=0.0).to(tl.float32)
        if OF_AFFINE:
            of_weight += g * values
            of_bias += g
        if OF_X:
            g = g * factor[None, :]
            along = tl.sum(g * values, axis=1) / C
            mean = tl.sum(g, axis=1) / C
            g = (g - mean[:, None] - values * along[:, None]) * scale[:, None]
            at = x_gradient + row[:, None] * C + channel[None, :]
            tl.store(at, g.to(x_gradient.dtype.element_ty), mask=inside)
        row += tl.num_programs(0).to(tl.int64) * ROWS
    if OF_AFFINE:
        at = parts + program.to(tl.int64) * (2 * C) + channel
        tl.store(at, tl.sum(of_weight, axis=0), mask=channel < C)
        tl.store(at + C, tl.sum(of_bias, axis=0), mask=channel < C)


@functools.cache
def _resident(device: torch.device, each: int) -> int:
    """How many programs a GPU holds at a time, ``each`` on every multiprocessor."""
    return each * torch.cuda.get_device_properties(device).multi_processor_count if device.type == 'cuda' else each


def _pixels(x: Tensor) -> Tensor:
    """(b, c, h, w) -> (pixels, c), not copied where the channels of a pixel are neighbours and pixels equally apart."""
    pixels = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
    return pixels if pixels.stride(1) == 1 else pixels.contiguous()


@functools.cache
def _tile(c: int, elements: int) -> tuple[int, int]:
    """Pixels and channels of a program's tile, both powers of two."""
    block = 1 << (c - 1).bit_length()
    return max(1, elements // block), block


def normalise(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    epsilon: float,
    out: Tensor,
    elements: int = _ELEMENTS,
    warps: int = _WARPS,
) -> Tensor:
    """The norm of `channel_norm`, written to ``out``.

    Args:
        x: (b, c, h, w) in float32, bfloat16 or float16; copied unless channels_last or a slice of channels of that.
        weight: (c,), or None for a norm without weight and bias.
        bias: (c,).
        epsilon: Added to the variance.
        out: (b, c, h, w) of any of these types, channels_last or a slice of channels of that.
        elements: Values of a program's tile, a power of two.
        warps: Warps of a program.

    Returns:
        ``out``. Computed in float32.
    """
    if not x.numel():
        return out
    c = x.shape[1]
    pixels, results = _pixels(x), _pixels(out)
    assert results.data_ptr() == out.data_ptr(), 'the result would be written to a copy'
    rows, block = _tile(c, elements)
    launch(
        _normalise,
        x.device,
        -(-len(pixels) // rows),
        pixels,
        weight,
        bias,
        results,
        len(pixels),
        epsilon,
        X_STRIDE=pixels.stride(0),
        OUT_STRIDE=results.stride(0),
        C=c,
        ROWS=rows,
        BLOCK=block,
        AFFINE=weight is not None,
        num_warps=warps,
    )
    return out


def gradients(
    x: Tensor,
    weight: Tensor,
    gradient: Tensor,
    epsilon: float,
    of_x: bool = True,
    of_affine: bool = True,
    elements: int = _ELEMENTS,
    warps: int = _WARPS,
    resident: int = _RESIDENT,
) -> tuple[Tensor, Tensor]:
    """Gradients of ``x``, weight and bias of `normalise`.

    Args:
        x: What was normalised, (b, c, h, w).
        weight: (c,).
        gradient: Gradient of the result, (b, c, h, w).
        epsilon: As it was.
        of_x: Whether that of ``x`` is wanted.
        of_affine: Whether those of weight and bias are.
        elements: Values of a program's tile, a power of two.
        warps: Warps of a program.
        resident: Programs for every multiprocessor.

    Returns:
        (b, c, h, w) of the type of ``x``, channels_last, and (2, c) of the type of ``weight``, that of the weight
        first; without elements where not wanted. Sums are in float32.
    """
    c = x.shape[1]
    x_gradient = torch.empty(
        x.shape if of_x else (0, c, 1, 1), dtype=x.dtype, device=x.device, memory_format=torch.channels_last
    )
    if not x.numel():
        return x_gradient, weight.new_zeros((2, c if of_affine else 0))
    pixels, g = _pixels(x), _pixels(gradient)
    rows, block = _tile(c, elements)
    programs = min(-(-len(pixels) // rows), _resident(x.device, resident))
    parts = torch.empty((programs if of_affine else 0, 2, c), dtype=torch.float32, device=x.device)
    launch(
        _gradients,
        x.device,
        programs,
        pixels,
        weight,
        g,
        x_gradient,
        parts,
        len(pixels),
        epsilon,
        X_STRIDE=pixels.stride(0),
        G_STRIDE=g.stride(0),
        C=c,
        ROWS=rows,
        BLOCK=block,
        OF_X=of_x,
        OF_AFFINE=of_affine,
        num_warps=warps,
    )
    return x_gradient, parts.sum(dim=0).to(weight.dtype) if of_affine else weight.new_empty((2, 0))
