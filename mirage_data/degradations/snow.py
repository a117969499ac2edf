"""Snow: fine drift, flakes drawn out by their fall, and a few large ones out of focus near the lens."""

from __future__ import annotations

import cv2
import numpy as np

SUBPIXEL_BITS = 4


def flake_layer(
    shape: tuple[int, int],
    *,
    size: float,
    coverage: float,
    opacity: float,
    defocus: float,
    trail: float,
    angle: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """One layer of flakes of about one size, each with its own size, shape, direction and opacity.

    Args:
        shape: Height and width in pixels.
        size: Typical radius in pixels.
        coverage: Share of the area the flakes would cover if none overlapped.
        opacity: Opacity of the densest flakes, 0 to 1.
        defocus: Radius of the blur in pixels.
        trail: Length of the fall during the exposure in pixels.
        angle: Direction of the fall in degrees from the vertical.
        rng: Source of everything else.

    Returns:
        ``(h, w)`` float32 in [0, 1].
    """
    height, width = shape
    margin = int(2 * size + defocus + trail) + 1
    area = (height + 2 * margin) * (width + 2 * margin)
    count = int(rng.poisson(coverage * area / (np.pi * size * size + size * trail)))
    canvas = np.zeros(shape, np.uint8)
    one = 1 << SUBPIXEL_BITS
    centres = np.stack(
        [rng.uniform(-margin, width + margin, count), rng.uniform(-margin, height + margin, count)], axis=1
    )
    radii = size * np.exp(rng.normal(0, 0.3, count))
    squash = rng.uniform(0.6, 1.0, count)
    turns = rng.uniform(0, 180, count)
    strength = 255 * opacity * rng.uniform(0.35, 1.0, count)
    direction = np.deg2rad(angle + rng.normal(0, 8, count))
    travel = trail * rng.uniform(0.4, 1.0, count)
    half = 0.5 * np.stack([np.sin(direction) * travel, np.cos(direction) * travel], axis=1)
    starts, ends = ((centres - half) * one).astype(int).tolist(), ((centres + half) * one).astype(int).tolist()
    order = np.argsort(strength)  # the denser flake stays on top where two meet
    drawn_out = travel > 1.2 * radii
    for i in order.tolist():
        value = int(strength[i])
        if drawn_out[i]:
            thickness = max(1, round(2 * radii[i]))
            cv2.line(canvas, starts[i], ends[i], value, thickness, cv2.LINE_AA, SUBPIXEL_BITS)
        else:
            axes = (max(1, int(radii[i] * one)), max(1, int(radii[i] * squash[i] * one)))
            centre = (int(centres[i, 0] * one), int(centres[i, 1] * one))
            cv2.ellipse(canvas, centre, axes, turns[i], 0, 360, value, -1, cv2.LINE_AA, SUBPIXEL_BITS)
    layer = canvas.astype(np.float32)
    layer *= np.float32(1 / 255)
    return cv2.GaussianBlur(layer, (0, 0), max(defocus, 0.35), borderType=cv2.BORDER_REPLICATE).reshape(shape)


def drift_layer(
    shape: tuple[int, int], *, amount: float, trail: float, angle: float, rng: np.random.Generator
) -> np.ndarray:
    """The far flakes that merge to a moving grain: filtered noise, with denser and thinner places.

    Args:
        shape: Height and width in pixels.
        amount: Mean opacity of the drift.
        trail: Length of the motion in pixels.
        angle: Direction in degrees from the vertical.
        rng: Source of the grain.

    Returns:
        ``(h, w)`` float32 in [0, 1].
    """
    grain = rng.random(shape, dtype=np.float32)
    grain *= grain
    grain *= grain  # fourth power: mostly empty air, some bright specks; its mean is 0.2
    grain = cv2.GaussianBlur(grain, (0, 0), 0.8, borderType=cv2.BORDER_REFLECT).reshape(shape)
    kernel = line_kernel(max(trail, 1.0), angle)
    grain = cv2.filter2D(grain, -1, kernel, borderType=cv2.BORDER_REFLECT).reshape(shape)
    grain *= np.float32(amount / 0.2)
    return np.minimum(grain, 1, out=grain)


def line_kernel(length: float, angle: float) -> np.ndarray:
    """A normalised blur kernel: a straight line of ``length`` pixels, ``angle`` degrees from the vertical."""
    side = int(np.ceil(length)) // 2 * 2 + 3
    canvas = np.zeros((side, side), np.uint8)
    middle, one = side // 2, 1 << SUBPIXEL_BITS
    dx, dy = np.sin(np.deg2rad(angle)) * length / 2, np.cos(np.deg2rad(angle)) * length / 2
    start = (int((middle - dx) * one), int((middle - dy) * one))
    end = (int((middle + dx) * one), int((middle + dy) * one))
    cv2.line(canvas, start, end, 255, 1, cv2.LINE_AA, SUBPIXEL_BITS)
    kernel = canvas.astype(np.float32)
    return kernel / kernel.sum()


def snow_mask(
    shape: tuple[int, int],
    *,
    size: float,
    density: float,
    opacity: float,
    trail: float,
    angle: float,
    drift: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Opacity of falling snow: far drift, a far, a middle and a near layer of flakes, and a few blurred ones.

    Args:
        shape: Height and width in pixels.
        size: Radius of the middle flakes in pixels; far ones are half, near ones twice as large, blurred ones larger.
        density: Share of the area covered by the flakes of each layer.
        opacity: Opacity of the densest flakes.
        trail: Length of the middle flakes' fall during the exposure in pixels.
        angle: Direction of the fall in degrees from the vertical.
        drift: Mean opacity of the far drift.
        rng: Source of everything else.

    Returns:
        ``(h, w)`` float32 in [0, 1].
    """
    mask = drift_layer(shape, amount=drift, trail=1 + trail, angle=angle, rng=rng)
    for scale, share, strength, blur in (
        (0.5, 1.0, 0.75, 0.4),
        (1.0, 1.0, 1.0, 0.6),
        (1.8, 0.5, 0.9, 1.0),
        (5.0, 0.35, 0.35, 2.2),
    ):
        layer = flake_layer(
            shape,
            size=size * scale,
            coverage=density * share,
            opacity=opacity * strength,
            defocus=blur * max(1.0, size * scale / 4),
            trail=trail * scale,
            angle=angle,
            rng=rng,
        )
        mask = 1 - (1 - mask) * (1 - layer)  # light that gets through one layer meets the next
    return np.clip(mask, 0, 1, out=mask)


def add_snow(image: np.ndarray, mask: np.ndarray, *, colour: float = 1.0) -> np.ndarray:
    """``I (1 - m) + colour * m``, the snow formula of CDD11 and Snow100K (there with white flakes, colour 1).

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        mask: ``(h, w)`` opacity in [0, 1].
        colour: Brightness of the flakes.
    """
    mask = mask[:, :, None]
    return image * (1 - mask) + mask * np.float32(colour)


def snow(
    image: np.ndarray,
    *,
    size: float,
    density: float,
    opacity: float,
    trail: float,
    angle: float,
    drift: float,
    colour: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Falling snow in front of an image.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        size, density, opacity, trail, angle, drift: See `snow_mask`.
        colour: Brightness of the flakes.
        rng: Source of the flakes.

    Returns:
        float32 image in [0, 1].
    """
    mask = snow_mask(
        image.shape[:2], size=size, density=density, opacity=opacity, trail=trail, angle=angle, drift=drift, rng=rng
    )
    return add_snow(image, mask, colour=colour)
