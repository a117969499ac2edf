"""Measure a network against the degraded input, classical methods and published figures, by the paper's protocol.

    python research/restoration/measure.py --weights W --cbsd68 CBSD68 --rain100l Rain100L/test --out DIR
    python research/restoration/measure.py --methods classical opencv_nlm bm3d --cbsd68 CBSD68 --out DIR
    python research/restoration/measure.py --model auto --sets rain haze clean --pictures DIR/sheets --every 4 --out DIR
    python research/restoration/measure.py --weights W --list research/restoration/sets.yml \
        --root datasets/Bundled DATA --methods ours --quick 4 --out DIR

--list names real pairs, clean pictures, and the same pictures between bars, in tiles and in other sizes
(research/restoration/sets.py); of its sets those are measured whose folders are below a --root, or only the --listed.
Besides the standard sets that are named, each line of the recipe in --recipe is measured on the photographs of
--heldout; every CDD11 type is a set of its own. DIR/scores.jsonl keeps every figure by the content of the pictures, the
method and the weights: a run that was stopped goes on, a run with other weights computes the network alone (after a
change of the code take another DIR). The classical methods have the parameters of research/classical/tuned.yml
(research/classical/tune.py). BM3D is slow: with --bm3d-every it sees every K-th picture only, and comparisons with it
are then over those.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mirage_data.files import plain_yaml
from mirage_ir.measuring.report import write_csv
from mirage_ir.measuring.tables import markdown_table, published_table
from mirage_restore.bundled import AUTO, bundled_models, bundled_weights
from mirage_restore.choice import CHOICE
from mirage_restore.restorer import Restorer
from research.common import ROOT, ended, parser_of
from research.restoration import scores as scoring
from research.restoration import sets as benchmarks
from research.restoration.scores import (
    BM3D,
    CLASSICAL,
    INPUT,
    LINE,
    METHODS,
    OPENCV,
    OURS,
    ScoreCache,
    SetScores,
    file_digest,
    mean_of,
)

TITLES = {
    'input': 'input',
    'classical': 'classical',
    'opencv_nlm': "OpenCV's NLM",
    'bm3d': 'BM3D',
    'oracle': 'oracle (known kernel)',
    'ours': 'ours',
}
#: Published networks shown beside ours, where the set is the paper's: the oldest, the best known and MIRAGE's own.
LARGE_MODELS = ('AirNet', 'PromptIR', 'MIRAGE-T')
CLEAN_TARGET = 40.0  # dB that clean photographs should come back with at least
HARM = 0.1  # dB below the input from which on a picture counts as made worse
RIVALS = (INPUT, CLASSICAL, OPENCV, BM3D)


def markdown(scores: Sequence[SetScores], about: Mapping[str, Any]) -> str:
    """Tables of PSNR / SSIM, one for each source of pictures, with the methods' parameters below.

    Args:
        scores: Of the sets, in order.
        about: Facts on the run, one line each, printed first.
    """
    parts = ['\n'.join(f'- {key}: {value}' for key, value in about.items())]
    for source in dict.fromkeys(row.source for row in scores):
        rows = [row for row in scores if row.source == source]
        methods = [m for m in METHODS if any(row.count(m) for row in rows)]
        models = LARGE_MODELS if any(row.published for row in rows) else ()
        verdicts = [m for m in RIVALS if OURS in methods and m in methods]
        heads = ['set', 'pictures', *(TITLES[m] for m in methods), *(f'{m} (published)' for m in models)]
        heads += [f'ours - {TITLES[m]}' for m in verdicts]
        body = []
        for row in rows:
            cells = [row.name, str(row.pictures), *(_figures(row, m) for m in methods)]
            cells += [_published_figures(row, model) for model in models]
            body.append(cells + [_verdict(row, m) for m in verdicts])
        parts.append(f'**{source}** (PSNR in dB / SSIM)\n\n{markdown_table(heads, body)}')
    parts += [table for table in (_harm(scores), _circumstances(scores)) if table]
    parts.append('\n'.join(_notes(scores)))
    return '\n\n'.join(parts) + '\n'


def write_report(folder: Path, scores: Sequence[SetScores], about: Mapping[str, Any]) -> None:
    """Write `restoration.md`, `.csv` (a line for each set and method) and `.json` (with each picture's figures)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'restoration.md').write_text(markdown(scores, about), encoding='utf-8')
    lines: list[Sequence] = [('set', 'method', 'pictures', 'psnr', 'ssim', 'parameters')]
    for row in scores:
        for method in METHODS:
            if row.count(method):
                means = [f'{row.mean(method, metric):.6f}' for metric in ('psnr', 'ssim')]
                lines.append([row.name, method, row.count(method), *means, row.words.get(method, '')])
        for model in LARGE_MODELS:
            if values := _published(row, model):
                lines.append([row.name, f'{model} (published)', '', values['psnr'], values['ssim'], ''])
    write_csv(folder / 'restoration.csv', lines)
    content = {'about': dict(about), 'sets': [_as_json(row) for row in scores]}
    (folder / 'restoration.json').write_text(json.dumps(content, indent=2, allow_nan=False) + '\n', encoding='utf-8')


def _figures(row: SetScores, method: str) -> str:
    psnr, ssim = row.mean(method, 'psnr'), row.mean(method, 'ssim')
    if psnr is None:
        return '-'
    if math.isinf(psnr):
        return 'identical'
    part = '' if row.count(method) == row.pictures else f' ({row.count(method)} of {row.pictures})'
    same = row.identical(method)
    return f'{psnr:.2f} / {ssim:.3f}{part}' + (f' ({same} identical)' if same else '')


def _published(row: SetScores, model: str) -> Mapping[str, float]:
    if row.published is None:
        return {}
    number, column = row.published
    return published_table(number).row(model).scores[column]


def _published_figures(row: SetScores, model: str) -> str:
    values = _published(row, model)
    return f'{values["psnr"]:.2f} / {values["ssim"]:.3f}' if values else '-'


def _verdict(row: SetScores, rival: str) -> str:
    """Difference in PSNR to a rival on the pictures that both have, in bold where ours is not better."""
    ours, other = row.mean(OURS, 'psnr', among=rival), row.mean(rival, 'psnr', among=OURS)
    if ours is None or other is None:
        return '-'
    if math.isinf(row.mean(INPUT, 'psnr')):
        return f'above {CLEAN_TARGET:g}' if ours > CLEAN_TARGET else f'**not above {CLEAN_TARGET:g}**'
    return f'{ours - other:+.2f}' if ours > other else f'**{ours - other:+.2f}**'


def _harm(scores: Sequence[SetScores]) -> str:
    """What the means hide: the worst picture, how many were made worse, and how much is brightness and colour."""
    heads = [
        'set',
        'lowest of ours',
        'least gain',
        f'worse by over {HARM:g} dB',
        'input, lines fitted',
        'ours, lines fitted',
    ]
    lines = []
    for row in scores:
        ours, given = row.each(OURS, 'psnr'), row.each(INPUT, 'psnr')
        if not ours:
            continue
        gains = [ours[name] - given[name] for name in ours if math.isfinite(given.get(name, math.inf))]
        lost = str(sum(gain < -HARM for gain in gains)) if gains else '-'
        cells = [row.name, _decibels(min(ours.values())), f'{min(gains):+.2f}' if gains else '-', lost]
        lines.append(cells + [_decibels(row.mean(method, LINE)) for method in (INPUT, OURS)])
    title = '**What the means hide** (PSNR in dB; lines: one for each colour and picture, fitted to the ground truth)'
    return '\n'.join([title, '', markdown_table(heads, lines)]) if lines else ''


def _circumstances(scores: Sequence[SetScores]) -> str:
    """The same pictures between bars, in tiles, in another size: against the set that they are named to be like."""
    by_name = {row.name: row for row in scores}
    lines = []
    for row in scores:
        other = by_name.get(row.against)
        if other is None or not row.count(OURS):
            continue
        here, there = row.each(OURS, 'psnr'), other.each(OURS, 'psnr')
        common = [name for name in here if name in there]
        if not common:
            continue
        changes = [here[name] - there[name] for name in common if math.isfinite(here[name] - there[name])]
        means = [mean_of(each[name] for name in common) for each in (there, here)]
        cells = [row.name, row.against, str(len(common)), *map(_decibels, means), f'{mean_of(changes) or 0.0:+.2f}']
        lines.append([*cells, f'{min(changes, default=0.0):+.2f}'])
    heads = ['set', 'against', 'pictures', 'ours there', 'ours here', 'difference', 'worst']
    title = '**The same pictures under other circumstances** (PSNR of ours in dB)'
    return '\n'.join([title, '', markdown_table(heads, lines)]) if lines else ''


def _decibels(value: float | None) -> str:
    return '-' if value is None else 'identical' if math.isinf(value) else f'{value:.2f}'


def _notes(scores: Sequence[SetScores]) -> list[str]:
    notes = []
    if any(row.count(OURS) for row in scores):
        notes.append(
            '- Differences are in PSNR over the pictures that both methods were measured on; bold: ours is '
            'not better. On clean photographs the figure is the output against the input.'
        )
    for row in scores:
        shown = [f'{TITLES[m]}: {words}' for m, words in row.words.items() if row.count(m)]
        if shown:
            notes.append(f'- {row.name}: ' + '; '.join(shown))
    return notes


def _as_json(row: SetScores) -> dict[str, Any]:
    methods = {
        method: {
            'pictures': row.count(method),
            'identical': row.identical(method),
            'parameters': row.words.get(method, ''),
            **{metric: _finite(row.mean(method, metric)) for metric in ('psnr', 'ssim', LINE)},
            'each': {name: {k: _finite(v) for k, v in values.items()} for name, values in row.values[method].items()},
        }
        for method in METHODS
        if row.count(method)
    }
    published = {model: dict(_published(row, model)) for model in LARGE_MODELS if _published(row, model)}
    against = {'against': row.against} if row.against else {}
    return {
        'set': row.name,
        'source': row.source,
        **against,
        'pictures': row.pictures,
        'methods': methods,
        'published': published,
    }


def _finite(value: float | None) -> float | None:
    """JSON has no infinity: the PSNR of equal images is null."""
    return value if value is not None and math.isfinite(value) else None


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)
    cv2.setNumThreads(1)  # sums in the same order on every machine
    return ended(lambda: measure(arguments))


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument('--weights', help='of the network; without, only the other methods are measured')
    parser.add_argument(
        '--model', metavar='NAME', help='of the package, instead of --weights; auto: the choice among them'
    )
    parser.add_argument(
        '--methods',
        nargs='+',
        choices=scoring.METHODS,
        help='computed; figures of the others are shown where DIR has them (default: all but bm3d)',
    )
    parser.add_argument('--cbsd68', metavar='DIR', help='the 68 clean photographs of CBSD68')
    parser.add_argument('--rain100l', metavar='DIR', help='folder with input and target of Rain100L')
    parser.add_argument('--list', metavar='YML', help='list of more sets; without --sets nothing else is synthesised')
    parser.add_argument(
        '--root',
        nargs='+',
        metavar='DIR',
        default=[str(ROOT / 'datasets')],
        help='where the folders of the list are looked for, in this order',
    )
    parser.add_argument('--listed', nargs='+', metavar='NAME', help='sets of the list to measure (default: all)')
    parser.add_argument('--quick', type=int, default=1, metavar='N', help='every N-th picture of each set')
    parser.add_argument(
        '--heldout',
        metavar='DIR',
        default=str(ROOT / 'datasets' / 'Bundled' / 'heldout'),
        help='clean photographs that were not trained on',
    )
    parser.add_argument('--clean', metavar='DIR', help='more clean photographs, which the network should leave alone')
    parser.add_argument(
        '--recipe',
        metavar='YML',
        default=str(Path(__file__).with_name('stages.yml')),
        help='file with a `recipe`, or option file with a training recipe, which names the degradations of --heldout',
    )
    parser.add_argument(
        '--sets',
        nargs='*',
        metavar='NAME',
        default=None,
        help='degradations of the recipe to measure (default, or all: all of them; none, or with '
        '--list by default: leave --heldout out)',
    )
    parser.add_argument(
        '--largest',
        type=int,
        default=512,
        metavar='PIXELS',
        help='larger held-out photographs are cropped to this side around the centre',
    )
    parser.add_argument('--bm3d-every', type=int, default=1, metavar='K', help='BM3D on every K-th picture')
    parser.add_argument('--pictures', type=Path, metavar='DIR', help='save input | classical | ours | clean there')
    parser.add_argument('--every', type=int, default=8, metavar='K', help='of every K-th picture')
    parser.add_argument('--device', default='auto', help='of the network: auto, cpu or cuda')
    parser.add_argument('--out', type=Path, required=True, help='folder of the tables and the cache')
    return parser.parse_args(argv)


