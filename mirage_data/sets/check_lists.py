"""List files against the disk: names that are listed but absent, or there but not listed."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from mirage_data.files.image import IMAGE_EXTENSIONS
from mirage_data.files.lists import NameFinder, named_places, read_list


@dataclass
class ListCheck:
    """A list file beside the disk.

    Attributes:
        file: the list.
        lines: how many lines name images.
        absent: names that no folder has.
        repeated: names listed more than once.
        unlisted: images of the folders the list refers to that it does not name.
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
        file: the list.
        folders: the images of every folder the list may refer to, by the folder's path.

    Raises:
        ValueError: if the file cannot be read as text.
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
    folder = referred.most_common(1)[0][0] if referred else None
    result.unlisted = [name for place, name in enumerate(folders.get(folder, [])) if (folder, place) not in seen]
    return result


def _named(line: str, finders: dict[str, NameFinder]) -> tuple[list[tuple[str, int]], list[str]]:
    """The images of a line as (folder, place), and the names of those that no folder has.

    A name alone that several folders have, as both sides of a pair, stands for all of them.
    """
    alone = [(folder, finder.in_line(line)) for folder, finder in finders.items()]
    alone = [(folder, place) for folder, place in alone if place is not None]
    if alone:
        return alone, []
    for (one, first), (other, second) in product(finders.items(), repeat=2):
        pair = named_places(line, first, second)
        if pair is not None and one != other:
            return [(one, pair[0]), (other, pair[1])], []
    # Names may have blanks, so a name ends where an image's extension is followed by a separator.
    ending = f'(?:{"|".join(re.escape(end) for end in IMAGE_EXTENSIONS)})' + r'(?=[\s,;]|$)'
    text = re.sub(r' \(\d+,\d+,\d+\).*$', '', line)
    pieces = [piece.strip(' ,;\t') for piece in re.findall(f'.+?{ending}', text, re.IGNORECASE)] or [text]
    found, absent = [], []
    for piece in pieces:
        places = [(folder, finder(piece)) for folder, finder in finders.items()]
        places = [(folder, place) for folder, place in places if place is not None]
        found += places
        absent += [] if places else [piece]
    return found, absent or pieces[:1] * (not found)
