"""Exponential moving average of a network, batch norm statistics included."""
from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def update_average(average: nn.Module, net: nn.Module, decay: float) -> None:
    """Moves ``average`` towards ``net``: ``average = decay * average + (1 - decay) * net``.

    Floating-point buffers are averaged like the weights: without them an averaged network would keep the batch norm
    statistics it was built with (0 and 1). Whole-number buffers (counters) are copied.

    Args:
        average: Network to change.
        net: Network of the same structure, unwrapped.
        decay: Share that is kept, 0 <= decay < 1. At 0 the average becomes an exact copy.

    Raises:
        ValueError: ``decay`` lies outside [0, 1).
    """
    if not 0 <= decay < 1:
        raise ValueError(f'ema_decay is {decay}; it must lie in [0, 1)')
    current = net.state_dict(keep_vars=True)
    kept, moving = [], []
    for name, tensor in average.state_dict(keep_vars=True).items():
        if tensor.is_floating_point():
            kept.append(tensor)
            moving.append(current[name])
        else:
            tensor.copy_(current[name])
    torch._foreach_lerp_(kept, moving, 1 - decay)
