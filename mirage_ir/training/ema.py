"""Exponential moving average of a network, batch norm statistics included."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


@torch.no_grad()
def update_average(
    average: nn.Module, net: nn.Module, decay: float, buffers: Mapping[str, Tensor] | None = None
) -> None:
    """Moves ``average`` towards ``net``: ``average = decay * average + (1 - decay) * net``.

    Floating-point buffers are averaged like the weights: without them an averaged network would keep the batch norm
    statistics it was built with (0 and 1). Whole-number buffers (counters) are copied.

    Args:
        average: Network to change.
        net: Network of the same structure, unwrapped.
        decay: Share that is kept, 0 <= decay < 1. At 0 the average becomes an exact copy.
        buffers: Buffers by name to take instead of those that ``net`` has now.

    Raises:
        ValueError: ``decay`` lies outside [0, 1).
    """
    if not 0 <= decay < 1:
        raise ValueError(f'ema_decay is {decay}; it must lie in [0, 1)')
    current = {**net.state_dict(keep_vars=True), **(buffers or {})}
    kept, moving, counters, counted = [], [], [], []
    for name, tensor in average.state_dict(keep_vars=True).items():
        targets, sources = (kept, moving) if tensor.is_floating_point() else (counters, counted)
        targets.append(tensor)
        sources.append(current[name])
    if counters:
        torch._foreach_copy_(counters, counted)
    torch._foreach_lerp_(kept, moving, 1 - decay)


class BufferCopy:
    """A copy of a network's buffers as they are at one moment, in memory that is used again for the next.

    Args:
        net: The network, unwrapped.
    """

    def __init__(self, net: nn.Module) -> None:
        self._net = net
        self._copies: dict[str, Tensor] = {}

    @torch.no_grad()
    def take(self) -> dict[str, Tensor]:
        """Copies the buffers as they are now, with one launch for each type; returns the copies by name."""
        buffers = dict(self._net.named_buffers())
        if not self._copies:
            self._copies = {name: torch.empty_like(buffer) for name, buffer in buffers.items()}
        if buffers:
            torch._foreach_copy_([self._copies[name] for name in buffers], list(buffers.values()))
        return self._copies
