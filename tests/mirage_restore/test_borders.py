"""Bars and hidden pixels do not decide how the visible part is restored, and come back as they were."""

import numpy as np
import pytest
from skimage import data

from mirage_restore import Restorer
from mirage_restore.inputs import filled, restore_visible, visible_box

HEIGHT, WIDTH = 96, 128


@pytest.fixture(scope='module')
def restore():
    return Restorer(device='cpu')


@pytest.fixture(scope='module')
def photographs():
    """A clean photograph and a noisy one, uint8."""
    clean = data.astronaut()[20 : 20 + HEIGHT, 150 : 150 + WIDTH]
    noise = np.random.default_rng(0).normal(0, 25, clean.shape)
    return clean, np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)


def psnr(a, b):
    return 10 * np.log10(255**2 / np.square(a.astype(float) - b).mean())


@pytest.mark.parametrize('top,bottom,left,right', [(20, 20, 0, 0), (0, 0, 30, 30), (12, 0, 0, 7), (9, 9, 9, 9)])
@pytest.mark.parametrize('colour', [(0, 0, 0), (10, 60, 90)])
def test_borders_are_found(photographs, top, bottom, left, right, colour):
    image = np.full((HEIGHT + top + bottom, WIDTH + left + right, 3), colour, np.uint8)
    image[top : top + HEIGHT, left : left + WIDTH] = photographs[1]
    assert visible_box(image) == (slice(top, top + HEIGHT), slice(left, left + WIDTH))


@pytest.mark.parametrize('dtype', [np.uint16, np.float32])
def test_borders_are_found_at_every_depth(photographs, dtype):
    image = np.zeros((HEIGHT + 40, WIDTH, 3), np.uint8)
    image[20:-20] = photographs[1]
    image = image.astype(np.uint16) * 257 if dtype == np.uint16 else image.astype(np.float32) / 255
    assert visible_box(image) == (slice(20, 20 + HEIGHT), slice(0, WIDTH))


def no_borders():
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    night = np.clip((y[..., None] - 30) * np.array([1, 1, 2]), 0, 255).astype(np.uint8)
    sky = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    sky[40:] = np.stack([x, y, x], 2)[40:] + 20
    line = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    line[:2] = 0
    return {
        'a night sky': night,
        'a blown-out sky': sky,
        'two dark lines': line,
        'nothing else': sky * 0 + 70,
        'small': np.zeros((3, 5, 3), np.uint8),
        'grey': line[..., 1],
        'hardly a picture': thin(),
    }


def thin():
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[40:44] = np.random.default_rng(0).integers(0, 256, (4, WIDTH, 3))
    return image


@pytest.mark.parametrize('name', no_borders())
def test_what_belongs_to_the_picture_is_no_border(name):
    image = no_borders()[name]
    assert visible_box(image) == (slice(0, image.shape[0]), slice(0, image.shape[1]))


def test_bars_change_nothing_within_and_come_back(restore, photographs):
    clean, noisy = photographs
    image = np.zeros((HEIGHT + 48, WIDTH, 3), np.uint8)
    image[24:-24] = noisy
    restored = restore(image)
    assert np.array_equal(restored[24:-24], restore(noisy))
    assert not restored[:24].any() and not restored[-24:].any()
    assert psnr(restored[24:-24], clean) > psnr(noisy, clean) + 5


@pytest.mark.parametrize('shape', ['surround', 'frame', 'half', 'hole', 'dots'])
def test_hidden_black_costs_nothing(restore, photographs, shape):
    clean, noisy = photographs
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    visible = {
        'surround': ((y - 48) / 40) ** 2 + ((x - 64) / 50) ** 2 < 1,
        'frame': (abs(y - 48) < 36) & (abs(x - 64) < 50),
        'half': x > 64,
        'hole': (abs(y - 48) > 25) | (abs(x - 64) > 30),
        'dots': (x + y) % 7 > 0,
    }[shape]
    alpha = np.where(visible, 255, 0).astype(np.uint8)
    black = np.dstack([np.where(visible[..., None], noisy, 0), alpha])
    restored = restore(black)
    assert np.array_equal(restored[..., 3], alpha)
    assert np.array_equal(restored[~visible], black[~visible])
    known = psnr(restore(noisy)[visible], clean[visible])
    assert psnr(restored[..., :3][visible], clean[visible]) > known - (1.0 if shape != 'dots' else 3.0)


def test_every_hidden_pixel_is_filled_from_visible_ones():
    rng = np.random.default_rng(1)
    colour = rng.integers(1, 256, (40, 50, 3), np.uint8)
    hidden = rng.random((40, 50)) < 0.5
    hidden[:, 10:20] = True
    hidden[5:9] = True
    colour[hidden] = 0
    result = filled(colour, hidden)
    assert result.min() > 0
    assert np.array_equal(result[~hidden], colour[~hidden])
    palette = {tuple(pixel) for pixel in colour[~hidden]}
    assert all(tuple(pixel) in palette for pixel in result[hidden])


def test_wholly_transparent_and_wholly_visible_images_are_restored_as_they_are():
    image = np.full((20, 20, 4), 9, np.uint8)
    image[::2] = 99
    expected = image[..., :3] + 1
    calls = []

    def note(colour):
        calls.append(colour.shape)
        return colour + 1

    for alpha in (0, 255):
        image[..., 3] = alpha
        result = restore_visible(note, image)
        assert np.array_equal(result[..., :3], expected) and (result[..., 3] == alpha).all()
    assert calls == [(20, 20, 3)] * 2


def test_a_given_part_is_restored_whatever_the_image_shows():
    image = np.random.default_rng(0).integers(0, 200, (30, 40), np.uint8)
    box = (slice(5, 20), slice(10, 40))
    result = restore_visible(lambda colour: colour + 50, image, box)
    expected = image.copy()
    expected[box] += 50
    assert np.array_equal(result, expected)


def test_strength_blends(restore, photographs):
    noisy = photographs[1]
    half = Restorer(device='cpu', strength=0.5)(noisy).astype(float)
    assert np.abs(half - (noisy.astype(float) + restore(noisy)) / 2).max() <= 1
    assert np.array_equal(Restorer(device='cpu', strength=0)(noisy), noisy)
    for wrong in (-0.1, 1.5, float('nan')):
        with pytest.raises(ValueError, match='strength'):
            Restorer(device='cpu', strength=wrong)


@pytest.mark.parametrize('value', [0, 128, 255])
@pytest.mark.parametrize('channels', [None, 1, 3, 4])
def test_an_image_of_one_colour_comes_back_as_it_was(value, channels):
    image = np.full((40, 56) if channels is None else (40, 56, channels), value, np.uint8)
    image[::7] += value < 255  # as compressing leaves it
    found = restore_visible(lambda colour: colour[::-1] // 2, image)
    assert np.array_equal(found, image) and found is not image


def test_an_image_with_one_spot_is_restored():
    image = np.full((40, 56, 3), 90, np.uint8)
    image[20, 20] = 99
    assert not np.array_equal(restore_visible(lambda colour: colour // 2, image), image)