def measure(arguments: argparse.Namespace) -> None:
    """Measures what the arguments ask for and writes the tables; prints the Markdown.

    Raises:
        ValueError: Nothing to measure on, or an option that cannot work.
        PackageMissingError: A method's package is not installed.
    """
    for option in ('bm3d_every', 'every', 'largest', 'quick'):
        if getattr(arguments, option) < 1:
            raise ValueError(f'--{option.replace("_", "-")} {getattr(arguments, option)}: must be 1 or more')
    selected = arguments.methods or [m for m in scoring.METHODS if m != scoring.BM3D]
    has_network = bool(arguments.weights or arguments.model)
    if scoring.OURS in (arguments.methods or ()) and not has_network:
        raise ValueError('--methods ours needs --weights or --model')
    sets = collect_sets(arguments)
    restorer = Restorer(arguments.weights, arguments.device, model=arguments.model) if has_network else None
    digest = _digest(arguments, restorer) if restorer else ''
    cache = ScoreCache(arguments.out / 'scores.jsonl')
    about = {'metrics': 'PSNR and SSIM (7x7 window) on float RGB, centre crop to a multiple of 16'}
    if arguments.quick > 1:
        about['pictures'] = f'one in {arguments.quick} of each set'
    if restorer:
        name = arguments.model if arguments.model == AUTO else restorer.weights.name
        about['network'] = f'{name}, SHA-256 {digest}'
    scores = []
    for each in scoring.measure_sets(
        sets,
        cache,
        selected,
        restore=restoring(restorer) if restorer else None,
        weights=digest,
        bm3d_every=arguments.bm3d_every,
        sheets=arguments.pictures,
        sheet_every=arguments.every,
    ):
        scores.append(each)
        write_report(arguments.out, scores, about)  # a run that is stopped leaves what it has
    print(markdown(scores, about))


