"""What is made of a prepared folder for quick reading: an LMDB beside it, or overlapping squares of large photographs.

A crop from a small file is read much faster than one from a large file. Names and places of squares are those of
BasicSR's `extract_subimages.py`: `NAME_s001.png` and so on, row by row, with a last row and column that reach the
border.
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path, PurePosixPath

import numpy as np

from mirage_data.files.image import ImageError, decode_rgb, list_names, read_bytes, read_rgb
from mirage_data.files.lmdb import LmdbError, LmdbReader, LmdbWriter, key_of
from mirage_data.files.write import write_file, write_image

STAMPS_FILE = 'files.json'  # in a database: size and time of the files that it was made of
_BATCH = 64  # files read ahead


@dataclass
class Written:
    """What is in a database: images stored, how many of them share another's value, and those left out."""

    path: Path
    stored: int = 0
    shared: int = 0
    there_already: bool = False
    problems: list[str] = field(default_factory=list)


def lmdb_path(folder: str | Path) -> Path:
    """Where the database of a folder lies: `Train/Derain/rainy` -> `Train/Derain/rainy.lmdb`."""
    folder = Path(folder)
    return folder.with_name(folder.name + '.lmdb')


def write_lmdb(
    folder: str | Path,
    *,
    raw: bool = False,
    workers: int | None = None,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
) -> Written:
    """Writes all images of a folder, and of folders below it, into an LMDB of BasicSR's format.

    Files of equal content are stored once. A database of the same images with the same content already is left as it
    is: size and time of each file are kept beside it, and where they differ the content decides. An unfinished one is
    gone on with. It takes its name only when it is whole.

    Args:
        folder: With images.
        raw: Store pixel rows instead of files, so that crops are read without decoding.
        workers: Threads that read and decode; default is the number of cores.
        progress: Wraps what is iterated over, e.g. with a bar.

    Returns:
        What was written. Unreadable images and names that clash are left out and reported in `problems`.

    Raises:
        ImageError: If there is no such folder, or no image in it.
        LmdbError: If the database cannot be written.
    """
    result = Written(lmdb_path(folder))
    names = list_names(folder, recursive=True)
    if not names:
        raise ImageError(f'{folder}: has no images; prepare the data set first')
    names = _without_clashes(names, result)
    seen = _stamps(Path(folder), names)
    if result.path.exists() and _is_current(result.path, Path(folder), names, raw, seen):
        write_file(result.path / STAMPS_FILE, json.dumps(seen))
        result.stored, result.there_already = len(names), True
        return result
    with LmdbWriter(result.path, raw=raw, overwrite=True) as writer, ThreadPoolExecutor(workers) as pool:
        first: dict[str, str] = {}
        loaded = _load(Path(folder), names, raw, writer, pool)
        for name, digest, data, image, problem in progress(loaded, len(names)):
            if problem:
                result.problems.append(problem)
                continue
            try:
                if name in writer:  # from a run that was interrupted
                    result.shared += digest in first
                elif digest in first:
                    writer.add_alias(name, first[digest])
                    result.shared += 1
                elif image is not None:
                    writer.add_image(name, image)
                else:
                    writer.add_file(name, data)
            except ImageError as error:
                result.problems.append(f'{folder}: {error}')
                continue
            first.setdefault(digest, name)
            result.stored += 1
        if not len(writer):
            raise LmdbError(f'{result.path}: none of the {len(names)} images of {folder} can be read')
    write_file(result.path / STAMPS_FILE, json.dumps(seen))
    return result


def _stamps(folder: Path, names: list[str]) -> dict[str, list[int]]:
    """Size and time of each file, of which a change shows."""
    found = {}
    for name in names:
        try:
            state = os.stat(folder / name)
        except OSError:  # reported when it is read
            continue
        found[name] = [state.st_size, state.st_mtime_ns]
    return found


def _known_stamps(path: Path) -> dict[str, list[int]]:
    try:
        found = json.loads((path / STAMPS_FILE).read_text(encoding='ascii'))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _without_clashes(names: list[str], result: Written) -> list[str]:
    """Two files that differ in their extension only would have one key."""
    chosen: dict[str, str] = {}
    for name in names:
        other = chosen.setdefault(key_of(name), name)
        if other != name:
            result.problems.append(f'{name}: has the key of {other}, left out; remove one of the two')
    return list(chosen.values())


def _is_current(path: Path, folder: Path, names: list[str], raw: bool, stamps: dict[str, list[int]]) -> bool:
    try:
        reader = LmdbReader(path)
    except LmdbError:
        return False
    try:
        if reader.raw != raw or set(reader.names) != set(names):
            return False
        known = _known_stamps(path)
        touched = [name for name in names if name not in stamps or known.get(name) != stamps[name]]
        return all(_same_content(reader, folder / name, key_of(name)) for name in touched)
    finally:
        reader.close()


def _same_content(reader: LmdbReader, file: Path, key: str) -> bool:
    try:
        data = read_bytes(file)
        return (
            np.array_equal(reader.view(key), decode_rgb(data, str(file))) if reader.raw else (reader.value(key) == data)
        )
    except (ImageError, LmdbError):
        return False


Loaded = tuple[str, str, bytes, np.ndarray | None, str]


