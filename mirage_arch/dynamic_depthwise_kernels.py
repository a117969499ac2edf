"""Triton kernels of the depthwise convolution with a kernel for each sample (`dynamic_depthwise`).

Maps are channels_last: the channels of a pixel lie side by side, the pixels of a map need not. Bound by arithmetic (49
products a value), so the work is arranged to spend instructions on little else. A lane owns one channel and ``PX``
neighbouring columns and walks down the rows: of every row it loads ``PX + 6`` values once, which serve seven rows by
``PX`` columns of results that wait in registers. Lanes of a warp lie side by side along the channels first.
Every sum is added up in a fixed order. Imported where a kernel runs only, since it imports Triton.
"""

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor

from .triton_kernels import launch

__all__ = ['convolve', 'weight_gradient']


@triton.jit
def _load_row(pointer, step, column, width, inside, FIRST: tl.constexpr, COUNT: tl.constexpr):
    """``COUNT`` values of a row in float32, those of the columns ``column + FIRST`` onwards; 0 outside the map."""
    values = ()
    for q in tl.static_range(COUNT):
        there = inside & (column + (FIRST + q) >= 0) & (column + (FIRST + q) < width)
        values += (tl.load(pointer + (FIRST + q) * step, mask=there, other=0.0).to(tl.float32),)
    return values


@triton.jit
def _from_to(inside, column, row, first, end):
    """The lanes ``inside``, if ``row`` is one of ``first`` to ``end - 1``.

    Through ``column``, since the interpreter of Triton 3.9 takes no mask that a number was compared for.
    """
    row += column * 0
    return inside & (row >= first) & (row < end)


# Numbers and addresses are not specialised: nothing here gains by it, and every new size would compile again.
_CONVOLVE = (
    'x',
    'weight',
    'out',
    'flip',
    'channels',
    'height',
    'width',
    'strips',
    'lane_blocks',
    'rows',
    'x_sample',
    'x_row',
    'x_column',
    'out_sample',
    'out_row',
    'out_column',
)
_WEIGHT_GRADIENT = (
    'x',
    'gradient',
    'parts',
    'channels',
    'height',
    'width',
    'strips',
    'lane_blocks',
    'channel_blocks',
    'rows',
    'x_sample',
    'x_row',
    'x_column',
    'g_sample',
    'g_row',
    'g_column',
    'part_size',
)


