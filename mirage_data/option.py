"""How a class declares the options that it reads: once, beside the code that reads them.

A class has a mapping ``OPTIONS`` from names to `Option`; `options_of` adds those of its bases. The check of option
files, its hints and the page of options are made from these declarations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """An option of a class: what a value of it must be, and what it does.

    Args:
        kind: 'text', 'flag', 'count' (a whole number, also written 5e3), 'number', 'numbers' (list), 'counts'
            (list), 'number or numbers', 'section', 'sections' (list of sections), 'any'.
        meaning: One line for the table of options.
        default: What stands for an absent key, as it is shown there.
        low: Smallest allowed number.
        high: Largest allowed number.
        open_low: Whether ``low`` itself is excluded.
        open_high: Whether ``high`` itself is.
        length: How many values a list must have; 0 for any number.
        choices: Allowed words, if only some are. For a numeric kind they are allowed beside the numbers.
        required: Whether the key must be there: False, True, or 'train' for training only.
        none: Whether ``~`` may stand for "not set"; by default not for numbers, with which somebody calculates.
    """

    kind: str
    meaning: str = ''
    default: Any = None
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    length: int = 0
    choices: tuple[Any, ...] = ()
    required: bool | str = False
    none: bool | None = None

    def fault(self, value: Any) -> str | None:
        """What was found in place of an allowed value, in words; None if ``value`` is allowed."""
        if value is None:
            allowed = not self.kind.startswith(('count', 'number')) if self.none is None else self.none
            return None if allowed and self.required is not True else 'found nothing'
        if self.choices and any(type(value) is type(c) and value == c for c in self.choices):
            return None
        if self._fits(value):
            return None
        return f'found {_shown(value)}'

    def allowed(self) -> str:
        """The allowed values in words."""
        words = ', '.join(str(c) for c in self.choices)
        if self.kind == 'text':
            return f'one of {words}' if words else 'a text'
        plain = {
            'flag': 'true or false',
            'section': 'a section of its own keys',
            'any': 'anything',
            'sections': 'a list of sections, each starting with a dash',
        }
        if self.kind in plain:
            return ' or '.join(part for part in (plain[self.kind], words) if part)
        noun = {
            'count': 'a whole number',
            'number': 'a number',
            'counts': 'a list of whole numbers',
            'numbers': 'a list of numbers',
            'number or numbers': 'a number or a list of numbers',
        }[self.kind]
        bounds = [f'({self.length} of them)'] if self.length else []
        if self.low > -math.inf:
            bounds.append(f'{"above" if self.open_low else "of at least"} {self.low:g}')
        if self.high < math.inf:
            joined = 'and ' if self.low > -math.inf else ''
            bounds.append(f'{joined}{"below" if self.open_high else "at most"} {self.high:g}')
        return ' '.join([noun, *bounds]) + (f', or {words}' if words else '')

    def _fits(self, value: Any) -> bool:
        if self.kind == 'any':
            return True
        if self.kind == 'text':
            return not self.choices and isinstance(value, str)
        if self.kind == 'flag':
            return isinstance(value, bool)
        if self.kind == 'section':
            return isinstance(value, Mapping)
        if self.kind == 'sections':
            return isinstance(value, (list, tuple)) and all(isinstance(v, Mapping) for v in value)
        whole = self.kind.startswith('count')
        if self.kind.endswith('s') and isinstance(value, (list, tuple)):
            right_length = not self.length or len(value) == self.length
            return right_length and all(self._is_number(v, whole) for v in value)
        return self.kind in ('count', 'number', 'number or numbers') and self._is_number(value, whole)

    def _is_number(self, value: Any, whole: bool) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return False
        if whole and value != int(value):
            return False
        above = value > self.low if self.open_low else value >= self.low
        return above and (value < self.high if self.open_high else value <= self.high)


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return f'{"the text " if isinstance(value, str) else ""}{text if len(text) < 60 else text[:57] + "..."}'


def options_of(kind: type) -> dict[str, Option]:
    """What a class and its bases declare; the most derived declaration of a name counts."""
    found: dict[str, Option] = {}
    for base in reversed(kind.__mro__):
        found.update(vars(base).get('OPTIONS', {}))
    return found
