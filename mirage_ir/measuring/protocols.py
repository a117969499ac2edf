"""Usual sets of measuring conventions by name, for test runs (``val: protocol``) and `mirage-basicsr evaluate`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from . import metrics


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


def arguments_of(metric: metrics.Metric, conventions: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some conventions that a metric knows."""
    if metric.registered is None:
        return {}
    known = inspect.signature(metric.registered).parameters
    return {key: value for key, value in conventions.items() if key in known}


def described(options: Mapping[str, Mapping[str, Any]], crop_multiple: int = 0) -> str:
    """How metrics were made, in a line for below a table: type and every argument of each.

    Args:
        options: By key, ``type`` and arguments.
        crop_multiple: Of the images; 0 or 1 for no cropping.
    """
    parts = []
    for key, section in options.items():
        extras = [f'{name} {value}' for name, value in section.items() if name not in ('type', 'better') and value]
        parts.append(f'{key} by {section["type"]}' + (f' ({", ".join(extras)})' if extras else ''))
    crop = f'cropped to multiples of {crop_multiple}' if crop_multiple > 1 else 'whole images'
    return '; '.join([*parts, crop])
