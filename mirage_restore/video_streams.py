"""What a video holds and how its result is encoded: promised frames, colour, pixel format, tracks beside pictures."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np

from .inputs import Box, visible_box

__all__ = ['Source', 'encoder_for', 'join', 'open_encoder', 'open_to_read', 'probe']

_BT709, _BT601, _UNSPECIFIED = 1, 5, 2
_HD = 720  # lines from which a video that does not say is BT.709
_HDR = (16, 18)  # transfer functions: PQ and HLG
_SAMPLED = 12  # frames looked at for borders, and for what is wrong with them
_CODECS = {'h264': 'libx264', 'h265': 'libx265', 'ffv1': 'ffv1'}
_CRF = {'libx264': 6, 'libx265': 4, 'libvpx-vp9': 6}
_DEFAULT_RATE = Fraction(25)  # of files that do not tell
_MOST_BITS = 10  # of what is written
# Sound in frames. AVI's reader tells a size of blocks for it, by which AVI's writer would count time.
_FRAMED_SOUND = ('aac', 'ac3', 'eac3', 'dts', 'flac', 'mp2', 'mp3')


@dataclass(frozen=True)
class Source:
    """A video as its header and its packets tell.

    Attributes:
        path: The file.
        frames: Number of pictures in it.
        seconds: How long it lasts, as its header says, or its packets where they say more.
        rate: Frames a second, on average.
        time_base: Unit of its timestamps in seconds.
        deep: More than 8 bits a channel.
        size: Width and height as stored.
        aspect: Sample aspect ratio.
        colour: (primaries, transfer, matrix, range) as stated, 2 (range: 0) where they are not.
        notes: What cannot be kept.
    """

    path: Path
    frames: int
    seconds: float
    rate: Fraction
    time_base: Fraction
    deep: bool
    size: tuple[int, int]
    aspect: Fraction
    pixel_format: str
    colour: tuple[int, int, int, int]
    notes: tuple[str, ...] = ()

    @property
    def full_range(self) -> bool:
        """Whether its values use all of their range; those of grey do, says FFmpeg."""
        return self.colour[3] == 2 or self.pixel_format.startswith(('yuvj', 'gray'))

    @property
    def matrix(self) -> int:
        """Matrix of the colours: what is stated, else what is usual at this size."""
        stated = self.colour[2]
        if stated not in (0, _UNSPECIFIED):
            return stated
        return _BT709 if self.size[1] >= _HD else _BT601


def open_to_read(path: Path) -> av.container.InputContainer:
    """A video to read; bytes of its title and tags that are not UTF-8 become lone surrogates, as in file names."""
    return av.open(str(path), metadata_errors='surrogateescape')


def picture_stream(container: av.container.InputContainer) -> av.VideoStream:
    """The first track of pictures that is not a cover.

    Raises:
        ValueError: There is none.
    """
    covers = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & covers:
            return stream
    raise ValueError('holds no pictures')


def probe(path: Path) -> Source:
    """Read a video's header and count its packets.

    Raises:
        ValueError: Not a video, or one that was cut short.
    """
    try:
        with open_to_read(path) as container:
            stream = picture_stream(container)
            frames, there, end, start = 0, 0, 0.0, None
            for packet in container.demux():
                if packet.pts is not None:
                    seconds = float(packet.pts * packet.time_base)
                    start = seconds if start is None else min(start, seconds)
                    end = max(end, seconds + float((packet.duration or 0) * packet.time_base))
                if packet.stream.index == stream.index and packet.size:
                    there += 1  # what an edit list leaves out is there, too
                    frames += not packet.is_discard
            promised, length = stream.frames, (container.duration or 0) / av.time_base
            context = stream.codec_context
            if not frames:
                raise ValueError('has no pictures')
            depth = max((c.bits for c in context.format.components), default=8) if context.format else 8
            notes: tuple[str, ...] = ()
            if (context.format and _has_alpha(context.format)) or _alpha_tags(stream.metadata):
                notes += ('its transparency was left out',)
            if depth > _MOST_BITS:
                notes += (f'{depth} bits a channel (written with {_MOST_BITS})',)
            if context.color_trc in _HDR:
                notes += ('its colour tags are kept, but not the mastering data of HDR',)
            rate = stream.average_rate or stream.guessed_rate or _DEFAULT_RATE
            found = Source(
                path,
                frames,
                max(length, end - (start or 0.0)) or float(frames / rate),
                rate,
                stream.time_base,
                depth > 8,
                (context.width, context.height),
                stream.sample_aspect_ratio or Fraction(1),
                context.format.name if context.format else 'yuv420p',
                (context.color_primaries, context.color_trc, context.colorspace, context.color_range),
                notes,
            )
    except (av.FFmpegError, ValueError) as error:
        reason = str(error) if type(error) is ValueError else 'is not a video that can be read, or a damaged one'
        raise ValueError(f'{path}: {reason}') from error
    if promised and there < 0.98 * promised - 1:
        raise ValueError(f'{path}: is cut short: {there} of {promised} frames are there; copy it again from its source')
    if length and start is not None and end - start < 0.95 * length - 1:
        raise ValueError(
            f'{path}: is cut short: {end - start:.1f} of {length:.1f} seconds are there; copy it again from its source'
        )
    return found


def sampled_frames(source: Source) -> Iterator[np.ndarray]:
    """A few frames over the video, upright, (h, w, 3) uint8; fewer where it cannot be decoded."""
    with open_to_read(source.path) as container:
        stream = picture_stream(container)
        length = int(container.duration or 0)
        for i in range(_SAMPLED):
            try:
                if i and length:
                    container.seek(length * i // _SAMPLED + (container.start_time or 0))
                frame = next(container.decode(stream))
            except (av.FFmpegError, StopIteration):
                break
            yield turned_upright(frame.to_ndarray(format='rgb24'), frame.rotation)
            if not length:
                break


def common_box(frames: Iterable[np.ndarray]) -> Box | None:
    """The part within black bars that all frames have; None for all of it."""
    boxes = [visible_box(frame) for frame in frames]
    if not boxes:
        return None
    rows, columns = (slice(min(b[i].start for b in boxes), max(b[i].stop for b in boxes)) for i in range(2))
    return rows, columns


def turned_upright(pixels: np.ndarray, rotation: int) -> np.ndarray:
    """Pixels (h, w, c) as a player shows a frame whose display matrix says ``rotation`` degrees."""
    return np.ascontiguousarray(np.rot90(pixels, rotation // 90)) if rotation % 360 else pixels


def encoder_for(ending: str, wanted: str | None) -> str:
    """FFmpeg's name of the encoder for a file ending such as '.mp4'."""
    return _CODECS[wanted] if wanted else 'libvpx-vp9' if ending.lower() == '.webm' else 'libx264'


