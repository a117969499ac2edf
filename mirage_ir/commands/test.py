"""Test weights by an option file, as `python basicsr/test.py` does in a checkout.

    mirage-basicsr test -opt test.yml
    mirage-basicsr test -opt test.yml --force_yml path:pretrain_network_g=net_g_latest.pth

The options are checked first; with faulty ones nothing is started. results/ lands in the current directory.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from . import command_parser


def main(argv: Sequence[str] | None = None, root: str | None = None) -> int:
    """Test by a command line; arguments as for training."""
    from mirage_ir.checkout import use_linked_checkout

    use_linked_checkout()
    from mirage_ir.options.check import require_ok
    from mirage_ir.training import runner
    from mirage_ir.training.command_line import add_run_options

    parser = command_parser('test', __doc__)
    add_run_options(parser, is_train=False)
    parser.parse_args(argv)  # for its help and its complaints; the run parses the same words
    runner.test(root or os.getcwd(), argv, check=require_ok)
    return 0
