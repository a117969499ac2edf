"""``mirage-basicsr link`` and ``unlink``."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import Any

from . import command_parser, existing, failed, print_json


def link(argv: Sequence[str] | None = None) -> int:
    """Make MIRAGE known to another project: small files are put there, and nothing of it is edited.

        mirage-basicsr link ~/BasicSR

    Known are BasicSR, projects that call its pipeline (HAT, X-Restormer, Real-ESRGAN), its older forks (NAFNet,
    Restormer), traiNNer-redux, neosr, KAIR, SwinIR, PromptIR and AdaIR. Where files do not suffice, the lines to add
    are printed. `mirage-basicsr unlink` takes the files back.
    """
    arguments, plan = _carried_out('link', link.__doc__, 'what was written', argv)
    if plan is None:
        return 1
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


def unlink(argv: Sequence[str] | None = None) -> int:
    """Remove from a project what `mirage-basicsr link` wrote there, and nothing else.

    mirage-basicsr unlink ~/BasicSR
    """
    from mirage_ir.link import plan_of

    arguments, removed = _carried_out('unlink', unlink.__doc__, 'what was removed', argv)
    if removed is None:
        return 1
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


def _carried_out(
    name: str, text: str | None, as_json: str, argv: Sequence[str] | None
) -> tuple[argparse.Namespace, Any]:
    """The arguments, and what the function of that name in `mirage_ir.link` returns; None where it failed."""
    from mirage_ir import link as links

    parser = command_parser(name, text, as_json=as_json)
    parser.add_argument('path', type=existing, help='the folder of the project')
    arguments = parser.parse_args(argv)
    try:
        return arguments, getattr(links, name)(arguments.path)
    except links.LinkError as error:
        failed(error)
        return arguments, None
