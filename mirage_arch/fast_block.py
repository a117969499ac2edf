"""One block of MIRAGE on strips of a feature map, exactly as on the whole map.

Only three things in a block look at the whole image, and all are sums over pixels: the squared norms of queries and
keys, their product, and the mean of the convolution branch's input. So one pass over the strips adds these up, a
second one applies the mixed branches in place and a third the feed-forward. What linear maps follow one another
without an edge, a norm or an activation between them is multiplied out when the block is prepared.
"""
from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .fast_kernels import PlainKernels
from .fast_strips import Tile, sweep
from .mirage_arch import FeedForward, GatedConvolution, MixedBranches, MixedDegradationBlock

__all__ = ['FastBlock']


def _matrix(module: nn.Module) -> Tensor:
    """Weight of a 1x1 map as (o, i) in float64."""
    return module.weight.detach().double().flatten(1)


def _bias(module: nn.Module) -> Tensor:
    """Its bias (o,), zeros where it has none."""
    bias = module.bias
    return module.weight.new_zeros(module.weight.shape[0]).double() if bias is None else bias.detach().double()


def _embed(matrix: Tensor, rows: slice, height: int) -> Tensor:
    """(o, i) -> (height, i) with the matrix at ``rows`` and zeros elsewhere."""
    out = matrix.new_zeros(height, matrix.shape[1])
    out[rows] = matrix
    return out


@dataclass
class Affine:
    """``weight x + bias`` on pixels; the bias is None where it would be zero."""

    weight: Tensor
    bias: Tensor | None = None

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Affine:
        has_bias = bias is not None and bool(bias.abs().max() > 0)
        # copies: a view of the network's own weights would follow their changes
        return cls(weight.to(dtype, copy=True).contiguous(), bias.to(dtype, copy=True) if has_bias else None)

    @classmethod
    def depthwise(cls, conv: nn.Conv2d, channels: slice, dtype: torch.dtype) -> Affine:
        bias = None if conv.bias is None else conv.bias.detach()[channels]
        return cls.of(conv.weight.detach()[channels], bias, dtype)


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

    attention: Tensor | None = None  # (dim, c_att)
    kernel: Affine | None = None  # depthwise 7x7


@dataclass
class _Attention:
    """Attention branch: 1x1 and depthwise 3x3 of query and key, and of value."""

    inputs: slice
    temperature: Tensor
    qk: Affine
    qk_depthwise: Affine
    v: Affine
    v_depthwise: Affine

    @classmethod
    def fold(cls, attn: MixedBranches, inputs: slice, gamma: Tensor, beta: Tensor, dtype: torch.dtype) -> _Attention:
        c = inputs.stop - inputs.start
        weight, bias = _matrix(attn.qkv), _bias(attn.qkv)
        weight, bias = weight * gamma, bias + weight @ beta
        return cls(inputs, attn.temperature.detach().double().flatten(),
                   Affine.of(weight[:2 * c], bias[:2 * c], dtype),
                   Affine.depthwise(attn.qkv_dwconv, slice(0, 2 * c), dtype),
                   Affine.of(weight[2 * c:], bias[2 * c:], dtype),
                   Affine.depthwise(attn.qkv_dwconv, slice(2 * c, 3 * c), dtype))

    def matrix(self, products: Tensor) -> Tensor:
        """Softmax over channels for every head, as one block-diagonal (c, c)."""
        c, heads = self.inputs.stop - self.inputs.start, len(self.temperature)
        norms = products.diagonal().clamp_min(0).sqrt().clamp_min(1e-12)
        logits = products[:c, c:] / norms[:c, None] / norms[None, c:]
        size = c // heads
        blocks = [(logits[i:i + size, i:i + size] * t).softmax(dim=-1)
                  for i, t in zip(range(0, c, size), self.temperature)]
        return torch.block_diag(*blocks)


