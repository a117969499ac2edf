"""Every kind of image file: restored by the identity, it shows what it showed, at its depth."""

import warnings
from pathlib import Path

import made_files
import numpy as np
import pytest
from made_files import CASES, RGB, RGB16
from PIL import Image

from mirage_data.files.image_headers import ImageError
from mirage_restore.files import Options, restore_files
from mirage_restore.formats import FORMATS
from mirage_restore.jobs import RECORD_NAME
from mirage_restore.photo import Photo, read_photo
from mirage_restore.photo_write import write_photo


def identity(pixels):
    return pixels


def difference(a, b):
    """Mean difference as a share of the range, of what is seen: what is wholly transparent has no colour."""
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    full = np.iinfo(a.dtype).max if a.dtype != np.float32 else 1.0
    a, b = a.astype(np.float64) / full, b.astype(np.float64) / full
    if a.ndim == 3 and a.shape[2] in (2, 4):
        seen = np.dstack([np.repeat(b[..., -1:], a.shape[2] - 1, 2), np.ones(a.shape[:2])])
        return np.abs((a - b) * seen).mean()
    return np.abs(a - b).mean()


def test_there_are_enough_of_them():
    assert len(CASES) >= 120 or made_files.tifffile is None


@pytest.mark.parametrize('name', CASES)
def test_file_is_read_and_written_as_what_it_shows(name, tmp_path):
    build, expected, tolerance = CASES[name]
    source = tmp_path / 'in' / name
    source.parent.mkdir()
    build(source)
    photo = read_photo(source)
    assert difference(photo.pixels, expected) <= tolerance

    summary = restore_files(identity, [source], tmp_path / 'out', Options(progress=False))
    assert (summary.restored, summary.failures) == (1, [])
    result = next(p for p in (tmp_path / 'out').iterdir() if p.name != RECORD_NAME)
    again = read_photo(result).pixels
    lossless = FORMATS[result.suffix] in ('PNG', 'TIFF', 'BMP', 'PNM', 'TGA') or name.startswith('lossless')
    assert difference(again, photo.pixels) <= (0 if lossless else made_files.LOSSY)


@pytest.mark.parametrize('name', [name for name in CASES if name.endswith(('.tif', '.png', '.bmp', '.ppm', '.webp'))])
def test_other_programs_read_the_result(name, tmp_path):
    """Pillow, and for TIFF tifffile, as independent readers."""
    build, expected, tolerance = CASES[name]
    build(tmp_path / name)
    restore_files(identity, [tmp_path / name], tmp_path / 'out', Options(progress=False))
    result = tmp_path / 'out' / name
    if name.endswith('.tif') and made_files.tifffile is not None:
        with made_files.tifffile.TiffFile(result) as file:
            assert len(file.pages) == 1
            assert difference(file.asarray(), expected) <= max(tolerance, 1e-9)
            assert file.pages[0].photometric.name in ('RGB', 'MINISBLACK')
            extra = [int(e) for e in file.pages[0].extrasamples]
            assert extra == ([2] if expected.ndim == 3 and expected.shape[2] in (2, 4) else [])
    elif expected.dtype == np.uint8:
        with Image.open(result) as image:
            assert difference(np.array(image), expected) <= max(tolerance, 1e-9)


@pytest.mark.parametrize('ending', FORMATS)
@pytest.mark.parametrize(
    'pixels',
    [made_files.RGBA16, made_files.LA, made_files.FLOAT, made_files.GREY16],
    ids=['rgba 16', 'grey alpha 8', 'float', 'grey 16'],
)
def test_any_pixels_go_into_any_format_and_what_is_lost_is_said(ending, pixels, tmp_path):
    if FORMATS[ending] == 'HEIC':
        pytest.importorskip('pillow_heif')
    target = tmp_path / f'a{ending}'
    dropped = ' '.join(write_photo(Photo(pixels), target))
    again = read_photo(target).pixels
    if pixels.dtype == np.uint16:
        assert (again.dtype == np.uint16) or '16 bits' in dropped
    if pixels.dtype == np.float32:
        assert (again.dtype == np.float32) or 'floating-point' in dropped
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        assert (again.ndim == 3 and again.shape[2] in (2, 4)) or 'transparency' in dropped


def test_lossless_webp_stays_so(tmp_path):
    Image.fromarray(RGB).save(tmp_path / 'a.webp', lossless=True)
    restore_files(lambda pixels: 255 - pixels, [tmp_path / 'a.webp'], tmp_path / 'out', Options(progress=False))
    assert np.array_equal(np.array(Image.open(tmp_path / 'out' / 'a.webp')), 255 - RGB)


