"""Restoration without learning, to measure networks against: pure functions, chains of them, and the tuned chains.

Images are (h, w, 3) float32 RGB in [0, 1]; `sigma` is on the 0..255 scale, and estimated from the image where it is
None. Wiener and Richardson-Lucy are oracles, for no camera tells its blur: they get the kernel, (k, k) float32 with sum
1, and `gamma`, the power that makes the values linear; the blur is undone there, with borders mirrored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from mirage_data.degradations.depth import guided_filter
from mirage_data.degradations.noise import to_uint8
from mirage_data.files import plain_yaml


class PackageMissingError(ImportError):
    """A classical method needs a package that is not installed; the message says how to get it."""


def needed(name: str, method: str) -> ModuleType:
    """Import a package of the extra `classical`.

    Args:
        name: As in an import statement.
        method: What needs it, for the message.

    Raises:
        PackageMissingError: It is not installed, or cannot be loaded on this machine.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise PackageMissingError(
            f"{method} needs the package {name.split('.')[0]!r} ({error}): pip install 'mirage-ir[classical]', "
            'or leave the method out'
        ) from error


# ---- noise ----------------------------------------------------------------------------------------------------------
_LAPLACIAN_PAIR = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_LAPLACIAN_PAIR_NORM = 6  # root of the sum of its squares
_MEDIAN_OF_NORMAL = 0.6745  # of the absolute value of a standard normal number


def estimate_sigma(image: np.ndarray) -> float:
    """Standard deviation of white noise in an image, on the 0..255 scale.

    The mask of Immerkaer ("Fast noise variance estimation", 1996) ignores plane and edge structure; the median in place
    of his mean ignores what texture is left.
    """
    response = cv2.filter2D(image, -1, _LAPLACIAN_PAIR)[1:-1, 1:-1]
    return float(255 * np.median(np.abs(response)) / (_LAPLACIAN_PAIR_NORM * _MEDIAN_OF_NORMAL))


def non_local_means(
    image: np.ndarray, *, sigma: float | None = None, strength: float = 0.4, patch: int = 5, reach: int = 7
) -> np.ndarray:
    """Non-local means over colour patches (scikit-image), with the noise's variance taken off the patches' distances.

    Args:
        strength: Filter parameter h in units of sigma.
        patch: Side of the patches in pixels.
        reach: Largest distance of the patches in pixels.

    Raises:
        PackageMissingError: Scikit-image is not installed.

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
        strength: Filter parameter h in units of sigma, for lightness and colour.
    """
    h = strength * (estimate_sigma(image) if sigma is None else sigma)
    bgr = np.ascontiguousarray(to_uint8(image)[..., ::-1])
    filtered = cv2.fastNlMeansDenoisingColored(bgr, None, h, h, 7, 21)
    return filtered[..., ::-1].astype(np.float32) / 255


def bm3d(image: np.ndarray, *, sigma: float | None = None) -> np.ndarray:
    """Colour BM3D: the patches matched in the luminance of the opponent space, both stages, the normal profile.

    Raises:
        PackageMissingError: The package `bm3d` (its licence allows non-commercial use only) is not installed.

    Source: Dabov et al., TIP 2007; Makinen et al., TIP 2020; the package `bm3d` of its authors.
    """
    package = needed('bm3d', 'BM3D')
    level = (estimate_sigma(image) if sigma is None else sigma) / 255
    if level == 0:
        return image
    profile = package.BM3DProfile()
    profile.num_threads = 1  # with more the sums are added in another order each time
    return np.clip(package.bm3d_rgb(image.astype(np.float64), level, profile), 0, 1).astype(np.float32)


# ---- smoothing and sharpening ---------------------------------------------------------------------------------------
MEDIAN_SIZES = (3, 5, 7, 9, 11, 15, 21, 31)
_FLOAT_MEDIANS = (3, 5)  # the sizes that OpenCV has for float images


def guided(image: np.ndarray, *, radius: int, eps: float) -> np.ndarray:
    """Guided filter with the image as its own guide, windows of `radius` pixels; see `guided_filter`."""
    return np.clip(guided_filter(image, image, size=2 * radius + 1, epsilon=eps, border=cv2.BORDER_REFLECT), 0, 1)


def median(image: np.ndarray, *, size: int) -> np.ndarray:
    """Median of each channel over size x size pixels.

    Raises:
        ValueError: A size that is not in `MEDIAN_SIZES`.
    """
    if size not in MEDIAN_SIZES:
        raise ValueError(f'median: size must be one of {", ".join(map(str, MEDIAN_SIZES))}, got {size!r}')
    if size in _FLOAT_MEDIANS:
        return cv2.medianBlur(np.ascontiguousarray(image), size)
    return cv2.medianBlur(to_uint8(image), size).astype(np.float32) / 255


