"""Train a network by an option file, as `python basicsr/train.py` does in a checkout.

    mirage-basicsr train -opt train.yml
    mirage-basicsr train -opt train.yml --auto_resume
    mirage-basicsr train -opt train.yml --without dehaze deblur
    mirage-basicsr train -opt train.yml --force_yml train:total_iter=1000 name=short
    torchrun --nproc_per_node=4 -m mirage_ir train -opt train.yml --launcher pytorch

The options are checked first; with faulty ones nothing is started. experiments/ lands in the current directory.
"""

from __future__ import annotations

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
    from mirage_ir.training.command_line import add_run_options

    parser = command_parser('train', __doc__)
    add_run_options(parser, is_train=True)
    parser.parse_args(argv)  # for its help and its complaints; the run parses the same words
    runner.train(root or os.getcwd(), argv, check=require_ok)
    return 0
