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
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import yaml
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mirage_ir.measuring.metrics import psnr
from research.classical.methods import TUNED, Step, Tuned, apply_steps, described, tuned
from research.common import ROOT, ended, parser_of
from research.restoration import sets
from research.restoration.measure import read_recipe
from research.restoration.sets import Picture

Slot = tuple[Step | None, ...]
"""Methods that can take one place in a chain; None leaves the place empty."""


def _grid(name: str, **ranges: Sequence[float]) -> Slot:
    return tuple({name: dict(zip(ranges, values))} for values in product(*ranges.values()))


def _noise(strengths: Sequence[float], **known: float) -> Slot:
    fixed = {key: [value] for key, value in known.items()}
    return (
        *_grid('nlm', **fixed, strength=strengths, patch=[3, 5]),
        *_grid('opencv_nlm', **fixed, strength=[2 * s for s in strengths]),
    )


_BLIND_NOISE = _noise([0.3, 0.4, 0.5, 0.7, 1.0, 1.4])
_MILD_NOISE: Slot = (None, *_grid('nlm', strength=[0.4, 0.6, 1.0], patch=[5]))
_LIGHT: Slot = (
    *_grid('gamma', target=[0.25, 0.3, 0.35, 0.4, 0.45]),
    *_grid('gain', target=[0.25, 0.3, 0.35, 0.4, 0.45]),
    *_grid('clahe', clip=[2, 4, 8]),
)
_CONTRAST: Slot = (None, *_grid('clahe', clip=[1, 2, 3]))
_HAZE = _grid('dark_channel_prior', omega=[0.5, 0.65, 0.8, 0.9, 0.95], floor=[0.1, 0.3], patch=[7, 15])
_STREAKS: Slot = (
    *_grid('median', size=[3, 5, 7]),
    *_grid('bright_median', size=[3, 5, 7, 11, 15, 21, 31], margin=[0, 0.03]),
    *_grid('guided', radius=[1, 2, 4], eps=[0.001, 0.003, 0.01]),
)
_BLOCKS: Slot = (
    *_grid('bilateral', sigma=[10, 15, 25, 40, 60, 90], radius=[1, 2]),
    *_grid('guided', radius=[1, 2, 4], eps=[0.0001, 0.0003, 0.001, 0.003]),
    *_grid('nlm', sigma=[3, 6, 9], strength=[0.4, 0.7], patch=[5]),
)
_SHARPEN = _grid('unsharp', radius=[1, 2, 3, 5], amount=[0.1, 0.25, 0.5, 1, 1.5])
_DECONVOLUTION: Slot = (
    *_grid('wiener', balance=[0.0003, 0.001, 0.003, 0.01, 0.03, 0.1]),
    *_grid('richardson_lucy', iterations=[5, 10, 30]),
)

#: Places of the chain of each task, in the order of application.
SLOTS: dict[str, tuple[Slot, ...]] = {
    'gaussian_noise': (_BLIND_NOISE,),
    'camera_noise': (_BLIND_NOISE,),
    'poisson_noise': (_BLIND_NOISE,),
    'rain': (_STREAKS,),
    'snow': (_STREAKS,),
    'haze': (_HAZE,),
    'low_light': (_MILD_NOISE, _LIGHT, _CONTRAST),
    'motion_blur': (_SHARPEN,),
    'motion_blur_oracle': (_DECONVOLUTION,),
    'defocus_blur': (_SHARPEN,),
    'defocus_blur_oracle': (_DECONVOLUTION,),
    'jpeg': (_BLOCKS,),
}
# CDD11 darkens (and adds noise), then adds rain, snow, haze: undone in the opposite order.
_PARTS = {'haze': (_HAZE,), 'snow': (_STREAKS,), 'rain': (_STREAKS,), 'low': (_MILD_NOISE, _LIGHT)}


def slots_of(task: str) -> tuple[Slot, ...]:
    """The places of a task's chain.

    Args:
        task: Of `SLOTS`, `cdd11_` and its parts, or `denoise_` and a noise level, which is then known to the method;
            with `_opencv` at the end only OpenCV's methods.

    Raises:
        ValueError: Another name.
    """
    if task in SLOTS:
        return SLOTS[task]
    first, _, rest = task.partition('_')
    parts = rest.split('_')
    if first == 'cdd11' and set(parts) <= set(_PARTS):
        thinning = 2 if len(parts) > 2 else 1  # three parts take long: every second of the candidates
        return tuple(slot[::thinning] for part, slots in _PARTS.items() if part in parts for slot in slots)
    if first == 'denoise' and parts[0].isdigit():
        slot = _noise([0.2, 0.25, 0.3, 0.35, 0.4, 0.5], sigma=float(parts[0]))
        return (tuple(step for step in slot if 'opencv_nlm' in step) if parts[1:] == ['opencv'] else slot,)
    raise ValueError(f'{task}: no classical method is known; there are {", ".join(SLOTS)}, cdd11_*, denoise_SIGMA')


