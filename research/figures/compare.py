"""Figures as papers print them: pictures of several methods side by side, and the summary of all settings.

    python research/figures/compare.py pictures --input rainy --method MIRAGE=results/a/visualization/Rain100L \
        --method theirs=DIR --gt clean --out figures --only rain-001 --only rain-007
    python research/figures/compare.py summary results/test_5deg results/test_cdd11 --tables 4 5 --out figures/summary

Crops are chosen where the methods differ most, unless --crop names them.
"""

from __future__ import annotations

import argparse
import math
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mirage_data.files.crops import Window
from mirage_data.files.image import list_names, read_rgb, to_float
from mirage_data.files.pairing import match_pairs
from mirage_ir.measuring import metrics, plotting, report, tables
from mirage_ir.measuring.tables import ASSISTED, AVERAGE, TableRow
from research.common import ended, parser_of

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
    figure = plotting.new_figure(_COLUMN * len(images), _COLUMN * sum(shares) + 0.5)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    grid = figure.subplots(len(shares), len(images), squeeze=False, gridspec_kw={'height_ratios': shares})
    for column, image in enumerate(images.values()):
        _picture(grid[0, column], image)
        for i, crop in enumerate(crops):
            _frame(grid[0, column], crop, plotting.colour(i + 1))
            _picture(grid[i + 1, column], crop.of(image), plotting.colour(i + 1))
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


# ---- summary --------------------------------------------------------------------------------------------------------
METRICS = ('psnr', 'ssim')
_UNITS = {'psnr': 'PSNR (dB)', 'ssim': 'SSIM'}
_OTHER_IMAGES = '†'


def averages(number: str, own: Sequence[report.Result], best: int = 5) -> list[tuple[TableRow, dict[str, float]]]:
    """Methods of one setting with their averages, worst first.

    Args:
        number: Of the paper's table. A table with one data set and no average stands for its average.
        own: Results of that setting.
        best: Published methods kept: those of highest PSNR, and MIRAGE in any case. Assisted ones do not compete.

    Returns:
        Rows with PSNR and SSIM. The name of a result with another number of images than the published test sets ends
        in a dagger.

    Raises:
        ValueError: A result lacks data sets of the table, so that it has no average (all named), or no such table.
    """
    table = tables.published_table(number)
    column = AVERAGE if AVERAGE in table.columns else table.columns[0]
    if AVERAGE not in table.columns and len(table.columns) > 1:
        raise ValueError(f'Table {number} has no average over its data sets {", ".join(table.columns)}')
    rows = [
        row for row in table.rows if row.group != ASSISTED and all(m in row.scores.get(column, {}) for m in METRICS)
    ]
    rows.sort(key=lambda row: row.scores[column]['psnr'])
    kept = [row for i, row in enumerate(rows) if i >= len(rows) - best or row.method.startswith('MIRAGE')]
    for result in own:
        row = tables.own_row(result, table)
        lacking = [name for name in table.data_sets if any(m not in row.scores.get(name, {}) for m in METRICS)]
        if lacking:
            raise ValueError(
                f'{result.name}: no average for Table {number}, PSNR or SSIM of {", ".join(lacking)} is missing'
            )
        other_images = any(result.images.get(c) != n for c, n in table.images.items() if c in table.data_sets)
        kept.append(replace(row, method=row.method + _OTHER_IMAGES) if other_images else row)
    pairs = [(row, {metric: row.scores[column][metric] for metric in METRICS}) for row in kept]
    return sorted(pairs, key=lambda pair: pair[1]['psnr'])


