"""Writing a file so that its name never shows half of it: beside its place first, then moved there."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np


@contextlib.contextmanager
def written_aside(path: str | Path, durable: bool = False) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` when the block ends, and is gone if it fails.

    Args:
        path: The file in the end; folders above it are made.
        durable: For what one process alone writes: wait until the disk has it, so that a power failure, too, leaves the
            old file or the new one.

    Raises:
        OSError: It cannot be written; what was there before is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = f'.{path.name[-50:]}.{secrets.token_hex(4)}'  # each writer has its own
    aside = path.with_name((path.name if durable else hidden) + '.part')
    try:
        yield aside
        if durable:
            _sync(aside)
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise
    if durable and os.name == 'posix':  # the new name itself must survive, too
        _sync(path.parent)


def write_file(path: str | Path, content: bytes | memoryview | str, durable: bool = False) -> None:
    """Writes a whole file by `written_aside`; text as UTF-8 with its line ends as they are.

    A byte of a file name that is no text is written as Python's escape for it, which JSON knows, too.
    """
    with written_aside(path, durable) as aside:
        aside.write_bytes(content.encode('utf-8', 'backslashreplace') if isinstance(content, str) else content)


def write_image(path: str | Path, image: np.ndarray, quality: int = 95) -> None:
    """Writes (h, w, 3) uint8 or uint16 RGB in the format of the file's ending, JPEG with `quality`."""
    import cv2  # photographs are written without it

    jpeg = Path(path).suffix.lower() in ('.jpg', '.jpeg')
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if jpeg else [cv2.IMWRITE_PNG_COMPRESSION, 3]
    write_file(path, cv2.imencode(Path(path).suffix, np.ascontiguousarray(image[..., ::-1]), options)[1].tobytes())


@contextlib.contextmanager
def alone_in(folder: str | Path) -> Iterator[None]:
    """Within it no other process is in such a block for the same folder; it waits, and says so, until that is left.

    The kernel gives the lock back however a process ends. Without locks (Windows, some network file systems) nothing
    is waited for.
    """
    descriptor = None
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f'{folder}: another process writes there; waiting until it is done', file=sys.stderr, flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except (ImportError, OSError):
        pass
    try:
        yield
    finally:
        if descriptor is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # also where a forked process holds the descriptor, too
            os.close(descriptor)


def clear_remains(folder: str | Path) -> None:
    """Removes what killed processes have left of `written_aside` in a folder, in which nobody else may be writing."""
    for remains in Path(folder).glob('*.part'):
        if remains.is_symlink() or remains.is_file():
            remains.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
