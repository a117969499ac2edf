"""The degradations that were fitted to real sets, scenes that change both sides, and what must not change."""

import json

import cv2
import numpy as np
import pytest
from made_up_images import write_png
from made_up_scene import scene, seeded

from mirage_data.datasets.synthetic import SyntheticDegradationDataset
from mirage_data.degradations import TABLE, apply, degrade, draw, parse_recipe
from mirage_data.degradations.blur import frame_blur, shake_kernel
from mirage_data.degradations.compose import degrade_pair
from mirage_data.degradations.graphics import graphics
from mirage_data.degradations.haze import haze_indoor, room_depth
from mirage_data.degradations.low_light import dark_scene, underexposed
from mirage_data.degradations.noise import mosaic_grain, profile, profiles, raw_noise, to_uint8
from mirage_data.sets.synthesis import synthesize

# sum of the drawn parameters; mean, deviation and mean step to the right of the degraded scene
UNCHANGED = {
    'clean': (0.000000, 0.4500, 0.2391, 0.0236),
    'haze': (2.036888, 0.5230, 0.1956, 0.0170),
    'rain': (17.231453, 0.4573, 0.2372, 0.0247),
    'snow': (-38.680304, 0.5630, 0.1914, 0.0357),
    'raindrops': (14.990833, 0.4509, 0.2392, 0.0235),
    'underwater': (2.834434, 0.4224, 0.2070, 0.0174),
    'defocus_blur': (3.113414, 0.4518, 0.2335, 0.0154),
    'motion_blur': (10.055678, 0.4530, 0.2314, 0.0101),
    'low_light': (0.581661, 0.1068, 0.0572, 0.0097),
    'poisson_noise': (103.285016, 0.4487, 0.2452, 0.0765),
    'camera_noise': (0.553813, 0.4473, 0.2448, 0.0399),
    'gaussian_noise': (11.428510, 0.4481, 0.2435, 0.0573),
    'jpeg': (16.000000, 0.4511, 0.2350, 0.0157),
    'cdd11_low': (2.183534, 0.2329, 0.2127, 0.0610),
    'cdd11_haze': (2.286275, 0.5490, 0.1644, 0.0142),
    'cdd11_rain': (53.178502, 0.5085, 0.2429, 0.0320),
    'cdd11_snow': (-46.375422, 0.5994, 0.1889, 0.0389),
}


@pytest.mark.parametrize('name', UNCHANGED)
def test_samples_of_earlier_recipes_are_what_they_were(name):
    rng = seeded(11)
    params = draw(name, rng)
    out = apply(name, scene(), params, rng).astype(float)
    found = (sum(params.values()), out.mean(), out.std(), np.abs(np.diff(out, axis=1)).mean())
    assert found[0] == pytest.approx(UNCHANGED[name][0], abs=1e-5)
    assert found[1:] == pytest.approx(UNCHANGED[name][1:], abs=3e-4)  # another OpenCV may round differently


# Cameras


def test_more_sensitivity_more_noise_and_ranks_are_ranks():
    assert profiles()['iso'].tolist() == [100 * 2**stop for stop in range(10)]
    middle = {'camera': 0.5, 'readout': 0.5, 'warmth': 0.5}
    shots = np.array([profile(stops=stops, **middle)[0] for stops in range(10)])
    assert (np.diff(np.log2(shots), axis=0) > 0.3).all() and (np.diff(np.log2(shots), axis=0) < 1.7).all()
    np.testing.assert_allclose(shots[3, 1], profiles()['shot'][3, 3], rtol=1e-6)
    assert shots[3, 0] > shots[3, 1] < shots[3, 2]  # the white balance amplifies red and blue
    quiet, loud = (profile(stops=5, camera=rank, readout=0.5, warmth=0.5)[0] for rank in (0, 1))
    assert (loud > 3 * quiet).all()
    low, high = (profile(stops=5, camera=0.5, readout=rank, warmth=0.5)[1] for rank in (0, 1))
    assert (high > 1.5 * low).all()
    between = profile(stops=3.5, **middle)[0]
    np.testing.assert_allclose(between, np.sqrt(shots[3] * shots[4]), rtol=1e-5)


def test_mosaic_grain_is_that_of_bilinear_demosaicing():
    grain = mosaic_grain((400, 401), smear=0, rng=seeded()).astype(float)
    assert grain.std(axis=(0, 1)) == pytest.approx([1, 1, 1], abs=0.02)
    beside = [np.mean(grain[:, :-1, c] * grain[:, 1:, c]) for c in range(3)]
    # green: pairs of a sample and a mean of four neighbours, one of them that sample: 2 * 0.25 / 0.625 / 2
    assert beside[1] == pytest.approx(0.25 / 0.625, abs=0.03)
    # red: 0.5 in rows with samples, 0.25 * 0.5 * 2 / 2 ... averaged 0.375 over the mean variance 0.5625
    assert beside[0] == pytest.approx(0.375 / 0.5625, abs=0.03) and beside[2] == pytest.approx(beside[0], abs=0.05)
    assert abs(np.corrcoef(grain[..., 0].ravel(), grain[..., 1].ravel())[0, 1]) < 0.02


