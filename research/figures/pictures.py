"""Pictures side by side as papers print them: whole images with frames, zoomed crops, PSNR and maps of the error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mirage_data.files.crops import Window
from mirage_data.files.image import read_rgb, to_float
from mirage_ir.measuring import metrics
from mirage_ir.measuring.plotting import colour, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SAME_PICTURE = 16  # test runs crop the centre to a multiple of 16, so a result may lack fewer pixels than that
_COLUMN = 2.0  # inches
_MIN_CROP = 8


def load_panels(files: Mapping[str, str | Path]) -> dict[str, np.ndarray]:
    """Read one picture of several sources and crop all to the centre that they share.

    Args:
        files: Picture file by the name of its source.

    Returns:
        Float RGB images (h, w, 3) in [0, 1] of one size.

    Raises:
        ValueError: A file is no picture, or sizes differ by more than a crop to a multiple of 16 explains.
    """
    images = {name: to_float(read_rgb(path)) for name, path in files.items()}
    height, width = (min(image.shape[axis] for image in images.values()) for axis in (0, 1))
    for name, image in images.items():
        down, right = image.shape[0] - height, image.shape[1] - width
        if max(down, right) >= _SAME_PICTURE:
            raise ValueError(
                f'{files[name]}: {image.shape[1]}x{image.shape[0]} pixels, another of these pictures has '
                f'only {width}x{height}; at most a crop to a multiple of {_SAME_PICTURE} may lie between'
            )
        images[name] = image[down // 2 : down // 2 + height, right // 2 : right // 2 + width]
    return images


def informative_crops(
    images: Sequence[np.ndarray], reference: np.ndarray, count: int = 2, size: int | None = None
) -> list[Window]:
    """The square crops in which a comparison shows most.

    A crop's score is the mean over its pixels of how much the images disagree (standard deviation over them, averaged
    over the colours), weighted by the detail of the reference (magnitude of its gradient, plus a tenth of its mean).
    The best crop is taken first; the next ones do not overlap it.

    Args:
        images: What is compared, degraded image included; float (h, w, 3) of one size.
        reference: Image whose detail counts, as a rule the ground truth.
        count: Crops wanted; fewer come back if no more fit.
        size: Side in pixels; by default a fifth of the geometric mean of the sides.

    Returns:
        Windows, best first. Where nothing differs, the first one is in the centre.

    Raises:
        ValueError: `count` or `size` is below 1.
    """
    height, width = reference.shape[:2]
    if size is None:
        size = max(_MIN_CROP, round(math.sqrt(height * width) / 5))
    if count < 1 or size < 1:
        raise ValueError(f'crops: count and size must be 1 or more, got {count} and {size}')
    size = min(size, height, width)
    grey = cv2.GaussianBlur(reference.mean(axis=2).astype(np.float32), (0, 0), 1)
    slope = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    detail = slope + 0.1 * slope.mean()
    score = np.std(np.stack(images), axis=0).mean(axis=2) * detail
    sums = cv2.integral(score.astype(np.float64))
    means = (sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]) / size**2
    if means.max() - means.min() <= 1e-9 * max(means.max(), 1e-9):  # all alike: the centre is as good as any
        means[means.shape[0] // 2, means.shape[1] // 2] += 1
    found: list[Window] = []
    while len(found) < count and np.isfinite(means).any():
        top, left = (int(n) for n in np.unravel_index(np.argmax(means), means.shape))
        found.append(Window(top, left, size, size))
        means[max(0, top - size + 1) : top + size, max(0, left - size + 1) : left + size] = -np.inf
    return found


def comparison(
    images: Mapping[str, np.ndarray],
    crops: Sequence[Window] = (),
    *,
    gt: str | None = None,
    error_maps: bool = True,
    error_limit: float | None = None,
) -> Figure:
    """One column for each image: the whole with frames, its crops enlarged, and its error.

    Args:
        images: Float RGB (h, w, 3) in [0, 1] of one size by the name printed below, in order.
        crops: What is enlarged; its frame in the whole and around the crop has one colour.
        gt: Name of the ground truth among the images. With it PSNR in dB (float RGB) stands below the others.
        error_maps: With ``gt``, show the absolute error averaged over the colours.
        error_limit: Error of the brightest colour; by default the 99.5th percentile over all images.

    Raises:
        ValueError: Images of several sizes, an unknown ``gt``, or a crop beyond the image.
    """
    shapes = {image.shape for image in images.values()}
    if len(shapes) != 1:
        raise ValueError(f'images to compare must be of one size, got {", ".join(map(str, sorted(shapes)))}')
    if gt is not None and gt not in images:
        raise ValueError(f'ground truth {gt!r}: the images are {", ".join(images)}')
    height, width = next(iter(shapes))[:2]
    for crop in crops:
        inside = 0 <= crop.top <= height - crop.height and 0 <= crop.left <= width - crop.width
        if not inside or min(crop.height, crop.width) < 1:
            raise ValueError(
                f'crop {crop.left},{crop.top},{crop.width},{crop.height} (x, y, width, height) does not '
                f'lie in the image of {width}x{height} pixels'
            )
    errors = {}
    if gt is not None and error_maps:
        errors = {name: np.abs(image - images[gt]).mean(axis=2) for name, image in images.items() if name != gt}
    shares = [height / width, *(crop.height / crop.width for crop in crops), *([height / width] if errors else [])]
    figure = new_figure(_COLUMN * len(images), _COLUMN * sum(shares) + 0.5)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    grid = figure.subplots(len(shares), len(images), squeeze=False, gridspec_kw={'height_ratios': shares})
    for column, image in enumerate(images.values()):
        _picture(grid[0, column], image)
        for i, crop in enumerate(crops):
            _frame(grid[0, column], crop, colour(i + 1))
            _picture(grid[i + 1, column], crop.of(image), colour(i + 1))
    if errors:
        _draw_errors(figure, grid[-1], list(images), errors, error_limit)
    for column, (name, image) in enumerate(images.items()):
        below = grid[len(crops), column]
        text = name if gt in (None, name) else f'{name}\n{_decibels(image, images[gt])}'
        below.set_xlabel(text, fontsize=9)
    return figure


def _decibels(image: np.ndarray, gt: np.ndarray) -> str:
    value = metrics.psnr(image, gt)
    return f'{value:.2f} dB' if math.isfinite(value) else 'equal'


def _picture(axis, image: np.ndarray, edge: str | None = None) -> None:
    axis.imshow(np.clip(image, 0, 1), interpolation='nearest')
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(edge is not None)
        spine.set(edgecolor=edge or 'none', linewidth=2)


def _frame(axis, crop: Window, edge: str) -> None:
    from matplotlib.patches import Rectangle

    axis.add_patch(
        Rectangle((crop.left - 0.5, crop.top - 0.5), crop.width, crop.height, fill=False, edgecolor=edge, linewidth=1.5)
    )


def _draw_errors(
    figure: Figure, row, names: Sequence[str], errors: Mapping[str, np.ndarray], limit: float | None
) -> None:
    limit = limit or float(np.percentile(np.stack(list(errors.values())), 99.5)) or 1 / 255
    for axis, name in zip(row, names):
        if name in errors:
            picture = axis.imshow(errors[name], cmap='inferno', vmin=0, vmax=limit, interpolation='nearest')
            axis.set(xticks=[], yticks=[])
        else:
            axis.set_axis_off()
            gauge = axis
    inset = gauge.inset_axes((0.05, 0.2, 0.08, 0.6))
    figure.colorbar(picture, cax=inset).set_label('absolute error', fontsize=7)
    inset.tick_params(labelsize=7)
