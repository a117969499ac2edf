"""Brings a downloaded data set into our layout by linking, copying or unpacking its files.

One whole file after the other, so that it may be interrupted and started again.
"""

from __future__ import annotations

import filecmp
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mirage_data.files.image import ImageError, decode_rgb, read_rgb
from mirage_data.files.write import alone_in, clear_remains, write_image, written_aside
from mirage_data.sets.prepare_plan import Plan
from mirage_data.sets.source_tree import Entry, SourceError, open_entries


@dataclass
class Outcome:
    """What was done: 'linked', 'copied', 'unpacked', 'there already' and 'replaced' files; and the conflicts."""

    done: Counter = field(default_factory=Counter)
    conflicts: list[str] = field(default_factory=list)


def carry_out(
    todo: Plan,
    root: str | Path,
    *,
    link: bool = True,
    overwrite: bool = False,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
) -> Outcome:
    """Fills our folders.

    Args:
        todo: What goes where.
        root: The data root; made if needed.
        link: Link files that lie in a folder instead of copying them (files of archives are always unpacked).
        overwrite: Replace files that are there already with other content.
        progress: Wraps what is iterated over, e.g. with a bar.

    Raises:
        SourceError: If a file cannot be written (a full disk), or an archive turns out to be damaged.
    """
    root = Path(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(f'{root}: cannot be made ({error.strerror}); choose another --root') from error
    with alone_in(root):
        return _carry_out(todo, root, link, overwrite, progress)


def _carry_out(todo: Plan, root: Path, link: bool, overwrite: bool, progress: Callable) -> Outcome:
    outcome = Outcome()
    for folder in {(root / target).parent for target in todo.files}:
        clear_remains(folder)
    pending: list[tuple[Entry, Path]] = []
    for target, entry in todo.files.items():
        place = root / target
        state = _state(place, entry, link, overwrite)
        if state == 'same':
            outcome.done['there already'] += 1
        elif state == 'other' and not overwrite:
            outcome.conflicts.append(target)
        else:
            pending.append((entry, place))
    try:
        rest = _link_all(pending, outcome, progress) if link else pending
        _check_space(rest, root)
        _write_all(rest, outcome, progress)
    except OSError as error:
        raise SourceError(
            f'{error.filename or root}: cannot be written ({error.strerror or error}); free some space or choose '
            'another --root, and run the same command again: it goes on where it stopped'
        ) from error
    return outcome


def _check_space(pending: list[tuple[Entry, Path]], root: Path) -> None:
    """Archives say how much they hold before anything is unpacked."""
    needed, free = sum(entry.size for entry, _ in pending), shutil.disk_usage(root).free
    if needed > free:
        raise SourceError(
            f'{root}: {needed / 1e9:.1f} GB are to be written and {free / 1e9:.1f} GB are free; free some space or '
            'choose another --root'
        )


#: Pictures of one size have files of one size.
UNCOMPRESSED = ('.bmp', '.ppm', '.pgm', '.tif', '.tiff')


def _state(place: Path, entry: Entry, link: bool, overwrite: bool) -> str:
    if entry.half:
        return _state_of_half(place, entry)
    if entry.file is not None and place.resolve() == entry.file.resolve():
        # The place is a link to this file; without links, only the file itself counts.
        return 'same' if link or not place.is_symlink() else 'absent'
    if not place.exists():
        return 'absent'
    if place.stat().st_size != entry.size or overwrite:
        return 'other'
    if entry.file is None:  # of an archive, which would have to be unpacked
        return 'same'
    doubtful = place.is_symlink() or place.suffix.lower() in UNCOMPRESSED
    return 'same' if not doubtful or filecmp.cmp(place, entry.file, shallow=False) else 'other'


def _state_of_half(place: Path, entry: Entry) -> str:
    """A half is the same if its pixels are; of an archive, which would have to be unpacked, if it is a picture."""
    try:
        there = read_rgb(place) if place.exists() else None
        if there is None:
            return 'absent'
        return 'same' if entry.file is None or np.array_equal(there, half_of(read_rgb(entry.file), entry)) else 'other'
    except ImageError:
        return 'other'


def half_of(image: np.ndarray, entry: Entry) -> np.ndarray:
    """The half of a picture that an entry means.

    Raises:
        SourceError: If the picture cannot be divided into two of equal width.
    """
    width = image.shape[1]
    if width % 2:
        raise SourceError(f'{entry.path}: {width} pixels wide, so it does not hold two pictures side by side')
    return image[:, : width // 2] if entry.half == 'left' else image[:, width // 2 :]


def _write_half(data: bytes, entry: Entry, place: Path) -> None:
    try:
        image = half_of(decode_rgb(data, entry.path), entry)
    except ImageError as error:
        raise SourceError(str(error)) from error
    write_image(place, image)


def _link_all(pending: list[tuple[Entry, Path]], outcome: Outcome, progress: Callable) -> list[tuple[Entry, Path]]:
    """Links what can be linked; returns the rest."""
    rest = [item for item in pending if item[0].file is None or item[0].half]
    files = [item for item in pending if item[0].file is not None and not item[0].half]
    for entry, place in progress(files, len(files)) if files else ():
        try:
            with written_aside(place) as aside:
                os.symlink(entry.file, aside)
        except (OSError, NotImplementedError):  # a file system or an account without links
            rest.append((entry, place))
            continue
        outcome.done['linked'] += 1
    return rest


def _write_all(pending: list[tuple[Entry, Path]], outcome: Outcome, progress: Callable) -> None:
    places: dict[str, list[Path]] = defaultdict(list)
    halves: dict[str, list[tuple[Entry, Path]]] = defaultdict(list)
    for entry, place in pending:
        if entry.half:
            halves[entry.path].append((entry, place))
        else:
            places[entry.path].append(place)
    entries = list({entry.path: entry for entry, _ in pending}.values())
    if not entries:
        return
    with open_entries(entries) as streams:
        for entry, stream in progress(streams, len(entries)):
            if halves[entry.path]:
                data = stream.read()
                for half, place in halves[entry.path]:
                    _write_half(data, half, place)
                outcome.done['cut in two'] += len(halves[entry.path])
                continue
            first, *others = places[entry.path]
            with written_aside(first) as aside, open(aside, 'wb') as file:
                shutil.copyfileobj(stream, file, 1 << 20)
            for place in others:
                with written_aside(place) as aside:
                    shutil.copyfile(first, aside)
            outcome.done['unpacked' if entry.archive else 'copied'] += 1 + len(others)
