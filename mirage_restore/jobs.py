"""Which files are restored, where each result goes, and the record of it beside the results."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .formats import (
    DEFAULT_FORMAT,
    FORMATS,
    READ_ONLY,
    VIDEO_CONTAINERS,
    VIDEO_EXTENSIONS,
    is_known,
    video_ending,
)

__all__ = [
    'Job',
    'Options',
    'Plan',
    'RECORD_NAME',
    'Record',
    'describe_unread',
    'find_jobs',
    'is_file_name',
    'named',
    'result_name',
]

_SYSTEM_FILES = ('thumbs.db', 'desktop.ini')  # left by file managers; names that begin with a dot are such files, too


@dataclass(frozen=True)
class Options:
    """How files are named and treated.

    Attributes:
        suffix: Text put behind each name, before its ending.
        format: Ending of the results, such as 'png'; None keeps each file's own. Videos keep theirs.
        recursive: Look into subfolders of folders.
        skip_existing: Leave out files that were restored before and have not changed since.
        compare: Also write input and result side by side, as ``<name>_compare.png``; of a video, a frame.
        progress: Show a progress bar.
        quality: 1 to 100, of JPEG, WebP, AVIF and HEIC; None for 95.
        crf: Quality of videos, as x264's: 0 (lossless) to 51; None for visually lossless.
        encoder: Encoder of videos: 'h264', 'h265' or 'ffv1'; None for what suits each file's ending.
    """

    suffix: str = ''
    format: str | None = None
    recursive: bool = False
    skip_existing: bool = False
    compare: bool = False
    progress: bool = True
    quality: int | None = None
    crf: int | None = None
    encoder: str | None = None

    def __post_init__(self) -> None:
        if self.format is not None and f'.{self.format.lower().lstrip(".")}' not in FORMATS:
            allowed = ', '.join(ending.lstrip('.') for ending in FORMATS)
            raise ValueError(f'format must be one of {allowed}, got {self.format!r}')
        if any(separator in self.suffix for separator in ('/', '\\', '\0')):
            raise ValueError(f'suffix must not hold a path separator, got {self.suffix!r}')
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise ValueError(f'quality must be from 1 to 100, got {self.quality}')
        if self.crf is not None and not 0 <= self.crf <= 51:
            raise ValueError(f'crf must be from 0 (lossless) to 51, got {self.crf}')
        if self.encoder not in (None, 'h264', 'h265', 'ffv1'):
            raise ValueError(f"encoder must be 'h264', 'h265' or 'ffv1', got {self.encoder!r}")


@dataclass(frozen=True)
class Job:
    """One file to restore, and where its result and (if asked for) the comparison go."""

    source: Path
    target: Path
    comparison: Path | None = None

    @property
    def is_video(self) -> bool:
        """Whether the source is restored frame by frame."""
        return self.source.suffix.lower() in VIDEO_EXTENSIONS


@dataclass
class Plan:
    """What a command will do.

    Attributes:
        jobs: Files to restore.
        done: Files left out because their result is there.
        useless: (input, reason) for what cannot be restored.
        unread: Files of input folders that are no photograph or video.
        notes: (input, why its result has another name).
    """

    jobs: list[Job] = field(default_factory=list)
    done: list[Job] = field(default_factory=list)
    useless: list[tuple[Path, str]] = field(default_factory=list)
    unread: list[Path] = field(default_factory=list)
    notes: list[tuple[Path | str, str]] = field(default_factory=list)


def is_file_name(target: str | Path) -> bool:
    """Whether an output names a file, such as ``out.png``, rather than a folder."""
    return is_known(Path(target).suffix) and not os.path.isdir(target)


def check_named_result(target: str | Path, options: Options) -> None:
    """Raises ValueError where an output names a file and the options would have it called otherwise."""
    other = options.format and f'.{options.format.lstrip(".")}' != Path(target).suffix.lower()
    if is_file_name(target) and (options.suffix or other):
        flag = '--suffix' if options.suffix else '--format'
        raise ValueError(f'{target} names the result; leave out {flag}, or name a folder')


def find_jobs(inputs: Sequence[str | Path], target: str | Path, options: Options, record: Record | None = None) -> Plan:
    """Turn files, folders and patterns into jobs whose results cannot overwrite one another or an input.

    Args:
        inputs: Files, folders, or patterns such as ``photos/*.jpg`` (``**`` with `Options.recursive`).
        target: Folder of the results, where the layout below an input folder is kept; or the name of the one result.
            It is never looked into for inputs.
        options: Naming.
        record: Of the folder, if it has one: what is there and not in it is not overwritten; with
            `Options.skip_existing` results keep their names.
    """
    check_named_result(target, options)
    plan = Plan()
    single = is_file_name(target)
    found: list[tuple[Path, Path]] = []
    seen: set[str] = set()
    for given in inputs:
        some = False
        try:
            for source, relative in _expand(given, options.recursive, Path(target), record, plan):
                some = True
                real = os.path.realpath(source)
                if real not in seen:
                    seen.add(real)
                    found.append((source, relative))
        except OSError as error:
            plan.useless.append((Path(given), f'cannot be looked into: {error.strerror or error}'))
            continue
        if not some:
            what = 'no images or videos in it' if os.path.isdir(given) else 'no such file, folder or match'
            plan.useless.append((Path(given), what))
    if single and len(found) > 1:
        raise ValueError(f'{target} is one file, and {len(found)} are given; name a folder for the results')
    if not single and len(inputs) == len(found) == 1 and os.path.isfile(inputs[0]):
        _check_folder_name(target)
    names = _Names(record, options.skip_existing, seen)
    for source, relative in found:
        before = record.result_of(source) if record is not None and options.skip_existing else None
        if record is not None and before is not None and record.is_done(source):
            names.taken.add(before)
            plan.done.append(Job(source, before))
            continue
        wanted = Path(target) if single else Path(target) / result_name(relative, options)
        result, compared = wanted if single else names.free(wanted, source), None
        if options.compare:
            compared = names.free(result.with_name(f'{result.stem}_compare.png'), source)
        job = Job(source, result, compared)
        writable = VIDEO_CONTAINERS if job.is_video else tuple(FORMATS)
        if result.suffix.lower() not in writable:
            kind = 'videos' if job.is_video else 'photographs'
            plan.useless.append((source, f'cannot be written as {result}; {kind} are written as {", ".join(writable)}'))
        elif os.path.realpath(result) in seen:
            reason = f'its result {result} would overwrite an input; choose another folder (-o) or a --suffix'
            plan.useless.append((source, reason))
        elif compared and os.path.realpath(compared) in seen:
            reason = f'its comparison {compared} would overwrite an input; choose another folder (-o) or a --suffix'
            plan.useless.append((source, reason))
        else:
            plan.jobs.append(job)
            if wanted in names.foreign:
                note = f'{wanted} is there and is no result of mirage-restore: restored to {result}'
                plan.notes.append((source, note))
    return plan


def _check_folder_name(target: str | Path) -> None:
    """A folder for one result may not be called like a file of a kind that is not written."""
    ending = Path(target).suffix
    meant = str(target).endswith(('/', os.sep)) or os.path.isdir(target)
    if re.fullmatch(r'\.[a-z][a-z0-9]{2,3}', ending.lower()) and not meant:
        raise ValueError(
            f'{target}: results are not written as {ending}; allowed are {", ".join(FORMATS)} and for videos '
            f'{", ".join(VIDEO_CONTAINERS)}. If it is to be a folder, write {target}/'
        )


def named(source: Path | str, reason: str) -> str:
    """A reason that begins with its file."""
    return reason if reason.startswith(str(source)) else f'{source}: {reason}'


def describe_unread(files: Sequence[Path | str], shown: int = 5) -> str:
    """One line about files that were not read: how many of each ending, and names."""
    counts: dict[str, int] = {}
    for ending in (Path(file).suffix.lower() or 'no ending' for file in files):
        counts[ending] = counts.get(ending, 0) + 1
    kinds = ', '.join(f'{number} {ending}' for ending, number in sorted(counts.items()))
    names = ', '.join(os.fspath(file) for file in files[:shown])
    more = f' and {len(files) - shown} more' if len(files) > shown else ''
    return f'{len(files)} not read, being no photographs or videos that are known here ({kinds}): {names}{more}'


class _Names:
    """Names of results, each given once."""

    def __init__(self, record: Record | None, keeping: bool, inputs: set[str]) -> None:
        self.taken: set[Path | None] = set()
        self.foreign: set[Path] = set()
        self._record, self._keeping, self._inputs = record, keeping, inputs
        self._last: dict[tuple[Path, str], int] = {}

    def free(self, wanted: Path, source: Path) -> Path:
        """``wanted``, or a name made of it and the source's ending (a.jpg and a.png as PNG) that is not taken yet."""
        name, ending = wanted, source.suffix.lstrip('.').lower()
        number = self._last.get((wanted, ending), 0)
        while name in self.taken or self._is_of_others(name, source):
            number += 1
            name = wanted.with_name(f'{wanted.stem}_{ending}{number if number > 1 else ""}{wanted.suffix}')
        self._last[wanted, ending] = number
        self.taken.add(name)
        return name

    def _is_of_others(self, name: Path, source: Path) -> bool:
        """Whether a file is there that is not the source's to replace; an input is left to the error about it."""
        if self._record is None or not os.path.lexists(name):
            return False
        if self._record.is_result(name):
            return self._keeping and self._record.belongs_to_another(name, source)
        if os.path.realpath(name) in self._inputs:
            return False
        self.foreign.add(name)
        return True


def _expand(
    given: str | Path, recursive: bool, target: Path, record: Record | None, plan: Plan
) -> Iterator[tuple[Path, Path]]:
    """(file, its path below the input) of everything that an input stands for, in sorted order."""
    if os.path.isdir(given):
        files = sorted(_walk(Path(given), recursive, os.path.realpath(target), plan.useless))
        for file in files:
            if record is not None and record.is_result(file):
                continue
            if is_known(file.suffix):
                yield file, file.relative_to(given)
            else:
                plan.unread.append(file)
    elif os.path.lexists(given):
        yield Path(given), Path(Path(given).name)  # whatever its name: an error must name it
    else:
        for match in sorted(glob.glob(str(given), recursive=recursive)):
            file = Path(match)
            if is_known(file.suffix) and file.is_file() and not file.name.startswith('.'):
                yield file, Path(file.name)


def _walk(folder: Path, recursive: bool, target: str, useless: list[tuple[Path, str]]) -> Iterator[Path]:
    """Files of a folder; of those below it, too, the folder of the results and links that lead round aside."""
    pending, seen = [folder], {os.path.realpath(folder)}
    while pending:
        below = pending.pop()
        try:
            entries = list(os.scandir(below))
        except OSError as error:
            if below == folder:
                raise
            useless.append((below, f'cannot be looked into: {error.strerror or error}'))
            continue
        for entry in entries:
            if entry.name.startswith('.') or entry.name.lower() in _SYSTEM_FILES or entry.name == RECORD_NAME:
                continue
            if entry.is_file():
                yield Path(entry.path)
            elif recursive and entry.is_dir():
                real = os.path.realpath(entry.path)
                if real not in seen and real != target:
                    seen.add(real)
                    pending.append(Path(entry.path))


def result_name(relative: Path, options: Options) -> Path:
    """Name of the result of a file, below the folder of results."""
    ending = relative.suffix
    if ending.lower() in VIDEO_EXTENSIONS:
        ending = video_ending(ending, options.encoder)
    elif options.format:
        ending = f'.{options.format.lstrip(".")}'
    elif ending.lower() in READ_ONLY:
        ending = READ_ONLY[ending.lower()]
    elif ending.lower() not in FORMATS:
        ending = DEFAULT_FORMAT
    return relative.with_name(relative.stem + options.suffix + ending)


RECORD_NAME = '.mirage-restore.jsonl'


class Record:
    """Results of a folder and their sources; one line for each in the file `RECORD_NAME`, added as it is written.

    Args:
        folder: Folder of the results; need not exist.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._root = os.path.join(os.path.abspath(folder), '')
        self._file = self._folder / RECORD_NAME
        self._of_source: dict[str, dict] = {}
        self._source_of: dict[str, str] = {}
        with contextlib.suppress(OSError):
            for line in self._file.read_text(encoding='utf-8', errors='surrogateescape').splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):  # a line cut short by a kill
                    entry = json.loads(line)
                    self._take(str(entry['source']), entry)

    def is_done(self, source: Path) -> bool:
        """Whether the result of a source is there, and the source has not changed since."""
        entry = self._of_source.get(_key(source))
        if entry is None or not (self._folder / entry['result']).is_file():
            return False
        try:
            return _state(source) == [entry.get('size'), entry.get('time')]
        except OSError:
            return False

    def result_of(self, source: Path) -> Path | None:
        """Where the result of a source was written, or None."""
        entry = self._of_source.get(_key(source))
        return self._folder / entry['result'] if entry else None

    def is_result(self, file: Path) -> bool:
        """Whether a file in the folder is a result, a comparison, or was one before its source got another."""
        return self._name(file) in self._source_of

    def belongs_to_another(self, result: Path, source: Path) -> bool:
        """Whether a result is there that was made from another source."""
        owner = self._source_of.get(self._name(result))
        return owner is not None and owner != _key(source) and result.exists()

    def add(self, source: Path, result: Path, comparison: Path | None = None) -> None:
        """Note a result that has just been written, and the comparison that belongs to it.

        Raises:
            OSError: The record cannot be written.
        """
        size, time = _state(source)
        entry: dict = {'source': _key(source), 'result': self._name(result), 'size': size, 'time': time}
        if comparison:
            entry['comparison'] = self._name(comparison)
        with open(self._file, 'a', encoding='utf-8', errors='surrogateescape') as file:
            file.write(json.dumps(entry) + '\n')
        self._take(entry['source'], entry)

    def _take(self, source: str, entry: dict) -> None:
        result = str(entry['result'])
        self._of_source[source] = entry
        self._source_of[result] = source
        if 'comparison' in entry:
            self._source_of[str(entry['comparison'])] = source
        else:  # of a version that did not note it
            self._source_of.setdefault(Path(result).with_name(f'{Path(result).stem}_compare.png').as_posix(), source)

    def _name(self, file: Path) -> str:
        return Path(os.path.abspath(file).removeprefix(self._root)).as_posix()


def _key(source: Path) -> str:
    return os.path.abspath(source)


def _state(source: Path) -> list[int]:
    found = os.stat(source)
    return [found.st_size, found.st_mtime_ns]