def _load(folder: Path, names: list[str], raw: bool, writer: LmdbWriter, pool: ThreadPoolExecutor) -> Iterator[Loaded]:
    """Reads files ahead in threads; pixels are decoded there only for a raw database and names it lacks."""

    def load(name: str) -> Loaded:
        try:
            data = read_bytes(folder / name)
            image = decode_rgb(data, str(folder / name)) if raw and name not in writer else None
        except ImageError as error:
            return name, '', b'', None, str(error)
        return name, blake2b(data, digest_size=16).hexdigest(), data, image, ''

    for start in range(0, len(names), _BATCH):
        yield from pool.map(load, names[start : start + _BATCH])


SUFFIX = '_sub'
RECORD = '.subimages.json'


@dataclass
class Cut:
    """Squares written and found there already, and files that could not be cut, with the reason."""

    written: int = 0
    there_already: int = 0
    problems: list[str] = field(default_factory=list)


def starts(length: int, size: int, step: int) -> list[int]:
    """Where squares begin along a side: every `step` pixels, and once more at the end if something is left.

    Args:
        length: Of the side, in pixels, at least `size`.
        size: Of a square.
        step: Between two squares.
    """
    places = list(range(0, length - size + 1, step))
    if places[-1] + size < length:
        places.append(length - size)
    return places


def cut_folder(
    folder: str | Path,
    target: str | Path,
    size: int,
    step: int,
    *,
    workers: int | None = None,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
) -> Cut:
    """Cuts all images of a folder (and of folders below it) into squares.

    Squares that exist already are kept if they were cut from the same file (by its size and time, kept in
    `RECORD` beside the squares); of a changed file they are cut again.

    Args:
        folder: With images of at least `size` pixels each side; smaller ones are reported and left out.
        target: Folder for the PNG files; made if needed.
        size: Side of a square in pixels.
        step: Distance of neighbouring squares in pixels, at most `size` if nothing is to be left out.
        workers: Threads; default is the number of cores.
        progress: Wraps what is iterated over, e.g. with a bar.

    Raises:
        ValueError: For a size or step below 1, a step above the size, or a target with squares of another size or step.
        OSError: If a file cannot be written.
    """
    if size < 1 or not 1 <= step <= size:
        raise ValueError(f'--subimages {size} {step}: allowed are sizes of at least 1 and steps from 1 to the size')
    target = Path(target)
    result = Cut()
    names = _of_different_stems(folder, list_names(folder, recursive=True), result.problems)
    record = _read_record(target, size, step)
    known = record['sources']
    stamps = {name: [state.st_size, state.st_mtime_ns] for name in names for state in [os.stat(Path(folder, name))]}
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        jobs = pool.map(
            lambda name: _cut(Path(folder), name, target, size, step, keep=known.get(name) == stamps[name]), names
        )
        for name, (written, kept, problem) in zip(names, progress(jobs, len(names))):
            if not problem:
                known[name] = stamps[name]
            result.written += written
            result.there_already += kept
            if problem:
                result.problems.append(problem)
    if target.is_dir():
        write_file(target / RECORD, json.dumps(record))
    return result


def _of_different_stems(folder: str | Path, names: Iterable[str], problems: list[str]) -> list[str]:
    """Names whose squares have names of their own; the others go to ``problems``."""
    owners: dict[str, str] = {}
    for name in names:
        owner = owners.setdefault(str(PurePosixPath(name).with_suffix('')).lower(), name)
        if owner != name:
            problems.append(f'{Path(folder, name)}: its squares would be called like those of {owner}; rename one')
    return list(owners.values())


def _read_record(target: Path, size: int, step: int) -> dict:
    """What the squares of a folder were cut from; without a record nothing is known, and all are cut again."""
    wanted = {'size': size, 'step': step, 'sources': {}}
    try:
        found = json.loads((target / RECORD).read_text(encoding='utf-8'))
        if not isinstance(found['sources'], dict):
            return wanted
        if (found['size'], found['step']) == (size, step):
            return found
    except (OSError, ValueError, LookupError, TypeError):
        return wanted
    raise ValueError(
        f'{target}: holds squares of --subimages {found["size"]} {found["step"]}, not of {size} {step}; '
        'remove or rename that folder, and run the command again'
    )


def _cut(folder: Path, name: str, target: Path, size: int, step: int, keep: bool) -> tuple[int, int, str]:
    try:
        image = read_rgb(folder / name)
    except ImageError as error:
        return 0, 0, str(error)
    height, width = image.shape[:2]
    if min(height, width) < size:
        return 0, 0, f'{folder / name}: {height}x{width} is smaller than a square of {size}; left out'
    stem = str(PurePosixPath(name).with_suffix(''))
    written = kept = 0
    number = 0
    for top in starts(height, size, step):
        for left in starts(width, size, step):
            number += 1
            place = target / f'{stem}_s{number:03d}.png'
            if keep and place.exists():
                kept += 1
                continue
            write_image(place, image[top : top + size, left : left + size])
            written += 1
    for old in () if keep else sorted(target.glob(f'{glob.escape(stem)}_s*.png')):  # of a larger picture before
        head, _, tail = old.stem.rpartition('_s')
        if head == PurePosixPath(stem).name and tail.isdigit() and int(tail) > number:
            old.unlink()
    return written, kept, ''
