"""Lines for a terminal of any encoding, in which file names cannot do anything but be read."""

from __future__ import annotations

import sys
from typing import TextIO

__all__ = ['harmless', 'say']


def harmless(text: str) -> str:
    """Text without control characters: in a file name they would move the cursor, or worse."""
    return ''.join(c if c.isprintable() or c == ' ' else _escaped(c) for c in text)


def say(text: str, stream: TextIO | None = None) -> None:
    """Print a line, escaping what the stream's encoding does not have; above a progress bar if there is one."""
    stream = stream or sys.stdout
    line = harmless(text)
    encoding = getattr(stream, 'encoding', None) or 'utf-8'
    line = line.encode(encoding, 'backslashreplace').decode(encoding)
    if 'tqdm' in sys.modules:
        from tqdm import tqdm

        tqdm.write(line, file=stream)
    else:
        print(line, file=stream, flush=True)


def _escaped(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that is no text, as Python keeps it in file names
        return f'\\x{number - 0xDC00:02x}'
    return f'\\x{number:02x}' if number < 256 else f'\\u{number:04x}' if number < 65536 else f'\\U{number:08x}'
