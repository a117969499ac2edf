"""Restore many files: reading, computing and writing overlap, and one bad file never stops the rest."""
from __future__ import annotations

import glob
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mirage_arch.evaluation import is_out_of_memory
from mirage_data.files.image import IMAGE_EXTENSIONS
from mirage_data.files.sheet import side_by_side

from .photo import FORMATS, Photo, read_photo, write_photo
from .video import VIDEO_EXTENSIONS, restore_video

__all__ = ['Job', 'Options', 'Summary', 'find_jobs', 'restore_files']

_AHEAD = 2  # images read before they are needed, and waiting to be written
_DEFAULT_FORMAT = '.png'  # for what cannot be written in its own format, such as GIF


@dataclass(frozen=True)
class Options:
    """How files are named and treated.

    Attributes:
        suffix: Text put behind each name, before its ending.
        format: Ending of the results, such as 'png'; None keeps each file's own.
        recursive: Look into subfolders of folders.
        skip_existing: Leave out files whose result is there.
        compare: Also write input and result side by side, as ``<name>_compare.png``.
        progress: Show a progress bar.
    """

    suffix: str = ''
    format: str | None = None
    recursive: bool = False
    skip_existing: bool = False
    compare: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        if self.format is not None and f'.{self.format.lower().lstrip(".")}' not in FORMATS:
            allowed = ', '.join(ending.lstrip('.') for ending in FORMATS)
            raise ValueError(f'format must be one of {allowed}, got {self.format!r}')
        if any(separator in self.suffix for separator in ('/', '\\', '\0')):
            raise ValueError(f'suffix must not hold a path separator, got {self.suffix!r}')


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
class Summary:
    """What became of the files: ``failures`` are (file, reason)."""

    restored: int = 0
    skipped: int = 0
    failures: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Number of files that could not be restored."""
        return len(self.failures)


def find_jobs(inputs: Sequence[str | Path], target: str | Path, options: Options) -> tuple[list[Job], list]:
    """Turn files, folders and patterns into jobs whose results cannot overwrite one another or an input.

    Args:
        inputs: Files, folders, or patterns such as ``photos/*.jpg`` (``**`` with `Options.recursive`).
        target: Folder of the results; the layout below an input folder is kept.
        options: Naming.

    Returns:
        The jobs, and (input, reason) for each input that gave none.
    """
    jobs: list[Job] = []
    useless: list[tuple[Path, str]] = []
    sources: set[Path] = set()
    taken: set[Path] = set()
    for given in inputs:
        found = list(_expand(given, options.recursive))
        if not found:
            what = 'no images or videos in it' if os.path.isdir(given) else 'no such file, folder or match'
            useless.append((Path(given), what))
        for source, relative in found:
            if source.resolve() in sources:
                continue
            sources.add(source.resolve())
            # a.jpg and a.png as PNG, or equal names from two folders, get names of their own
            result = _free_name(Path(target) / _result_name(relative, options), source, taken)
            compared = None
            if options.compare:
                compared = _free_name(result.with_name(f'{result.stem}_compare.png'), source, taken)
            jobs.append(Job(source, result, compared))
    clashing = [job for job in jobs if {job.target.resolve(), job.comparison and job.comparison.resolve()} & sources]
    useless += [(job.source, f'its result {job.target} would overwrite an input; choose another folder (-o) or a '
                             f'--suffix') for job in clashing]
    return [job for job in jobs if job not in clashing], useless


def restore_files(restore: Callable, inputs: Sequence[str | Path], target: str | Path,
                  options: Options | None = None) -> Summary:
    """Restore files into a folder.

    Args:
        restore: Takes and returns an image array, as `Restorer` does.
        inputs: See `find_jobs`.
        target: Folder of the results.
        options: Naming and treatment.

    Returns:
        What was done; failures are also logged as they happen.
    """
    options = options or Options()
    log = logging.getLogger(__name__)
    summary = Summary()
    jobs, useless = find_jobs(inputs, target, options)

    def fail(source: Path, reason: str) -> None:
        summary.failures.append((source, reason))
        log.error('%s', reason if str(source) in reason else f'{source}: {reason}')

    for source, reason in useless:
        fail(source, reason)
    if options.skip_existing:
        pending = [job for job in jobs if not job.target.exists()]
        summary.skipped = len(jobs) - len(pending)
        jobs = pending
    photos = [job for job in jobs if not job.is_video]
    writer = _Writer(lambda job, photo: write_photo(photo, job.target), fail)
    with tqdm(total=len(jobs), unit='file', disable=not options.progress) as bar, writer:
        for job, photo in _read_ahead(photos, fail):
            bar.set_postfix_str(job.source.name, refresh=False)
            if photo is not None:
                try:
                    pixels = restore(photo.pixels)
                except (ValueError, RuntimeError, MemoryError) as error:
                    if is_out_of_memory(error):
                        error = f'out of memory, even in tiles ({photo.pixels.shape[1]}x{photo.pixels.shape[0]} pixels)'
                    fail(job.source, str(error))
                else:
                    writer.put(job, replace(photo, pixels=pixels))
                    if job.comparison:
                        writer.put(replace(job, target=job.comparison), Photo(_compared(photo.pixels, pixels)))
            bar.update()
        for job in jobs:
            if job.is_video:
                try:
                    restore_video(restore, job.source, job.target, progress=options.progress)
                    writer.done.add(job)
                except (OSError, ValueError, RuntimeError) as error:
                    fail(job.source, str(error))
                bar.update()
    failed = {source for source, _ in summary.failures}
    summary.restored = sum(job in writer.done and job.source not in failed for job in jobs)
    return summary


def _expand(given: str | Path, recursive: bool) -> Iterator[tuple[Path, Path]]:
    """(file, its path below the input) of everything that an input stands for, in sorted order."""
    path = Path(given)
    if path.is_dir():
        for file in sorted(path.rglob('*') if recursive else path.iterdir()):
            if _is_ours(file):
                yield file, file.relative_to(path)
    elif path.exists():
        yield path, Path(path.name)  # whatever its name: an error must name it
    else:
        for match in sorted(glob.glob(str(given), recursive=recursive)):
            if _is_ours(Path(match)):
                yield Path(match), Path(Path(match).name)


def _is_ours(file: Path) -> bool:
    ours = file.suffix.lower() in (*IMAGE_EXTENSIONS, *VIDEO_EXTENSIONS)
    return ours and file.is_file() and not file.name.startswith('.')


def _result_name(relative: Path, options: Options) -> Path:
    ending = relative.suffix
    if ending.lower() not in VIDEO_EXTENSIONS:
        ending = f'.{options.format.lstrip(".")}' if options.format else ending
        if ending.lower() not in FORMATS:
            ending = _DEFAULT_FORMAT
    return relative.with_name(relative.stem + options.suffix + ending)


def _free_name(wanted: Path, source: Path, taken: set[Path]) -> Path:
    """``wanted``, or a name made of it and the source's ending that is not taken yet; takes it."""
    ending = source.suffix.lstrip('.').lower()
    name, number = wanted, 1
    while name in taken:
        name = wanted.with_name(f'{wanted.stem}_{ending}{number if number > 1 else ""}{wanted.suffix}')
        number += 1
    taken.add(name)
    return name


def _compared(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    def rgb(pixels: np.ndarray) -> np.ndarray:
        if pixels.ndim == 2 or pixels.shape[2] <= 2:
            return np.repeat(pixels.reshape(*pixels.shape[:2], -1)[..., :1], 3, axis=2)
        return pixels[..., :3]
    return side_by_side([rgb(before), rgb(after)])


def _read_ahead(jobs: Iterable[Job], fail: Callable) -> Iterator[tuple[Job, Photo | None]]:
    """(job, content) in order, read by a thread; None where reading failed."""
    ready: queue.Queue = queue.Queue(_AHEAD)
    stopped = threading.Event()

    def put(item) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        for job in jobs:
            try:
                photo = read_photo(job.source)
            except Exception as error:  # whatever is wrong with one file must not end the thread
                fail(job.source, str(error))
                photo = None
            if not put((job, photo)):
                return
        put(None)

    threading.Thread(target=read, daemon=True).start()
    try:
        while (item := ready.get()) is not None:
            yield item
    finally:
        stopped.set()


class _Writer:
    """Writes results in a thread; leaving the context waits until all are on the disk."""

    def __init__(self, write: Callable[[Job, Photo], None], fail: Callable) -> None:
        self.done: set[Job] = set()
        self._write, self._fail = write, fail
        self._pending: queue.Queue = queue.Queue(_AHEAD)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def put(self, job: Job, photo: Photo) -> None:
        self._pending.put((job, photo))

    def _run(self) -> None:
        while (item := self._pending.get()) is not None:
            job, photo = item
            try:
                self._write(job, photo)
                self.done.add(job)
            except Exception as error:  # the next result may be writable
                self._fail(job.source, f'{job.target} could not be written: {error}')

    def __enter__(self) -> _Writer:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._pending.put(None)
        self._thread.join()
