import io
import os
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

import mirage_restore
from mirage_data.files.image_headers import ImageError
from mirage_restore.photo import Photo, pixels_limited_to, read_photo
from mirage_restore.photo_write import write_photo

ICC = b'profile' * 50  # passed through as it is


def photograph(*shape, dtype=np.uint8):
    y = np.linspace(0, 1, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    x = np.linspace(0, 1, shape[1]).reshape(-1, *[1] * (len(shape) - 2))
    return np.broadcast_to((0.2 + 0.5 * x * y) * np.iinfo(dtype).max, shape).astype(dtype)


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('shape', [(7, 9), (7, 9, 3), (7, 9, 4), (1, 1, 3), (1, 20, 3)])
def test_lossless_formats_give_the_same_pixels(suffix, dtype, shape, tmp_path):
    pixels = photograph(*shape, dtype=dtype)
    write_photo(Photo(pixels), tmp_path / f'a{suffix}')
    again = read_photo(tmp_path / f'a{suffix}').pixels
    assert again.dtype == dtype
    assert np.array_equal(again, pixels)


def test_without_libvips_the_picture_is_not_blamed(tmp_path, monkeypatch):
    write_photo(Photo(photograph(5, 6, 3)), tmp_path / 'a.png')
    monkeypatch.setitem(sys.modules, 'pyvips', None)
    monkeypatch.delitem(sys.modules, 'mirage_restore.photo_vips', raising=False)
    monkeypatch.delattr(mirage_restore, 'photo_vips', raising=False)
    with pytest.raises(ImageError, match=r'libvips, which is not there .*pip install "pyvips\[binary\]"') as raised:
        read_photo(tmp_path / 'a.png')
    assert 'damaged' not in str(raised.value)


def test_grey_with_alpha_is_kept(tmp_path):
    pixels = photograph(5, 6, 2)
    write_photo(Photo(pixels), tmp_path / 'a.png')
    assert np.array_equal(read_photo(tmp_path / 'a.png').pixels, pixels)


@pytest.mark.parametrize(
    ('suffix', 'dtype'),
    [('.png', np.uint8), ('.png', np.uint16), ('.jpg', np.uint8), ('.webp', np.uint8), ('.tif', np.uint8)],
)
def test_profile_and_exif_are_kept(suffix, dtype, tmp_path):
    exif = Image.Exif()
    exif[0x010F] = 'Maker'
    block = exif.tobytes().removeprefix(b'Exif\0\0')
    write_photo(Photo(photograph(8, 8, 3, dtype=dtype), ICC, block), tmp_path / f'a{suffix}')
    with Image.open(tmp_path / f'a{suffix}') as image:
        assert image.info['icc_profile'] == ICC
        assert image.getexif()[0x010F] == 'Maker'


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_orientation_is_applied_once(orientation, dtype, tmp_path):
    pixels = photograph(4, 6, 3, dtype=dtype)
    pixels = pixels * np.arange(1, 7, dtype=dtype)[:, None] // 7
    exif = Image.Exif()
    exif[0x0112] = orientation
    write_photo(Photo(pixels, exif=exif.tobytes().removeprefix(b'Exif\0\0')), tmp_path / 'a.png')
    photo = read_photo(tmp_path / 'a.png')
    transposed = pixels.swapaxes(0, 1)
    expected = [
        None,
        pixels,
        pixels[:, ::-1],
        pixels[::-1, ::-1],
        pixels[::-1],
        transposed,
        transposed[:, ::-1],
        transposed[::-1, ::-1],
        transposed[::-1],
    ][orientation]
    assert np.array_equal(photo.pixels, expected)
    write_photo(photo, tmp_path / 'b.png')
    assert np.array_equal(read_photo(tmp_path / 'b.png').pixels, expected)


def test_pixels_that_are_no_numbers_are_counted(tmp_path):
    values = np.full((6, 6), 0.5, np.float32)
    values[2, 3] = np.nan
    Image.fromarray(values).save(tmp_path / 'a.tif')
    with pytest.raises(ImageError, match='a.tif: 1 of 36 pixel values are NaN or infinite'):
        read_photo(tmp_path / 'a.tif')


@pytest.mark.parametrize('kind', ['zstd', 'lzma', 'zstd 16', 'lab', 'ycbcr', 'second page', 'depth'])
def test_a_limit_on_pixels_holds_for_every_kind_of_tiff(kind, tmp_path):
    path = tmp_path / 'a.tif'
    grey = np.zeros((200, 300), np.uint8)
    if kind == 'lab':
        Image.new('LAB', (300, 200)).save(path)
    elif kind == 'ycbcr':
        Image.new('YCbCr', (300, 200)).save(path)
    else:
        tifffile = pytest.importorskip('tifffile')
        pytest.importorskip('imagecodecs')
        if kind == 'second page':
            with tifffile.TiffWriter(path) as writer:
                writer.write(grey[:8, :8], compression='zstd', subfiletype=1, metadata=None)
                writer.write(grey, compression='zstd', metadata=None)
        elif kind == 'depth':
            volume = np.zeros((16, 64, 64), np.uint16)
            tifffile.imwrite(path, volume, volumetric=True, tile=(16, 16, 16), compression='zstd', metadata=None)
        else:
            given = grey.astype(np.uint16) if kind.endswith('16') else grey
            tifffile.imwrite(path, given, compression=kind.split()[0], rowsperstrip=200, metadata=None)
    with pixels_limited_to(20_000), pytest.raises(ImageError, match=r'a\.tif: .* allowed here are at most 0.0 megap'):
        read_photo(path)
    if kind != 'depth':
        with pixels_limited_to(60_000):
            assert read_photo(path).pixels.shape[:2] == (200, 300)


def test_palette_bilevel_and_cmyk_become_plain_pixels(tmp_path):
    colours = Image.fromarray(photograph(6, 6, 3))
    colours.convert('P').save(tmp_path / 'palette.png')
    colours.convert('1').save(tmp_path / 'bilevel.png')
    colours.convert('CMYK').save(tmp_path / 'cmyk.jpg', quality=95)
    assert read_photo(tmp_path / 'palette.png').pixels.shape == (6, 6, 3)
    assert read_photo(tmp_path / 'bilevel.png').pixels.shape == (6, 6)
    assert np.abs(read_photo(tmp_path / 'cmyk.jpg').pixels.astype(int) - photograph(6, 6, 3)).max() < 20


def test_formats_without_alpha_or_16_bits_get_what_they_can_hold(tmp_path):
    transparent = np.zeros((4, 4, 4), np.uint8)
    write_photo(Photo(transparent), tmp_path / 'a.jpg')
    assert read_photo(tmp_path / 'a.jpg').pixels.min() > 250  # white shines through
    write_photo(Photo(photograph(4, 4, 3, dtype=np.uint16)), tmp_path / 'b.jpg')
    assert read_photo(tmp_path / 'b.jpg').pixels.dtype == np.uint8


def broken_files():
    encoded = io.BytesIO()
    Image.fromarray(photograph(40, 40, 3)).save(encoded, 'JPEG')
    png = cv2.imencode('.png', photograph(40, 40, 3, dtype=np.uint16))[1].tobytes()
    animated = io.BytesIO()
    frames = [Image.fromarray(np.full((5, 5, 3), v, np.uint8)) for v in (0, 100)]
    frames[0].save(animated, 'GIF', save_all=True, append_images=frames[1:])
    return {
        'empty.png': b'',
        'text.jpg': b'not an image at all',
        'cut.jpg': encoded.getvalue()[:400],
        'cut16.png': png[:100],
        'animated.gif': animated.getvalue(),
    }


@pytest.mark.parametrize('name', broken_files())
def test_broken_files_are_named(name, tmp_path):
    (tmp_path / name).write_bytes(broken_files()[name])
    with pytest.raises(ImageError, match=name):
        read_photo(tmp_path / name)


def test_missing_file_and_unknown_format_are_named(tmp_path):
    with pytest.raises(ImageError, match=r'none\.png'):
        read_photo(tmp_path / 'none.png')
    with pytest.raises(ValueError, match=r'\.xyz'):
        write_photo(Photo(photograph(4, 4, 3)), tmp_path / 'a.xyz')


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    write_photo(Photo(photograph(4, 4, 3)), tmp_path / 'a.png')
    before = (tmp_path / 'a.png').read_bytes()

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'replace', full)
    with pytest.raises(OSError, match='No space'):
        write_photo(Photo(photograph(9, 9, 3)), tmp_path / 'a.png')
    assert [p.name for p in tmp_path.iterdir()] == ['a.png']
    assert (tmp_path / 'a.png').read_bytes() == before
