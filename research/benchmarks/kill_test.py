"""Kill a small training run at random instants, resume it each time, and compare the end with an undisturbed run.

    python research/benchmarks/kill_test.py --kills 30 --workers 2 --backend lmdb

Prints one line per kill and the hashes of both runs; ends with exit code 1 if anything differs.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'tests' / 'mirage_ir'))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from kill_trial import MOMENTS, Kill, Result, collect, prepare, run_and_kill, run_to_end

from research.common import parser_of


def main(argv: list[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument('--kills', type=int, default=30, help='number of kills')
    parser.add_argument('--workers', type=int, default=0, help='DataLoader workers')
    parser.add_argument('--backend', choices=('disk', 'lmdb'), default='disk', help='where the images are kept')
    parser.add_argument('--iterations', type=int, default=120, help='length of the run')
    parser.add_argument('--every', type=int, default=4, help='iterations between checkpoints, and validations')
    parser.add_argument('--span', type=int, default=9, help='most iterations between a start and a kill')
    parser.add_argument('--startup', type=float, default=6, help='longest time to a kill while starting, seconds')
    parser.add_argument('--seed', type=int, default=0, help='seed of the instants')
    parser.add_argument('--json', type=Path, help='also write the log to this file')
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        expected, trials = try_out(Path(folder), args)
    print(f'\n{"":22} {"undisturbed":18} killed')
    for key, value in expected.hashes.items():
        print(f'{key:22} {value:18} {" ".join(trial.hashes[key] for trial in trials)}')
    differences = [name for trial in trials for name in expected.differences(trial)]
    print(f'logged losses: {len(expected.losses)} iterations; differences: {", ".join(differences) or "none"}')
    if args.json:
        content = {
            'kills': [vars(kill) for trial in trials for kill in trial.kills],
            'undisturbed': expected.hashes,
            'killed': [trial.hashes for trial in trials],
            'differences': differences,
        }
        args.json.write_text(json.dumps(content, indent=1) + '\n')
    return 1 if differences else 0


def try_out(folder: Path, args: argparse.Namespace) -> tuple[Result, list[Result]]:
    """An undisturbed run, and as many killed and resumed ones as the kills take."""
    changes = {
        'datasets': {'train': {'num_worker_per_gpu': args.workers, 'io_backend': {'type': args.backend}}},
        'train': {'total_iter': args.iterations},
        'logger': {'save_checkpoint_freq': args.every, 'keep_checkpoints': 3},
        'val': {'val_freq': args.every},
    }
    prepare(folder / 'undisturbed', **changes)
    begin = time.monotonic()
    run_to_end(folder / 'undisturbed')
    expected = collect(folder / 'undisturbed')
    print(f'undisturbed run: {args.iterations} iterations, {time.monotonic() - begin:.1f} s with start-up\n')
    print(f'{"kill":>4}  {"instant":9} {"after":>7}  {"iteration":>9}  states on disk, files left half written')
    rng = np.random.default_rng(args.seed)
    trials: list[Result] = []
    while (count := sum(len(trial.kills) for trial in trials)) < args.kills:
        root = folder / f'killed_{len(trials)}'
        prepare(root, **changes)
        kills = kill_again_and_again(root, count, rng, args)
        run_to_end(root, '--auto_resume')
        trials.append(collect(root))
        trials[-1].kills = kills
        print(f'      finished after {len(kills)} kills')
    return expected, trials


def kill_again_and_again(root: Path, count: int, rng: np.random.Generator, args: argparse.Namespace) -> list[Kill]:
    """Kills and resumes one run until it finishes, or there have been enough kills; `count` were before."""
    kills: list[Kill] = []
    while count + len(kills) < args.kills:
        moment = MOMENTS[(count + len(kills)) % len(MOMENTS)]
        kill = run_and_kill(root, moment, rng, span=args.span, startup=args.startup)
        if kill is None:
            break
        kills.append(kill)
        line = f'{count + len(kills):4d}  {kill.moment:9} {kill.seconds:6.2f}s  {kill.iteration:9d}  {kill.states}'
        print(line, *kill.half_written, flush=True)
    return kills


if __name__ == '__main__':
    raise SystemExit(main())
