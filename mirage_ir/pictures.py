"""Pictures of a validation: where they go, and lq | result | gt side by side."""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

_GAP = 4  # white columns between the images of a sheet
_ROOTS = ('dataroot_lq', 'dataroot_gt', 'dataroot')


class PictureNames:
    """Distinct names for the pictures of one data set, whatever its folders look like.

    A picture is named after its file's place below the data set's folder, so equal names in different folders stay
    apart; the file ending is added where two files differ by nothing else; and the sample's number where the file
    lies in none of the data set's folders (an LMDB key, say) or the name of a file serves for several samples.

    Args:
        dataset_opt: Options of the data set; its ``dataroot_lq``, ``dataroot_gt`` or ``dataroot`` are the folders.
    """

    def __init__(self, dataset_opt: Mapping) -> None:
        self._roots = [Path(dataset_opt[key]).resolve() for key in _ROOTS if dataset_opt.get(key)]

    def __call__(self, lq_path: str, index: int) -> str:
        """Name without ending, with ``/`` between folders.

        Args:
            lq_path: File or key of the degraded image.
            index: Number of the sample in its data set.
        """
        path = Path(lq_path)
        absolute = path.resolve()
        for root in self._roots:
            if root in absolute.parents:
                relative = absolute.relative_to(root)
                twins = _stems(str(absolute.parent)).count(path.stem) > 1
                named = relative.with_name(path.name.replace('.', '_')) if twins else relative.with_suffix('')
                return named.as_posix()
        return f'{index:05d}_{path.stem}'


@lru_cache(maxsize=64)
def _stems(folder: str) -> tuple[str, ...]:
    try:
        return tuple(os.path.splitext(name)[0] for name in os.listdir(folder))
    except OSError:
        return ()


def side_by_side(images: Sequence[np.ndarray], height: int | None = None) -> np.ndarray:
    """One sheet of images next to each other on white.

    Args:
        images: Arrays (h, w, 3) of one type and any sizes.
        height: Shrink images that are higher than this; the width follows.

    Returns:
        Array (max h, sum of widths and gaps, 3).
    """
    images = [_shrunk(image, height) if height else image for image in images]
    tallest = max(image.shape[0] for image in images)
    white = np.iinfo(images[0].dtype).max if np.issubdtype(images[0].dtype, np.integer) else 1
    columns: list[np.ndarray] = []
    for image in images:
        if columns:
            columns.append(np.full((tallest, _GAP, 3), white, image.dtype))
        below = ((0, tallest - image.shape[0]), (0, 0), (0, 0))
        columns.append(np.pad(image, below, constant_values=white))
    return np.concatenate(columns, axis=1)


def _shrunk(image: np.ndarray, height: int) -> np.ndarray:
    if image.shape[0] <= height:
        return image
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
