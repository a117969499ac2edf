"""From an upload to the restored file, what a browser shows of both, and words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mirage_restore.bundled import AUTO, DEFAULT_MODEL, bundled_models
from mirage_restore.jobs import Options, find_jobs
from mirage_restore.photo import Photo, pixels_limited_to, read_photo
from mirage_restore.photo_write import write_photo

from .desk import Choice, Job, Outcome
from .limits import Limits

if TYPE_CHECKING:
    from mirage_restore.inputs import Box
    from mirage_restore.restorer import Restorer

__all__ = ['OWN', 'Restoring', 'check_choice']

OWN = 'own'  # the name of weights given on the command line
PRECISIONS = ('fp32', 'bf16', 'fp16')
_SHOWN_BY_BROWSERS = (b'\xff\xd8\xff', b'\x89PNG', b'GIF8', b'BM')


def offered(own: bool = False) -> list[str]:
    """Names of the models that a visitor can choose."""
    return [AUTO, *bundled_models(), *([OWN] if own else [])]


def check_choice(model: str, precision: str, strength: str, keep_tone: str = '0', own: bool = False) -> Choice:
    """Settings from text.

    Raises:
        ValueError: One is not allowed; the message says what is.
    """
    models = offered(own)
    model = model or (OWN if own else DEFAULT_MODEL)
    if model not in models:
        raise ValueError(f'model must be one of {", ".join(models)}, got {model!r}')
    if precision not in PRECISIONS:
        raise ValueError(f'precision must be one of {", ".join(PRECISIONS)}, got {precision!r}')
    try:
        number = float(strength)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise ValueError(f'strength must be a number from 0 to 1, got {strength!r}')
    if keep_tone not in ('0', '1'):
        raise ValueError(f'keep_tone must be 0 or 1, got {keep_tone!r}')
    return Choice(model, precision, number, keep_tone == '1')


class Restoring:
    """Restores jobs; the network of the last one stays loaded.

    Args:
        limits: What is taken.
        weights: A file that is offered as model `OWN`.
        device: As of `Restorer`.
    """

    def __init__(self, limits: Limits, weights: str | Path | None = None, device: str = 'auto') -> None:
        self._limits, self._weights, self._device = limits, weights, device
        self._loaded: tuple[Choice, Restorer] | None = None

    def load(self, choice: Choice) -> Restorer:
        """The restorer for a choice.

        Raises:
            ValueError: The weights or the device cannot be used.
        """
        from mirage_restore.restorer import Restorer  # which takes PyTorch's time

        if self._loaded is None or self._loaded[0] != choice:
            self._loaded = None  # first give its memory back
            own = choice.model == OWN
            restorer = Restorer(
                self._weights if own else None,
                self._device,
                choice.precision,
                model=None if own else choice.model,
                strength=choice.strength,
                keep_tone=choice.keep_tone,
            )
            self._loaded = (choice, restorer)
        return self._loaded[1]

    def __call__(self, job: Job) -> Outcome:
        """Restore a job's source, with every limit, message and tag as the command has them."""
        restorer = self.load(job.choice)
        plan = find_jobs([job.source], job.folder / 'restored', Options())
        if plan.useless:
            raise ValueError(plan.useless[0][1])
        planned = plan.jobs[0]
        start = time.monotonic()
        try:
            if planned.is_video:
                return self._video(job, restorer, planned.target, start)
            return self._photo(job, restorer, planned.target, start)
        except (ValueError, RuntimeError) as error:
            kind = ValueError if isinstance(error, ValueError) else RuntimeError  # others ask for more than a text
            raise kind(str(error).replace(str(restorer.weights), job.choice.model)) from error

    def _photo(self, job: Job, restorer: Restorer, target: Path, start: float) -> Outcome:
        with pixels_limited_to(self._limits.pixels):
            photo = read_photo(job.source)
        restorer.on_progress = job.moved
        try:
            pixels = restorer(photo.pixels)
        finally:
            restorer.on_progress = None
        dropped = write_photo(Photo(**{**vars(photo), 'pixels': pixels}), target)
        before = _shown(job.source, photo, job.folder / 'before.png')
        height, width = pixels.shape[:2]
        words = _words(f'{width}x{height} pixels', job.choice, restorer, time.monotonic() - start)
        notes = list(photo.notes)
        if dropped:
            notes.append(f'{target.suffix.lstrip(".").upper()} does not hold: {", ".join(dropped)}')
        after = _shown(target, Photo(pixels, icc_profile=photo.icc_profile), job.folder / 'after.png')
        return Outcome(target, before, after, '. '.join([words, *notes]))

    def _video(self, job: Job, restorer: Restorer, target: Path, start: float) -> Outcome:
        from mirage_restore.video import restore_video

        frames = self._check_video(job)
        told = _Frames(restorer, job.moved, frames)
        film = restore_video(told, job.source, target, progress=False)  # type: ignore[arg-type]  # asks it for `within`
        before, after = job.folder / 'before.png', job.folder / 'after.png'
        for place, pixels in zip((before, after), film.sample):
            write_photo(Photo(pixels), place)
        words = _words(f'{film.frames} frames', job.choice, restorer, time.monotonic() - start)
        return Outcome(target, before, after, '. '.join([words, *film.notes]))

    def _check_video(self, job: Job) -> int:
        """The number of frames, counted: a header need not tell it, nor how long the video lasts."""
        from mirage_restore.video_streams import probe

        if not self._limits.seconds:
            raise ValueError(f'{job.source}: is a video, and this server takes photographs only')
        found = probe(job.source)
        pixels = found.size[0] * found.size[1]
        if found.seconds > self._limits.seconds + 0.5:
            raise ValueError(f'{job.source}: lasts {found.seconds:.0f} s; allowed here are {self._limits.seconds:g} s')
        if found.frames > self._limits.seconds * 120:
            raise ValueError(
                f'{job.source}: has {found.frames} frames; allowed here are {self._limits.seconds * 120:g}'
            )
        if pixels > self._limits.pixels:
            raise ValueError(
                f'{job.source}: frames of {pixels / 1e6:.1f} megapixels; allowed are {self._limits.megapixels:g}'
            )
        return found.frames


