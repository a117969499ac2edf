"""The pairs of a data set, as two columns of numbers, from the names in two stores or from a list file.

And list files against the disk: names that are listed but absent, or there but not listed.
"""

from __future__ import annotations

import codecs
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path, PurePosixPath

import numpy as np

from mirage_data.files.image import IMAGE_EXTENSIONS
from mirage_data.files.lmdb import key_of
from mirage_data.files.pairing import PairingError, composed, match_indices, same_file_test
from mirage_data.files.store import FolderStore, LmdbStore

logger = logging.getLogger('basicsr.mirage_data')  # that of the data sets

Store = FolderStore | LmdbStore
SAID_BY_CHECK = 'said_by_check'  # attribute of a warning's record: the check of an option file passes it on


def _some(names: Sequence[str]) -> str:
    return ', '.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '')


def pairs_of_names(lq: Store, gt: Store, rule: str | dict) -> np.ndarray:
    """Pairs every degraded image with its clean one by a rule of `mirage_data.files.pairing`.

    Returns:
        (n, 2) int32: positions in the two stores.

    Raises:
        PairingError: If nothing fits, or a name is ambiguous.
    """
    lq_names, gt_names = list(lq.names), list(gt.names)
    same_file = same_file_test(lq.root, gt.root)
    pairs, leftover_lq, leftover_gt = match_indices(lq_names, gt_names, rule, same_file)
    if not pairs:
        if same_file and same_file('x', 'x'):
            raise PairingError(
                f'dataroot_lq and dataroot_gt are one folder, {lq.root}, and by the rule {rule!r} none of its images '
                f'(e.g. {lq_names[0]}) has a partner there; the option pairing says which names belong together, such '
                "as {lq: '(.+)_real', gt: '\\1_mean'}"
            )
        raise PairingError(
            f'no image of {lq.root} (e.g. {lq_names[0]}) has a partner in {gt.root} (e.g. {gt_names[0]}) '
            f'by the rule {rule!r}; check the folders and the option pairing'
        )
    for root, names, leftover in ((lq.root, lq_names, leftover_lq), (gt.root, gt_names, leftover_gt)):
        if leftover:
            alone = _some([names[place] for place in leftover])
            logger.warning('%s: %d images without a partner are left out: %s', root, len(leftover), alone)
    return np.array(pairs, np.int32)


def pairs_of_list(file: str | Path, lq: Store, gt: Store, rule: str | dict, *, measured: bool = False) -> np.ndarray:
    """Reads the pairs that a list file names, as AllWeather and others come with.

    A line is one of: a degraded name and a clean one, separated by a tab, a comma or blanks; a degraded name alone,
    whose partner the rule finds; a line of BasicSR's `meta_info.txt`. Names are relative to their root, or begin with
    the root's own folder (`input/1.png`). Empty lines and lines that begin with # don't count.

    Args:
        file: The list.
        lq: Degraded images.
        gt: Clean ones.
        rule: As in `pairs_of_names`.
        measured: Figures are made of these pairs, so a degraded image that is listed again is warned of.

    Returns:
        (n, 2) int32 in the order of the list. Lines that name absent images are left out with a warning.

    Raises:
        PairingError: If the file cannot be read, or none of its images is there.
    """
    lines = _numbered_lines(file)
    finders = (NameFinder(lq.root, lq.names), NameFinder(gt.root, gt.names))
    same_file = same_file_test(lq.root, gt.root)
    partner = dict(match_indices(list(lq.names), list(gt.names), rule, same_file)[0])
    pairs, absent, named_in = [], [], []
    for number, line in lines:
        named = named_places(line, *finders)
        pair = (named[0], partner.get(named[0])) if named and named[1] is None else named
        if pair is None or pair[1] is None:
            absent.append(line)
        elif same_file and same_file(lq.names[pair[0]], gt.names[pair[1]]):
            raise PairingError(f'{file}: {line!r} pairs {lq.path(pair[0])} with itself; name its clean image')
        else:
            pairs.append(pair)
            named_in.append((pair[0], number, line))
    if not pairs:
        example = f' (e.g. {lines[0][1]!r})' if lines else ''
        raise PairingError(f'{file}: none of its {len(lines)} lines{example} names images of {lq.root} and {gt.root}')
    if absent:
        logger.warning('%s: %d lines name images that are absent, left out: %s', file, len(absent), _some(absent))
    if measured:
        _warn_of_repeats(file, named_in)
    return np.array(pairs, np.int32)


