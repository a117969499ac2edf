"""Write a synthesised data set to disk: the same files for a seed, on all cores, going on where it was interrupted."""

from __future__ import annotations

import json
import logging
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np
from tqdm import tqdm

from mirage_data.crew import Calling, Outcome, Processes, RayActors, Team
from mirage_data.degradations import degrade
from mirage_data.degradations.cdd11 import TYPES as CDD11_TYPES
from mirage_data.degradations.compose import Recipe, parse_recipe
from mirage_data.degradations.noise import to_uint8
from mirage_data.files.image import list_names, read_rgb, to_float
from mirage_data.files.write import alone_in, clear_remains, write_file, write_image, written_aside

logger = logging.getLogger(__name__)


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
        ValueError: Two would get the same name, or there is none.
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
        one record per pair: ``photograph``, ``source`` (its file's checksum), ``clean``, ``degraded`` and, where it was
        degraded, ``task`` and ``steps`` with every drawn parameter.
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
    clean, source = to_float(image), _checksum(work.file)
    return [{**_make_pair(work, pair, clean), 'source': source} for pair in work.pairs]


def _checksum(file: str) -> str:
    return f'{zlib.crc32(Path(file).read_bytes()):08x}'


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
    ray: str | None = None,
    progress: bool = True,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Make a data set of pairs from clean photographs.

    Run again with the same settings it makes what is missing. ``records.jsonl`` below the output holds every drawn
    parameter, ``synthesis.json`` the settings.

    Args:
        sources: Folders of clean photographs, searched with the folders below them.
        output: Where the layout's folders go.
        layout: One of :data:`LAYOUTS`.
        recipe: See `mirage_data.degradations.parse_recipe`; needed by ``paired``, optional for the others.
        seed: Of everything random.
        copies: How often each photograph is degraded, each time differently.
        limit: Use only the first so many photographs.
        max_side: Reduce larger photographs to this longest side, in pixels.
        jobs: Processes, all cores by default; workers on the cluster, one on each CPU by default.
        ray: 'auto' or the address of a Ray cluster whose nodes see the same folders.
        progress: Show a progress bar.

    Returns:
        the records of all pairs in the layout's order, and ``file: reason`` of every photograph that failed.

    Raises:
        ValueError: Settings that cannot work, or an output made with other settings.
    """
    _check(layout, recipe, seed=seed, copies=copies, limit=limit, max_side=max_side, jobs=jobs)
    here = Path(os.path.realpath(output))
    for source in sources:
        if here.is_relative_to(os.path.realpath(source)):
            raise ValueError(f'{output}: lies in {source}, whose photographs it would join; choose a folder elsewhere')
    files = photographs_below(sources)
    names = list(files)[:limit]
    parsed = parse_recipe(recipe) if recipe else None
    if parsed and any(entry.makes_scenes for entry in parsed.entries):
        raise ValueError(
            'recipe: graphics, dark_scene and black_and_white change the clean side, which the pairs of a '
            'photograph share on disk; use them in training'
        )
    pairs = LAYOUTS[layout](names, parsed, copies)
    _refuse_equal_files(pairs, names)
    output = Path(output)
    folders = {(output / name).parent for pair in pairs for name in (pair.clean, pair.degraded) if name}
    for source in sources:
        for folder in folders:
            if Path(os.path.realpath(source)).is_relative_to(os.path.realpath(folder)):
                raise ValueError(f'{output}: the pairs would be written to {folder}, among the photographs of {source}')
    output.mkdir(parents=True, exist_ok=True)
    settings = {'layout': layout, 'recipe': recipe, 'seed': seed, 'copies': copies, 'max_side': max_side}
    photographs = {names[pair.source]: files[names[pair.source]] for pair in pairs}
    with alone_in(output):
        _refuse_foreign_files(output, pairs)
        _claim(output, settings)
        for folder in folders:
            clear_remains(folder)
        return _make_missing(output, settings, names, photographs, pairs, jobs, ray, progress)


def _make_missing(
    output: Path,
    settings: Mapping[str, Any],
    names: Sequence[str],
    files: Mapping[str, str],
    pairs: Sequence[Pair],
    jobs: int | None,
    ray: str | None,
    progress: bool,
) -> tuple[list[dict[str, Any]], list[str]]:
    done = _finished(output)
    missing: dict[str, list[Pair]] = {}
    now: dict[str, str] = {}  # checksums of the photographs, each read once
    for pair in pairs:
        name, old = names[pair.source], done.get(pair.key, {})
        if old.get('photograph') != name or _replaced(old, files[name], now):
            missing.setdefault(name, []).append(pair)
    works = [
        Work(files[name], name, tuple(some), str(output), settings['seed'], settings['max_side'])
        for name, some in missing.items()
    ]
    before, failures = len(pairs) - sum(len(some) for some in missing.values()), []
    with (
        open(output / RECORDS_FILE, 'a', encoding='utf-8') as log,
        tqdm(total=len(pairs), initial=before, desc=settings['layout'], unit='pair', disable=not progress) as bar,
    ):
        log.write('\n')  # behind what may be half a line of a killed run
        for work, outcome in _in_parallel(works, jobs, ray):
            bar.update(len(work.pairs))
            if outcome.failure is not None:
                failures.append(outcome.failure)
                continue
            for pair, record in zip(work.pairs, outcome.value):
                earlier = done.get(pair.key, {}).get('degraded')
                if earlier and earlier != record['degraded']:  # of another photograph, named by other parameters
                    (output / str(earlier)).unlink(missing_ok=True)
                done[pair.key] = record
                _append(log, pair.key, record)
            log.flush()
    _tell_what_is_left(output, done, pairs)
    _rewrite(output, [pair.key for pair in pairs], done)
    return [done[pair.key] for pair in pairs if pair.key in done], failures


def _refuse_foreign_files(output: Path, pairs: Sequence[Pair]) -> None:
    """In a folder without settings nothing is of an earlier run."""
    if (output / SETTINGS_FILE).exists() or (output / RECORDS_FILE).exists():
        return
    there = [name for pair in pairs for name in (pair.clean, pair.degraded) if name and (output / name).exists()]
    if there:
        raise ValueError(
            f'{output}: has {there[0]} already, which no synthesis has made ({len(there)} such); choose another folder'
        )


def _tell_what_is_left(output: Path, done: Mapping[tuple[str, str], Mapping[str, Any]], pairs: Sequence[Pair]) -> None:
    """Photographs that are gone leave their pairs behind, which a training would read."""
    wanted = {pair.key for pair in pairs}
    kept = {done[key][side] for key in wanted & done.keys() for side in ('clean', 'degraded')}
    old = {record[side] for key, record in done.items() if key not in wanted for side in ('clean', 'degraded')}
    left = sorted(name for name in old - kept - {''} if (output / name).exists())
    if left:
        logger.warning(
            '%s: %d files are of pairs that are made no more (photographs removed or --limit): %s%s; remove them, or '
            'make the set in a new folder',
            output,
            len(left),
            ', '.join(left[:5]),
            ', ...' if len(left) > 5 else '',
        )


def _replaced(record: Mapping[str, Any], file: str, now: dict[str, str]) -> bool:
    """Whether the photograph is not the one that a pair was made from; older records do not know it."""
    if 'source' not in record:
        return False
    if file not in now:
        try:
            now[file] = _checksum(file)
        except OSError:  # said when the pair is made
            now[file] = ''
    return record['source'] != now[file]


def _refuse_equal_files(pairs: Sequence[Pair], names: Sequence[str]) -> None:
    owners: dict[str, str] = {}
    for pair in pairs:
        for file in filter(None, (pair.clean, pair.degraded)):
            owner = owners.setdefault(file.lower(), names[pair.source])  # some file systems know one case only
            if owner != names[pair.source]:
                raise ValueError(f'{owner} and {names[pair.source]} would both be written as {file}; rename one')


def _check(layout: str, recipe: Any, **numbers: int | None) -> None:
    if layout not in LAYOUTS:
        raise ValueError(f'unknown layout {layout!r}; known are {", ".join(LAYOUTS)}')
    if layout == 'paired' and not recipe:
        raise ValueError('the layout paired needs a recipe')
    for key, value in numbers.items():
        least = 0 if key == 'seed' else 1
        if value is not None and value < least:
            raise ValueError(f'{key}: {value}; allowed are whole numbers >= {least}')


def _in_parallel(works: list[Work], jobs: int | None, ray: str | None) -> Iterator[tuple[Work, Outcome]]:
    """Every piece of work with its records, or with what is wrong with its photograph. A full disk ends it all."""
    for work, outcome in _done(works, jobs, ray):
        if outcome.elsewhere:
            raise OSError(outcome.failure)
        if outcome.failure is not None and work.file not in outcome.failure:
            outcome = Outcome(failure=f'{work.file}: {outcome.failure}')
        yield work, outcome


def _done(works: list[Work], jobs: int | None, ray: str | None) -> Iterator[tuple[Work, Outcome]]:
    make = partial(Calling, make_pairs)
    most = min(jobs or os.cpu_count() or 1, len(works))
    if not works or (ray is None and most < 2):
        yield from ((work, make().work(work)) for work in works)
        return
    with Team(RayActors(make, ray, most if jobs else None) if ray else Processes(make, ['cpu'] * most)) as team:
        yield from team.do(works)


@dataclass(frozen=True)
class Pair:
    """One degraded file and its clean partner.

    Attributes:
        source: Number of the photograph.
        clean: File of the clean image below the output folder; several pairs may share one.
        degraded: File of the degraded image, '' where only the clean one is stored (noise is added later). With
            ``named_by_parameters`` drawn values are filled in: ``12_{airlight:.2f}_{beta:.2f}.jpg``.
        recipe: How it is made.
        named_by_parameters: See there.
    """

    source: int
    clean: str
    degraded: str
    recipe: Recipe | None
    named_by_parameters: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What the pair is called in the records."""
        return self.clean, self.degraded


def paired(names: Sequence[str], recipe: Recipe | None, copies: int) -> list[Pair]:
    """``lq/`` and ``gt/`` with the same names; with several copies ``NAME_2.png``, each with a clean partner."""
    pairs = []
    for number, name in enumerate(names):
        for copy in range(copies):
            file = f'{name}.png' if copy == 0 else f'{name}_{copy + 1}.png'
            pairs.append(Pair(number, f'gt/{file}', f'lq/{file}', recipe))
    return pairs


def cdd11(names: Sequence[str], recipe: Recipe | None, copies: int) -> list[Pair]:
    """CDD11's twelve folders, the same names in each; to be written to ``datasets/CDD-11/train`` or ``.../test``.

    A recipe replaces the published one where it names a type (``task: low_haze``).

    Raises:
        ValueError: More than one copy, which the layout has no names for.
    """
    if copies != 1:
        raise ValueError(f'copies: {copies}; the layout cdd11 holds each photograph once')
    recipes = {kind: parse_recipe([{'degradation': f'cdd11_{kind}'}]) for kind in CDD11_TYPES}
    recipes.update(_by_task(recipe, CDD11_TYPES, 'cdd11'))
    return [
        Pair(number, f'clear/{name}.png', f'{kind}/{name}.png', recipes[kind])
        for number, name in enumerate(names)
        for kind in CDD11_TYPES
    ]


FIVE_TASKS = {
    'derain': [{'degradation': 'rain', 'angle': [-12, 12], 'density': [0.05, 0.4], 'veil': 0, 'blend': 0}],
    'dehaze': [{'degradation': 'haze'}],
    'deblur': [{'degradation': 'motion_blur'}],
    'enhance': [{'degradation': 'low_light'}],
}


def train5(names: Sequence[str], recipe: Recipe | None, copies: int) -> list[Pair]:
    """The authors' training folders of the five-degradation setting, to be written to ``datasets/Train``."""
    recipes = _five_recipes(recipe)
    pairs = [Pair(number, f'Denoise/{name}.png', '', None) for number, name in enumerate(names)]
    for number, name in enumerate(names):
        for copy in range(copies):
            n = number * copies + copy + 1
            again = f'{name}.png' if copy == 0 else f'{name}_{copy + 1}.png'
            clear = f'Dehaze/original/{number + 1:04d}.jpg'
            hazy = f'Dehaze/synthetic/part{copy + 1}/{number + 1:04d}_{{airlight:.2f}}_{{beta:.3f}}.jpg'
            pairs += [
                Pair(number, f'Derain/gt/norain-{n}.png', f'Derain/rainy/rain-{n}.png', recipes['derain']),
                Pair(number, clear, hazy, recipes['dehaze'], named_by_parameters=True),
                Pair(number, f'Deblur/sharp/{again}', f'Deblur/blur/{again}', recipes['deblur']),
                Pair(number, f'Enhance/gt/{again}', f'Enhance/low/{again}', recipes['enhance']),
            ]
    return pairs


def test5(names: Sequence[str], recipe: Recipe | None, copies: int) -> list[Pair]:
    """The test folders of the five-degradation setting, to be written to ``datasets/test``.

    Raises:
        ValueError: More than one copy.
    """
    if copies != 1:
        raise ValueError(f'copies: {copies}; the layout test5 holds each photograph once')
    recipes = _five_recipes(recipe)
    pairs = []
    for number, name in enumerate(names):
        n, rain = number + 1, 'derain/Rain100L'
        hazy = f'dehaze/input/{n:04d}_{{airlight:.2f}}_{{beta:.3f}}.png'
        pairs += [
            Pair(number, f'denoise/bsd68/{name}.png', '', None),
            Pair(number, f'{rain}/target/norain-{n}.png', f'{rain}/input/rain-{n}.png', recipes['derain']),
            Pair(number, f'dehaze/target/{n:04d}.png', hazy, recipes['dehaze'], named_by_parameters=True),
            Pair(number, f'deblur/gopro/target/{name}.png', f'deblur/gopro/input/{name}.png', recipes['deblur']),
            Pair(number, f'enhance/lol/target/{name}.png', f'enhance/lol/input/{name}.png', recipes['enhance']),
        ]
    return pairs


def _five_recipes(recipe: Recipe | None) -> dict[str, Recipe]:
    own = _by_task(recipe, tuple(FIVE_TASKS), 'train5 and test5')
    return {task: own.get(task) or parse_recipe(items) for task, items in FIVE_TASKS.items()}


def _by_task(recipe: Recipe | None, tasks: Sequence[str], layout: str) -> dict[str, Recipe]:
    """The entries of a recipe, gathered by their task."""
    found: dict[str, list] = {}
    for entry in recipe.entries if recipe else ():
        if entry.task not in tasks:
            raise ValueError(
                f'recipe: task {entry.task!r} has no place in the layout {layout}; it has {", ".join(tasks)}'
            )
        found.setdefault(entry.task, []).append(entry)
    return {task: Recipe(tuple(entries)) for task, entries in found.items()}


LAYOUTS: dict[str, Callable[[Sequence[str], Recipe | None, int], list[Pair]]] = {
    'paired': paired,
    'cdd11': cdd11,
    'train5': train5,
    'test5': test5,
}


SETTINGS_FILE, RECORDS_FILE = 'synthesis.json', 'records.jsonl'

Key = tuple[str, str]
"""Clean and degraded file of a pair as the layout names them, before parameters are filled in."""


def _claim(output: Path, settings: Mapping[str, Any]) -> None:
    """Note the settings of an output folder, or compare them with those it was begun with.

    Raises:
        ValueError: They differ.
    """
    path = output / SETTINGS_FILE
    settings = json.loads(json.dumps(settings))  # as they will be read back
    if not path.exists():
        write_file(path, json.dumps(settings, indent=1) + '\n')
        return
    try:
        before = dict(json.loads(path.read_text(encoding='utf-8')))
    except (ValueError, TypeError, RecursionError):
        raise ValueError(
            f'{path}: empty or damaged, so the settings of what is there are not known; remove the folder, or choose '
            'another --output'
        ) from None
    other = [f'{key}: {before.get(key)!r}, now {new!r}' for key, new in settings.items() if before.get(key) != new]
    if other:
        raise ValueError(f'{output} was begun with other settings ({"; ".join(other)}); choose another --output')


def _finished(output: Path) -> dict[Key, dict[str, Any]]:
    """Records of the pairs whose files are all there; where a pair was made twice, the later one."""
    log, done = output / RECORDS_FILE, {}
    for line in log.read_bytes().splitlines() if log.exists() else []:
        try:
            record = json.loads(line)
            template = record.pop('template')
            files = [record[side] for side in ('clean', 'degraded') if record[side]]
            if all((output / name).is_file() for name in files) and {'photograph', 'clean'} <= record.keys():
                done[record['clean'], template] = record
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OSError):
            continue  # a killed run's last line, or a damaged one: its pairs are made again
    return done


def _append(log: TextIO, key: Key, record: Mapping[str, Any]) -> None:
    """Write one record."""
    log.write(json.dumps({**record, 'template': key[1]}) + '\n')


def _rewrite(output: Path, order: Sequence[Key], done: Mapping[Key, Mapping[str, Any]]) -> None:
    """Put the records into the layout's order, so that the file does not tell how many processes wrote it."""
    log = output / RECORDS_FILE
    with written_aside(log) as aside, open(aside, 'w', encoding='utf-8') as file:
        for key in dict.fromkeys((*order, *sorted(done))):
            if key in done:
                _append(file, key, done[key])