class _Frames:
    """A restorer that tells after each frame how far it is."""

    def __init__(self, restorer: Restorer, tell: Callable[[float], None], frames: int) -> None:
        self._restorer, self._tell, self._frames = restorer, tell, max(frames, 1)

    def within(self, box: Box | None, frames: Iterable[np.ndarray] = ()) -> Callable[[np.ndarray], np.ndarray]:
        """See `Restorer.within`."""
        inner, done = self._restorer.within(box, frames), 0

        def restore(image: np.ndarray) -> np.ndarray:
            nonlocal done
            self._tell(min(done / self._frames, 1.0))
            done += 1
            return inner(image)

        restore.identity = inner.identity  # type: ignore[attr-defined]  # which `video` reads
        return restore


def _shown(file: Path, photo: Photo, aside: Path) -> Path:
    """The file, where every browser shows it, or a PNG of 8 bits beside it."""
    with open(file, 'rb') as opened:
        start = opened.read(12)
    if start.startswith(_SHOWN_BY_BROWSERS) or (start[:4] == b'RIFF' and start[8:] == b'WEBP'):
        return file
    pixels = photo.pixels
    if pixels.dtype == np.uint16:
        pixels = np.round(pixels / 257.0).astype(np.uint8)
    elif pixels.dtype != np.uint8:
        pixels = np.round(pixels * 255).astype(np.uint8)
    write_photo(Photo(pixels, icc_profile=photo.icc_profile), aside)
    return aside


def _words(size: str, choice: Choice, restorer: Restorer, seconds: float) -> str:
    chosen = f'{choice.model}: {restorer.chosen}' if restorer.chosen else choice.model
    how = [chosen, choice.precision]
    if choice.strength < 1:
        how.append(f'strength {choice.strength:.0%}')
    if choice.keep_tone:
        how.append('tone kept')
    return f'{size} restored in {seconds:.1f} s on {restorer.device} ({", ".join(how)})'
