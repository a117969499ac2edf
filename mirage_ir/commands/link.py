"""Make MIRAGE known to another project: small files are put there, and nothing of it is edited.

    mirage-basicsr link ~/BasicSR

Known are BasicSR, projects that call its pipeline (HAT, X-Restormer, Real-ESRGAN), its older forks (NAFNet, Restormer),
traiNNer-redux, neosr, KAIR, SwinIR, PromptIR and AdaIR. Where files do not suffice, the lines to add are printed.
`mirage-basicsr unlink` takes the files back.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from . import command_parser, existing, failed, print_json


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1 if the folder cannot be linked."""
    from mirage_ir.link import LinkError, link

    parser = command_parser('link', __doc__, as_json='what was written')
    parser.add_argument('path', type=existing, help='the folder of the project')
    arguments = parser.parse_args(argv)
    try:
        plan = link(arguments.path)
    except LinkError as error:
        return failed(error)
    if arguments.json:
        print_json({'files': list(plan.files), 'known': plan.known, 'lines': plan.lines})
        return 0
    for path in plan.files:
        print(f'wrote {path}')
    print(f'known there now: {plan.known}')
    if plan.lines:
        print('still to be written by you:', *plan.lines, sep='\n  ')
    print(f'To take it back: mirage-basicsr unlink {shlex.quote(str(arguments.path))}')
    return 0
