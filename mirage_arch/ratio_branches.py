"""The blocks of `RatioSearchArch`: three branches at full width behind masks, and their cut to an ordinary block.

The masks come last: from three numbers a level to shares of the channels, soft or hard.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .mirage_arch import (
    _DYNAMIC_KERNEL,
    _GATED_EXPANSION,
    GatedConvolution,
    MixedBranches,
    MixedDegradationBlock,
    _pixel_norm,
    _without_statistics,
    drop_path,
)

__all__ = [
    'BranchMasks',
    'SearchedBlocks',
    'cut_branches',
    'hard_masks',
    'identity_slots',
    'soft_masks',
    'whole_widths',
]


class MaskedConvolution(GatedConvolution):
    """The convolution branch on the channels that a mask leaves, (b, c, h, w) -> (b, c, h, w)."""

    def forward(self, x: Tensor, masks: BranchMasks) -> Tensor:  # type: ignore[override]  # called by its block alone
        mask, identity_mask = _spread(masks.gated, x), _spread(masks.identity, x)
        # Behind the norm, which would scale a faded channel up again.
        gate, identity, conv = self.gic1(self.norm(x) * mask).split(self.widths, dim=1)
        y = torch.cat([identity * identity_mask, self._masked_depthwise(conv * mask, mask) * mask], dim=1)
        y = self.gic2(F.gelu(gate / self.temperature) * y)
        return self.proj_out((drop_path(y, self.drop_path_rate, self.training) + x) * mask)

    def _masked_depthwise(self, x: Tensor, mask: Tensor) -> Tensor:
        if not self.dynamic:
            return self.static_conv(x)
        b, c, h, w = x.shape
        pool, hidden, activation, kernels = self.kernel_generator
        kernel = kernels(activation(hidden(pool(x))) * mask).reshape(b * c, 1, _DYNAMIC_KERNEL, _DYNAMIC_KERNEL)
        x = x.reshape(1, b * c, h, w)
        return F.conv2d(x, kernel.to(x.dtype), padding=_DYNAMIC_KERNEL // 2, groups=b * c).reshape(b, c, h, w)


class MaskedBranches(MixedBranches):
    """`MixedBranches` in which every branch is as wide as the block and masks decide what of it is there.

    What a branch gives stays at full width, times its mask; side by side and through one 1x1 map, the three are what
    the concatenation of narrow branches is. The fusion's maps exist for every pair, since widths are equal by chance
    only; where whole widths are equal, the identity takes their place, as in the ordinary block.
    """

    def __init__(
        self, dim: int, heads: int, bias: bool, drop_path_rate: float, fusion: bool, dynamic_conv: bool
    ) -> None:
        super().__init__(dim, heads, bias, (dim, dim, dim), drop_path_rate, fusion, dynamic_conv)
        self.gatedcnn = MaskedConvolution(dim, bias, drop_path_rate, dynamic_conv)
        self.project_out = nn.Conv2d(3 * dim, dim, 1, bias=bias)
        for source, to in _pairs(self.widths) if fusion else ():
            self.resize.add_module(f'{source}_to_{to}', nn.Conv2d(dim, dim, 1, bias=False))

    def forward(self, x: Tensor, masks: BranchMasks) -> Tensor:  # type: ignore[override]  # called by its block alone
        features = {
            'att': self._masked_attention(x * _spread(masks.att, x), masks.slots),
            'gated': self.gatedcnn(x, masks),
            'mlp': self._masked_mlp(x * _spread(masks.mlp, x), masks.mlp),
        }
        own = masks.outputs()
        features = {name: y * _spread(own[name], y) for name, y in features.items()}
        if self.fusion:
            features = self._masked_fusion(features, masks)
        return self.project_out(torch.cat(list(features.values()), dim=1))

    def _masked_attention(self, x: Tensor, slots: Tensor) -> Tensor:
        """`_attention` whose softmax leaves absent channels out."""
        b, c, h, w = x.shape
        q, k, v = (
            t.permute(0, 2, 3, 1).reshape(b, h * w, self.heads, c // self.heads).permute(0, 2, 3, 1)
            for t in self.qkv_dwconv(self.qkv(x)).chunk(3, dim=1)
        )
        q = q * (1 / _pixel_norm(q)).to(q.dtype)
        scores = (q @ k.transpose(-2, -1)) / _pixel_norm(k).transpose(-2, -1) * self.temperature
        present = slots.to(scores.dtype).reshape(self.heads, 1, c // self.heads)
        weights = (scores - scores.amax(dim=-1, keepdim=True)).exp() * present
        # An attention branch without any channel divides 0 by it.
        weights = weights / weights.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
        out = weights.to(v.dtype) @ v
        return out.permute(0, 3, 1, 2).reshape(b, h, w, c).permute(0, 3, 1, 2)

    def _masked_mlp(self, x: Tensor, mask: Tensor) -> Tensor:
        first, activation, second = self.mlp
        return second(activation(first(x)) * _spread(mask.repeat_interleave(2), x))

    def _masked_fusion(self, features: dict[str, Tensor], masks: BranchMasks) -> dict[str, Tensor]:
        own = masks.outputs()
        # A branch that is alone is not fused.
        several = torch.stack([mask.amax() > 0 for mask in own.values()]).sum() > 1
        fused = {}
        for to, x in features.items():
            others = sum(
                F.conv2d(y, self._resize_weight(source, to, masks)[..., None, None].to(y.dtype))
                for source, y in features.items()
                if source != to
            )
            gate = getattr(self, f'alpha_{to}') * torch.sigmoid(others) * several
            fused[to] = x + gate * _spread(own[to], x)
        return fused

    def _resize_weight(self, source: str, to: str, masks: BranchMasks) -> Tensor:
        learned = getattr(self.resize, f'{source}_to_{to}').weight[..., 0, 0]
        rows, columns = masks.outputs()[to], masks.outputs()[source]
        # The i-th present channel of one branch stands opposite the i-th of the other.
        opposite = rows.cumsum(0)[:, None] == columns.cumsum(0)[None]
        identity = opposite * rows[:, None] * columns[None]
        equal = (rows.sum() == columns.sum()) & (masks.hard > 0)
        return torch.where(equal, identity.to(learned.dtype), learned)


class SearchedBlock(MixedDegradationBlock):
    """An ordinary block with its branches behind masks."""

    def __init__(self, block: MixedDegradationBlock, attn: MaskedBranches) -> None:
        nn.Module.__init__(self)  # its parts exist already
        self.norm1, self.attn, self.norm2, self.ffn = block.norm1, attn, block.norm2, block.ffn

    def forward(self, x: Tensor, masks: BranchMasks) -> Tensor:  # type: ignore[override]  # called by its block alone
        x = x + self.attn(self.norm1(x), masks)
        return x + self.ffn(self.norm2(x))


class SearchedBlocks(nn.Sequential):
    """The blocks of a stage, which share the masks of their level ``level``."""

    def __init__(self, level: int, *blocks: SearchedBlock) -> None:
        super().__init__(*blocks)
        self.level = level

    def forward(self, x: Tensor, masks: BranchMasks, recompute: bool = False) -> Tensor:
        for block in self:
            if recompute:
                x = checkpoint(
                    block,
                    x,
                    masks,
                    use_reentrant=False,
                    context_fn=lambda b=block: (contextlib.nullcontext(), _without_statistics(b)),
                )
            else:
                x = block(x, masks)
        return x


def cut_branches(attn: MaskedBranches, masks: BranchMasks) -> dict[str, Tensor]:
    """State dict of the ordinary `MixedBranches` that is left where hard masks are 1.

    Args:
        attn: Branches at full width.
        masks: Masks of 0 and 1.
    """
    state = {name: tensor.detach() for name, tensor in attn.state_dict().items()}
    att, gated, mlp, slots, identity = (mask.nonzero().flatten() for mask in masks[:5])
    own = {'att': slots, 'gated': gated, 'mlp': mlp}
    c, spare = len(masks.att), len(masks.identity)
    three = torch.cat([slots, slots + c, slots + 2 * c])  # q, k, v
    inner = torch.cat([identity, gated + spare])  # identity part, convolution part
    hidden = torch.stack([2 * mlp, 2 * mlp + 1], dim=1).flatten()
    kept: dict[str, tuple] = {}  # name: rows, columns
    if len(att):
        kept |= {'qkv': (three, att), 'qkv_dwconv': (three, None)}
    if len(gated):
        taps = (gated[:, None] * _DYNAMIC_KERNEL**2 + torch.arange(_DYNAMIC_KERNEL**2, device=gated.device)).flatten()
        kept |= {
            'gatedcnn.norm': (gated, None),
            'gatedcnn.static_conv': (gated, None),
            'gatedcnn.gic1': (torch.cat([inner, inner + spare + c]), gated),
            'gatedcnn.kernel_generator.1': (gated, gated),
            'gatedcnn.kernel_generator.3': (taps, gated),
            'gatedcnn.gic2': (gated, inner),
            'gatedcnn.proj_out': (gated, gated),
        }
    if len(mlp):
        kept |= {'mlp.0': (hidden, mlp), 'mlp.2': (mlp, hidden)}
    present = [name for name, channels in own.items() if len(channels)]
    for source, to in _pairs(present):
        if len(own[source]) != len(own[to]):
            kept[f'resize.{source}_to_{to}'] = (own[to], own[source])
    kept['project_out'] = (None, torch.cat([own[name] + i * c for i, name in enumerate(own)]))

    scalars = {
        'temperature': len(att),
        'gatedcnn.temperature': len(gated),
        **{f'alpha_{name}': name in present and len(present) > 1 for name in own},
    }
    cut = {name: state[name] for name, wanted in scalars.items() if wanted and name in state}
    for name, tensor in state.items():
        module, _, kind = name.rpartition('.')
        if module in kept:
            rows, columns = kept[module]
            tensor = tensor if rows is None or not tensor.ndim else tensor[rows]
            cut[name] = tensor if columns is None or tensor.ndim < 2 else tensor[:, columns]
    return {name: tensor.clone() for name, tensor in cut.items()}


def _pairs(names) -> list[tuple[str, str]]:
    return [(source, to) for to in names for source in names if source != to]


def _spread(mask: Tensor, x: Tensor) -> Tensor:
    """A mask of channels, ready to be multiplied with (b, c, h, w)."""
    return mask.to(x.dtype)[:, None, None]


class BranchMasks(NamedTuple):
    """How far each channel belongs to each branch, at a width of c channels; 0 to 1 in float32.

    Attributes:
        att: Of the input's channels (c,), the first ones.
        gated: Of the input's channels (c,), those in the middle.
        mlp: Of the input's channels (c,), the last ones. The three add up to 1.
        slots: Of the attention's own channels (c,): the first ones of each head, so that heads stay equal.
        identity: Of the convolution branch's identity part, (int(8/3 c) - c,), the first ones.
        hard: Whether shares are whole channels by now: 1 or 0.
    """

    att: Tensor
    gated: Tensor
    mlp: Tensor
    slots: Tensor
    identity: Tensor
    hard: Tensor

    def outputs(self) -> dict[str, Tensor]:
        """Masks of the branches' own output channels."""
        return {'att': self.slots, 'gated': self.gated, 'mlp': self.mlp}


