"""Pictures side by side on one sheet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_GAP = 4  # white columns between the images of a sheet


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
    import cv2  # most sheets are not shrunk

    width = max(1, round(image.shape[1] * height / image.shape[0]))
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
