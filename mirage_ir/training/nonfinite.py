"""What happens when a loss explodes: the run stops before the step, with the batch saved for inspection."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor

from .atomic_save import atomic_torch_save
from .ranks import RunError


class NonFiniteError(RunError):
    """A loss or a gradient became NaN or infinite."""


def stop_run(
    batch: Mapping, losses: Mapping[str, float], iteration: int, folder: str, *, rank: int = 0, world_size: int = 1
) -> None:
    """Saves the batch that made a loss explode and raises; every rank must call it.

    Args:
        batch: What the model was fed: 'lq' and 'gt' tensors (b, c, h, w), 'lq_path' and other lists of b entries.
        losses: Values by log name, the gradient's norm included.
        iteration: Number of the step that is not taken.
        folder: Experiment folder; receives ``nonfinite_<iteration>_rank<rank>.pt``.
        rank: Rank of this process.
        world_size: Number of processes.

    Raises:
        NonFiniteError: Always; the same message on all ranks.
    """
    path = os.path.join(folder, f'nonfinite_{iteration}_rank{rank}.pt')
    content = {key: value.cpu() if torch.is_tensor(value) else value for key, value in batch.items()}
    report = _describe_batch(batch)
    try:
        atomic_torch_save({'iteration': iteration, 'losses': dict(losses), 'batch': content}, path)
    except RunError as error:  # the other ranks are waiting for this one's report
        report += f'\n  This batch could not be saved: {error}'
    if world_size > 1:
        reports: list = [None] * world_size
        dist.all_gather_object(reports, report)
        report = '\n'.join(f'rank {number}:\n{text}' for number, text in enumerate(reports))
    values = ', '.join(f'{name} = {value:g}' for name, value in losses.items())
    raise NonFiniteError(
        f'iteration {iteration}: a loss or its gradient is not finite ({values}). The run stops before the step: '
        f'the weights and the last checkpoint are as good as they were.\n{report}\n'
        f'The batch is saved in {os.path.join(folder, f"nonfinite_{iteration}_rank*.pt")} (torch.load it and look at '
        'batch["lq"], batch["gt"]). Then leave the image out or repair it, lower optim_g: lr, set grad_clip, or with '
        'amp: fp16 try bf16; and go on with --auto_resume.'
    )


def _describe_batch(batch: Mapping) -> str:
    """One line for each sample: its path, and which of its images hold a non-finite value."""
    lines = []
    for index in range(len(batch['lq'])):
        bad = [key for key in ('lq', 'gt') if key in batch and not _finite(batch[key][index])]
        note = f'  <- non-finite values in {" and ".join(bad)}' if bad else ''
        lines.append(f'  {_entry(batch, "lq_path", index)}{note}')
    return '\n'.join(lines)


def _entry(batch: Mapping, key: str, index: int) -> str:
    values = batch.get(key)
    return str(values[index]) if values is not None else f'sample {index} of the batch (its data set gives no {key})'


def _finite(image: Tensor) -> bool:
    return bool(torch.isfinite(image).all())
