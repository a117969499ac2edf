"""Rain: streaks in several layers of depth, brighter and longer near the camera, finer and denser far away."""

from __future__ import annotations

import cv2
import numpy as np


def streak_layer(
    shape: tuple[int, int], *, angle: float, length: float, width: float, density: float, rng: np.random.Generator
) -> np.ndarray:
    """One layer of parallel streaks of one length.

    Drops are dropped at random on an upright canvas, drawn out along it, softened, and the canvas is turned. Filtering
    upright is separable, which keeps a layer of a 128 x 128 crop well under a millisecond.

    Args:
        shape: height and width in pixels.
        angle: direction of fall in degrees from the vertical; positive leans to the right.
        length: length of a streak in pixels.
        width: thickness in pixels (about the full width at half maximum).
        density: share of the area that streaks would cover if none overlapped.
        rng: source of the positions and brightnesses.

    Returns:
        ``(h, w)`` float32, 0 without rain, brightest streaks about 1.
    """
    height, width_px = shape
    length = max(1, round(length))
    reach = 1 + int(np.hypot(height, width_px)) if abs(angle) > 1e-3 else max(height, width_px)
    canvas_h, canvas_w = (reach, reach) if abs(angle) > 1e-3 else (height, width_px)
    count = int(rng.poisson(density * (canvas_h + length) * canvas_w / (length * max(width, 1.0))))
    canvas = np.zeros((canvas_h + length, canvas_w), np.float32)
    rows = rng.integers(0, canvas.shape[0], count)
    columns = rng.integers(0, canvas_w, count)
    # squaring makes most drops faint and a few bright, as their distances are spread over the layer
    canvas[rows, columns] = 0.25 + 0.75 * rng.random(count, dtype=np.float32) ** 2

    canvas = cv2.boxFilter(canvas, -1, (1, length), normalize=False, borderType=cv2.BORDER_CONSTANT)
    across, along = max(width / 2.355, 0.3), max(length / 7, 0.3)
    canvas = cv2.GaussianBlur(canvas, (0, 0), sigmaX=across, sigmaY=along, borderType=cv2.BORDER_CONSTANT)
    canvas = canvas.reshape(-1, canvas_w)[length // 2 : length // 2 + canvas_h]
    canvas = canvas * np.float32(max(across * np.sqrt(2 * np.pi), 1.0))  # a lone streak peaks at its drop's brightness
    if abs(angle) <= 1e-3:
        return np.ascontiguousarray(canvas)
    turn = cv2.getRotationMatrix2D(((canvas_w - 1) / 2, (canvas_h - 1) / 2), angle, 1.0)
    turn[:, 2] += ((width_px - canvas_w) / 2, (height - canvas_h) / 2)
    return cv2.warpAffine(canvas, turn, (width_px, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def streak_mask(
    shape: tuple[int, int],
    *,
    angle: float,
    length: float,
    width: float,
    density: float,
    brightness: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Rain streaks of three depths.

    Args:
        shape: height and width in pixels.
        angle: direction of fall in degrees from the vertical; layers differ by a few degrees.
        length: length of the nearest streaks in pixels; far ones are down to a third of it.
        width: thickness of the nearest streaks in pixels.
        density: share of the area that streaks would cover if none overlapped.
        brightness: value of the brightest streaks.
        rng: source of everything else.

    Returns:
        ``(h, w)`` float32 mask in [0, 1].
    """
    mask = np.zeros(shape, np.float32)
    for nearness, share, gain in ((1.0, 0.35, 1.0), (0.6, 0.35, 0.75), (0.35, 0.3, 0.5)):
        jitter = rng.uniform(-2.5, 2.5)
        stretch = rng.uniform(0.75, 1.25)
        layer = streak_layer(
            shape,
            angle=angle + jitter,
            length=length * nearness * stretch,
            width=max(width * nearness, 0.8),
            density=density * share,
            rng=rng,
        )
        layer *= np.float32(gain * brightness)
        mask += layer
    return np.clip(mask, 0, 1, out=mask)


def add_rain(image: np.ndarray, mask: np.ndarray, *, blend: float = 0.0) -> np.ndarray:
    """Lay a rain mask over an image: ``I (1 - blend * m) + m``, clipped to [0, 1].

    ``blend`` 0 is the additive rain of Rain100L and CDD11, 1 an opaque white streak.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        mask: ``(h, w)`` float32 in [0, 1].
        blend: how much a streak hides of what is behind it.
    """
    mask = mask[:, :, None]
    rainy = image * (1 - np.float32(blend) * mask)
    rainy += mask
    return np.clip(rainy, 0, 1, out=rainy)


def rain(
    image: np.ndarray,
    *,
    angle: float,
    length: float,
    width: float,
    density: float,
    brightness: float,
    blend: float,
    veil: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Rain streaks and the grey veil that far rain hangs over a scene.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        angle, length, width, density, brightness: see :func:`streak_mask`.
        blend: see :func:`add_rain`.
        veil: share of grey (0.75) mixed in before the streaks.
        rng: source of the streaks.

    Returns:
        float32 image in [0, 1].
    """
    mask = streak_mask(
        image.shape[:2], angle=angle, length=length, width=width, density=density, brightness=brightness, rng=rng
    )
    veiled = image * np.float32(1 - veil) + np.float32(0.75 * veil)
    return add_rain(veiled, mask, blend=blend)
