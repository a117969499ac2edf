"""Folders on this machine, and URLs that fsspec reads (s3, gs, ...)."""

from __future__ import annotations

import json
import os
import posixpath
import re
import time
import uuid
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..formats import is_known
from ..jobs import Options, check_named_result, is_file_name, result_name

__all__ = ['UrlPlan', 'UrlRecord', 'check_place', 'fetch', 'is_url', 'plan_urls', 'put', 'words_of']

_RECORDS = '.mirage-restore'


def is_url(place: str | os.PathLike) -> bool:
    """Whether a place is a URL such as ``s3://bucket/folder``."""
    return bool(re.match(r'[A-Za-z][A-Za-z0-9+.-]+://', os.fspath(place)))


def url_of(place: str | os.PathLike) -> str:
    """A path of this machine as a URL, as fsspec reads it: not percent-encoded."""
    return os.fspath(place) if is_url(place) else f'file://{os.path.realpath(place)}'


def _opened(url: str):
    try:
        import fsspec
    except ImportError as error:
        raise ValueError(f'{url}: URLs need fsspec: pip install "mirage-ir[ray]"') from error
    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ValueError(f'{url}: {error}') from error


def fetch(url: str, file: Path) -> None:
    """Copy what is at a URL into a file."""
    system, path = _opened(url)
    system.get_file(path, os.fspath(file))


def put(file: Path, url: str) -> None:
    """Copy a file to a URL, where it appears as a whole."""
    system, path = _opened(url)
    if 'file' in system.protocol or 'local' in system.protocol:
        system.makedirs(posixpath.dirname(path), exist_ok=True)
    system.put_file(os.fspath(file), path)


def check_place(url: str) -> None:
    """Write into a place before anything is computed.

    Raises:
        OSError: It cannot be written to; the message names it.
    """
    system, path = _opened(url)
    probe = posixpath.join(path, f'{_RECORDS}-{uuid.uuid4().hex}')
    try:
        if 'file' in system.protocol or 'local' in system.protocol:
            system.makedirs(path, exist_ok=True)
        system.pipe_file(probe, b'')
        system.rm_file(probe)
    except Exception as error:  # each storage has errors of its own
        raise OSError(f'{url}: results could not be written there: {words_of(error)}') from error


@dataclass(frozen=True)
class UrlPlan:
    """Files to restore and what is left out; see `jobs.Plan`.

    Attributes:
        tasks: (source, result, state of the source).
        done: Number of files that were restored before.
        useless: (input, reason).
        unread: Files of folders that are no photographs or videos.
    """

    tasks: list[tuple[str, str, list]]
    done: int
    useless: list[tuple[str, str]]
    unread: list[str]


def plan_urls(inputs: Sequence[str], target: str, options: Options, record: UrlRecord) -> UrlPlan:
    """Turn URLs or folders into tasks, each result with a name of its own.

    Args:
        inputs: Files or folders, as URLs or paths; of folders all below is taken.
        target: URL or path of the folder of results, or of the one result.
        options: Naming.
        record: Of the target.

    Raises:
        ValueError: One result is named, and there are several files.
    """
    check_named_result(target, options)
    tasks: list[tuple[str, str, list]] = []
    useless: list[tuple[str, str]] = []
    unread: list[str] = []
    done = 0
    taken: set[str] = set()
    single = is_file_name(target)
    known: list[tuple[str, str, list]] = []
    given_places: set[tuple[str, str]] = set()
    for given in inputs:
        try:
            found = sorted(_files(given, '' if single else target))
        except Exception as error:
            useless.append((given, f'cannot be looked into: {words_of(error)}'))
            continue
        pictures = [row for row in found if is_known(Path(row[1]).suffix)]
        unread += [source for source, relative, _ in found if not is_known(Path(relative).suffix)]
        if not pictures:
            useless.append((given, 'no images or videos in it' if found else 'no such file or folder'))
        known += [row for row in pictures if _place_of(row[0]) not in given_places]
        given_places |= {_place_of(row[0]) for row in pictures}
    if single and len(known) > 1:
        raise ValueError(f'{target} is one file, and {len(known)} are given; name a folder for the results')
    for source, relative, state in known:
        result = target if single else _free(target, Path(relative), options, taken)
        taken.add(result)
        if _place_of(result) in given_places:
            useless.append((source, f'its result {result} would overwrite an input; choose another folder (-o)'))
        elif options.skip_existing and record.is_done(source, result, state):
            done += 1
        else:
            tasks.append((source, result, state))
    return UrlPlan(tasks, done, useless, unread)


