"""Losses, learning rate and validation per task of one or several experiments.

    mirage-basicsr curves experiments/train_mirage_5deg
    mirage-basicsr curves experiments/a experiments/b --metrics psnr --out figures/a_and_b --formats pdf png

Beside the picture lies a CSV of all that was read.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from mirage_ir.measuring import curves as training_curves
from mirage_ir.measuring import plotting

from . import command_parser, existing, failed, print_json


def main(argv: list[str] | None = None) -> int:
    parser = command_parser('curves', __doc__, as_json='the files that were written')
    parser.add_argument('experiments', nargs='+', type=named, metavar='[NAME=]DIR', help='folders of training runs')
    parser.add_argument('--out', type=Path, default=Path('results/training_curves'), help='file name without ending')
    parser.add_argument('--source', choices=training_curves.SOURCES, default='auto', help='what losses are read from')
    parser.add_argument('--smoothing', type=float, default=0.9, help='weight of the past in the curves of losses')
    parser.add_argument('--metrics', nargs='+', default=[], help='metrics of the validation (default: all)')
    parser.add_argument('--formats', nargs='+', choices=plotting.FORMATS, default=['png'])
    arguments = parser.parse_args(argv)
    if not 0 <= arguments.smoothing < 1:
        parser.error(f'--smoothing {arguments.smoothing}: allowed are values from 0 to below 1')
    try:
        runs = [load(name, folder, arguments.source) for name, folder in arguments.experiments]
        figure = training_curves.draw(runs, arguments.smoothing, arguments.metrics)
        files = plotting.save(figure, arguments.out, arguments.formats)
        files.append(training_curves.write_figures(arguments.out.with_name(f'{arguments.out.name}.csv'), runs))
    except (ValueError, OSError) as error:
        return failed(error)
    if arguments.json:
        print_json({'files': files})
    else:
        print(*files, sep='\n')
    return 0


def named(text: str) -> tuple[str, Path]:
    """``NAME=DIR`` or ``DIR``: the name, perhaps empty, and a folder that is there."""
    name, sign, folder = text.partition('=')
    path = existing(folder if sign else text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f'{path}: not a folder; a training run leaves experiments/NAME')
    return (name if sign else ''), path


def load(name: str, folder: Path, source: str) -> training_curves.Run:
    """A run, under another name where one is given."""
    run = training_curves.load_run(folder, source)
    return replace(run, name=name) if name else run
