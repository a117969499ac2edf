"""The weights of a block, multiplied out for evaluation.

What linear maps follow one another without an edge, a norm or an activation between them becomes one map: the affine
part of the layer norms, batch norm and temperature go into the 1x1 behind them, the last two 1x1s of the convolution
branch into one. All of it is computed in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .mirage_arch import ChannelNorm, FeedForward, GatedConvolution, MixedBranches

__all__ = ['Affine', 'Attention', 'Fusion', 'Gated', 'GatedFeedForward', 'Mlp']


def _matrix(module: nn.Module) -> Tensor:
    """Weight of a 1x1 map as (o, i) in float64."""
    return module.weight.detach().to(torch.float64, copy=True).flatten(1)


def _bias(module: nn.Module) -> Tensor:
    """Its bias (o,), zeros where it has none."""
    if module.bias is None:
        return module.weight.new_zeros(module.weight.shape[0], dtype=torch.float64)
    return module.bias.detach().to(torch.float64, copy=True)


@dataclass
class Affine:
    """``weight x + bias`` on pixels; the bias is None where it would be zero."""

    weight: Tensor
    bias: Tensor | None = None

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Affine:
        if bias is not None and not bias.any():
            bias = None
        # copies: a view of the network's own weights would follow their changes
        return cls(weight.to(dtype, copy=True).contiguous(), None if bias is None else bias.to(dtype, copy=True))

    @classmethod
    def depthwise(cls, conv: nn.Conv2d, channels: slice, dtype: torch.dtype) -> Affine:
        bias = None if conv.bias is None else conv.bias.detach()[channels]
        return cls.of(conv.weight.detach()[channels], bias, dtype)


def _affine_of(norm: ChannelNorm) -> tuple[Tensor, Tensor]:
    return norm.body.weight.detach().double(), norm.body.bias.detach().double()


def _branch_slices(attn: MixedBranches) -> dict[str, slice]:
    """Which channels each branch that was built works on."""
    slices, start = {}, 0
    for name, width in attn.widths.items():
        slices[name] = slice(start, start + width)
        start += width
    return slices


@dataclass
class Attention:
    """Attention branch: 1x1 and depthwise 3x3 of query and key, and of value."""

    inputs: slice
    temperature: Tensor
    qk: Affine
    qk_depthwise: Affine
    v: Affine
    v_depthwise: Affine

    @classmethod
    def fold(cls, attn: MixedBranches, norm: ChannelNorm, dtype: torch.dtype) -> Attention:
        inputs = _branch_slices(attn)['att']
        c = inputs.stop - inputs.start
        gamma, beta = (t[inputs] for t in _affine_of(norm))
        weight, bias = _matrix(attn.qkv), _bias(attn.qkv)
        weight, bias = weight * gamma, bias + weight @ beta
        return cls(
            inputs,
            attn.temperature.detach().to(torch.float64, copy=True).flatten(),
            Affine.of(weight[: 2 * c], bias[: 2 * c], dtype),
            Affine.depthwise(attn.qkv_dwconv, slice(0, 2 * c), dtype),
            Affine.of(weight[2 * c :], bias[2 * c :], dtype),
            Affine.depthwise(attn.qkv_dwconv, slice(2 * c, 3 * c), dtype),
        )

    def matrix(self, products: Tensor) -> Tensor:
        """Softmax over channels for every head, as one block-diagonal (c, c)."""
        c, heads = self.inputs.stop - self.inputs.start, len(self.temperature)
        norms = products.diagonal().clamp_min(0).sqrt().clamp_min(1e-12)
        logits = products[:c, c:] / norms[:c, None] / norms[None, c:]
        size = c // heads
        blocks = [
            (logits[i : i + size, i : i + size] * t).softmax(dim=-1)
            for i, t in zip(range(0, c, size), self.temperature)
        ]
        return torch.block_diag(*blocks)


@dataclass
class Gated:
    """Convolution branch. Batch norm, temperature and the layer norm's affine map are folded into its first 1x1."""

    inputs: slice
    gate_identity: Affine
    gate_conv: Affine
    identity: Affine
    conv: Affine
    mean_to_conv: tuple[Tensor, Tensor]  # float64: the mean of a 1x1 is the 1x1 of the mean
    static: Affine | None
    generator: tuple[Tensor, Tensor, Tensor, Tensor] | None
    out_identity: Affine  # gic2 and proj_out in one, in the two parts of its input, and the shortcut
    out_conv: Tensor
    out_shortcut: Tensor

    @classmethod
    def fold(cls, attn: MixedBranches, norm: ChannelNorm, dtype: torch.dtype) -> Gated:
        inputs, branch = _branch_slices(attn)['gated'], attn.gatedcnn
        gamma, beta = (t[inputs] for t in _affine_of(norm))
        scale, shift = cls._batch_norm(branch)
        weight = _matrix(branch.gic1)
        bias = _bias(branch.gic1) + weight @ (scale * beta + shift)
        weight = weight * (scale * gamma)
        hidden, identity, c = branch.widths
        t = branch.temperature.detach().double()
        to_conv = slice(hidden + identity, None)
        static = generator = None
        if branch.dynamic:
            first, last = branch.kernel_generator[1], branch.kernel_generator[3]
            generator = (_matrix(first), _bias(first), _matrix(last), _bias(last))
        else:
            static = Affine.depthwise(branch.static_conv, slice(None), dtype)
        last, middle = _matrix(branch.proj_out), _matrix(branch.gic2)
        both, out_bias = last @ middle, last @ (_bias(branch.gic2) + beta) + _bias(branch.proj_out)
        return cls(
            inputs,
            Affine.of(weight[:identity] / t, bias[:identity] / t, dtype),
            Affine.of(weight[identity:hidden] / t, bias[identity:hidden] / t, dtype),
            Affine.of(weight[hidden : hidden + identity], bias[hidden : hidden + identity], dtype),
            Affine.of(weight[to_conv], bias[to_conv], dtype),
            (weight[to_conv], bias[to_conv]),
            static,
            generator,
            Affine.of(both[:, :identity], out_bias, dtype),
            both[:, identity:].to(dtype).contiguous(),
            (last * gamma).to(dtype),
        )

    def kernel(self, mean: Tensor) -> Affine:
        """The depthwise kernel that the mean of the normalised input generates, (c,) -> (c, 1, k, k)."""
        if self.static is not None:
            return self.static
        assert self.generator is not None
        weight, bias = self.mean_to_conv
        pooled = weight @ mean + bias
        w1, b1, w2, b2 = self.generator
        kernel = w2 @ nn.functional.gelu(w1 @ pooled + b1) + b2
        c = pooled.shape[0]
        size = round((kernel.numel() // c) ** 0.5)
        return Affine(kernel.view(c, 1, size, size).to(self.conv.weight.dtype))

    @staticmethod
    def _batch_norm(branch: GatedConvolution) -> tuple[Tensor, Tensor]:
        norm = branch.norm
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        shift = -norm.running_mean.double() * scale
        if not norm.affine:
            return scale, shift
        weight, bias = norm.weight.detach().double(), norm.bias.detach().double()
        return scale * weight, shift * weight + bias


@dataclass
class Mlp:
    """MLP branch: two maps of every pixel."""

    inputs: slice
    inner: Affine
    out: Affine

    @classmethod
    def fold(cls, attn: MixedBranches, norm: ChannelNorm, dtype: torch.dtype) -> Mlp:
        inputs, (first, _, second) = _branch_slices(attn)['mlp'], attn.mlp
        gamma, beta = (t[inputs] for t in _affine_of(norm))
        weight = _matrix(first)
        return cls(
            inputs,
            Affine.of(weight * gamma, _bias(first) + weight @ beta, dtype),
            Affine.of(_matrix(second), _bias(second), dtype),
        )


@dataclass
class Fusion:
    """Inter-branch fusion and ``project_out``."""

    out: Affine
    others: Tensor | None = None  # what every branch sees of the others, (dim, dim); None without fusion
    alpha: Tensor | None = None  # (dim,)

    @classmethod
    def fold(cls, attn: MixedBranches, dtype: torch.dtype) -> Fusion:
        project, slices = _matrix(attn.project_out), _branch_slices(attn)
        out = Affine.of(project, _bias(attn.project_out), dtype)
        if not attn.fusion:
            return cls(out)
        others, alpha = torch.zeros_like(project), torch.ones_like(project[0])
        for to, rows in slices.items():
            alpha[rows] = getattr(attn, f'alpha_{to}').detach().double()
            for source, columns in slices.items():
                if source != to:
                    resize = getattr(attn.resize, f'{source}_to_{to}', None)
                    others[rows, columns] = torch.eye(attn.widths[to]).to(others) if resize is None else _matrix(resize)
        return cls(out, others.to(dtype), alpha.to(dtype))


@dataclass
class GatedFeedForward:
    """Feed-forward: its hidden maps in two halves, gate and value, so that neither is ever split."""

    inner: tuple[Affine, Affine]
    depthwise: tuple[Affine, Affine]
    out: Affine

    @classmethod
    def fold(cls, ffn: FeedForward, norm: ChannelNorm, dtype: torch.dtype) -> GatedFeedForward:
        gamma, beta = _affine_of(norm)
        weight = _matrix(ffn.project_in)
        bias = _bias(ffn.project_in) + weight @ beta
        weight, hidden = weight * gamma, weight.shape[0] // 2
        gate, value = slice(0, hidden), slice(hidden, None)
        return cls(
            (Affine.of(weight[gate], bias[gate], dtype), Affine.of(weight[value], bias[value], dtype)),
            (Affine.depthwise(ffn.dwconv, gate, dtype), Affine.depthwise(ffn.dwconv, value, dtype)),
            Affine.of(_matrix(ffn.project_out), _bias(ffn.project_out), dtype),
        )
