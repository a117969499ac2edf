"""Image quality measures: the paper's PSNR and SSIM on float images, LPIPS, and BasicSR's NIQE.

The paper's figures and BasicSR's own `calculate_psnr` / `calculate_ssim` differ: the former read float images and a
7x7 uniform window (scikit-image's defaults), the latter 8-bit images and an 11x11 Gaussian window. Both are
registered, and a table must say which it shows.

`psnr`, `ssim`, `perceptual_distance` and `naturalness` are the functions; `psnr_float`, `ssim_float` and `lpips` are
their names in BasicSR's METRIC_REGISTRY, with the arguments that BasicSR passes. `METRICS`, at the end, is the one
table that registration, validation, `mirage-basicsr evaluate` and the tables of results are made from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch

#: RGB, the luma in floating point, and the luma of 8-bit pictures rounded to 8 bits.
CHANNELS = ('rgb', 'y', 'y8')
#: Windows of SSIM with their sides.
WINDOWS = {'uniform': 7, 'gaussian': 11}
LPIPS_NETS = ('alex', 'vgg', 'squeeze')
_INPUT_FORMATS = ('auto', 'rgb', 'bgr')
# ITU-R BT.601 with the studio swing that MATLAB's rgb2ycbcr uses, and BasicSR and the weather papers with it.
_LUMA = np.array([65.481, 128.553, 24.966]) / 255
_LUMA_OFFSET = 16 / 255
_SIGMA = 1.5  # of the Gaussian window
_GREY = np.array([0.299, 0.587, 0.114])
_BACKBONES = {
    'alex': 'alexnet-owt-7be5be79.pth',
    'vgg': 'vgg16-397923af.pth',
    'squeeze': 'squeezenet1_1-b8a52dc0.pth',
}


class MetricUnavailableError(ValueError):
    """A metric that needs a package or weights which are not installed."""


def luma(image: np.ndarray) -> np.ndarray:
    """Y of ITU-R BT.601 (16/255 to 235/255) of a float RGB image: (h, w, 3) in [0, 1] -> (h, w, 1)."""
    return (np.asarray(image, np.float64) @ _LUMA + _LUMA_OFFSET)[..., None]


def luma_of_eight_bits(image: np.ndarray) -> np.ndarray:
    """Y as MATLAB's ``rgb2ycbcr`` gives it for a uint8 picture: whole numbers from 16 to 235, here over 255.

    The MATLAB scripts of the deraining papers measure this one.
    """
    return np.floor(luma(rounded_to_eight_bits(image)) * 255 + 0.5) / 255


def psnr(restored: np.ndarray, gt: np.ndarray, channel: str = 'rgb') -> float:
    """Peak signal-to-noise ratio in dB for data range 1, without rounding to 8 bits.

    Args:
        restored: Float RGB image (h, w, 3) in [0, 1].
        gt: Ground truth of the same shape.
        channel: 'rgb', 'y' for the luma of BT.601, or 'y8' for that of `luma_of_eight_bits`.

    Returns:
        Decibels; infinity for equal images.

    Raises:
        ValueError: The shapes differ, an image is 8-bit, or the channel is unknown.

    Source: skimage.metrics.peak_signal_noise_ratio, which the authors' evaluation calls.
    """
    restored, gt = _pair(restored, gt, channel)
    error = np.mean(np.square(restored - gt))
    return float('inf') if error == 0 else float(-10 * np.log10(error))


def ssim(restored: np.ndarray, gt: np.ndarray, channel: str = 'rgb', window: str = 'uniform') -> float:
    """Structural similarity for data range 1, per channel, averaged.

    The paper's has a 7x7 uniform window and unbiased variances, as scikit-image by default; that of Wang et al., MATLAB
    and BasicSR an 11x11 Gaussian one of sigma 1.5. Pixels whose window leaves the image do not count.

    Args:
        restored: Float RGB image (h, w, 3) in [0, 1], at least as high and wide as the window.
        gt: Ground truth of the same shape.
        channel: 'rgb', 'y' for the luma of BT.601, or 'y8' for that of `luma_of_eight_bits`.
        window: 'uniform' or 'gaussian'.

    Returns:
        The mean similarity, at most 1.

    Raises:
        ValueError: As `psnr`, or an image smaller than the window.

    Source: skimage.metrics.structural_similarity (Wang et al. 2004), which the authors' evaluation calls.
    """
    restored, gt = _pair(restored, gt, channel)
    if window not in WINDOWS:
        raise ValueError(f"window is '{window}'; allowed are {', '.join(WINDOWS)}")
    side = WINDOWS[window]
    if min(restored.shape[:2]) < side:
        raise ValueError(f'SSIM needs at least {side}x{side} pixels, got {restored.shape[0]}x{restored.shape[1]}')

    def mean(x: np.ndarray) -> np.ndarray:
        margin = side // 2
        blurred = cv2.blur(x, (side, side)) if window == 'uniform' else cv2.GaussianBlur(x, (side, side), _SIGMA)
        return blurred[margin:-margin, margin:-margin]

    c1, c2 = 0.01**2, 0.03**2
    unbiased = side**2 / (side**2 - 1) if window == 'uniform' else 1.0
    mean_a, mean_b = mean(restored), mean(gt)
    spread = (mean(restored * restored) - mean_a * mean_a + mean(gt * gt) - mean_b * mean_b) * unbiased
    shared = (mean(restored * gt) - mean_a * mean_b) * unbiased
    luminance = (2 * mean_a * mean_b + c1) / (mean_a * mean_a + mean_b * mean_b + c1)
    return float(np.mean(luminance * (2 * shared + c2) / (spread + c2)))


def rounded_to_eight_bits(image: np.ndarray) -> np.ndarray:
    """A float image as it comes back from a PNG of 8 bits."""
    return np.round(np.clip(np.asarray(image, np.float64), 0, 1) * 255) / 255


def with_mean_of(restored: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """A restored float RGB image scaled to the mean grey of its ground truth and clipped, "GT-mean" in papers on LOL.

    It uses the ground truth to set the brightness, which is what such figures have over plain ones. Grey is that of
    BT.601 without swing. A black image stays as it is.
    """
    mean = float((np.asarray(restored, np.float64) @ _GREY).mean())
    wanted = float((np.asarray(gt, np.float64) @ _GREY).mean())
    return np.clip(restored * (wanted / mean), 0, 1) if mean > 0 else restored


def perceptual_distance(restored: np.ndarray, gt: np.ndarray, net: str = 'alex') -> float:
    """LPIPS distance of float RGB images (h, w, 3) in [0, 1]; smaller is better. The paper uses AlexNet.

    Raises:
        ValueError: The shapes differ or the network is unknown.
        MetricUnavailableError: The package or the network's weights are absent; the message says how to get them.

    Source: Zhang et al., CVPR 2018; package `lpips`.
    """
    restored, gt = _pair(restored, gt, 'rgb')
    model = _lpips_model(net)
    tensors = [torch.from_numpy(x).float().permute(2, 0, 1)[None] * 2 - 1 for x in (restored, gt)]
    with torch.no_grad():
        return model(*tensors).item()


def naturalness(image: np.ndarray) -> float:
    """NIQE of a float RGB image (h, w, 3) in [0, 1], by BasicSR on its 8-bit luma; smaller is better.

    Raises:
        ValueError: The image is smaller than two of NIQE's 96x96 blocks, whose covariance would be undefined.
    """
    from basicsr.metrics import calculate_niqe

    require_niqe_blocks(*image.shape[:2])
    eight_bit = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return float(calculate_niqe(eight_bit[..., ::-1], crop_border=0))


def require_niqe_blocks(height: int, width: int, crop_border: int = 0) -> None:
    """Raise `ValueError` where an image has less than two of NIQE's 96x96 blocks inside its border."""
    height, width = max(height - 2 * crop_border, 0), max(width - 2 * crop_border, 0)
    if (height // 96) * (width // 96) < 2:
        within = f' within a border of {crop_border}' if crop_border else ''
        raise ValueError(f'NIQE needs at least two blocks of 96x96 pixels, got {height}x{width}{within}')


def require_available(name: str, net: str = 'alex') -> None:
    """Raise `MetricUnavailableError` if a metric of this name could not be computed on this machine.

    Args:
        name: Any metric's name; only 'lpips' has needs beyond this project's dependencies.
        net: Network of LPIPS.
    """
    if name != 'lpips':
        return
    if net not in LPIPS_NETS:
        raise ValueError(f"lpips: net is '{net}'; allowed are {', '.join(LPIPS_NETS)}")
    if find_spec('lpips') is None:
        raise MetricUnavailableError(
            "the metric 'lpips' needs the package of that name: pip install 'mirage-ir[lpips]', or leave the metric out"
        )
    weights = Path(torch.hub.get_dir()) / 'checkpoints' / _BACKBONES[net]
    if not weights.is_file():
        raise MetricUnavailableError(
            f"the metric 'lpips' needs the ImageNet weights of its network at {weights}: fetch "
            f'https://download.pytorch.org/models/{weights.name} to there, or leave the metric out'
        )


_Measuring = TypeVar('_Measuring', bound=Callable)


def _declares(**options: dict) -> Callable[[_Measuring], _Measuring]:
    """Says of a metric's arguments what its signature cannot, as arguments of `mirage_data.option.Option`."""
    shared = {
        'channel': {'choices': CHANNELS},
        'crop_border': {'low': 0},
        'input_format': {'choices': _INPUT_FORMATS},
        'better': {'choices': ('higher', 'lower')},
    }

    def declare(metric: _Measuring) -> _Measuring:
        metric.__dict__['OPTIONS'] = {**shared, **options}
        return metric

    return declare


@_declares()
def psnr_float(
    img: np.ndarray,
    img2: np.ndarray,
    channel: str = 'rgb',
    crop_border: int = 0,
    input_format: str = 'auto',
    better: str = 'higher',
    eight_bit: bool = False,
    gt_mean: bool = False,
) -> float:
    """`psnr` as BasicSR calls it.

    Args:
        img: Result (h, w, 3): float in [0, 1], or 8-bit.
        img2: Ground truth of the same kind.
        channel: 'rgb', 'y' or 'y8'.
        crop_border: Pixels left out along every edge.
        input_format: Order of the channels; 'auto' takes float images for RGB and 8-bit ones, as BasicSR makes
            them, for BGR.
        better: Read by BasicSR, not here.
        eight_bit: The result is rounded to 8 bits first, as a picture file is.
        gt_mean: Then the result is scaled to the mean of the ground truth; see `with_mean_of`.
    """
    return psnr(*_prepared(img, img2, input_format, crop_border, eight_bit, gt_mean), channel)


@_declares(window={'choices': tuple(WINDOWS)})
def ssim_float(
    img: np.ndarray,
    img2: np.ndarray,
    channel: str = 'rgb',
    crop_border: int = 0,
    input_format: str = 'auto',
    better: str = 'higher',
    window: str = 'uniform',
    eight_bit: bool = False,
    gt_mean: bool = False,
) -> float:
    """`ssim` as BasicSR calls it; arguments as `psnr_float`, and ``window``: 'uniform' or 'gaussian'."""
    return ssim(*_prepared(img, img2, input_format, crop_border, eight_bit, gt_mean), channel, window)


@_declares(net={'choices': LPIPS_NETS})
def lpips(
    img: np.ndarray,
    img2: np.ndarray,
    net: str = 'alex',
    crop_border: int = 0,
    input_format: str = 'auto',
    better: str = 'lower',
    eight_bit: bool = False,
    gt_mean: bool = False,
) -> float:
    """`perceptual_distance` as BasicSR calls it; arguments as `psnr_float`, and the network."""
    return perceptual_distance(*_prepared(img, img2, input_format, crop_border, eight_bit, gt_mean), net)


@lru_cache(maxsize=len(LPIPS_NETS))
def _lpips_model(net: str) -> torch.nn.Module:
    require_available('lpips', net)
    import lpips as package

    return package.LPIPS(net=net, verbose=False).eval()


def _pair(restored: np.ndarray, gt: np.ndarray, channel: str) -> tuple[np.ndarray, np.ndarray]:
    if channel not in CHANNELS:
        raise ValueError(f"channel is '{channel}'; allowed are {', '.join(CHANNELS)}")
    for name, image in (('restored', restored), ('ground truth', gt)):
        if image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f'the {name} image must be (h, w, 3), got {image.shape}')
        if not np.issubdtype(image.dtype, np.floating):
            raise ValueError(f'the {name} image must be float in [0, 1], got {image.dtype}')
    if restored.shape != gt.shape:
        raise ValueError(f'restored image {restored.shape} and ground truth {gt.shape} differ in size')
    if channel != 'rgb':
        transform = luma if channel == 'y' else luma_of_eight_bits
        return transform(restored), transform(gt)
    return np.asarray(restored, np.float64), np.asarray(gt, np.float64)


