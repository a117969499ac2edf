"""Rain: streaks in several layers of depth, brighter and longer near the camera, finer and denser far away.

Drops on the window in front of the lens each show the scene upside down, small and out of focus.
"""

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
        shape: Height and width in pixels.
        angle: Direction of fall in degrees from the vertical; positive leans to the right.
        length: Length of a streak in pixels.
        width: Thickness in pixels (about the full width at half maximum).
        density: Share of the area that streaks would cover if none overlapped.
        rng: Source of the positions and brightnesses.

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
        shape: Height and width in pixels.
        angle: Direction of fall in degrees from the vertical; layers differ by a few degrees.
        length: Length of the nearest streaks in pixels; far ones are down to a third of it.
        width: Thickness of the nearest streaks in pixels.
        density: Share of the area that streaks would cover if none overlapped.
        brightness: Value of the brightest streaks.
        rng: Source of everything else.

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
        blend: How much a streak hides of what is behind it.
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
        angle, length, width, density, brightness: See `streak_mask`.
        blend: See `add_rain`.
        veil: Share of grey (0.75) mixed in before the streaks.
        rng: Source of the streaks.

    Returns:
        float32 image in [0, 1].
    """
    mask = streak_mask(
        image.shape[:2], angle=angle, length=length, width=width, density=density, brightness=brightness, rng=rng
    )
    veiled = image * np.float32(1 - veil) + np.float32(0.75 * veil)
    return add_rain(veiled, mask, blend=blend)


def drop_field(
    shape: tuple[int, int], *, count: float, size: float, defocus: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Opacity of the drops and where in the scene each of their points looks.

    Args:
        shape: Height and width in pixels.
        count: Drops per 100 x 100 pixels.
        size: Typical radius in pixels.
        defocus: Blur of the drops' outlines in pixels.
        rng: Source of places, sizes and shapes.

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
        count, size, defocus: See `drop_field`.
        opacity: How much a drop hides, 0 to 1.
        rng: Source of the drops.

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
