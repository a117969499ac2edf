"""Restore many files: reading, computing and writing overlap, and one bad file never stops the rest."""

from __future__ import annotations

import contextlib
import logging
import queue
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mirage_arch.memory import is_out_of_memory
from mirage_data.files.crops import side_by_side

from .jobs import Job, Options, Plan, Record, find_jobs, is_file_name, named
from .photo import Photo, read_photo
from .photo_write import write_photo

__all__ = ['Job', 'Options', 'Summary', 'check_target', 'find_jobs', 'restore_files', 'restore_job']

_AHEAD = 2  # images read before they are needed, and waiting to be written
_LARGE = 2_000_000  # pixels from which the bar moves within a picture, too


@dataclass
class Summary:
    """What became of the files.

    Attributes:
        restored: Number of files with a result.
        skipped: Number of files left out because they were restored before.
        failures: (file or URL, reason).
        notes: (file, what was changed or left out), of restored files.
        unread: Files of input folders that are no photograph or video.
    """

    restored: int = 0
    skipped: int = 0
    failures: list[tuple[Path | str, str]] = field(default_factory=list)
    notes: list[tuple[Path | str, str]] = field(default_factory=list)
    unread: Sequence[Path | str] = ()

    @property
    def failed(self) -> int:
        """Number of files that could not be restored."""
        return len({source for source, _ in self.failures})


def check_target(target: str | Path) -> None:
    """Make the folder of the results and try to write into it, before anything is computed.

    Raises:
        OSError: It cannot be made or written to; the message names it.
    """
    folder = Path(target).parent if is_file_name(target) else Path(target)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(prefix='.', dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f'{folder}: results could not be written there: {error.strerror or error}; choose another folder (-o)'
        ) from error


def restore_files(
    restore: Callable, inputs: Sequence[str | Path], target: str | Path, options: Options | None = None
) -> Summary:
    """Restore files into a folder.

    Args:
        restore: Takes and returns an image array, as `Restorer` does.
        inputs: See `find_jobs`.
        target: Folder of the results; or, for a single input, the name of the result.
        options: Naming and treatment.

    Returns:
        What was done; failures are also logged as they happen.

    Raises:
        ValueError: ``target`` is one file, and there are several inputs.
    """
    options = options or Options()
    folder = Path(target).parent if is_file_name(target) else Path(target)
    record = Record(folder)
    plan = find_jobs(inputs, target, options, record)
    return _Run(restore, options, record).work(plan, target)


def restore_job(restore: Callable, job: Job, options: Options) -> tuple[str, ...]:
    """Restore one file, whose result is then the same as that of `restore_files`; nothing is recorded.

    Returns:
        What was changed or left out.

    Raises:
        ValueError, RuntimeError, MemoryError: The file cannot be restored.
        OSError: The result cannot be written.
    """
    if job.is_video:
        from .video import restore_video

        film = restore_video(restore, job.source, job.target, progress=False, crf=options.crf, encoder=options.encoder)
        if job.comparison:
            write_photo(Photo(_compared(*film.sample)), job.comparison)
        return (*film.notes, *_chosen(restore))
    photo = read_photo(job.source)
    pixels = restore(photo.pixels)
    if job.comparison:
        write_photo(_comparison(photo, pixels), job.comparison)
    dropped = write_photo(replace(photo, pixels=pixels), job.target, options.quality)
    return (*photo.notes, *_chosen(restore), *_described(dropped, job.target))


def _chosen(restore: Callable) -> list[str]:
    model = getattr(restore, 'chosen', None)
    return [f'restored with {model}'] if model else []


def _described(dropped: tuple[str, ...], target: Path) -> list[str]:
    return [f'{target.suffix.lstrip(".").upper()} does not hold: {", ".join(dropped)}'] if dropped else []


