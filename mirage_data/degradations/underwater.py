"""Underwater: water swallows red first, glows in its own colour, and softens what lies far."""

from __future__ import annotations

import cv2
import numpy as np

from .depth import WHOLE, generate_depth

ABSORPTION = {'green': (1.0, 0.42, 0.58), 'blue': (1.0, 0.5, 0.32)}
"""Relative absorption of red, green and blue in coastal (green) and ocean (blue) water."""
GLOW = {'green': (0.12, 0.5, 0.42), 'blue': (0.06, 0.38, 0.58)}
"""Colour of the water itself."""


def underwater(
    image: np.ndarray,
    *,
    distance: float,
    turbidity: float,
    blue: float,
    glow: float,
    soften: float,
    horizon: float,
    relief: float,
    rng: np.random.Generator,
    window: tuple[float, float, float, float] = WHOLE,
) -> np.ndarray:
    """``I exp(-a_c z) + B_c (1 - exp(-b z))``: the direct and the scattered light (Jaffe-McGlamery model).

    Direct and scattered light fade at different rates, as Akkaynak and Treibitz found ("A revised underwater image
    formation model", 2018).

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        distance: absorption of red from the nearest point to the farthest; as much again lies before the nearest.
        turbidity: scattering b over the same range.
        blue: colour of the water, 0 green to 1 blue.
        glow: brightness of the scattered light.
        soften: blur of the farthest points in pixels (forward scattering).
        horizon, relief: see :func:`.depth.generate_depth`.
        rng: source of the generated depth.
        window: where in the whole photograph the image lies.

    Returns:
        float32 image in [0, 1].
    """
    near = generate_depth(image, horizon=horizon, relief=relief, rng=rng, window=window)
    far = (2 - near)[:, :, None]
    mix = np.array([[1 - blue], [blue]], np.float32)
    absorption = (np.array([ABSORPTION['green'], ABSORPTION['blue']], np.float32) * mix).sum(axis=0)
    colour = (np.array([GLOW['green'], GLOW['blue']], np.float32) * mix).sum(axis=0) * np.float32(glow)
    if soften > 0.1:
        soft = cv2.GaussianBlur(image, (0, 0), soften, borderType=cv2.BORDER_REFLECT).reshape(image.shape)
        image = image + (soft - image) * (1 - near)[:, :, None]
    direct = image * np.exp(far * absorption * np.float32(-distance))
    scattered = colour * (1 - np.exp(far * np.float32(-turbidity)))
    return np.clip(direct + scattered, 0, 1)
