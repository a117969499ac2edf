"""The console command ``mirage-basicsr``: BasicSR's runners with MIRAGE registered, and tools around them."""
from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand.

    Args:
        argv: Command line without the program's name; that of the process if not given.

    Returns:
        Exit code: 0 if all is well, 1 if a run or a link failed or the doctor found a fault, 2 for faulty options.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(words)
    return arguments.run(arguments, words[1:])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='mirage-basicsr', description=__doc__)
    commands = parser.add_subparsers(required=True, metavar='COMMAND')

    for name, run, text in (
        ('train', _train, 'train as `python basicsr/train.py` does; experiments/ lands in the current directory'),
        ('test', _test, 'test as `python basicsr/test.py` does; results/ lands in the current directory'),
    ):
        command = commands.add_parser(name, help=text, description=text)
        _add_option_file(command, nargs=None)
        command.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none', help='job launcher')
        command.add_argument('--local_rank', type=int, default=0, help='set by old launchers; not needed')
        command.add_argument('--debug', action='store_true', help='short run that validates and saves every 8 steps')
        if name == 'train':
            command.add_argument('--auto_resume', action='store_true', help='go on from the newest saved state')
            command.add_argument('--fresh', action='store_true', help='start over; an earlier run is kept, renamed')
        command.set_defaults(run=run)

    check = commands.add_parser('check', help='check option files and do nothing else',
                                description='Checks whole option files: keys, values, data, weights, disk space.')
    _add_option_file(check, nargs='+')
    check.add_argument('--json', action='store_true', help='print the problems as JSON')
    check.set_defaults(run=_check)

    for name, run, text in (('link', _link, 'make MIRAGE known to another BasicSR checkout'),
                            ('unlink', _unlink, 'remove from a checkout what link wrote there')):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument('path', help='the checkout')
        command.set_defaults(run=run)

    doctor = commands.add_parser('doctor', help='say what is installed and what will fail',
                                 description='Looks at this installation; exit code 1 if something will fail.')
    doctor.set_defaults(run=_doctor)
    return parser


def _add_option_file(command: argparse.ArgumentParser, nargs: str | None) -> None:
    command.add_argument('-opt', required=True, nargs=nargs, metavar='FILE', help='option YAML file')
    command.add_argument('--force_yml', nargs='+', metavar='KEY=VALUE', help='replace options, e.g. train:total_iter=9')


def _train(arguments: argparse.Namespace, words: list[str]) -> int:
    from mirage_ir.training.runner import train

    train(os.getcwd(), words)
    return 0


def _test(arguments: argparse.Namespace, words: list[str]) -> int:
    from mirage_ir.training.runner import test

    test(os.getcwd(), words)
    return 0


def _check(arguments: argparse.Namespace, words: list[str]) -> int:
    from mirage_ir.options.check import check_option_file, report

    found = {path: check_option_file(path, force_yml=arguments.force_yml) for path in arguments.opt}
    if arguments.json:
        print(json.dumps([asdict(problem) for problems in found.values() for problem in problems], indent=1))
    else:
        for path, problems in found.items():
            print(report(problems) if problems else f'{path}: no problems')
    return 2 if any(found.values()) else 0


def _link(arguments: argparse.Namespace, words: list[str]) -> int:
    from .link import LinkError, link

    try:
        written = link(arguments.path)
    except LinkError as error:
        print(error, file=sys.stderr)
        return 1
    for path in written:
        print(f'wrote {path}')
    print('MIRAGEArch can now be named in option files of that checkout, and with a registry all other names, too.\n'
          f'To take it back: mirage-basicsr unlink "{arguments.path}"')
    return 0


def _unlink(arguments: argparse.Namespace, words: list[str]) -> int:
    from .link import LinkError, unlink

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


def _doctor(arguments: argparse.Namespace, words: list[str]) -> int:
    from .doctor import main as doctor

    return doctor()
