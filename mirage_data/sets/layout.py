"""A layout: where one part of a data set lies in a download, as regular expressions."""

from __future__ import annotations

import re
from dataclasses import dataclass

OURS = "the authors', PromptIR, AdaIR"
PUBLISHER = 'publisher'
OTHERS = 'other projects'
N = r'(?P<name>[^/]+)'


@dataclass(frozen=True)
class Layout:
    """Where one part of a data set lies in a download.

    Attributes:
        origin: who hands it out like this.
        gt: pattern of the clean files.
        lq: pattern of the degraded ones; None for sets without.
        split: 'train' or 'test'.
        degradation: as in the table's part.
        gt_name: stem of the file in our layout, made of the pattern's groups.
        lq_name: the same for degraded files.
        exclude: pattern of paths that do not count although they fit.
        halves: where one picture holds both sides, the half ('left', 'right') that is the degraded and the clean one.
        inner: whether folders above the source do not count.
    """

    origin: str
    split: str
    gt: str
    lq: str | None = None
    degradation: str = ''
    gt_name: str = '{name}'
    lq_name: str = '{name}'
    exclude: str = ''
    halves: tuple[str, str] | None = None
    inner: bool = False

    def in_words(self) -> str:
        """The patterns for people: `<...>` may be absent, `{...|...}` is a choice, NAME and N are anything."""
        return ' with '.join(_in_words(pattern) for pattern in (self.lq, self.gt) if pattern)


def _in_words(pattern: str) -> str:
    for sign, word in (('[/_]', '/'), ('[-_]', '-'), ('[ _-]', ' '), ('C?', '<C>'), ('-?', '-'), ('_?', '_')):
        pattern = pattern.replace(sign, word)
    found = 1
    while found:  # groups, from the inside out
        pattern, found = re.subn(r'\(\?(P<\w+>|!|:)((?:\[[^\]]*\]|[^()\[\]])*)\)(\??)', _group_in_words, pattern)
    for sign, word in (('[^/]*', '*'), ('[^/]+', '*'), (r'\d+', 'N')):
        pattern = pattern.replace(sign, word)
    return pattern


def _group_in_words(match: re.Match) -> str:
    kind, inner, optional = match.groups()
    if kind == '!':
        return ''
    shown = inner if kind == ':' else kind[2:-1].upper()
    return f'<{shown}>' if optional else f'{{{shown}}}' if '|' in shown else shown


def both(origin: str, split: str, folder: str, lq: str, gt: str, name: str = N, **more: str | bool) -> Layout:
    """A layout with degraded and clean images in two folders of one parent."""
    return Layout(origin, split, lq=f'{folder}/(?:{lq})/{name}', gt=f'{folder}/(?:{gt})/{name}', **more)