def bright_median(image: np.ndarray, *, size: int, margin: float) -> np.ndarray:
    """Median, taken only where a pixel is brighter than it by `margin`: streaks and flakes add light.

    Raises:
        ValueError: As `median`.
    """
    smooth = median(image, size=size)
    brighter = (image - smooth).mean(axis=2, keepdims=True) > margin
    return np.where(brighter, smooth, image)


def bilateral(image: np.ndarray, *, sigma: float, radius: float) -> np.ndarray:
    """Bilateral filter: a Gaussian of `radius` pixels, weighted by likeness of colour within `sigma` of 255 steps."""
    return cv2.bilateralFilter(np.ascontiguousarray(image), -1, sigma / 255, radius)


def unsharp(image: np.ndarray, *, radius: float, amount: float) -> np.ndarray:
    """Unsharp mask: adds `amount` times what a Gaussian of `radius` pixels takes away."""
    return np.clip(image + amount * (image - cv2.GaussianBlur(image, (0, 0), radius)), 0, 1)


# ---- light and air --------------------------------------------------------------------------------------------------
_LIGHTNESS_STEPS = 255  # of the lightness: with 16 bits OpenCV's histogram is too fine for tiles of usual size
_DARKEST = 1e-3  # mean below which a picture is taken for black


def gain(image: np.ndarray, *, target: float) -> np.ndarray:
    """Multiply by the factor that brings the mean to `target`, before values above 1 are clipped; never darken."""
    return np.clip(image * max(1.0, target / max(float(image.mean()), _DARKEST)), 0, 1)


def gamma(image: np.ndarray, *, target: float) -> np.ndarray:
    """Raise to the power that brings the mean value itself to `target`; never darken."""
    mean = float(np.clip(image.mean(), _DARKEST, 1 - _DARKEST))
    return cv2.pow(image, min(1.0, float(np.log(target) / np.log(mean))))


def clahe(image: np.ndarray, *, clip: float, tiles: int = 8) -> np.ndarray:
    """Contrast-limited adaptive histogram equalisation of the lightness (CIE Lab).

    Args:
        clip: Limit of the contrast, in units of a flat histogram.
        tiles: Number of tiles along each side.

    Source: Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV, 1994.
    """
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2Lab)
    lightness = np.rint(lab[..., 0] * (_LIGHTNESS_STEPS / 100)).astype(np.uint8)
    lab[..., 0] = cv2.createCLAHE(clip, (tiles, tiles)).apply(lightness) * np.float32(100 / _LIGHTNESS_STEPS)
    return np.clip(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB), 0, 1)


_HAZIEST = 0.001  # share of the pixels that the airlight is read from


def dark_channel(image: np.ndarray, patch: int) -> np.ndarray:
    """Smallest value of any channel in the patch around each pixel: (h, w, 3) -> (h, w); equation 5."""
    return cv2.erode(image.min(axis=2), np.ones((patch, patch), np.uint8))


def airlight(image: np.ndarray, dark: np.ndarray) -> np.ndarray:
    """Colour of the haze: mean of the pixels whose dark channel is among the brightest 0.1 %; (3,) float32.

    The mean instead of the paper's single brightest pixel: a white shirt must not decide.
    """
    count = max(1, round(_HAZIEST * dark.size))
    places = np.argpartition(dark, -count, axis=None)[-count:]
    return image.reshape(-1, 3)[places].mean(axis=0)


def transmission(image: np.ndarray, light: np.ndarray, *, omega: float, patch: int) -> np.ndarray:
    """Share of the scene's light that reaches the camera, before refinement: (h, w); equation 12."""
    return 1 - omega * dark_channel(image / np.maximum(light, 1e-3), patch)


def dark_channel_prior(
    image: np.ndarray, *, omega: float = 0.95, patch: int = 15, floor: float = 0.1, radius: int = 30, eps: float = 1e-3
) -> np.ndarray:
    """Remove haze; the transmission is refined by a guided filter on the grey image.

    Args:
        omega: Share of the haze that is removed.
        patch: Side of the dark channel's patches in pixels, odd.
        floor: Least transmission.
        radius: Of the guided filter, in pixels.
        eps: Of the guided filter.

    Source: equation 16 (recovering the scene); the guided filter in place of matting: He et al., TPAMI 2013.
    """
    light = airlight(image, dark_channel(image, patch))
    rough = transmission(image, light, omega=omega, patch=patch)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    refined = guided_filter(grey, rough, size=2 * radius + 1, epsilon=eps, border=cv2.BORDER_REFLECT)
    scene = (image - light) / np.maximum(refined, floor)[..., None] + light
    return np.clip(scene, 0, 1).astype(np.float32)


