"""YAML as plain values: no code runs, no alias unfolds without end, and every fault has its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

MOST_VALUES, MOST_LEVELS = 100_000, 50  # of a file, aliases written out; option files have some hundred and six
MOST_CHARACTERS = 1_000_000  # some ten seconds of reading


class YamlError(ValueError):
    """A text that is no YAML, or not of plain values.

    Attributes:
        line: Where, counted from 1; 0 if unknown.
        reason: What is wrong there.
    """

    def __init__(self, reason: str, line: int = 0, name: str = '') -> None:
        place = f'{name}:{line}' if line else name
        super().__init__(f'{place}: not valid YAML: {reason}' if place else f'not valid YAML: {reason}')
        self.line, self.reason = line, reason


class PlainLoader(yaml.SafeLoader):
    """YAML's safe loader, and tuples, which BasicSR's own loader also reads. BasicSR's would run code from the file.

    It stops at a bracket too deep: what a scanner does per bracket grows with their number, to seconds for 5,000.
    """

    def fetch_flow_collection_start(self, kind: type) -> None:
        if self.flow_level >= MOST_LEVELS:
            raise yaml.scanner.ScannerError(None, None, f'nested deeper than {MOST_LEVELS} levels', self.get_mark())
        super().fetch_flow_collection_start(kind)


PlainLoader.add_constructor(
    'tag:yaml.org,2002:python/tuple', lambda loader, node: tuple(loader.construct_sequence(node, deep=True))
)


def compose(text: str, name: str = '') -> yaml.Node | None:
    """The node tree of a text, which knows the line of every value; None for a text without values.

    Raises:
        YamlError: It is no YAML, is longer than `MOST_CHARACTERS`, nested deeper than `MOST_LEVELS`, or has more
            than `MOST_VALUES` values.
    """
    if len(text) > MOST_CHARACTERS:
        raise YamlError(f'{len(text):,} characters; at most {MOST_CHARACTERS:,} are read', 0, name)
    try:
        root = yaml.compose(text, Loader=PlainLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, 'problem_mark', None)
        raise YamlError(getattr(error, 'problem', None) or str(error), mark.line + 1 if mark else 0, name) from error
    except RecursionError:
        raise YamlError(f'nested deeper than {MOST_LEVELS} levels', 0, name) from None
    if root is not None:
        _count(root, 1, {}, set(), name)
    return root


def _count(node: yaml.Node, level: int, known: dict[int, tuple[int, int]], around: set[int], name: str) -> tuple:
    """How many values there are in a node, its aliases written out, and on how many levels."""
    line = node.start_mark.line + 1
    if level > MOST_LEVELS:
        raise YamlError(f'nested deeper than {MOST_LEVELS} levels', line, name)
    if id(node) in around:
        raise YamlError('a section that contains itself: write it out', line, name)
    if id(node) not in known:
        parts = () if isinstance(node, yaml.ScalarNode) else node.value
        values, levels = 1, 1
        for part in parts:
            for one in part if isinstance(part, tuple) else (part,):
                inside, below = _count(one, level + 1, known, around | {id(node)}, name)
                values, levels = values + inside, max(levels, 1 + below)
        known[id(node)] = values, levels
    values, levels = known[id(node)]
    if values > MOST_VALUES:
        raise YamlError(f'its aliases unfold to more than {MOST_VALUES:,} values', line, name)
    if level + levels - 1 > MOST_LEVELS:
        raise YamlError(f'nested deeper than {MOST_LEVELS} levels', line, name)
    return values, levels


def construct(node: yaml.Node | None, name: str = '') -> Any:
    """The plain values of a node.

    Raises:
        YamlError: A value whose tag is not known, or that is not of the kind its tag says.
    """
    if node is None:
        return None
    try:
        # A value at a time where one is wrong: its line then is known.
        return PlainLoader('').construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, 'problem_mark', None)
        raise YamlError(getattr(error, 'problem', None) or str(error), mark.line + 1 if mark else 0, name) from error
    except Exception as error:  # PyYAML's constructors: whatever int(), datetime() and the like raise
        faulty = _faulty(node) or node
        said = f'{faulty.tag.rpartition(":")[2]} {str(faulty.value)[:40]!r} cannot be read ({error})'
        raise YamlError(said, faulty.start_mark.line + 1, name) from error


def _faulty(node: yaml.Node) -> yaml.Node | None:
    """The innermost first node that cannot be constructed."""
    if not isinstance(node, yaml.ScalarNode):
        for part in node.value:
            for one in part if isinstance(part, tuple) else (part,):
                if found := _faulty(one):
                    return found
    try:
        PlainLoader('').construct_document(node)
    except Exception:
        return node
    return None


def load(text: str, name: str = '') -> Any:
    """The plain values of a text.

    Args:
        text: YAML.
        name: The file, for messages.

    Raises:
        YamlError: See `compose` and `construct`.
    """
    return construct(compose(text, name), name)


def load_file(path: str | Path) -> Any:
    """The plain values of a file.

    Raises:
        YamlError: As `load`, or it is no UTF-8 text.
        OSError: It cannot be read.
    """
    if not Path(path).is_file() and Path(path).exists():
        raise YamlError('no ordinary file', 0, str(path))
    try:
        text = Path(path).read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise YamlError(f'no UTF-8 text ({error.reason})', 0, str(path)) from error
    return load(text, str(path))