@dataclass
class _Gated:
    """Convolution branch. Batch norm, temperature and the layer norm's affine map are folded into its first 1x1."""

    inputs: slice
    gate_identity: Affine
    gate_conv: Affine
    identity: Affine
    conv: Affine
    mean_to_conv: tuple[Tensor, Tensor]  # float64: the mean of a 1x1 is the 1x1 of the mean
    static: Affine | None
    generator: tuple[Tensor, Tensor, Tensor, Tensor] | None

    @classmethod
    def fold(cls, branch: GatedConvolution, inputs: slice, gamma: Tensor, beta: Tensor, dtype: torch.dtype) -> _Gated:
        norm = branch.norm
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        shift = -norm.running_mean.double() * scale
        if norm.affine:
            scale, shift = scale * norm.weight.detach().double(), shift * norm.weight.detach().double()
            shift = shift + norm.bias.detach().double()
        weight = _matrix(branch.gic1)
        bias = _bias(branch.gic1) + weight @ (scale * beta + shift)
        weight = weight * (scale * gamma)
        hidden, identity, c = branch.widths
        t = branch.temperature.detach().double()
        parts = [(weight[:identity] / t, bias[:identity] / t), (weight[identity:hidden] / t, bias[identity:hidden] / t),
                 (weight[hidden:hidden + identity], bias[hidden:hidden + identity]),
                 (weight[hidden + identity:], bias[hidden + identity:])]
        static = generator = None
        if branch.dynamic:
            first, last = branch.kernel_generator[1], branch.kernel_generator[3]
            generator = (_matrix(first), _bias(first), _matrix(last), _bias(last))
        else:
            static = Affine.depthwise(branch.static_conv, slice(None), dtype)
        return cls(inputs, *(Affine.of(*p, dtype) for p in parts), parts[3], static, generator)

    def kernel(self, mean: Tensor) -> Affine:
        """The depthwise kernel that the mean of the normalised input generates, (c,) -> (c, 1, k, k)."""
        if self.generator is None:
            return self.static
        weight, bias = self.mean_to_conv
        pooled = weight @ mean + bias
        w1, b1, w2, b2 = self.generator
        kernel = w2 @ nn.functional.gelu(w1 @ pooled + b1) + b2
        c = pooled.shape[0]
        size = round((kernel.numel() // c) ** 0.5)
        return Affine(kernel.view(c, 1, size, size).to(self.conv.weight.dtype))


@dataclass
class _Mix:
    """From the branches' hidden features to the block's residual: last maps, fusion and ``project_out``."""

    width: int
    gated_identity: Tensor | None = None
    gated_conv: Tensor | None = None
    normalised: Tensor | None = None  # the shortcut of the convolution branch
    mlp_in: Affine | None = None
    mlp_inputs: slice | None = None
    mlp_out: Tensor | None = None
    bias: Tensor | None = None  # of all branches together
    others: Tensor | None = None  # what each branch sees of the others, (dim, dim)
    out: Affine | None = None
    out_fused: Tensor | None = None
    slices: dict = field(default_factory=dict)


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
        self._fold_branches(block.attn, *self._norm(block.norm1))
        self._fold_feed_forward(block.ffn, *self._norm(block.norm2))

    @staticmethod
    def _norm(norm: nn.Module) -> tuple[Tensor, Tensor]:
        return norm.body.weight.detach().double(), norm.body.bias.detach().double()

    def _fold_branches(self, attn: MixedBranches, gamma: Tensor, beta: Tensor) -> None:
        dim, start, slices = gamma.shape[0], 0, {}
        for name, width in attn.widths.items():
            slices[name] = slice(start, start + width)
            start += width
        self.attention = self.gated = None
        mix, bias = _Mix(dim, slices=slices), gamma.new_zeros(dim)
        if 'att' in slices:
            s = slices['att']
            self.attention = _Attention.fold(attn, s, gamma[s], beta[s], self.dtype)
        if 'gated' in slices:
            s, branch = slices['gated'], attn.gatedcnn
            self.gated = _Gated.fold(branch, s, gamma[s], beta[s], self.dtype)
            last, hidden = _matrix(branch.proj_out), _matrix(branch.gic2)
            both = last @ hidden
            identity = branch.widths[1]
            mix.gated_identity = _embed(both[:, :identity], s, dim).to(self.dtype)
            mix.gated_conv = _embed(both[:, identity:], s, dim).to(self.dtype)
            mix.normalised = _embed(last * gamma[s], s, dim).to(self.dtype)
            bias[s] = last @ (_bias(branch.gic2) + beta[s]) + _bias(branch.proj_out)
        if 'mlp' in slices:
            s, (first, _, second) = slices['mlp'], attn.mlp
            w = _matrix(first)
            mix.mlp_in, mix.mlp_inputs = Affine.of(w * gamma[s], _bias(first) + w @ beta[s], self.dtype), s
            mix.mlp_out = _embed(_matrix(second), s, dim).to(self.dtype)
            bias[s] = _bias(second)
        mix.bias = bias.to(self.dtype)
        project = _matrix(attn.project_out)
        mix.out = Affine.of(project, _bias(attn.project_out), self.dtype)
        if attn.fusion:
            others, alpha = gamma.new_zeros(dim, dim), gamma.new_ones(dim)
            for to, rows in slices.items():
                alpha[rows] = getattr(attn, f'alpha_{to}').detach().double()
                for source, columns in slices.items():
                    if source != to:
                        resize = getattr(attn.resize, f'{source}_to_{to}', None)
                        others[rows, columns] = torch.eye(attn.widths[to]).to(others) if resize is None \
                            else _matrix(resize)
            mix.others, mix.out_fused = others.to(self.dtype), (project * alpha).to(self.dtype)
        self.mix = mix

    def _fold_feed_forward(self, ffn: FeedForward, gamma: Tensor, beta: Tensor) -> None:
        weight = _matrix(ffn.project_in)
        bias = _bias(ffn.project_in) + weight @ beta
        weight, hidden = weight * gamma, weight.shape[0] // 2
        halves = (slice(0, hidden), slice(hidden, None))
        self.ffn_in = [Affine.of(weight[s], bias[s], self.dtype) for s in halves]
        self.ffn_depthwise = [Affine.depthwise(ffn.dwconv, s, self.dtype) for s in halves]
        self.ffn_out = Affine.of(_matrix(ffn.project_out), _bias(ffn.project_out), self.dtype)

    def __call__(self, x: Tensor, shape: tuple[int, int]) -> None:
        """Apply the block in place to a float32 map (h, w, dim), in tiles of ``shape``."""
        dynamic = self._dynamic(self._sums(x, shape))
        halo = 0 if self.attention is None else 1
        if self.gated is not None:
            halo = max(halo, dynamic.kernel.weight.shape[-1] // 2)
        for tile in sweep(x, halo, shape, self.k, self.dtype, self.epsilon[0]):
            tile.add(self._mixed(tile, dynamic))
        for tile in sweep(x, 1, shape, self.k, self.dtype, self.epsilon[1]):
            tile.add(self._feed_forward(tile))

    def _sums(self, x: Tensor, shape: tuple[int, int]) -> _Sums:
        sums = _Sums()
        dynamic_kernel = self.gated is not None and self.gated.generator is not None
        if self.attention is None and not dynamic_kernel:
            return sums
        halo = 0 if self.attention is None else 1
        for tile in sweep(x, halo, shape, self.k, self.dtype, self.epsilon[0]):
            products = inputs = None
            if self.attention is not None:
                a = self.attention
                qk = self._conv_pair(tile, tile.around(1, a.inputs), a.qk, a.qk_depthwise)
                qk = qk.float() if qk.dtype == torch.float16 else qk  # whose range sums over many pixels leave
                products = qk.t() @ qk
            if dynamic_kernel:
                inputs = tile.around(0, self.gated.inputs).sum(dim=(0, 1), dtype=torch.float32)
            sums.add((tile.bottom - tile.top) * (tile.right - tile.left), products, inputs)
        return sums

    def _dynamic(self, sums: _Sums) -> _Dynamic:
        dynamic = _Dynamic()
        if self.attention is not None:
            matrix = self.attention.matrix(sums.products)
            dynamic.attention = _embed(matrix, self.attention.inputs, self.mix.width).to(self.dtype)
        if self.gated is not None:
            dynamic.kernel = self.gated.kernel(sums.inputs / sums.pixels if sums.inputs is not None else None)
        return dynamic

    def _linear(self, x: Tensor, affine: Affine, act: str = 'none') -> Tensor:
        """(n, i) -> (n, o)."""
        return self.k.linear(x, affine.weight, affine.bias, act)

    def _conv_pair(self, tile: Tile, x: Tensor, inner: Affine, outer: Affine, inner_act: str = 'none',
                   **fused) -> Tensor:
        """1x1 and depthwise convolution of ``tile.around(halo)`` (h, w, i), halo of the outer one -> (n, o)."""
        hidden = self._linear(x.flatten(0, 1), inner, inner_act).view(*x.shape[:2], -1)
        halo = outer.weight.shape[-1] // 2
        return self.k.depthwise(hidden, outer.weight, outer.bias, tile.missing(halo), **fused)

    def _mixed(self, tile: Tile, dynamic: _Dynamic) -> Tensor:
        """Residual of the mixed branches on a tile, (n, dim)."""
        k, m = self.k, self.mix
        parts = []  # (hidden feature, map onto the channels of all branches)
        if self.attention is not None:
            a = self.attention
            parts.append((self._conv_pair(tile, tile.around(1, a.inputs), a.v, a.v_depthwise), dynamic.attention))
        if self.gated is not None:
            g, halo = self.gated, dynamic.kernel.weight.shape[-1] // 2
            around = tile.around(halo, g.inputs)
            x = tile.inner(around, halo)
            parts.append((x, m.normalised))
            gate = self._linear(x, g.gate_identity, 'gelu')
            parts.append((k.linear_mul(x, g.identity.weight, g.identity.bias, gate), m.gated_identity))
            gate = self._linear(x, g.gate_conv, 'gelu')
            parts.append((self._conv_pair(tile, around, g.conv, dynamic.kernel, mul=gate), m.gated_conv))
        if m.mlp_in is not None:
            x = tile.around(0, m.mlp_inputs).flatten(0, 1)
            parts.append((self._linear(x, m.mlp_in, 'gelu'), m.mlp_out))
        (hidden, weight), *rest = parts
        features = k.linear(hidden, weight, m.bias)
        for hidden, weight in rest:
            features = k.linear_add(hidden, weight, None, features)
        out = self._linear(features, m.out)
        if m.others is None:
            return out
        return k.linear_add(k.linear(features, m.others, None, 'sigmoid'), m.out_fused, None, out)

    def _feed_forward(self, tile: Tile) -> Tensor:
        """Residual of the feed-forward on a tile, (n, dim)."""
        x, (gate, value), (gate_outer, value_outer) = tile.around(1), self.ffn_in, self.ffn_depthwise
        gated = self._conv_pair(tile, x, gate, gate_outer, 'gelu', act='gelu')
        return self._linear(self._conv_pair(tile, x, value, value_outer, 'gelu', mul=gated), self.ffn_out)