def test_quality_is_heeded(tmp_path):
    photo = Photo(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    for ending in ('jpg', 'webp', 'avif'):
        sizes = []
        for quality in (30, 95):
            write_photo(photo, tmp_path / f'a.{ending}', quality)
            sizes.append((tmp_path / f'a.{ending}').stat().st_size)
        assert sizes[0] < sizes[1]


def refused():
    """Name -> (content, words of the error): each names the file, what was found and what to do."""
    encoded = made_files.io.BytesIO()
    Image.fromarray(RGB).save(encoded, 'JPEG')
    jpeg = encoded.getvalue()
    rows = [row.tobytes() for row in RGB]
    png = made_files.png(rows, (made_files.WIDTH, made_files.HEIGHT), 8, 2)
    damaged = bytearray(png)
    damaged[len(png) // 2] ^= 1
    frames = [Image.fromarray(np.full((9, 9, 3), v, np.uint8)) for v in (0, 100)]

    def animated(kind):
        buffer = made_files.io.BytesIO()
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
        return buffer.getvalue()

    twelve = bytearray(jpeg)
    at = jpeg.index(b'\xff\xc0')
    twelve[at + 4] = 12
    huge = png[:16] + b'\x00\x0f\x00\x00\x00\x0f\x00\x00' + png[24:29]
    huge = huge[:29] + made_files.struct.pack('>I', made_files.zlib.crc32(huge[12:29])) + png[33:]
    long_chunk = png[:33] + b'\x7f\xff\xff\xfftEXt' + bytes(400)
    return {
        'empty.png': (b'', 'empty'),
        'text.jpg': (b'not an image at all', 'not an image'),
        'cut.jpg': (jpeg[:-40], 'truncated'),
        'cut.png': (png[:-40], 'truncated'),
        'checksum.png': (bytes(damaged), 'damaged'),
        'long chunk.png': (long_chunk, 'damaged'),
        'animated.gif': (animated('GIF'), 'animated'),
        'animated.webp': (animated('WEBP'), 'animated'),
        'animated.png': (animated('PNG'), 'animated'),
        '12 bits.jpg': (bytes(twelve), '12 bits'),
        'huge.png': (huge, 'megapixels'),
        'a.tif': (b'II*\0\x08\0\0\0\0\0', 'damaged'),
        'loop.tif': (b'II*\0\x08\0\0\0\0\0\x08\0\0\0', 'damaged'),
        'exr.png': (b'v/1\x01' + bytes(40), 'OpenEXR'),
        'jxl.jpg': (b'\xff\x0a' + bytes(40), 'JPEG XL'),
        'photoshop.tif': (b'8BPS' + bytes(40), 'Photoshop'),
        'header.ppm': (b'P6 -3 4 255\n', 'header'),
        'short.ppm': (b'P6 40 40 255\n123', 'damaged'),
        'cut.tga': (bytes(9), 'damaged'),
        'cut.bmp': (b'BM' + bytes(20), 'damaged'),
        'cut.avif': (bytes(4) + b'ftypavif' + bytes(8), 'damaged'),
    }


@pytest.mark.parametrize('name', refused())
def test_what_cannot_be_read_is_named_with_the_reason(name, tmp_path):
    content, words = refused()[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=f'{name}.*{words}'):
        read_photo(tmp_path / name)


@pytest.mark.skipif(made_files.tifffile is None, reason='tifffile makes them')
@pytest.mark.parametrize(
    ('dtype', 'words'), [(np.int16, 'int16'), (np.uint32, 'uint32'), (np.complex64, 'complex'), (np.int8, 'int8')]
)
def test_pixels_of_another_type_are_named(dtype, words, tmp_path):
    made_files.tifffile.imwrite(tmp_path / 'a.tif', (RGB // 3).astype(dtype), photometric='rgb')
    with pytest.raises(ImageError, match=rf'a\.tif.*{words}.*allowed.*convert'):
        read_photo(tmp_path / 'a.tif')


@pytest.mark.skipif(made_files.tifffile is None, reason='tifffile makes them')
@pytest.mark.parametrize('value', [3.5, np.nan, -1.0])
def test_floating_point_beyond_its_range_is_refused(value, tmp_path):
    pixels = made_files.FLOAT.copy()
    pixels[3, 4] = value
    made_files.tifffile.imwrite(tmp_path / 'a.tif', pixels, photometric='rgb')
    with pytest.raises(ImageError, match=r'a\.tif.*allowed are 0 to 1'):
        read_photo(tmp_path / 'a.tif')


def test_only_files_are_read(tmp_path):
    import os

    os.mkfifo(tmp_path / 'pipe.png')
    (tmp_path / 'zero.png').symlink_to('/dev/zero')
    for name in ('pipe.png', 'zero.png'):
        with pytest.raises(ImageError, match=f'{name}: is not a file'):
            read_photo(tmp_path / name)


def test_pillows_limit_on_megapixels_is_left_as_it_was(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    made_files.pillow('x', made_files.IMAGE, RGB)
    del CASES['x']
    made_files.IMAGE.save(tmp_path / 'a.bmp')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        Image.MAX_IMAGE_PIXELS = 100
        try:
            assert read_photo(tmp_path / 'a.bmp').pixels.shape == RGB.shape
            assert Image.MAX_IMAGE_PIXELS == 100
        finally:
            Image.MAX_IMAGE_PIXELS = before


def test_names_that_are_no_text_are_read(tmp_path):
    import os

    name = os.fsdecode(b'Z\xfcrich.png')
    try:
        made_files.IMAGE.save(tmp_path / 'a.png')
        os.rename(tmp_path / 'a.png', tmp_path / name)
    except OSError:
        pytest.skip('this file system takes text only')
    assert np.array_equal(read_photo(Path(tmp_path, name)).pixels, RGB)
    summary = restore_files(identity, [tmp_path / name], tmp_path / 'out', Options(progress=False))
    assert summary.restored == 1
    again = restore_files(identity, [tmp_path / name], tmp_path / 'out', Options(progress=False, skip_existing=True))
    assert again.skipped == 1
    assert RGB16 is not None
