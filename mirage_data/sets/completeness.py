"""How much of a published data set a run has: the counts of the table beside those on the disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mirage_data.sets.table import Part, data_sets_for_folder


@dataclass(frozen=True)
class Published:
    """What the publishers hand out for a folder.

    Attributes:
        titles: the data sets that lie there, in words.
        samples: how many images (without a degraded side) or pairs they have.
    """

    titles: str
    samples: int


def published(options: Mapping, split: str) -> Published | None:
    """The published number of samples of a data set, recognised by the ends of its folders.

    Args:
        options: those of a data set or source; read are `dataroot_gt` and `dataroot_lq`, folders or databases, and
            `sigma`, of which a list makes a sample for each.
        split: 'train' or 'test'.

    Returns:
        None for folders that the table of data sets does not know, such as one's own or cut-up copies, and for sets
        that are made from photographs by a recipe.
    """
    lq, gt = (_folder(options.get(key)) for key in ('dataroot_lq', 'dataroot_gt'))
    if not (lq or gt) or options.get('recipe'):
        return None
    found: list[tuple[str, Part]] = []
    for row in data_sets_for_folder(lq or gt):
        for part in row.parts_of(split):
            wanted, here = (part.lq, lq) if lq else (part.gt, gt)
            if wanted and _ends_with(here, wanted) and (row.title, part) not in found:
                found.append((row.title, part))
    if not found:
        return None
    count = sum(part.lq_count if lq else part.gt_count for _, part in found)
    if isinstance(options.get('sigma'), (list, tuple)):
        count *= len(options['sigma'])
    return Published(' and '.join(dict.fromkeys(title for title, _ in found)), count) if count else None


def _folder(root: object) -> str | None:
    return str(root).rstrip('/\\').removesuffix('.lmdb') if isinstance(root, (str, Path)) and str(root) else None


def _ends_with(path: str, end: str) -> bool:
    have, wanted = ([part.lower() for part in Path(text).parts] for text in (path, end))
    return have[-len(wanted) :] == wanted


def source_note(row: Mapping) -> str:
    """A source whose data are not the published ones, in words; empty if they are, or nothing is known.

    Args:
        row: of `MixedDegradationDataset.ratios`: `task`, `images`, `published`, `titles`, `percent`,
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
