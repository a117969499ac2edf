"""Measuring restored images by BasicSR's registered metrics, each on its kind of image."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import numpy as np
from basicsr.metrics import calculate_metric
from basicsr.utils import tensor2img
from basicsr.utils.registry import METRIC_REGISTRY
from torch import Tensor

from mirage_data.files.crops import centre_window

from .metrics import FLOAT_METRICS, require_available


def measure(image: Tensor, gt: Tensor | None, metrics: Mapping[str, Mapping], clip: bool = True) -> dict[str, float]:
    """Metrics of one image.

    Args:
        image: Restored image (1, 3, h, w), RGB; clipped to [0, 1] here.
        clip: False leaves float images as they are: an input with noise that is not clipped is measured so.
        gt: Ground truth of the same shape. Without it only metrics that need none are computed.
        metrics: Options of each metric by its key in the table: its registered ``type`` and arguments.

    Returns:
        Values by key. Metrics in `metrics.FLOAT_METRICS` see float images, others 8-bit BGR ones as in BasicSR.
    """
    values = {}
    made: dict = {}
    for key, options in metrics.items():
        convert = _float_image if options['type'] in FLOAT_METRICS else _eight_bit_image
        if convert not in made:
            bounded = image.clamp(0, 1) if clip else image
            made[convert] = {'img': convert(bounded), **({} if gt is None else {'img2': convert(gt)})}
        if gt is not None or not _needs_reference(options['type']):
            values[key] = float(calculate_metric(made[convert], dict(options)))
    return values


def check_metrics(metrics: Mapping[str, Mapping]) -> None:
    """Refuses metrics that cannot be computed here, before anything else is.

    Raises:
        ValueError: An unknown metric, or one whose package or weights are absent.
    """
    for key, options in metrics.items():
        if options['type'] not in METRIC_REGISTRY:
            known = ', '.join(sorted(METRIC_REGISTRY.keys()))
            raise ValueError(f'val: metrics: {key}: type is {options["type"]!r}; registered are {known}')
        require_available(options['type'], options.get('net', 'alex'))


def centre_crop(image: Tensor, multiple: int, source: str) -> Tensor:
    """Crops (..., h, w) around the centre to multiples of ``multiple``, as the authors' evaluation does.

    Raises:
        ValueError: The image is smaller than ``multiple``; ``source`` is named.
    """
    top, left, height, width = centre_window(*image.shape[-2:], multiple, source)
    return image[..., top : top + height, left : left + width]


def _needs_reference(metric: str) -> bool:
    parameter = inspect.signature(METRIC_REGISTRY.get(metric)).parameters.get('img2')
    return parameter is not None and parameter.default is inspect.Parameter.empty


def _float_image(tensor: Tensor) -> np.ndarray:
    """(1, 3, h, w) -> float RGB (h, w, 3)."""
    return tensor[0].detach().permute(1, 2, 0).float().cpu().numpy()


def _eight_bit_image(tensor: Tensor) -> np.ndarray:
    """(1, 3, h, w) -> 8-bit BGR (h, w, 3), as BasicSR's metrics take it."""
    return tensor2img([tensor])
