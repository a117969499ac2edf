"""Videos made on the spot: what a player shows of the source is what it shows of the result."""

import json
import shutil
import subprocess
from fractions import Fraction

import av
import numpy as np
import pytest

from mirage_restore import video
from mirage_restore.files import Options, restore_files
from mirage_restore.video import restore_video

WIDTH, HEIGHT = 96, 64


def identity(frame):
    return frame


def scene(number, width=WIDTH, height=HEIGHT, full=255):
    """A smooth picture that moves one pixel a frame."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    x += number
    planes = [0.5 + 0.4 * np.sin(x / 9 + y / 17), 0.5 + 0.4 * np.cos(y / 11), 0.5 + 0.4 * np.sin((x + y) / 23)]
    return np.rint(np.stack(planes, 2) * full).astype(np.uint16 if full > 255 else np.uint8)


def write(
    path,
    frames=12,
    codec='libx264',
    pixels='yuv420p',
    size=(WIDTH, HEIGHT),
    times=None,
    sound=0,
    make=scene,
    aspect=None,
    colour=None,
    interlaced=False,
    rate=25,
    title='A title',
    **options,
):
    """Encode a video; ``times`` are in units of 1/1000 second."""
    full = 65535 if any(bits in pixels for bits in ('10', '12', '16')) else 255
    # Of a title in Latin-1, what is no ASCII is not UTF-8.
    with av.open(str(path), 'w', metadata_encoding='latin-1') as output:
        stream = output.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        context = stream.codec_context
        context.options = {'crf': '4', **options} if codec.startswith('libx26') else options
        if codec == 'libx265':
            context.options = {**context.options, 'x265-params': 'log-level=none'}
        if times:
            stream.time_base = context.time_base = Fraction(1, 1000)
        if aspect:
            context.sample_aspect_ratio = aspect
        if colour:
            context.color_primaries, context.color_trc, context.colorspace, context.color_range = colour
        if interlaced:
            context.flags |= av.codec.context.Flags.interlaced_dct | av.codec.context.Flags.interlaced_me
        tracks = [output.add_stream('aac', rate=8000) for _ in range(sound)]
        output.metadata['title'] = title
        for i in range(frames):
            form = 'rgb48le' if full > 255 else 'rgb24'
            frame = av.VideoFrame.from_ndarray(make(i, *size, full), format=form)
            matrix = 1 if colour and colour[2] == 1 else 5
            frame = frame.reformat(format=pixels, dst_colorspace=matrix)
            frame.pts = times[i] if times else i
            frame.time_base = Fraction(1, 1000) if times else Fraction(1) / rate
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        for number, track in enumerate(tracks):
            tone = np.sin(np.arange(8000 * frames // 25) / (5 + number)) * 9000
            sound_frame = av.AudioFrame.from_ndarray(tone.astype(np.int16)[None], format='s16', layout='mono')
            sound_frame.sample_rate = 8000
            output.mux([packet for piece in _resampled(sound_frame, track) for packet in track.encode(piece)])
            output.mux(track.encode(None))
    return path


def _resampled(frame, track):
    context = track.codec_context
    size = context.frame_size or None
    resampler = av.AudioResampler(format=context.format, layout='mono', rate=8000, frame_size=size)
    return [*resampler.resample(frame), *resampler.resample(None)]


def read(path, form=None):
    with av.open(str(path)) as container:
        deep = container.streams.video[0].codec_context.format.components[0].bits > 8
        form = form or ('rgb48le' if deep else 'rgb24')
        return [(float(f.pts * f.time_base), f.to_ndarray(format=form)) for f in container.decode(video=0)]


def luma(path, number):
    with av.open(str(path)) as container:
        frame = list(container.decode(video=0))[number]
        return np.frombuffer(frame.planes[0], np.uint8).reshape(frame.height, -1)[:, : frame.width].astype(float)


def psnr(a, b):
    full = np.iinfo(a.dtype).max
    error = np.square(a.astype(np.float64) - b).mean()
    return 99.0 if error == 0 else 10 * np.log10(full**2 / error)


def facts(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        return {
            'size': (context.width, context.height),
            'aspect': stream.sample_aspect_ratio or 1,
            'bits': context.format.components[0].bits,
            'matrix': context.colorspace,
            'primaries': context.color_primaries,
            'range': context.color_range,
            'tracks': [s.type for s in container.streams],
            'title': container.metadata.get('title'),
        }


CASES = {
    'h264.mp4': {},
    'h264.mov': {},
    'h264.mkv': {},
    'h264.ts': {},
    'm4v.m4v': {},
    'mjpeg.avi': {'codec': 'mjpeg', 'pixels': 'yuvj420p'},
    'vp9.webm': {'codec': 'libvpx-vp9', 'crf': '10', 'b': '0'},
    'ten bits.mp4': {'codec': 'libx265', 'pixels': 'yuv420p10le'},
    'ten bits 422.mkv': {'pixels': 'yuv422p10le'},
    'odd.mkv': {'codec': 'ffv1', 'size': (97, 63)},
    'full chroma.mp4': {'pixels': 'yuv444p'},
    'grey.mkv': {'codec': 'ffv1', 'pixels': 'gray'},
    'rgb.mkv': {'codec': 'ffv1', 'pixels': 'bgr0'},
    'aspect.mp4': {'aspect': Fraction(16, 11)},
    'aspect.webm': {'codec': 'libvpx-vp9', 'aspect': Fraction(4, 3)},
    'bt709.mp4': {'colour': (1, 1, 1, 1)},
    'bt601.mp4': {'colour': (6, 6, 6, 1)},
    'variable rate.mp4': {'times': [0, 40, 80, 400, 440, 1000, 1033, 2000, 2500, 2540, 2580, 3000]},
    'sound.mp4': {'sound': 2},
    'sound.mkv': {'sound': 1},
}


@pytest.mark.parametrize('name', CASES)
def test_a_video_comes_back_as_it_was(name, tmp_path):
    source = write(tmp_path / name, **CASES[name])
    film = restore_video(identity, source, tmp_path / 'out' / name, progress=False)
    before, after = read(source), read(tmp_path / 'out' / name)
    assert film.frames == len(before) == len(after)
    shift = after[0][0] - before[0][0]  # AVI has no timestamps: readers guess the first
    assert max(abs(a - b - shift) for (a, _), (b, _) in zip(after, before)) < 2e-3
    assert abs(shift) < 0.05
    assert min(psnr(a, b) for (_, a), (_, b) in zip(after, before)) > 45
    there, here = facts(source), facts(tmp_path / 'out' / name)
    if name == 'rgb.mkv':
        there['matrix'] = here['matrix']  # RGB has none
    if name == 'grey.mkv':
        assert there['bits'] == here['bits']
    else:
        assert {**there, 'range': 0} == {**here, 'range': 0}
    assert (here['range'] == 2) == (there['range'] == 2 or name == 'grey.mkv')  # 0, unknown, is read as 1, limited


def test_restoring_reaches_every_frame_at_full_depth(tmp_path):
    source = write(tmp_path / 'a.mkv', codec='ffv1', pixels='yuv420p10le', frames=5)
    kinds = []

    def darker(frame):
        kinds.append((frame.dtype, frame.shape))
        return frame // 2

    restore_video(darker, source, tmp_path / 'b.mkv', progress=False, encoder='ffv1')
    assert kinds == [(np.dtype(np.uint16), (HEIGHT, WIDTH, 3))] * 5
    for (_, before), (_, after) in zip(read(source), read(tmp_path / 'b.mkv')):
        assert psnr(before // 2, after) > 40


def test_unchanged_pictures_are_unchanged_bit_by_bit_without_loss_of_the_encoder(tmp_path):
    source = write(
        tmp_path / 'a.mkv',
        codec='ffv1',
        make=lambda *_: np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8),
    )
    restore_video(identity, source, tmp_path / 'b.mkv', progress=False, encoder='ffv1')
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(read(source), read(tmp_path / 'b.mkv')))


def test_interlaced_frames_become_whole(tmp_path):
    def woven(number, width, height, full):
        frame = scene(4 * number + 2, width, height)
        frame[1::2] = scene(4 * number, width, height)[1::2]  # the encoder says: lower field first
        return frame

    source = write(tmp_path / 'a.mp4', make=woven, interlaced=True)
    restore_video(identity, source, tmp_path / 'b.mp4', progress=False)
    assert len(read(tmp_path / 'b.mp4')) == len(read(source))

    def comb(rows):
        return np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2).mean()

    assert comb(luma(source, 5)) > 3
    assert comb(luma(tmp_path / 'b.mp4', 5)) < 0.7


@pytest.mark.parametrize('degrees', [90, 180, 270])
def test_a_turned_video_is_shown_upright(degrees, tmp_path):
    plain = write(tmp_path / 'plain.mp4')
    with av.open(str(plain)) as given, av.open(str(tmp_path / 'turned.mp4'), 'w') as output:
        track = output.add_stream_from_template(given.streams.video[0])
        track.set_display_rotation(degrees)
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = track
                output.mux(packet)
    with av.open(str(tmp_path / 'turned.mp4')) as container:
        rotation = next(container.decode(video=0)).rotation
    assert rotation % 360 in (degrees, 360 - degrees)
    restore_video(identity, tmp_path / 'turned.mp4', tmp_path / 'out.mp4', progress=False)
    expected = np.rot90(read(plain)[3][1], rotation // 90)
    assert psnr(read(tmp_path / 'out.mp4')[3][1], expected) > 35
    with av.open(str(tmp_path / 'out.mp4')) as container:
        assert next(container.decode(video=0)).rotation == 0


def test_a_video_that_was_cut_short_is_a_failure(tmp_path):
    source = write(tmp_path / 'a.mp4', frames=60)
    options = {'movflags': 'faststart'}
    with av.open(str(source)) as given, av.open(str(tmp_path / 'fast.mp4'), 'w', options=options) as out:
        track = out.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = track
                out.mux(packet)
    data = (tmp_path / 'fast.mp4').read_bytes()
    (tmp_path / 'cut.mp4').write_bytes(data[: len(data) * 6 // 10])
    with pytest.raises(ValueError, match=r'cut\.mp4: is cut short: \d+ of 60 frames'):
        restore_video(identity, tmp_path / 'cut.mp4', tmp_path / 'out' / 'cut.mp4', progress=False)
    assert not (tmp_path / 'out').exists()


def test_a_matroska_file_that_was_cut_short_is_a_failure(tmp_path):
    source = write(tmp_path / 'a.mkv', frames=150, sound=1)
    assert restore_video(identity, source, tmp_path / 'out.mkv', progress=False).frames == 150
    data = source.read_bytes()
    (tmp_path / 'cut.mkv').write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r'cut\.mkv: is cut short: .* of 6\.\d seconds'):
        restore_video(identity, tmp_path / 'cut.mkv', tmp_path / 'out' / 'cut.mkv', progress=False)


def test_a_full_disk_is_a_failure_and_nothing_takes_the_place_of_the_result(tmp_path, monkeypatch):
    source = write(tmp_path / 'a.mp4')

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(video, 'join', full)
    summary = restore_files(identity, [source], tmp_path / 'out', Options(progress=False))
    assert summary.failed == 1 and 'No space left' in summary.failures[0][1]
    assert not (tmp_path / 'out' / 'a.mp4').exists()


def test_a_stopped_video_goes_on_behind_the_last_whole_segment(tmp_path, monkeypatch):
    monkeypatch.setattr(video, 'SEGMENT_FRAMES', 5)
    source = write(tmp_path / 'a.mp4', frames=23, sound=1)
    seen = []

    def stopped(frame):
        seen.append(1)
        if len(seen) == 13:
            raise KeyboardInterrupt
        return frame

    with pytest.raises(KeyboardInterrupt):
        restore_video(stopped, source, tmp_path / 'out' / 'a.mp4', progress=False)
    assert [p.name for p in (tmp_path / 'out').iterdir()] == ['.a.mp4.part']
    seen[:] = [1] * 100
    film = restore_video(stopped, source, tmp_path / 'out' / 'a.mp4', progress=False)
    assert (film.frames, film.resumed, len(seen)) == (23, 10, 113)
    assert [p.name for p in (tmp_path / 'out').iterdir()] == ['a.mp4']
    whole = restore_video(identity, source, tmp_path / 'whole.mp4', progress=False)
    assert whole.resumed == 0
    for (a, first), (b, second) in zip(read(tmp_path / 'out' / 'a.mp4'), read(tmp_path / 'whole.mp4')):
        assert abs(a - b) < 1e-6 and np.array_equal(first, second)


def test_segments_of_another_source_are_not_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(video, 'SEGMENT_FRAMES', 5)
    source = write(tmp_path / 'a.mp4', frames=12)

    def stopped(frame, left=[7]):  # noqa: B006  counts over calls
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return frame

    with pytest.raises(KeyboardInterrupt):
        restore_video(stopped, source, tmp_path / 'out.mp4', progress=False)
    write(source, frames=11)
    assert restore_video(stopped, source, tmp_path / 'out.mp4', progress=False).resumed == 0
    assert len(read(tmp_path / 'out.mp4')) == 11


def test_subtitles_and_chapters_are_kept(tmp_path):
    plain = write(tmp_path / 'plain.mkv', frames=30, sound=1, bf='0')
    with av.open(str(plain)) as given, av.open(str(tmp_path / 'a.mkv'), 'w') as output:
        tracks = {s.index: output.add_stream_from_template(s) for s in given.streams}
        output.set_chapters(
            [{'id': 1, 'start': 0, 'end': 500, 'time_base': Fraction(1, 1000), 'metadata': {'title': 'First'}}]
        )
        for packet in given.demux():
            if packet.dts is not None:
                packet.stream = tracks[packet.stream.index]
                output.mux(packet)
    restore_video(identity, tmp_path / 'a.mkv', tmp_path / 'b.mkv', progress=False)
    with av.open(str(tmp_path / 'b.mkv')) as result:
        assert [c['metadata']['title'] for c in result.chapters()] == ['First']
        assert [s.type for s in result.streams] == ['video', 'audio']


def test_comparison_of_a_video_is_a_frame(tmp_path):
    source = write(tmp_path / 'a.mp4')
    summary = restore_files(lambda f: 255 - f, [source], tmp_path / 'out', Options(compare=True, progress=False))
    assert summary.restored == 1
    assert sorted(p.name for p in (tmp_path / 'out').glob('[a-z]*')) == ['a.mp4', 'a_compare.png']


def stated_duration(path):
    """Nanoseconds between frames, as the header of Matroska says; None where it does not."""
    data = path.read_bytes()
    at = data.find(b'\x23\xe3\x83')  # DefaultDuration
    if at < 0:
        return None
    size = data[at + 3] & 0x7F
    return int.from_bytes(data[at + 4 : at + 4 + size], 'big')


def states(path, rate):
    """Whether Matroska states this rate; PyAV before 18 writes none."""
    expected = pytest.approx(1e9 / rate, abs=1) if int(av.__version__.split('.')[0]) >= 18 else None
    return stated_duration(path) == expected


@pytest.mark.parametrize('ending', ['.mkv', '.mp4', '.mpg', '.ts'])
@pytest.mark.parametrize('rate', [25, Fraction(30000, 1001)])
def test_matroska_states_the_rate_of_the_source(ending, rate, tmp_path):
    codec = 'mpeg2video' if ending == '.mpg' else 'libx264'
    source = write(tmp_path / f'a{ending}', codec=codec, rate=rate, frames=30)
    restore_video(identity, source, tmp_path / 'b.mkv', progress=False)
    assert states(tmp_path / 'b.mkv', rate)


def test_matroska_states_the_average_of_a_variable_rate(tmp_path):
    source = write(tmp_path / 'a.mp4', times=CASES['variable rate.mp4']['times'])
    restore_video(identity, source, tmp_path / 'b.mkv', progress=False)
    with av.open(str(source)) as container:
        average = container.streams.video[0].average_rate
    assert average < 10
    assert states(tmp_path / 'b.mkv', average)


@pytest.mark.parametrize('ending', ['.avi', '.mp4', '.mkv'])
def test_a_title_that_is_not_utf8_is_no_damage(ending, tmp_path):
    source = write(tmp_path / f'a{ending}', codec='mpeg4', title='Caf\xe9')
    with pytest.raises(UnicodeDecodeError):
        av.open(str(source))
    film = restore_video(identity, source, tmp_path / f'b{ending}', progress=False)
    assert 'letters of its title or tags that are not UTF-8 became ?' in film.notes
    assert facts(tmp_path / f'b{ending}')['title'] == 'Caf?'


def test_a_title_in_utf8_is_kept_without_a_note(tmp_path):
    source = write(tmp_path / 'a.mkv', title='Café'.encode().decode('latin-1'))
    assert restore_video(identity, source, tmp_path / 'b.mkv', progress=False).notes == ()
    assert facts(tmp_path / 'b.mkv')['title'] == 'Café'


@pytest.mark.parametrize('codec', ['libvpx', 'libvpx-vp9'])
@pytest.mark.parametrize('ending', ['.webm', '.mkv'])
def test_transparency_of_webm_is_left_out_with_a_note_and_its_tag_goes(codec, ending, tmp_path):
    source = write(tmp_path / 'a.webm', codec=codec, pixels='yuva420p', frames=3, **{'auto-alt-ref': '0'})
    film = restore_video(identity, source, tmp_path / f'b{ending}', progress=False)
    assert film.notes == ('its transparency was left out',)
    for path, there in ((source, True), (tmp_path / f'b{ending}', False)):
        with av.open(str(path)) as container:
            assert ('alpha_mode' in map(str.lower, container.streams.video[0].metadata)) is there


@pytest.mark.parametrize('pixels, bits', [('yuv420p10le', 10), ('yuv420p12le', 12), ('gray16le', 16)])
def test_bits_that_are_not_written_are_told(pixels, bits, tmp_path):
    source = write(tmp_path / 'a.mkv', codec='ffv1', pixels=pixels, frames=3)
    film = restore_video(identity, source, tmp_path / 'b.mkv', progress=False)
    assert film.notes == ((f'{bits} bits a channel (written with 10)',) if bits > 10 else ())
    assert facts(tmp_path / 'b.mkv')['bits'] == 10


@pytest.mark.parametrize(
    'name, encoder, reason',
    [
        ('b.webm', 'h264', r'b\.webm: \.webm does not hold h264; choose a name that ends with \.mkv'),
        ('b.mp4', 'ffv1', r'b\.mp4: \.mp4 does not hold ffv1; choose a name that ends with \.mkv'),
        ('b.avi', 'h265', r'b\.avi: \.avi does not hold h265; choose a name that ends with \.mkv'),
        ('b.mpg', None, r'b\.mpg: \.mpg is not written; choose a name that ends with \.mkv'),
    ],
)
def test_a_container_that_does_not_hold_what_is_encoded_is_told_before_anything_is_computed(
    name, encoder, reason, tmp_path
):
    def never(_):
        raise AssertionError('computed')

    source = write(tmp_path / 'a.mp4', frames=3)
    with pytest.raises(ValueError, match=reason):
        restore_video(never, source, tmp_path / 'out' / name, progress=False, encoder=encoder)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('codec', ['aac', 'ac3', 'mp2', 'libmp3lame', 'pcm_s16le'])
def test_the_sound_of_avi_keeps_its_times(codec, tmp_path):
    sampling = 48000 if codec == 'ac3' else 16000
    source = tmp_path / 'a.avi'
    with av.open(str(source), 'w') as output:
        pictures, sound = output.add_stream('mpeg4', rate=25), output.add_stream(codec, rate=sampling)
        pictures.width, pictures.height, pictures.pix_fmt = WIDTH, HEIGHT, 'yuv420p'
        for i in range(50):
            output.mux(pictures.encode(av.VideoFrame.from_ndarray(scene(i), format='rgb24')))
        output.mux(pictures.encode(None))
        tone = (np.sin(np.arange(2 * sampling) / 20) * 9000).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(tone, format='s16', layout='mono')
        frame.sample_rate = sampling
        size = sound.codec_context.frame_size or None
        resampler = av.AudioResampler(sound.codec_context.format, 'mono', sampling, size)
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            output.mux(sound.encode(piece))
        output.mux(sound.encode(None))
    assert restore_video(identity, source, tmp_path / 'b.avi', progress=False).notes == ()

    def packets(path):
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            given = [(p.pts * p.time_base, bytes(p)) for p in container.demux(stream) if p.size]
            return stream.codec_context.name, stream.codec_context.bit_rate, given

    before, after = packets(source), packets(tmp_path / 'b.avi')
    assert before[0] == after[0] and before[1] == after[1]
    assert [data for _, data in before[2]] == [data for _, data in after[2]]
    assert max(abs(a - b) for (a, _), (b, _) in zip(before[2], after[2])) < 2e-3
    assert after[2][-1][0] > 1.8


@pytest.mark.skipif(shutil.which('ffprobe') is None, reason='ffprobe is another program')
def test_another_program_agrees(tmp_path):
    source = write(tmp_path / 'a.mp4', aspect=Fraction(16, 11), colour=(1, 1, 1, 1), sound=1)
    restore_video(identity, source, tmp_path / 'b.mp4', progress=False)

    def probed(path):
        command = ['ffprobe', '-v', 'error', '-show_streams', '-show_format', '-of', 'json', str(path)]
        found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        keys = (
            'codec_type',
            'width',
            'height',
            'sample_aspect_ratio',
            'color_space',
            'color_primaries',
            'color_range',
            'r_frame_rate',
            'nb_frames',
            'start_time',
            'pix_fmt',
        )
        return [{key: s.get(key) for key in keys} for s in found['streams']], found['format']['tags'].get('title')

    assert probed(tmp_path / 'b.mp4') == probed(source)