def _free(folder: str, relative: Path, options: Options, taken: Container[str]) -> str:
    """The result's place, by a name that no other has."""
    name, number = result_name(relative, options), 1
    while (result := posixpath.join(folder, name.as_posix())) in taken:
        number += 1
        other = f'{relative.stem}_{relative.suffix[1:].lower()}{number if number > 2 else ""}'
        name = name.with_name(f'{other}{options.suffix}{name.suffix}')
    return result


def _place_of(place: str) -> tuple[str, str]:
    """A file by its storage and its path there, however it is written."""
    system, path = _opened(url_of(place))
    protocol = system.protocol if isinstance(system.protocol, str) else system.protocol[0]
    return protocol, path


def _files(given: str, target: str = '') -> Iterator[tuple[str, str, list]]:
    """(place, path below the input, state) of all files in an input; what lies below the target is of earlier runs."""
    system, path = _opened(url_of(given))
    details = system.find(path, detail=True)
    results = _place_of(target) if target else ('', '')
    kind = _place_of(given)
    for name, info in details.items():
        if results[0] == kind[0] and results[1] != path and name.startswith(f'{results[1].rstrip("/")}/'):
            continue
        inside = posixpath.relpath(name, path) if name != path else posixpath.basename(name)
        if any(part.startswith('.') for part in inside.split('/')) or info.get('type') == 'directory':
            continue
        place = system.unstrip_protocol(name) if is_url(given) else name
        changed = info.get('ETag') or info.get('etag') or info.get('LastModified') or info.get('mtime') or ''
        yield place, inside, [info.get('size'), str(changed)]


class UrlRecord:
    """What was restored into a place, as small files of lines in its folder `.mirage-restore`.

    Storage cannot add to a file, so every run writes new ones, a part for every few hundred results.

    Args:
        target: URL or path of the folder of results.
        read: Read what former runs wrote.
    """

    def __init__(self, target: str, read: bool, lines: int = 200) -> None:
        self._url = url_of(target)
        self._system, self._path = _opened(self._url)
        self._run, self._part, self._limit = f'{time.time_ns():020d}-{uuid.uuid4().hex[:12]}', 0, lines
        self._lines: list[str] = []
        self._done: dict[str, list] = {}
        self._there: set[str] | None = None
        if read:
            self._read()

    def is_done(self, source: str, result: str, state: list) -> bool:
        """Whether the result was made from the source as it is now, and is still there."""
        path = self._system._strip_protocol(url_of(result))
        return self._done.get(source) == [result, *state] and path in (self._there or ())

    def add(self, source: str, result: str, state: list) -> None:
        """Note a result that has been written."""
        self._lines.append(json.dumps([source, result, *state]))
        if len(self._lines) >= self._limit:
            self.flush()

    def flush(self) -> None:
        """Write what has been noted.

        Raises:
            OSError: It cannot be written.
        """
        if not self._lines:
            return
        folder = posixpath.join(self._path, _RECORDS)
        if 'file' in self._system.protocol or 'local' in self._system.protocol:
            self._system.makedirs(folder, exist_ok=True)
        name = posixpath.join(folder, f'{self._run}-{self._part:06d}.jsonl')
        try:
            self._system.pipe_file(name, ('\n'.join(self._lines) + '\n').encode())
        except Exception as error:
            raise OSError(f'{self._url}: the record could not be written: {words_of(error)}') from error
        self._part, self._lines = self._part + 1, []

    def _read(self) -> None:
        self._there = set(self._system.find(self._path))
        records = f'/{_RECORDS}/'
        names = [name for name in self._there if records in name and name.endswith('.jsonl')]
        for name in sorted(names, key=_moment):
            for line in self._system.cat_file(name).decode('utf-8', 'surrogateescape').splitlines():
                try:
                    source, *rest = json.loads(line)
                except (ValueError, TypeError):  # cut short by a kill
                    continue
                self._done[source] = rest


def _moment(record: str) -> tuple[bool, str]:
    """Records in the order of their runs; older ones, which do not tell their time, first."""
    name = posixpath.basename(record)
    return re.match(r'\d{20}-', name) is not None, name


def words_of(error: Exception) -> str:
    """What a storage says of its error, in words."""
    if isinstance(error, PermissionError):
        return f'no permission ({error})'
    return getattr(error, 'strerror', None) or str(error).strip() or type(error).__name__
