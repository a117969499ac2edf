"""The sets that restoration methods are compared on, all as `Picture`s: standard ones, by a recipe, from a list.

The list is a YAML file with real pairs, clean pictures, and the same pictures between bars, in tiles, in other sizes.
Each item is a mapping under the set's name::

    LOL: {lq: LOL-v1/eval15/low, gt: LOL-v1/eval15/high, task: low_light, group: real pairs}
    clean: {gt: photographs}
    noise_25: {gt: photographs, sigma: 25}
    noise_25 between bars: {gt: photographs, sigma: 25, bars: {share: 0.25}, against: noise_25}
    night: {gt: photographs, recipe: [dark_scene, raw_noise]}

With `lq` it is a set of pairs; with `sigma` or `recipe` (names of degradations, or the mapping of one item of a recipe)
the pictures of `gt` are degraded; else they are clean, and restoring should change nothing. `KEYS` lists the rest.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch.utils.data import Dataset

from mirage_data.datasets.denoise import GaussianDenoiseDataset
from mirage_data.datasets.paired import PairedTaskDataset
from mirage_data.datasets.sample import make_sample
from mirage_data.datasets.synthetic import SyntheticDegradationDataset
from mirage_data.degradations.blur import disc_kernel, trajectory_kernel
from mirage_data.degradations.compose import Entry, Recipe, degrade_pair, parse_recipe
from mirage_data.degradations.noise import to_uint8
from mirage_data.degradations.parameters import draw
from mirage_data.files import plain_yaml
from mirage_data.files.crops import Window, middle
from mirage_data.files.image import to_float
from research.restoration.bars import BARS, between_bars, parse_bars

CLEAN = 'clean'
SIGMAS = (15, 25, 50)
_SEED = 0


@dataclass(frozen=True)
class Picture:
    """One test picture.

    Args:
        name: Of its file, without folder and ending.
        lq: Degraded image (h, w, 3), float32 RGB in [0, 1].
        gt: Clean image of the same shape.
        known: `kernel` and `gamma` of a blur, for methods that may know them; empty otherwise.
        inside: The part that figures are computed on; None for all of it.
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
        name: In tables.
        task: Key of its classical method in `research/classical/tuned.yml`.
        dataset: Where the pictures come from; in validation, so that each is the same in every run.
        source: Where they come from, in words.
        published: Number of the paper's table and its column with the figures of other networks, where there are any.
        largest: Pictures are cropped around the centre to this side after they were degraded.
        known: What an oracle may know about picture `i`.
        positions: Pictures of the dataset that belong to the set, None for all.
        bars: `share`, `sides` and `colour` of flat bars around the picture, which cover that share of the result.
        how: Arguments of `Restorer` that the network restores these pictures with, such as the `tile`.
        against: Name of a set with the same pictures that the report compares with.
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
    how: Mapping[str, Any] = field(default_factory=dict)
    against: str | None = None

    def __len__(self) -> int:
        return len(self.dataset) if self.positions is None else len(self.positions)

    def place(self, position: int) -> int:
        """Where picture number `position` of the set lies in the dataset."""
        return position if self.positions is None else self.positions[position]

    def every(self, step: int) -> BenchmarkSet:
        """The set with every `step`-th of its pictures, the first included."""
        return replace(self, positions=tuple(self.place(i) for i in range(0, len(self), step)))

    def picture(self, position: int) -> Picture:
        """Picture number `position`; the set is not changed."""
        position = self.place(position)
        sample = self.dataset[position]
        lq, gt = (sample[key].numpy().transpose(1, 2, 0) for key in ('lq', 'gt'))
        if self.largest is not None:
            window = middle(*lq.shape[:2], *(min(side, self.largest) // 16 * 16 for side in lq.shape[:2]))
            lq, gt = window.of(lq), window.of(gt)
        known, inside = self.known(position) if self.known else {}, sample.get('inside')
        if self.bars is not None:
            (lq, inside), (gt, _) = (between_bars(image, **self.bars) for image in (lq, gt))
        return Picture(Path(sample['lq_path']).stem, np.ascontiguousarray(lq), np.ascontiguousarray(gt), known, inside)


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
        ValueError: One of the two is absent.
    """
    options = {'phase': 'val', 'task': 'derain', 'pairing': 'rain100l'}
    options |= {'dataroot_lq': str(Path(folder, 'input')), 'dataroot_gt': str(Path(folder, 'target'))}
    return BenchmarkSet('Rain100L', 'rain', PairedTaskDataset(options), 'Rain100L', ('1', 'Rain100L'))


def recipe_sets(
    photographs: str | Path, recipe: Any, source: str, largest: int | None = None, only: Sequence[str] = ()
) -> list[BenchmarkSet]:
    """One set for each line of a recipe, all of the same photographs.

    Args:
        photographs: Folder of clean photographs.
        recipe: As in an option file; a group such as `cdd11` becomes one set for each member.
        source: See `BenchmarkSet`.
        largest: See `BenchmarkSet`.
        only: Names of the sets to make; all if empty.

    Raises:
        ValueError: Two lines that begin with the same degradation, a name in `only` that no line has, no photographs.
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


KEYS = {
    'lq': 'folder of degraded pictures',
    'gt': 'folder of clean pictures',
    'pairing': 'rule of the pairs (same_name)',
    'only': 'names of the pictures or scenes to measure: a list, or a file with one a line',
    'sigma': "the paper's noise",
    'recipe': 'degradations',
    'megapixels': 'size to which the clean pictures are brought first',
    'largest': 'larger pictures are cropped to this side around the centre, after they were degraded',
    'limit': 'at most so many pictures, evenly spread',
    'bars': BARS,
    'tile': 'side of the tiles in which the network sees it',
    'keep_tone': 'true: the result keeps brightness and colours (--keep-tone)',
    'self_ensemble': 'true: the result is the mean over the flips and turns of the picture (--self-ensemble)',
    'against': 'set with the same pictures to compare with',
    'task': "key of the classical method (the recipe's first name, denoise_SIGMA)",
    'group': 'heading in the report',
    'published': "number of the paper's table and its column",
}
HOW = ('tile', 'keep_tone', 'self_ensemble')  # keys that are arguments of `Restorer`


class MadeScenes(Dataset):
    """Clean pictures brought to one size, or put between bars, and then degraded; the same in every run.

    Args:
        folder: Of the clean pictures.
        recipe: One entry of it.
        megapixels: Width times height in millions; the shape is kept, smaller by averaging, larger by cubic splines.
        bars: Of `between_bars`, degraded with the picture; the samples then say where that is `inside`.
    """

    def __init__(
        self, folder: str | Path, recipe: Recipe, megapixels: float | None = None, bars: Mapping | None = None
    ) -> None:
        self.photographs = SyntheticDegradationDataset(
            {'phase': 'val', 'dataroot_gt': str(folder), 'recipe': [{'degradation': CLEAN}]}
        )
        self.entry, self.megapixels, self.bars = recipe.entries[0], megapixels, bars

    def __len__(self) -> int:
        return len(self.photographs)

    def __getitem__(self, position: int) -> dict:
        sample = self.photographs[position]
        scene, inside = sample['gt'].numpy().transpose(1, 2, 0), None
        if self.megapixels is not None:
            scene = to_float(to_uint8(_at_size(scene, self.megapixels)))
        if self.bars is not None:
            scene, inside = between_bars(scene, **self.bars)
        rng = np.random.default_rng([0, zlib.crc32(Path(sample['gt_path']).stem.encode('utf-8', 'surrogateescape'))])
        lq, clean, _ = degrade_pair(np.ascontiguousarray(scene), self.entry, rng)
        path = sample['gt_path']
        made = make_sample(to_uint8(lq), to_uint8(clean), path, path, self.entry.task)
        return made if inside is None else {**made, 'inside': inside}


def _at_size(image: np.ndarray, megapixels: float) -> np.ndarray:
    """The image with about so many million pixels, in multiples of 16 for each side."""
    factor = np.sqrt(megapixels * 1e6 / (image.shape[0] * image.shape[1]))
    height, width = (max(16, round(side * factor) // 16 * 16) for side in image.shape[:2])
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=method)


def listed_sets(file: str | Path, roots: Sequence[str | Path]) -> tuple[list[BenchmarkSet], list[str]]:
    """The sets of a list.

    Args:
        file: Of the list.
        roots: Folders in which the folders of the list are looked for, in this order.

    Returns:
        The sets whose folders are there, and a line for each whose folder is not.

    Raises:
        ValueError: A list that is none, an unknown key or a value that cannot work; set and key are named.
    """
    content = plain_yaml.load_file(file)
    if not isinstance(content, Mapping) or not all(isinstance(row, Mapping) for row in content.values()):
        raise ValueError(f'{file}: must hold a mapping of options under the name of each set')
    sets, absent = [], []
    for name, options in content.items():
        for key in options:
            if key not in KEYS:
                raise ValueError(f'{file}: {name}: unknown key {key!r}; allowed are {", ".join(KEYS)}')
        if 'gt' not in options:
            raise ValueError(f'{file}: {name}: gt is missing: the folder of the clean pictures')
        against = options.get('against')
        if against is not None and against not in content:
            raise ValueError(f'{file}: {name}: against: there is no set {against!r}')
        folders = {key: _found(options[key], roots) for key in ('lq', 'gt') if key in options}
        lost = [str(options[key]) for key, folder in folders.items() if folder is None]
        if lost:
            absent.append(f'{name}: {", ".join(lost)} is in none of {", ".join(map(str, roots))}')
            continue
        try:
            sets.append(_set(str(name), {**options, **folders}, roots))
        except ValueError as error:
            raise ValueError(f'{file}: {name}: {error}') from error
    return sets, absent


def _found(folder: Any, roots: Sequence[str | Path]) -> str | None:
    return next((str(place) for place in (Path(root, str(folder)) for root in roots) if place.is_dir()), None)


def _set(name: str, options: Mapping[str, Any], roots: Sequence[str | Path]) -> BenchmarkSet:
    for key, fits in (
        ('megapixels', lambda v: 0 < v <= 200),
        ('limit', lambda v: isinstance(v, int) and v > 0),
        ('tile', lambda v: isinstance(v, int) and v >= 16),
        ('largest', lambda v: isinstance(v, int) and v >= 16),
    ):
        value = options.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not fits(value)):
            raise ValueError(f'{key}: {value!r}; {KEYS[key]}')
    for key in ('keep_tone', 'self_ensemble'):
        if not isinstance(options.get(key, False), bool):
            raise ValueError(f'{key}: {options[key]!r}; {KEYS[key]}')
    bars, degraded = parse_bars(options.get('bars'))
    dataset, task = _dataset(options, bars if degraded else None)
    positions = list(range(len(dataset)))
    if options.get('only') is not None:
        positions = _chosen(dataset, options['only'], roots)
    if options.get('limit') and len(positions) > options['limit']:
        spread = np.linspace(0, len(positions) - 1, options['limit'])
        positions = [positions[round(place)] for place in spread]
    published = options.get('published')
    if published is not None and not (isinstance(published, (list, tuple)) and len(published) == 2):
        raise ValueError(f'published: {published!r}; {KEYS["published"]}')
    return BenchmarkSet(
        name,
        str(options.get('task', task)),
        dataset,
        str(options.get('group', 'listed sets')),
        tuple(map(str, published)) if published else None,
        options.get('largest'),
        positions=tuple(positions),
        bars=None if degraded else bars,
        how={key: options[key] for key in HOW if options.get(key)},
        against=options.get('against'),
    )


def _dataset(options: Mapping[str, Any], bars: Mapping[str, Any] | None) -> tuple[Dataset, str]:
    """The pictures, with bars that are degraded with them, and the key of their classical method."""
    if 'lq' in options:
        if bars is not None:
            raise ValueError('bars: degraded: pairs are as they are; leave lq out, or degraded')
        for key in ('sigma', 'recipe', 'megapixels'):
            if options.get(key) is not None:
                raise ValueError(f'{key}: pairs are as they are; leave lq out to degrade the pictures of gt')
        pairs = {'phase': 'val', 'task': 'restore', 'pairing': options.get('pairing', 'same_name')}
        return PairedTaskDataset({**pairs, 'dataroot_lq': options['lq'], 'dataroot_gt': options['gt']}), 'restore'
    if 'sigma' in options and 'recipe' in options:
        raise ValueError('sigma and recipe: give one of them')
    sigma, recipe = options.get('sigma'), options.get('recipe')
    megapixels = options.get('megapixels')
    if sigma is not None and megapixels is None and bars is None:
        noisy = GaussianDenoiseDataset({'phase': 'val', 'dataroot_gt': options['gt'], 'sigma': sigma})
        return noisy, f'denoise_{sigma:g}'
    if sigma is not None:
        recipe = {'degradation': 'gaussian_noise', 'sigma': sigma}
    if isinstance(recipe, (str, list)):
        recipe = {'degradation': recipe}
    parsed = parse_recipe(recipe if recipe is not None else {'degradation': CLEAN})
    if len(parsed.entries) != 1:
        raise ValueError(f'recipe: {recipe!r} is {len(parsed.entries)} sets; give each its own name')
    faults = [member.name for member in parsed.entries[0].members]
    task = f'denoise_{sigma:g}' if sigma is not None else faults[-1]
    if megapixels is not None or bars is not None:
        return MadeScenes(options['gt'], parsed, megapixels, bars), task
    made = {'phase': 'val', 'manual_seed': 0, 'dataroot_gt': options['gt'], 'recipe': parsed}
    return SyntheticDegradationDataset(made), task


def _chosen(dataset: Dataset, only: Any, roots: Sequence[str | Path]) -> list[int]:
    """Positions of the pictures whose degraded or clean file is named.

    Raises:
        ValueError: No list, or a name that no picture has.
    """
    if isinstance(only, str):
        file = next((path for path in (Path(root, only) for root in roots) if path.is_file()), None)
        if file is None:
            raise ValueError(f'only: no file {only} in {", ".join(map(str, roots))}')
        only = file.read_text(encoding='utf-8').split('\n')
    if not isinstance(only, Sequence):
        raise ValueError(f'only: {only!r}; {KEYS["only"]}')
    wanted = {Path(str(name).strip()).stem for name in only if str(name).strip()}
    stems = _stems(dataset)
    unknown = sorted(wanted - {stem for names in stems for stem in names})
    if unknown or not wanted:
        raise ValueError(f'only: no picture is called {", ".join(unknown[:5]) or "so (the list is empty)"}')
    return [position for position, names in enumerate(stems) if names & wanted]


def _stems(dataset: Dataset) -> list[set[str]]:
    """What each picture is called: its files without folder and ending."""
    if isinstance(dataset, MadeScenes):
        dataset = dataset.photographs
    if isinstance(dataset, PairedTaskDataset):
        names = [(dataset.lq.names[int(lq)], dataset.gt.names[int(gt)]) for lq, gt in dataset.pairs]
    elif isinstance(dataset, GaussianDenoiseDataset):
        names = [(dataset.gt.names[int(file)],) for file in dataset.files]
    else:
        names = [(dataset.stores[number].names[place],) for number, place in dataset.places.tolist()]
    return [{Path(name).stem for name in each} for each in names]
