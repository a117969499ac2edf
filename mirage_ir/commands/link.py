"""Make MIRAGE known to another BasicSR checkout: small files are put there, and nothing of it is edited.

    mirage-basicsr link ~/BasicSR

`mirage-basicsr unlink` takes them back.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from . import command_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1 if the folder cannot be linked."""
    from mirage_ir.link import LinkError, link

    parser = command_parser('link', __doc__)
    parser.add_argument('path', help='the checkout')
    arguments = parser.parse_args(argv)
    try:
        written = link(arguments.path)
    except LinkError as error:
        print(error, file=sys.stderr)
        return 1
    for path in written:
        print(f'wrote {path}')
    print(
        'MIRAGEArch can now be named in option files of that checkout, and with a registry all other names, too.\n'
        f'To take it back: mirage-basicsr unlink "{arguments.path}"'
    )
    return 0