# ---- blur that is known ---------------------------------------------------------------------------------------------
def wiener(image: np.ndarray, *, kernel: np.ndarray, gamma: float = 1.0, balance: float) -> np.ndarray:
    """Wiener filter (scikit-image): least squares with `balance` times the squared Laplacian as the penalty.

    Raises:
        PackageMissingError: Scikit-image is not installed.
    """
    restoration = needed('skimage.restoration', 'the Wiener filter')
    return _by_channel(image, kernel, gamma, lambda x: restoration.wiener(x, kernel, balance, clip=False))


def richardson_lucy(image: np.ndarray, *, kernel: np.ndarray, gamma: float = 1.0, iterations: int) -> np.ndarray:
    """Richardson-Lucy deconvolution (scikit-image), stopped after `iterations`.

    Raises:
        PackageMissingError: Scikit-image is not installed.

    Source: Richardson 1972; Lucy 1974.
    """
    restoration = needed('skimage.restoration', 'Richardson-Lucy')
    return _by_channel(
        image, kernel, gamma, lambda x: restoration.richardson_lucy(x, kernel, iterations, filter_epsilon=1e-3)
    )


def _by_channel(
    image: np.ndarray, kernel: np.ndarray, gamma: float, deconvolve: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    reach = min(kernel.shape[0], *(side - 1 for side in image.shape[:2]))
    padded = np.pad(cv2.pow(image, gamma), ((reach, reach), (reach, reach), (0, 0)), 'reflect')
    sharp = np.stack([deconvolve(padded[..., c]) for c in range(3)], axis=2)[reach:-reach, reach:-reach]
    return cv2.pow(np.clip(sharp, 0, 1).astype(np.float32), 1 / gamma)


# ---- chains ---------------------------------------------------------------------------------------------------------
TUNED = Path(__file__).with_name('tuned.yml')

Step = Mapping[str, Mapping[str, Any]]
"""`{name: parameters}`, with one name of `STEPS`."""

#: Pure functions of an image (h, w, 3), float32 RGB in [0, 1], and their parameters.
STEPS: dict[str, Callable[..., np.ndarray]] = {
    'nlm': non_local_means,
    'opencv_nlm': opencv_non_local_means,
    'bm3d': bm3d,
    'guided': guided,
    'median': median,
    'bright_median': bright_median,
    'bilateral': bilateral,
    'unsharp': unsharp,
    'gain': gain,
    'gamma': gamma,
    'clahe': clahe,
    'dark_channel_prior': dark_channel_prior,
    'wiener': wiener,
    'richardson_lucy': richardson_lucy,
}
#: Steps that are told what a camera would not know.
ORACLES = ('wiener', 'richardson_lucy')


@dataclass(frozen=True)
class Tuned:
    """What tuning chose for a task.

    Args:
        steps: The chain.
        input_psnr: Of the degraded crops of training photographs, in dB.
        psnr: Of the same crops after the chain.
        tried: How many chains were compared.
    """

    steps: tuple[Step, ...]
    input_psnr: float
    psnr: float
    tried: int


def apply_steps(image: np.ndarray, steps: Sequence[Step], known: Mapping[str, Any] | None = None) -> np.ndarray:
    """Apply a chain of classical methods.

    Args:
        image: (h, w, 3) float32 RGB in [0, 1]; not changed.
        steps: Of `STEPS`, each with its parameters.
        known: `kernel` and `gamma`, for the steps of `ORACLES`.

    Returns:
        (h, w, 3) float32 in [0, 1].

    Raises:
        ValueError: A step that is not in `STEPS`, or an oracle without the kernel.
        PackageMissingError: A step whose package is not installed.
    """
    for step in steps:
        ((name, parameters),) = step.items()
        if name not in STEPS:
            raise ValueError(f'unknown classical method {name!r}; there are {", ".join(STEPS)}')
        if name in ORACLES and not known:
            raise ValueError(f'{name}: needs the blur kernel, and none is known')
        image = STEPS[name](image, **parameters, **(known if name in ORACLES else {}))
    return image


def described(steps: Sequence[Step]) -> str:
    """A chain in words, such as `gamma(target 0.4), median(size 3)`."""
    return ', '.join(
        f'{name}({", ".join(f"{key} {value:g}" for key, value in parameters.items())})'
        for step in steps
        for name, parameters in step.items()
    )


@lru_cache
def tuned(path: Path = TUNED) -> Mapping[str, Tuned]:
    """The chains of `tuned.yml` by task; empty where the file is absent."""
    if not path.is_file():
        return {}
    content = plain_yaml.load_file(path)
    return {
        task: Tuned(tuple(row['steps']), row['input_psnr'], row['psnr'], row['tried'])
        for task, row in content['tasks'].items()
    }
