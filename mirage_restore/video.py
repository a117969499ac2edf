"""Restore videos frame by frame, through PyAV (FFmpeg): a player shows the result as it shows the source.

Pictures are encoded in segments into a hidden folder beside the result; a command that was killed goes on behind the
last whole segment. When all are there, they are joined with the sound, the subtitles and the tags of the source.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Interpolation
from tqdm import tqdm

from mirage_data.files.write import written_aside

from .formats import VIDEO_EXTENSIONS, video_ending
from .video_streams import (
    Source,
    common_box,
    encoder_for,
    join,
    open_encoder,
    open_to_read,
    picture_stream,
    probe,
    sampled_frames,
    turned_upright,
)

__all__ = ['VIDEO_EXTENSIONS', 'Film', 'restore_video']

SEGMENT_FRAMES = 240
_SCALING = Interpolation.BICUBIC
if hasattr(Interpolation, 'ACCURATE_RND'):  # PyAV 18 and later, which need Python 3.11
    _SCALING |= Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP


@dataclass(frozen=True)
class Film:
    """What became of a video.

    Attributes:
        frames: Number of its pictures.
        resumed: Number of those that an earlier run had restored.
        sample: A frame from its middle before and after, (h, w, 3).
        notes: What was changed or left out.
    """

    frames: int
    resumed: int
    sample: tuple[np.ndarray, np.ndarray]
    notes: tuple[str, ...]


def restore_video(
    restore: Callable[[np.ndarray], np.ndarray],
    source: Path,
    target: Path,
    *,
    progress: bool = True,
    crf: int | None = None,
    encoder: str | None = None,
) -> Film:
    """Restore a video.

    Interlaced frames are de-interlaced, and turned ones are turned upright. Timestamps, sample aspect, depth, colour
    tags and the size are those of the source; sound, subtitles and other tracks are copied.

    Args:
        restore: Takes and returns an RGB frame (h, w, 3), uint8, or uint16 for videos of more than 8 bits. Of a
            `Restorer` the part within black bars is restored, the same in all frames.
        source: Video to read.
        target: Video to write, at once when it is whole.
        progress: Show a progress bar.
        crf: Quality, 0 (lossless) to 51; None for visually lossless.
        encoder: 'h264', 'h265' or 'ffv1'; None for what suits the ending of ``target``.

    Raises:
        ValueError: The source is not a readable video, or was cut short; or the target cannot hold what is encoded.
        OSError: The target cannot be written.
    """
    source, target = Path(source), Path(target)
    fitting = video_ending(target.suffix, encoder)
    if fitting != target.suffix:
        what = f'does not hold {encoder}' if encoder else 'is not written'
        raise ValueError(f'{target}: {target.suffix or "no ending"} {what}; choose a name that ends with {fitting}')
    found = probe(source)
    codec = encoder_for(target.suffix, encoder)
    within = getattr(restore, 'within', None)
    if within is not None:
        restore = within(common_box(sampled_frames(found)), sampled_frames(found))
    work = _Work(found, target, codec, crf, restore)
    with tqdm(total=found.frames, desc=source.name, unit='frame', disable=not progress) as bar:
        try:
            work.restore(bar)
            notes = work.finish()
        except av.FFmpegError as error:
            work.clean_up()
            if isinstance(error, OSError):
                raise OSError(f'{source}: {target} could not be written: {error.strerror}') from error
            raise ValueError(f'{source}: cannot be decoded or encoded: {error.strerror}') from error
        except (OSError, ValueError, RuntimeError):
            work.clean_up()
            raise
    assert work.sample is not None
    return Film(work.frames, work.resumed, work.sample, (*found.notes, *notes, *work.notes))


class _Work:
    """The segments of one video on their way."""

    def __init__(self, source: Source, target: Path, codec: str, crf: int | None, restore: Callable) -> None:
        self.source, self.target, self.codec, self.crf, self._restore = source, target, codec, crf, restore
        self.folder = target.parent / f'.{target.name}.part'
        self.frames = self.resumed = 0
        self.notes: tuple[str, ...] = ()
        self.sample: tuple[np.ndarray, np.ndarray] | None = None

    def restore(self, bar: tqdm) -> None:
        """Restore what is not restored yet, segment by segment."""
        self._start()
        self.resumed = self.frames = len(self._whole()) * SEGMENT_FRAMES
        last = self.folder / 'last'
        if last.exists():  # only the joining is left
            self.resumed = self.frames = int(last.read_text())
        bar.update(min(self.frames, bar.total or self.frames))
        frames = _frames(self.source)
        pending = islice(frames, self.frames, None) if not last.exists() else iter(())
        number = len(self._whole())
        while True:
            part = islice(pending, SEGMENT_FRAMES)
            first = next(part, None)
            if first is None:
                break
            count = self._segment(number, first, part, bar)
            number += 1
            if count < SEGMENT_FRAMES:
                break
        if not self._whole():
            raise ValueError(f'{self.source.path}: has no picture that can be decoded')
        if self.frames < 0.98 * self.source.frames - 2:
            raise ValueError(
                f'{self.source.path}: is damaged: only {self.frames} of {self.source.frames} frames can be decoded'
            )
        last.write_text(str(self.frames))
        if self.sample is None:
            self.sample = self._stored_sample()

    def finish(self) -> tuple[str, ...]:
        """Join the segments and move the result into its place."""
        aside = self.folder / f'joined{self.target.suffix}'
        notes = join(self._whole(), self.source, aside)
        with open_to_read(aside) as result:
            packets = sum(1 for p in result.demux(picture_stream(result)) if p.size)
        if packets != self.frames:
            raise OSError(f'{self.target}: {packets} of {self.frames} frames were written')
        os.chmod(aside, 0o644)
        os.replace(aside, self.target)
        shutil.rmtree(self.folder, ignore_errors=True)
        return notes

    def clean_up(self) -> None:
        """After a failure: nothing is left but whole segments, from which the same command goes on."""
        if not self._whole():
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        for file in self.folder.glob('*'):
            if file.suffix == '.part' or file.name.startswith('joined'):
                with contextlib.suppress(OSError):
                    file.unlink()

    def _start(self) -> None:
        """Make the folder of the segments; what is in it from another file or other settings is thrown away."""
        state = os.stat(self.source.path)
        facts = [
            str(self.source.path.resolve()),
            state.st_size,
            state.st_mtime_ns,
            self.codec,
            self.crf,
            SEGMENT_FRAMES,
            _identity(self._restore),
        ]
        key = hashlib.sha256(json.dumps(facts).encode('utf-8', 'surrogatepass')).hexdigest()
        stamp = self.folder / 'source'
        with contextlib.suppress(OSError):
            if stamp.read_text() == key:
                return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        stamp.write_text(key)

    def _whole(self) -> list[Path]:
        return sorted(self.folder.glob('*.nut'))

    def _segment(self, number: int, first: _Frame, rest: Iterator[_Frame], bar: tqdm) -> int:
        path = self.folder / f'{number:06d}.nut'
        count = 0
        with written_aside(path) as aside, av.open(str(aside), 'w', format='nut') as output:
            height, width = first.pixels.shape[:2]
            stream = open_encoder(output, self.codec, self.source, (width, height), first.aspect, self.crf)
            for frame in _chain(first, rest):
                if frame.pixels.shape[:2] != (height, width):
                    raise ValueError(f'{self.source.path}: its pictures change their size; cut it into parts first')
                restored = self._restore(frame.pixels)
                if self.sample is None or self.frames == self.source.frames // 2:
                    self.sample = (frame.pixels, restored)
                output.mux(stream.encode(_encodable(restored, frame, stream, self.source)))
                count += 1
                self.frames += 1
                bar.update()
            output.mux(stream.encode(None))
        return count

    def _stored_sample(self) -> tuple[np.ndarray, np.ndarray]:
        before = next(_frames(self.source)).pixels
        with open_to_read(self._whole()[0]) as container:
            after = next(container.decode(video=0))
            return before, after.to_ndarray(format='rgb48le' if before.dtype == np.uint16 else 'rgb24')


@dataclass(frozen=True)
class _Frame:
    """One picture.

    Attributes:
        pixels: (h, w, 3) RGB.
        time: When it is shown, in units of the source.
        aspect: Its sample aspect ratio as it is shown.
        decoded: The same as it was decoded; None where ``pixels`` were turned.
    """

    pixels: np.ndarray
    time: int
    aspect: Fraction
    decoded: av.VideoFrame | None = None


def _frames(source: Source) -> Iterator[_Frame]:
    """The pictures of a video in the order in which they are shown, whole frames, upright."""
    form = 'rgb48le' if source.deep else 'rgb24'
    with open_to_read(source.path) as container:
        stream = picture_stream(container)
        stream.thread_type = 'AUTO'
        graph, last = None, None
        for number, frame in enumerate(_decoded(container, stream)):
            if frame.pts is None:
                frame.pts = round(number / source.rate / stream.time_base)
                frame.time_base = stream.time_base
            if graph is None or (frame.width, frame.height, frame.format.name) != last:
                last = (frame.width, frame.height, frame.format.name)
                if graph is not None:
                    yield from _pulled(graph, source, form, flush=True)
                graph = _deinterlacing(frame, stream.time_base)
            graph.vpush(frame)
            yield from _pulled(graph, source, form)
        if graph is not None:
            yield from _pulled(graph, source, form, flush=True)


def _decoded(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Frames; a packet that cannot be decoded is passed over (too many of them are an error later)."""
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.InvalidDataError:
            continue


