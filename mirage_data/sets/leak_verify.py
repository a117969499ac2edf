"""Decides whether two images show the same photograph: one movement for the corners, and pixels that agree after it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mirage_data.files.image import read_rgb
from mirage_data.sets.fingerprint import Fingerprint, grey

MIN_AGREEING, MIN_CORRELATION = 8, 0.8


@dataclass(frozen=True)
class Leak:
    """A training image that shows a test image's photograph.

    Attributes:
        train: path of the training image.
        test: path of the test image.
        kind: 'same pixels', 're-encoded', 'resized' or 'part' (a crop either way).
        agreeing: matched corners that agree on one movement; 0 for equal pixels.
        correlation: of the two images' details where they overlap, at most 1.
        scale: size of the test image's content over that of the training image's.
        coverage: share of the test image that the training image shows.
    """

    train: str
    test: str
    kind: str
    agreeing: int
    correlation: float
    scale: float
    coverage: float


def verify(train: Fingerprint, test: Fingerprint) -> Leak | None:
    """Decides whether two images show the same photograph; see `mirage_data.sets.leaks` for how.

    Raises:
        ImageError: if a file has become unreadable since its fingerprint was taken.
    """
    if not (train.comparable and test.comparable):
        return None
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(train.descriptors, test.descriptors)
    matches = [match for match in matches if match.distance < 64]
    if len(matches) < MIN_AGREEING:
        return None
    source = train.points[[match.queryIdx for match in matches]]
    target = test.points[[match.trainIdx for match in matches]]
    tolerance = max(3.0, max(test.shape) / 200)
    movement, inliers = cv2.estimateAffinePartial2D(
        source, target, method=cv2.RANSAC, ransacReprojThreshold=tolerance, maxIters=1000
    )
    agreeing = 0 if movement is None else int(inliers.sum())
    if agreeing < MIN_AGREEING:
        return None
    scale = float(np.hypot(movement[0, 0], movement[1, 0]))
    if not 0.1 < scale < 10:
        return None
    correlation, coverage = _compare(grey(read_rgb(train.path)), grey(read_rgb(test.path)), movement, scale)
    if correlation < MIN_CORRELATION:
        return None
    return Leak(
        train.path,
        test.path,
        _kind(train, test, scale, coverage),
        agreeing,
        round(correlation, 4),
        round(scale, 3),
        round(coverage, 3),
    )


def _compare(train: np.ndarray, test: np.ndarray, movement: np.ndarray, scale: float) -> tuple[float, float]:
    """Correlation of details where the moved training image covers the test image, and the share covered."""
    shrink = min(1.0, 480 / max(test.shape))  # compared at a size where small misalignments do not matter
    size = (max(1, round(test.shape[1] * shrink)), max(1, round(test.shape[0] * shrink)))
    test = cv2.resize(test, size, interpolation=cv2.INTER_AREA)
    movement = movement * shrink
    if scale * shrink < 0.7:  # before a strong reduction, low-pass, or the details alias
        train = cv2.GaussianBlur(train, (0, 0), 0.5 / (scale * shrink))
    moved = cv2.warpAffine(train, movement, size)
    inside = cv2.warpAffine(np.full(train.shape, 255, np.uint8), movement, size) == 255
    if inside.sum() < 400:
        return 0.0, 0.0
    a, b = (_details(image, inside) for image in (moved, test))
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return (float((a * b).sum()) / norm if norm > 0 else 0.0), float(inside.mean())


def _details(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """A band of frequencies: without the broad lights and shades that many photographs share, and without noise."""
    weight = inside.astype(np.float32)
    broad = cv2.GaussianBlur(image * weight, (0, 0), 16) / np.maximum(cv2.GaussianBlur(weight, (0, 0), 16), 1e-3)
    band = (cv2.GaussianBlur(image.astype(np.float32), (0, 0), 2) - broad)[inside]
    return band - band.mean()


def _kind(train: Fingerprint, test: Fingerprint, scale: float, coverage: float) -> str:
    area = train.shape[0] * train.shape[1] * scale**2 / (test.shape[0] * test.shape[1])
    if coverage < 0.97 or area > 1.03:
        return 'part'
    return 're-encoded' if abs(scale - 1) < 0.01 else 'resized'
