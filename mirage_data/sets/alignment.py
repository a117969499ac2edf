"""Whether the two sides of a pair show one picture: shifted, swapped and mismatched pairs are found by content.

Details (a band of spatial frequencies, so that haze, darkness and noise matter little) of both sides are compared by
normalised correlation over all small shifts at once, by the Fourier transform.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mirage_data.files.image import read_rgb
from mirage_data.sets.fingerprint import grey

SIDE = 256  # pairs are compared at this length of the longer side, or as they are
_ALIKE, _SHIFTED, _MARGIN = 0.1, 0.5, 0.1


@dataclass(frozen=True)
class Alignment:
    """How two pictures of one size lie on each other.

    Attributes:
        correlation: of the details at the best shift, at most 1.
        unshifted: the same without a shift.
        shift: (right, down) in pixels by which the clean picture must move to lie on the degraded one.
    """

    correlation: float
    unshifted: float
    shift: tuple[int, int]


def details(path: str | Path) -> tuple[np.ndarray, float]:
    """The details of a picture, (h, w) float32 with mean 0 and norm 1, and its scale against the file.

    Raises:
        ImageError: if the file is not a usable image.
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
        lq: of the degraded picture, from `details`.
        gt: of the clean one.
        scale: of both against their files.
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
        ImageError: if a file is not a usable image.
    """
    shifted, other = [], []
    suspects = []
    for lq_path, gt_path in pairs:
        (lq, scale), (gt, _) = details(lq_path), details(gt_path)
        if lq.shape != gt.shape or not lq.any() or not gt.any():  # flat pictures say nothing
            continue
        found = align(lq, gt, scale)
        in_place = found.shift == (0, 0) or found.correlation < found.unshifted + _MARGIN
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
        hint = f'; {fitting.name} fits' if best > max(2 * _ALIKE, correlation + _MARGIN) else ''
        other.append(f'{lq_path.name}: shows another picture than {gt_path.name}{hint}')
    return shifted, other
