"""Measure methods of restoration on benchmark sets by the paper's PSNR and SSIM, each picture and method once."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from mirage_data.files.crops import side_by_side
from mirage_ir.measuring import metrics
from research.classical.methods import apply_steps, described, tuned
from research.restoration.sets import BenchmarkSet, Picture

INPUT, CLASSICAL, OPENCV, BM3D, ORACLE, OURS = 'input', 'classical', 'opencv_nlm', 'bm3d', 'oracle', 'ours'
METHODS = (INPUT, CLASSICAL, OPENCV, BM3D, ORACLE, OURS)
LINE = 'psnr_line'
_NOISE = ('gaussian_noise', 'camera_noise', 'poisson_noise')


@dataclass(frozen=True)
class Method:
    """One way to restore the pictures of a set.

    Args:
        name: Of `METHODS`.
        identity: What besides the picture decides the result, as plain values; part of the cache's key.
        restore: Picture -> (h, w, 3) float32 in [0, 1].
        words: The method and its parameters for a reader.
    """

    name: str
    identity: Any
    restore: Callable[[Picture], np.ndarray]
    words: str = ''


@dataclass
class SetScores:
    """Figures of one set: `values[method][picture]` is a mapping of metric to value."""

    name: str
    pictures: int
    source: str
    published: tuple[str, str] | None
    words: dict[str, str] = field(default_factory=dict)
    values: dict[str, dict[str, Mapping[str, float]]] = field(default_factory=dict)
    against: str | None = None

    def mean(self, method: str, metric: str, among: str | None = None) -> float | None:
        """Mean over the pictures that the method has figures of (and `among`, another method); None without any.

        The infinite PSNR of pictures that came back identical says nothing of the others: it counts only where there
        are no others.
        """
        of_method, others = self.each(method, metric), self.each(among or method, metric)
        found = {name: value for name, value in of_method.items() if name in others}
        finite = [value for name, value in found.items() if math.isfinite(value) and math.isfinite(others[name])]
        return mean_of(finite or found.values())

    def identical(self, method: str) -> int:
        """Number of pictures that came back without a difference to the ground truth."""
        return sum(map(math.isinf, self.each(method, 'psnr').values()))

    def each(self, method: str, metric: str) -> dict[str, float]:
        """The figure of each picture that the method has it of."""
        return {name: values[metric] for name, values in self.values.get(method, {}).items() if metric in values}

    def count(self, method: str) -> int:
        """Number of pictures that the method has figures of."""
        return len(self.values.get(method, {}))


def mean_of(values: Iterable[float]) -> float | None:
    """Mean of the finite ones; infinity where there are only others; None without any."""
    values = list(values)
    finite = [value for value in values if math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else math.inf if values else None


def methods_of(
    benchmark: BenchmarkSet, restore: Callable[[np.ndarray], np.ndarray] | None, weights: str = ''
) -> list[Method]:
    """The methods that make sense on a set.

    Args:
        benchmark: The set.
        restore: The network, (h, w, 3) float32 in [0, 1] -> the same; None: without. It also takes
            what sets say of `how`.
        weights: Digest of its weights.
    """
    methods = [Method(INPUT, None, lambda picture: picture.lq)]
    chains = {CLASSICAL: benchmark.task, OPENCV: f'{benchmark.task}_opencv', ORACLE: f'{benchmark.task}_oracle'}
    for name, task in chains.items():
        if task in tuned():
            methods.append(_chain(name, tuned()[task].steps))
    if benchmark.task in _NOISE:
        methods.append(_chain(BM3D, [{'bm3d': {}}]))
    elif benchmark.task.startswith('denoise_'):
        methods.append(_chain(BM3D, [{'bm3d': {'sigma': float(benchmark.task.removeprefix('denoise_'))}}]))
    if restore is not None:
        how = benchmark.how
        methods.append(
            Method(OURS, {'weights': weights, **how}, lambda picture: np.clip(restore(picture.lq, **how), 0, 1))
        )
    return methods


def _chain(name: str, steps: Sequence[Mapping]) -> Method:
    steps = [dict(step) for step in steps]
    return Method(name, steps, lambda picture: apply_steps(picture.lq, steps, picture.known), described(steps))


def measure_sets(
    sets: Sequence[BenchmarkSet],
    cache: ScoreCache,
    selected: Sequence[str],
    *,
    restore: Callable[[np.ndarray], np.ndarray] | None = None,
    weights: str = '',
    bm3d_every: int = 1,
    sheets: Path | None = None,
    sheet_every: int = 8,
    progress: bool = True,
) -> Iterator[SetScores]:
    """Measure sets one after the other.

    Args:
        sets: What to measure on.
        cache: Figures that are there are not computed again; those of methods not selected are shown if it has them.
        selected: Methods of `METHODS` to compute; the input always is.
        restore: See `methods_of`.
        weights: See `methods_of`.
        bm3d_every: BM3D, which is slow, on every so-manieth picture only.
        sheets: Folder for every `sheet_every`-th picture as input, classical, ours, clean side by side.
        sheet_every: See `sheets`.
        progress: Show a progress bar.

    Raises:
        PackageMissingError: A selected method needs a package that is not installed.
    """
    bar = tqdm(total=sum(map(len, sets)), desc='measuring', unit='picture', disable=not progress)
    with bar:
        for benchmark in sets:
            methods = methods_of(benchmark, restore, weights)
            scores = SetScores(
                benchmark.name, len(benchmark), benchmark.source, benchmark.published, against=benchmark.against
            )
            scores.words = {method.name: method.words for method in methods if method.words}
            for position in range(len(benchmark)):
                bar.set_postfix_str(benchmark.name)
                picture = benchmark.picture(position)
                label = f'{benchmark.place(position):03d}_{picture.name}'
                content = digest(picture.lq, picture.gt)
                for method in methods:
                    wanted = method.name == INPUT or method.name in selected
                    if method.name == BM3D and position % bm3d_every:
                        wanted = False
                    values = _score(method, picture, content, cache, wanted, f'{benchmark.name}/{picture.name}')
                    if values is not None:
                        scores.values.setdefault(method.name, {})[label] = values
                if sheets is not None and position % sheet_every == 0:
                    _write_sheet(sheets / benchmark.name / f'{picture.name}.jpg', picture, methods)
                bar.update()
            yield scores


def _score(
    method: Method, picture: Picture, content: str, cache: ScoreCache, wanted: bool, about: str
) -> Mapping[str, float] | None:
    key = f'{content} {json.dumps(method.identity, sort_keys=True)}'
    values = cache.get(key)
    if wanted and (values is None or LINE not in values):
        image, gt = method.restore(picture), picture.gt
        if picture.inside is not None:
            image, gt = (np.ascontiguousarray(picture.inside.of(each)) for each in (image, gt))
        values = {'psnr': metrics.psnr(image, gt), 'ssim': metrics.ssim(image, gt), LINE: line_fitted_psnr(image, gt)}
        cache.put(key, values, {'method': method.name, 'picture': about})
    return values


def line_fitted_psnr(image: np.ndarray, gt: np.ndarray) -> float:
    """PSNR after the line that brings each colour nearest to the ground truth.

    What it has over the PSNR is error of brightness, contrast and colour; what is left is structure.

    Args:
        image: (h, w, 3) in [0, 1].
        gt: Of the same shape.
    """
    error = 0.0
    for channel in range(gt.shape[2]):
        x, y = (each[..., channel].astype(np.float64).ravel() for each in (image, gt))
        spread = x.var()
        slope = ((x - x.mean()) * (y - y.mean())).mean() / spread if spread > 0 else 0.0
        error += float(np.mean((y.mean() + slope * (x - x.mean()) - y) ** 2)) / gt.shape[2]
    return -10 * math.log10(error) if error > 1e-12 else math.inf


def _write_sheet(path: Path, picture: Picture, methods: Sequence[Method]) -> None:
    shown = [method for method in methods if method.name in (INPUT, CLASSICAL, OURS)]
    images = [*(method.restore(picture) for method in shown), picture.gt]
    sheet = side_by_side([np.rint(image * 255).astype(np.uint8) for image in images])
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])


class ScoreCache:
    """Figures by content of the pictures and by what was done to them; one JSON object a line, appended at once.

    Args:
        path: File of the figures; made if needed. Two runs may write to it at a time.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._values: dict[str, dict[str, float]] = {}
        if self.path.is_file():
            for line in self.path.read_text(encoding='utf-8').splitlines():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError:
                    continue  # a kill cut it off; its figures are measured again
                self._values[row['key']] = row['values']

    def get(self, key: str) -> dict[str, float] | None:
        """Figures of a key, None if there are none."""
        return self._values.get(key)

    def put(self, key: str, values: Mapping[str, float], about: Mapping) -> None:
        """Keep figures; `about` says for a reader of the file what they belong to."""
        self._values[key] = dict(values)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({'key': key, 'values': dict(values), **about}) + '\n'
        with open(self.path, 'r+b' if self.path.exists() else 'w+b') as file:
            if file.seek(0, 2) and _last_byte(file) != b'\n':  # after a line that a kill cut off
                line = '\n' + line
        with open(self.path, 'a', encoding='utf-8') as file:
            file.write(line)


def _last_byte(file) -> bytes:
    file.seek(-1, 2)
    return file.read(1)


def digest(*images: np.ndarray) -> str:
    """The content of images as a short text; other pixels, shapes or types give another."""
    sha = hashlib.sha256()
    for image in images:
        sha.update(f'{image.shape}{image.dtype}'.encode())
        sha.update(np.ascontiguousarray(image).data)
    return sha.hexdigest()[:24]


def file_digest(path: str | Path) -> str:
    """The content of a file as a short text."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:24]
