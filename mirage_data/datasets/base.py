"""What all datasets of this package have in common."""

from __future__ import annotations

import logging
from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from mirage_data.datasets.sample import Index, process_rng, sample_rng, split_index
from mirage_data.datasets.variation import Variation, resized
from mirage_data.files.crops import (
    AUGMENTATIONS,
    Window,
    augmentation_from_options,
    centre_window,
    dihedral,
    draw_dihedral,
    random_window,
)
from mirage_data.option import Option

logger = logging.getLogger('basicsr.mirage_data')  # below BasicSR's logger, so that its log file gets the lines

# below it, with a level of its own: BasicSR silences all ranks but the first, and each has its own samples
_broken = logging.getLogger('basicsr.mirage_data.broken')
_broken.setLevel(logging.WARNING)

MAX_SKIPS = 20  # broken samples in a row after which even a patient run stops
PAPER_MULTIPLE = 16


class SampleError(ValueError):
    """A training sample cannot be made; the message names the file."""


class TaskDataset(Dataset):
    """Base of the datasets: decodes the sampler's index, gives each sample its generator, and deals with broken files.

    A subclass implements `__len__` and `load(position, rng)`; `self.train` says whether it is to crop and flip.

    Args:
        opt: Options of the dataset, never changed. Read here: `phase` ('train', 'val' or 'test'), `manual_seed` (0),
            `gt_size` (side of the random crop; required for training), `crop_multiple` (16), `use_hflip`, `use_rot`,
            `augment`, `on_error` ('raise', or 'skip' to replace a broken training sample by another), and for training
            `resize`, `tone`, `grey` and `surround` (see `mirage_data.datasets.variation`).

    Raises:
        ValueError: For a value that is not allowed.
    """

    OPTIONS = {
        'task': Option('text', 'name under which results are listed'),
        'gt_size': Option('count', 'side of the random crop in pixels', low=1, required='train', none=True),
        'crop_multiple': Option(
            'count', 'sides of what is shown are multiples of this', PAPER_MULTIPLE, low=1, none=True
        ),
        'use_hflip': Option('flag', 'flip left and right at random', False),
        'use_rot': Option('flag', 'turn and flip at random', False),
        'augment': Option('text', 'flips and turns by name, instead of the two', choices=tuple(AUGMENTATIONS)),
        'resize': Option('any', 'shares of the size that photographs are reduced to, [low, high]'),
        'tone': Option('section', 'probability, gamma, contrast and saturation of another development'),
        'grey': Option('number', 'share of samples made black-and-white', 0, low=0, high=1),
        'sepia': Option('number', 'share of samples made brown like an old print', 0, low=0, high=1),
        'surround': Option('section', 'probability and cover of flat areas laid over both sides'),
        'on_error': Option('text', 'what a broken training sample does', 'raise', choices=('raise', 'skip')),
        'manual_seed': Option('count', 'seed of the samples; by default that of the run', low=0, none=True),
        'io_backend': Option('section', 'type: disk or lmdb'),
        'recursive': Option('flag', 'whether folders below count, too', True),
        'scale': Option('count', 'always 1 here', 1, low=1, high=1, none=True),
    }
    samples_by_epoch = True

    def __init__(self, opt: dict) -> None:
        super().__init__()
        self.opt = opt
        self.train = opt.get('phase', 'train') == 'train'
        self.manual_seed = _whole(opt, 'manual_seed', least=0) or 0
        self.gt_size = _whole(opt, 'gt_size', least=1)
        self.crop_multiple = _whole(opt, 'crop_multiple', least=1) or PAPER_MULTIPLE
        self.augmentation = augmentation_from_options(opt)
        self.on_error = opt.get('on_error') or 'raise'
        if self.on_error not in ('raise', 'skip'):
            raise ValueError(f'on_error: {self.on_error!r}; allowed: raise, skip')
        if self.train and self.gt_size is None:
            raise ValueError('gt_size: missing; training needs the side of its crops, a whole number of pixels')
        if opt.get('scale') not in (None, 1):
            raise ValueError(f'scale: {opt["scale"]!r}; degraded and clean images have one size here: scale must be 1')
        self.variation = Variation.of_options(opt) if self.train else Variation()
        self.keep_bytes = False
        self._skipped = torch.zeros((), dtype=torch.int64).share_memory_()  # counts in all worker processes

    def use_bytes(self) -> None:
        """Hands out 8-bit images as uint8 from now on, a quarter of the bytes; only for who divides them by 255.

        Batches are then made by `mirage_data.datasets.sample.collate_samples`.
        """
        self.keep_bytes = True

    @property
    def skipped(self) -> int:
        """How many broken samples were replaced so far, in all processes together."""
        return int(self._skipped)

    def __len__(self) -> int:
        raise NotImplementedError

    def load(self, position: int, rng: np.random.Generator) -> dict:
        """Makes one sample.

        Args:
            position: Number of the sample, 0 <= position < len(self).
            rng: Where all its random numbers come from.
        """
        raise NotImplementedError

    def __getitem__(self, index: Index) -> dict:
        if get_worker_info() is not None and cv2.getNumThreads() != 1:
            cv2.setNumThreads(0)  # the workers are the parallelism
        epoch, position = split_index(index, len(self))
        if not self.train:
            return self.load(position, None)
        rng = process_rng() if epoch is None else sample_rng(self.manual_seed, epoch, position)
        return self._load_or_replace(lambda place: self.load(place, rng), position, rng)

    def _load_or_replace(self, load: Callable[[int], dict], position: int, rng: np.random.Generator) -> dict:
        """Loads a sample or, with `on_error: skip`, another one that the generator chooses.

        Raises:
            SampleError: With `on_error: raise`, or after `MAX_SKIPS` broken samples in a row.
        """
        for _ in range(MAX_SKIPS):
            try:
                return load(position)
            except ValueError as error:
                if self.on_error == 'raise':
                    raise SampleError(str(error)) from error
                self._skipped += 1
                _broken.warning('skipped (%d so far): %s', self.skipped, error)
                position = int(rng.integers(len(self)))
        raise SampleError(f'{MAX_SKIPS} broken samples in a row (see the log); the data set cannot be used as it is')

    def window(self, height: int, width: int, rng: np.random.Generator, name: str) -> Window:
        """The part of an image that this dataset shows: a random crop in training, else the centre.

        With `resize` the crop is larger than `gt_size`; `augmented` brings it to that size.
        """
        if self.train:
            assert self.gt_size is not None
            whole = min(height, width) // self.crop_multiple * self.crop_multiple or min(height, width)
            side = self.variation.source_side(self.gt_size, whole, rng)
            return random_window(height, width, side, self.crop_multiple, rng, name)
        return centre_window(height, width, self.crop_multiple, name)

    def augmented(self, images: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
        """The images after one common random flip or rotation, at `gt_size` and in one tone; only in training."""
        if not self.train:
            return images
        assert self.gt_size is not None
        mode = draw_dihedral(self.augmentation, rng)
        images = [resized(dihedral(image, mode), self.gt_size, self.gt_size) for image in images]
        return self.variation.toned(images, rng)


def _whole(opt: dict, key: str, least: int) -> int | None:
    """A whole number of the options; None where the key is absent or null."""
    value = opt.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f'{key}: {value!r}; allowed are whole numbers >= {least}')
    return value
