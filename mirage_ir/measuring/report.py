"""Figures of a validation: in the log, as ``validation.csv`` of a training run, as ``results.json`` of a test."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mirage_data.files.write import write_file

CSV_HEADER = ('iter', 'dataset', 'task', 'metric', 'value')
AVERAGE = 'average'


@dataclass(frozen=True)
class ImageScore:
    """Metrics of one image; ``values`` is empty where there is no ground truth."""

    index: int
    name: str
    task: str
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """Mean metrics of the images of one task in one data set; one column of the paper's tables."""

    dataset: str
    task: str
    images: int
    values: Mapping[str, float]


def rows_of(dataset: str, scores: Iterable[ImageScore]) -> list[Row]:
    """One row for each task, in the order of their first images."""
    by_task: dict[str, list[ImageScore]] = {}
    for score in sorted(scores, key=lambda s: s.index):
        by_task.setdefault(score.task, []).append(score)
    return [Row(dataset, task, len(group), mean_values([s.values for s in group])) for task, group in by_task.items()]


def mean_values(items: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each metric over the items that have it."""
    names = dict.fromkeys(name for item in items for name in item)
    result = {}
    for name in names:
        values = [item[name] for item in items if name in item]
        result[name] = math.fsum(values) / len(values) if all(map(math.isfinite, values)) else sum(values) / len(values)
    return result


def table(rows: Sequence[Row], best: Mapping[str, Mapping] | None = None) -> str:
    """Rows and their average as aligned text.

    Args:
        rows: At least one row.
        best: Best value and iteration by data set and metric, as BasicSR keeps them.
    """
    metrics = list(dict.fromkeys(name for row in rows for name in row.values))
    lines = [['data set', 'task', 'images', *metrics]]
    lines += [[row.dataset, row.task, str(row.images), *_cells(row.values, metrics)] for row in rows]
    if metrics:
        average = mean_values([row.values for row in rows])
        lines.append([AVERAGE, '', str(sum(row.images for row in rows)), *_cells(average, metrics)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = []
    for line in lines:
        names, figures = zip(line[:2], widths[:2], strict=True), zip(line[2:], widths[2:], strict=True)
        text.append('  '.join([*(cell.ljust(w) for cell, w in names), *(cell.rjust(w) for cell, w in figures)]))
    for dataset, records in (best or {}).items():
        found = ', '.join(f'{m} {r["val"]:.4f} @ {r["iter"]}' for m, r in records.items() if r['iter'] != -1)
        if found:
            text.append(f'best of {dataset}: {found}')
    return '\n'.join(text)


def _cells(values: Mapping[str, float], names: Iterable[str]) -> list[str]:
    return [f'{values[name]:.4f}' if name in values else '-' for name in names]


def update_csv(path: str, iteration: int, rows: Sequence[Row]) -> None:
    """Puts the figures of one iteration into ``validation.csv``.

    Figures that the file has for the same iteration and data set are replaced, and those of later iterations dropped:
    after a resume they belong to a past that is being repeated. The file is replaced in one move.

    Args:
        path: File to change or make.
        iteration: Iteration of the rows.
        rows: Rows of whole data sets.
    """
    replaced = {row.dataset for row in rows}
    kept = [line for line in read_csv(path) if line[0] < iteration or line[0] == iteration and line[1] not in replaced]
    new = [(iteration, row.dataset, row.task, *figure) for row in rows for figure in row.values.items()]
    write_csv(path, [CSV_HEADER, *kept, *new])


def read_csv(path: str | Path) -> list[tuple[int, str, str, str, float]]:
    """The figures of ``validation.csv``, by `CSV_HEADER`; none where there is no such file.

    Raises:
        ValueError: It cannot be read, or a line is not as `update_csv` writes it.
    """
    if not os.path.isfile(path):
        return []
    try:
        with open(path, encoding='utf-8', newline='') as file:
            lines = list(csv.reader(file))
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise ValueError(f'{path}: cannot be read: {getattr(error, "reason", error)}') from None
    if lines and tuple(lines[0]) != CSV_HEADER:
        raise ValueError(f'{path}: the first line must be {",".join(CSV_HEADER)}')
    found = []
    for number, line in enumerate(lines[1:], 2):
        try:
            iteration, dataset, task, metric, value = line
            found.append((int(iteration), dataset, task, metric, float(value)))
        except ValueError:
            expected = f'expected {",".join(CSV_HEADER)}; move the file away'
            raise ValueError(f'{path}: line {number} is {line}, {expected}') from None
    return found


def write_results(
    folder: str, name: str, weights: str | None, protocol: Mapping, rows: Sequence[Row], params_m: float | None = None
) -> None:
    """Writes ``results.json`` and ``results.csv`` of a test run, replacing earlier ones in one move.

    Args:
        folder: Results folder of the run.
        name: Name of the run.
        weights: File the weights came from.
        protocol: How the figures were made: metrics with their options, cropping, precision.
        rows: All rows so far.
        params_m: Millions of parameters of the network; None for pictures of an unknown one.
    """
    entries = [{'dataset': r.dataset, 'task': r.task, 'images': r.images, **r.values} for r in rows]
    average = mean_values([r.values for r in rows])
    content = {
        'name': name,
        'protocol': dict(protocol),
        'weights': weights,
        'params_m': params_m,
        'rows': entries,
        'average': average,
    }
    text = json.dumps(plain(content), indent=2, allow_nan=False)
    write_file(os.path.join(folder, 'results.json'), f'{text}\n', durable=True)
    columns = ['dataset', 'task', 'images', *average]
    body = [[str(entry.get(column, '')) for column in columns] for entry in entries]
    last = [[AVERAGE, '', str(sum(r.images for r in rows)), *(str(v) for v in average.values())]]
    write_csv(os.path.join(folder, 'results.csv'), [columns, *body, *last])


def plain(content: object) -> object:
    """What JSON can hold: infinity as the text "inf" or "-inf", what is no number as null, paths as text."""
    if isinstance(content, Mapping):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [plain(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None if math.isnan(content) else str(content)
    return content if content is None or isinstance(content, (str, int, float)) else str(content)


def _figure(value: object) -> float:
    return math.nan if value is None else float(value)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Result:
    """What a test run left behind.

    Args:
        name: Name of the run.
        scores: `scores[data set][metric]`.
        images: Number of images by data set.
        protocol: How the figures were made, as the run wrote it.
        weights: File of the weights.
        params_m: Millions of parameters of the tested network, so without the SPD heads that only training has.
    """

    name: str
    scores: Mapping[str, Mapping[str, float]]
    images: Mapping[str, int] = field(default_factory=dict)
    protocol: Mapping = field(default_factory=dict)
    weights: str | None = None
    params_m: float | None = None


def load_result(path: str | Path) -> Result:
    """Read `results.json`, given the file or the folder of a test run.

    A data set that was tested with several tasks becomes one column per task: `CDD11` with `low_haze` is
    `CDD11_low_haze`, `BSD68` with `denoise_25` is `BSD68_25`.

    Raises:
        ValueError: No such file, or one that is not a result; the message names it.
    """
    file = Path(path)
    if file.is_dir():
        file = file / 'results.json'
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
        entries = [dict(entry) for entry in content['rows']]
        several = {e['dataset'] for e in entries if sum(o['dataset'] == e['dataset'] for o in entries) > 1}
        scores, images = {}, {}
        for entry in entries:
            name, task, count = entry.pop('dataset'), entry.pop('task', ''), entry.pop('images', 0)
            column = f'{name}_{task.removeprefix("denoise_")}' if name in several else name
            if column in scores:
                raise ValueError(f'{name} {task} is there twice')
            scores[column] = {metric: _figure(value) for metric, value in entry.items()}
            images[column] = int(count)
        protocol, weights = dict(content.get('protocol') or {}), content.get('weights')
        protocol['metrics'] = {key: dict(options) for key, options in (protocol.get('metrics') or {}).items()}
        params_m = content.get('params_m')
        return Result(
            str(content['name']), scores, images, protocol, weights, None if params_m is None else float(params_m)
        )
    except FileNotFoundError:
        raise ValueError(f'{file}: not found; a test run leaves results/NAME/results.json') from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        said = 'no UTF-8 text' if isinstance(error, UnicodeDecodeError) else f'{type(error).__name__}: {error}'
        raise ValueError(f'{file}: not the results of a test run ({said})') from None


def write_image_scores(path: str, scores: Iterable[ImageScore]) -> None:
    """Writes the figures of each image of one data set as CSV."""
    scores = sorted(scores, key=lambda s: s.index)
    names = list(dict.fromkeys(name for s in scores for name in s.values))
    body = [[s.name, s.task, *(s.values.get(name, '') for name in names)] for s in scores]
    write_csv(path, [['image', 'task', *names], *body])


def write_csv(path: str | Path, lines: Iterable[Iterable]) -> None:
    """Writes a table of which the first line is the head, replacing an earlier one in one move."""
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(lines)
    write_file(path, text.getvalue(), durable=True)
