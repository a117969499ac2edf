"""Remove from a project what `mirage-basicsr link` wrote there, and nothing else.

mirage-basicsr unlink ~/BasicSR
"""

from __future__ import annotations

from collections.abc import Sequence

from . import command_parser, existing, failed, print_json


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1 if the folder cannot be unlinked."""
    from mirage_ir.link import LinkError, plan_of, unlink

    parser = command_parser('unlink', __doc__, as_json='what was removed')
    parser.add_argument('path', type=existing, help='the folder of the project')
    arguments = parser.parse_args(argv)
    try:
        removed = unlink(arguments.path)
    except LinkError as error:
        return failed(error)
    lines = plan_of(arguments.path).lines if removed else ()
    if arguments.json:
        print_json({'removed': removed, 'lines': lines})
        return 0
    for path in removed:
        print(f'removed {path}')
    if lines:
        print('lines that you added yourself are left:', *lines, sep='\n  ')
    if not removed:
        print(f'{arguments.path} was not linked')
    return 0
