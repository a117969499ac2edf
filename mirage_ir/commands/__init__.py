"""The commands of ``mirage-basicsr``: options, and what is done. `mirage_ir.cli` has a line for each.

What cannot be meant (a file that is not there, an unknown name) is said by the parser, which ends with 2; what fails
while a command works is an error that ends it with 1.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import sys
from pathlib import Path

from mirage_ir.measuring.report import plain

EXIT_CODES = 'Exit code: 0 done, 1 something failed or was found wrong, 2 wrong use or faulty options.'


def command_parser(name: str, text: str | None, as_json: str = '') -> argparse.ArgumentParser:
    """The parser of a command.

    Args:
        name: The command, as it is typed.
        text: What ``--help`` shows before the options, a docstring: what the command does, and examples of calls.
        as_json: What a flag ``--json`` prints instead of text; without it there is no such flag.
    """
    parser = argparse.ArgumentParser(
        prog=f'mirage-basicsr {name}',
        allow_abbrev=False,  # a word means one thing, now and when options are added
        description=inspect.cleandoc(text or ''),
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if as_json:
        parser.add_argument('--json', action='store_true', help=f'print {as_json} as JSON')
    return parser


def existing(text: str) -> Path:
    """A file or folder of the command line, for argparse's ``type``; one that is not there is wrong use."""
    path = Path(os.path.expanduser(text))  # which leaves the name of an unknown user as it is
    try:
        present = bool(text) and path.exists()  # an empty one would be the current folder
    except OSError as error:
        raise argparse.ArgumentTypeError(f'{text}: {error.strerror}') from None
    if not present:
        raise argparse.ArgumentTypeError(f'{text}: no such file or folder')
    if not (path.is_file() or path.is_dir()):
        raise argparse.ArgumentTypeError(f'{text}: a pipe or device; needed is an ordinary file or folder')
    return path


def refuse_over(parser: argparse.ArgumentParser, output: Path | None, *inputs: str | Path) -> None:
    """Ends with wrong use where a command would write its output over one of its inputs."""
    for path in inputs:
        if output is not None and output.exists() and os.path.exists(path) and os.path.samefile(output, path):
            parser.error(f'{output}: is what is read; choose another file to write')


def failed(error: object) -> int:
    """Says on standard error why a command could not do its work; returns 1, the exit code for it."""
    print(f'error: {error}', file=sys.stderr)
    return 1


def json_text(content: object) -> str:
    """What a program is to read: infinity as the text "inf", what is no number as null, paths as text."""
    return json.dumps(plain(content), indent=1)


def print_json(content: object) -> None:
    """Prints `json_text`."""
    print(json_text(content))
