"""Deconvolution with a blur kernel that is known: an oracle, for no camera tells it.

Images are (h, w, 3) float32 RGB in [0, 1]; kernels (k, k) float32 with sum 1. `gamma` is the power that makes the
values linear; the blur is undone there. Borders are mirrored by the kernel's width before and cut off after.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from research.classical.packages import needed


def wiener(image: np.ndarray, *, kernel: np.ndarray, gamma: float = 1.0, balance: float) -> np.ndarray:
    """Wiener filter (scikit-image): least squares with `balance` times the squared Laplacian as the penalty.

    Raises:
        PackageMissingError: scikit-image is not installed.
    """
    restoration = needed('skimage.restoration', 'the Wiener filter')
    return _by_channel(image, kernel, gamma, lambda x: restoration.wiener(x, kernel, balance, clip=False))


def richardson_lucy(image: np.ndarray, *, kernel: np.ndarray, gamma: float = 1.0, iterations: int) -> np.ndarray:
    """Richardson-Lucy deconvolution (scikit-image), stopped after `iterations`.

    Raises:
        PackageMissingError: scikit-image is not installed.

    Source: Richardson 1972; Lucy 1974.
    """
    restoration = needed('skimage.restoration', 'Richardson-Lucy')
    return _by_channel(
        image, kernel, gamma, lambda x: restoration.richardson_lucy(x, kernel, iterations, filter_epsilon=1e-3)
    )


def _by_channel(
    image: np.ndarray, kernel: np.ndarray, gamma: float, deconvolve: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    reach = min(kernel.shape[0], *(side - 1 for side in image.shape[:2]))
    padded = np.pad(cv2.pow(image, gamma), ((reach, reach), (reach, reach), (0, 0)), 'reflect')
    sharp = np.stack([deconvolve(padded[..., c]) for c in range(3)], axis=2)[reach:-reach, reach:-reach]
    return cv2.pow(np.clip(sharp, 0, 1).astype(np.float32), 1 / gamma)
