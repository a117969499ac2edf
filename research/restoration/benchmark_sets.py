"""The sets that restoration methods are compared on, all as `Picture`s: standard sets, and one per line of a recipe."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from mirage_data.datasets.denoise import GaussianDenoiseDataset
from mirage_data.datasets.paired import PairedTaskDataset
from mirage_data.datasets.synthetic import SyntheticDegradationDataset
from mirage_data.degradations.blur import disc_kernel, trajectory_kernel
from mirage_data.degradations.compose import Entry, Recipe, parse_recipe
from mirage_data.degradations.parameters import draw
from mirage_data.files.crops import Window, middle

CLEAN = 'clean'
SIGMAS = (15, 25, 50)
_SEED = 0
_MULTIPLE = 16


@dataclass(frozen=True)
class Picture:
    """One test picture.

    Args:
        name: of its file, without folder and ending.
        lq: degraded image (h, w, 3), float32 RGB in [0, 1].
        gt: clean image of the same shape.
        known: `kernel` and `gamma` of a blur, for methods that may know them; empty otherwise.
        inside: the part that figures are computed on; None for all of it.
    """

    name: str
    lq: np.ndarray
    gt: np.ndarray
    known: Mapping[str, Any]
    inside: Window | None = None


@dataclass(frozen=True)
class BenchmarkSet:
    """Pictures that are averaged over.

    Args:
        name: in tables.
        task: key of its classical method in `research/classical/tuned.yml`.
        dataset: where the pictures come from; in validation, so that each is the same in every run.
        source: where they come from, in words.
        published: number of the paper's table and its column with the figures of other networks, where there are any.
        largest: pictures are cropped around the centre to this side after they were degraded.
        known: what an oracle may know about picture `i`.
        positions: pictures of the dataset that belong to the set, None for all.
        bars: `share`, `sides` and `colour` of flat bars around the picture, which cover that share of the result.
        tile: side of the tiles in which the network sees the picture; None for all of it at once.
        against: name of a set with the same pictures that the report compares with.
    """

    name: str
    task: str
    dataset: Dataset
    source: str
    published: tuple[str, str] | None = None
    largest: int | None = None
    known: Callable[[int], Mapping[str, Any]] | None = None
    positions: tuple[int, ...] | None = None
    bars: Mapping[str, Any] | None = None
    tile: int | None = None
    against: str | None = None

    def __len__(self) -> int:
        return len(self.dataset) if self.positions is None else len(self.positions)

    def place(self, position: int) -> int:
        """Where picture number `position` of the set lies in the dataset."""
        return position if self.positions is None else self.positions[position]

    def picture(self, position: int) -> Picture:
        """Picture number `position`; the set is not changed."""
        position = self.place(position)
        sample = self.dataset[position]
        lq, gt = (sample[key].numpy().transpose(1, 2, 0) for key in ('lq', 'gt'))
        if self.largest is not None:
            window = _centre(*lq.shape[:2], self.largest)
            lq, gt = window.of(lq), window.of(gt)
        known, inside = self.known(position) if self.known else {}, sample.get('inside')
        if self.bars is not None:
            (lq, inside), (gt, _) = (between_bars(image, **self.bars) for image in (lq, gt))
        return Picture(Path(sample['lq_path']).stem, np.ascontiguousarray(lq), np.ascontiguousarray(gt), known, inside)


def between_bars(
    image: np.ndarray, *, share: float, sides: str = 'letterbox', colour: Sequence[int] = (0, 0, 0)
) -> tuple[np.ndarray, Window]:
    """The image with flat bars around it, and where it lies in the result.

    Args:
        image: (h, w, 3) float32 in [0, 1].
        share: of the result that the bars cover, about: they have whole pixels.
        sides: 'letterbox' (above and below), 'pillars', 'frame' or 'left'.
        colour: of the bars, 8-bit RGB.
    """
    height, width = image.shape[:2]
    grown = 1 / (1 - share)
    down = right = 0
    if sides == 'frame':
        # a rim as wide on all sides: (h + 2 r)(w + 2 r) = h w / (1 - share)
        total = height + width
        down = right = round((np.sqrt(total**2 + 4 * height * width * (grown - 1)) - total) / 4)
    elif sides == 'letterbox':
        down = round(height * (grown - 1) / 2)
    else:
        right = round(width * (grown - 1) / (1 if sides == 'left' else 2))
    shape = height + 2 * down, width + (right if sides == 'left' else 2 * right), 3
    result = np.empty(shape, np.float32)
    result[:] = np.asarray(colour, np.float32) / np.float32(255)
    inside = Window(down, right, height, width)
    inside.of(result)[:] = image
    return result, inside


def noise_sets(folder: str | Path, sigmas: Sequence[float] = SIGMAS, largest: int | None = None) -> list[BenchmarkSet]:
    """CBSD68, or any folder of clean photographs, with the paper's noise; one generator per (sigma, file)."""
    return [
        BenchmarkSet(
            f'CBSD68_{sigma:g}',
            f'denoise_{sigma:g}',
            GaussianDenoiseDataset({'phase': 'val', 'dataroot_gt': str(folder), 'sigma': sigma}),
            'CBSD68',
            ('1', f'BSD68_{sigma:g}') if sigma in SIGMAS else None,
            largest,
        )
        for sigma in sigmas
    ]