def open_encoder(
    container: av.container.OutputContainer,
    codec: str,
    source: Source,
    size: tuple[int, int],
    aspect: Fraction,
    crf: int | None,
) -> av.VideoStream:
    """A track of pictures that keeps timestamps, depth, colour tags and aspect of the source."""
    stream = container.add_stream(codec, rate=source.rate)
    stream.width, stream.height = size
    stream.pix_fmt = _pixel_format(codec, source, size)
    stream.time_base = source.time_base
    context = stream.codec_context
    context.time_base = source.time_base
    context.sample_aspect_ratio = aspect
    context.color_primaries, context.color_trc, context.colorspace, context.color_range = source.colour
    if source.full_range and not stream.pix_fmt.startswith('gbr'):
        context.color_range = 2
    if stream.pix_fmt.startswith('gbr'):
        context.colorspace = 0
    elif context.colorspace == 0:  # RGB's, in a source that was
        context.colorspace = source.matrix
    quality = str(_CRF[codec] if crf is None else crf) if codec in _CRF else ''
    options = {'crf': quality} if quality else {}
    if codec == 'libx264':
        # Segments are joined, so no frame may refer to later ones, and the last are worth as much as the first.
        options |= {'bf': '0', 'preset': 'medium', 'mbtree': '0', 'aq-mode': '0'}
    elif codec == 'libx265':
        options |= {'x265-params': 'bframes=0:cutree=0:aq-mode=0:log-level=none', 'preset': 'medium'}
    elif codec == 'libvpx-vp9':
        options |= {'b': '0', 'auto-alt-ref': '0', 'lag-in-frames': '0', 'deadline': 'good', 'cpu-used': '4'}
    elif codec == 'ffv1':
        options |= {'level': '3', 'slicecrc': '1'}
    context.options = options
    return stream


def _pixel_format(codec: str, source: Source, size: tuple[int, int]) -> str:
    """The encoder's format that is nearest to the source's: at least its depth, its chroma, and odd sizes whole."""
    here = av.VideoFormat(source.pixel_format)
    depth = _MOST_BITS if source.deep else 8
    rgb = here.is_rgb
    grey = len(here.components) == 1
    wide, high = (1, 1) if rgb or grey else (here.chroma_width(16), here.chroma_height(16))
    chroma = '444' if rgb or grey or (size[0] % 2 or size[1] % 2) or wide == 16 else '420' if high == 8 else '422'
    deep = {8: '', 10: '10le'}[depth]
    names = [f'yuv{chroma}p{deep}', f'yuv444p{deep}', f'yuv420p{deep}', 'yuv444p', 'yuv420p']
    if grey:
        names.insert(0, f'gray{deep or ""}')
    if rgb and codec == 'ffv1':
        names.insert(0, 'bgr0' if depth == 8 else 'gbrp10le')
    there = {f.name for f in av.Codec(codec, 'w').video_formats or ()}
    return next(name for name in names if name in there)


