"""What is remembered of a photograph in order to find its copies again: a few hundred binary descriptors.

ORB (Rublee et al., ICCV 2011) describes the surroundings of a corner by 256 comparisons of brightness, turned into
the corner's own direction and scale. JPEG, resizing, cropping, brightness and noise change few of them. The corners
are spread over the picture, so that any part of it can be recognised, not only its busiest one.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import cv2
import numpy as np

from mirage_data.files.image import read_rgb

MAX_SIDE, MIN_SIDE = 640, 128  # pixels; larger pictures are shrunk, smaller ones enlarged before looking for corners
CORNERS = 800
_MARGIN = 16  # of the picture's border without corners; OpenCV's own 31 leaves little of a small crop
_CELLS = 8  # along the longer side


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """A photograph's traces.

    Attributes:
        path: the file.
        digest: hash of size and pixels; equal for equal pixels whatever the file format.
        shape: (height, width) in pixels of the file.
        points: (n, 2) float32 x, y of the corners, in pixels of the file.
        descriptors: (n, 32) uint8, their 256 bits.
    """

    path: str
    digest: str
    shape: tuple[int, int]
    points: np.ndarray
    descriptors: np.ndarray

    @property
    def comparable(self) -> bool:
        """Whether there are corners enough to recognise a part; flat pictures are compared by `digest` only."""
        return len(self.points) >= 16


def pixel_digest(image: np.ndarray) -> str:
    """Hash of an image's shape, type and pixels."""
    digest = blake2b(f'{image.shape}{image.dtype}'.encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image))
    return digest.hexdigest()


def grey(image: np.ndarray) -> np.ndarray:
    """(h, w, 3) RGB uint8 or uint16 -> (h, w) uint8."""
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def fingerprint(path: str | Path) -> Fingerprint:
    """Reads a photograph and takes its traces.

    Raises:
        ImageError: if the file is not a usable image.
    """
    image = read_rgb(path)
    points, descriptors = corners(grey(image))
    return Fingerprint(str(path), pixel_digest(image), image.shape[:2], points, descriptors)


def corners(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of a grey image, evenly spread, with their descriptors.

    Args:
        image: (h, w) uint8.

    Returns:
        (n, 2) float32 positions x, y and (n, 32) uint8 descriptors, n <= `CORNERS`, strongest of each cell first.
    """
    height, width = image.shape
    scale = min(MAX_SIDE / max(height, width), max(1.0, MIN_SIDE / min(height, width)))
    if scale != 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    orb = cv2.ORB_create(nfeatures=6 * CORNERS, fastThreshold=3, edgeThreshold=_MARGIN)
    found = orb.detect(image, None)
    if not found:
        return np.zeros((0, 2), np.float32), np.zeros((0, 32), np.uint8)
    places = np.array([corner.pt for corner in found], np.float32)
    chosen = _spread(places, np.array([corner.response for corner in found]), image.shape)
    kept, descriptors = orb.compute(image, [found[i] for i in chosen])
    points = np.array([corner.pt for corner in kept], np.float32).reshape(-1, 2)
    return points / np.float32(scale), descriptors if descriptors is not None else np.zeros((0, 32), np.uint8)


def _spread(places: np.ndarray, strengths: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Takes the strongest corner of every cell of a grid, then every cell's second, and so on."""
    height, width = shape
    longer = max(height, width)
    columns, rows = (max(1, round(_CELLS * side / longer)) for side in (width, height))
    column = np.minimum(places[:, 0] * columns / width, columns - 1).astype(int)
    row = np.minimum(places[:, 1] * rows / height, rows - 1).astype(int)
    cell = row * columns + column
    order = np.lexsort((-strengths, cell))
    first = np.searchsorted(cell[order], np.arange(rows * columns))
    rank = np.arange(len(order)) - first[cell[order]]
    return order[np.argsort(rank, kind='stable')][:CORNERS]
