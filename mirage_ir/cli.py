"""The console command ``mirage-basicsr``: BasicSR's runners with MIRAGE registered, and tools around them."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from typing import Any, TextIO

from mirage_restore.machine import ending_when_unread, harmless

from .commands import EXIT_CODES

#: The commands in the order of their use: name, module of `mirage_ir.commands` (and in it `main`, or the function that
#: stands behind the point), and one line of meaning.
COMMANDS = (
    ('doctor', 'doctor', 'say what is installed and what will fail'),
    ('prepare', 'prepare', 'bring a downloaded data set into the layout that the option files read'),
    ('check-data', 'check_data', 'check data sets and folders: counts, pairs, sizes, leaks between training and test'),
    ('synthesize', 'synthesize', 'make pairs from clean photographs'),
    ('check', 'check', 'check option files and do nothing else'),
    ('train', 'run.train', 'train by an option file; experiments/ lands in the current directory'),
    ('test', 'run.test', 'test by an option file; results/ lands in the current directory'),
    ('evaluate', 'evaluate', 'measure pictures made by any program'),
    ('table', 'table', "the paper's tables with one's own results in them"),
    ('curves', 'curves', 'draw losses, learning rate and validation of runs'),
    ('convert', 'convert', 'turn a checkpoint into .pth or .safetensors'),
    ('export', 'export', 'write a network as ONNX or TorchScript'),
    ('cost', 'cost', 'parameters, multiply-adds, memory and time of a network'),
    ('link', 'link.link', 'make MIRAGE known to another project: BasicSR, HAT, NAFNet, KAIR and others'),
    ('unlink', 'link.unlink', 'remove from a project what link wrote there'),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: Command line without the program's name; that of the process if not given.

    Returns:
        Exit code: 0 done, 1 something failed or was found wrong, 2 wrong use or faulty options.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    with (
        ending_when_unread(),
        contextlib.redirect_stdout(_Readable(sys.stdout)),
        contextlib.redirect_stderr(_Readable(sys.stderr)),
    ):
        chosen = _parser().parse_args(words[:1]).command
        module, _, function = next(place for name, place, _ in COMMANDS if name == chosen).partition('.')
        return getattr(import_module(f'{__package__}.commands.{module}'), function or 'main')(words[1:])


class _Readable:
    """A stream on which names of files and data sets cannot do anything but be read."""

    # a progress bar below another moves up a line; that alone passes
    _CONTROL = re.compile(
        r'(?!\x1b\[A)[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\udc80-\udcff]'
    )

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(self._CONTROL.sub(lambda found: harmless(found[0]), text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _parser() -> argparse.ArgumentParser:
    width = max(len(name) for name, _, _ in COMMANDS)
    lines = '\n'.join(f'  {name:<{width}}  {text}' for name, _, text in COMMANDS)
    parser = argparse.ArgumentParser(
        prog='mirage-basicsr',
        usage='mirage-basicsr COMMAND ...',
        description=f'{__doc__}\n\ncommands:\n{lines}',
        epilog=f'`mirage-basicsr COMMAND --help` explains a command and shows examples.\n{EXIT_CODES}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('command', choices=[name for name, _, _ in COMMANDS], metavar='COMMAND', help=argparse.SUPPRESS)
    parser.add_argument('--version', action='version', version=f'mirage-ir {_version()}')
    return parser


def _version() -> str:
    try:
        return metadata.version('mirage-ir')
    except metadata.PackageNotFoundError:
        return '(not installed: a checkout)'
