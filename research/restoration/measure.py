"""Measure a network against the degraded input, classical methods and published figures, by the paper's protocol.

    python research/restoration/measure.py --weights W --cbsd68 CBSD68 --rain100l Rain100L/test --out DIR
    python research/restoration/measure.py --methods classical opencv_nlm bm3d --cbsd68 CBSD68 --out DIR
    python research/restoration/measure.py --weights W --sets rain haze clean --pictures DIR/sheets --every 4 --out DIR
    python research/restoration/measure.py --weights W --list research/restoration/sets.yml \
        --root datasets/Bundled DATA --methods ours --quick 4 --out DIR

--list names real pairs, clean pictures, and the same pictures between bars, in tiles and in other sizes
(`benchmark_list`); of its sets those are measured whose folders are below a --root, or only the --listed.
Besides the standard sets that are named, each line of the recipe in --recipe is measured on the photographs of
--heldout; every CDD11 type is a set of its own. DIR/scores.jsonl keeps every figure by the content of the pictures, the
method and the weights: a run that was stopped goes on, a run with other weights computes the network alone (after a
change of the code take another DIR). The
classical methods have the parameters of research/classical/tuned.yml (research/classical/tune.py). BM3D is slow: with
--bm3d-every it sees every K-th picture only, and comparisons with it are then over those.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np

from mirage_data.files import plain_yaml
from mirage_restore.restorer import Restorer
from research.classical import PackageMissingError
from research.restoration import benchmark_list, benchmark_sets
from research.restoration import report as restoration_report
from research.restoration import scores as restoration_scores
from research.restoration.scores import ScoreCache, file_digest

ROOT = Path(__file__).resolve().parents[2]


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)
    cv2.setNumThreads(1)  # sums in the same order on every machine
    try:
        measure(arguments)
    except (ValueError, OSError, PackageMissingError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--weights', help='of the network; without, only the other methods are measured')
    parser.add_argument(
        '--methods',
        nargs='+',
        choices=restoration_scores.METHODS,
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
        ValueError: nothing to measure on, or an option that cannot work.
        PackageMissingError: a method's package is not installed.
    """
    for option in ('bm3d_every', 'every', 'largest', 'quick'):
        if getattr(arguments, option) < 1:
            raise ValueError(f'--{option.replace("_", "-")} {getattr(arguments, option)}: must be 1 or more')
    selected = arguments.methods or [m for m in restoration_scores.METHODS if m != restoration_scores.BM3D]
    if restoration_scores.OURS in (arguments.methods or ()) and not arguments.weights:
        raise ValueError('--methods ours needs --weights')
    sets = collect_sets(arguments)
    restore = restoring(Restorer(arguments.weights, device=arguments.device)) if arguments.weights else None
    digest = file_digest(arguments.weights) if arguments.weights else ''
    cache = ScoreCache(arguments.out / 'scores.jsonl')
    about = {'metrics': 'PSNR and SSIM (7x7 window) on float RGB, centre crop to a multiple of 16'}
    if arguments.quick > 1:
        about['pictures'] = f'one in {arguments.quick} of each set'
    if arguments.weights:
        about['network'] = f'{Path(arguments.weights).name}, SHA-256 {digest}'
    scores = []
    for each in restoration_scores.measure_sets(
        sets,
        cache,
        selected,
        restore=restore,
        weights=digest,
        bm3d_every=arguments.bm3d_every,
        sheets=arguments.pictures,
        sheet_every=arguments.every,
    ):
        scores.append(each)
        restoration_report.write_report(arguments.out, scores, about)  # a run that is stopped leaves what it has
    print(restoration_report.markdown(scores, about))


def restoring(restorer: Restorer) -> Callable[..., np.ndarray]:
    """The restorer as a function of the picture and of the side of the tiles, None for the whole picture."""

    def restore(image: np.ndarray, tile: int | None = None) -> np.ndarray:
        restorer.tile = tile
        return restorer(image)

    return restore


def collect_sets(arguments: argparse.Namespace) -> list[benchmark_sets.BenchmarkSet]:
    """The sets that the arguments name.

    Raises:
        ValueError: none at all, a folder without pictures, or an option file without a recipe.
    """
    sets = benchmark_sets.noise_sets(arguments.cbsd68) if arguments.cbsd68 else []
    if arguments.rain100l:
        sets.append(benchmark_sets.rain_set(arguments.rain100l))
    named = [] if arguments.sets == ['all'] else arguments.sets
    if arguments.list:
        sets += listed(arguments)
    if (arguments.sets is None and not arguments.list) or arguments.sets:
        recipe = read_recipe(arguments.recipe)
        sets += benchmark_sets.recipe_sets(
            arguments.heldout, recipe, 'held-out photographs', arguments.largest, named or ()
        )
    if arguments.clean:
        clean = [{'degradation': benchmark_sets.CLEAN}]
        folder = Path(arguments.clean).resolve().name
        (harmed,) = benchmark_sets.recipe_sets(arguments.clean, clean, f'{folder}, not degraded')
        sets.append(replace(harmed, name=f'{benchmark_sets.CLEAN} {folder}'))
    if not sets:
        raise ValueError('nothing to measure on: name --cbsd68, --rain100l, --clean, --list or --sets')
    names = [each.name for each in sets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f'two sets are called {", ".join(twice)}; leave --cbsd68, --rain100l or --sets out')
    return [benchmark_list.every_nth(each, arguments.quick) for each in sets]


def listed(arguments: argparse.Namespace) -> list[benchmark_sets.BenchmarkSet]:
    """The sets of the list; those that are not there are named on the error stream.

    Raises:
        ValueError: a fault in the list, or a name of --listed that it does not have.
    """
    sets, absent = benchmark_list.listed_sets(arguments.list, arguments.root)
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
        ValueError: the file has none.
    """
    content = plain_yaml.load_file(path)
    try:
        return content['recipe'] if 'recipe' in content else content['datasets']['train']['recipe']
    except (KeyError, TypeError):
        raise ValueError(f'{path}: has no recipe and no datasets: train: recipe') from None


if __name__ == '__main__':
    sys.exit(main())
