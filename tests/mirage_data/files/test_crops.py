import numpy as np
import pytest

from mirage_data.files.crops import augmentation_from_options, centre_window, dihedral, draw_dihedral, random_window


def authors_crop(image, base=16):
    """The centre crop of PromptIR-like test code, restated: an odd remainder loses one row less at the top."""
    height, width = image.shape[:2]
    down, right = height % base, width % base
    return image[down // 2 : height - down + down // 2, right // 2 : width - right + right // 2]


@pytest.mark.parametrize('size', [(321, 481), (48, 64), (17, 31), (16, 16)])
def test_centre_window_is_the_authors_crop(size):
    image = np.arange(size[0] * size[1] * 3).reshape(*size, 3)
    assert np.array_equal(centre_window(*size, 16, 'x').of(image), authors_crop(image))


def test_random_windows_reach_every_corner_of_the_centre_and_nothing_else():
    rng = np.random.default_rng(0)
    windows = [random_window(37, 50, 30, 16, rng, 'x') for _ in range(400)]
    assert {window.top for window in windows} == {2, 3, 4}  # centre: rows 2..34, columns 1..49
    assert {window.left for window in windows} == set(range(1, 20))
    assert {window[2:] for window in windows} == {(30, 30)}


def test_too_small_images_are_named():
    with pytest.raises(ValueError, match=r'tiny.png.*1x1 pixels.*crop_multiple: 16'):
        centre_window(1, 1, 16, 'tiny.png')
    with pytest.raises(ValueError, match=r'small.png.*40x30 pixels.*gt_size: 32'):
        random_window(30, 40, 32, 16, np.random.default_rng(0), 'small.png')
    with pytest.raises(ValueError, match=r'dot.png.*gt_size: 8'):
        random_window(1, 1, 8, 16, np.random.default_rng(0), 'dot.png')


def test_the_eight_modes_differ_and_zero_is_the_identity():
    image = np.random.default_rng(0).random((6, 6, 3))
    results = [dihedral(image, mode) for mode in range(8)]
    assert results[0] is image
    assert len({result.tobytes() for result in results}) == 8
    assert np.array_equal(results[6], np.rot90(image, -1))
    assert np.array_equal(results[5], np.rot90(image))


@pytest.mark.parametrize(
    'options, expected, modes',
    [
        ({}, 'none', {0}),
        ({'use_hflip': True}, 'hflip', {0, 1}),
        ({'use_rot': True}, 'rot', {0, 2, 4, 6}),
        ({'use_hflip': True, 'use_rot': True}, 'dihedral7', {1, 2, 3, 4, 5, 6, 7}),
        ({'use_hflip': True, 'use_rot': True, 'augment': 'flips'}, 'flips', {0, 1, 2, 3}),
        ({'use_hflip': False, 'use_rot': False, 'augment': 'flips'}, 'none', {0}),
    ],
)
def test_augmentation_options(options, expected, modes):
    assert augmentation_from_options(options) == expected
    rng = np.random.default_rng(0)
    assert {draw_dihedral(expected, rng) for _ in range(200)} == modes


def test_unknown_augmentation_is_refused():
    with pytest.raises(ValueError, match="augment: 'mirror'; allowed: none, hflip"):
        augmentation_from_options({'augment': 'mirror'})