def _as_rgb(image: np.ndarray, input_format: str, crop_border: int) -> np.ndarray:
    if input_format not in _INPUT_FORMATS:
        raise ValueError(f"input_format is '{input_format}'; allowed are {', '.join(_INPUT_FORMATS)}")
    eight_bit = image.dtype == np.uint8
    if input_format == 'bgr' or (input_format == 'auto' and eight_bit):
        image = image[..., ::-1]
    if crop_border < 0:
        raise ValueError(f'crop_border: {crop_border}; needed is a whole number of at least 0')
    if 2 * crop_border >= min(image.shape[:2]):
        raise ValueError(f'crop_border: {crop_border} leaves nothing of {image.shape[0]}x{image.shape[1]} pixels')
    if crop_border:
        image = image[crop_border:-crop_border, crop_border:-crop_border]
    return image / 255.0 if eight_bit else image


def _prepared(
    img: np.ndarray, img2: np.ndarray, input_format: str, crop_border: int, eight_bit: bool, gt_mean: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Result and ground truth as float RGB images, by the conventions that were asked for."""
    restored, gt = (_as_rgb(image, input_format, crop_border) for image in (img, img2))
    if eight_bit:
        restored = rounded_to_eight_bits(restored)
    return (with_mean_of(restored, gt) if gt_mean else restored), gt


@dataclass(frozen=True)
class Metric:
    """One metric.

    Args:
        type: Its name in BasicSR's registry, as option files have it.
        measure: ``measure(restored, gt, channel)`` of float RGB images.
        title: Heading in tables.
        better: 'higher' or 'lower'.
        digits: Behind the point, in tables.
        needs_gt: Whether it compares with a ground truth.
        registered: The function that goes into the registry; None where BasicSR has it.
    """

    type: str
    measure: Callable[..., float]
    title: str
    better: str = 'higher'
    digits: int = 3
    needs_gt: bool = True
    registered: Callable[..., float] | None = None


#: Metrics by their short names, which columns of tables and ``evaluate --metrics`` use.
METRICS = {
    'psnr': Metric('psnr_float', psnr, 'PSNR (dB)', digits=2, registered=psnr_float),
    'ssim': Metric('ssim_float', ssim, 'SSIM', registered=ssim_float),
    'lpips': Metric(
        'lpips', lambda restored, gt, channel: perceptual_distance(restored, gt), 'LPIPS', 'lower', registered=lpips
    ),
    'niqe': Metric(
        'calculate_niqe', lambda restored, gt, channel: naturalness(restored), 'NIQE', 'lower', needs_gt=False
    ),
}
#: Functions that the project registers, by type.
REGISTERED = {metric.type: metric.registered for metric in METRICS.values() if metric.registered}
#: Types that must be given float RGB images in [0, 1] instead of BasicSR's 8-bit BGR ones.
FLOAT_METRICS = tuple(REGISTERED)
#: Types of which a smaller value is the better one.
LOWER_IS_BETTER = tuple(metric.type for metric in METRICS.values() if metric.better == 'lower')
