"""Blur by a shaking camera or a lens out of focus."""

from __future__ import annotations

import cv2
import numpy as np


def trajectory_kernel(*, length: float, bend: float, rng: np.random.Generator) -> np.ndarray:
    """Blur kernel of a hand-held camera: the path of a point that keeps its direction only for a while.

    The direction performs a random walk, the speed varies slowly, and the path is drawn with sub-pixel accuracy (the
    idea of Boracchi and Foi, "Modeling the performance of image restoration from motion blur", 2012).

    Args:
        length: Length of the path in pixels.
        bend: Deviation of the direction over the whole path, in radians; 0 is a straight line.
        rng: Source of the path.

    Returns:
        ``(k, k)`` float32, k odd, non-negative, sum 1, centred on the path's mean.
    """
    steps = max(8, int(4 * length))
    headings = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, bend / np.sqrt(steps), steps))
    speed = np.interp(np.linspace(0, 1, steps), np.linspace(0, 1, 5), rng.uniform(0.3, 1.0, 5))
    speed *= length / speed.sum()
    path = np.cumsum(np.stack([np.cos(headings), np.sin(headings)], axis=1) * speed[:, None], axis=0)
    path -= path.mean(axis=0)
    radius = int(np.ceil(np.abs(path).max())) + 1
    side = 2 * radius + 1
    kernel = np.zeros((side, side), np.float32)
    corner = np.floor(path).astype(int)
    share = (path - corner).astype(np.float32)
    for right in (0, 1):
        for below in (0, 1):
            part = np.abs(1 - right - share[:, 0]) * np.abs(1 - below - share[:, 1])
            np.add.at(kernel, (corner[:, 1] + radius + below, corner[:, 0] + radius + right), part)
    return kernel / kernel.sum()


def disc_kernel(radius: float) -> np.ndarray:
    """Blur kernel of a lens out of focus: a disc of ``radius`` pixels with a smooth edge, sum 1."""
    reach = int(np.ceil(radius + 0.5))
    offsets = np.arange(-reach, reach + 1, dtype=np.float32)
    distance = np.hypot(offsets[:, None], offsets[None, :])
    kernel = np.clip(radius + 0.5 - distance, 0, 1).astype(np.float32)
    return kernel / kernel.sum()


def convolve(image: np.ndarray, kernel: np.ndarray, *, gamma: float = 1.0) -> np.ndarray:
    """Convolve with mirrored borders, in the light behind a tone curve of power ``gamma`` (1: none).

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        kernel: ``(k, k)`` float32 with sum 1.
        gamma: Power that makes the values linear; highlights then leave bright trails as in real photographs.
    """
    light = image if gamma == 1 else cv2.pow(np.maximum(image, 0), gamma)
    # filter2D correlates: the kernel is turned by 180 degrees to convolve
    blurred = cv2.filter2D(light, -1, kernel[::-1, ::-1], borderType=cv2.BORDER_REFLECT_101).reshape(image.shape)
    np.clip(blurred, 0, 1, out=blurred)
    return blurred if gamma == 1 else cv2.pow(blurred, 1 / gamma)


def motion_blur(image: np.ndarray, *, length: float, bend: float, gamma: float, rng: np.random.Generator) -> np.ndarray:
    """Blur along the path of a shaking camera.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        length, bend: See `trajectory_kernel`.
        gamma: See `convolve`.
        rng: Source of the path.

    Returns:
        float32 image in [0, 1].
    """
    return convolve(image, trajectory_kernel(length=length, bend=bend, rng=rng), gamma=gamma)


def defocus_blur(
    image: np.ndarray, *, radius: float, gamma: float, rng: np.random.Generator | None = None
) -> np.ndarray:
    """Blur by a lens out of focus; nothing about it is random.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        radius: Radius of the disc in pixels.
        gamma: See `convolve`.
        rng: Not used; accepted because every degradation takes one.

    Returns:
        float32 image in [0, 1].
    """
    return convolve(image, disc_kernel(radius), gamma=gamma)


def shake_kernel(*, length: float, bend: float, dwell: float, rng: np.random.Generator) -> np.ndarray:
    """Blur kernel of a hand's tremor as measured ones look: a bent path that the camera passes at very uneven speed.

    Args:
        length: Length of the path in pixels.
        bend: See `trajectory_kernel`.
        dwell: Deviation of the logarithm of the speed; with 1 most of the light gathers at two or three places.
        rng: Source of the path.

    Returns:
        as `trajectory_kernel`, the line softened to about the thickness of measured kernels.
    """
    steps = max(12, int(4 * length))
    places = np.linspace(0, 1, steps)
    headings = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, bend / np.sqrt(steps), steps))
    speed = np.exp(np.interp(places, np.linspace(0, 1, 7), rng.normal(0, dwell, 7)))
    speed *= length / speed.sum()
    path = np.cumsum(np.stack([np.cos(headings), np.sin(headings)], axis=1) * speed[:, None], axis=0)
    path -= path.mean(axis=0)
    radius = int(np.ceil(np.abs(path).max())) + 2
    side = 2 * radius + 1
    counted, _, _ = np.histogram2d(path[:, 1], path[:, 0], bins=side, range=[[-radius - 0.5, radius + 0.5]] * 2)
    kernel = cv2.GaussianBlur(counted.astype(np.float32), (0, 0), 0.5, borderType=cv2.BORDER_CONSTANT)
    return kernel / kernel.sum()


def shake_blur(
    image: np.ndarray, *, length: float, bend: float, dwell: float, gamma: float, rng: np.random.Generator
) -> np.ndarray:
    """Blur by a hand's tremor.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        length, bend, dwell: See `shake_kernel`.
        gamma: See `convolve`.
        rng: Source of the path.

    Returns:
        float32 image in [0, 1].
    """
    return convolve(image, shake_kernel(length=length, bend=bend, dwell=dwell, rng=rng), gamma=gamma)


def frame_blur(
    image: np.ndarray, *, shift: float, turn: float, zoom: float, frames: int, rng: np.random.Generator
) -> np.ndarray:
    """Mean of the short exposures between two places of a moving camera, as REDS and GoPro are made.

    The camera shifts, turns and comes nearer at once, so the blur differs from place to place.

    Args:
        image: ``(h, w, 3)`` float32 in [0, 1].
        shift: Length of the shift in pixels.
        turn: Largest turn in degrees, either way.
        zoom: Largest change of size as a share, either way.
        frames: Exposures that are averaged, in the light behind a tone curve of power 2.2.
        rng: Source of the direction, the turn and the centre.

    Returns:
        float32 image in [0, 1].
    """
    height, width = image.shape[:2]
    heading = rng.uniform(0, 2 * np.pi)
    angle, growth = rng.uniform(-turn, turn), rng.uniform(-zoom, zoom)
    centre = rng.uniform(0, width), rng.uniform(0, height)
    light = cv2.pow(np.maximum(image, 0), 2.2).reshape(image.shape)
    total = np.zeros_like(light)
    for place in np.linspace(-0.5, 0.5, frames):
        matrix = cv2.getRotationMatrix2D(centre, angle * place, 1 + growth * place)
        matrix[:, 2] += (shift * place * np.cos(heading), shift * place * np.sin(heading))
        total += cv2.warpAffine(
            light, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        ).reshape(image.shape)
    total *= np.float32(1 / frames)
    return cv2.pow(np.clip(total, 0, 1, out=total), 1 / 2.2).reshape(image.shape)
