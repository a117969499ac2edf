"""How figures are made: usual sets of conventions by name, and measuring by the metrics that option files name.

``val: protocol`` and `mirage-basicsr evaluate` know the names of `PROTOCOLS`; `measure` gives each of BasicSR's
registered metrics its kind of image.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from basicsr.metrics import calculate_metric
from basicsr.utils import tensor2img
from basicsr.utils.registry import METRIC_REGISTRY
from torch import Tensor

from mirage_data.files.crops import centre_window

from . import metrics as own_metrics

#: Columns that the tables of results have beside the metrics.
TAKEN_COLUMNS = ('dataset', 'task', 'images', 'image', 'index')


@dataclass(frozen=True)
class Protocol:
    """How figures are made.

    Args:
        meaning: Where it is usual, in a line.
        psnr: Arguments of PSNR beside its defaults.
        ssim: The same of SSIM.
        crop_multiple: Images are centre-cropped to multiples of it; 0 for not at all.
    """

    meaning: str
    psnr: Mapping[str, Any]
    ssim: Mapping[str, Any]
    crop_multiple: int = 0

    def metrics(self) -> dict[str, dict[str, Any]]:
        """The section ``val: metrics`` of it."""
        return {'psnr': {'type': 'psnr_float', **self.psnr}, 'ssim': {'type': 'ssim_float', **self.ssim}}


_GAUSSIAN = {'window': 'gaussian'}
PROTOCOLS = {
    'paper': Protocol('this paper: float images, RGB, uniform window, multiples of 16', {}, {}, 16),
    'deraining-y': Protocol(
        'deraining (Rain100L, Rain800 and others): luma of 8-bit pictures, Gaussian window',
        {'channel': 'y', 'eight_bit': True},
        {'channel': 'y', 'eight_bit': True, **_GAUSSIAN},
    ),
    'deraining-matlab': Protocol(
        "the same by the papers' MATLAB scripts, whose luma is rounded to 8 bits",
        {'channel': 'y8', 'eight_bit': True},
        {'channel': 'y8', 'eight_bit': True, **_GAUSSIAN},
    ),
    'rgb-8bit': Protocol(
        "deblurring, dehazing, BasicSR's default: RGB of 8-bit pictures, Gaussian window",
        {'eight_bit': True},
        {'eight_bit': True, **_GAUSSIAN},
    ),
    'lol': Protocol(
        'low light, plain: RGB of 8-bit pictures, Gaussian window',
        {'eight_bit': True},
        {'eight_bit': True, **_GAUSSIAN},
    ),
    'lol-gtmean': Protocol(
        'low light, results scaled to the mean of the ground truth',
        {'eight_bit': True, 'gt_mean': True},
        {'eight_bit': True, 'gt_mean': True, **_GAUSSIAN},
    ),
}


def protocol(name: str) -> Protocol:
    """The protocol of a name; ValueError with those there are."""
    if name not in PROTOCOLS:
        raise ValueError(f'protocol is {name!r}; allowed are {", ".join(PROTOCOLS)}')
    return PROTOCOLS[name]


def apply_protocol(val: MutableMapping) -> None:
    """Put what ``protocol`` stands for into the ``val`` options, in place of what they say about PSNR and SSIM.

    Args:
        val: The section; without ``protocol`` it stays as it is. Other metrics stay.

    Raises:
        ValueError: The name is unknown.
    """
    if not val.get('protocol'):
        return
    chosen = protocol(val['protocol'])
    val['metrics'] = {**(val.get('metrics') or {}), **chosen.metrics()}
    val['crop_multiple'] = chosen.crop_multiple


def settle_crops(opt: Mapping) -> None:
    """Let data sets that say nothing themselves crop as ``val`` does: they crop first, by default as in the paper.

    Args:
        opt: The options of a run, before its data sets are built; changed in place. Without ``val: protocol`` and
            ``val: crop_multiple`` they stay as they are.

    Raises:
        ValueError: The protocol is unknown.
    """
    val = opt.get('val') or {}
    multiple = protocol(val['protocol']).crop_multiple if val.get('protocol') else val.get('crop_multiple')
    if multiple is None:
        return
    for key, section in opt['datasets'].items():
        if not key.startswith('train') and section.get('crop_multiple') is None:
            section['crop_multiple'] = max(int(multiple), 1)


def arguments_of(metric: own_metrics.Metric, conventions: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some conventions that a metric knows."""
    if metric.registered is None:
        return {}
    known = inspect.signature(metric.registered).parameters
    return {key: value for key, value in conventions.items() if key in known}


