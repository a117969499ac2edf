"""What is remembered of a photograph in order to find its copies again: a few hundred binary descriptors.

ORB (Rublee et al., ICCV 2011) describes the surroundings of a corner by 256 comparisons of brightness, turned into
the corner's own direction and scale. JPEG, resizing, cropping, brightness and noise change few of them. The corners
are spread over the picture, so that any part of it can be recognised, not only its busiest one.

Whether the two sides of a pair show one picture is found by content, too (`misaligned`): details of both (a band of
spatial frequencies, so that haze, darkness and noise matter little) are compared by normalised correlation over all
small shifts at once, by the Fourier transform.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        path: The file.
        digest: Hash of size and pixels; equal for equal pixels whatever the file format.
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
        ImageError: If the file is not a usable image.
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


TABLES, KEY_BITS = 8, 22
CANDIDATES = 4  # of one image that are verified
COMMON = 32  # a key that more corners than this share says nothing about where it comes from
_BLOCK = 1 << 16


class DescriptorIndex:
    """Hash tables over the descriptors of some images.

    Args:
        prints: The images' fingerprints.
    """

    def __init__(self, prints: Sequence[Fingerprint]) -> None:
        self._by_digest: dict[str, list[Fingerprint]] = {}
        for p in prints:
            self._by_digest.setdefault(p.digest, []).append(p)
        # Equal images count once, or many copies of one would make its keys look common.
        self._prints = prints = [copies[0] for copies in self._by_digest.values()]
        rng = np.random.default_rng(0)
        self._bits = [rng.choice(256, KEY_BITS, replace=False) for _ in range(TABLES)]
        owners = np.repeat(np.arange(len(prints), dtype=np.int32), [len(p.points) for p in prints])
        descriptors = [p.descriptors for p in prints] or [np.zeros((0, 32), np.uint8)]
        self._tables = []
        for keys in self._keys(np.concatenate(descriptors)).T:
            order = np.argsort(keys, kind='stable')
            self._tables.append((keys[order], owners[order]))

    def _keys(self, descriptors: np.ndarray) -> np.ndarray:
        """(n, 32) uint8 descriptors -> (n, TABLES) uint32 keys; in blocks, because bits take a byte each."""
        weights = (1 << np.arange(KEY_BITS)).astype(np.uint32)
        keys = np.empty((len(descriptors), TABLES), np.uint32)
        for start in range(0, len(descriptors), _BLOCK):
            block = slice(start, start + _BLOCK)
            bits = np.unpackbits(descriptors[block], axis=1)
            for table, sample in enumerate(self._bits):
                keys[block, table] = bits[:, sample] @ weights
        return keys

    def same_pixels(self, query: Fingerprint) -> list[Fingerprint]:
        """The images whose pixels are those of `query`, which may be one of them."""
        return self._by_digest.get(query.digest, [])

    def candidates(self, query: Fingerprint) -> list[Fingerprint]:
        """Images that probably share a photograph with `query`, the likeliest first, one of those with equal pixels."""
        votes = np.zeros(len(self._prints))
        for (keys, owners), wanted in zip(self._tables, self._keys(query.descriptors).T, strict=True):
            low, high = np.searchsorted(keys, wanted, 'left'), np.searchsorted(keys, wanted, 'right')
            counts = np.where(high - low > COMMON, 0, high - low)
            offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            found = owners[np.repeat(low, counts) + offsets]
            votes += np.bincount(found, weights=1 / np.repeat(counts, counts), minlength=len(votes))
        best = np.argsort(-votes)[:CANDIDATES]
        return [self._prints[i] for i in best if votes[i] > _background(votes)]


def _background(votes: np.ndarray) -> float:
    """What an image gets by chance, nearly always: 3.5 deviations over the mean, the highest twentieth left out."""
    if len(votes) < 20:
        return 0.0
    usual = np.sort(votes)[: -(len(votes) // 20)]
    return float(usual.mean() + 3.5 * usual.std())


SIDE = 256  # pairs are compared at this length of the longer side, or as they are
_ALIKE, _SHIFTED, _CLEARLY = 0.1, 0.5, 0.1


@dataclass(frozen=True)
class Alignment:
    """How two pictures of one size lie on each other.

    Attributes:
        correlation: Of the details at the best shift, at most 1.
        unshifted: The same without a shift.
        shift: (right, down) in pixels by which the clean picture must move to lie on the degraded one.
    """

    correlation: float
    unshifted: float
    shift: tuple[int, int]


def details(path: str | Path) -> tuple[np.ndarray, float]:
    """The details of a picture, (h, w) float32 with mean 0 and norm 1, and its scale against the file.

    Raises:
        ImageError: If the file is not a usable image.
    """
    image = grey(read_rgb(path))
    scale = min(1.0, SIDE / max(image.shape))
    if scale < 1:
        size = (max(8, round(image.shape[1] * scale)), max(8, round(image.shape[0] * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    image = np.log1p(image.astype(np.float32))  # so that dark pictures have details, too
    band = cv2.GaussianBlur(image, (0, 0), 1) - cv2.GaussianBlur(image, (0, 0), 8)
    band -= band.mean()
    return band / max(float(np.linalg.norm(band)), 1e-6), scale


def align(lq: np.ndarray, gt: np.ndarray, scale: float = 1.0) -> Alignment:
    """Compares the details of two pictures of one shape over all shifts up to an eighth of each side.

    Args:
        lq: Of the degraded picture, from `details`.
        gt: Of the clean one.
        scale: Of both against their files.
    """
    product = np.fft.irfft2(np.fft.rfft2(lq) * np.conj(np.fft.rfft2(gt)), lq.shape)
    rows, columns = (max(1, length // 8) for length in lq.shape)
    near = np.roll(product, (rows, columns), (0, 1))[: 2 * rows + 1, : 2 * columns + 1]
    down, right = np.unravel_index(int(near.argmax()), near.shape)
    shift = (round((int(right) - columns) / scale), round((int(down) - rows) / scale))
    return Alignment(float(near.max()), float(product[0, 0]), shift)


def misaligned(pairs: Sequence[tuple[Path, Path]]) -> tuple[list[str], list[str]]:
    """Looks for pairs that are shifted, and pairs whose sides show different pictures.

    Args:
        pairs: (degraded, clean) files, each pair of one size.

    Returns:
        Sentences about shifted pairs, and about others that do not fit; of these another pair's clean picture is named
        where it fits clearly better.

    Raises:
        ImageError: If a file is not a usable image.
    """
    shifted, other = [], []
    suspects = []
    for lq_path, gt_path in pairs:
        (lq, scale), (gt, _) = details(lq_path), details(gt_path)
        if lq.shape != gt.shape or not lq.any() or not gt.any():  # flat pictures say nothing
            continue
        found = align(lq, gt, scale)
        in_place = found.shift == (0, 0) or found.correlation < found.unshifted + _CLEARLY
        if in_place and found.unshifted >= _ALIKE:
            continue
        if in_place or found.correlation < _SHIFTED:
            suspects.append((lq_path, gt_path, lq, found.unshifted))
        else:
            right, down = found.shift
            shifted.append(f'{lq_path.name}: shifted by {right}, {down} pixels against {gt_path.name}')
    cleans = [(gt_path, details(gt_path)[0]) for _, gt_path, _, _ in suspects]
    for lq_path, gt_path, lq, correlation in suspects:
        scores = [(align(lq, gt).unshifted, path) for path, gt in cleans if path != gt_path and gt.shape == lq.shape]
        best, fitting = max(scores, default=(0.0, gt_path))
        hint = f'; {fitting.name} fits' if best > max(2 * _ALIKE, correlation + _CLEARLY) else ''
        other.append(f'{lq_path.name}: shows another picture than {gt_path.name}{hint}')
    return shifted, other
