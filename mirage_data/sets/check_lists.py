"""List files against the disk: names that are listed but absent, or there but not listed."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from mirage_data.files.image import IMAGE_EXTENSIONS


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

    A line names one or two images, relative to a folder or beginning with the folder's own name (`input/1.png`),
    perhaps followed by BasicSR's ` (h,w,c) level`. Empty lines and those that begin with # don't count.

    Args:
        file: the list.
        folders: the images of every folder the list may refer to, by the folder's path.

    Raises:
        ValueError: if the file cannot be read as text.
    """
    result = ListCheck(Path(file))
    try:
        text = result.file.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f'{file}: cannot be read as a list ({error})') from error
    known = {}
    for folder, names in folders.items():
        for name in names:
            known.setdefault(name, []).append(folder)
            known.setdefault(f'{Path(folder).name}/{name}', []).append(folder)
    seen: Counter[str] = Counter()
    referred: Counter[str] = Counter()
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith('#'):
            continue
        result.lines += 1
        for name in _names_in(line, known):
            key = _known_end(name, known)
            if key is None:
                result.absent.append(name)
            else:
                seen[key] += 1
                referred.update(known[key])
    result.repeated = [name for name, count in seen.items() if count > 1]
    # A list of pairs refers to both sides; one that names degraded images only leaves clean ones unlisted on purpose.
    folder = referred.most_common(1)[0][0] if referred else None
    listed = {name.removeprefix(f'{Path(folder).name}/') for name in seen} if folder else set()
    result.unlisted = [name for name in folders.get(folder, []) if name not in listed]
    return result


def _names_in(line: str, known: dict[str, list[str]]) -> list[str]:
    line = re.sub(r' \(\d+,\d+,\d+\).*$', '', line).replace('\\', '/')
    # Names may have blanks, so a name ends where an image's extension is followed by a separator.
    ending = f'(?:{"|".join(re.escape(end) for end in IMAGE_EXTENSIONS)})' + r'(?=[\s,]|$)'
    whole = _known_end(line, known)
    if whole is not None and not re.search(ending, line[: -len(whole)], re.IGNORECASE):
        return [line]
    pieces = re.findall(f'.+?{ending}', line, re.IGNORECASE)
    return [piece.strip(' ,\t') for piece in pieces] or [line]


def _known_end(name: str, known: dict[str, list[str]]) -> str | None:
    """The known end of a path, the longest first: `data/Train/rainy/rain-1.png` is known as `rainy/rain-1.png`."""
    parts = name.strip('/').split('/')
    for begin in range(len(parts)):
        end = '/'.join(parts[begin:])
        if end in known:
            return end
    return None