def test_raw_noise_has_the_profile_s_variance_in_the_light_on_the_sensor():
    drawn = {'stops': 5.0, 'camera': 0.6, 'readout': 0.5, 'warmth': 0.4}
    shot, read = profile(**drawn)
    for level, push, shoulder in ((0.5, 0.0, 0.0), (0.5, 1.5, 0.0), (0.4, 1.0, 2.0)):
        image = np.full((200, 200, 3), level, np.float32)
        noisy = raw_noise(image, **drawn, push=push, shoulder=shoulder, smear=0.5, colour=1, rng=seeded())
        display, light = noisy.astype(float) ** 2.2, level**2.2
        sensor, expected = display / (1 + shoulder - shoulder * display), light / (1 + shoulder - shoulder * light)
        gain = 2.0**push
        variance = gain * shot * expected + (gain * read) ** 2
        np.testing.assert_allclose(sensor.mean(axis=(0, 1)), expected, rtol=0.02)
        np.testing.assert_allclose(sensor.var(axis=(0, 1)), variance, rtol=0.15)
    grey = raw_noise(image, **drawn, push=1, shoulder=1, smear=0.5, colour=0, rng=seeded())
    assert np.corrcoef(grey[..., 0].ravel(), grey[..., 1].ravel())[0, 1] > 0.99


def test_raw_noise_ranges_from_hardly_seen_to_strong():
    image = np.clip(scene(128, 128), 0.05, 1)
    drawn = []
    for seed in range(120):
        rng = seeded(seed)
        drawn.append(-10 * np.log10(np.mean((apply('raw_noise', image, draw('raw_noise', rng), rng) - image) ** 2)))
    low, middle, high = np.quantile(drawn, (0.1, 0.5, 0.9))
    assert low < 31 and 33 < middle < 43 and high > 43  # real photographs of PolyU lie at 33 to 39 dB


# Darkness


def test_underexposed_formula_and_noise():
    image = scene()
    fixed = {'level': 0.3, 'power': 1.8, 'red': 1.1, 'blue': 0.8, 'smear': 0.6}
    dark = underexposed(image, **fixed, black=1, noise=0, rng=seeded())
    expected = image.astype(float) ** 1.8 * 0.3 * [1.1, 1, 0.8] - 1 / 255
    np.testing.assert_allclose(dark, np.clip(expected, 0, 1), atol=1e-5)
    flat = np.full((120, 120, 3), 0.4, np.float32)
    for smear in (0.0, 0.4, 0.8):
        noisy = underexposed(flat, **{**fixed, 'smear': smear}, black=0, noise=0.8, rng=seeded())
        bare = underexposed(flat, **{**fixed, 'smear': smear}, black=0, noise=0, rng=seeded())
        deviation = (noisy - bare)[..., 1].std() * 255
        assert deviation == pytest.approx(0.8 * (1 + bare[0, 0, 1] * 255 / 60), rel=0.15), smear


def test_dark_scene_formula():
    found = dark_scene(scene(), power=2, level=0.5, cast=0.5)
    np.testing.assert_allclose(found, scene().astype(float) ** 2 * 0.5 * [1, 0.95, 0.85], atol=1e-6)


# Rooms, blur


def test_a_room_is_nearest_below_and_a_crop_lies_at_its_place():
    image = np.full((60, 80, 3), 0.5, np.float32)
    depth = room_depth(image, breadth=0.3, things=0, rng=seeded(2))
    assert depth.shape == (60, 80) and depth.min() > 0 and depth.max() <= 1
    assert depth[-3:].mean() < 0.8 * depth[25:35, 30:50].mean()
    part = room_depth(image[:30, :40], breadth=0.3, things=0, rng=seeded(2), window=(0.5, 1, 0, 0.5))
    assert np.abs(part - depth[30:, :40])[8:, :-8].mean() < 0.03


def test_indoor_haze_is_koschmieder_s_law_over_the_room():
    image = scene()
    hazy = haze_indoor(image, beta=1.2, airlight=0.9, breadth=0.3, things=4, rng=seeded(3))
    through = np.exp(-1.2 * room_depth(image, breadth=0.3, things=4, rng=seeded(3)).astype(float))[..., None]
    np.testing.assert_allclose(hazy, image * through + 0.9 * (1 - through), atol=1e-5)


def test_shake_kernels_dwell_and_shrink_to_nothing():
    for seed in range(6):
        even, uneven = (shake_kernel(length=24, bend=1.5, dwell=dwell, rng=seeded(seed)) for dwell in (0.0, 1.5))
        for kernel in (even, uneven):
            assert kernel.sum() == pytest.approx(1, abs=1e-5) and kernel.min() >= 0 and kernel.shape[0] % 2 == 1
        assert uneven.max() > 1.3 * even.max()
        slight = shake_kernel(length=0.5, bend=1, dwell=0.5, rng=seeded(seed))
        assert slight.max() > 0.5


