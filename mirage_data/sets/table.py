"""The one table of data sets: where they lie, how their files pair, how many there are, where they come from.

Everything else reads it: the dataset options, `mirage-basicsr prepare`, `mirage-basicsr check-data`, the check before a
run, and the documentation. The rows themselves are in `mirage_data/sets/sets.yml`; here are their type and the
questions one can ask of them. All folders are relative to the data root, which is `datasets/` unless said otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

import yaml

from mirage_data.degradations.cdd11 import TYPES as CDD11_TYPES

DEFAULT_ROOT = 'datasets'
_SHARED = ('train', 'test')  # first folders, in lower case, that belong to many sets


@dataclass(frozen=True)
class Part:
    """One folder of clean images, or one pair of folders, that a dataset class reads.

    Attributes:
        split: 'train' or 'test'.
        gt: Folder of the clean images.
        gt_count: How many clean images the published set has.
        lq: Folder of the degraded images, or None where they are made from the clean ones (denoising).
        lq_count: How many degraded images the published set has.
        pairing: Name of the rule in `mirage_data.files.pairing` that finds a degraded image's clean one.
        content: What the files are, with an example of their names, in words for an error message.
        degradation: The type within a set that has several ('low_haze', 'snow100k_l'), else ''.
        recursive: Whether degraded images may lie in folders below `lq` (OTS comes in parts).
        gt_names: Regular expression a clean file's stem matches where two sets share a folder; '' accepts all.
    """

    split: str
    gt: str
    gt_count: int
    lq: str | None = None
    lq_count: int = 0
    pairing: str | dict = 'same_name'
    content: str = ''
    degradation: str = ''
    recursive: bool = False
    gt_names: str = ''

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of this part, degraded before clean."""
        return (self.gt,) if self.lq is None else (self.lq, self.gt)

    def owns_clean_file(self, name: str) -> bool:
        """Whether a file of the (perhaps shared) clean folder belongs to this part."""
        return not self.gt_names or re.fullmatch(self.gt_names, PurePosixPath(name).stem) is not None


@dataclass(frozen=True)
class Overlap:
    """Photographs that a training set shares with a test set as both are published.

    Attributes:
        note: In words.
        train: Stems of the training images.
    """

    note: str
    train: tuple[str, ...]

    def has(self, image: str | Path) -> bool:
        """Whether a training image is one of them, by its name."""
        return PurePosixPath(image).stem in self.train


@dataclass(frozen=True)
class DataSet:
    """A published data set.

    Attributes:
        name: What one types after `mirage-basicsr prepare`.
        title: Its usual name.
        task: 'denoise', 'derain', 'dehaze', 'deblur', 'enhance', 'desnow', 'raindrop', 'weather', 'composite',
            'underwater' or 'display'.
        parts: Its folders.
        published: Pages from which the publishers (or the field's usual mirrors) hand it out.
        licence: What the publishers say about use. Not legal advice.
        paper: Who to cite.
        note: What one should know before using it; may be empty.
        overlaps: For each set whose test photographs are among the training ones as published, which they are.
    """

    name: str
    title: str
    task: str
    parts: tuple[Part, ...]
    published: list[str]
    licence: str
    paper: str
    note: str = ''
    overlaps: dict[str, Overlap] = field(default_factory=dict)

    @property
    def prepare_command(self) -> str:
        """The command that brings a download of this set into our layout."""
        return f'mirage-basicsr prepare {self.name} --source DIR_OR_ARCHIVE'

    def parts_of(self, split: str) -> tuple[Part, ...]:
        """The parts of 'train' or 'test'."""
        return tuple(part for part in self.parts if part.split == split)


@dataclass(frozen=True)
class SettingSource:
    """One source of a training setting, as the authors' released code samples it in an epoch.

    Attributes:
        task: Task name that samples carry; noise sources name their sigma ('denoise_15').
        datasets: Names of the data sets whose training parts are read.
        repeat: How often each image is used per epoch.
        sigma: Noise level on the 0..255 scale, or None.
    """

    task: str
    datasets: tuple[str, ...]
    repeat: int
    sigma: int | None = None

    @property
    def samples(self) -> int:
        """Samples per epoch with the published counts."""
        parts = [part for name in self.datasets for part in data_set(name).parts_of('train')]
        return self.repeat * sum(part.gt_count if part.lq is None else part.lq_count for part in parts)


_THREE = (
    SettingSource('denoise_15', ('bsd400', 'wed'), 3, 15),
    SettingSource('denoise_25', ('bsd400', 'wed'), 3, 25),
    SettingSource('denoise_50', ('bsd400', 'wed'), 3, 50),
    SettingSource('derain', ('rain100l',), 120),
    SettingSource('dehaze', ('ots',), 1),
)
# Samples per epoch: 142,431 and 162,646 (the authors' released training code).
SETTINGS: dict[str, tuple[SettingSource, ...]] = {
    '3deg': _THREE,
    '5deg': (*_THREE, SettingSource('deblur', ('gopro',), 5), SettingSource('enhance', ('lol',), 20)),
}


@cache
def all_data_sets() -> dict[str, DataSet]:
    """Every data set by name, in the order of the documentation."""
    with open(Path(__file__).with_name('sets.yml'), encoding='utf-8') as file:
        rows = yaml.load(file, getattr(yaml, 'CSafeLoader', yaml.SafeLoader))
    return {name: _data_set(name, row) for name, row in rows.items()}