def rain_set(folder: str | Path) -> BenchmarkSet:
    """Rain100L's test pairs: `folder` holds `input` and `target`.

    Raises:
        ValueError: one of the two is absent.
    """
    options = {'phase': 'val', 'task': 'derain', 'pairing': 'rain100l'}
    options |= {'dataroot_lq': str(Path(folder, 'input')), 'dataroot_gt': str(Path(folder, 'target'))}
    return BenchmarkSet('Rain100L', 'rain', PairedTaskDataset(options), 'Rain100L', ('1', 'Rain100L'))


def recipe_sets(
    photographs: str | Path, recipe: Any, source: str, largest: int | None = None, only: Sequence[str] = ()
) -> list[BenchmarkSet]:
    """One set for each line of a recipe, all of the same photographs.

    Args:
        photographs: folder of clean photographs.
        recipe: as in an option file; a group such as `cdd11` becomes one set for each member.
        source: see `BenchmarkSet`.
        largest: see `BenchmarkSet`.
        only: names of the sets to make; all if empty.

    Raises:
        ValueError: two lines that begin with the same degradation, a name in `only` that no line has, no photographs.
    """
    entries = {}
    for entry in parse_recipe(recipe).entries:
        name = entry.members[0].name
        if name in entries:
            raise ValueError(f'recipe: two lines begin with {name}; sets are named after the first degradation')
        entries[name] = entry
    absent = [name for name in only if name not in entries]
    if absent:
        raise ValueError(f'no set {", ".join(absent)}; the recipe has {", ".join(entries)}')
    sets = []
    for name, entry in entries.items():
        if only and name not in only:
            continue
        options = {'phase': 'val', 'manual_seed': _SEED, 'dataroot_gt': str(photographs)}
        dataset = SyntheticDegradationDataset({**options, 'recipe': Recipe((entry,))})
        known = _Blurs(dataset, entry) if name in ('motion_blur', 'defocus_blur') else None
        sets.append(BenchmarkSet(name, name, dataset, source, largest=largest, known=known))
    return sets


@dataclass(frozen=True)
class _Blurs:
    """The kernel of each picture of a set, drawn again as the dataset draws it."""

    dataset: SyntheticDegradationDataset
    entry: Entry

    def __call__(self, position: int) -> dict[str, Any]:
        number, place = self.dataset.places[position].tolist()
        name = self.dataset.stores[number].names[place].encode('utf-8', 'surrogateescape')
        rng = np.random.default_rng([_SEED, zlib.crc32(name)])
        self.dataset.recipe.pick(rng)
        member = self.entry.members[0]
        values = draw(member.name, rng, member.ranges)
        gamma = values.pop('gamma')
        kernel = disc_kernel(**values) if member.name == 'defocus_blur' else trajectory_kernel(**values, rng=rng)
        return {'kernel': kernel, 'gamma': gamma}


def _centre(height: int, width: int, largest: int) -> Window:
    h, w = (min(side, largest) // _MULTIPLE * _MULTIPLE for side in (height, width))
    return middle(height, width, h, w)
