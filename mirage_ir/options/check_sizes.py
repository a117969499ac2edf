"""Pre-flight of pairs: a ground truth of another size than its degraded image, found without decoding either."""

from __future__ import annotations

import os
from collections.abc import Iterator

from PIL import Image

from mirage_data.datasets.base import TaskDataset
from mirage_data.datasets.paired import PairedTaskDataset

_EXIF_ORIENTATION = 0x0112
_LYING = (5, 6, 7, 8)  # orientations that swap height and width


def different_sizes(dataset: TaskDataset, limit: int = 3) -> list[str]:
    """Pairs of a validation or test set whose images differ in size.

    Args:
        dataset: Any of ours. Sets without pairs of files (noise, LMDBs, photographs alone) have nothing to compare.
        limit: How many to name.

    Returns:
        `LQ is WxH, its ground truth GT WxH` for the first of them; files that cannot be read are left to the reader,
        whose message is better.
    """
    found = []
    for lq, gt in _pairs(dataset):
        sizes = _size(lq), _size(gt)
        if None not in sizes and sizes[0] != sizes[1]:
            found.append('{} is {}x{}, its ground truth {} {}x{}'.format(lq, *sizes[0], gt, *sizes[1]))
            if len(found) == limit:
                break
    return found


def _pairs(dataset: TaskDataset) -> Iterator[tuple[str, str]]:
    for part in getattr(dataset, 'parts', [dataset]):
        if isinstance(part, PairedTaskDataset) and part.gt is not None:
            for lq, gt in part.pairs:
                yield part.lq.path(int(lq)), part.gt.path(int(gt))


def _size(path: str) -> tuple[int, int] | None:
    """(width, height) as our reader sees the image, from its head; None if that fails."""
    if not os.path.isfile(path):
        return None
    try:
        with Image.open(path) as image:
            lying = image.format == 'JPEG' and image.getexif().get(_EXIF_ORIENTATION) in _LYING
            return image.size[::-1] if lying else image.size
    except (OSError, ValueError, SyntaxError):
        return None