def test_frame_blur_is_the_mean_of_shifted_frames_and_nothing_without_motion():
    image = scene()
    still = frame_blur(image, shift=0, turn=0, zoom=0, frames=9, rng=seeded())
    np.testing.assert_allclose(still, image, atol=2e-3)
    blurred = frame_blur(image, shift=10, turn=0, zoom=0, frames=11, rng=seeded(4))
    heading = seeded(4).uniform(0, 2 * np.pi)
    light = image.astype(float) ** 2.2
    rows, columns = np.mgrid[:72, :96].astype(np.float32)
    frames = [
        cv2.remap(
            light,
            columns - np.float32(place * np.cos(heading)),
            rows - np.float32(place * np.sin(heading)),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        for place in np.linspace(-5, 5, 11)
    ]
    np.testing.assert_allclose(blurred, np.mean(frames, axis=0) ** (1 / 2.2), atol=0.02)
    turned = frame_blur(image, shift=0, turn=4, zoom=0, frames=9, rng=seeded(1))
    error = np.abs(turned - image).mean(axis=2)
    assert error.max() > 20 * np.quantile(error, 0.02)  # still at the centre of the turn


# Scenes


def test_graphics_are_many_kinds_of_8_bit_pictures():
    pictures = [graphics(scene(), keep=0.3, rng=seeded(seed)) for seed in range(60)]
    for picture in pictures:
        np.testing.assert_array_equal(to_uint8(picture) * np.float32(1 / 255), picture)
    flat = [np.mean((np.abs(np.diff(picture, axis=1)) == 0).all(axis=2)) for picture in pictures]
    assert np.mean(flat) > 0.4 and min(flat) < 0.3  # flat areas mostly, gradients too
    assert np.std([picture.mean() for picture in pictures]) > 0.15


def test_a_scene_changes_both_sides_and_a_fault_one():
    image = scene()
    recipe = [{'degradation': ['gaussian_noise', 'dark_scene'], 'gaussian_noise': {'sigma': 10}}]
    entry = parse_recipe(recipe).entries[0]
    assert entry.task == 'denoise' and entry.makes_scenes and [m.name for m in entry.members][0] == 'dark_scene'
    lq, clean, record = degrade_pair(image, entry, seeded(1))
    drawn = {key: value for key, value in record['steps'][0].items() if key != 'degradation'}
    np.testing.assert_allclose(clean, dark_scene(image, **drawn), atol=0.51 / 255)
    assert np.std(lq - clean) * 255 == pytest.approx(10, rel=0.3)  # black clips a half of it in places
    np.testing.assert_array_equal(degrade(image, recipe, seeded(1))[0].shape, image.shape)
    assert parse_recipe([{'degradation': 'graphics'}]).entries[0].task == 'clean'
    given = parse_recipe([{'degradation': ['jpeg', 'graphics'], 'order': 'given'}]).entries[0]
    assert [member.name for member in given.members] == ['graphics', 'jpeg']
    assert not parse_recipe([{'degradation': 'haze'}]).entries[0].makes_scenes


def test_clean_scenes_of_a_data_set_are_equal_on_both_sides(tmp_path):
    write_png(tmp_path / 'a.png', to_uint8(scene()))
    options = {'dataroot_gt': str(tmp_path), 'gt_size': 48, 'return_record': True, 'use_hflip': True, 'use_rot': True}
    for name in ('graphics', 'dark_scene'):
        dataset = SyntheticDegradationDataset({**options, 'recipe': [{'degradation': name}]})
        for epoch in range(5):
            sample = dataset[epoch, 0]
            assert (sample['lq'] == sample['gt']).all()
            assert json.loads(sample['record'])['steps'][0]['degradation'] == name
    noisy = [{'degradation': [name, 'raw_noise']} for name in ('graphics', 'dark_scene')]
    sample = SyntheticDegradationDataset({**options, 'recipe': noisy})[3, 0]
    assert 0 < (sample['lq'] - sample['gt']).abs().mean() < 0.2


def test_scenes_are_refused_where_pairs_share_their_clean_side(tmp_path):
    write_png(tmp_path / 'in' / 'a.png', to_uint8(scene()))
    with pytest.raises(ValueError, match='dark_scene and black_and_white change the clean side'):
        synthesize([tmp_path / 'in'], tmp_path / 'out', 'paired', recipe=[{'degradation': 'dark_scene'}])


def test_styles_of_rain_differ_as_the_sets_do():
    covered = {}
    for name in ('rain_streaks', 'rain_dense'):
        shares = []
        for seed in range(12):
            rng = seeded(seed)
            residual = apply(name, scene(), draw(name, rng), rng) - scene()
            shares.append((residual.mean(axis=2) > 0.04).mean())
            if name == 'rain_streaks':
                assert residual.min() > -0.02
        covered[name] = np.median(shares)
    assert 0.05 < covered['rain_streaks'] < 0.25 < covered['rain_dense']
    assert set(TABLE['rain'].parameters) == set(TABLE['rain_streaks'].parameters)
