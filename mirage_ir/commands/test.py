"""Test weights by an option file, as `python basicsr/test.py` does in a checkout.

    mirage-basicsr test -opt test.yml
    mirage-basicsr test -opt test.yml --force_yml path:pretrain_network_g=net_g_latest.pth

The options are checked first; with faulty ones nothing is started. results/ lands in the current directory.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from . import command_parser
from .train import add_run_options


def main(argv: Sequence[str] | None = None, root: str | None = None) -> int:
    """Test by a command line; arguments as for training."""
    from mirage_ir.checkout import use_linked_checkout

    use_linked_checkout()
    from mirage_ir.measuring.protocols import PROTOCOLS
    from mirage_ir.options.check import require_ok
    from mirage_ir.training import runner

    parser = command_parser('test', __doc__)
    add_run_options(parser)
    parser.add_argument('--protocol', choices=tuple(PROTOCOLS), help='usual conventions of measuring: val:protocol')
    chosen = parser.parse_args(argv).protocol
    words = list(sys.argv[1:] if argv is None else argv)
    if chosen:
        words = _forced(words, f'val:protocol={chosen}')
    runner.test(root or os.getcwd(), words, check=require_ok)
    return 0


def _forced(words: list[str], entry: str) -> list[str]:
    """The words with ``--protocol`` as one more entry of ``--force_yml``."""
    kept: list[str] = []
    skip = False
    for word in words:
        if not skip and word.partition('=')[0] != '--protocol':
            kept.append(word)
        skip = word == '--protocol'
    if '--force_yml' not in kept:
        return [*kept, '--force_yml', entry]
    place = kept.index('--force_yml') + 1
    return [*kept[:place], entry, *kept[place:]]
