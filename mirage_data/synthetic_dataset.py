"""Pairs made on the fly: any folder of clean photographs and a recipe of degradations."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch.utils.data

from mirage_data.crops import Window, augmentation_from_options, centre_window, dihedral, draw_dihedral, random_window
from mirage_data.degradations.compose import Entry, degrade_entry, parse_recipe
from mirage_data.degradations.depth import WHOLE
from mirage_data.degradations.noise import to_uint8
from mirage_data.degradations.parameters import lookup
from mirage_data.image_io import to_float
from mirage_data.image_store import open_store
from mirage_data.sample import Index, make_sample, process_rng, sample_rng, split_index

BASICSR_SUFFIX = re.compile(r'\s+\(\d+,\s*\d+(,\s*\d+)?\)(\s+\d+)?$')
"""What BasicSR's list files write behind a name: ``name.png (h,w,c)``, in an LMDB's also the compression level."""


class SyntheticDegradationDataset(torch.utils.data.Dataset):
    """Clean photographs, degraded by a recipe when they are asked for.

    In training (``phase: train``, the default) a sample is a random crop, flipped or turned, then degraded at the
    crop's size. What comes from beyond the crop is kept: a blur reads a margin around it, haze and uneven light get
    their share of a depth and a light that span the whole photograph. Flips come before the degradation, so that rain
    falls downwards; where the place in the photograph matters (haze, low light) only left and right are exchanged.

    In validation and test a sample is the whole photograph, degraded by a generator seeded with its name: the same
    picture in every run, whatever else is in the folder.

    Args:
        opt: the options of a ``datasets:`` entry:

            - ``dataroot_gt``: folder or LMDB of clean photographs, or a list of them,
            - ``recipe``: see :func:`mirage_data.degradations.parse_recipe`,
            - ``gt_size``: side of the training crop in pixels,
            - ``io_backend``: ``{type: disk}`` or ``{type: lmdb}``; without it a name ending in ``.lmdb`` decides,
            - ``meta_info_file``: text file naming the photographs to use, one a line, relative to ``dataroot_gt``;
              all of them where absent,
            - ``recursive``: also take photographs from folders below (default true),
            - ``use_hflip``, ``use_rot``, ``augment``: see :func:`mirage_data.crops.augmentation_from_options`,
            - ``crop_multiple``: in validation, crop the centre to a multiple of this (default 1: whole),
            - ``quantize``: round the degraded image to 8 bits as a file would (default true),
            - ``return_record``: add ``record``, the drawn parameters as JSON text (default false),
            - ``phase``, ``manual_seed``, ``task`` (overrides the recipe's task names).

    Raises:
        ValueError: an option that cannot work, a folder without photographs, or a name that is not there.
    """

    samples_by_epoch = True

    def __init__(self, opt: Mapping[str, Any]) -> None:
        self.opt = opt
        self.training = opt.get('phase', 'train') == 'train'
        for key in ('dataroot_gt', 'recipe', *(('gt_size',) if self.training else ())):
            if opt.get(key) is None:
                raise ValueError(f'SyntheticDegradationDataset: the option {key} is missing')
        self.recipe = parse_recipe(opt['recipe'])
        self.gt_size = opt.get('gt_size')
        if self.training and (not isinstance(self.gt_size, int) or self.gt_size < 1):
            raise ValueError(f'SyntheticDegradationDataset: gt_size must be an integer >= 1, found {self.gt_size!r}')
        self.augmentation = augmentation_from_options(dict(opt))
        self.manual_seed = int(opt.get('manual_seed') or 0)
        self.crop_multiple = int(opt.get('crop_multiple') or 1)
        self.quantize = opt.get('quantize', True)
        roots = opt['dataroot_gt']
        roots = list(roots) if isinstance(roots, (list, tuple)) else [roots]
        recursive = bool(opt.get('recursive', True))
        self.stores = [open_store(root, opt.get('io_backend'), recursive) for root in roots]
        self.places = self._select(opt.get('meta_info_file'))

    def _select(self, list_file: str | None) -> np.ndarray:
        """(store, image within it) of every sample, as an ``(n, 2)`` array."""
        if not list_file:
            return np.array([(s, i) for s, store in enumerate(self.stores) for i in range(len(store.names))], np.int32)
        index: dict[str, tuple[int, int]] = {}
        for s, store in enumerate(self.stores):
            for i, name in enumerate(store.names):
                index.setdefault(name, (s, i))
        lines = Path(list_file).read_text(encoding='utf-8').splitlines()
        wanted = [BASICSR_SUFFIX.sub('', line.strip()) for line in lines if line.strip()]
        absent = [name for name in wanted if name not in index]
        if absent or not wanted:
            roots = ', '.join(store.root for store in self.stores)
            fault = f'{len(absent)} of its names are not in {roots}, e.g. {absent[0]}' if absent else 'it is empty'
            raise ValueError(f'meta_info_file {list_file}: {fault}')
        return np.array([index[name] for name in wanted], np.int32)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Index) -> dict[str, Any]:
        """See the contract of all datasets in :mod:`mirage_data.sample`."""
        epoch, position = split_index(index, len(self))
        number, within = self.places[position].tolist()
        store = self.stores[number]
        path = store.path(within)
        photograph = store.view(within)
        if self.training:
            rng = process_rng() if epoch is None else sample_rng(self.manual_seed, epoch, position)
            lq, gt, record = self._crop(photograph, rng, path)
        else:
            lq, gt, record = self._whole(photograph, store.names[within], path)
        task = self.opt.get('task') or record['task']
        sample = make_sample(to_uint8(lq) if self.quantize else lq, gt, path, path, task)
        if self.opt.get('return_record', False):
            sample['record'] = json.dumps(record)  # as text, since texts of any content can be batched
        return sample

    def _whole(self, photograph: np.ndarray, name: str, path: str) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        rng = np.random.default_rng([self.manual_seed, zlib.crc32(name.encode('utf-8', 'surrogateescape'))])
        gt = np.ascontiguousarray(centre_window(*photograph.shape[:2], self.crop_multiple, path).of(photograph))
        lq, record = degrade_entry(to_float(gt), self.recipe.pick(rng), rng)
        return lq, gt, record

    def _crop(
        self, photograph: np.ndarray, rng: np.random.Generator, path: str
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        height, width = photograph.shape[:2]
        entry = self.recipe.pick(rng)
        inner = random_window(height, width, self.gt_size, 1, rng, path)
        mode = draw_dihedral(self.augmentation, rng)
        if is_placed(entry):
            mode &= 1  # the ground stays at the bottom
        top, left = max(0, inner.top - entry.margin), max(0, inner.left - entry.margin)
        bottom = min(height, inner.top + inner.height + entry.margin)
        right = min(width, inner.left + inner.width + entry.margin)
        outer = Window(top, left, bottom - top, right - left)
        window = flip_window(Window(inner.top - top, inner.left - left, *inner[2:]), outer, mode)
        context = np.ascontiguousarray(dihedral(outer.of(photograph), mode))
        place = WHOLE
        if is_placed(entry):
            place = (top / height, bottom / height, left / width, right / width)
            if mode & 1:
                place = (place[0], place[1], 1 - place[3], 1 - place[2])
        lq, record = degrade_entry(to_float(context), entry, rng, place)
        return window.of(lq), window.of(context), record


def flip_window(inner: Window, outer: Window, mode: int) -> Window:
    """Where a square window lies within ``outer`` after :func:`mirage_data.crops.dihedral` of ``outer``.

    Args:
        inner: a square, its top and left counted from those of ``outer``.
        outer: what is flipped.
        mode: of the flip.
    """
    top, left, size, _ = inner
    left = outer.width - size - left if mode & 1 else left
    top = outer.height - size - top if mode & 2 else top
    return Window(left, top, size, size) if mode & 4 else Window(top, left, size, size)


def is_placed(entry: Entry) -> bool:
    """Whether a member of the entry depends on where in the photograph the crop lies."""
    return any(lookup(member.name).windowed for member in entry.members)
