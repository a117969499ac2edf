"""Brightening dark photographs: gain, gamma, local histograms.

Images are (h, w, 3) float32 RGB in [0, 1].
"""

from __future__ import annotations

import cv2
import numpy as np

_STEPS = 255  # of the lightness: with 16 bits OpenCV's histogram is too fine for tiles of usual size
_DARKEST = 1e-3  # mean below which a picture is taken for black


def gain(image: np.ndarray, *, target: float) -> np.ndarray:
    """Multiply by the factor that brings the mean to `target`, before values above 1 are clipped; never darken."""
    return np.clip(image * max(1.0, target / max(float(image.mean()), _DARKEST)), 0, 1)


def gamma(image: np.ndarray, *, target: float) -> np.ndarray:
    """Raise to the power that brings the mean value itself to `target`; never darken."""
    mean = float(np.clip(image.mean(), _DARKEST, 1 - _DARKEST))
    return cv2.pow(image, min(1.0, float(np.log(target) / np.log(mean))))


def clahe(image: np.ndarray, *, clip: float, tiles: int = 8) -> np.ndarray:
    """Contrast-limited adaptive histogram equalisation of the lightness (CIE Lab).

    Args:
        image: (h, w, 3) float32 in [0, 1].
        clip: limit of the contrast, in units of a flat histogram.
        tiles: number of tiles along each side.

    Source: Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV, 1994.
    """
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2Lab)
    lightness = np.rint(lab[..., 0] * (_STEPS / 100)).astype(np.uint8)
    lab[..., 0] = cv2.createCLAHE(clip, (tiles, tiles)).apply(lightness) * np.float32(100 / _STEPS)
    return np.clip(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB), 0, 1)