def summary(own: Sequence[report.Result], further: Sequence[str] = (), best: int = 5) -> Figure:
    """Bars of the averages, one column of panels for each setting and a row each for PSNR and SSIM.

    Args:
        own: Results of test runs; each goes to the setting of its data sets.
        further: Further settings of the paper, by the number of their tables.
        best: See `averages`.

    Raises:
        ValueError: Nothing to draw, or as `averages` and `tables.table_for`.
    """
    settings: dict[str, list[report.Result]] = {number: [] for number in further}
    for result in own:
        settings.setdefault(tables.table_for(result).number, []).append(result)
    if not settings:
        raise ValueError('name at least one result or table')
    found = {number: averages(number, members, best) for number, members in settings.items()}
    most = max(map(len, found.values()))
    figure = plotting.new_figure(3.2 * len(found), 2 * (0.26 * most + 0.9))
    axes = figure.subplots(2, len(found), squeeze=False)
    for column, (number, rows) in enumerate(found.items()):
        axes[0, column].set_title(textwrap.fill(tables.published_table(number).title, 28), fontsize=9)
        for axis, metric in zip(axes[:, column], METRICS):
            _bars(axis, rows, metric)
    figure.supxlabel(
        f'own results in orange, others as printed in the paper ({_OTHER_IMAGES} not its test images, '
        'to judge by their number; * not its definition of the figure)',
        fontsize=8,
        wrap=True,
    )
    return figure


def _bars(axis, rows: Sequence[tuple[TableRow, dict[str, float]]], metric: str) -> None:
    values = [scores[metric] for _, scores in rows]
    names = [row.method + ('*' if metric in row.incomparable else '') for row, _ in rows]
    colours = [
        plotting.colour(1) if row.own else plotting.colour(0) if row.method.startswith('MIRAGE') else '0.7'
        for row, _ in rows
    ]
    axis.barh(range(len(rows)), values, color=colours, height=0.75)
    axis.set_yticks(range(len(rows)), names, fontsize=8)
    for place, value in enumerate(values):
        axis.annotate(
            tables.shown(metric, value),
            (value, place),
            xytext=(2, 0),
            textcoords='offset points',
            va='center',
            fontsize=7,
        )
    # Bars that began at 0 would all look alike.
    low, high = min(values), max(values)
    margin = (high - low) or abs(high) * 0.1 or 1
    axis.set_xlim(low - 0.5 * margin, high + 0.45 * margin)
    axis.set_xlabel(_UNITS[metric], fontsize=8)
    axis.tick_params(axis='x', labelsize=7)
    axis.spines[['top', 'right']].set_visible(False)


# ---- command --------------------------------------------------------------------------------------------------------
GT = 'ground truth'
INPUT = 'input'


def main(argv: list[str] | None = None) -> int:
    parser = parser_of(__doc__)
    kinds = parser.add_subparsers(dest='kind', required=True)
    pictures = kinds.add_parser('pictures', help='input, results of several methods and ground truth side by side')
    pictures.add_argument('--input', required=True, help='folder of degraded pictures')
    pictures.add_argument('--method', action='append', required=True, metavar='NAME=DIR', help='in order of columns')
    pictures.add_argument('--gt', help='folder of the ground truth')
    pictures.add_argument('--pairing', default='same_name', help='rule that pairs input and ground truth')
    pictures.add_argument('--only', action='append', default=[], metavar='NAME', help='pictures, without ending')
    pictures.add_argument('--limit', type=int, default=5, help='most pictures, where --only names none')
    pictures.add_argument('--crop', action='append', default=[], type=window, metavar='X,Y,W,H', help='what to enlarge')
    pictures.add_argument('--crops', type=int, default=2, help='how many crops are chosen, where --crop names none')
    pictures.add_argument('--crop-size', type=int, help='side of the chosen crops in pixels')
    pictures.add_argument('--no-error-maps', action='store_true')
    summary = kinds.add_parser('summary', help='average PSNR and SSIM of all settings, as Fig. 1(e)')
    summary.add_argument('results', nargs='*', help='results.json, or the folder of a test run')
    summary.add_argument('--tables', nargs='+', default=[], help='settings to show in any case')
    summary.add_argument('--best', type=int, default=5, help='published methods shown beside MIRAGE')
    for kind in (pictures, summary):
        kind.add_argument('--out', type=Path, required=True, help='folder of the pictures; file name of the summary')
        kind.add_argument('--formats', nargs='+', choices=plotting.FORMATS, default=['pdf', 'png'])
        kind.add_argument('--dpi', type=int, default=200)
    arguments = parser.parse_args(argv)
    draw = draw_pictures if arguments.kind == 'pictures' else draw_summary
    return ended(lambda: print(*draw(arguments), sep='\n'))


