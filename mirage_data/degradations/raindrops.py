"""Raindrops on the window in front of the lens: each shows the scene upside down, small and out of focus."""

from __future__ import annotations

import cv2
import numpy as np


def drop_field(
    shape: tuple[int, int], *, count: float, size: float, defocus: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Opacity of the drops and where in the scene each of their points looks.

    Args:
        shape: height and width in pixels.
        count: drops per 100 x 100 pixels.
        size: typical radius in pixels.
        defocus: blur of the drops' outlines in pixels.
        rng: source of places, sizes and shapes.

    Returns:
        opacity ``(h, w)`` float32 in [0, 1], and offsets ``(h, w, 2)`` float32 in pixels (x, y).
    """
    height, width = shape
    opacity = np.zeros(shape, np.float32)
    offsets = np.zeros((height, width, 2), np.float32)
    border = 2 * size
    number = int(rng.poisson(count * (height + 2 * border) * (width + 2 * border) / 1e4))
    for _ in range(number):
        x, y = rng.uniform(-border, width + border), rng.uniform(-border, height + border)
        radius = size * float(np.exp(rng.normal(0, 0.35)))
        squash, lean = rng.uniform(0.7, 1.0), rng.uniform(-0.3, 0.3)
        wobble, phase = rng.uniform(0.0, 0.12, 2), rng.uniform(0, 2 * np.pi, 2)
        magnify = rng.uniform(2.5, 5.0)
        reach = int(1.6 * radius) + 2
        top, bottom = max(0, int(y) - reach), min(height, int(y) + reach + 1)
        left, right = max(0, int(x) - reach), min(width, int(x) + reach + 1)
        if top >= bottom or left >= right:
            continue
        v = (np.arange(top, bottom, dtype=np.float32) - np.float32(y))[:, None] / np.float32(radius)
        u = (np.arange(left, right, dtype=np.float32) - np.float32(x))[None, :] / np.float32(radius * squash)
        u = u + np.float32(lean) * v
        u, v = np.broadcast_arrays(u * (1 - 0.25 * v), v)  # heavier below, as a hanging drop is
        around = np.arctan2(v, u)
        outline = 1 + wobble[0] * np.cos(2 * around + phase[0]) + wobble[1] * np.cos(3 * around + phase[1])
        distance = np.hypot(u, v) / outline.astype(np.float32)
        inside = np.clip((1 - distance) * np.float32(radius) + 0.5, 0, 1)
        here = (slice(top, bottom), slice(left, right))
        bulge = np.float32(-magnify * radius) * (0.4 + 0.6 * np.minimum(distance, 1))  # rays bend most at the rim
        replaced = inside > opacity[here]
        offsets[here][replaced] = np.stack([u * bulge, v * bulge], axis=2)[replaced]
        np.maximum(opacity[here], inside, out=opacity[here])
    if defocus > 0.3:
        opacity = cv2.GaussianBlur(opacity, (0, 0), defocus, borderType=cv2.BORDER_REPLICATE).reshape(shape)
    return opacity, offsets


def raindrops(
    image: np.ndarray,
    *,
    count: float,
    size: float,
    defocus: float,
    opacity: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Drops on a pane of glass.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        count, size, defocus: see :func:`drop_field`.
        opacity: how much a drop hides, 0 to 1.
        rng: source of the drops.

    Returns:
        float32 image in [0, 1].
    """
    height, width = image.shape[:2]
    cover, offsets = drop_field((height, width), count=count, size=size, defocus=defocus, rng=rng)
    scene = cv2.GaussianBlur(image, (0, 0), 0.4 * size + 0.5, borderType=cv2.BORDER_REFLECT).reshape(image.shape)
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    seen = cv2.remap(
        scene, columns + offsets[..., 0], rows + offsets[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    ).reshape(image.shape)
    # the rim bends light away from the lens and is dark above, where the drop shows the ground; below it gathers sky
    tilt = np.clip(offsets[..., 1] / np.float32(4 * size), -1, 1)
    seen *= (1.02 - 0.22 * tilt)[:, :, None]
    cover = (np.float32(opacity) * cover)[:, :, None]
    return np.clip(image * (1 - cover) + seen * cover, 0, 1)
