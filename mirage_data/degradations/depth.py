"""A plausible depth map for a photograph that has none: near at the bottom, smooth, following the objects' edges."""

from __future__ import annotations

import cv2
import numpy as np

WHOLE = (0.0, 1.0, 0.0, 1.0)
"""The window of an uncropped image: top, bottom, left, right as shares of the whole photograph."""


def guided_filter(
    guide: np.ndarray, values: np.ndarray, *, size: int, epsilon: float, border: int = cv2.BORDER_REFLECT_101
) -> np.ndarray:
    """Edge-preserving smoothing: locally linear in the guide (He et al., "Guided image filtering", 2010).

    Args:
        guide: ``(h, w)`` or ``(h, w, c)``, the image whose edges are kept.
        values: What is smoothed; same shape, channels apart, and dtype as the guide (float32 or float64).
        size: Side of the square box window in pixels.
        epsilon: Variance of the guide below which an edge is smoothed away.
        border: How OpenCV goes on behind the borders; by default they are mirrored without repeating the edge pixel.

    Returns:
        An array of the same shape and dtype.
    """
    box = (size, size)
    shape = guide.shape

    def mean(array: np.ndarray) -> np.ndarray:
        return cv2.blur(array, box, borderType=border).reshape(shape)

    mean_guide, mean_values = mean(guide), mean(values)
    covariance = mean(guide * values) - mean_guide * mean_values
    variance = mean(guide * guide) - mean_guide * mean_guide
    slope = covariance / (variance + epsilon)
    offset = mean_values - slope * mean_guide
    return mean(slope) * guide + mean(offset)


def coarse_field(
    shape: tuple[int, int], *, cells: int, rng: np.random.Generator, window: tuple[float, float, float, float] = WHOLE
) -> np.ndarray:
    """A smooth random field with values in [0, 1], of which an image shows a window.

    Args:
        shape: Height and width of the result.
        cells: Number of random knots along each side of the whole field.
        rng: Source of the knots.
        window: Top, bottom, left, right of the image within the field, as shares.

    Returns:
        ``(h, w)`` float32.
    """
    height, width = shape
    top, bottom, left, right = window
    knots = rng.random((cells, cells), dtype=np.float32)
    last = cells - 1
    step_x, step_y = last * (right - left) / max(width - 1, 1), last * (bottom - top) / max(height - 1, 1)
    matrix = np.array([[step_x, 0, last * left], [0, step_y, last * top]])
    field = cv2.warpAffine(
        knots, matrix, (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    return np.clip(field, 0, 1, out=field)


def generate_depth(
    image: np.ndarray,
    *,
    horizon: float,
    relief: float,
    rng: np.random.Generator,
    window: tuple[float, float, float, float] = WHOLE,
) -> np.ndarray:
    """Guess a depth map, bright for near, from a photograph.

    Three hints are mixed: a ground plane that recedes to the horizon, the dark channel (a bright, colourless patch
    is more likely sky or distance than a dark or colourful one), and a smooth random relief. A guided filter then ties
    the map to the photograph's edges.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        horizon: Height of the horizon in the whole photograph, 0 = top, 1 = bottom.
        relief: Weight of the random relief, 0 to 1.
        rng: Source of the relief.
        window: Where in the whole photograph the image lies, so that a crop gets the depth of its place.

    Returns:
        ``(h, w)`` float32 in [0, 1], 1 = nearest.
    """
    height, width = image.shape[:2]
    top, bottom = window[:2]
    rows = np.linspace(top, bottom, height, dtype=np.float32)
    ground = np.clip((rows - np.float32(horizon)) / np.float32(max(1 - horizon, 1e-3)), 0, 1) ** np.float32(0.7)
    whole_side = min(height / max(bottom - top, 1e-6), 4096)
    patch = max(3, round(whole_side / 40)) | 1
    dark = cv2.erode(image.min(axis=2), np.ones((patch, patch), np.uint8)).reshape(height, width)
    field = coarse_field((height, width), cells=5, rng=rng, window=window)

    near = (1 - dark) * np.float32(0.35)
    near += (ground * np.float32(0.65))[:, None]
    near *= np.float32(1 - relief)
    near += field * np.float32(relief)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).reshape(height, width)
    near = guided_filter(grey, near, size=max(3, round(whole_side / 12)) | 1, epsilon=2e-3)
    return np.clip(near, 0, 1, out=near)