def draw_pictures(arguments: argparse.Namespace) -> list[Path]:
    """One figure for each picture; returns the files."""
    written = []
    chosen = find(arguments)
    for name, files in tqdm(chosen.items(), desc='drawing', unit='picture'):
        panels = load_panels(files)
        gt = GT if GT in panels else None
        crops = arguments.crop
        if not crops and arguments.crops:
            compared = [image for label, image in panels.items() if label != GT]
            crops = informative_crops(compared, panels[gt or INPUT], arguments.crops, arguments.crop_size)
        try:
            figure = comparison(panels, crops, gt=gt, error_maps=not arguments.no_error_maps)
        except ValueError as error:
            raise ValueError(f'{files[INPUT]}: {error}') from error
        written += plotting.save(figure, arguments.out / name, arguments.formats, arguments.dpi)
    return written


def find(arguments: argparse.Namespace) -> dict[str, dict[str, Path]]:
    """Files of each picture by column."""
    if arguments.limit < 1:
        raise ValueError(f'--limit {arguments.limit}: must be 1 or more')
    names = list_names(arguments.input)
    stems = {Path(name).stem: name for name in names}
    absent = [name for name in arguments.only if name not in stems]
    if absent or not names:
        raise ValueError(f'{arguments.input}: no picture {", ".join(absent)}'.rstrip() + f' among {len(names)}')
    truths = {}
    if arguments.gt:
        pairs, _, _ = match_pairs(names, list_names(arguments.gt), arguments.pairing)
        truths = {lq: Path(arguments.gt, gt) for lq, gt in pairs}
    methods = [text.partition('=') for text in arguments.method]
    wrong = [name + sign + folder for name, sign, folder in methods if not (name and folder) or name in (INPUT, GT)]
    if wrong or len({name for name, _, _ in methods}) < len(methods):
        raise ValueError(
            f'--method {wrong[0] if wrong else "given twice"}: written as NAME=DIR, each name once, '
            f'{INPUT!r} and {GT!r} excepted'
        )
    found = {}
    for stem in arguments.only or list(stems)[: arguments.limit]:
        name = stems[stem]
        files = {INPUT: Path(arguments.input, name)}
        files |= {method: restored(folder, stem) for method, _, folder in methods}
        if arguments.gt:
            if name not in truths:
                raise ValueError(f'{files[INPUT]}: no ground truth in {arguments.gt} by the rule {arguments.pairing!r}')
            files[GT] = truths[name]
        found[stem] = files
    return found


def restored(folder: str, stem: str) -> Path:
    """A method's picture: of the same name, or the one whose name goes on with `_` and a suffix, as test runs save."""
    names = list_names(folder)
    fitting = [name for name in names if Path(name).stem == stem] or [
        name for name in names if Path(name).stem.startswith(f'{stem}_')
    ]
    if len(fitting) != 1:
        found = ', '.join(fitting[:3]) or f'none of {len(names)} pictures'
        raise ValueError(f'{folder}: expected one picture named {stem} or {stem}_SUFFIX, found {found}')
    return Path(folder, fitting[0])


def window(text: str) -> Window:
    """'x,y,width,height' as a window."""
    try:
        left, top, width, height = map(int, text.split(','))
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is not X,Y,W,H in pixels') from None
    return Window(top, left, height, width)


def draw_summary(arguments: argparse.Namespace) -> list[Path]:
    """The summary figure; returns its files."""
    own = [report.load_result(path) for path in arguments.results]
    figure = summary(own, arguments.tables, arguments.best)
    return plotting.save(figure, arguments.out, arguments.formats, arguments.dpi)


if __name__ == '__main__':
    sys.exit(main())
