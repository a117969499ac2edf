import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from made_up_images import random_image

from mirage_data.files.crops import Window
from mirage_data.files.image import ImageError, decode_rgb
from mirage_data.files.png_rows import PartialPng

Image = pytest.importorskip('PIL.Image')  # comes with torchvision; here to write files in another program's way


def smooth_image():
    coarse = random_image(1, 6, 8)
    return cv2.resize(coarse, (81, 67), interpolation=cv2.INTER_CUBIC)


def by_opencv(image, *parameters):
    return cv2.imencode('.png', image[..., ::-1], list(parameters))[1].tobytes()


def by_pillow(image, **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, 'PNG', **options)
    return buffer.getvalue()


def all_filters(image):
    """A PNG whose rows use each of the five filters in turn, written out by hand."""
    height, width, _ = image.shape
    rows, above = [], np.zeros((width, 3), int)
    for number, row in enumerate(image.astype(int)):
        left = np.vstack([np.zeros((1, 3), int), row[:-1]])
        corner = np.vstack([np.zeros((1, 3), int), above[:-1]])
        estimate = left + above - corner
        distance = np.abs(np.stack([left - estimate, above - estimate, corner - estimate]))
        paeth = np.choose(distance.argmin(0), [left, above, corner])
        guess = [np.zeros_like(row), left, above, (left + above) // 2, paeth][number % 5]
        rows.append(bytes([number % 5]) + ((row - guess) % 256).astype(np.uint8).tobytes())
        above = row

    def chunk(kind, content):
        return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))

    packed = zlib.compress(b''.join(rows))
    parts = [packed[:50], b'', packed[50:]]  # pixels may come in several chunks
    head = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + head + b''.join(chunk(b'IDAT', part) for part in parts) + chunk(b'IEND', b'')


WRITERS = {
    'opencv': by_opencv,
    'opencv level 1': lambda image: by_opencv(image, cv2.IMWRITE_PNG_COMPRESSION, 1),
    'opencv level 9': lambda image: by_opencv(image, cv2.IMWRITE_PNG_COMPRESSION, 9),
    'pillow': by_pillow,
    'all filters in turn': all_filters,
}


@pytest.mark.parametrize('writer', WRITERS)
@pytest.mark.parametrize('image', [smooth_image(), random_image(0, 67, 81)], ids=['smooth', 'noise'])
def test_crops_are_those_of_the_whole_image(writer, image):
    data = WRITERS[writer](image)
    assert np.array_equal(decode_rgb(data, 'x'), image)
    png = PartialPng.open(data, 'x')
    assert (png.height, png.width) == (67, 81)
    for place in ((0, 0, 5, 7), (30, 20, 16, 16), (1, 80, 65, 1), (50, 3, 17, 70), (0, 0, 67, 81)):
        assert np.array_equal(png.crop(Window(*place)), Window(*place).of(image))


@pytest.mark.parametrize(
    'data',
    [
        by_opencv(random_image(0).astype(np.uint16) * 257),
        by_pillow(random_image(0)[..., 0]),
        by_pillow(np.dstack([random_image(0), random_image(0)[..., :1]])),
        by_pillow(random_image(0), transparency=(1, 2, 3)),
        by_pillow(random_image(0), exif=b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'),
        cv2.imencode('.jpg', random_image(0))[1].tobytes(),
        b'',
        by_pillow(random_image(0))[:-30],
    ],
    ids=['16 bits', 'grey', 'alpha', 'transparent colour', 'orientation', 'jpeg', 'empty', 'truncated'],
)
def test_other_files_are_left_to_the_ordinary_decoder(data):
    assert PartialPng.open(data, 'x') is None


def test_damage_above_the_crop_s_end_is_found():
    data = bytearray(by_opencv(random_image(0)))
    data[len(data) // 4] ^= 1
    with pytest.raises(ImageError, match='^spoilt'):
        PartialPng.open(bytes(data), 'spoilt').crop(Window(20, 0, 20, 20))
