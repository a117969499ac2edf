"""Denoising before neural networks: non-local means and BM3D.

Images are (h, w, 3) float32 RGB in [0, 1]; `sigma` is on the 0..255 scale, and estimated from the image where it is
None.
"""

from __future__ import annotations

import cv2
import numpy as np

from mirage_data.degradations.noise import to_uint8
from research.classical.packages import needed

_LAPLACIAN_PAIR = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_LAPLACIAN_PAIR_NORM = 6  # root of the sum of its squares
_MEDIAN_OF_NORMAL = 0.6745  # of the absolute value of a standard normal number


def estimate_sigma(image: np.ndarray) -> float:
    """Standard deviation of white noise in an image, on the 0..255 scale.

    The mask of Immerkaer ("Fast noise variance estimation", 1996) ignores plane and edge structure; the median in place
    of his mean ignores what texture is left.

    Args:
        image: (h, w, 3) float32 in [0, 1].
    """
    response = cv2.filter2D(image, -1, _LAPLACIAN_PAIR)[1:-1, 1:-1]
    return float(255 * np.median(np.abs(response)) / (_LAPLACIAN_PAIR_NORM * _MEDIAN_OF_NORMAL))


def non_local_means(
    image: np.ndarray, *, sigma: float | None = None, strength: float = 0.4, patch: int = 5, reach: int = 7
) -> np.ndarray:
    """Non-local means over colour patches (scikit-image), with the noise's variance taken off the patches' distances.

    Args:
        image: (h, w, 3) float32 in [0, 1].
        sigma: noise level on the 0..255 scale; None: estimated.
        strength: filter parameter h in units of sigma.
        patch: side of the patches in pixels.
        reach: largest distance of the patches in pixels.

    Raises:
        PackageMissingError: scikit-image is not installed.

    Source: Buades et al., CVPR 2005; Darbon et al., ISBI 2008 (the fast way of computing it).
    """
    restoration = needed('skimage.restoration', 'non-local means')
    level = (estimate_sigma(image) if sigma is None else sigma) / 255
    if level == 0:
        return image
    filtered = restoration.denoise_nl_means(
        image, patch_size=patch, patch_distance=reach, h=strength * level, sigma=level, fast_mode=True, channel_axis=-1
    )
    return np.clip(filtered, 0, 1).astype(np.float32)


def opencv_non_local_means(image: np.ndarray, *, sigma: float | None = None, strength: float = 0.6) -> np.ndarray:
    """OpenCV's `fastNlMeansDenoisingColored` on 8-bit values, lightness and colour apart.

    Args:
        image: (h, w, 3) float32 in [0, 1].
        sigma: noise level on the 0..255 scale; None: estimated.
        strength: filter parameter h in units of sigma, for lightness and colour.
    """
    h = strength * (estimate_sigma(image) if sigma is None else sigma)
    bgr = np.ascontiguousarray(to_uint8(image)[..., ::-1])
    filtered = cv2.fastNlMeansDenoisingColored(bgr, None, h, h, 7, 21)
    return filtered[..., ::-1].astype(np.float32) / 255


def bm3d(image: np.ndarray, *, sigma: float | None = None) -> np.ndarray:
    """Colour BM3D: the patches matched in the luminance of the opponent space, both stages, the normal profile.

    Args:
        image: (h, w, 3) float32 in [0, 1].
        sigma: noise level on the 0..255 scale; None: estimated.

    Raises:
        PackageMissingError: the package `bm3d` (its licence allows non-commercial use only) is not installed.

    Source: Dabov et al., TIP 2007; Makinen et al., TIP 2020; the package `bm3d` of its authors.
    """
    package = needed('bm3d', 'BM3D')
    level = (estimate_sigma(image) if sigma is None else sigma) / 255
    if level == 0:
        return image
    profile = package.BM3DProfile()
    profile.num_threads = 1  # with more the sums are added in another order each time
    return np.clip(package.bm3d_rgb(image.astype(np.float64), level, profile), 0, 1).astype(np.float32)
