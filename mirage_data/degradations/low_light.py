"""Low light: a photograph taken with far too little light, with the noise that follows from it."""

from __future__ import annotations

import cv2
import numpy as np

from .depth import WHOLE, coarse_field


def low_light(
    image: np.ndarray,
    *,
    exposure: float,
    contrast: float,
    cast: float,
    shot: float,
    read: float,
    rng: np.random.Generator,
    window: tuple[float, float, float, float] = WHOLE,
) -> np.ndarray:
    """Dim the light of a scene unevenly, add the sensor's noise, and develop the picture as if nothing had happened.

    Everything before the last step is in linear light (a tone curve of power 2.2 is undone first), where dimming is a
    product and the noise's variance is ``shot * x + read ** 2``.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        exposure: share of the light that is left, in linear light.
        contrast: how uneven the light is, 0 (even) to 1 (the darkest places get none).
        cast: colour of the light, from -1 (bluish) to 1 (warm, as from lamps); full cast weakens a channel by 30 %.
        shot: variance of the photon noise at white.
        read: deviation of the read-out noise.
        rng: source of the light's shape and of the noise.
        window: where in the whole photograph the image lies.

    Returns:
        float32 image in [0, 1].
    """
    light = coarse_field(image.shape[:2], cells=4, rng=rng, window=window)
    light *= np.float32(contrast)
    light += np.float32(1 - contrast)
    light *= np.float32(exposure)
    colour = np.array([1 + 0.3 * min(cast, 0), 1 - 0.1 * abs(cast), 1 - 0.3 * max(cast, 0)], np.float32)
    linear = cv2.pow(np.maximum(image, 0), 2.2)
    linear *= light[:, :, None]
    linear *= colour
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    noise *= cv2.sqrt(linear * np.float32(shot) + np.float32(read * read))
    linear += noise
    np.clip(linear, 0, 1, out=linear)
    return cv2.pow(linear, 1 / 2.2)
