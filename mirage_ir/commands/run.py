"""``mirage-basicsr train`` and ``test``: BasicSR's runs, also of the launchers in `basicsr/`."""

from __future__ import annotations

import os
from collections.abc import Sequence

from . import command_parser


def train(argv: Sequence[str] | None = None, root: str | None = None) -> int:
    """Train a network by an option file, as `python basicsr/train.py` does in a checkout.

        mirage-basicsr train -opt train.yml
        mirage-basicsr train -opt train.yml --auto_resume
        mirage-basicsr train -opt train.yml --without dehaze deblur
        mirage-basicsr train -opt train.yml --force_yml train:total_iter=1000 name=short
        torchrun --nproc_per_node=4 -m mirage_ir train -opt train.yml --launcher pytorch

    The options are checked first; with faulty ones nothing is started. experiments/ lands in the current directory.
    """
    return _run('train', train.__doc__, argv, root)


def test(argv: Sequence[str] | None = None, root: str | None = None) -> int:
    """Test weights by an option file, as `python basicsr/test.py` does in a checkout.

        mirage-basicsr test -opt test.yml
        mirage-basicsr test -opt test.yml --force_yml path:pretrain_network_g=net_g_latest.pth

    The options are checked first; with faulty ones nothing is started. results/ lands in the current directory.
    """
    return _run('test', test.__doc__, argv, root)


def _run(name: str, text: str | None, argv: Sequence[str] | None, root: str | None) -> int:
    """Runs what a command line says.

    Args:
        name: 'train' or 'test'.
        text: What ``--help`` shows.
        argv: Without the program's name; that of this process if not given.
        root: Folder that receives ``experiments`` or ``results``; the current directory if not given.
    """
    from mirage_ir.link import use_linked_checkout

    use_linked_checkout()
    from mirage_ir.options.check import require_ok
    from mirage_ir.training import runner
    from mirage_ir.training.command_line import add_run_options

    parser = command_parser(name, text)
    add_run_options(parser, is_train=name == 'train')
    parser.parse_args(argv)  # for its help and its complaints; the run parses the same words
    getattr(runner, name)(root or os.getcwd(), argv, check=require_ok)
    return 0