def join(segments: list[Path], source: Source, target: Path) -> tuple[str, ...]:
    """Put the pictures of the segments and all else of the source into one file, nothing encoded again.

    Returns:
        What could not be kept.
    """
    notes, options = [], {}
    with open_to_read(source.path) as given, contextlib.ExitStack() as stack:
        if target.suffix.lower() in ('.mp4', '.m4v', '.mov'):
            # Words that MP4 has no place of its own for are kept, unless there is a cover, which excludes them.
            cover = any(stream.disposition & av.stream.Disposition.attached_pic for stream in given.streams)
            options['movflags'] = '+faststart' if cover else '+faststart+use_metadata_tags'
        output = stack.enter_context(av.open(str(target), 'w', options=options, metadata_errors='replace'))
        chapters = given.chapters()
        words = [given.metadata, *(each.metadata for each in given.streams), *(each['metadata'] for each in chapters)]
        if any('\udc80' <= letter <= '\udcff' for each in words for letter in ''.join(each.values())):
            notes.append('letters of its title or tags that are not UTF-8 became ?')
        output.metadata.update(given.metadata)
        pictures = picture_stream(given)
        own = _track_of(segments[0], output, source)
        lost = {'timecode', *_alpha_tags(pictures.metadata)}
        own.metadata.update({key: value for key, value in pictures.metadata.items() if key not in lost})
        tracks = {}
        for stream in given.streams:
            if stream.index == pictures.index:
                continue
            if stream.type == 'data':  # timecodes and what single makers put there; FFmpeg writes none of it
                notes.append(f'track {stream.index} (data) was left out')
                continue
            try:
                copied = _copy_of(stream, output, source)
                copied.metadata.update(stream.metadata)
                copied.disposition = stream.disposition
                tracks[stream.index] = copied
            except (av.FFmpegError, ValueError, NotImplementedError, AttributeError):
                notes.append(f'track {stream.index} ({stream.type}) cannot be kept in {target.suffix}')
        if chapters:
            output.set_chapters(chapters)
        others = _packets(given, tracks)
        other = next(others, None)
        for packet in _pictures(segments):
            seconds = _when(packet)
            while other is not None and _when(other) <= seconds:
                output.mux(other)
                other = next(others, None)
            packet.stream = own
            output.mux(packet)
        while other is not None:
            output.mux(other)
            other = next(others, None)
    return tuple(notes)


def _track_of(segment: Path, output: av.container.OutputContainer, source: Source) -> av.VideoStream:
    with open_to_read(segment) as first:
        encoded = first.streams.video[0]
        aspect = encoded.sample_aspect_ratio or Fraction(1)
        if encoded.codec_context.name.startswith('vp9') and aspect != 1:  # only the container of VP9 tells the aspect
            size = encoded.codec_context.width, encoded.codec_context.height
            return open_encoder(output, 'libvpx-vp9', source, size, aspect, None)
        own = output.add_stream_from_template(encoded)
        own.time_base = source.time_base
        own.codec_context.framerate = source.rate  # a segment tells its finest time in place of it
        return own


def _copy_of(stream: av.stream.Stream, output: av.container.OutputContainer, source: Source) -> av.stream.Stream:
    """A track like one of the source."""
    framed = stream.type == 'audio' and stream.codec_context.codec.canonical_name in _FRAMED_SOUND
    if not framed or output.format.name != 'avi':
        return output.add_stream_from_template(stream)
    held = io.BytesIO()  # NUT keeps what is needed of such sound, and no size of blocks
    with open_to_read(source.path) as given, av.open(held, 'w', format='nut') as nut:
        track = nut.add_stream_from_template(given.streams[stream.index])
        for packet in islice(_packets(given, {stream.index: track}), 8):
            nut.mux(packet)
    held.seek(0)
    with av.open(held) as plain:
        copied = output.add_stream_from_template(plain.streams[0])
    copied.codec_context.bit_rate = stream.codec_context.bit_rate or 0
    return copied


def _pictures(segments: list[Path]):
    for segment in segments:
        with open_to_read(segment) as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.size:
                    yield packet


def _packets(container: av.container.InputContainer, tracks: dict):
    if not tracks:
        return
    for packet in container.demux([container.streams[index] for index in tracks]):
        if packet.size:
            packet.stream = tracks[packet.stream.index]
            yield packet


def _when(packet: av.Packet) -> Fraction:
    time = packet.dts if packet.dts is not None else packet.pts
    return Fraction(0) if time is None else time * packet.time_base


def _has_alpha(form: av.VideoFormat) -> bool:
    return any(component.is_alpha for component in form.components)


def _alpha_tags(metadata: dict[str, str]) -> list[str]:
    """The tags by which WebM tells that it holds transparency, which VP8 and VP9 keep beside the pictures."""
    return [key for key, value in metadata.items() if key.lower() == 'alpha_mode' and value != '0']
