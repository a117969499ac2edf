"""One file a command of ``mirage-basicsr``: its options and what it does. `mirage_ir.cli` has a line for each."""

from __future__ import annotations

import argparse

EXIT_CODES = 'Exit code: 0 done, 1 something failed or was found wrong, 2 wrong use or faulty options.'


def command_parser(name: str, text: str) -> argparse.ArgumentParser:
    """The parser of a command.

    Args:
        name: The command, as it is typed.
        text: What ``--help`` shows before the options: what the command does, and examples of calls.
    """
    return argparse.ArgumentParser(
        prog=f'mirage-basicsr {name}',
        allow_abbrev=False,  # a word means one thing, now and when options are added
        description=text,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