def places_of_list(file: str | Path, store: Store, *, measured: bool = False) -> np.ndarray:
    """Reads a list of clean images: one name a line, otherwise as in `pairs_of_list`.

    Args:
        file: The list.
        store: The images.
        measured: Figures are made of these images, so one that is listed again is warned of.

    Returns:
        (n,) int64 positions in the store, in the order of the list. Absent images are left out with a warning.

    Raises:
        PairingError: If the file cannot be read, or none of its images is there.
    """
    finder = NameFinder(store.root, store.names)
    lines = _numbered_lines(file)
    places = [finder.in_line(line) for _, line in lines]
    absent = [line for (_, line), place in zip(lines, places) if place is None]
    if len(absent) == len(lines):
        raise PairingError(f'{file}: none of its {len(lines)} lines names an image of {store.root}')
    if absent:
        logger.warning('%s: %d lines name images that are absent, left out: %s', file, len(absent), _some(absent))
    found = [(place, *line) for place, line in zip(places, lines) if place is not None]
    if measured:
        _warn_of_repeats(file, found)
    return np.array([place for place, _, _ in found])


def _warn_of_repeats(file: str | Path, named: Iterable[tuple[int, int, str]]) -> None:
    """Warns of images that several lines name.

    Args:
        file: The list.
        named: Place of an image, number of the line that names it, the line.
    """
    first: dict[int, int] = {}
    repeats = [
        f'{line!r} (lines {first[place]} and {number})'
        for place, number, line in named
        if first.setdefault(place, number) != number
    ]
    if repeats:
        logger.warning(
            '%s: %d lines name an image that an earlier line names, so that it counts repeatedly in the figures: %s; '
            'remove the later lines',
            file,
            len(repeats),
            _some(repeats),
            extra={SAID_BY_CHECK: True},
        )


def read_list(file: str | Path) -> list[str]:
    """The lines of a list file that name something: not the empty ones, nor those that begin with #.

    Texts in UTF-8 and UTF-16 (which Windows' editors and shells write) are read, with or without a mark of order.

    Raises:
        PairingError: If the file cannot be read, or is no such text.
    """
    return [line for _, line in _numbered_lines(file)]


def _numbered_lines(file: str | Path) -> list[tuple[int, str]]:
    """The lines of `read_list`, each with its number in the file, counted from 1."""
    try:
        data = Path(file).read_bytes()
        text = data.decode(_encoding(data))
    except (OSError, UnicodeDecodeError) as error:
        cure = '; save it as UTF-8' if isinstance(error, UnicodeDecodeError) else ''
        raise PairingError(f'meta_info_file: {file}: cannot be read as a list ({error}){cure}') from error
    lines = enumerate(map(str.strip, text.splitlines()), 1)
    return [(number, line) for number, line in lines if line and not line.startswith('#')]


def listed_name(name: str) -> str:
    """A name as a line of a list; in quotation marks where it would be read as a comment, or lose a blank."""
    return f'"{name}"' if name.startswith('#') or name != name.strip() else name


