"""Losses, learning rate and validation per task of one or several experiments.

    mirage-basicsr curves experiments/train_mirage_5deg
    mirage-basicsr curves experiments/a experiments/b --metrics psnr --out figures/a_and_b --formats pdf png

Beside the picture lies a CSV of all that was read.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from mirage_ir.measuring import curves as training_curves
from mirage_ir.measuring import plotting

from . import command_parser


def main(argv: list[str] | None = None) -> int:
    parser = command_parser('curves', __doc__)
    parser.add_argument('experiments', nargs='+', metavar='[NAME=]DIR', help='folders of training runs')
    parser.add_argument('--out', type=Path, default=Path('results/training_curves'), help='file name without ending')
    parser.add_argument('--source', choices=training_curves.SOURCES, default='auto', help='what losses are read from')
    parser.add_argument('--smoothing', type=float, default=0.9, help='weight of the past in the curves of losses')
    parser.add_argument('--metrics', nargs='+', default=[], help='metrics of the validation (default: all)')
    parser.add_argument('--formats', nargs='+', choices=plotting.FORMATS, default=['png'])
    arguments = parser.parse_args(argv)
    try:
        runs = [load(text, arguments.source) for text in arguments.experiments]
        figure = training_curves.draw(runs, arguments.smoothing, arguments.metrics)
        files = plotting.save(figure, arguments.out, arguments.formats)
        files.append(training_curves.write_csv(arguments.out.with_name(f'{arguments.out.name}.csv'), runs))
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    for file in files:
        print(file)
    return 0


def load(text: str, source: str) -> training_curves.Run:
    """A run, under another name where one is given."""
    name, sign, folder = text.partition('=')
    run = training_curves.load_run(folder if sign else text, source)
    return replace(run, name=name) if sign else run
