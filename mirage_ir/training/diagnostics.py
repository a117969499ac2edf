"""What a run shows of itself beside its losses: gradients, throughput, memory, the state of the SPD embeddings."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from basicsr.utils.logger import MessageLogger
from torch import Tensor, nn

from mirage_arch.mirage_arch import channel_covariance
from mirage_ir.measuring.cost import resident
from mirage_losses.spd_contrastive_loss import pair_similarity

from .watching import TaskTable, by_task, task_line


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """L2 norm of all gradients together, a scalar tensor on their device (no synchronisation)."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def peak_memory_gib(device: torch.device) -> float:
    """Peak memory in GiB: allocated on a GPU since the start, or resident of this process on a CPU."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resident('VmHWM') / 2**10


class Throughput:
    """Images per second since the last reading, waiting for data included."""

    def __init__(self) -> None:
        self._images = 0
        self._start: float | None = None

    def count(self, images: int) -> None:
        """Adds the images of a step; the first step only starts the clock (it includes all warming up)."""
        if self._start is None:
            self._start = time.perf_counter()
        else:
            self._images += images

    def read(self) -> float | None:
        """Images per second, or None before two steps; begins a new interval."""
        if self._start is None or not self._images:
            return None
        now = time.perf_counter()
        rate, self._images, self._start = self._images / (now - self._start), 0, now
        return rate


class CovarianceTap:
    """Keeps the reduced features whose covariance matrices the SPD heads of a network saw last.

    The matrices are computed again when they are asked for, which is seldom, and in one way for heads of any geometry.
    """

    def __init__(self, net: nn.Module) -> None:
        self.latest: dict[str, Tensor] = {}
        if getattr(net, 'contrast', None) != 'spd' or not getattr(net, 'has_spd_head', False):
            return
        heads = getattr(net, 'spd_heads', net)
        for name in ('shallow', 'latent'):
            getattr(heads, f'reduce_{name}').register_forward_hook(self._keeper(name))

    def _keeper(self, name: str):
        def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self.latest[name] = output.detach()

        return keep

    def matrices(self) -> dict[str, Tensor]:
        """The covariances by feature, each (b, c, c); empty before a forward pass with embeddings."""
        return {name: channel_covariance(features.float()) for name, features in self.latest.items()}


@torch.no_grad()
def spd_diagnostics(
    embeddings: Mapping[str, Tensor],
    covariances: Mapping[str, Tensor],
    compare: Callable[[Tensor, Tensor], Tensor] = pair_similarity,
) -> dict[str, float]:
    """State of the contrastive embeddings of one batch.

    Args:
        embeddings: 'shallow' and 'latent', (b, d); or covariances (b, n, n) that are compared by geodesic distance.
        covariances: Matrices by feature name, (b, c, c), symmetric and positive definite.
        compare: Similarity of all pairs, as the loss has it; cosines by default.

    Returns:
        ``spd/positive_cosine``: mean cosine of the pairs of one image (alignment; 1 is perfect).
        ``spd/negative_cosine`` and ``spd/negative_spread``: mean and standard deviation over pairs of different images;
        a collapsed embedding has a mean near 1 and a spread near 0. ``spd/condition_<name>``: median over the batch of
        largest over smallest eigenvalue. The similarity of covariances, at most 0 and 0 for equal ones, is logged as
        ``spd/positive_geodesic`` and ``spd/negative_geodesic``.
    """
    similarity = compare(embeddings['shallow'], embeddings['latent']).float().cpu()
    others = similarity[~torch.eye(len(similarity), dtype=torch.bool)]
    kind = 'cosine' if embeddings['shallow'].ndim == 2 else 'geodesic'
    result = {f'spd/positive_{kind}': similarity.diagonal().mean().item()}
    if len(others):
        result[f'spd/negative_{kind}'] = others.mean().item()
        result['spd/negative_spread'] = others.std(correction=0).item()
    for name, matrices in covariances.items():
        values = torch.linalg.eigvalsh(matrices.cpu().double())
        smallest = values[:, 0].clamp_min(torch.finfo(torch.float32).tiny)
        result[f'spd/condition_{name}'] = (values[:, -1] / smallest).median().item()
    return result


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


_OF_THE_LINE = ('epoch', 'iter', 'lrs', 'time', 'data_time', 'grad_norm')


class ProgressLogger(MessageLogger):
    """BasicSR's line (time left, data time, losses) at its length, and one by task where there are several.

    All else a model logs goes to TensorBoard only, which also gets the times that BasicSR only prints; figures by task
    go to ``tasks.csv`` as well.
    """

    def __init__(self, opt: dict, start_iter: int = 1, tb_logger=None) -> None:
        super().__init__(opt, start_iter, tb_logger)
        self.max_iters += 1  # BasicSR takes one off, and so tells of -1 day at the last iteration
        folder = opt.get('path', {}).get('experiments_root')
        self._table = TaskTable(folder, start_iter) if folder and opt.get('rank', 0) == 0 else None

    def __call__(self, log_vars: dict) -> None:
        """Logs one iteration; ``log_vars`` is BasicSR's, with what the model put into its log."""
        iteration = log_vars['iter']
        extra = {key: value for key, value in log_vars.items() if key not in _OF_THE_LINE and not key.startswith('l_')}
        if self.tb_logger is not None:
            times = {key: log_vars[key] for key in ('time', 'data_time') if key in log_vars}
            for key, value in {**extra, **times}.items():
                self.tb_logger.add_scalar(key if '/' in key else f'progress/{key}', value, iteration)
        super().__call__({key: value for key, value in log_vars.items() if key not in extra})
        tasks = by_task(extra)
        if tasks:
            self.logger.info(task_line(tasks))
            if self._table is not None:
                self._table.add(iteration, tasks)
