"""Haze by the atmospheric scattering model, outdoors, in a room and under water.

The depth is supplied or generated. In a room it is that of walls, floor, ceiling and things standing about. Water
swallows red first, glows in its own colour, and softens what lies far.
"""

from __future__ import annotations

import cv2
import numpy as np

from .depth import WHOLE, generate_depth, guided_filter


def add_haze(image: np.ndarray, near: np.ndarray, *, beta: float, airlight: np.ndarray | float) -> np.ndarray:
    """``I t + A (1 - t)`` with ``t = exp(-beta (1 - near))`` (Koschmieder's law), clipped to [0, 1].

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        near: ``(h, w)`` depth map, 1 = nearest, 0 = farthest.
        beta: Scattering over the whole range of depth.
        airlight: The haze's own colour, one value or three.

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
        beta: Scattering over the whole range of depth.
        airlight: Brightness of the haze.
        tint: Its colour, from -1 (warm) to 1 (bluish); full tint moves red and blue by 0.04.
        horizon, relief: See `generate_depth`; unused with a supplied depth.
        rng: Source of the generated depth.
        depth: ``(h, w)`` in [0, 1], bright for near; resized to the image where the sizes differ.
        window: Where in the whole photograph the image lies.

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


def room_depth(
    image: np.ndarray,
    *,
    breadth: float,
    things: float,
    rng: np.random.Generator,
    window: tuple[float, float, float, float] = WHOLE,
) -> np.ndarray:
    """A plausible depth map of a room, tied to the photograph's edges.

    A ray through each pixel ends at the nearest of five planes (far wall, side walls, floor, ceiling); things are
    upright and stand at random places before them.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        breadth: Half the room's width over its depth; small is a corridor.
        things: About how many things stand in the whole room.
        rng: Source of the room.
        window: Where in the whole photograph the image lies.

    Returns:
        ``(h, w)`` float32 in [0, 1]: distance along the view, 1 at the far wall's.
    """
    height, width = image.shape[:2]
    top, bottom, left, right = window
    y = np.linspace(top, bottom, height, dtype=np.float32)[:, None] - np.float32(rng.uniform(0.35, 0.6))
    x = np.linspace(left, right, width, dtype=np.float32)[None, :] - np.float32(rng.uniform(0.3, 0.7))
    walls = breadth * rng.uniform(0.5, 1.5, 2)
    floor, ceiling = breadth * rng.uniform(0.4, 1.0, 2)
    slope = rng.uniform(-0.4, 0.4)  # the far wall is seldom square to the view
    far = 1 + np.float32(slope) * x
    sides = np.float32(walls[0]) / np.maximum(-x, 1e-3), np.float32(walls[1]) / np.maximum(x, 1e-3)
    levels = np.float32(ceiling) / np.maximum(-y, 1e-3), np.float32(floor) / np.maximum(y, 1e-3)
    depth = np.minimum(np.minimum(far, np.minimum(*sides)), np.minimum(*levels))
    for _ in range(int(rng.poisson(things))):
        centre_y, centre_x = rng.uniform(0.3, 1), rng.uniform(0, 1)
        tall, broad, near = rng.uniform(0.1, 0.5), rng.uniform(0.05, 0.3), rng.uniform(0.25, 0.95)
        rows = [int((centre_y + side * tall / 2 - top) / (bottom - top) * height) for side in (-1, 1)]
        columns = [int((centre_x + side * broad / 2 - left) / (right - left) * width) for side in (-1, 1)]
        place = np.s_[max(rows[0], 0) : max(rows[1], 0), max(columns[0], 0) : max(columns[1], 0)]
        depth[place] = np.minimum(depth[place], np.float32(near))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).reshape(height, width)
    whole_side = min(height / max(bottom - top, 1e-6), 4096)
    depth = guided_filter(grey, depth, size=max(3, round(whole_side / 24)) | 1, epsilon=1e-3)
    return np.clip(depth, 0.02, 1)


def haze_indoor(
    image: np.ndarray,
    *,
    beta: float,
    airlight: float,
    breadth: float,
    things: float,
    rng: np.random.Generator,
    window: tuple[float, float, float, float] = WHOLE,
) -> np.ndarray:
    """Grey haze in a room, as SOTS-indoor has it.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        beta: Scattering between the camera and the far wall.
        airlight: Brightness of the haze.
        breadth, things: See `room_depth`.
        rng: Source of the room.
        window: Where in the whole photograph the image lies.

    Returns:
        float32 image in [0, 1].
    """
    depth = room_depth(image, breadth=breadth, things=things, rng=rng, window=window)
    return add_haze(image, 1 - depth, beta=beta, airlight=airlight)


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
        distance: Absorption of red from the nearest point to the farthest; as much again lies before the nearest.
        turbidity: Scattering b over the same range.
        blue: Colour of the water, 0 green to 1 blue.
        glow: Brightness of the scattered light.
        soften: Blur of the farthest points in pixels (forward scattering).
        horizon, relief: See `generate_depth`.
        rng: Source of the generated depth.
        window: Where in the whole photograph the image lies.

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
