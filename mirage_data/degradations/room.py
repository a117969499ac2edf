"""Haze in a room: the depth of walls, floor, ceiling and things standing about."""

from __future__ import annotations

import cv2
import numpy as np

from .depth import WHOLE, guided_filter
from .haze import add_haze


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
        breadth: half the room's width over its depth; small is a corridor.
        things: about how many things stand in the whole room.
        rng: source of the room.
        window: where in the whole photograph the image lies.

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
        beta: scattering between the camera and the far wall.
        airlight: brightness of the haze.
        breadth, things: see :func:`room_depth`.
        rng: source of the room.
        window: where in the whole photograph the image lies.

    Returns:
        float32 image in [0, 1].
    """
    depth = room_depth(image, breadth=breadth, things=things, rng=rng, window=window)
    return add_haze(image, 1 - depth, beta=beta, airlight=airlight)
