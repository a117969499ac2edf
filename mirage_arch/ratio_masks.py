"""Shares of channels that can be learned: from three numbers a level to masks over channels, soft or hard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ['BranchMasks', 'hard_masks', 'identity_slots', 'soft_masks', 'whole_widths']

_GATED_EXPANSION = 8 / 3  # as in the convolution branch of the network


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
