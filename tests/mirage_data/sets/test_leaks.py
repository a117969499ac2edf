"""Copies of a photograph are found however they were stored; other photographs, even of the same place, are not."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data as photographs

from mirage_data.files.image import ImageError
from mirage_data.sets.fingerprint import fingerprint, pixel_digest
from mirage_data.sets.leaks import find_leaks, verify

FOLDER = Path(photographs.__file__).parent
NAMES = ('astronaut.png', 'chelsea.png', 'coffee.png', 'motorcycle_left.png', 'rocket.jpg', 'retina.jpg')


def load(name: str) -> np.ndarray:
    image = cv2.imread(str(FOLDER / name))
    scale = 480 / max(image.shape)
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


@pytest.fixture(scope='module')
def train(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('train')
    for name in NAMES:
        cv2.imwrite(str(folder / f'{Path(name).stem}.png'), load(name))
    return folder


def part(image: np.ndarray, share: float) -> np.ndarray:
    height, width = (int(side * share**0.5) for side in image.shape[:2])
    top, left = (image.shape[0] - height) // 3, (image.shape[1] - width) // 3
    return image[top : top + height, left : left + width]


def half(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def darker(image: np.ndarray) -> np.ndarray:
    return (255 * (image / 255.0) ** 1.6).astype(np.uint8)


COPIES = {
    'same pixels': (lambda image: image, '.bmp', []),
    're-encoded': (lambda image: image, '.jpg', [cv2.IMWRITE_JPEG_QUALITY, 40]),
    'resized': (half, '.png', []),
    'part': (lambda image: part(image, 0.25), '.jpg', [cv2.IMWRITE_JPEG_QUALITY, 60]),
    'darker': (darker, '.png', []),
}


@pytest.mark.parametrize('kind', COPIES)
def test_copies_are_found_and_named(train, tmp_path, kind):
    change, extension, options = COPIES[kind]
    for name in ('astronaut.png', 'coffee.png', 'motorcycle_left.png'):
        cv2.imwrite(str(tmp_path / f'{Path(name).stem}{extension}'), change(load(name)), options)
    leaks = find_leaks(sorted(train.iterdir()), sorted(tmp_path.iterdir()), workers=1)
    assert [Path(leak.train).stem for leak in leaks] == ['astronaut', 'coffee', 'motorcycle_left']
    assert [Path(leak.test).stem for leak in leaks] == ['astronaut', 'coffee', 'motorcycle_left']
    assert {leak.kind for leak in leaks} == {'the same view in other light' if kind == 'darker' else kind}
    expected_scale = 0.5 if kind == 'resized' else 1
    assert all(abs(leak.scale - expected_scale) < 0.02 for leak in leaks)


def test_the_larger_side_may_be_the_test_image(train, tmp_path):
    whole = tmp_path / 'whole'
    whole.mkdir()
    cv2.imwrite(str(whole / 'astronaut.png'), load('astronaut.png'))
    cv2.imwrite(str(tmp_path / 'crop.png'), part(load('astronaut.png'), 0.3))
    (leak,) = find_leaks([tmp_path / 'crop.png'], [whole / 'astronaut.png'], workers=1)
    assert leak.kind == 'part' and 0.2 < leak.coverage < 0.4


def test_other_photographs_are_no_leaks(train, tmp_path):
    for name in ('camera.png', 'coins.png', 'hubble_deep_field.jpg', 'motorcycle_right.png'):
        cv2.imwrite(str(tmp_path / f'{Path(name).stem}.png'), load(name))
    assert find_leaks(sorted(train.iterdir()), sorted(tmp_path.iterdir()), workers=1) == []


def test_two_views_of_one_place_share_corners_but_are_told_apart(train, tmp_path, monkeypatch):
    cv2.imwrite(str(tmp_path / 'right.png'), load('motorcycle_right.png'))
    views = fingerprint(train / 'motorcycle_left.png'), fingerprint(tmp_path / 'right.png')
    assert verify(*views) is None
    monkeypatch.setattr('mirage_data.sets.leaks.MIN_CORRELATION', -1.0)
    assert verify(*views) is not None, 'they agree on a movement, and only the comparison of pixels tells'


def test_flat_pictures_are_compared_by_their_pixels(tmp_path):
    for name, value in (('a', 90), ('b', 90), ('c', 91)):
        cv2.imwrite(str(tmp_path / f'{name}.png'), np.full((64, 64, 3), value, np.uint8))
    leaks = find_leaks([tmp_path / 'a.png', tmp_path / 'c.png'], [tmp_path / 'b.png'], workers=1)
    assert [(Path(leak.train).stem, leak.kind) for leak in leaks] == [('a', 'same pixels')]


def test_tiny_and_unreadable_files(train, tmp_path):
    cv2.imwrite(str(tmp_path / 'one.png'), np.zeros((1, 1, 3), np.uint8))
    (tmp_path / 'broken.png').write_bytes(b'no image')
    paths = sorted(tmp_path.iterdir())
    with pytest.raises(ImageError, match='broken.png'):
        find_leaks(paths, [train / 'rocket.png'], workers=1)
    seen = []
    assert find_leaks(paths, [train / 'rocket.png'], workers=1, on_unreadable=seen.append) == []
    assert len(seen) == 1 and 'broken.png' in str(seen[0])


def test_digest_is_of_pixels_and_size():
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert pixel_digest(image) == pixel_digest(np.asfortranarray(image))
    assert pixel_digest(image) != pixel_digest(image.reshape(2, 8, 3))
    assert pixel_digest(image) != pixel_digest(image.astype(np.uint16))


def test_the_index_may_come_in_several_pieces(train, monkeypatch):
    monkeypatch.setattr('mirage_data.sets.leaks.CHUNK', 2)
    paths = sorted(train.iterdir())
    leaks = find_leaks(paths[1:3], paths, workers=2)
    assert [(leak.train, leak.test) for leak in leaks] == [(str(path), str(path)) for path in paths[1:3]]


def test_all_copies_in_the_test_set_are_named(train, tmp_path):
    for name in ('a', 'b', 'c'):
        cv2.imwrite(str(tmp_path / f'{name}.png'), part(load('chelsea.png'), 0.5))
    leaks = find_leaks([train / 'chelsea.png'], sorted(tmp_path.iterdir()), workers=1)
    assert [Path(leak.test).stem for leak in leaks] == ['a', 'b', 'c']
    assert {leak.kind for leak in leaks} == {'part'}
