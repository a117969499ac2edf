"""The queue: uploads wait in files, one thread restores them one after another, and what is old is thrown away."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .limits import Limits

__all__ = ['Choice', 'Desk', 'GivenUpError', 'Job', 'Outcome']

_LOG = logging.getLogger(__name__)
_MOST_KEPT = 200  # finished jobs whose files are kept
_FINAL = ('done', 'failed', 'given up')


class GivenUpError(Exception):
    """Whoever sent this has gone, or took it back."""


@dataclass(frozen=True)
class Choice:
    """How to restore."""

    model: str
    precision: str = 'fp32'
    strength: float = 1.0
    keep_tone: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came out of a job.

    Attributes:
        result: The restored file.
        before: What a browser can show of the input.
        after: What a browser can show of the result.
        words: What was done, in words.
    """

    result: Path
    before: Path
    after: Path
    words: str


@dataclass
class Job:
    """One upload.

    Attributes:
        id: Not to be guessed: knowing it is the permission to fetch the result.
        name: Of the file, as it was sent.
        folder: Where its files are.
        choice: How it is restored.
        patience: Seconds it waits without being asked about.
    """

    id: str
    name: str
    folder: Path
    choice: Choice
    patience: float
    state: str = 'arriving'
    words: str = ''
    progress: float = 0.0
    outcome: Outcome | None = None
    asked: float = field(default_factory=time.monotonic)
    taken_back: bool = False
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def source(self) -> Path:
        """The upload."""
        return self.folder / f'source{Path(self.name).suffix.lower()}'

    def moved(self, share: float) -> None:
        """Note how far the work is.

        Raises:
            GivenUpError: Nobody waits for it any longer.
        """
        self.progress = share
        if self.is_forsaken():
            raise GivenUpError

    def is_forsaken(self) -> bool:
        """Whether nobody waits for it."""
        return self.taken_back or time.monotonic() - self.asked > self.patience


class Desk:
    """Takes uploads, restores them one at a time, keeps results for a while.

    Args:
        restore: Restores a job's source into its folder; raises ValueError, OSError or RuntimeError with the reason.
        limits: How much is taken and kept.
    """

    def __init__(self, restore: Callable[[Job], Outcome], limits: Limits) -> None:
        self.limits = limits
        self._restore = restore
        self._folder = Path(tempfile.mkdtemp(prefix='mirage-web-'))
        self._jobs: dict[str, Job] = {}
        self._waiting: queue.Queue[Job | None] = queue.Queue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name='restoring', daemon=True)
        self._thread.start()

    def open(self, name: str, choice: Choice) -> Job:
        """A job whose upload is about to arrive.

        Raises:
            queue.Full: Too many wait.
        """
        self.sweep()
        with self._lock:
            if sum(job.state in ('arriving', 'waiting') for job in self._jobs.values()) >= self.limits.waiting:
                raise queue.Full
            identity = secrets.token_urlsafe(16)
            job = Job(identity, name, self._folder / identity, choice, self.limits.patience)
            job.folder.mkdir(mode=0o700)
            self._jobs[identity] = job
        return job

    def put(self, job: Job) -> None:
        """The upload is there: queue it."""
        job.asked = time.monotonic()
        job.state = 'waiting'
        self._waiting.put(job)

    def get(self, identity: str) -> Job | None:
        """A job, which is asked about with this."""
        job = self._jobs.get(identity)
        if job is not None:
            job.asked = time.monotonic()
        return job

    def position(self, job: Job) -> int:
        """How many are restored before it, the one in work counted; 0 for the one in work."""
        with self._lock:
            if job.state != 'waiting':
                return 0
            before = 0
            for other in self._jobs.values():
                if other is job:
                    break
                before += other.state == 'waiting'
            return before + any(other.state == 'working' for other in self._jobs.values())

    def drop(self, job: Job) -> None:
        """Throw a job away; one in work stops at its next step."""
        job.taken_back = True
        if job.state != 'working':
            self._forget(job)

    def sweep(self) -> None:
        """Throw away what nobody has asked about for long, and the oldest where there are too many."""
        now = time.monotonic()
        with self._lock:
            finished = [job for job in self._jobs.values() if job.state in _FINAL]
        finished.sort(key=lambda job: job.asked)
        surplus = len(finished) - _MOST_KEPT
        for number, job in enumerate(finished):
            if number < surplus or now - job.asked > self.limits.minutes * 60:
                self._forget(job)

    def close(self) -> None:
        """Stop, and leave nothing on the disk."""
        self._closed = True
        for job in list(self._jobs.values()):
            job.taken_back = True
        self._waiting.put(None)
        self._thread.join(timeout=30)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _work(self) -> None:
        while True:
            try:
                job = self._waiting.get(timeout=20)
            except queue.Empty:
                self.sweep()
                continue
            if job is None:
                return
            self._serve(job)
            self.sweep()

    def _serve(self, job: Job) -> None:
        if job.is_forsaken():
            job.state, job.words = 'given up', 'Nobody asked for it any longer.'
        else:
            job.state = 'working'
            try:
                job.outcome = self._restore(job)
                job.words, job.state = job.outcome.words, 'done'
            except GivenUpError:
                job.state, job.words = 'given up', 'Nobody asked for it any longer.'
            except (ValueError, OSError, RuntimeError, MemoryError) as error:
                job.state, job.words = 'failed', self._without_paths(error, job)
            except Exception:  # the next upload may be fine; what it was is in the log of the server alone
                _LOG.exception('%s', job.name)
                job.state, job.words = 'failed', f'{job.name}: could not be restored; the log of the server tells why'
        with contextlib.suppress(OSError):
            if job.outcome is None or job.outcome.before != job.source:
                job.source.unlink()
        if job.taken_back:
            self._forget(job)
        job.ended.set()

    def _without_paths(self, error: BaseException, job: Job) -> str:
        """The reason, in which files of this machine have the name that they were sent with, or none."""
        words = str(error) or 'the memory of the server does not suffice'
        if isinstance(error, OSError) and error.strerror:
            words = error.strerror
        words = words.replace(os.fspath(job.source), job.name)
        words = words.replace(f'{job.folder}{os.sep}', '').replace(os.fspath(self._folder), '')
        return words if words.startswith(job.name) else f'{job.name}: {words}'

    def _forget(self, job: Job) -> None:
        with self._lock:
            self._jobs.pop(job.id, None)
        shutil.rmtree(job.folder, ignore_errors=True)
