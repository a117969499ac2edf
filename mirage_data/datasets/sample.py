"""What one training sample is made of: its random numbers, its place in the stream, and its final form.

A training sample is a pure function of (manual_seed, epoch, position): which crop, flip, noise and synthesis it gets
is drawn from one generator seeded with those three. So the number of workers, the start method of the processes and a
resume change nothing. A foreign sampler that hands out plain integers gets random crops that follow
`torch.initial_seed()` instead, without that guarantee.
"""

from __future__ import annotations

import os

import numpy as np
import torch
from torch.utils.data import default_collate

from mirage_data.files.image import to_float

Index = int | tuple[int, int]

_stream: tuple[tuple[int, int], np.random.Generator] | None = None  # of this process, for plain integers


def sample_rng(manual_seed: int, epoch: int, position: int) -> np.random.Generator:
    """The generator from which everything random about one sample is drawn.

    Args:
        manual_seed: seed of the run, >= 0.
        epoch: how often the stream of samples has passed through the data set before, >= 0.
        position: number of the sample within the data set, >= 0.

    Returns:
        A generator that depends on nothing but the three numbers.
    """
    return np.random.default_rng([manual_seed, epoch, position])


def process_rng() -> np.random.Generator:
    """The generator of this process for samples that come without an epoch, started from `torch.initial_seed()`."""
    global _stream
    key = (os.getpid(), torch.initial_seed() % 2**63)  # a forked worker must not continue its parent's stream
    if _stream is None or _stream[0] != key:
        _stream = (key, np.random.default_rng(key[1]))
    return _stream[1]


def split_index(index: Index, length: int) -> tuple[int | None, int]:
    """Decodes what a sampler hands to `dataset[index]`.

    Args:
        index: `(epoch, position)` from our sampler, or a plain integer from another one.
        length: number of samples of the data set.

    Returns:
        `(epoch, position)`; the epoch is None for a plain integer.

    Raises:
        IndexError: if the position lies outside the data set (this also ends a `for sample in dataset` loop).
    """
    epoch, position = index if isinstance(index, tuple) else (None, index)
    position = int(position)
    if not -length <= position < length:
        raise IndexError(f'sample {position} of a data set of {length}')
    return epoch, position % length


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """(h, w, 3) uint8, uint16 or float32 RGB, any strides -> contiguous float32 (3, h, w) in [0, 1]."""
    return torch.from_numpy(to_float(np.ascontiguousarray(image.transpose(2, 0, 1))))


def bytes_to_float(images: torch.Tensor) -> torch.Tensor:
    """8-bit pixels -> float32 in [0, 1], bit for bit what `to_tensor` makes of them; others are left as they are."""
    if images.dtype != torch.uint8:
        return images
    # Divided by a tensor: by a number, a GPU would multiply by 1/255, which rounds otherwise.
    return images / torch.full((), 255.0, device=images.device)


def collate_samples(samples: list[dict]) -> dict:
    """Batches samples of which some may be 8-bit: the batch is so if all are, else float32 in [0, 1]."""
    for key in ('lq', 'gt'):
        if len({sample[key].dtype for sample in samples if key in sample}) > 1:
            samples = [{**sample, key: bytes_to_float(sample[key])} for sample in samples]
    return default_collate(samples)


def make_sample(
    lq: np.ndarray, gt: np.ndarray, lq_path: str, gt_path: str, task: str, keep_bytes: bool = False
) -> dict:
    """The dictionary every dataset of this package returns.

    Args:
        lq: degraded image (h, w, 3), RGB.
        gt: clean image (h, w, 3), RGB.
        lq_path: file (or LMDB key) of the degraded image.
        gt_path: file (or LMDB key) of the clean image.
        task: name of the degradation.
        keep_bytes: leave 8-bit images as they are.

    Returns:
        `lq` and `gt` as float32 (3, h, w) in [0, 1] or, with `keep_bytes`, as uint8 where they are; and the three
        strings under their own names.
    """
    images = {
        key: torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        if keep_bytes and image.dtype == np.uint8
        else to_tensor(image)
        for key, image in (('lq', lq), ('gt', gt))
    }
    return {**images, 'lq_path': lq_path, 'gt_path': gt_path, 'task': task}
