"""Measures of `analysis` over folders of images, gathered by task and written as tables."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from mirage_data.files.crops import middle
from mirage_data.files.image import list_images, read_rgb, to_float
from research.features import analysis
from research.features.analysis import PLACES, ChannelMoments

ALL = 'all tasks'
SHARE = 0.9  # of the variance, as in the paper


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
    files = [
        _write(
            folder / 'scales.csv',
            [
                'network',
                'task',
                'place',
                'images',
                'pixels',
                'channels',
                'components_90',
                'effective_rank_ratio',
                'components_90_mean_of_images',
                'mean_absolute_off_diagonal_similarity',
            ],
            scales,
        ),
        _write(
            folder / 'spectra.csv',
            ['network', 'task', 'place', 'component', 'explained_variance', 'singular_value'],
            spectra,
        ),
        _write(
            folder / 'shallow_latent.csv',
            [
                'network',
                'task',
                'comparison',
                'images',
                'mean_diagonal',
                'deviation_diagonal',
                'mean_off_diagonal',
                'off_diagonal_ratio',
            ],
            pairs,
        ),
    ]
    np.savez_compressed(folder / 'matrices.npz', **matrices)
    return [*files, folder / 'matrices.npz']


def _write(path: Path, head: Sequence[str], rows: Iterable[Sequence]) -> Path:
    with path.open('w', encoding='utf-8', newline='') as file:
        csv.writer(file, lineterminator='\n').writerows([head, *rows])
    return path
