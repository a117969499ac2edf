"""Write a synthesised data set to disk: the same files for a seed, on all cores, going on where it was interrupted."""

from __future__ import annotations

import multiprocessing
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from mirage_data.degradations import degrade, parse_recipe
from mirage_data.degradations.noise import to_uint8
from mirage_data.files.image import list_names, read_rgb, to_float
from mirage_data.sets import synthesis_log
from mirage_data.sets.synthesis_layouts import LAYOUTS, Pair

JPEG_QUALITY = 95


@dataclass(frozen=True)
class Work:
    """All pairs of one photograph, so that it is decoded once."""

    file: str
    name: str
    pairs: tuple[Pair, ...]
    output: str
    seed: int
    max_side: int | None


class _Filled(dict):
    """Parameters for a file name; one that was not drawn counts as 0."""

    def __missing__(self, key: str) -> float:
        return 0.0


def photographs_below(sources: Sequence[str | Path]) -> dict[str, str]:
    """The photographs in and below some folders: their name (path below the source, without extension) -> file.

    Raises:
        ValueError: two would get the same name, or there is none.
    """
    files: dict[str, str] = {}
    for source in sources:
        for path in list_names(source, recursive=True):
            name = os.path.splitext(path)[0].replace('/', '_')
            if name in files:
                raise ValueError(f'{Path(source, path)} and {files[name]} would both be called {name}; rename one')
            files[name] = str(Path(source, path))
    if not files:
        raise ValueError(f'{", ".join(map(str, sources))}: no photographs there')
    return files


def make_pairs(work: Work) -> list[dict[str, Any]]:
    """Degrade one photograph and write its files.

    Returns:
        one record per pair: ``photograph``, ``clean``, ``degraded`` and, where it was degraded, ``task`` and ``steps``
        with every drawn parameter.
    """
    cv2.setNumThreads(1)  # the processes are the parallelism
    image = read_rgb(work.file)
    if image.dtype != np.uint8:
        image = to_uint8(to_float(image))
    longest = max(image.shape[:2])
    if work.max_side and longest > work.max_side:
        height, width = (max(1, round(side * work.max_side / longest)) for side in image.shape[:2])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    for name in dict.fromkeys(pair.clean for pair in work.pairs):
        write_image(Path(work.output, name), image)
    clean = to_float(image)
    return [_make_pair(work, pair, clean) for pair in work.pairs]


