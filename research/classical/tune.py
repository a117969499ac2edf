"""Tune the classical methods that networks are measured against, on training photographs only.

    python research/classical/tune.py --photographs datasets/Bundled/train
    python research/classical/tune.py --tasks rain cdd11_low

Every task of the recipe gets the chain of methods with the highest mean PSNR on crops of a few photographs, spread
evenly over the folder, degraded as in training. The result is research/classical/tuned.yml; with --tasks the other
entries stay.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np
from tqdm import tqdm

from research.classical import PackageMissingError, described, tuned
from research.classical.pipeline import TUNED
from research.classical.tuning import save_tuned, slots_of, tune
from research.restoration import benchmark_sets
from research.restoration.measure import ROOT, read_recipe


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--photographs', default=str(ROOT / 'datasets' / 'Bundled' / 'train'))
    parser.add_argument('--recipe', default=str(ROOT / 'research' / 'restoration' / 'stages.yml'))
    parser.add_argument('--tasks', nargs='+', default=[], help='tune these alone')
    parser.add_argument('--missing', action='store_true', help='tune only what the file lacks')
    parser.add_argument('--count', type=int, default=8, help='photographs')
    parser.add_argument('--size', type=int, default=192, help='side of the crops in pixels')
    parser.add_argument('--out', type=Path, default=TUNED)
    arguments = parser.parse_args(argv)
    cv2.setNumThreads(1)
    try:
        run(arguments)
    except (ValueError, OSError, PackageMissingError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


def run(arguments: argparse.Namespace) -> None:
    """Tunes and writes the file after each task, so that a run that was stopped leaves what it has."""
    jobs = list(tasks(arguments))
    results = dict(tuned(arguments.out))
    known = [name for name, _ in jobs]
    absent = [name for name in arguments.tasks if name not in known]
    if absent:
        raise ValueError(f'--tasks {", ".join(absent)}: there are {", ".join(known)}')
    jobs = [job for job in jobs if not arguments.tasks or job[0] in arguments.tasks]
    jobs = [job for job in jobs if not arguments.missing or job[0] not in results]
    about = (
        'Classical methods, chosen for the highest mean PSNR on training photographs by research/classical/tune.py\n'
        f'from {arguments.count} crops of {arguments.size} pixels each. input_psnr and psnr: of those crops, in dB.'
    )
    for name, benchmark in tqdm(jobs, desc='tuning', unit='task'):
        places = np.linspace(0, len(benchmark) - 1, min(arguments.count, len(benchmark))).round().astype(int)
        results[name] = tune(slots_of(name), [benchmark.picture(int(place)) for place in places])
        chosen = results[name]
        tqdm.write(f'{name}: {chosen.input_psnr:.2f} -> {chosen.psnr:.2f} dB, {described(chosen.steps)}')
        save_tuned(arguments.out, results, about)


def tasks(arguments: argparse.Namespace) -> Iterator[tuple[str, benchmark_sets.BenchmarkSet]]:
    """Each task with the photographs it is tuned on."""
    for benchmark in benchmark_sets.noise_sets(arguments.photographs, largest=arguments.size):
        yield benchmark.task, benchmark
        yield f'{benchmark.task}_opencv', benchmark
    recipe = read_recipe(arguments.recipe)
    for benchmark in benchmark_sets.recipe_sets(arguments.photographs, recipe, '', arguments.size):
        if benchmark.task == benchmark_sets.CLEAN:
            continue
        yield benchmark.task, benchmark
        if benchmark.known:
            yield f'{benchmark.task}_oracle', benchmark


if __name__ == '__main__':
    sys.exit(main())
