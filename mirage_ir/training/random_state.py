"""Random states of a process."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def untouched_random_state() -> Iterator[None]:
    """Puts the global random states of torch (all devices), numpy and python back at the end of the block.

    A validation inside draws what it likes; the training around it is the same with and without the validation.
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


def random_states() -> dict[str, Any]:
    """Return the states of all global random generators of this process, as plain data and tensors."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    version, internal, gauss = random.getstate()
    return {
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        'numpy': [kind, keys.tolist(), position, has_gauss, cached],
        'python': [version, list(internal), gauss],
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Put the generators into states that `random_states` returned.

    Args:
        states: Its result; CUDA states are left out where the number of devices differs.
    """
    torch.set_rng_state(states['torch'].cpu())
    if torch.cuda.is_available() and len(states['cuda']) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([state.cpu() for state in states['cuda']])
    kind, keys, position, has_gauss, cached = states['numpy']
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    version, internal, gauss = states['python']
    random.setstate((version, tuple(internal), gauss))