def _make_pair(work: Work, pair: Pair, clean: np.ndarray) -> dict[str, Any]:
    record: dict[str, Any] = {'photograph': work.name, 'clean': pair.clean, 'degraded': ''}
    if pair.recipe is None:
        return record
    # seeded by the names: another number of processes or photographs changes nothing
    rng = np.random.default_rng([work.seed, zlib.crc32(f'{pair.clean}|{pair.degraded}'.encode())])
    lq, drawn = degrade(clean, pair.recipe, rng)
    values = _Filled({key: value for step in drawn['steps'] for key, value in step.items()})
    record['degraded'] = pair.degraded.format_map(values) if pair.named_by_parameters else pair.degraded
    write_image(Path(work.output, record['degraded']), to_uint8(lq))
    return record | {'task': drawn['task'], 'steps': drawn['steps']}


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an 8-bit RGB image aside and move it into place, so that no half file is ever found under its name.

    Raises:
        OSError: the file cannot be written, e.g. because the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix == '.jpg' else [cv2.IMWRITE_PNG_COMPRESSION, 3]
    data = cv2.imencode(path.suffix, image[:, :, ::-1], options)[1]
    aside = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
        aside.write_bytes(data.tobytes())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def synthesize(
    sources: Sequence[str | Path],
    output: str | Path,
    layout: str,
    *,
    recipe: Any = None,
    seed: int = 0,
    copies: int = 1,
    limit: int | None = None,
    max_side: int | None = None,
    jobs: int | None = None,
    progress: bool = True,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Make a data set of pairs from clean photographs.

    Run again with the same settings it makes what is missing. ``records.jsonl`` below the output holds every drawn
    parameter, ``synthesis.json`` the settings.

    Args:
        sources: folders of clean photographs, searched with the folders below them.
        output: where the layout's folders go.
        layout: one of :data:`mirage_data.sets.synthesis_layouts.LAYOUTS`.
        recipe: see :func:`mirage_data.degradations.parse_recipe`; needed by ``paired``, optional for the others.
        seed: of everything random.
        copies: how often each photograph is degraded, each time differently.
        limit: use only the first so many photographs.
        max_side: reduce larger photographs to this longest side, in pixels.
        jobs: processes; all cores by default.
        progress: show a progress bar.

    Returns:
        the records of all pairs in the layout's order, and ``file: reason`` of every photograph that failed.

    Raises:
        ValueError: settings that cannot work, or an output made with other settings.
    """
    _check(layout, recipe, seed=seed, copies=copies, limit=limit, max_side=max_side, jobs=jobs)
    files = photographs_below(sources)
    names = list(files)[:limit]
    parsed = parse_recipe(recipe) if recipe else None
    if parsed and any(entry.makes_scenes for entry in parsed.entries):
        raise ValueError(
            'recipe: graphics, dark_scene and black_and_white change the clean side, which the pairs of a '
            'photograph share on disk; use them in training'
        )
    pairs = LAYOUTS[layout](names, parsed, copies)
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    settings = {'layout': layout, 'recipe': recipe, 'seed': seed, 'copies': copies, 'max_side': max_side}
    synthesis_log.claim(output, settings)

    done = synthesis_log.finished(output)
    missing: dict[str, list[Pair]] = {}
    for pair in pairs:
        if done.get(pair.key, {}).get('photograph') != names[pair.source]:
            missing.setdefault(names[pair.source], []).append(pair)
    works = [Work(files[name], name, tuple(some), str(output), seed, max_side) for name, some in missing.items()]
    before, failures = len(pairs) - sum(len(some) for some in missing.values()), []
    with (
        open(output / synthesis_log.RECORDS_FILE, 'a', encoding='utf-8') as log,
        tqdm(total=len(pairs), initial=before, desc=layout, unit='pair', disable=not progress) as bar,
    ):
        log.write('\n')  # behind what may be half a line of a killed run
        for work, outcome in _in_parallel(works, jobs or os.cpu_count() or 1):
            bar.update(len(work.pairs))
            if isinstance(outcome, ValueError):
                failures.append(str(outcome))
                continue
            for pair, record in zip(work.pairs, outcome):
                done[pair.key] = record
                synthesis_log.append(log, pair.key, record)
            log.flush()
    synthesis_log.rewrite(output, [pair.key for pair in pairs], done)
    return [done[pair.key] for pair in pairs if pair.key in done], failures


def _check(layout: str, recipe: Any, **numbers: int | None) -> None:
    if layout not in LAYOUTS:
        raise ValueError(f'unknown layout {layout!r}; known are {", ".join(LAYOUTS)}')
    if layout == 'paired' and not recipe:
        raise ValueError('the layout paired needs a recipe')
    for key, value in numbers.items():
        least = 0 if key == 'seed' else 1
        if value is not None and value < least:
            raise ValueError(f'{key}: {value}; allowed are whole numbers >= {least}')


def _in_parallel(works: list[Work], jobs: int) -> Iterator[tuple[Work, list[dict[str, Any]] | ValueError]]:
    """Every piece of work with its records, or with the error its photograph caused. A full disk ends it all."""
    if jobs == 1 or len(works) < 2:
        for work in works:
            yield work, _outcome(lambda work=work: make_pairs(work))
        return
    # spawned: a process that is forked from one with threads (OpenCV's) may hang
    with ProcessPoolExecutor(min(jobs, len(works)), mp_context=multiprocessing.get_context('spawn')) as pool:
        futures = {pool.submit(make_pairs, work): work for work in works}
        try:
            for future in as_completed(futures):
                yield futures[future], _outcome(future.result)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _outcome(result: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]] | ValueError:
    try:
        return result()
    except ValueError as error:
        return error
