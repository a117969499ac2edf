"""Distill measured noise profiles of cameras into the small table that `raw_noise` draws from.

    python research/restoration/distill_camera_noise.py noiseprofiles.json

The input is darktable's `noiseprofiles.json` (https://www.darktable.org, GPL-3+): for each camera and ISO the variance
of white-balanced linear values in [0, 1] is a * signal + b in each channel. Only quantiles of these measurements are
kept.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from research.common import ROOT, parser_of

TABLE = ROOT / 'mirage_data' / 'degradations' / 'camera_noise.json'
STOPS = range(10)  # ISO 100 to 51,200
SHOT_LEVELS = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)
READ_LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)


def profiles(file: str) -> np.ndarray:
    """``(n, 7)``: stops above ISO 100, a of the three channels, b of the three channels."""
    makers = json.loads(Path(file).read_text(encoding='utf-8'))['noiseprofiles']
    rows = [
        [np.log2(profile['iso'] / 100), *profile['a'], *profile['b']]
        for maker in makers
        for model in maker['models']
        for profile in model['profiles']
        if profile.get('iso')
    ]
    return np.array(rows)


def distilled(rows: np.ndarray) -> dict:
    """The table; see its `meaning`."""
    shot, read = [], []
    for stop in STOPS:
        near = rows[np.abs(rows[:, 0] - stop) <= 0.5]
        green = near[:, 2]
        shot.append([_short(value) for value in np.quantile(green, SHOT_LEVELS)])
        # the cameras with about that a: their b, none below zero, as a deviation
        spans = [np.quantile(green, np.clip([level - 0.2, level + 0.2], 0, 1)) for level in SHOT_LEVELS]
        groups = [near[(green >= low) & (green <= high), 5] for low, high in spans]
        read.append(
            [[_short(value) for value in np.sqrt(np.maximum(np.quantile(group, READ_LEVELS), 0))] for group in groups]
        )
    good = rows[(rows[:, 1:4] > 0).all(axis=1)]
    ratios = {
        name: [_short(value) for value in np.quantile(good[:, column] / good[:, 2], READ_LEVELS)]
        for name, column in (('red', 1), ('blue', 3))
    }
    return {
        'source': 'quantiles over the noise profiles that darktable 4.2.1 ships (noiseprofiles.json)',
        'meaning': 'variance of green = shot * signal + read ** 2 in white-balanced linear light; rows by ISO, '
        'columns by quantile of shot, below them quantiles of read; red and blue: quantiles of their shot over green',
        'profiles': len(rows),
        'iso': [100 * 2**stop for stop in STOPS],
        'shot_levels': list(SHOT_LEVELS),
        'read_levels': list(READ_LEVELS),
        'shot': shot,
        'read': read,
        **ratios,
    }


def _short(value: float) -> float:
    return float(f'{value:.3g}')


def main(argv: list[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument('profiles', help="darktable's noiseprofiles.json")
    parser.add_argument('--output', default=str(TABLE), help='the table (default: %(default)s)')
    options = parser.parse_args(argv)
    table = distilled(profiles(options.profiles))
    Path(options.output).write_text(json.dumps(table, indent=1) + '\n', encoding='utf-8')
    print(f'{options.output}: {table["profiles"]} profiles distilled')
    return 0


if __name__ == '__main__':
    sys.exit(main())
