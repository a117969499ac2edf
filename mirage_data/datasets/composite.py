"""CDD11: one clean image in eleven degradations, single and combined."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from mirage_data.datasets.base import TaskDataset
from mirage_data.datasets.paired import PairedTaskDataset
from mirage_data.degradations.cdd11 import TYPES as CDD11_TYPES
from mirage_data.files.store import telling_passed_over
from mirage_data.option import Option

CLEAR = 'clear'
_GROUPS = {'single': 1, 'double': 2, 'triple': 3}


def chosen_types(types: str | Sequence[str], others: Sequence[str] = ()) -> tuple[str, ...]:
    """The types behind a word of the options.

    Args:
        types: 'all', 'single', 'double', 'triple', the name of a type, or a list of such words.
        others: Further types that there are, as folders of a set in this layout.

    Raises:
        ValueError: For another word.
    """
    words = [types] if isinstance(types, str) else list(types)
    chosen = []
    for word in words:
        known = (*CDD11_TYPES, *others)
        if word != 'all' and word not in _GROUPS and word not in known:
            raise ValueError(f'types: {word!r}; allowed: all, {", ".join(_GROUPS)}, {", ".join(known)}')
        if word in others:
            chosen.append(word)
        for name in CDD11_TYPES:
            if word in ('all', name) or _GROUPS.get(word) == name.count('_') + 1:
                chosen.append(name)
    return tuple(dict.fromkeys(chosen))


class CompositeDegradationDataset(TaskDataset):
    """CDD11, or a set in its layout: folders `clear`, `low`, ..., `low_haze_snow` with the same names in each.

    In training a sample's type is drawn uniformly, and an epoch has `repeat` samples for every image and type (52,052
    for CDD11 with `repeat: 4`, the authors' figure). In validation all images of the first type come first, then those
    of the next; each sample's `task` is its type, so that results are listed by type. Images are not cropped then.

    Args:
        opt: `dataroot` (the folder with `clear` in it, or one with `train` and `test` below); optional `types` ('all':
            the eleven, 'single', 'double', 'triple', one type, any other folder of the set, or a list), `repeat` (1,
            training only), `io_backend` (with lmdb the folders are `clear.lmdb`, ...), and what `TaskDataset` reads;
            `crop_multiple` is 1 in validation.

    Raises:
        ValueError: If a folder is missing or empty. Files without a partner are left out with a warning.
    """

    OPTIONS = {
        'dataroot': Option('any', 'folder with clear, low, haze, ... in it', required=True),
        'types': Option('any', 'all, single, double, triple, a type, or a list of them', 'all'),
        'repeat': Option('count', 'samples of an epoch for every image and type', 1, low=1),
    }

    @telling_passed_over()
    def __init__(self, opt: dict) -> None:
        if opt.get('phase', 'train') != 'train':
            opt = {'crop_multiple': 1, **opt}  # the authors' evaluation leaves CDD11 whole
        super().__init__(opt)
        root, ending = self._root(opt)
        there = sorted(entry.name.removesuffix(ending) for entry in os.scandir(root) if entry.is_dir())
        others = [name for name in there if name not in (CLEAR, *CDD11_TYPES)]
        self.types = chosen_types(opt.get('types', 'all'), others)
        self.repeat = opt.get('repeat', 1) if self.train else 1
        if not isinstance(self.repeat, int) or self.repeat < 1:
            raise ValueError(f'repeat: {self.repeat!r}; allowed are whole numbers >= 1')
        self.parts = [
            PairedTaskDataset(
                {
                    **opt,
                    'task': name,
                    'dataroot_lq': os.path.join(root, name + ending),
                    'dataroot_gt': os.path.join(root, CLEAR + ending),
                    'pairing': 'same_name',
                }
            )
            for name in self.types
        ]
        self._ends = np.cumsum([len(part) for part in self.parts])

    def use_bytes(self) -> None:
        """See `TaskDataset.use_bytes`."""
        for part in self.parts:
            part.use_bytes()

    def _root(self, opt: dict) -> tuple[str, str]:
        if not opt.get('dataroot'):
            raise ValueError('dataroot: missing; it names the folder of CDD11 with clear, low, haze, ... in it')
        ending = '.lmdb' if (opt.get('io_backend') or {}).get('type') == 'lmdb' else ''
        below = os.path.join(opt['dataroot'], 'train' if self.train else 'test')
        for root in (opt['dataroot'], below):
            if os.path.isdir(os.path.join(root, CLEAR + ending)):
                return root, ending
        raise ValueError(f'{opt["dataroot"]}: has no folder {CLEAR + ending}, nor {below}; put CDD11 there')

    def __len__(self) -> int:
        return int(self._ends[-1]) * self.repeat

    def load(self, position: int, rng: np.random.Generator) -> dict:
        """Sample `position`; see the class."""
        place = position % int(self._ends[-1])
        number = int(np.searchsorted(self._ends, place, side='right'))
        image = place - (int(self._ends[number - 1]) if number else 0)
        if self.train:  # the place chooses the image, the generator its type
            number = int(rng.integers(len(self.parts)))
            image %= len(self.parts[number])
        return self.parts[number].load(image, rng)
