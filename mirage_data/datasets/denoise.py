"""Gaussian denoising: noise made on the fly from clean photographs."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import PurePosixPath

import numpy as np

from mirage_data.datasets.base import TaskDataset
from mirage_data.datasets.sample import make_sample
from mirage_data.degradations.noise import gaussian_noise_uint8, to_uint8, unclipped_noise
from mirage_data.files.crops import centre_window
from mirage_data.files.image import to_float
from mirage_data.files.lists import places_of_list
from mirage_data.files.store import open_store, telling_passed_over
from mirage_data.option import Option

AUTHORS_STREAM = (15, 25, 50)


def evaluation_rng(sigma: float, name: str) -> np.random.Generator:
    """The generator of one test image's noise: the same for that sigma and file name in any subset and order.

    Args:
        sigma: Noise level on the 0..255 scale.
        name: The image's file, with forward slashes; only its name without folder and extension counts.
    """
    letters = PurePosixPath(name).stem.encode('utf-8', 'surrogateescape')
    return np.random.default_rng([round(sigma * 1000), zlib.crc32(letters)])


class AuthorsNoise:
    """The noise of the authors' evaluation: one legacy numpy stream, seed 0, over sigmas and, within each, files.

    Images are visited in order, which costs nothing extra; going back starts the stream again.

    Args:
        sigmas: The levels through which the stream runs, in their order.
        sizes: Gives the (height, width) of each file after its crop.
        files: Number of files.
    """

    def __init__(self, sigmas: tuple[float, ...], sizes: Callable[[int], tuple[int, int]], files: int) -> None:
        self.sigmas, self.sizes, self.files = sigmas, sizes, files
        self._restart()

    def _restart(self) -> None:
        self._random = np.random.RandomState(0)
        self._next = 0

    def add(self, image: np.ndarray, sigma: float, file: int) -> np.ndarray:
        """(h, w, 3) uint8 -> noisy uint8: clipped to 0..255 and truncated."""
        turn = self.sigmas.index(sigma) * self.files + file
        if turn < self._next:
            self._restart()
        while self._next < turn:
            self._random.standard_normal((*self.sizes(self._next % self.files), 3))
            self._next += 1
        self._next += 1
        noise = self._random.standard_normal(image.shape)
        return np.clip(image + noise * sigma, 0, 255).astype(np.uint8)


class GaussianDenoiseDataset(TaskDataset):
    """Clean photographs with Gaussian noise of the paper: clip(x + sigma * N(0, 1)) on 8-bit values, truncated.

    Training draws crop, flip and noise from the sample's generator. Validation shows the centre (a multiple of 16) with
    noise that depends on sigma and the file's name alone.

    Example of the options::

        type: GaussianDenoiseDataset
        task: denoise
        sigma: 25
        dataroot_gt: datasets/test/denoise/bsd68

    Args:
        opt: `dataroot_gt`, `sigma` (a number on the 0..255 scale, or a list: each image then counts once for each);
            optional `task` ('denoise'; with a list of sigmas samples are called e.g. 'denoise_15'), `io_backend`,
            `recursive`, `meta_info_file` (a list of the files to use), `noise_order` ('per_file', or 'authors': one
            stream of numpy's seed 0 over sigmas and files), `noise_stream` (the sigmas of that stream, [15, 25, 50]),
            `clip` (false: x + sigma * N(0, 1) as it is, neither clipped nor rounded, as many denoising papers measure;
            inputs then leave [0, 1]), and what `TaskDataset` reads.

    Items: as in `PairedTaskDataset`; `lq_path` and `gt_path` are both the clean file's.

    Raises:
        ValueError: For a missing folder, an empty one, or a value that is not allowed.
    """

    OPTIONS = {
        'dataroot_gt': Option('any', 'folder or LMDB of clean photographs', required=True),
        'sigma': Option('number or numbers', 'noise level or levels, of 255', low=0, high=255, required=True),
        'meta_info_file': Option('any', 'a list of the files to use'),
        'noise_order': Option(
            'text', "'authors': one stream of noise over levels and files", 'per_file', choices=('per_file', 'authors')
        ),
        'clip': Option('flag', "the paper's noise, clipped to 8 bits; false: neither clipped nor rounded", True),
        'noise_stream': Option('numbers', 'levels of that stream', list(AUTHORS_STREAM), low=0, high=255, none=True),
    }

    @telling_passed_over()
    def __init__(self, opt: dict) -> None:
        super().__init__(opt)
        if not opt.get('dataroot_gt'):
            raise ValueError('dataroot_gt: missing; it names the folder (or .lmdb) of clean photographs')
        self.sigmas = _sigmas(opt.get('sigma'))
        task = str(opt.get('task', 'denoise'))
        self.tasks = [task] if len(self.sigmas) == 1 else [f'{task}_{sigma:g}' for sigma in self.sigmas]
        self.gt = open_store(opt['dataroot_gt'], opt.get('io_backend'), opt.get('recursive', True))
        listed = opt.get('meta_info_file')
        self.files = (
            places_of_list(listed, self.gt, measured=not self.train) if listed else np.arange(len(self.gt.names))
        )
        order = opt.get('noise_order', 'per_file')
        if order not in ('per_file', 'authors'):
            raise ValueError(f'noise_order: {order!r}; allowed: per_file, authors')
        self.clip = opt.get('clip', True) is not False
        if not self.clip and order == 'authors':
            raise ValueError('clip: false cannot be had with noise_order: authors, whose noise is clipped')
        if not self.clip and self.variation.surround:
            raise ValueError('clip: false cannot be had with surround, whose flat areas are 8-bit')
        self._authors = None
        if order == 'authors' and not self.train:
            stream = tuple(opt.get('noise_stream') or AUTHORS_STREAM)
            if not set(self.sigmas) <= set(stream):
                raise ValueError(f'noise_stream: {list(stream)} does not contain sigma: {list(self.sigmas)}')
            self._authors = AuthorsNoise(stream, self._size, len(self.files))

    def _size(self, file: int) -> tuple[int, int]:
        file = int(self.files[file])
        height, width = self.gt.view(file).shape[:2]
        window = centre_window(height, width, self.crop_multiple, self.gt.path(file))
        return window.height, window.width

    def __len__(self) -> int:
        return len(self.files) * len(self.sigmas)

    def load(self, position: int, rng: np.random.Generator) -> dict:
        """Sample `position`: all files with the first sigma, then with the next."""
        level, number = divmod(position, len(self.files))
        file = int(self.files[number])
        sigma, path = self.sigmas[level], self.gt.path(file)
        picture = self.gt.view(file)
        window = self.window(picture.shape[0], picture.shape[1], rng, path)
        gt = self.variation.surrounded_scene(self.augmented([window.of(picture)], rng)[0], rng)
        if gt.dtype != np.uint8:
            gt = to_uint8(to_float(gt))  # the paper's noise is defined on 8-bit values
        if self._authors is not None:
            lq = self._authors.add(gt, sigma, number)
        else:
            noise_rng = rng if self.train else evaluation_rng(sigma, self.gt.names[file])
            add = gaussian_noise_uint8 if self.clip else unclipped_noise
            lq = add(gt, sigma=sigma, rng=noise_rng)
        lq, gt = self.variation.surrounded([lq, gt], rng)
        return make_sample(lq, gt, path, path, self.tasks[level], self.keep_bytes)


def _sigmas(value: object) -> tuple[float, ...]:
    sigmas = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    valid = all(
        isinstance(sigma, (int, float)) and not isinstance(sigma, bool) and 0 <= sigma <= 255 for sigma in sigmas
    )
    if not sigmas or not valid or len(set(sigmas)) < len(sigmas):
        raise ValueError(f'sigma: {value!r}; needed is a number from 0 to 255, or a list of different ones')
    return sigmas