def _data_set(name: str, row: dict) -> DataSet:
    overlaps = {
        other: Overlap(entry['note'], tuple(entry['train'].split())) for other, entry in row.get('overlaps', {}).items()
    }
    return DataSet(name, **row | {'parts': _parts(row['parts']), 'overlaps': overlaps})


def _parts(entries: list[dict]) -> tuple[Part, ...]:
    parts = []
    for entry in entries:
        kinds = CDD11_TYPES if entry.get('degradation') == 'CDD11' else [entry.get('degradation', '')]
        for kind in kinds:
            lq = entry['lq'].format(kind) if 'lq' in entry else None
            parts.append(Part(**entry | {'lq': lq, 'degradation': kind}))
    return tuple(parts)


def data_set(name: str) -> DataSet:
    """The data set called `name`.

    Raises:
        ValueError: If there is none, naming those there are.
    """
    table = all_data_sets()
    if name not in table:
        raise ValueError(f'unknown data set {name!r}; known: {", ".join(table)}')
    return table[name]


def data_sets_for_folder(path: str | Path) -> tuple[DataSet, ...]:
    """The data sets that own a folder, recognised by the end of its path.

    Args:
        path: A folder as an option file names it, e.g. 'datasets/Train/Derain/rainy' or an absolute path.

    Returns:
        All that read this folder, or have folders below it (two share Train/Denoise); empty if it is none of ours.
    """
    wanted = _lower_parts(path)
    exact, above = [], []
    for row in all_data_sets().values():
        ends = [_lower_parts(folder) for part in row.parts for folder in part.folders]
        if any(_ends_with(wanted, end) for end in ends):
            exact.append(row)
        elif any(_ends_with(wanted, end[:depth]) for end in ends for depth in range(1 + (end[0] in _SHARED), len(end))):
            above.append(row)
    return tuple(exact or above)


def _lower_parts(path: str | Path) -> tuple[str, ...]:
    return tuple(part.lower() for part in Path(path).parts)


def _ends_with(path: tuple[str, ...], end: tuple[str, ...]) -> bool:
    return len(path) >= len(end) and path[-len(end) :] == end


def describe_folder(path: str | Path) -> str | None:
    """What belongs into a folder, where it is published and how to get it there; a line each.

    Args:
        path: A folder as an option file names it; it need not exist.

    Returns:
        The description, or None if the folder belongs to none of our data sets.
    """
    owners = data_sets_for_folder(path)
    if not owners:
        return None
    wanted = _lower_parts(path)
    pieces = []
    for row in owners:
        sides = [
            _side(row, part, folder)
            for part in row.parts
            for folder in part.folders
            if _ends_with(wanted, _lower_parts(folder))
        ]
        what = sides[0] if sides else f'folders of {row.title}'
        pieces += [f'belongs here: {what}', f'published: {row.published[0]}', f'prepare: {row.prepare_command}']
    return '\n'.join(pieces)


def _side(row: DataSet, part: Part, folder: str) -> str:
    kind, count = ('clean', part.gt_count) if folder == part.gt else ('degraded', part.lq_count)
    return f'{count:,} {kind} images of {row.title} ({part.split}; {part.content})'


@dataclass(frozen=True)
class Published:
    """What the publishers hand out for a folder.

    Attributes:
        titles: The data sets that lie there, in words.
        samples: How many images (without a degraded side) or pairs they have.
    """

    titles: str
    samples: int


def published(options: Mapping, split: str) -> Published | None:
    """The published number of samples of a data set, recognised by the ends of its folders.

    Args:
        options: Those of a data set or source; read are `dataroot_gt` and `dataroot_lq`, folders or databases, and
            `sigma`, of which a list makes a sample for each.
        split: 'train' or 'test'.

    Returns:
        None for folders that the table of data sets does not know, such as one's own or cut-up copies, and for sets
        that are made from photographs by a recipe.
    """
    lq, gt = (_folder(options.get(key)) for key in ('dataroot_lq', 'dataroot_gt'))
    here = lq or gt
    if here is None or options.get('recipe'):
        return None
    found: list[tuple[str, Part]] = []
    for row in data_sets_for_folder(here):
        for part in row.parts_of(split):
            wanted = part.lq if lq else part.gt
            if wanted and _ends_with(_lower_parts(here), _lower_parts(wanted)) and (row.title, part) not in found:
                found.append((row.title, part))
    if not found:
        return None
    count = sum(part.lq_count if lq else part.gt_count for _, part in found)
    if isinstance(options.get('sigma'), (list, tuple)):
        count *= len(options['sigma'])
    return Published(' and '.join(dict.fromkeys(title for title, _ in found)), count) if count else None


def _folder(root: object) -> str | None:
    return str(root).rstrip('/\\').removesuffix('.lmdb') if isinstance(root, (str, Path)) and str(root) else None


def source_note(row: Mapping) -> str:
    """A source whose data are not the published ones, in words; empty if they are, or nothing is known.

    Args:
        row: Of `MixedDegradationDataset.ratios`: `task`, `images`, `published`, `titles`, `percent`,
            `published_percent`.
    """
    if row['published'] is None or row['images'] == row['published']:
        return ''
    share = f'makes {row["percent"]:.1f} % of an epoch'
    if row['published_percent'] is not None:
        share += f' (published: {row["published_percent"]:.1f} %)'
    return f'{row["task"]} has {row["images"]:,} of the {row["published"]:,} samples of {row["titles"]} and {share}'


def mixture_notes(rows: Sequence[Mapping]) -> list[str]:
    """`source_note` of every source that has one."""
    return [note for note in map(source_note, rows) if note]
