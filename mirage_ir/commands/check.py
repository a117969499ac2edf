"""Check whole option files: keys, values, data, weights, disk space. Nothing is started or created.

mirage-basicsr check -opt train.yml
mirage-basicsr check -opt train.yml test.yml --json
mirage-basicsr check -opt train.yml --force_yml train:total_iter=1000
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from . import command_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 2 if a file has problems, as for a run with it."""
    from mirage_ir.options.check import check_option_file, report
    from mirage_ir.training.command_line import add_option_file, add_selection
    from mirage_ir.training.selection import Selection

    parser = command_parser('check', __doc__)
    add_option_file(parser, nargs='+')
    add_selection(parser)
    parser.add_argument('--json', action='store_true', help='print the problems as JSON')
    arguments = parser.parse_args(argv)
    selection = Selection(tuple(arguments.only), tuple(arguments.without))
    found = {
        path: check_option_file(path, force_yml=arguments.force_yml, selection=selection) for path in arguments.opt
    }
    if arguments.json:
        print(json.dumps([asdict(problem) for problems in found.values() for problem in problems], indent=1))
    else:
        for path, problems in found.items():
            print(report(problems) if problems else f'{path}: no problems')
    return 2 if any(found.values()) else 0
