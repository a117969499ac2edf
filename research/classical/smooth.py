"""Filters that smooth and keep edges: guided, median, bilateral; and the unsharp mask that does the opposite.

Images are (h, w, 3) float32 RGB in [0, 1].
"""

from __future__ import annotations

import cv2
import numpy as np

from mirage_data.degradations.depth import guided_filter
from mirage_data.degradations.noise import to_uint8

MEDIAN_SIZES = (3, 5, 7, 9, 11, 15, 21, 31)
_FLOAT_MEDIANS = (3, 5)  # the sizes that OpenCV has for float images


def guided(image: np.ndarray, *, radius: int, eps: float) -> np.ndarray:
    """Guided filter with the image as its own guide, windows of `radius` pixels; see `guided_filter`."""
    return np.clip(guided_filter(image, image, size=2 * radius + 1, epsilon=eps, border=cv2.BORDER_REFLECT), 0, 1)


def median(image: np.ndarray, *, size: int) -> np.ndarray:
    """Median of each channel over size x size pixels.

    Raises:
        ValueError: a size that is not in `MEDIAN_SIZES`.
    """
    if size not in MEDIAN_SIZES:
        raise ValueError(f'median: size must be one of {", ".join(map(str, MEDIAN_SIZES))}, got {size!r}')
    if size in _FLOAT_MEDIANS:
        return cv2.medianBlur(np.ascontiguousarray(image), size)
    return cv2.medianBlur(to_uint8(image), size).astype(np.float32) / 255


def bright_median(image: np.ndarray, *, size: int, margin: float) -> np.ndarray:
    """Median, taken only where a pixel is brighter than it by `margin`: streaks and flakes add light.

    Raises:
        ValueError: as `median`.
    """
    smooth = median(image, size=size)
    brighter = (image - smooth).mean(axis=2, keepdims=True) > margin
    return np.where(brighter, smooth, image)


def bilateral(image: np.ndarray, *, sigma: float, radius: float) -> np.ndarray:
    """Bilateral filter: a Gaussian of `radius` pixels, weighted by likeness of colour within `sigma` of 255 steps."""
    return cv2.bilateralFilter(np.ascontiguousarray(image), -1, sigma / 255, radius)


def unsharp(image: np.ndarray, *, radius: float, amount: float) -> np.ndarray:
    """Unsharp mask: adds `amount` times what a Gaussian of `radius` pixels takes away."""
    return np.clip(image + amount * (image - cv2.GaussianBlur(image, (0, 0), radius)), 0, 1)