def described(options: Mapping[str, Mapping[str, Any]], crop_multiple: int | Mapping[str, int] = 0) -> str:
    """How metrics were made, in a line for below a table: type and every argument of each.

    Args:
        options: By key, ``type`` and arguments.
        crop_multiple: Of the images; 0 or 1 for no cropping. By data set where they differ.
    """
    parts = []
    for key, section in options.items():
        extras = [f'{name} {value}' for name, value in section.items() if name not in ('type', 'better') and value]
        parts.append(f'{key} by {section["type"]}' + (f' ({", ".join(extras)})' if extras else ''))
    return '; '.join([*parts, cropping(crop_multiple)])


def cropping(multiple: int | Mapping[str, int]) -> str:
    """How images were cropped, in words; arguments as ``crop_multiple`` of `described`."""
    if isinstance(multiple, Mapping):
        return ', '.join(f'{name} {cropping(value)}' for name, value in multiple.items())
    return f'cropped to multiples of {multiple}' if multiple > 1 else 'whole images'


def measure(image: Tensor, gt: Tensor | None, metrics: Mapping[str, Mapping], clip: bool = True) -> dict[str, float]:
    """Metrics of one image.

    Args:
        image: Restored image (1, 3, h, w), RGB; clipped to [0, 1] here.
        clip: False leaves float images as they are: an input with noise that is not clipped is measured so.
        gt: Ground truth of the same shape. Without it only metrics that need none are computed.
        metrics: Options of each metric by its key in the table: its registered ``type`` and arguments.

    Returns:
        Values by key. Metrics in `metrics.FLOAT_METRICS` see float images, others 8-bit BGR ones as in BasicSR.

    Raises:
        ValueError: A metric cannot be computed on an image of this size.
    """
    values = {}
    made: dict = {}
    for key, options in metrics.items():
        convert = _float_image if options['type'] in own_metrics.FLOAT_METRICS else _eight_bit_image
        if convert not in made:
            bounded = image.clamp(0, 1) if clip else image
            made[convert] = {'img': convert(bounded), **({} if gt is None else {'img2': convert(gt)})}
        if gt is not None or not _needs_reference(options['type']):
            if options['type'] == 'calculate_niqe':
                height, width = image.shape[-2:]
                own_metrics.require_niqe_blocks(height, width, options.get('crop_border', 0))
            values[key] = float(calculate_metric(made[convert], dict(options)))
    return values


def check_metrics(metrics: Mapping[str, Mapping]) -> None:
    """Refuses metrics that cannot be computed here, before anything else is.

    Raises:
        ValueError: An unknown metric, one whose package or weights are absent, or a key that tables use otherwise.
    """
    for key, options in metrics.items():
        if key in TAKEN_COLUMNS:
            raise ValueError(f'val: metrics: {key}: tables have a column of this name; call the metric otherwise')
        if options['type'] not in METRIC_REGISTRY:
            known = ', '.join(sorted(METRIC_REGISTRY.keys()))
            raise ValueError(f'val: metrics: {key}: type is {options["type"]!r}; registered are {known}')
        own_metrics.require_available(options['type'], options.get('net', 'alex'))


def centre_crop(image: Tensor, multiple: int, source: str) -> Tensor:
    """Crops (..., h, w) around the centre to multiples of ``multiple``, as the authors' evaluation does.

    Raises:
        ValueError: The image is smaller than ``multiple``; ``source`` is named.
    """
    rows, columns = image.shape[-2:]
    top, left, height, width = centre_window(rows, columns, multiple, source)
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