def tune(slots: Sequence[Slot], pictures: Sequence[Picture]) -> Tuned:
    """Choose one method for each place so that the mean PSNR of the pictures is the highest.

    One place after the other, the rest as it is, until a whole round changes nothing; with one place this tries all.

    Args:
        slots: The places.
        pictures: Degraded crops of training photographs with their ground truth.
    """
    scores: dict[tuple[int, ...], float] = {}
    begun: dict[tuple[int, ...], list[np.ndarray]] = {(): [p.lq for p in pictures]}  # by the choice of the first places

    def restored(choice: tuple[int, ...]) -> list[np.ndarray]:
        if choice not in begun:
            step = slots[len(choice) - 1][choice[-1]]
            before = zip(restored(choice[:-1]), pictures)
            begun[choice] = [apply_steps(image, [step] if step else [], p.known) for image, p in before]
        return begun[choice]

    def score(choice: tuple[int, ...]) -> float:
        if choice not in scores:
            scores[choice] = _mean_psnr(restored(choice), pictures)
            del begun[choice]  # no other chain begins with a whole one
        return scores[choice]

    def chain(choice: tuple[int, ...]) -> tuple[Step, ...]:
        return tuple(step for slot, number in zip(slots, choice) if (step := slot[number]) is not None)

    best, before = tuple(len(slot) // 2 for slot in slots), None
    while best != before:
        before = best
        for place in range(len(slots)):
            best = max(_variations(best, place, len(slots[place])), key=score)
    return Tuned(chain(best), _mean_psnr([p.lq for p in pictures], pictures), score(best), len(scores))


def _mean_psnr(images: Sequence[np.ndarray], pictures: Sequence[Picture]) -> float:
    return float(np.mean([psnr(image, p.gt) for image, p in zip(images, pictures)]))


def _variations(choice: tuple[int, ...], place: int, options: int) -> Iterator[tuple[int, ...]]:
    return (choice[:place] + (number,) + choice[place + 1 :] for number in range(options))


def save_tuned(path: Path, results: dict[str, Tuned], about: str) -> None:
    """Write the chosen chains as YAML, with a comment on where they come from."""
    tasks = {
        task: {
            'steps': [{name: dict(values) for name, values in step.items()} for step in result.steps],
            'input_psnr': round(result.input_psnr, 2),
            'psnr': round(result.psnr, 2),
            'tried': result.tried,
        }
        for task, result in results.items()
    }
    text = yaml.safe_dump({'tasks': tasks}, sort_keys=False, default_flow_style=None, width=110)
    path.write_text(''.join(f'# {line}\n' for line in about.splitlines()) + text, encoding='utf-8')


def main(argv: list[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument('--photographs', default=str(ROOT / 'datasets' / 'Bundled' / 'train'))
    parser.add_argument('--recipe', default=str(ROOT / 'research' / 'restoration' / 'stages.yml'))
    parser.add_argument('--tasks', nargs='+', default=[], help='tune these alone')
    parser.add_argument('--missing', action='store_true', help='tune only what the file lacks')
    parser.add_argument('--count', type=int, default=8, help='photographs')
    parser.add_argument('--size', type=int, default=192, help='side of the crops in pixels')
    parser.add_argument('--out', type=Path, default=TUNED)
    arguments = parser.parse_args(argv)
    cv2.setNumThreads(1)
    return ended(lambda: run(arguments))


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


def tasks(arguments: argparse.Namespace) -> Iterator[tuple[str, sets.BenchmarkSet]]:
    """Each task with the photographs it is tuned on."""
    for benchmark in sets.noise_sets(arguments.photographs, largest=arguments.size):
        yield benchmark.task, benchmark
        yield f'{benchmark.task}_opencv', benchmark
    recipe = read_recipe(arguments.recipe)
    for benchmark in sets.recipe_sets(arguments.photographs, recipe, '', arguments.size):
        if benchmark.task == sets.CLEAN:
            continue
        yield benchmark.task, benchmark
        if benchmark.known:
            yield f'{benchmark.task}_oracle', benchmark


if __name__ == '__main__':
    sys.exit(main())