def identity_slots(width: int | Tensor) -> int | Tensor:
    """Identity channels of a convolution branch of ``width`` channels: int(8/3 width) - width."""
    hidden = _GATED_EXPANSION * width
    return (hidden.floor() if isinstance(hidden, Tensor) else int(hidden)) - width


def soft_masks(widths: Tensor, channels: int, heads: int, temperature: Tensor) -> BranchMasks:
    """Masks whose edges are sigmoids, differentiable in the widths.

    Args:
        widths: Widths of attention, convolution and MLP, (3,), fractions allowed; they add up to ``channels``.
        channels: Width of the level.
        heads: Attention heads.
        temperature: Width of an edge in channels, a scalar above 0; an edge falls from 0.95 to 0.05 over 6 of them.
    """

    def below(edge: Tensor, count: int) -> Tensor:
        centres = torch.arange(count, device=widths.device, dtype=widths.dtype) + 0.5
        return torch.sigmoid((edge - centres) / temperature)

    attention, up_to_conv = below(widths[0], channels), below(widths[0] + widths[1], channels)
    identity = below(widths[1] * (_GATED_EXPANSION - 1), identity_slots(channels))
    slots = below(widths[0] / heads, channels // heads).repeat(heads)
    return BranchMasks(attention, up_to_conv - attention, 1 - up_to_conv, slots, identity, widths.new_zeros(()))


def hard_masks(widths: Tensor, channels: int, heads: int) -> BranchMasks:
    """Masks of 0 and 1 for whole widths (3,), of which attention's is a multiple of ``heads``."""

    def below(edge: Tensor, count: int) -> Tensor:
        return (torch.arange(count, device=widths.device) < edge).float()

    attention, up_to_conv = below(widths[0], channels), below(widths[0] + widths[1], channels)
    slots = below(widths[0] // heads, channels // heads).repeat(heads)
    identity = below(identity_slots(widths[1].double()), identity_slots(channels))
    return BranchMasks(attention, up_to_conv - attention, 1 - up_to_conv, slots, identity, attention.new_ones(()))


def whole_widths(shares: Sequence[float], channels: int, heads: int) -> tuple[int, int, int]:
    """Shares of attention, convolution and MLP as whole channels, attention's a multiple of the heads.

    The edges between the branches are rounded, not the widths, so nothing is left over. A width may become 0.
    """
    attention = min(round(shares[0] * channels / heads), channels // heads) * heads
    edge = min(max(round((shares[0] + shares[1]) * channels), attention), channels)
    return attention, edge - attention, channels - edge
