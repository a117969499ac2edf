"""What a run was asked for: its command line and the options in effect."""

from __future__ import annotations

import argparse
import ast
import os
import re
import time
from collections import OrderedDict
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mirage_data.files import plain_yaml
from mirage_data.files.write import write_file
from mirage_ir.measuring.protocols import PROTOCOLS

from .selection import Selection

_TITLE = 'Options in effect'


def add_option_file(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """``-opt`` and ``--force_yml``."""
    parser.add_argument('-opt', '--opt', required=True, nargs=nargs, metavar='FILE', help='option YAML file')
    parser.add_argument(
        '--force_yml',
        nargs='+',
        action='extend',
        metavar='KEY=VALUE',
        default=[],
        help='replace options, e.g. train:total_iter=9',
    )


def add_selection(parser: argparse.ArgumentParser) -> None:
    """``--only`` and ``--without``, see `mirage_ir.training.selection`."""
    for flag, text in (('only', 'take these tasks or data sets alone'), ('without', 'leave these out')):
        parser.add_argument(
            f'--{flag}',
            nargs='+',
            action='extend',
            metavar='TASK',
            default=[],
            help=f'{text}: sources, validation and tests; total_iter follows',
        )


def add_run_options(parser: argparse.ArgumentParser, is_train: bool) -> None:
    """The options of a run. Nothing else reads the command line: BasicSR is given the words of `basicsr_words`."""
    add_option_file(parser)
    add_selection(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by old launchers; not needed')
    if is_train:
        parser.add_argument('--debug', action='store_true', help='validate and save every 8 steps, as debug_NAME')
        parser.add_argument('--auto_resume', action='store_true', help='go on from the newest saved state')
        parser.add_argument('--fresh', action='store_true', help='start over; an earlier run is kept, renamed')
    else:
        parser.add_argument('--debug', action='store_true', help='results under debug_NAME')
        parser.add_argument('--protocol', choices=tuple(PROTOCOLS), help='usual conventions of measuring: val:protocol')


def basicsr_words(option_file: str, given: argparse.Namespace) -> list[str]:
    """A command line for BasicSR's own parser, which allows abbreviations and runs ``--force_yml`` through `eval`.

    Args:
        option_file: The options in effect.
        given: Of a parser with `add_run_options`.
    """
    words = ['-opt', option_file, '--launcher', given.launcher, '--local_rank', str(given.local_rank)]
    words += ['--debug'] if given.debug else []
    return words + (['--auto_resume'] if getattr(given, 'auto_resume', False) and not given.fresh else [])


class _OrderedLoader(plain_yaml.PlainLoader):
    """Sections as BasicSR's options have them."""


_OrderedLoader.add_constructor(
    'tag:yaml.org,2002:map', lambda loader, node: OrderedDict(loader.construct_pairs(node, deep=True))
)


def safe_ordered_yaml(original: Any) -> Any:
    """BasicSR's ``ordered_yaml`` with a loader that runs no code.

    Args:
        original: BasicSR's function, which gives its loader and dumper.
    """
    return lambda: (_OrderedLoader, original()[1])


@dataclass
class CommandLine:
    """A command of training or testing.

    Args:
        text: The words as they were given.
        fresh: Whether ``--fresh`` was among them.
        selection: What ``--only`` and ``--without`` ask for.
        option_file: The option file.
        options: The options in effect as the text of an option file.
        forced: The values of ``--force_yml``.
        selected: Whether the options in effect are without what the selection leaves out.
    """

    text: str
    fresh: bool = False
    selection: Selection = Selection()
    option_file: str = ''
    options: str = ''
    forced: Sequence[str] = ()
    selected: bool = False

    def select(self, opt: MutableMapping) -> None:
        """Take out of the options what is left out, unless those in effect are without it already; say what was done.

        Args:
            opt: Options as BasicSR parsed them; ``left_out`` is added for the reader of the log.

        Raises:
            SelectionError: The selection does not fit the options.
        """
        if not self.selected and (notes := self.selection.apply(opt, self.forced)):
            opt['left_out'] = '; '.join(notes)
        if self.selection and opt.get('left_out') and opt['rank'] == 0:
            print(opt['left_out'].replace('; ', '\n'), flush=True)

    def names_seed(self) -> bool:
        """Whether the options give ``manual_seed``."""
        options = plain_yaml.load(self.options)
        return isinstance(options, dict) and options.get('manual_seed') is not None

    def keep_options(self, folder: str, drawn_seed: int | None = None) -> None:
        """Keep the options in effect, under the name of the option file, in the folder of the run.

        A file that is there is replaced, unless it says the same.

        Args:
            folder: It must exist.
            drawn_seed: The seed of a run whose options name none.
        """
        text = self.options
        if drawn_seed is not None:
            text = re.sub(r'(?m)^manual_seed:.*\n?', '', text).rstrip('\n')
            text += f'\nmanual_seed: {drawn_seed}  # drawn for this run\n'
        target = Path(folder) / Path(self.option_file).name
        if target.is_file() and target.read_text(encoding='utf-8').endswith(text):
            return
        head = f'# {_TITLE}, {time.asctime()}\n# {self.text}\n\n'
        write_file(target, head + text)


_NUMBER = re.compile(r'[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?')
_WORDS = {'~': None, 'none': None, 'null': None, 'true': True, 'false': False}


def value_of(text: str) -> Any:
    """The value that a word of the command line stands for.

    Args:
        text: ``~`` or ``none``, ``true``, ``false``, a number with or without exponent, a list ``[...]``, a section
            ``{...}``; anything else is a text.

    Raises:
        ValueError: A list or section that is not closed, or cannot be read.
    """
    text = text.strip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    plain = text.removeprefix('!!float').strip()
    if _NUMBER.fullmatch(plain):
        return int(plain) if plain == text and plain.lstrip('+-').isdigit() else float(plain)
    if not text.startswith(('[', '{')):
        return text
    try:
        return ast.literal_eval(text)  # with Python's quotes and words, as BasicSR reads it
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass
    try:
        return _numbers(plain_yaml.load(text))
    except plain_yaml.YamlError:
        raise ValueError(f'{text[:80]} is neither a list nor a section: write [1, 2] or {{key: value}}') from None


def _numbers(value: Any) -> Any:
    """YAML takes ``1e-5`` for a text, and a list of the command line need not follow it there."""
    if isinstance(value, dict):
        return {key: _numbers(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_numbers(part) for part in value]
    return value_of(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value


def force(options: MutableMapping, entry: str) -> tuple[Any, ...]:
    """Put one value of the command line into options.

    Args:
        options: As read from YAML; changed in place.
        entry: ``section:key=value``; an item of a list goes by its position, ``datasets:train:sources:0:sigma=25``.

    Returns:
        The key's path.

    Raises:
        ValueError: It has no ``=``, a section that is not there, a position that the list does not have, or a value
            that cannot be read.
    """
    name, equals, text = entry.partition('=')
    if not equals:
        raise ValueError('no `=value`')
    value = value_of(text)
    place: Any = options
    path: list[Any] = []
    keys = [part.strip() for part in name.strip().split(':')]
    for depth, word in enumerate(keys):
        key: int | str = word
        if isinstance(place, list):
            if not word.isdigit() or int(word) >= len(place):
                there = f'{":".join(keys[:depth])} is a list of {len(place)}'
                raise ValueError(f'{there}: {word!r} is none of its positions, 0 to {len(place) - 1}')
            key = int(word)
        elif not isinstance(place, MutableMapping) or (depth < len(keys) - 1 and key not in place):
            raise ValueError('no such section in the option file')
        path.append(key)
        if depth < len(keys) - 1:
            place = place[key]
    place[path[-1]] = value
    return tuple(path)


PATH_KEYS = ('dataroot', 'meta_info', 'pretrain_network', 'resume_state')
"""An option whose name begins with one of these holds a path (or a list of paths) that is read."""


def resolve(value: str, root: str) -> str:
    """Find a file or folder named in an option file, whatever directory the run was started from.

    Args:
        value: The path as written; ``~`` stands for the home directory.
        root: The project's root folder.

    Returns:
        `value` as it is where it is absolute or exists from the current directory, as in BasicSR; otherwise the
        absolute path below `root` if that exists; otherwise `value`.
    """
    value = os.path.expanduser(value)
    if os.path.isabs(value) or os.path.exists(value):
        return value
    below_root = os.path.join(os.path.abspath(root), value)
    return below_root if os.path.exists(below_root) else value


def resolve_all(options: MutableMapping, root: str) -> None:
    """Apply `resolve` in place to every path in `options`, at any depth.

    Args:
        options: Options as read from YAML.
        root: The project's root folder.
    """
    for key, value in options.items():
        if isinstance(value, MutableMapping):
            resolve_all(value, root)
        elif isinstance(value, list):
            for part in value:
                if isinstance(part, MutableMapping):
                    resolve_all(part, root)
            if str(key).startswith(PATH_KEYS):
                options[key] = [resolve(part, root) if isinstance(part, str) else part for part in value]
        elif isinstance(value, str) and str(key).startswith(PATH_KEYS):
            options[key] = resolve(value, root)
