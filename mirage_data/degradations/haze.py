"""Haze by the atmospheric scattering model, over a supplied or a generated depth."""

from __future__ import annotations

import cv2
import numpy as np

from .depth import WHOLE, generate_depth


def add_haze(image: np.ndarray, near: np.ndarray, *, beta: float, airlight: np.ndarray | float) -> np.ndarray:
    """``I t + A (1 - t)`` with ``t = exp(-beta (1 - near))`` (Koschmieder's law), clipped to [0, 1].

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        near: ``(h, w)`` depth map, 1 = nearest, 0 = farthest.
        beta: scattering over the whole range of depth.
        airlight: the haze's own colour, one value or three.

    Returns:
        float32 image in [0, 1].
    """
    transmission = np.exp((near - 1) * np.float32(beta))[:, :, None]
    airlight = np.asarray(airlight, np.float32)
    hazy = (image - airlight) * transmission
    hazy += airlight
    return np.clip(hazy, 0, 1, out=hazy)


def haze(
    image: np.ndarray,
    *,
    beta: float,
    airlight: float,
    tint: float,
    horizon: float,
    relief: float,
    rng: np.random.Generator,
    depth: np.ndarray | None = None,
    window: tuple[float, float, float, float] = WHOLE,
) -> np.ndarray:
    """Hazy image over ``depth``, or over a depth guessed from the image.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        beta: scattering over the whole range of depth.
        airlight: brightness of the haze.
        tint: its colour, from -1 (warm) to 1 (bluish); full tint moves red and blue by 0.04.
        horizon, relief: see :func:`.depth.generate_depth`; unused with a supplied depth.
        rng: source of the generated depth.
        depth: ``(h, w)`` in [0, 1], bright for near; resized to the image where the sizes differ.
        window: where in the whole photograph the image lies.

    Returns:
        float32 image in [0, 1].
    """
    height, width = image.shape[:2]
    if depth is None:
        depth = generate_depth(image, horizon=horizon, relief=relief, rng=rng, window=window)
    elif depth.shape != (height, width):
        depth = cv2.resize(depth.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    colour = np.clip(np.array([airlight - 0.04 * tint, airlight, airlight + 0.04 * tint], np.float32), 0, 1)
    return add_haze(image, depth.reshape(height, width), beta=beta, airlight=colour)