def _encoding(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return 'utf-16'
    if b'\0' in data[:200]:  # letters of the Latin alphabet take two bytes, one of them 0
        return 'utf-16-le' if data[1:200:2].count(0) >= data[:200:2].count(0) else 'utf-16-be'
    return 'utf-8-sig'


def named_places(line: str, first: NameFinder, second: NameFinder) -> tuple[int, int | None] | None:
    """What a line names: an image of `first` alone (then the other is None), or one of `first` and one of `second`.

    This is the one reading of list files: data sets and `check-data` ask it.

    Returns:
        Places, or None if they are not there.
    """
    alone = first.in_line(line)
    if alone is not None:
        return alone, None
    for gap in re.finditer(r'\s*[\t,;]\s*|\s+', line):  # names may have blanks: take the split that names two images
        one, other = first(line[: gap.start()]), second(line[gap.end() :])
        if one is not None and other is not None:
            return one, other
    return None


class NameFinder:
    """Finds an image of a folder or database by what a list calls it.

    A list's name is relative to the folder, or has the folder's own name in front of it and anything before
    (`data/Train/rainy/1.png`), or is its whole path; the ending may be left out. An accented letter in one piece and
    one taken apart, as macOS does it, are the same.

    Args:
        root: The folder or database.
        names: Of its images, relative to it.
    """

    def __init__(self, root: str | Path, names: Sequence[str]) -> None:
        self._places = {name: place for place, name in enumerate(names)}
        for place, name in enumerate(names):  # exact names come first
            self._places.setdefault(key_of(name), place)
        for place, name in enumerate(names):
            if not name.isascii():
                self._places.setdefault(composed(name), place)
                self._places.setdefault(composed(key_of(name)), place)
        self._root = str(root).replace('\\', '/').rstrip('/')
        self._folder = PurePosixPath(self._root).name.removesuffix('.lmdb')

    def in_line(self, line: str) -> int | None:
        """The image that a line of one name calls, perhaps followed by BasicSR's ` (h,w,c) level`."""
        alone = self(line)
        return self(re.sub(r' \(\d+,\d+,\d+\).*$', '', line)) if alone is None else alone

    def __call__(self, name: str) -> int | None:
        name = name.strip('"').replace('\\', '/')
        path = name if name.startswith('/') else ''
        name = name.removeprefix('./').lstrip('/')
        found = self._place(name)
        parts = name.split('/')
        for depth, part in enumerate(parts[:-1]):
            if found is None and part == self._folder:
                found = self._place('/'.join(parts[depth + 1 :]))
        if found is None and path:  # the folder may be known here by a link of another name
            below = os.path.relpath(os.path.realpath(path), os.path.realpath(self._root))
            found = self._place(below.replace(os.sep, '/'))
        return found

    def _place(self, name: str) -> int | None:
        place = self._places.get(name)
        return self._places.get(composed(name)) if place is None else place


@dataclass
class ListCheck:
    """A list file beside the disk.

    Attributes:
        file: The list.
        lines: How many lines name images.
        absent: Names that no folder has.
        repeated: Names listed more than once.
        unlisted: Images of the folders the list refers to that it does not name.
    """

    file: Path
    lines: int = 0
    absent: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)


def check_list(file: str | Path, folders: dict[str, list[str]]) -> ListCheck:
    """Compares a list file with folders.

    Lines are read as the data sets read them, see `mirage_data.files.lists.named_places`.

    Args:
        file: The list.
        folders: The images of every folder the list may refer to, by the folder's path.

    Raises:
        ValueError: If the file cannot be read as text.
    """
    result = ListCheck(Path(file))
    finders = {folder: NameFinder(folder, names) for folder, names in folders.items()}
    seen: set[tuple[str, int]] = set()
    first: Counter[tuple[str, int]] = Counter()
    referred: Counter[str] = Counter()
    for line in read_list(file):
        result.lines += 1
        found, absent = _named(line, finders)
        result.absent += absent
        seen.update(found)
        first.update(found[:1])  # a clean image may be the partner of many
        referred.update(folder for folder, _ in found)
    result.repeated = [folders[folder][place] for (folder, place), count in first.items() if count > 1]
    # A list of pairs refers to both sides; one that names degraded images only leaves clean ones unlisted on purpose.
    folder = referred.most_common(1)[0][0] if referred else ''
    result.unlisted = [name for place, name in enumerate(folders.get(folder, [])) if (folder, place) not in seen]
    return result


def _named(line: str, finders: dict[str, NameFinder]) -> tuple[list[tuple[str, int]], list[str]]:
    """The images of a line as (folder, place), and the names of those that no folder has.

    A name alone that several folders have, as both sides of a pair, stands for all of them.
    """
    named = [(folder, finder.in_line(line)) for folder, finder in finders.items()]
    alone = [(folder, place) for folder, place in named if place is not None]
    if alone:
        return alone, []
    for (one, first), (other, second) in product(finders.items(), repeat=2):
        pair = named_places(line, first, second)
        if pair is not None and pair[1] is not None and one != other:
            return [(one, pair[0]), (other, pair[1])], []
    # Names may have blanks, so a name ends where an image's extension is followed by a separator.
    ending = f'(?:{"|".join(re.escape(end) for end in IMAGE_EXTENSIONS)})' + r'(?=[\s,;]|$)'
    text = re.sub(r' \(\d+,\d+,\d+\).*$', '', line)
    pieces = [piece.strip(' ,;\t') for piece in re.findall(f'.+?{ending}', text, re.IGNORECASE)] or [text]
    found: list[tuple[str, int]] = []
    absent: list[str] = []
    for piece in pieces:
        named = [(folder, finder(piece)) for folder, finder in finders.items()]
        places = [(folder, place) for folder, place in named if place is not None]
        found += places
        absent += [] if places else [piece]
    return found, absent or pieces[:1] * (not found)
