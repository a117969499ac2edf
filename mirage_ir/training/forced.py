"""``--force_yml``: values of the command line in place of those of an option file.

BasicSR's own reader takes ``1e-5`` and ``-1`` for texts, runs lists through `eval`, splits at every ``=`` and cannot
name an item of a list.
"""

from __future__ import annotations

import ast
import re
from collections.abc import MutableMapping
from typing import Any

import yaml

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
    except (ValueError, SyntaxError):
        pass
    try:
        return _numbers(yaml.safe_load(text))
    except yaml.YAMLError:
        raise ValueError(f'{text} is neither a list nor a section: write [1, 2] or {{key: value}}') from None


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
    for depth, key in enumerate(keys):
        if isinstance(place, list):
            if not key.isdigit() or int(key) >= len(place):
                there = f'{":".join(keys[:depth])} is a list of {len(place)}'
                raise ValueError(f'{there}: {key!r} is none of its positions, 0 to {len(place) - 1}')
            key = int(key)
        elif not isinstance(place, MutableMapping) or (depth < len(keys) - 1 and key not in place):
            raise ValueError('no such section in the option file')
        path.append(key)
        if depth < len(keys) - 1:
            place = place[key]
    place[path[-1]] = value
    return tuple(path)
