"""Every kind of file a folder of photographs may hold: the right pixels, or an error with its name and the cure."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest

from mirage_data.files.image import ImageError, decode_rgb, list_images, list_names, read_rgb, to_float

Image = pytest.importorskip('PIL.Image')  # comes with torchvision; here to write files in another program's way

_SMOOTH = np.add.outer(np.arange(33) * 3, np.arange(47) * 2)
PIXELS = np.stack([_SMOOTH, 255 - _SMOOTH, _SMOOTH // 2 + 40], -1).astype(np.uint8)


def encoded(image, kind, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photograph(mode='RGB'):
    return Image.fromarray(PIXELS).convert(mode)


@pytest.mark.parametrize('kind', ['PNG', 'BMP', 'TIFF', 'PPM', 'WEBP'])
def test_lossless_formats_give_the_pixels_in_rgb(kind):
    image = decode_rgb(encoded(photograph(), kind, **({'lossless': True} if kind == 'WEBP' else {})), 'x')
    assert image.dtype == np.uint8
    assert np.array_equal(image, PIXELS)


def test_jpeg_agrees_with_another_decoder():
    data = encoded(photograph(), 'JPEG', quality=95, subsampling=0)
    theirs = np.asarray(Image.open(io.BytesIO(data)).convert('RGB')).astype(int)
    assert np.abs(decode_rgb(data, 'x').astype(int) - theirs).max() <= 2


@pytest.mark.parametrize('mode', ['L', '1'])
def test_grey_becomes_three_equal_channels(mode):
    image = decode_rgb(encoded(photograph(mode), 'PNG'), 'x')
    assert np.array_equal(image, np.repeat(np.asarray(photograph(mode).convert('L'))[..., None], 3, 2))


def test_palette_is_looked_up():
    palette = photograph().quantize(32)
    assert np.array_equal(decode_rgb(encoded(palette, 'PNG'), 'x'), np.asarray(palette.convert('RGB')))
    assert np.array_equal(decode_rgb(encoded(palette, 'GIF'), 'x'), np.asarray(palette.convert('RGB')))


@pytest.mark.parametrize('kind', ['.png', '.tif', '.ppm'])
def test_sixteen_bits_are_kept(kind):
    deep = PIXELS.astype(np.uint16) * 257 - PIXELS // 2
    image = decode_rgb(cv2.imencode(kind, deep[..., ::-1])[1].tobytes(), 'x')
    assert image.dtype == np.uint16 and np.array_equal(image, deep)
    assert np.array_equal(to_float(image), deep.astype(np.float32) / np.float32(65535))


def test_planes_of_sixteen_bits_are_refused():
    tifffile = pytest.importorskip('tifffile')
    for dtype in (np.uint8, np.uint16):
        file = io.BytesIO()
        planes = PIXELS.transpose(2, 0, 1).astype(dtype)
        tifffile.imwrite(file, planes, planarconfig='separate', photometric='rgb')
        if dtype == np.uint8:
            assert np.array_equal(decode_rgb(file.getvalue(), 'x'), PIXELS)
        else:
            with pytest.raises(ImageError, match='x: a TIFF of 16 bits with a plane for each colour'):
                decode_rgb(file.getvalue(), 'x')


@pytest.mark.parametrize('head, values', [(b'P6 47 33 1023\n', '>u2'), (b'P6\n# 255\n47 33\n100\n', 'u1')])
def test_values_that_go_to_another_number_are_refused(head, values):
    with pytest.raises(ImageError, match='x: its values go to (1023|100); allowed are 255 and 65535'):
        decode_rgb(head + PIXELS.astype(values).tobytes(), 'x')


@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
@pytest.mark.parametrize('orientation, turn', [(2, np.fliplr), (4, np.flipud), (8, np.rot90)])
def test_exif_orientation_is_applied(kind, orientation, turn):
    turned = turn(PIXELS)
    exif = Image.Exif()
    exif[0x112] = orientation
    image = decode_rgb(encoded(photograph(), kind, exif=exif, **({'quality': 98} if kind == 'JPEG' else {})), 'x')
    assert image.shape == turned.shape
    assert np.abs(image.astype(int) - turned).mean() < 2


@pytest.mark.parametrize('kind, options', [('PNG', {}), ('WEBP', {'lossless': True}), ('TIFF', {})])
def test_alpha_is_dropped_only_if_it_hides_nothing(kind, options):
    opaque = photograph('RGBA')
    assert np.array_equal(decode_rgb(encoded(opaque, kind, **options), 'x'), PIXELS)
    opaque.putpixel((3, 4), (9, 9, 9, 100))
    with pytest.raises(ImageError, match=r'^a\.img: has transparent pixels.*flatten'):
        decode_rgb(encoded(opaque, kind, **options), 'a.img')


def test_transparent_palette_is_refused():
    palette = photograph().quantize(8)
    with pytest.raises(ImageError, match='transparent'):
        decode_rgb(encoded(palette, 'PNG', transparency=0), 'x')


def test_a_text_that_mentions_pixels_hides_nothing():
    from PIL.PngImagePlugin import PngInfo

    words = PngInfo()
    words.add_text('note', 'IDAT')
    with pytest.raises(ImageError, match='transparent'):
        decode_rgb(encoded(photograph().quantize(8), 'PNG', transparency=0, pnginfo=words), 'x')


@pytest.mark.parametrize('kind', ['GIF', 'PNG', 'WEBP', 'TIFF'])
def test_several_pictures_in_one_file_are_refused(kind):
    other = Image.fromarray(PIXELS[::-1].copy())
    data = encoded(photograph(), kind, save_all=True, append_images=[other])
    with pytest.raises(ImageError, match=r'^film: animated or with several pages'):
        decode_rgb(data, 'film')


@pytest.mark.parametrize('kind', ['JPEG', 'TIFF'])
def test_cmyk_is_refused(kind):
    with pytest.raises(ImageError, match=r'^print: CMYK'):
        decode_rgb(encoded(photograph('CMYK'), kind), 'print')


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'BMP', 'TIFF', 'WEBP', 'GIF', 'PPM'])
@pytest.mark.parametrize('part', [0.95, 0.5, 0.1])
def test_truncated_files_are_refused(kind, part):
    data = encoded(photograph(), kind)
    with pytest.raises(ImageError, match=r'^half'):
        decode_rgb(data[: int(len(data) * part)], 'half')


def test_end_marker_of_a_thumbnail_does_not_count():
    exif = Image.Exif()
    exif[0x10E] = 'thumbnail \xff\xd9'
    data = encoded(photograph(), 'JPEG', exif=exif, comment=b'\xff\xd9')
    decode_rgb(data + b'\0\0', 'padded')  # cameras append zeros
    with pytest.raises(ImageError, match='truncated'):
        decode_rgb(data[:-40], 'x')


def test_damaged_png_is_refused():
    data = bytearray(encoded(photograph(), 'PNG'))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(ImageError, match='damaged'):
        decode_rgb(bytes(data), 'x')


@pytest.mark.parametrize(
    'data, message', [(b'', 'empty'), (b'<html>404</html>', 'not an image'), (b'\0' * 99, 'not an image')]
)
def test_foreign_content_is_refused(tmp_path, data, message):
    path = tmp_path / 'été 1.0 .png'
    path.write_bytes(data)
    with pytest.raises(ImageError, match=message) as caught:
        read_rgb(path)
    assert str(caught.value).startswith(str(path))


def test_absurd_size_is_an_error_not_a_crash():
    head = struct.pack('>IIBBBBB', 2**30, 2**30, 8, 2, 0, 0, 0)
    data = bytearray(encoded(photograph(), 'PNG'))
    data[16:29] = head
    data[29:33] = struct.pack('>I', zlib.crc32(b'IHDR' + head))
    with pytest.raises(ImageError, match='^huge'):
        decode_rgb(bytes(data), 'huge')


def test_one_pixel_and_odd_names_are_read(tmp_path):
    path = tmp_path / 'ein Bild.v1.0 ü.png'
    path.write_bytes(cv2.imencode('.png', np.full((1, 1, 3), (1, 2, 3), np.uint8))[1].tobytes())
    assert read_rgb(path).tolist() == [[[3, 2, 1]]]


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ImageError, match=r'absent\.png: cannot be read'):
        read_rgb(tmp_path / 'absent.png')


def test_listing_is_sorted_and_reports_foreign_files(tmp_path, image_folder):
    image_folder('set', ['b.PNG', 'a.png', 'sub/c.png', '.hidden.png'])
    for name in ('Thumbs.db', '.DS_Store', 'notes.txt'):
        (tmp_path / 'set' / name).write_text('x')
    foreign = []
    assert list_names(tmp_path / 'set', foreign=foreign) == ['a.png', 'b.PNG']
    assert sorted(foreign) == ['.DS_Store', '.hidden.png', 'Thumbs.db', 'notes.txt']
    assert list_images(tmp_path / 'set', recursive=True)[-1] == tmp_path / 'set' / 'sub' / 'c.png'
    with pytest.raises(ImageError, match='nowhere'):
        list_names(tmp_path / 'nowhere')


def test_links_that_lead_round_in_circles_are_followed_once(tmp_path, image_folder):
    image_folder('set', ['sub/a.png'])
    (tmp_path / 'set' / 'sub' / 'up').symlink_to(tmp_path / 'set')
    assert list_names(tmp_path / 'set', recursive=True) == ['sub/a.png']


def chunk(kind: bytes, content: bytes, size: int | None = None) -> bytes:
    length = struct.pack('>I', len(content) if size is None else size)
    return length + kind + content + struct.pack('>I', zlib.crc32(kind + content))


def test_png_checksums_and_lengths_are_looked_at():
    whole = encoded(photograph(), 'PNG')
    place = whole.index(b'IDAT') + 60
    with pytest.raises(ImageError, match=r"x: the PNG is damaged \(checksum of b'IDAT'\)"):
        decode_rgb(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :], 'x')
    long = whole[:33] + chunk(b'IDAT', b'', 0x7FFFFFFF) + whole[33:]  # once 2 GB of memory for 436 bytes
    with pytest.raises(ImageError, match='truncated'):
        decode_rgb(long, 'x')
    text = whole[:33] + chunk(b'tEXt', b'a')[:-1] + b'?' + whole[33:]  # says nothing about pixels
    assert np.array_equal(decode_rgb(text, 'x'), PIXELS)


def big(kind: str, width: int, height: int) -> bytes:
    """A small file whose header states a large picture."""
    if kind == 'PNG':
        head = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
        return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', zlib.compress(b'')) + chunk(b'IEND', b'')
    if kind == 'PPM':
        return f'P6\n# by hand\n{width} {height}\n255\n'.encode()
    data = bytearray(encoded(photograph(), kind))
    if kind == 'JPEG':
        struct.pack_into('>HH', data, data.index(b'\xff\xc0') + 5, height, width)
    elif kind == 'GIF':
        struct.pack_into('<HH', data, 6, width, height)
    elif kind == 'BMP':
        struct.pack_into('<ii', data, 18, width, -height)
    else:
        tags = {tag: place for place in range(8, len(data) - 12) for tag in (256, 257)
                if struct.unpack_from('<HH', data, place) in ((tag, 4), (tag, 3))}  # fmt: skip
        for tag, value in ((256, width), (257, height)):
            struct.pack_into('<HHII', data, tags[tag], tag, 4, 1, value)
    return bytes(data)


@pytest.mark.parametrize('kind', ['PNG', 'PPM', 'JPEG', 'GIF', 'BMP', 'TIFF'])
def test_headers_that_ask_for_too_many_pixels_are_refused(kind):
    with pytest.raises(ImageError, match=r'x: 30000x29000 pixels by its header; at most 268 megapixels'):
        decode_rgb(big(kind, 30000, 29000), 'x')


def test_pipes_and_devices_are_no_pictures(tmp_path):
    import os

    os.mkfifo(tmp_path / 'x.png')
    (tmp_path / 'zero.png').symlink_to('/dev/zero')
    (tmp_path / 'a.png').mkdir()
    for name in ('x.png', 'zero.png', 'a.png'):
        with pytest.raises(ImageError, match=f'{name}: (is not a file|cannot be read)'):
            read_rgb(tmp_path / name)
    for name in 'ab':
        (tmp_path / name).symlink_to('.')
    assert list_names(tmp_path, recursive=True) == ['x.png', 'zero.png']
