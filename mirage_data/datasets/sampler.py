"""The endless, resumable stream of training samples behind BasicSR's epochs."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from torch.utils.data import Dataset, Sampler

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
        dataset: anything with a length >= 1.
        num_replicas: number of training processes.
        rank: number of this process, 0 <= rank < num_replicas.
        ratio: BasicSR's `dataset_enlarge_ratio`: passes through the data per BasicSR epoch.
        seed: seed of the permutations, normally the run's `manual_seed`.
        batch_size: batch size of one process.
        start_sample: numbers below this are left out: what a resumed run has seen already.
        offset: where BasicSR's epoch 0 begins in the stream; lets a run go on with another batch size.

    Raises:
        ValueError: for an empty dataset, a rank or size out of range, or a start in the middle of a batch.
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
