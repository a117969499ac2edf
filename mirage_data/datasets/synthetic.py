"""Pairs made on the fly: any folder of clean photographs and a recipe of degradations."""

from __future__ import annotations

import json
import math
import zlib
from typing import Any

import numpy as np

from mirage_data.datasets.base import TaskDataset
from mirage_data.datasets.sample import make_sample
from mirage_data.datasets.variation import resized
from mirage_data.degradations.compose import Entry, degrade_pair, parse_recipe
from mirage_data.degradations.depth import WHOLE
from mirage_data.degradations.noise import to_uint8
from mirage_data.degradations.parameters import lookup
from mirage_data.files.crops import Window, dihedral, draw_dihedral
from mirage_data.files.image import to_float
from mirage_data.files.lists import places_of_list
from mirage_data.files.store import open_store, telling_passed_over
from mirage_data.option import Option


class SyntheticDegradationDataset(TaskDataset):
    """Clean photographs, degraded by a recipe when they are asked for.

    In training a sample is a random crop, flipped or turned, then degraded at the crop's size. What comes from beyond
    the crop is kept: a blur reads a margin around it, haze and uneven light get their share of a depth and a light
    that span the whole photograph. Flips come before the degradation, so that rain falls downwards; where the place in
    the photograph matters (haze, low light) only left and right are exchanged.

    In validation and test a sample is the centre of the photograph (a multiple of 16), degraded by a generator seeded
    with the file's name: the same picture in every run, whatever else is in the folder.

    Example of the options::

        type: SyntheticDegradationDataset
        dataroot_gt: datasets/photographs
        gt_size: 128
        recipe:
          - {degradation: gaussian_noise, sigma: [5, 55], weight: 2}
          - {degradation: [haze, rain], rain: {density: [0.1, 0.4]}}
          - {degradation: cdd11}

    Args:
        opt: `dataroot_gt` (a folder or LMDB of clean photographs, or a list of them) and `recipe` (see
            `mirage_data.degradations.parse_recipe`); optional `meta_info_file` (a list of the photographs to use; for
            several roots a list of such files, null where all are used), `io_backend`, `recursive` (true), `task`
            (instead of the recipe's names), `quantize` (true: round the degraded image to 8 bits, as a file would),
            `return_record` (false; true adds `record`, every drawn parameter as JSON text), and what `TaskDataset`
            reads.

    Items: as in `PairedTaskDataset`; `lq_path` and `gt_path` are both the clean file's.

    Raises:
        ValueError: An option that cannot work, a folder without photographs, or a recipe with a fault.
    """

    OPTIONS = {
        'dataroot_gt': Option('any', 'folder, LMDB or list of them, of clean photographs', required=True),
        'recipe': Option('any', 'list of degradations to draw from', required=True),
        'meta_info_file': Option('any', 'a list of the photographs to use; for several roots a list of such files'),
        'quantize': Option('flag', 'round the degraded image to 8 bits', True),
        'return_record': Option('flag', 'hand every drawn parameter out with the sample', False),
    }

    @telling_passed_over()
    def __init__(self, opt: dict) -> None:
        super().__init__(opt)
        for key in ('dataroot_gt', 'recipe'):
            if not opt.get(key):
                raise ValueError(f'{key}: missing; SyntheticDegradationDataset needs dataroot_gt and recipe')
        self.recipe = parse_recipe(opt['recipe'])
        self.quantize = bool(opt.get('quantize', True))
        roots, lists = _as_list(opt['dataroot_gt']), _as_list(opt.get('meta_info_file'))
        if lists != [None] and len(lists) != len(roots):
            raise ValueError(f'meta_info_file: {len(lists)} for {len(roots)} dataroot_gt; needed is one for each')
        self.stores = [open_store(root, opt.get('io_backend'), opt.get('recursive', True)) for root in roots]
        self.places = np.concatenate(
            [
                _places(number, store, lists[number % len(lists)], not self.train)
                for number, store in enumerate(self.stores)
            ]
        )

    def __len__(self) -> int:
        return len(self.places)

    def load(self, position: int, rng: np.random.Generator | None) -> dict:
        """See `TaskDataset.load`; without a generator the file's name seeds one."""
        number, place = self.places[position].tolist()
        store = self.stores[number]
        photograph, path = store.view(place), store.path(place)
        if rng is None:
            name = store.names[place].encode('utf-8', 'surrogateescape')
            rng = np.random.default_rng([self.manual_seed, zlib.crc32(name)])
        lq, gt, record = self._pair(photograph, rng, path)
        task = self.opt.get('task') or record['task']
        sample = make_sample(to_uint8(lq) if self.quantize else lq, gt, path, path, task, self.keep_bytes)
        if self.opt.get('return_record', False):
            sample['record'] = json.dumps(record)  # as text, since texts of any content can be batched
        return sample

    def _pair(
        self, photograph: np.ndarray, rng: np.random.Generator, path: str
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        """Degraded and clean image, and the record.

        Drawn in this order: entry, crop, flip, tone, parameters, pixels, surround.
        """
        height, width = photograph.shape[:2]
        side = self.gt_size if self.train and self.gt_size else 0
        entry = self.recipe.pick(rng)
        inner = self.window(height, width, rng, path)
        mode = draw_dihedral(self.augmentation, rng) if self.train else 0
        placed = is_placed(entry)
        if placed:
            mode &= 1  # the ground stays at the bottom
        shrink = inner.height / side if side else 1.0
        outer = widened(inner, math.ceil(entry.margin * shrink), height, width)
        inside = flipped(Window(inner.top - outer.top, inner.left - outer.left, *inner[2:]), outer, mode)
        context = dihedral(outer.of(photograph), mode)
        if shrink != 1:
            context, inside = _shrunk(context, inside, side)
        context = self.variation.toned([np.ascontiguousarray(context)], rng)[0]
        context = self.variation.surrounded_scene(context, rng)
        lq, scene, record = degrade_pair(
            to_float(context), entry, rng, _shares(outer, mode, height, width) if placed else WHOLE
        )
        gt = to_uint8(scene) if entry.makes_scenes else context
        lq, gt = self.variation.surrounded([inside.of(lq), inside.of(gt)], rng)
        return lq, gt, record


def _as_list(value: Any) -> list:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _places(number: int, store: Any, list_file: str | None, measured: bool) -> np.ndarray:
    """``(n, 2)`` int32: the store's number and a place in it, for each photograph to use."""
    places = places_of_list(list_file, store, measured=measured) if list_file else np.arange(len(store.names))
    return np.stack([np.full(len(places), number), places], axis=1).astype(np.int32)


def is_placed(entry: Entry) -> bool:
    """Whether a member of the entry depends on where in the photograph the crop lies."""
    return any(lookup(member.name).windowed for member in entry.members)


def widened(window: Window, margin: int, height: int, width: int) -> Window:
    """The window and ``margin`` pixels around it, as far as an image of ``height`` and ``width`` has them."""
    top, left = max(0, window.top - margin), max(0, window.left - margin)
    bottom = min(height, window.top + window.height + margin)
    right = min(width, window.left + window.width + margin)
    return Window(top, left, bottom - top, right - left)


def flipped(inner: Window, outer: Window, mode: int) -> Window:
    """Where a window of ``outer`` lies after `mirage_data.files.crops.dihedral` with ``mode``.

    Args:
        inner: The window, its top and left counted from those of ``outer``.
        outer: What is flipped.
        mode: Of the flip.
    """
    top, left, height, width = inner
    left = outer.width - width - left if mode & 1 else left
    top = outer.height - height - top if mode & 2 else top
    return Window(left, top, width, height) if mode & 4 else Window(top, left, height, width)


def _shrunk(image: np.ndarray, inside: Window, side: int) -> tuple[np.ndarray, Window]:
    """The image made smaller so that the square ``inside`` has ``side`` pixels, and where that then lies."""
    share = side / inside.height
    height, width = (max(side, round(length * share)) for length in image.shape[:2])
    top, left = min(round(inside.top * share), height - side), min(round(inside.left * share), width - side)
    return resized(image, height, width), Window(top, left, side, side)


def _shares(window: Window, mode: int, height: int, width: int) -> tuple[float, float, float, float]:
    """Top, bottom, left and right of a window as shares of its photograph, after a left-right flip if mode says so."""
    top, bottom = window.top / height, (window.top + window.height) / height
    left, right = window.left / width, (window.left + window.width) / width
    return (top, bottom, 1 - right, 1 - left) if mode & 1 else (top, bottom, left, right)
