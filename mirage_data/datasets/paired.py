"""Pairs of a degraded and a clean image, from folders, LMDBs or list files."""

from __future__ import annotations

import numpy as np

from mirage_data.datasets.base import TaskDataset
from mirage_data.datasets.sample import make_sample, to_tensor
from mirage_data.files.lists import pairs_of_list, pairs_of_names, places_of_list
from mirage_data.files.store import open_store, telling_passed_over
from mirage_data.option import Option


class PairError(ValueError):
    """A degraded and a clean image that do not belong together."""


class PairedTaskDataset(TaskDataset):
    """Paired images of one task, for training (crops and flips) and for validation (whole images).

    Example of the options::

        type: PairedTaskDataset
        task: derain
        dataroot_lq: datasets/test/derain/Rain100L/input
        dataroot_gt: datasets/test/derain/Rain100L/target
        pairing: rain100l

    Args:
        opt: `task`, `dataroot_lq`, `dataroot_gt`; optional `pairing` ('same_name', see `mirage_data.files.pairing`),
            `meta_info_file` (see `mirage_data.files.lists`), `io_backend` ({type: disk} or {type: lmdb}), `recursive`
            (True: folders below the root count), and what `TaskDataset` reads.

    Items: `lq`, `gt` float32 (3, h, w) RGB in [0, 1]; `lq_path`, `gt_path`, `task` strings. Outside training
    `dataroot_gt` may be absent (photographs without ground truth): items then lack `gt` and `gt_path`.

    Raises:
        ValueError: For missing folders or options, an empty set, ambiguous names; when read, for a broken image or two
            images of different size. Files without a partner are left out with a warning.
    """

    OPTIONS = {
        'dataroot_lq': Option('any', 'folder or LMDB of the degraded images', required=True),
        'dataroot_gt': Option('any', 'folder or LMDB of the clean ones', required='train'),
        'pairing': Option('any', 'rule that finds the clean image of a name', 'same_name'),
        'meta_info_file': Option('any', 'a list of the pairs to use'),
    }

    @telling_passed_over()
    def __init__(self, opt: dict) -> None:
        super().__init__(opt)
        required = ('dataroot_lq', 'dataroot_gt') if self.train else ('dataroot_lq',)
        for key in required:
            if not opt.get(key):
                raise ValueError(f'{key}: missing for task {opt.get("task")!r}; it names a folder (or .lmdb)')
        self.task = str(opt.get('task', 'restore'))
        backend, recursive, listed = opt.get('io_backend'), opt.get('recursive', True), opt.get('meta_info_file')
        self.lq = open_store(opt['dataroot_lq'], backend, recursive)
        self.gt = open_store(opt['dataroot_gt'], backend, recursive) if opt.get('dataroot_gt') else None
        rule = opt.get('pairing') or 'same_name'
        if self.gt is None:
            self.pairs = places_of_list(listed, self.lq, measured=True) if listed else np.arange(len(self.lq.names))
        elif listed:
            self.pairs = pairs_of_list(listed, self.lq, self.gt, rule, measured=not self.train)
        else:
            self.pairs = pairs_of_names(self.lq, self.gt, rule)

    def __len__(self) -> int:
        return len(self.pairs)

    def load(self, position: int, rng: np.random.Generator) -> dict:
        """Sample `position`; see the class."""
        if self.gt is None:
            return self._load_alone(int(self.pairs[position]))
        lq_index, gt_index = (int(number) for number in self.pairs[position])
        lq, gt = self.lq.view(lq_index), self.gt.view(gt_index)
        lq_path, gt_path = self.lq.path(lq_index), self.gt.path(gt_index)
        (height, width), (gt_height, gt_width) = lq.shape[:2], gt.shape[:2]
        if (height, width) != (gt_height, gt_width):
            raise PairError(
                f'{lq_path}: {width}x{height} pixels, but its clean image {gt_path} has '
                f'{gt_width}x{gt_height}; a pair must have one size: check the pairing or remove it'
            )
        window = self.window(height, width, rng, lq_path)
        lq, gt = self.variation.surrounded(self.augmented([window.of(lq), window.of(gt)], rng), rng)
        return make_sample(lq, gt, lq_path, gt_path, self.task, self.keep_bytes)

    def _load_alone(self, index: int) -> dict:
        """A degraded image of which no clean one is known."""
        lq, lq_path = self.lq.view(index), self.lq.path(index)
        window = self.window(lq.shape[0], lq.shape[1], None, lq_path)
        return {'lq': to_tensor(window.of(lq)), 'lq_path': lq_path, 'task': self.task}