def _deinterlacing(frame: av.VideoFrame, time_base: Fraction) -> av.filter.Graph:
    graph = av.filter.Graph()
    start = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=time_base)
    whole = graph.add('bwdif', 'mode=send_frame:deint=interlaced')  # touches frames that say they are interlaced
    end = graph.add('buffersink')
    start.link_to(whole)
    whole.link_to(end)
    graph.configure()
    return graph


def _pulled(graph: av.filter.Graph, source: Source, form: str, flush: bool = False) -> Iterator[_Frame]:
    if flush:
        graph.vpush(None)
    while True:
        try:
            frame = graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
        rgb = frame.reformat(
            format=form,
            src_colorspace=_scaler_matrix(source.matrix),
            dst_color_range=ColorRange.JPEG,
            src_color_range=_range(source),
            interpolation=_SCALING,
        )
        pixels = turned_upright(rgb.to_ndarray(), frame.rotation)
        aspect = 1 / source.aspect if frame.rotation % 180 else source.aspect
        time = round(frame.pts * frame.time_base / source.time_base)
        yield _Frame(pixels, time, aspect, None if frame.rotation % 360 else frame)


def _encodable(pixels: np.ndarray, frame: _Frame, stream: av.VideoStream, source: Source) -> av.VideoFrame:
    """The restored picture in the encoder's format.

    RGB has a full set of colours for each pixel, and most videos one for four: there and back again costs a little.
    Where both formats are alike, the change of the picture is therefore added to it as it was decoded, so that what is
    not changed by restoring is not changed at all.
    """

    def converted(image: np.ndarray) -> av.VideoFrame:
        rgb = av.VideoFrame.from_ndarray(image, format='rgb48le' if image.dtype == np.uint16 else 'rgb24')
        return rgb.reformat(
            format=stream.pix_fmt,
            dst_colorspace=_scaler_matrix(source.matrix),
            src_color_range=ColorRange.JPEG,
            dst_color_range=_range(source),
            interpolation=_SCALING,
        )

    result, decoded = converted(pixels), frame.decoded
    if decoded is not None and '' != _unjoined(decoded.format.name) == _unjoined(result.format.name):
        most = 2 ** max(c.bits for c in result.format.components) - 1
        for new, old, first in zip(result.planes, converted(frame.pixels).planes, decoded.planes):
            width, kept = new.width, _values(new, result)
            change = kept[:, :width].astype(np.int32) - _values(old, result)[:, :width]
            kept[:, :width] = np.clip(_values(first, decoded)[:, :width] + change, 0, most)
            new.update(kept)
    result.pts, result.time_base = frame.time, source.time_base
    result.pict_type = 0
    return result


def _unjoined(name: str) -> str:
    """A planar format's name without what tells of its range."""
    return name.replace('yuvj', 'yuv') if name.startswith(('yuv4', 'yuvj4', 'gray')) else ''


def _values(plane: av.VideoPlane, frame: av.VideoFrame) -> np.ndarray:
    """The rows of a plane, padding included, as a copy."""
    kind = np.uint16 if frame.format.components[0].bits > 8 else np.uint8
    return np.frombuffer(plane, kind).reshape(plane.height, -1).copy()


def _scaler_matrix(matrix: int) -> int:
    """swscale's number of a matrix: it counts as AVColorSpace does, 601 aside."""
    return 5 if matrix == 6 else matrix


def _range(source: Source) -> ColorRange:
    full = source.full_range
    return ColorRange.JPEG if full else ColorRange.MPEG


def _chain(first: _Frame, rest: Iterator[_Frame]) -> Iterator[_Frame]:
    yield first
    yield from rest


def _identity(restore: Callable) -> str:
    """What tells one way of restoring from another."""
    return str(getattr(restore, 'identity', getattr(restore, '__qualname__', type(restore).__name__)))
