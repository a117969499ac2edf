"""Train a network by an option file, as `python basicsr/train.py` does in a checkout.

    mirage-basicsr train -opt train.yml
    mirage-basicsr train -opt train.yml --auto_resume
    mirage-basicsr train -opt train.yml --without dehaze deblur
    mirage-basicsr train -opt train.yml --force_yml train:total_iter=1000 name=short
    torchrun --nproc_per_node=4 -m mirage_ir train -opt train.yml --launcher pytorch

The options are checked first; with faulty ones nothing is started. experiments/ lands in the current directory.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from . import command_parser


def main(argv: Sequence[str] | None = None, root: str | None = None) -> int:
    """Train by a command line.

    Args:
        argv: Without the program's name; that of this process if not given.
        root: Folder that receives ``experiments``; the current directory if not given.
    """
    from mirage_ir.checkout import use_linked_checkout

    use_linked_checkout()
    from mirage_ir.options.check import require_ok
    from mirage_ir.training import runner

    parser = command_parser('train', __doc__)
    add_run_options(parser)
    parser.add_argument('--auto_resume', action='store_true', help='go on from the newest saved state')
    parser.add_argument('--fresh', action='store_true', help='start over; an earlier run is kept, renamed')
    words = checked_words(parser, argv)
    runner.train(root or os.getcwd(), words, check=require_ok)
    return 0


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """The options of training and testing, which BasicSR reads again from the same words."""
    add_option_file(parser, nargs=None)
    add_selection(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by old launchers; not needed')
    parser.add_argument('--debug', action='store_true', help='short run that validates and saves every 8 steps')


def add_selection(parser: argparse.ArgumentParser) -> None:
    """``--only`` and ``--without``, which `mirage_ir.training.selection` reads."""
    for flag, text in (('only', 'take these tasks or data sets alone'), ('without', 'leave these out')):
        parser.add_argument(
            f'--{flag}',
            nargs='+',
            metavar='TASK',
            default=[],
            help=f'{text}: sources, validation and tests; total_iter follows',
        )


def add_option_file(parser: argparse.ArgumentParser, nargs: str | None) -> None:
    """``-opt`` and ``--force_yml``."""
    parser.add_argument('-opt', required=True, nargs=nargs, metavar='FILE', help='option YAML file')
    parser.add_argument('--force_yml', nargs='+', metavar='KEY=VALUE', help='replace options, e.g. train:total_iter=9')


def checked_words(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> list[str] | None:
    """The words as they are, after the parser had nothing to say against them."""
    parser.parse_args(argv)
    return None if argv is None else list(argv)
