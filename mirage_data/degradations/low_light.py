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
        exposure: Share of the light that is left, in linear light.
        contrast: How uneven the light is, 0 (even) to 1 (the darkest places get none).
        cast: Colour of the light, from -1 (bluish) to 1 (warm, as from lamps); full cast weakens a channel by 30 %.
        shot: Variance of the photon noise at white.
        read: Deviation of the read-out noise.
        rng: Source of the light's shape and of the noise.
        window: Where in the whole photograph the image lies.

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


def underexposed(
    image: np.ndarray,
    *,
    level: float,
    power: float,
    red: float,
    blue: float,
    black: float,
    noise: float,
    smear: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """A camera's own picture of a scene exposed far too short, as the pairs of LOL show it.

    ``level * colour * x ** power - black`` in display values, with noise of about one 8-bit step that is coarse and a
    little stronger where it is bright.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        level: What white becomes.
        power: Steepness; above 1 shadows lose more than lights.
        red, blue: Factors of the two channels beside green: the colour cast of a wrong white balance.
        black: What is subtracted, in 8-bit steps; the darkest pixels become 0.
        noise: Deviation at the darkest places in 8-bit steps, doubled at 60 of 255.
        smear: Grain of the noise: standard deviation of its smoothing in pixels.
        rng: Source of the noise.

    Returns:
        float32 image in [0, 1].
    """
    dark = cv2.pow(np.maximum(image, 0), power).reshape(image.shape)
    dark *= np.array([red, 1, blue], np.float32) * np.float32(level)
    grain = rng.standard_normal(image.shape, dtype=np.float32)
    if smear > 0.1:
        taps = cv2.getGaussianKernel(round(8 * smear) | 1, smear, cv2.CV_32F)
        grain = cv2.sepFilter2D(grain, -1, taps, taps).reshape(image.shape)
        grain *= np.float32(1 / (taps**2).sum())  # smearing must not make the noise weaker, only coarser
    grain *= (1 + dark * np.float32(255 / 60)) * np.float32(noise / 255)
    dark += grain
    dark -= np.float32(black / 255)
    return np.clip(dark, 0, 1, out=dark)


def dark_scene(
    image: np.ndarray, *, power: float, level: float, cast: float, rng: np.random.Generator | None = None
) -> np.ndarray:
    """A photograph of a dark place that is exposed as it should be: a scene, not a fault.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        power: Of the values; above 1 darkens all but the lights.
        level: What white becomes.
        cast: Colour of the light, from -1 (bluish, night) to 1 (warm, lamps); full cast weakens a channel by 30 %.
        rng: Not used; accepted because every degradation takes one.

    Returns:
        float32 image in [0, 1].
    """
    dark = cv2.pow(np.maximum(image, 0), power).reshape(image.shape)
    dark *= np.array([1 + 0.3 * min(cast, 0), 1 - 0.1 * abs(cast), 1 - 0.3 * max(cast, 0)], np.float32)
    dark *= np.float32(level)
    return dark


def black_and_white(image: np.ndarray, *, rng: np.random.Generator | None = None) -> np.ndarray:
    """The photograph without colours (Rec. 601): ``(h, w, 3)`` float32 with three equal channels."""
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY).reshape(*image.shape[:2], 1)
    return np.repeat(grey, 3, axis=2)
