"""The numbers of a training step, on their way from the device to the log without holding the device up."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor


class StepLog:
    """Losses and gradient norm of one step: asked for at once, read when they have arrived.

    Reading a number from a GPU waits for everything that was queued before it. Therefore the copy is queued right
    behind the backward pass, and `read` waits for that copy alone, not for what was queued since.

    Args:
        names: Log names.
        values: (n,) float32, one for each name.
    """

    def __init__(self, names: list[str], values: Tensor) -> None:
        self._names = names
        self._values, self._arrived = values, None
        if values.device.type == 'cuda':
            self._values = values.to('cpu', non_blocking=True)  # into page-locked memory
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(values.device))

    def read(self) -> OrderedDict[str, float]:
        """The values by name; waits until they are there."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return OrderedDict(zip(self._names, self._values.tolist(), strict=True))


class OpenStep(NamedTuple):
    """A step that the device has been given and whose numbers nobody has looked at yet.

    Args:
        iteration: Its number.
        log: Its losses and gradient norm.
        batch: What it was fed.
        buffers: Buffers of the network after its forward pass, which the average has yet to take over; None without
            an average.
    """

    iteration: int
    log: StepLog
    batch: Mapping[str, Any]
    buffers: dict[str, Tensor] | None


def non_finite(values: Tensor) -> Tensor:
    """1.0 if any of the values is NaN or infinite, else 0.0: what a fused optimizer takes as ``found_inf``."""
    return values.isfinite().all().logical_not().to(torch.float32)


def takes_found_inf(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimizer itself leaves weights and state alone where its attribute ``found_inf`` is 1."""
    # Of each group: a loaded state brings the settings that it was saved with.
    return all(group.get('fused') for group in optimizer.param_groups)
