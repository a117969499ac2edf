"""Remove from a BasicSR checkout what `mirage-basicsr link` wrote there, and nothing else.

    mirage-basicsr unlink ~/BasicSR
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from . import command_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1 if the folder cannot be unlinked."""
    from mirage_ir.link import LinkError, unlink

    parser = command_parser('unlink', __doc__)
    parser.add_argument('path', help='the checkout')
    arguments = parser.parse_args(argv)
    try:
        removed = unlink(arguments.path)
    except LinkError as error:
        print(error, file=sys.stderr)
        return 1
    for path in removed:
        print(f'removed {path}')
    if not removed:
        print(f'{arguments.path} was not linked')
    return 0
