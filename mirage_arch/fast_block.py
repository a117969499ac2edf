"""One block of MIRAGE on tiles of a feature map, exactly as on the whole map.

Only three things in a block look at the whole image, and all are sums over pixels: the squared norms of queries and
keys, their product, and the mean of the convolution branch's input. So one pass over the tiles adds these up, a
second one applies the mixed branches in place and a third the feed-forward.

A map is changed in place while it is read. A convolution needs rows above its strip, and those have been overwritten
by then. They are not needed themselves, though, only their normalised copy, so the normalised rows that the next strip
shares with this one are kept. Strips of a wide map are handed out in tiles, so that the time for a pixel depends
neither on the width nor on the height.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .fast_fold import Affine, Attention, Fusion, Gated, GatedFeedForward, Mlp
from .fast_kernels import PlainKernels
from .mirage_arch import MixedDegradationBlock

__all__ = ['FastBlock', 'Tile', 'sweep', 'tile_shape']


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


@dataclass
class _Sums:
    """What a block must know of its whole input; float64, so that the number of strips does not show."""

    pixels: int = 0
    products: Tensor | None = None  # (2c, 2c): of queries and keys with each other
    inputs: Tensor | None = None  # (c,): of the convolution branch's normalised input

    def add(self, pixels: int, products: Tensor | None, inputs: Tensor | None) -> None:
        self.pixels += pixels
        if products is not None:
            products = products.double()
            self.products = products if self.products is None else self.products + products
        if inputs is not None:
            inputs = inputs.double()
            self.inputs = inputs if self.inputs is None else self.inputs + inputs


@dataclass
class _Dynamic:
    """What the sums of one image make of a block: maps for its second pass."""

    attention: Tensor | None = None  # (c, c)
    kernel: Affine | None = None  # depthwise 7x7


class FastBlock:
    """A ``MixedDegradationBlock`` in evaluation, prepared for strips.

    Args:
        block: The block; its weights are read once, later changes are not seen.
        kernels: Operations to use.
        dtype: Type of the products and convolutions. Norms, sums and the residual stream stay float32.
    """

    def __init__(self, block: MixedDegradationBlock, kernels: type[PlainKernels], dtype: torch.dtype) -> None:
        self.k, self.dtype = kernels, dtype
        self.epsilon = (block.norm1.body.eps, block.norm2.body.eps)
        attn, norm = block.attn, block.norm1
        self.attention = Attention.fold(attn, norm, dtype) if 'att' in attn.widths else None
        self.gated = Gated.fold(attn, norm, dtype) if 'gated' in attn.widths else None
        self.mlp = Mlp.fold(attn, norm, dtype) if 'mlp' in attn.widths else None
        self.fusion = Fusion.fold(attn, dtype)
        self.ffn = GatedFeedForward.fold(block.ffn, block.norm2, dtype)

    def __call__(self, x: Tensor, shape: tuple[int, int]) -> None:
        """Apply the block in place to a float32 map (h, w, dim), in tiles of ``shape``."""
        dynamic = self._dynamic(self._sums(x, shape))
        halo = 0 if self.attention is None else 1
        if dynamic.kernel is not None:
            halo = max(halo, dynamic.kernel.weight.shape[-1] // 2)
        for tile in sweep(x, halo, shape, self.k, self.dtype, self.epsilon[0]):
            tile.add(self._mixed(tile, dynamic))
        for tile in sweep(x, 1, shape, self.k, self.dtype, self.epsilon[1]):
            tile.add(self._feed_forward(tile))

    def _sums(self, x: Tensor, shape: tuple[int, int]) -> _Sums:
        sums = _Sums()
        made = self.gated if self.gated is not None and self.gated.generator is not None else None
        if self.attention is None and made is None:
            return sums
        halo = 0 if self.attention is None else 1
        for tile in sweep(x, halo, shape, self.k, self.dtype, self.epsilon[0]):
            products = inputs = None
            if self.attention is not None:
                a = self.attention
                qk = self._conv_pair(tile, tile.around(1, a.inputs), a.qk, a.qk_depthwise)
                qk = qk.float() if qk.dtype == torch.float16 else qk  # whose range sums over many pixels leave
                products = qk.t() @ qk
            if made is not None:
                inputs = tile.around(0, made.inputs).sum(dim=(0, 1), dtype=torch.float32)
            sums.add((tile.bottom - tile.top) * (tile.right - tile.left), products, inputs)
        return sums

    def _dynamic(self, sums: _Sums) -> _Dynamic:
        dynamic = _Dynamic()
        if self.attention is not None:
            dynamic.attention = self.attention.matrix(sums.products).to(self.dtype)
        if self.gated is not None:
            dynamic.kernel = self.gated.kernel(sums.inputs / sums.pixels if sums.inputs is not None else None)
        return dynamic

    def _linear(self, x: Tensor, affine: Affine, act: str = 'none') -> Tensor:
        """(n, i) -> (n, o)."""
        return self.k.linear(x, affine.weight, affine.bias, act)

    def _conv_pair(
        self, tile: Tile, x: Tensor, inner: Affine, outer: Affine, inner_act: str = 'none', **fused
    ) -> Tensor:
        """1x1 and depthwise convolution of ``tile.around(halo)`` (h, w, i), halo of the outer one -> (n, o)."""
        hidden = self._linear(x.flatten(0, 1), inner, inner_act).view(*x.shape[:2], -1)
        halo = outer.weight.shape[-1] // 2
        return self.k.depthwise(hidden, outer.weight, outer.bias, tile.missing(halo), **fused)

    def _mixed(self, tile: Tile, dynamic: _Dynamic) -> Tensor:
        """Residual of the mixed branches on a tile, (n, dim)."""
        branches = []
        if self.attention is not None:
            a = self.attention
            value = self._conv_pair(tile, tile.around(1, a.inputs), a.v, a.v_depthwise)
            branches.append(self.k.linear(value, dynamic.attention))
        if self.gated is not None and dynamic.kernel is not None:
            branches.append(self._gated_convolution(tile, self.gated, dynamic.kernel))
        if self.mlp is not None:
            x = tile.around(0, self.mlp.inputs).flatten(0, 1)
            branches.append(self._linear(self._linear(x, self.mlp.inner, 'gelu'), self.mlp.out))
        features = torch.cat(branches, dim=1) if len(branches) > 1 else branches[0]
        if self.fusion.others is not None:
            others = self.k.linear(features, self.fusion.others, None, 'sigmoid')
            features.addcmul_(others, self.fusion.alpha)
        return self._linear(features, self.fusion.out)

    def _gated_convolution(self, tile: Tile, g: Gated, kernel: Affine) -> Tensor:
        k, halo = self.k, kernel.weight.shape[-1] // 2
        around = tile.around(halo, g.inputs)
        x = tile.inner(around, halo)
        gate = self._linear(x, g.gate_identity, 'gelu')
        out = self._linear(k.linear_mul(x, g.identity.weight, g.identity.bias, gate), g.out_identity)
        gate = self._linear(x, g.gate_conv, 'gelu')
        out = k.linear_add(self._conv_pair(tile, around, g.conv, kernel, mul=gate), g.out_conv, None, out)
        return k.linear_add(x, g.out_shortcut, None, out)

    def _feed_forward(self, tile: Tile) -> Tensor:
        """Residual of the feed-forward on a tile, (n, dim)."""
        x, (gate, value), (gate_outer, value_outer) = tile.around(1), self.ffn.inner, self.ffn.depthwise
        gated = self._conv_pair(tile, x, gate, gate_outer, 'gelu', act='gelu')
        return self._linear(self._conv_pair(tile, x, value, value_outer, 'gelu', mul=gated), self.ffn.out)
