"""Redundancy of channels, and similarity of shallow and latent features, of any MIRAGE weights (Fig. 3 to 6, B).

    python research/features/analyze.py --weights net_g_latest.pth --images datasets/test_lq --out results/analysis
    python research/features/analyze.py --weights full=a.pth attention=b.pth --images derain=DIR1 dehaze=DIR2
    python research/features/analyze.py --opt options/train_mirage_5deg.yml --weights a.pth --images DIR

A folder of --images whose folders hold images is read as one task for each. Tables (CSV), matrices (npz) and pictures
(PNG, other formats by --formats) go to --out. docs/analysis.md says how every figure is defined.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mirage_arch.checkpoints import load_into, load_network, load_weights
from mirage_data.files.crops import middle
from mirage_data.files.image import list_images, read_rgb, to_float
from mirage_ir.measuring import cost as complexity
from mirage_ir.measuring import plotting
from mirage_ir.measuring.report import write_csv
from research.common import ended, parser_of
from research.features import analysis
from research.features.analysis import PLACES, ChannelMoments

if TYPE_CHECKING:
    from matplotlib.figure import Figure


ALL = 'all tasks'
SHARE = 0.9  # of the variance, as in the paper
COLUMNS = {
    'scales': 'network task place images pixels channels components_90 effective_rank_ratio '
    'components_90_mean_of_images mean_absolute_off_diagonal_similarity',
    'spectra': 'network task place component explained_variance singular_value',
    'shallow_latent': 'network task comparison images mean_diagonal deviation_diagonal mean_off_diagonal '
    'off_diagonal_ratio',
}


@dataclass
class TaskFeatures:
    """What is kept of the features of one task's images.

    Args:
        images: Number of images.
        moments: Moments of the channels by place, pooled over the pixels of all images.
        components: Components for 90 % of the variance of each image alone, by place.
        vectors: Shallow and latent vectors of all images, (n, d) each, by comparison.
    """

    images: int = 0
    moments: dict[str, ChannelMoments] = field(default_factory=dict)
    components: dict[str, list[int]] = field(default_factory=dict)
    vectors: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def matrix(self, how: str) -> np.ndarray:
        """Shallow-latent similarity between all samples, (n, n)."""
        return analysis.similarity_matrix(*self.vectors[how])


def find_tasks(folders: Sequence[str], limit: int | None = None) -> dict[str, list[Path]]:
    """Images by task.

    Args:
        folders: ``TASK=FOLDER``, or a folder: each folder in it that has images is a task; otherwise, or if it has
            images itself, it is one task that bears its name.
        limit: Most images of a task, in order of their names.

    Raises:
        ValueError: A folder without images, or two tasks of one name.
    """
    found: dict[str, list[Path]] = {}
    for text in folders:
        name, sign, path = text.partition('=')
        root = Path(path if sign else text)
        tasks = {name if sign else root.resolve().name: list_images(root)}
        if not sign and not next(iter(tasks.values())):
            below = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith('.'))
            tasks = {entry.name: list_images(entry) for entry in below}
        tasks = {task: images[:limit] for task, images in tasks.items() if images}
        if not tasks:
            raise ValueError(f'{root}: no images in it or in the folders directly below it')
        twice = sorted(tasks.keys() & found.keys())
        if twice:
            raise ValueError(f'{root}: task {twice[0]} has been given already; name it as TASK=FOLDER')
        found.update(tasks)
    return found


def analyse(
    net: nn.Module,
    tasks: Mapping[str, Sequence[Path]],
    comparisons: Sequence[str],
    *,
    crop: int | None = None,
    progress: bool = False,
) -> dict[str, TaskFeatures]:
    """Run the encoder over every image and keep moments and vectors, never the features.

    Args:
        net: A `MIRAGEArch`.
        tasks: Image files by task, from `find_tasks`.
        comparisons: Of `analysis.COMPARISONS`.
        crop: Take at most this many pixels of the centre, in height and in width; None takes whole images.
        progress: Show a progress bar.

    Returns:
        Features by task, and all of them pooled as `ALL` where there are several.

    Raises:
        ValueError: An image that cannot be read or analysed; the message begins with its file.
    """
    if crop is not None and crop < 1:
        raise ValueError(f'crop must be 1 or more pixels, got {crop}')
    device = next(net.parameters()).device
    result: dict[str, TaskFeatures] = {}
    work = [(task, path) for task, paths in tasks.items() for path in paths]
    for task, path in tqdm(work, desc='analysing', unit='image', disable=not progress):
        image = torch.from_numpy(_centre(to_float(read_rgb(path)), crop)).permute(2, 0, 1).unsqueeze(0)
        try:
            features = analysis.capture_features(net, image.to(device))
            vectors = {how: analysis.shallow_latent_vectors(net, features, how) for how in comparisons}
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from error
        moments = {place: ChannelMoments.of(features[place]) for place in PLACES}
        _add(result.setdefault(task, TaskFeatures()), moments, vectors)
    if len(result) > 1:
        result[ALL] = _pooled(result.values())
    return result


def _centre(image: np.ndarray, crop: int | None) -> np.ndarray:
    rows, columns = (min(n, crop or n) for n in image.shape[:2])
    return np.ascontiguousarray(middle(*image.shape[:2], rows, columns).of(image))


def _add(into: TaskFeatures, moments: Mapping[str, ChannelMoments], vectors: Mapping[str, tuple]) -> None:
    into.images += 1
    for place, own in moments.items():
        into.moments[place] = into.moments[place] + own if place in into.moments else own
        into.components.setdefault(place, []).append(analysis.components_for(own, SHARE))
    for how, pair in vectors.items():
        new = tuple(np.asarray(vector) for vector in pair)
        old = into.vectors.get(how)
        into.vectors[how] = new if old is None else tuple(np.concatenate(both) for both in zip(old, new))


def _pooled(parts: Iterable[TaskFeatures]) -> TaskFeatures:
    parts = list(parts)
    total = TaskFeatures(sum(part.images for part in parts))
    for place in PLACES:
        first, *rest = (part.moments[place] for part in parts)
        total.moments[place] = sum(rest, first)
        total.components[place] = [n for part in parts for n in part.components[place]]
    for how in parts[0].vectors:
        total.vectors[how] = tuple(np.concatenate([part.vectors[how][i] for part in parts]) for i in (0, 1))
    return total


def write_tables(folder: str | Path, networks: Mapping[str, Mapping[str, TaskFeatures]]) -> list[Path]:
    """Write everything measured; returns the files.

    ``scales.csv``: one row for each network, task and place. ``spectra.csv``: one row for each component.
    ``shallow_latent.csv``: one row for each network, task and comparison. ``matrices.npz``: the matrices, with names
    such as ``network/task/channels/scale1`` and ``network/task/samples/energy``.
    """
    scales, spectra, pairs, matrices = [], [], [], {}
    for network, tasks in networks.items():
        for task, found in tasks.items():
            for place, moments in found.moments.items():
                channels = analysis.channel_similarity(moments)
                width = len(channels)
                off = analysis.mean_off_diagonal(channels, magnitude=True) if width > 1 else ''
                scales.append(
                    [
                        network,
                        task,
                        place,
                        found.images,
                        moments.pixels,
                        width,
                        analysis.components_for(moments, SHARE),
                        analysis.effective_rank_ratio(moments, SHARE),
                        float(np.mean(found.components[place])),
                        off,
                    ]
                )
                matrices[f'{network}/{task}/channels/{place}'] = channels
                curves = zip(analysis.explained_variance(moments), analysis.singular_spectrum(moments))
                spectra += [[network, task, place, k, *values] for k, values in enumerate(curves, 1)]
            for how in found.vectors:
                matrix = found.matrix(how)
                cells = ['', '']
                if len(matrix) > 1:
                    cells = [analysis.mean_off_diagonal(matrix), analysis.off_diagonal_ratio(matrix)]
                diagonal = np.diag(matrix)
                pairs.append([network, task, how, found.images, float(diagonal.mean()), float(diagonal.std()), *cells])
                matrices[f'{network}/{task}/samples/{how}'] = matrix
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, rows in (('scales', scales), ('spectra', spectra), ('shallow_latent', pairs)):
        files.append(folder / f'{name}.csv')
        write_csv(files[-1], [COLUMNS[name].split(), *rows])
    np.savez_compressed(folder / 'matrices.npz', **matrices)
    return [*files, folder / 'matrices.npz']


_LABELS = {'scale1': 'scale 1', 'scale2': 'scale 2', 'scale3': 'scale 3', 'scale4': 'scale 4', 'latent': 'latent'}
_FLOOR = 1e-7  # singular values below are rounding

Networks = Mapping[str, Mapping[str, TaskFeatures]]


def draw_spectra(networks: Networks) -> Figure:
    """Fig. 3: explained variance and singular spectra of all images pooled, one row for each network."""
    figure = plotting.new_figure(10, 3.6 * len(networks))
    axes = figure.subplots(len(networks), 2, squeeze=False)
    for (left, right), (name, tasks) in zip(axes, networks.items()):
        found = _whole(tasks)
        for i, (place, moments) in enumerate(found.moments.items()):
            width = len(moments.total)
            number = analysis.components_for(moments, SHARE)
            steps = np.arange(1, width + 1)
            label = f'{_LABELS[place]}: {number} of {width}'
            left.plot(steps, analysis.explained_variance(moments), color=plotting.colour(i), label=label, lw=1.5)
            values = analysis.singular_spectrum(moments)
            shown = values > _FLOOR
            right.plot(steps[shown], values[shown], color=plotting.colour(i), label=_LABELS[place], lw=1.5)
        left.axhline(SHARE, color='0.6', lw=0.8, ls=':')
        left.set(
            title=f'{name}: variance explained',
            xlabel='principal components',
            ylabel='cumulative share',
            xscale='log',
            ylim=(None, 1.02),
        )
        left.legend(title=f'components for {SHARE:.0%}', fontsize=8, title_fontsize=8)
        right.set(
            title=f'{name}: singular values', xlabel='index', ylabel='over the largest', xscale='log', yscale='log'
        )
        right.legend(fontsize=8)
        for axis in (left, right):
            axis.grid(alpha=0.25, lw=0.5)
    return figure


def draw_channels(tasks: Mapping[str, TaskFeatures], name: str) -> Figure:
    """Fig. 4 and B: similarity of channels at every place (columns) for every task (rows) of one network."""
    shown = {task: found for task, found in tasks.items() if task != ALL}
    figure = plotting.new_figure(2.5 * len(PLACES), 2.5 * len(shown) + 0.5)
    axes = figure.subplots(len(shown), len(PLACES), squeeze=False)
    for row, (task, found) in zip(axes, shown.items()):
        for axis, (place, moments) in zip(row, found.moments.items()):
            picture = axis.imshow(
                analysis.channel_similarity(moments), cmap='RdBu_r', vmin=-1, vmax=1, interpolation='nearest'
            )
            axis.set(xticks=[], yticks=[])
            axis.set_title(f'{_LABELS[place]} ({len(moments.total)})', fontsize=9)
        row[0].set_ylabel(task)
    figure.colorbar(picture, ax=axes, shrink=0.7, label='cosine')
    figure.suptitle(f'{name}: similarity of channels')
    return figure


def draw_by_task(networks: Networks, how: str) -> Figure:
    """Fig. 5: shallow-latent cosine similarity of each image with itself, mean and deviation by task."""
    tasks = [task for task in next(iter(networks.values())) if task != ALL]
    figure = plotting.new_figure(max(4, 1.1 * len(tasks) * max(1, len(networks) / 2) + 1.5), 3.4)
    axis = figure.subplots()
    width = 0.8 / len(networks)
    for i, (name, found) in enumerate(networks.items()):
        diagonals = [np.diag(found[task].matrix(how)) for task in tasks]
        axis.bar(
            np.arange(len(tasks)) + (i + 0.5) * width - 0.4,
            [d.mean() for d in diagonals],
            width * 0.92,
            yerr=[d.std() for d in diagonals],
            color=plotting.colour(i),
            label=name,
            error_kw={'lw': 0.8},
            capsize=2,
        )
    axis.axhline(0, color='black', lw=0.6)
    axis.set_xticks(range(len(tasks)), tasks)
    axis.set_ylabel('cosine similarity')
    axis.set_title(f'shallow and latent features, {how}')
    axis.grid(axis='y', alpha=0.25, lw=0.5)
    if len(networks) > 1:
        axis.legend(fontsize=8)
    return figure


def draw_samples(networks: Networks, how: str) -> Figure:
    """Fig. 6: similarity of the shallow features of one sample and the latent ones of another, by network."""
    figure = plotting.new_figure(3.4 * len(networks) + 1, 3.9)
    axes = figure.subplots(1, len(networks), squeeze=False)[0]
    matrices = [_whole(tasks).matrix(how) for tasks in networks.values()]
    # One scale for all networks, so that a collapsed one looks collapsed beside the others.
    low, high = min(m.min() for m in matrices), max(m.max() for m in matrices)
    if high - low < 1e-6:
        low, high = low - 0.5, high + 0.5
    for axis, name, matrix in zip(axes, networks, matrices):
        picture = axis.imshow(matrix, cmap='viridis', vmin=low, vmax=high, interpolation='nearest')
        text = name
        if len(matrix) > 1:
            text += (
                f'\noff-diagonal {analysis.mean_off_diagonal(matrix):.4f}, '
                f'ratio {analysis.off_diagonal_ratio(matrix):.3f}'
            )
        axis.set_title(text, fontsize=9)
        axis.set(xlabel='latent features of sample', ylabel='shallow features of sample')
    figure.colorbar(picture, ax=axes, shrink=0.8, label=f'cosine, {how}')
    return figure


def _whole(tasks: Mapping[str, TaskFeatures]) -> TaskFeatures:
    return tasks[ALL] if ALL in tasks else next(iter(tasks.values()))


def main(argv: list[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument('--opt', help='option file whose network_g is built; without it the weights tell the network')
    parser.add_argument(
        '--weights',
        nargs='+',
        default=[],
        metavar='[NAME=]FILE',
        help='one or several to compare; with --opt alone, an untrained network (seed 0) is analysed',
    )
    parser.add_argument('--images', nargs='+', required=True, metavar='[TASK=]DIR', help='degraded images')
    parser.add_argument('--out', type=Path, default=Path('results/analysis'))
    parser.add_argument(
        '--compare',
        nargs='+',
        choices=analysis.COMPARISONS,
        help='how shallow and latent features '
        'are compared (default: energy and pooled, and embedding where all networks have heads)',
    )
    parser.add_argument('--limit', type=int, help='most images of a task')
    parser.add_argument('--crop', type=int, help='analyse at most this many pixels of the centre, per side')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--formats', nargs='+', choices=plotting.FORMATS, default=['png'])
    parser.add_argument('--no-figures', action='store_true', help='tables alone, which need no matplotlib')
    arguments = parser.parse_args(argv)
    return ended(lambda: print(*run(arguments), sep='\n'))


def run(arguments: argparse.Namespace) -> list[Path]:
    """Analyse all networks and write tables and pictures; returns the files."""
    if not arguments.no_figures:
        plotting.new_figure(1, 1)  # a missing matplotlib is told before the work, not after it
    if arguments.limit is not None and arguments.limit < 1:
        raise ValueError(f'--limit {arguments.limit}: must be 1 or more')
    tasks = find_tasks(arguments.images, arguments.limit)
    nets = networks(arguments.opt, arguments.weights)
    heads = all(getattr(net, 'has_spd_head', False) for net in nets.values())
    compare = arguments.compare or [how for how in analysis.COMPARISONS if how != 'embedding' or heads]
    found = {}
    for name, net in nets.items():
        print(f'{name}: {sum(map(len, tasks.values()))} images, tasks {", ".join(tasks)}')
        found[name] = analyse(net.to(arguments.device), tasks, compare, crop=arguments.crop, progress=True)
        net.cpu()
    files = write_tables(arguments.out, found)
    if arguments.no_figures:
        return files
    figures = {'spectra': draw_spectra(found)}
    figures |= {f'channels_{name}': draw_channels(tasks_of, name) for name, tasks_of in found.items()}
    for how in compare:
        figures[f'shallow_latent_{how}'] = draw_by_task(found, how)
        figures[f'samples_{how}'] = draw_samples(found, how)
    for name, figure in figures.items():
        files += plotting.save(figure, arguments.out / name.replace('/', '_'), arguments.formats)
    return files


def networks(opt: str | None, weights: list[str]) -> dict[str, nn.Module]:
    """Networks by name, in evaluation mode."""
    if not weights and opt is None:
        raise ValueError('name --weights, --opt or both')
    if not weights:
        torch.manual_seed(0)
        return {f'{Path(opt).stem} (untrained)': complexity.build(complexity.network_options(opt)).eval()}
    nets: dict[str, nn.Module] = {}
    for text in weights:
        name, sign, path = text.partition('=')
        name, path = (name, path) if sign else (Path(text).stem, text)
        if name in nets:
            raise ValueError(f'--weights {text}: the name {name!r} is taken; give another as NAME=FILE')
        if opt is None:
            nets[name] = load_network(path)
        else:
            nets[name] = complexity.build(complexity.network_options(opt)).eval()
            load_into(nets[name], load_weights(path), path)
    return nets


if __name__ == '__main__':
    sys.exit(main())
