"""What one training sample is made of: its random numbers, its place in the endless, resumable stream, its final form.

A training sample is a pure function of (manual_seed, epoch, position): which crop, flip, noise and synthesis it gets
is drawn from one generator seeded with those three. So the number of workers, the start method of the processes and a
resume change nothing. A foreign sampler that hands out plain integers gets random crops that follow
`torch.initial_seed()` instead, without that guarantee.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler, default_collate

from mirage_data.files.image import to_float

Index = int | tuple[int, int]

_stream: tuple[tuple[int, int], np.random.Generator] | None = None  # of this process, for plain integers


def sample_rng(manual_seed: int, epoch: int, position: int) -> np.random.Generator:
    """The generator from which everything random about one sample is drawn.

    Args:
        manual_seed: Seed of the run, >= 0.
        epoch: How often the stream of samples has passed through the data set before, >= 0.
        position: Number of the sample within the data set, >= 0.

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
        length: Number of samples of the data set.

    Returns:
        `(epoch, position)`; the epoch is None for a plain integer.

    Raises:
        IndexError: If the position lies outside the data set (this also ends a `for sample in dataset` loop).
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
        lq: Degraded image (h, w, 3), RGB.
        gt: Clean image (h, w, 3), RGB.
        lq_path: File (or LMDB key) of the degraded image.
        gt_path: File (or LMDB key) of the clean image.
        task: Name of the degradation.
        keep_bytes: Leave 8-bit images as they are.

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


_SHUFFLE = 0x5A4D  # keeps the permutations' seeds apart from the samples' own


class EpochSampler(Sampler):
    """Hands out `(epoch, position)` pairs so that each sample is a function of its number in one continuous stream.

    Sample number n = 0, 1, 2, ... is position `permutation_e[n % len(dataset)]` of data epoch `e = n // len(dataset)`.
    BasicSR's epoch k covers the numbers `offset + [k * total_size, (k + 1) * total_size)`, where `total_size` is a
    whole number of batches: nothing is dropped at an epoch's end, and BasicSR's count of iterations is right. Each
    global batch is shared out in contiguous pieces, so one process with batch 4 and two with batch 2 see the same
    batches.

    Datasets that do not have the class attribute `samples_by_epoch` get plain integers.

    Args:
        dataset: Anything with a length >= 1.
        num_replicas: Number of training processes.
        rank: Number of this process, 0 <= rank < num_replicas.
        ratio: BasicSR's `dataset_enlarge_ratio`: passes through the data per BasicSR epoch.
        seed: Seed of the permutations, normally the run's `manual_seed`.
        batch_size: Batch size of one process.
        start_sample: Numbers below this are left out: what a resumed run has seen already.
        offset: Where BasicSR's epoch 0 begins in the stream; lets a run go on with another batch size.

    Raises:
        ValueError: For an empty dataset, a rank or size out of range, or a start in the middle of a batch.
    """

    def __init__(
        self,
        dataset: Dataset,
        num_replicas: int,
        rank: int,
        ratio: float = 1,
        *,
        seed: int = 0,
        batch_size: int = 1,
        start_sample: int = 0,
        offset: int = 0,
    ) -> None:
        self.length = len(dataset)
        if self.length < 1:
            raise ValueError('the training set has no samples; check its folders and lists')
        if batch_size < 1 or num_replicas < 1 or not 0 <= rank < num_replicas:
            raise ValueError(
                f'batch_size {batch_size}, rank {rank} of {num_replicas}: need batch_size >= 1, 0 <= rank < replicas'
            )
        if not ratio > 0:
            raise ValueError(f'dataset_enlarge_ratio is {ratio}; it must be above 0')
        self.num_replicas, self.rank, self.batch_size = num_replicas, rank, batch_size
        self.seed, self.start_sample, self.offset = int(seed), int(start_sample), int(offset)
        self.by_epoch = getattr(dataset, 'samples_by_epoch', False)
        self.global_batch = batch_size * num_replicas
        self.total_size = math.ceil(self.length * ratio / self.global_batch) * self.global_batch
        self.num_samples = self.total_size // num_replicas
        self.epoch = 0
        self._order: tuple[int, np.ndarray] | None = None
        if self.start_sample > self.offset and (self.start_sample - self.offset) % self.global_batch:
            raise ValueError(
                f'cannot start at sample {start_sample}: it is not a whole number of batches of {self.global_batch} '
                f'behind {offset}'
            )

    def set_epoch(self, epoch: int) -> None:
        """Chooses the BasicSR epoch that the next iteration covers."""
        self.epoch = int(epoch)

    def _span(self) -> tuple[int, int]:
        end = self.offset + (self.epoch + 1) * self.total_size
        return min(max(end - self.total_size, self.start_sample), end), end

    def __len__(self) -> int:
        begin, end = self._span()
        return (end - begin) // self.num_replicas

    def _permutation(self, data_epoch: int) -> np.ndarray:
        if self._order is None or self._order[0] != data_epoch:
            rng = np.random.default_rng([_SHUFFLE, self.seed, data_epoch])
            self._order = (data_epoch, rng.permutation(self.length))
        return self._order[1]

    def __iter__(self) -> Iterator[tuple[int, int] | int]:
        begin, end = self._span()
        for batch in range(begin + self.rank * self.batch_size, end, self.global_batch):
            for number in range(batch, batch + self.batch_size):
                data_epoch, place = divmod(number, self.length)
                position = int(self._permutation(data_epoch)[place])
                yield (data_epoch, position) if self.by_epoch else position