def _digest(arguments: argparse.Namespace, restorer: Restorer) -> str:
    if arguments.model != AUTO:
        return file_digest(restorer.weights)
    parts = [file_digest(file) for file in (CHOICE, *map(bundled_weights, bundled_models()))]
    return hashlib.sha256(' '.join(parts).encode()).hexdigest()[:24]


def restoring(restorer: Restorer) -> Callable[..., np.ndarray]:
    """The restorer as a function of the picture and of how it is restored."""

    def restore(
        image: np.ndarray, tile: int | None = None, keep_tone: bool = False, self_ensemble: bool = False
    ) -> np.ndarray:
        restorer.tile, restorer.keep_tone, restorer.self_ensemble = tile, keep_tone, self_ensemble
        return restorer(image)

    return restore


def collect_sets(arguments: argparse.Namespace) -> list[benchmarks.BenchmarkSet]:
    """The sets that the arguments name.

    Raises:
        ValueError: None at all, a folder without pictures, or an option file without a recipe.
    """
    sets = benchmarks.noise_sets(arguments.cbsd68) if arguments.cbsd68 else []
    if arguments.rain100l:
        sets.append(benchmarks.rain_set(arguments.rain100l))
    named = [] if arguments.sets == ['all'] else arguments.sets
    if arguments.list:
        sets += listed(arguments)
    if (arguments.sets is None and not arguments.list) or arguments.sets:
        recipe = read_recipe(arguments.recipe)
        sets += benchmarks.recipe_sets(
            arguments.heldout, recipe, 'held-out photographs', arguments.largest, named or ()
        )
    if arguments.clean:
        clean = [{'degradation': benchmarks.CLEAN}]
        folder = Path(arguments.clean).resolve().name
        (harmed,) = benchmarks.recipe_sets(arguments.clean, clean, f'{folder}, not degraded')
        sets.append(replace(harmed, name=f'{benchmarks.CLEAN} {folder}'))
    if not sets:
        raise ValueError('nothing to measure on: name --cbsd68, --rain100l, --clean, --list or --sets')
    names = [each.name for each in sets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f'two sets are called {", ".join(twice)}; leave --cbsd68, --rain100l or --sets out')
    return [each.every(arguments.quick) for each in sets]


def listed(arguments: argparse.Namespace) -> list[benchmarks.BenchmarkSet]:
    """The sets of the list; those that are not there are named on the error stream.

    Raises:
        ValueError: A fault in the list, or a name of --listed that it does not have.
    """
    sets, absent = benchmarks.listed_sets(arguments.list, arguments.root)
    if arguments.listed:
        have = {each.name for each in sets}
        lost = [name for name in arguments.listed if name not in have]
        if lost:
            raise ValueError(
                f'--listed {", ".join(lost)}: not in {arguments.list}, or not there; there are '
                f'{", ".join(have) or "none"}'
            )
        return [each for each in sets if each.name in arguments.listed]
    for line in absent:
        print(f'left out: {line}', file=sys.stderr)
    return sets


def read_recipe(path: str) -> object:
    """The `recipe` of a file, or the training recipe of an option file.

    Raises:
        ValueError: The file has none.
    """
    content = plain_yaml.load_file(path)
    try:
        return content['recipe'] if 'recipe' in content else content['datasets']['train']['recipe']
    except (KeyError, TypeError):
        raise ValueError(f'{path}: has no recipe and no datasets: train: recipe') from None


if __name__ == '__main__':
    sys.exit(main())