@triton.jit(do_not_specialize=_CONVOLVE)
def _convolve(
    x,
    weight,
    out,
    flip,
    channels,
    height,
    width,
    strips,
    lane_blocks,
    rows,
    x_sample,
    x_row,
    x_column,
    out_sample,
    out_row,
    out_column,
    PX: tl.constexpr,
    LANES: tl.constexpr,
):
    """One program: ``LANES`` (column group, channel) pairs by ``rows`` rows of one sample."""
    program = tl.program_id(0)
    lane = (program % lane_blocks) * LANES + tl.arange(0, LANES)
    strip = (program // lane_blocks) % strips
    sample = (program // (lane_blocks * strips)).to(tl.int64)
    channel = lane % channels
    column = (lane // channels) * PX
    inside = column < width

    taps = ()
    for tap in tl.static_range(49):
        at = (sample * channels + channel) * 49 + tap + flip * (48 - 2 * tap)
        taps += (tl.load(weight + at, mask=inside, other=0.0).to(tl.float32),)

    top = strip * rows
    bottom = tl.minimum(top + rows, height)
    first, left = top.to(tl.int64), column.to(tl.int64)
    row_in = x + sample * x_sample + (first - 3) * x_row + left * x_column + channel
    row_out = out + sample * out_sample + (first - 6) * out_row + left * out_column + channel
    sums = ()
    for _ in tl.static_range(7 * PX):
        sums += (tl.zeros((LANES,), tl.float32),)
    ahead = _load_row(row_in, x_column, column, width, _from_to(inside, column, top - 3, 0, height), -3, PX + 6)
    # Row r adds to the results of rows r - 3 ... r + 3; that of r - 3 is complete then.
    for r in range(top - 3, bottom + 3):
        line = ahead
        row_in += x_row
        ahead = _load_row(row_in, x_column, column, width, _from_to(inside, column, r + 1, 0, height), -3, PX + 6)
        added = ()
        for a in tl.static_range(7):
            for p in tl.static_range(PX):
                value = sums[a * PX + p]
                for j in tl.static_range(7):
                    value += line[p + j] * taps[(6 - a) * 7 + j]
                added += (value,)
        for p in tl.static_range(PX):
            tl.store(
                row_out + p * out_column,
                added[p].to(out.dtype.element_ty),
                mask=_from_to(inside & (column + p < width), column, r - 3, top, height),
            )
        row_out += out_row
        sums = added[PX:]
        for _ in tl.static_range(PX):
            sums += (tl.zeros((LANES,), tl.float32),)


@triton.jit(do_not_specialize=_WEIGHT_GRADIENT)
def _weight_gradient(
    x,
    gradient,
    parts,
    channels,
    height,
    width,
    strips,
    lane_blocks,
    channel_blocks,
    rows,
    x_sample,
    x_row,
    x_column,
    g_sample,
    g_row,
    g_column,
    part_size,
    PX: tl.constexpr,
    BC: tl.constexpr,
    BL: tl.constexpr,
):
    """One program: the sums over ``BL * PX`` columns by ``rows`` rows of one sample, for ``BC`` channels."""
    program = tl.program_id(0)
    lane_block = program % lane_blocks
    strip = (program // lane_blocks) % strips
    channel_block = (program // (lane_blocks * strips)) % channel_blocks
    sample = (program // (lane_blocks * strips * channel_blocks)).to(tl.int64)
    channel = channel_block * BC + tl.arange(0, BC)[None, :] + tl.zeros((BL, BC), tl.int32)
    column = (lane_block * BL + tl.arange(0, BL)[:, None]) * PX + tl.zeros((BL, BC), tl.int32)
    inside = (column < width) & (channel < channels)

    top = strip * rows
    bottom = tl.minimum(top + rows, height)
    first, left = top.to(tl.int64), column.to(tl.int64)
    row_x = x + sample * x_sample + (first - 3) * x_row + left * x_column + channel
    row_g = gradient + sample * g_sample + first * g_row + left * g_column + channel
    sums = ()
    for _ in tl.static_range(49):
        sums += (tl.zeros((BL, BC), tl.float32),)
    window = ()  # of the gradient: before row r of x come its rows r - 3 ... r + 2, and 0 for those of other programs
    for _ in tl.static_range(6 * PX):
        window += (tl.zeros((BL, BC), tl.float32),)
    ahead_x = _load_row(row_x, x_column, column, width, _from_to(inside, column, top - 3, 0, height), -3, PX + 6)
    ahead_g = _load_row(row_g, g_column, column, width, inside, 0, PX)
    for r in range(top - 3, bottom + 3):
        line = ahead_x
        window += ahead_g
        row_x += x_row
        row_g += g_row
        ahead_x = _load_row(row_x, x_column, column, width, _from_to(inside, column, r + 1, 0, height), -3, PX + 6)
        ahead_g = _load_row(row_g, g_column, column, width, _from_to(inside, column, r + 4, top, bottom), 0, PX)
        added = ()
        for i in tl.static_range(7):
            for j in tl.static_range(7):
                value = sums[i * 7 + j]
                for p in tl.static_range(PX):
                    value += window[(6 - i) * PX + p] * line[p + j]
                added += (value,)
        sums = added
        window = window[PX:]

    part = (lane_block * strips + strip).to(tl.int64)
    kept = channel_block * BC + tl.arange(0, BC)
    at = parts + part * part_size + (sample * channels + kept) * 49
    for tap in tl.static_range(49):
        tl.store(at + tap, tl.sum(sums[tap], axis=0), mask=kept < channels)


def _cdiv(a: int, b: int) -> int:
    return -(-a // b)


@functools.cache
def _schedulers(device: torch.device) -> int:
    """Warp schedulers of a GPU: four on each multiprocessor."""
    return 4 * torch.cuda.get_device_properties(device).multi_processor_count if device.type == 'cuda' else 1


@functools.cache
def _rows(warps: int, height: int, start: int, schedulers: int) -> int:
    """How many rows a program should walk down, from a simple count of instructions.

    Every program reads six rows more than it owns, so few rows are wasteful, many leave too few programs.

    Args:
        warps: Warps that one strip of rows needs.
        height: Rows of the map.
        start: Instructions of a program outside its loop over rows.
        schedulers: Warp schedulers of the GPU.
    """
    a_row, latency, resident = 340, 700, 3  # instructions, cycles until memory answers, warps that the registers hold

    def duration(rows: int) -> float:
        share = max(1.0, warps * _cdiv(height, rows) / schedulers)
        together = min(share, resident)
        return share / together * (rows + 6) * max(together * a_row, latency) + share * start

    return min((8, 16, 32, 64, 128), key=duration)


def _channels_last(x: Tensor) -> Tensor:
    return x if x.stride(1) == 1 or x.shape[1] == 1 else x.contiguous(memory_format=torch.channels_last)


def convolve(x: Tensor, weight: Tensor, flip: bool, px: int = 4, warps: int = 2, rows: int = 0) -> Tensor:
    """The convolution of `dynamic_depthwise`.

    Args:
        x: (b, c, h, w) in float32, bfloat16 or float16; copied unless its channels are neighbours in memory.
        weight: (b, c, 7, 7) of the same type.
        flip: Turn the kernels by 180 degrees, as the gradient of ``x`` needs them.
        px: Columns of a lane.
        warps: Warps of a program.
        rows: Rows of a program, 0 chooses by the size.

    Returns:
        (b, c, h, w) of the same type, channels_last; summed in float32.
    """
    x, weight = _channels_last(x), weight.contiguous()
    b, c, h, w = x.shape
    out = torch.empty((b, c, h, w), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    if not out.numel():
        return out
    lanes = 32 * warps
    lane_blocks = _cdiv(_cdiv(w, px) * c, lanes)
    rows = rows or _rows(b * lane_blocks * warps, h, 400, _schedulers(x.device))
    strips = _cdiv(h, rows)
    launch(
        _convolve,
        x.device,
        b * strips * lane_blocks,
        x,
        weight,
        out,
        int(flip),
        c,
        h,
        w,
        strips,
        lane_blocks,
        rows,
        x.stride(0),
        x.stride(2),
        x.stride(3),
        h * w * c,
        w * c,
        c,
        PX=px,
        LANES=lanes,
        num_warps=warps,
    )
    return out


def _channel_block(c: int) -> int:
    """Channels side by side in a warp: many, unless that leaves lanes without work."""
    lanes = {block: _cdiv(c, block) * block for block in (16, 8, 4)}
    return next(block for block, used in lanes.items() if used <= 1.2 * min(lanes.values()))


def weight_gradient(x: Tensor, gradient: Tensor, px: int = 4, warps: int = 1, rows: int = 0, block: int = 0) -> Tensor:
    """Gradient of the kernels, (b, c, h, w) twice -> (b, c, 7, 7) of the type of ``x``; summed in float32.

    Args:
        x: What was convolved.
        gradient: Gradient of the result, of the same type.
        px: Columns of a lane.
        warps: Warps of a program.
        rows: Rows of a program, 0 chooses by the size.
        block: Channels of a program, 0 chooses by their number.
    """
    x, gradient = _channels_last(x), _channels_last(gradient)
    b, c, h, w = x.shape
    if not x.numel():
        return x.new_zeros((b, c, 7, 7))
    block = block or _channel_block(c)
    columns = 32 * warps // block
    lane_blocks, channel_blocks = _cdiv(w, columns * px), _cdiv(c, block)
    rows = rows or _rows(b * channel_blocks * lane_blocks * warps, h, 1000, _schedulers(x.device))
    strips = _cdiv(h, rows)
    parts = torch.empty((lane_blocks * strips, b, c, 7, 7), dtype=torch.float32, device=x.device)
    launch(
        _weight_gradient,
        x.device,
        b * channel_blocks * strips * lane_blocks,
        x,
        gradient,
        parts,
        c,
        h,
        w,
        strips,
        lane_blocks,
        channel_blocks,
        rows,
        x.stride(0),
        x.stride(2),
        x.stride(3),
        gradient.stride(0),
        gradient.stride(2),
        gradient.stride(3),
        b * c * 49,
        PX=px,
        BC=block,
        BL=columns,
        num_warps=warps,
    )
    return parts.sum(dim=0).to(x.dtype)
