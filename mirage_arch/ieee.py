"""A float32 that is float32: what a GPU must be told before results are compared or promised."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ['evaluation_kernels']

_lock = threading.Lock()
_inside = 0
_before: list[tuple[Any, str, Any]] = []


@contextmanager
def evaluation_kernels() -> Iterator[None]:
    """Convolutions and products of float32 in float32, not in TF32, and no search for the fastest kernel.

    PyTorch lets Ampere and later GPUs convolve in TF32, which has ten bits of mantissa. And the search, which a
    training switches on, is made anew for every image size, with workspaces as large as memory allows. The settings are
    those of the process: the last thread that leaves sets back what the first one found.
    """
    global _inside, _before
    with _lock:
        if not _inside:
            _before = _settings()
        _inside += 1
        for owner, name, _ in _before:
            setattr(owner, name, 'ieee' if name == 'fp32_precision' else False)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                for owner, name, value in _before:
                    setattr(owner, name, value)


def _settings() -> list[tuple[Any, str, Any]]:
    """Who holds each setting, its name and its value."""
    cudnn, product = torch.backends.cudnn, torch.backends.cuda.matmul
    names = [(cudnn, 'benchmark'), (cudnn, 'allow_tf32'), (product, 'allow_tf32')]
    try:
        return [(owner, name, getattr(owner, name)) for owner, name in names]
    except RuntimeError:  # set by the names of PyTorch 2.9 and later, one for each kind of operation
        names = [(cudnn, 'benchmark'), *((owner, 'fp32_precision') for owner in (cudnn.conv, cudnn.rnn, product))]
        return [(owner, name, getattr(owner, name)) for owner, name in names]
