"""Restore videos frame by frame, through OpenCV; the sound is copied where ffmpeg is there."""
from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

__all__ = ['VIDEO_EXTENSIONS', 'restore_video']

VIDEO_EXTENSIONS = ('.mp4', '.avi', '.mov', '.mkv', '.m4v')
_CODECS = {'.avi': 'MJPG'}
_CODEC = 'mp4v'
_DEFAULT_RATE = 25.0  # of files that do not tell


def restore_video(restore: Callable[[np.ndarray], np.ndarray], source: Path, target: Path, *,
                  progress: bool = True) -> int:
    """Restore a video.

    Args:
        restore: Takes and returns an RGB uint8 frame (h, w, 3).
        source: Video to read.
        target: Video to write, at once when it is whole; .avi as Motion JPEG, others as MPEG-4.
        progress: Show a progress bar.

    Returns:
        Number of frames.

    Raises:
        ValueError: The source is not a readable video.
        OSError: The target cannot be written.
    """
    capture = cv2.VideoCapture(str(source))
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(prefix='.', suffix=target.suffix, dir=target.parent)
    os.close(handle)
    silent = Path(aside)
    try:
        if not capture.isOpened():
            raise ValueError(f'{source}: is not a video that OpenCV can read')
        frames = _restore_frames(restore, capture, silent, str(source), progress)
        if frames == 0:
            raise ValueError(f'{source}: has no readable frame')
        _copy_sound(source, silent)
        os.chmod(silent, 0o644)
        os.replace(silent, target)
    finally:
        capture.release()
        with contextlib.suppress(FileNotFoundError):
            silent.unlink()
    return frames


def _restore_frames(restore: Callable, capture: cv2.VideoCapture, target: Path, name: str, progress: bool) -> int:
    rate = capture.get(cv2.CAP_PROP_FPS) or _DEFAULT_RATE
    expected = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) or None
    codec = cv2.VideoWriter_fourcc(*_CODECS.get(target.suffix.lower(), _CODEC))
    writer, count = None, 0
    bar = tqdm(total=expected, desc=Path(name).name, unit='frame', disable=not progress)
    try:
        while True:
            found, frame = capture.read()
            if not found:
                return count
            restored = restore(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            if writer is None:
                writer = cv2.VideoWriter(str(target), codec, rate, (frame.shape[1], frame.shape[0]))
                if not writer.isOpened():
                    raise OSError(f'{name}: OpenCV cannot write {target.suffix} videos here')
            writer.write(cv2.cvtColor(restored, cv2.COLOR_RGB2BGR))
            count += 1
            bar.update()
    finally:
        bar.close()
        if writer is not None:
            writer.release()


def _copy_sound(source: Path, silent: Path) -> None:
    """Put the sound of ``source`` beside the pictures of ``silent``, unchanged, if ffmpeg can."""
    ffmpeg = shutil.which('ffmpeg')
    if ffmpeg is None:
        return
    mixed = silent.with_name(f'{silent.stem}_sound{silent.suffix}')
    command = [ffmpeg, '-y', '-loglevel', 'error', '-i', str(silent), '-i', str(source), '-map', '0:v', '-map', '1:a?',
               '-c', 'copy', str(mixed)]
    try:
        if subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0:
            os.replace(mixed, silent)
    finally:
        with contextlib.suppress(FileNotFoundError):
            mixed.unlink()
