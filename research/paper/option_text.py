"""Option files as text: nested values with a comment behind each that needs one, in BasicSR's manner of YAML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml


@dataclass(frozen=True)
class Note:
    """A value with the comment that stands behind it in the file."""

    value: Any
    comment: str


def render(comment: list[str], options: dict) -> str:
    """The file: comment lines, then the options, a blank line before every section."""
    lines = [*comment, '']
    for key, value in options.items():
        if isinstance(value, dict):
            lines.append('')
        lines += _entry(key, value, 0)
    return '\n'.join(lines) + '\n'


def _entry(key: str, value: Any, indent: int) -> list[str]:
    space, comment = ' ' * indent, ''
    if isinstance(value, Note):
        value, comment = value.value, f'  # {value.comment}'
    if isinstance(value, dict):
        inner = [line for k, v in value.items() for line in _entry(k, v, indent + 2)]
        flat = all(not isinstance(v, dict | list | Note) for v in value.values()) and len(value) == 1
        if flat:
            return [f'{space}{key}: {{{inner[0].strip()}}}']
        blank = [''] if key.startswith(('val_', 'test_')) and indent == 2 and not key.endswith('_channel') else []
        return [*blank, f'{space}{key}:', *inner]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        lines = [f'{space}{key}:']
        for item in value:
            inner = [line for k, v in item.items() for line in _entry(k, v, indent + 4)]
            lines += [f'{space}  - {inner[0].strip()}', *inner[1:]]
        return lines
    return [f'{space}{key}: {_scalar(value)}{comment}']


def _scalar(value: Any) -> str:
    if value is None:
        return '~'
    if isinstance(value, str):
        # Words that YAML 1.1 reads as true or false need quotation marks.
        return value if yaml.safe_load(value) == value else f"'{value}'"
    return yaml.safe_dump(value, default_flow_style=True).strip().removesuffix('...').strip()
