"""Reproducible numbers in the layout of the released checkpoints, and the authors' network's outputs for them."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).parents[1] / 'data'


def reference_state_dict(variant: str) -> dict[str, torch.Tensor]:
    """State dict of 'tiny' or 'small': every tensor drawn from a generator seeded with the CRC-32 of its name."""
    layout = json.loads((DATA / 'checkpoint_layout.json').read_text())[variant]
    return {name: torch.from_numpy(_fill(name, tuple(shape))) for name, shape in layout}


def golden(variant: str) -> dict[str, np.ndarray]:
    """Inputs, outputs, losses and gradient norms that the authors' network gave with these weights."""
    with np.load(DATA / f'golden_{variant}.npz') as arrays:
        return dict(arrays)


def _fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith('num_batches_tracked'):
        return np.zeros(shape, np.int64)
    if name.endswith('running_var'):
        return np.asarray(0.5 + rng.random(shape), np.float32)
    values = rng.standard_normal(shape)
    if name.endswith(('running_mean', 'bias')):
        values = 0.1 * values
    elif len(shape) <= 1 or 'temperature' in name:  # norms, gates and temperatures scatter about 1
        values = 1 + 0.1 * values
    else:
        values = values / np.sqrt(np.prod(shape[1:]))
    return np.asarray(values, np.float32)
