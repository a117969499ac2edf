"""Reading an option file so that every complaint can name its line.

BasicSR turns the YAML into dictionaries and forgets where each key stood. Here the file is composed into YAML's
node tree first, which keeps the positions, and then constructed with the safe constructor: reading a file in order
to check it must never run code from it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mirage_data.files import plain_yaml
from mirage_data.files.image_headers import harmless
from mirage_ir.training.command_line import force, resolve

KeyPath = tuple[Any, ...]
#: Begins a further line of a problem.
FURTHER = '\n      '
_OTHER_BASE = re.compile(r'[-+]?(?:0[0-7_]*[1-7][0-7_]*|[\d_]+(?::[\d_]+)+(?:\.[\d_]*)?)')


@dataclass(frozen=True)
class Problem:
    """One thing in an option file that would stop or silently spoil a run.

    Args:
        file: The option file, or ``--force_yml`` for a value given on the command line.
        line: Line in that file, counted from 1; 0 where the problem has no line.
        key: The key with its sections, joined by colons as BasicSR's ``--force_yml`` writes them.
        message: What was found.
        cure: What to do about it.
    """

    file: str
    line: int
    key: str
    message: str
    cure: str

    def __str__(self) -> str:
        place = f'{self.file}:{self.line}' if self.line else self.file
        indented_cure = self.cure.replace('\n', FURTHER)
        said = FURTHER.join(map(harmless, f'{place}: {self.key or "(file)"}: {self.message}'.split(FURTHER)))
        return f'{said}\n   -> {indented_cure}'


class OptionFile:
    """The values of one option file, the line of every key, and the problems found so far.

    Args:
        path: The YAML file.
        force_yml: Values that replace those of the file, each as ``section:key=value``.
        root: Folder that will hold ``experiments`` and ``results``; the current directory if not given.

    Attributes:
        data: The options as nested dictionaries; empty if the file could not be read.
        problems: List of `Problem`, to which the checks append through `add`.
        unquoted: Every value that YAML read as text although it stands without quotation marks.
    """

    def __init__(
        self, path: str | Path, force_yml: Sequence[str] | None = None, root: str | Path | None = None
    ) -> None:
        self.path = str(path)
        self.root = Path(root or Path.cwd())
        self.problems: list[Problem] = []
        self.data: dict = {}
        self._lines: dict[KeyPath, int] = {}
        self._forced: set[KeyPath] = set()
        self.unquoted: dict[KeyPath, str] = {}
        self.other_base: dict[KeyPath, tuple[str, Any]] = {}
        root = self._compose()
        if root is None:
            return
        if self._walk(root, ()):
            try:
                self.data = plain_yaml.construct(root)
            except plain_yaml.YamlError as error:
                self.problems.append(Problem(self.path, error.line, '', error.reason, 'write a plain value'))
                return
            for entry in force_yml or ():
                self._force(entry)

    def line(self, key: KeyPath) -> int:
        """Line of a key, or of the innermost section around it that the file contains."""
        while key and key not in self._lines:
            key = key[:-1]
        return self._lines.get(key, 0)

    def add(self, key: KeyPath, message: str, cure: str) -> None:
        """Records a problem at ``key``, a tuple of section names and list positions."""
        forced = any(key[:n] in self._forced for n in range(1, len(key) + 1))
        file, line = ('--force_yml', 0) if forced else (self.path, self.line(key))
        self.problems.append(Problem(file, line, ':'.join(str(part) for part in key), message, cure))

    def section(self, *key: Any) -> dict:
        """The mapping at ``key``, or an empty one where it is absent or something else."""
        found: Any = self.data
        for part in key:
            inside = isinstance(found, dict) and part in found or isinstance(found, list) and isinstance(part, int)
            found = found[part] if inside else None
        return found if isinstance(found, dict) else {}

    def locate(self, value: str) -> Path:
        """The file or folder that a path in the options stands for."""
        return Path(resolve(value, str(self.root)))

    def keep_items(self, key: KeyPath, positions: Sequence[int]) -> None:
        """Lets the lines of a list follow its items, of which only those at ``positions`` are left in `data`."""
        new = {old: place for place, old in enumerate(positions)}
        size = len(key)
        for table in (self._lines, self.unquoted, self.other_base):
            inside = {k: v for k, v in table.items() if k[:size] == key and len(k) > size}
            for known in inside:
                del table[known]
            table.update({(*key, new[k[size]], *k[size + 1 :]): v for k, v in inside.items() if k[size] in new})

    def _compose(self) -> yaml.MappingNode | None:
        path = Path(self.path)
        if not path.is_file():
            siblings = [str(p) for p in path.parent.glob('*.y*ml')] if path.parent.is_dir() else []
            found = 'is a folder' if path.is_dir() else 'is no ordinary file' if path.exists() else 'does not exist'
            self.add(
                (),
                f'the option file {found}',
                (not path.exists() and nearest_hint(str(path), siblings))
                or 'give the path of a YAML file, relative to the current directory or absolute',
            )
            return None
        try:
            node = plain_yaml.compose(path.read_text(encoding='utf-8'))
        except plain_yaml.YamlError as error:
            cure = 'indent with spaces, never with tabs' if "'\\t'" in error.reason else 'correct the YAML at this line'
            self.problems.append(Problem(self.path, error.line, '', f'not valid YAML: {error.reason}', cure))
            return None
        except UnicodeDecodeError as error:
            self.add((), f'not a UTF-8 text file ({error.reason})', 'save it as UTF-8')
            return None
        if not isinstance(node, yaml.MappingNode):
            self.add(
                (),
                'no options in it' if node is None else 'the top level is not a list of `key: value` lines',
                'write the sections name, model_type, num_gpu, datasets, network_g, path, train, val and logger',
            )
            return None
        return node

    def _walk(self, node: yaml.Node, key: KeyPath) -> bool:
        """Notes the line of every key below ``node``.

        Returns:
            Whether plain values can be made of it.
        """
        if ':python/' in node.tag and not node.tag.endswith('python/tuple'):
            self.add(key, f'the tag {node.tag} makes Python code run while the file is read', 'write a plain value')
            return False
        if isinstance(node, yaml.SequenceNode):
            good = True
            for position, item in enumerate(node.value):
                self._lines[(*key, position)] = item.start_mark.line + 1
                good &= self._walk(item, (*key, position))
            return good
        if isinstance(node, yaml.MappingNode):
            return self._walk_mapping(node, key)
        if node.tag.endswith(':str') and not node.style:
            self.unquoted[key] = node.value
        if node.tag.endswith((':int', ':float')) and not node.style and _OTHER_BASE.fullmatch(node.value):
            self.other_base[key] = node.value, plain_yaml.construct(node)
        return True

    def _walk_mapping(self, node: yaml.MappingNode, key: KeyPath) -> bool:
        first: dict[str, yaml.Node] = {}
        good = True
        for name_node, value in node.value:
            if not isinstance(name_node, yaml.ScalarNode):
                line, found = name_node.start_mark.line + 1, 'a list or mapping stands where a key belongs'
                self.problems.append(Problem(self.path, line, '', found, 'write `key: value`'))
                return False
            merge = name_node.tag.endswith(':merge')
            try:
                name = '<<' if merge else plain_yaml.construct(name_node)
            except plain_yaml.YamlError as error:
                self.problems.append(Problem(self.path, error.line, '', error.reason, 'write `key: value`'))
                return False
            here = (*key, name)
            line = name_node.start_mark.line + 1
            if merge:
                self._lines[here] = line
                self.add(here, "BasicSR's reader does not merge sections with `<<`", 'write the keys out')
                continue
            if name in first and yaml.serialize(first[name]) != yaml.serialize(value):
                self.add(
                    here,
                    f'given again in line {line} with another value; only the last would count',
                    f'delete line {self._lines[here]} or line {line}',
                )
            first[name] = value
            self._lines[here] = line
            good &= self._walk(value, here)
        return good

    def _force(self, entry: str) -> None:
        """Puts one ``section:key=value`` of the command line in place."""
        try:
            key = force(self.data, entry)
        except ValueError as error:
            cure = 'write section:key=value, e.g. train:total_iter=1000; items of a list go by their position from 0'
            self.problems.append(Problem('--force_yml', 0, entry.partition('=')[0], str(error), cure))
            return
        self._forced.add(key)
        for table in (self.unquoted, self.other_base):
            for known in [k for k in table if k[: len(key)] == key]:
                del table[known]


def nearest(name: Any, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name most like ``name`` (case ignored), or None if none is like it."""
    by_lower = {str(k).lower(): str(k) for k in known}
    match = difflib.get_close_matches(str(name).lower(), list(by_lower), n=1, cutoff=cutoff)
    return by_lower[match[0]] if match else None


def nearest_hint(name: Any, known: Iterable[str]) -> str:
    """'did you mean ...?', or an empty string."""
    found = nearest(name, known)
    return f'did you mean `{found}`?' if found else ''
