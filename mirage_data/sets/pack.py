"""Turns a folder of images into an LMDB beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np

from mirage_data.files.image import ImageError, decode_rgb, list_names, read_bytes
from mirage_data.files.lmdb import LmdbError, LmdbReader, LmdbWriter, key_of
from mirage_data.files.write import write_file

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
        folder: with images.
        raw: store pixel rows instead of files, so that crops are read without decoding.
        workers: threads that read and decode; default is the number of cores.
        progress: wraps what is iterated over, e.g. with a bar.

    Returns:
        What was written. Unreadable images and names that clash are left out and reported in `problems`.

    Raises:
        ImageError: if there is no such folder, or no image in it.
        LmdbError: if the database cannot be written.
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