class _Run:
    """One call of `restore_files`."""

    def __init__(self, restore: Callable, options: Options, record: Record) -> None:
        self._restore, self._options, self._record = restore, options, record
        self.summary = Summary()
        self._log = logging.getLogger(__name__)

    def work(self, plan: Plan, target: str | Path) -> Summary:
        self.summary.skipped, self.summary.unread = len(plan.done), plan.unread
        for source, reason in plan.useless:
            self._fail(source, reason)
        try:
            check_target(target)
        except OSError as error:
            self._log.error('%s', error)
            self.summary.failures += [(job.source, str(error)) for job in plan.jobs]
            return self.summary
        photos = [job for job in plan.jobs if not job.is_video]
        writer = _Writer(self._write, self._fail)
        with tqdm(total=len(plan.jobs), unit='file', disable=not self._options.progress) as bar, writer:
            for job, photo in _read_ahead(photos, self._fail):
                bar.set_postfix_str(job.source.name, refresh=False)
                if photo is not None:
                    self._restore_photo(job, photo, writer, bar)
                bar.n = round(bar.n)
                bar.update()
            for job in plan.jobs:
                if job.is_video:
                    self._restore_film(job, writer)
                    bar.update()
        failed = {source for source, _ in self.summary.failures}
        self.summary.notes += [note for note in plan.notes if note[0] not in failed]
        self.summary.restored = sum(job in writer.done and job.source not in failed for job in plan.jobs)
        return self.summary

    def _restore_photo(self, job: Job, photo: Photo, writer: _Writer, bar: tqdm) -> None:
        height, width = photo.pixels.shape[:2]
        try:
            with _shown_within(self._restore, bar if height * width >= _LARGE else None):
                pixels = self._restore(photo.pixels)
        except (ValueError, RuntimeError, MemoryError) as error:
            full = f'out of memory, even in tiles ({width}x{height} pixels)'
            self._fail(job.source, full if is_out_of_memory(error) else str(error))
            return
        writer.put(job, replace(photo, pixels=pixels, notes=(*photo.notes, *_chosen(self._restore))))
        if job.comparison:  # behind the result, with which both are recorded
            writer.put(replace(job, target=job.comparison), _comparison(photo, pixels))

    def _restore_film(self, job: Job, writer: _Writer) -> None:
        from .video import restore_video

        options = self._options
        try:
            film = restore_video(
                self._restore,
                job.source,
                job.target,
                progress=options.progress,
                crf=options.crf,
                encoder=options.encoder,
            )
            self._record.add(job.source, job.target, job.comparison)
            if job.comparison:
                write_photo(Photo(_compared(*film.sample)), job.comparison)
        except (OSError, ValueError, RuntimeError) as error:
            self._fail(job.source, str(error))
        else:
            writer.done.add(job)
            self.summary.notes += [(job.source, note) for note in (*film.notes, *_chosen(self._restore))]

    def _write(self, job: Job, photo: Photo) -> None:
        dropped = write_photo(photo, job.target, self._options.quality)
        if job.target == job.comparison:
            return
        self._record.add(job.source, job.target, job.comparison)
        notes = [*photo.notes, *_described(dropped, job.target)]
        self.summary.notes += [(job.source, note) for note in notes]

    def _fail(self, source: Path, reason: str) -> None:
        self.summary.failures.append((source, reason))
        self._log.error('%s', named(source, reason))


@contextlib.contextmanager
def _shown_within(restore: Callable, bar: tqdm | None) -> Iterator[None]:
    """Moves a bar of files while a large picture is in work, where ``restore`` can tell how far it is."""
    if bar is None or bar.disable or not hasattr(restore, 'on_progress'):
        yield
        return
    start = bar.n

    def moved(share: float) -> None:
        bar.n = round(start + share, 2)
        bar.refresh()

    restore.on_progress = moved
    try:
        yield
    finally:
        restore.on_progress = None
        bar.n = start


def _comparison(photo: Photo, restored: np.ndarray) -> Photo:
    """A photograph and its restored pixels side by side, with its profile where that is one of RGB."""
    profile = photo.icc_profile
    return Photo(_compared(photo.pixels, restored), profile if profile and profile[16:20] == b'RGB ' else None)


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

    def put(item: object) -> bool:
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
                reason = error.strerror if isinstance(error, OSError) and error.strerror else error
                self._fail(job.source, f'{job.source}: {job.target} could not be written: {reason}')

    def __enter__(self) -> _Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._pending.put(None)
        self._thread.join()
