"""Learning rate over a run: a linear rise, then half a cosine down to the end of the run."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

#: What a resumed run takes from the saved state. The shape of the curve stays out: it follows the option file, so a
#: run that is resumed with another ``total_iter`` anneals to its new end.
_SAVED = ('base_lrs', 'last_epoch', '_step_count', '_last_lr')


class CosineWithWarmup(LRScheduler):
    """Linear warm-up followed by one cosine, as a closed formula of the iteration number.

    BasicSR's own ``warmup_iter`` scales the first rates but lets the cosine run from iteration 1, so the curve jumps
    where the two meet. Here the cosine begins where the warm-up ends. Iteration ``i`` counts from 1:
    ``base * i / warmup_iter`` up to ``warmup_iter`` (so no step is taken at rate 0), then
    ``eta_min + (base - eta_min) * (1 + cos(pi * (i - warmup_iter) / (total_iter - warmup_iter))) / 2``, and
    ``eta_min`` from ``total_iter`` on.

    Args:
        optimizer: The optimizer to drive; its rate is the peak.
        total_iter: Iterations of the whole run.
        warmup_iter: Iterations of the rise; 0 or less means none.
        eta_min: Rate at the end of the run.
        last_epoch: Iterations already done minus one; -1 for a new run.

    Raises:
        ValueError: ``total_iter`` is not positive, or the warm-up does not end before the run does.
    """

    def __init__(
        self, optimizer: Optimizer, total_iter: int, warmup_iter: int = 0, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        if total_iter < 1:
            raise ValueError(f'CosineWithWarmup: total_iter is {total_iter}; it must be at least 1')
        if warmup_iter >= total_iter:
            raise ValueError(
                f'CosineWithWarmup: warmup_iter is {warmup_iter}; it must be smaller than total_iter ({total_iter})'
            )
        self.total_iter = int(total_iter)
        self.warmup_iter = max(int(warmup_iter), 0)
        self.eta_min = float(eta_min)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        iteration = self.last_epoch + 1
        return [self._rate(iteration, base) for base in self.base_lrs]

    def _rate(self, iteration: int, base: float) -> float:
        if iteration <= self.warmup_iter:
            return base * iteration / self.warmup_iter
        if iteration >= self.total_iter:
            return self.eta_min
        done = (iteration - self.warmup_iter) / (self.total_iter - self.warmup_iter)
        return self.eta_min + (base - self.eta_min) * 0.5 * (1 + math.cos(math.pi * done))

    def state_dict(self) -> dict:
        return {name: getattr(self, name) for name in _SAVED if hasattr(self, name)}

    def load_state_dict(self, state_dict: dict) -> None:
        self.__dict__.update({name: state_dict[name] for name in _SAVED if name in state_dict})
