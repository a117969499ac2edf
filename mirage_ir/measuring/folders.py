"""Measure restored pictures of any program against their ground truth, by the same code as a test run."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mirage_data.files.crops import centre_window
from mirage_data.files.image import list_names, read_rgb, to_float
from mirage_data.files.pairing import match_pairs

from . import metrics, protocols

METRIC_NAMES = tuple(metrics.METRICS)


@dataclass(frozen=True)
class Evaluation:
    """Figures of a folder of pictures.

    Args:
        images: Figures of each picture by its name, in order.
        unpaired: Restored pictures without a ground truth and ground truths without a restored picture, by name.
        protocol: How the figures were made, as a test run writes it into `results.json`.
    """

    images: Mapping[str, Mapping[str, float]]
    unpaired: tuple[str, ...]
    protocol: Mapping

    @property
    def mean(self) -> dict[str, float]:
        """Mean of every metric over the pictures."""
        names = next(iter(self.images.values()))
        return {name: float(np.mean([values[name] for values in self.images.values()])) for name in names}


def evaluate_folders(
    restored: str | Path,
    gt: str | Path | None,
    names: Sequence[str] = ('psnr', 'ssim'),
    *,
    channel: str = 'rgb',
    crop_multiple: int = 16,
    pairing: str | dict = 'same_name',
    suffix: str = '',
    progress: bool = False,
    conventions: Mapping[str, object] | None = None,
    protocol: str | None = None,
) -> Evaluation:
    """Compare the pictures of one folder with those of another.

    Args:
        restored: Folder of restored pictures.
        gt: Folder of the ground truth; None if all metrics do without.
        names: Metrics, of `METRIC_NAMES`.
        channel: 'rgb', or 'y' for the luma of BT.601; for PSNR and SSIM.
        crop_multiple: Both pictures are centre-cropped to a multiple of it; the paper: 16, for CDD11 1. A restored
            picture may be cropped already.
        pairing: Rule of `mirage_data.files.pairing` that finds the ground truth of a restored picture's name; also
            `{'lq': REGEX, 'gt': NAME}`.
        suffix: End of the restored names (before the extension) that the ground truth's lack, such as `_restored`.
            Without it, where no name fits, an end from an underscore on that all restored names share is left out, and
            a number of five digits before them: so test runs name their pictures.
        progress: Show a progress bar.
        conventions: Further arguments of the metrics that know them: `crop_border`, `eight_bit`, `gt_mean`, `window`
            (of SSIM), `net` (of LPIPS).
        protocol: A name of `protocols.PROTOCOLS`, whose settings of PSNR, SSIM and cropping go before all others.

    Raises:
        ValueError: An unknown metric, protocol or rule, no pair at all, pictures of different size (named), or a
            metric that is not installed (`metrics.MetricUnavailableError`).
    """
    chosen = protocols.protocol(protocol) if protocol else None
    crop_multiple = (chosen.crop_multiple or 1) if chosen else crop_multiple
    given = {'channel': channel, **(conventions or {})}
    _check(names, gt, channel, crop_multiple, str(given.get('net', 'alex')))
    options = {
        name: {'type': metrics.METRICS[name].type, **protocols.arguments_of(metrics.METRICS[name], given)}
        for name in names
    }
    if chosen:
        options.update({name: how for name, how in chosen.metrics().items() if name in names})
    pairs, unpaired = _pairs(Path(restored), None if gt is None else Path(gt), pairing, suffix)
    images = {}
    for name, path, gt_path in tqdm(pairs, desc='evaluating', unit='image', disable=not progress):
        image, truth = _load(path, gt_path, crop_multiple)
        try:
            images[name] = {metric: _measure(metric, image, truth, options[metric]) for metric in names}
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from error
    how = {'metrics': options, 'crop_multiple': crop_multiple if crop_multiple > 1 else 0, 'from': 'picture files'}
    return Evaluation(images, tuple(unpaired), {**({'protocol': protocol} if protocol else {}), **how})


def _measure(name: str, image: np.ndarray, truth: np.ndarray | None, options: Mapping) -> float:
    metric = metrics.METRICS[name]
    arguments = {key: value for key, value in options.items() if key != 'type'}
    if metric.registered is None:
        return metric.measure(image, truth, arguments.get('channel', 'rgb'))
    return metric.registered(image, truth, **arguments)


def _check(names: Sequence[str], gt: str | Path | None, channel: str, crop_multiple: int, net: str) -> None:
    if not names or any(name not in METRIC_NAMES for name in names):
        raise ValueError(f'metrics {", ".join(names) or "(none)"}: allowed are {", ".join(METRIC_NAMES)}')
    if channel not in metrics.CHANNELS:
        raise ValueError(f"channel is '{channel}'; allowed are {', '.join(metrics.CHANNELS)}")
    if crop_multiple < 1:
        raise ValueError(f'crop_multiple is {crop_multiple}; it must be at least 1 (no cropping)')
    needy = [name for name in names if metrics.METRICS[name].needs_gt]
    if gt is None and needy:
        raise ValueError(f'{", ".join(needy)} need a ground truth folder; without one only niqe can be measured')
    for name in names:
        metrics.require_available(name, net)


def _pairs(
    restored: Path, gt: Path | None, rule: str | dict, suffix: str
) -> tuple[list[tuple[str, Path, Path | None]], list]:
    found = list_names(restored, recursive=True)
    if suffix:
        found = [name for name in found if Path(name).stem.endswith(suffix)]
    if not found:
        raise ValueError(f'{restored}: no pictures' + (f' whose names end in {suffix!r}' if suffix else ''))
    if gt is None:
        return [(name, restored / name, None) for name in found], []
    truths = list_names(gt, recursive=True)
    best: tuple = ({}, [], found, truths)
    for end in [suffix] if suffix else ['', *_common_ends(found)]:
        for number in ('', r'\d{5}_') if not suffix else ('',):
            bare = {_bare(name, end, number): name for name in found}
            if len(bare) < len(found):  # two names would become one
                continue
            matched = match_pairs(list(bare), truths, rule)
            if len(matched[0]) > len(best[1]):
                best = (bare, *matched)
        if best[1] and not end:
            break  # names that fit as they are
    bare, pairs, lonely, lonely_gt = best
    if not pairs:
        example = truths[0] if truths else 'no pictures at all'
        raise ValueError(
            f'no picture of {restored} (such as {found[0]}) has a ground truth in {gt} (which has {example}) by the '
            f'rule {rule!r}; a restored name may have a suffix that is to be ignored'
        )
    twins = [names for names in _by_stem(found).values() if len(names) > 1]
    if twins and rule == 'same_name':
        raise ValueError(f'{restored}: {" and ".join(twins[0])} have one ground truth; leave one of them there')
    for a, b in pairs:
        if os.path.samefile(restored / bare[a], gt / b):
            raise ValueError(f'{restored / bare[a]} is its own ground truth; --restored and --gt are two sides')
    return [(bare[a], restored / bare[a], gt / b) for a, b in pairs], [*(bare[n] for n in lonely), *lonely_gt]


def _by_stem(names: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(os.path.splitext(name)[0], []).append(name)
    return found


def _bare(name: str, end: str, number: str) -> str:
    """A restored picture's name without what a program put around it."""
    path = Path(name)
    stem = re.sub(f'^{number}', '', path.stem.removesuffix(end))
    return path.with_name((stem or path.stem) + path.suffix).as_posix()


def _common_ends(names: Sequence[str]) -> list[str]:
    """The ends from an underscore on that all names share, longest first."""
    shared = os.path.commonprefix([Path(name).stem[::-1] for name in names])[::-1]
    return [shared[place:] for place, sign in enumerate(shared) if sign == '_']


def _load(path: Path, gt_path: Path | None, multiple: int) -> tuple[np.ndarray, np.ndarray | None]:
    image = to_float(read_rgb(path))
    height, width = image.shape[:2]
    window = centre_window(height, width, multiple, str(path))
    if gt_path is None:
        return window.of(image), None
    truth = to_float(read_rgb(gt_path))
    gt_height, gt_width = truth.shape[:2]
    gt_window = centre_window(gt_height, gt_width, multiple, str(gt_path))
    cropped = (gt_window.height, gt_window.width)
    if (height, width) not in ((gt_height, gt_width), cropped):
        raise ValueError(
            f'{path} has {width}x{height} pixels, its ground truth {gt_path} {gt_width}x{gt_height}; they must be of '
            'one size'
        )
    return window.of(image), gt_window.of(truth)
