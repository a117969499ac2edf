"""Remove from a project what `mirage-basicsr link` wrote there, and nothing else.

mirage-basicsr unlink ~/BasicSR
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from . import command_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1 if the folder cannot be unlinked."""
    from mirage_ir.link import LinkError, plan_of, unlink

    parser = command_parser('unlink', __doc__)
    parser.add_argument('path', help='the folder of the project')
    arguments = parser.parse_args(argv)
    try:
        removed = unlink(arguments.path)
    except LinkError as error:
        print(error, file=sys.stderr)
        return 1
    for path in removed:
        print(f'removed {path}')
    if removed and (lines := plan_of(arguments.path).lines):
        print('lines that you added yourself are left:', *lines, sep='\n  ')
    if not removed:
        print(f'{arguments.path} was not linked')
    return 0
