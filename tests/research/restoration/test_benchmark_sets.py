"""Benchmark sets show the protocol's pictures, and the oracle's kernel is the one the picture was blurred with."""

import cv2
import numpy as np
import pytest

from mirage_data.datasets.denoise import evaluation_rng
from mirage_data.degradations.blur import convolve
from research.restoration.sets import noise_sets, rain_set, recipe_sets

RECIPE = [
    {'degradation': 'rain'},
    {'degradation': ['motion_blur', 'gaussian_noise'], 'task': 'x', 'gaussian_noise': {'probability': 0.0}},
    {'degradation': 'defocus_blur', 'radius': [1.5, 3]},
    {'degradation': 'cdd11'},
    {'degradation': 'clean'},
]


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('clean photographs')
    for number in range(2):
        noise = np.random.default_rng(number).random((70, 90, 3), np.float32)
        smooth = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)
        cv2.imwrite(str(folder / f'{number}.png'), np.rint(smooth))
    return folder


def test_noise_is_the_protocols(photographs):
    sets = noise_sets(photographs)
    assert [s.name for s in sets] == ['CBSD68_15', 'CBSD68_25', 'CBSD68_50']
    assert sets[1].published == ('1', 'BSD68_25') and len(sets[1]) == 2
    picture = sets[1].picture(1)
    assert picture.name == '1' and picture.lq.shape == (64, 80, 3)
    noise = evaluation_rng(25, '1.png').standard_normal(picture.gt.shape, dtype=np.float32)
    expected = np.clip(np.rint(picture.gt * 255) + noise * 25, 0, 255).astype(np.uint8)
    assert np.array_equal(np.rint(picture.lq * 255), expected)
    assert noise_sets(photographs, [10])[0].published is None


def test_one_set_for_each_line_of_the_recipe(photographs):
    sets = {s.name: s for s in recipe_sets(photographs, RECIPE, 'held out', largest=48)}
    assert [*sets][:3] == ['rain', 'motion_blur', 'defocus_blur'] and len(sets) == 4 + 11
    rain = sets['rain'].picture(0)
    assert rain.lq.shape == rain.gt.shape == (48, 48, 3)
    assert np.array_equal(rain.lq, recipe_sets(photographs, RECIPE, '', 48, ['rain'])[0].picture(0).lq)
    assert not np.array_equal(rain.lq, rain.gt)
    clean = sets['clean'].picture(0)
    assert np.array_equal(clean.lq, clean.gt) and clean.known == {}
    whole = cv2.imread(str(photographs / '0.png'))[..., ::-1]
    assert np.array_equal(np.rint(clean.gt * 255), whole[3:67, 5:85][8:56, 16:64])


@pytest.mark.parametrize('name', ['motion_blur', 'defocus_blur'])
def test_the_known_kernel_makes_the_picture(photographs, name):
    (benchmark,) = recipe_sets(photographs, RECIPE, '', only=[name])
    kernels = []
    for position in range(2):
        picture = benchmark.picture(position)
        again = convolve(picture.gt, picture.known['kernel'], gamma=picture.known['gamma'])
        edge = 20  # beyond it the dataset's blur sees more of the photograph
        difference = np.abs(again - picture.lq)[edge:-edge, edge:-edge]
        assert difference.max() < 0.5 / 255 + 1e-5
        kernels.append(picture.known['kernel'])
    assert kernels[0].shape != kernels[1].shape or not np.allclose(*kernels)


def test_rain_pairs(tmp_path):
    for side, value in (('input', 200), ('target', 100)):
        (tmp_path / side).mkdir()
        cv2.imwrite(str(tmp_path / side / 'rain-1.png'), np.full((33, 40, 3), value, np.uint8))
    picture = rain_set(tmp_path).picture(0)
    assert picture.lq.shape == (32, 32, 3)
    assert picture.lq[0, 0, 0] == pytest.approx(200 / 255) and picture.gt[0, 0, 0] == pytest.approx(100 / 255)


def test_what_cannot_work_is_refused(photographs, tmp_path):
    with pytest.raises(ValueError, match='two lines begin with rain'):
        recipe_sets(photographs, [{'degradation': 'rain'}, {'degradation': ['rain', 'snow']}], '')
    with pytest.raises(ValueError, match='no set fog; the recipe has rain'):
        recipe_sets(photographs, RECIPE, '', only=['fog'])
    with pytest.raises(ValueError, match='absent'):
        rain_set(tmp_path / 'absent')
