"""Every degradation: formulas against independent evaluations, and what all of them promise."""

import cv2
import numpy as np
import pytest
from made_up_scene import scene, seeded
from scipy import ndimage

from mirage_data.degradations import TABLE, apply, draw, gaussian_noise_uint8
from mirage_data.degradations.blur import convolve, disc_kernel, trajectory_kernel
from mirage_data.degradations.depth import coarse_field, generate_depth, guided_filter
from mirage_data.degradations.haze import add_haze, haze, underwater
from mirage_data.degradations.low_light import low_light
from mirage_data.degradations.noise import camera_noise, jpeg, poisson_noise, to_uint8
from mirage_data.degradations.rain import add_rain, rain, streak_layer, streak_mask
from mirage_data.degradations.snow import add_snow, line_kernel, snow_mask


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((a.astype(np.float64) - b) ** 2)))


# What every degradation promises


@pytest.mark.parametrize('name', TABLE)
def test_returns_a_finite_float32_image_in_range_and_leaves_its_input_alone(name):
    image = scene()
    before = image.copy()
    out = apply(name, image, draw(name, seeded(1)), seeded(2))
    assert out.dtype == np.float32 and out.shape == image.shape
    assert np.isfinite(out).all() and out.min() >= 0
    assert out.max() <= (2 if name in ('cdd11_rain', 'cdd11_low_rain') else 1)  # published: rain is not clipped
    np.testing.assert_array_equal(image, before)
    assert (name == 'clean') == np.array_equal(out, image)


@pytest.mark.parametrize('name', TABLE)
@pytest.mark.parametrize('shape', [(1, 1), (1, 7), (7, 1), (2, 3)])
def test_smallest_images(name, shape):
    for value in (0.0, 0.5, 1.0):
        for seed in range(3):
            out = apply(name, np.full((*shape, 3), value, np.float32), draw(name, seeded(seed)), seeded(seed))
            assert out.shape == (*shape, 3) and np.isfinite(out).all()


@pytest.mark.parametrize('name', TABLE)
def test_same_generator_same_image_other_generator_another(name):
    image, params = scene(), draw(name, seeded(5))
    first, again, other = (apply(name, image, params, seeded(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    fixed = name in ('clean', 'defocus_blur', 'jpeg', 'dark_scene', 'black_and_white')  # not random
    assert np.array_equal(first, other) == fixed


@pytest.mark.parametrize('name', TABLE)
def test_draws_within_the_ranges_and_records_every_parameter(name):
    rows = TABLE[name].parameters
    drawn = [draw(name, seeded(seed)) for seed in range(40)]
    for key, row in rows.items():
        values = [params[key] for params in drawn]
        assert row.least <= row.low <= min(values) <= max(values) <= row.high <= row.most
        assert max(values) - min(values) > 0.6 * (row.high - row.low)
    assert all(list(params) == list(rows) for params in drawn)


STRONGER = [
    ('gaussian_noise', 'sigma', (5, 15, 50)),
    ('poisson_noise', 'photons', (1000, 100, 20)),
    ('camera_noise', 'shot', (0.001, 0.01, 0.05)),
    ('camera_noise', 'read', (0.001, 0.02, 0.1)),
    ('rain', 'brightness', (0.1, 0.3, 0.8)),
    ('rain', 'density', (0.05, 0.3, 1.5)),
    ('rain', 'veil', (0.0, 0.2, 0.5)),
    ('haze', 'beta', (0.3, 1.0, 3.0)),
    ('snow', 'density', (0.005, 0.05, 0.3)),
    ('snow', 'opacity', (0.2, 0.5, 1.0)),
    ('snow', 'drift', (0.02, 0.1, 0.4)),
    ('low_light', 'exposure', (0.5, 0.1, 0.02)),
    ('motion_blur', 'length', (3, 9, 27)),
    ('defocus_blur', 'radius', (1, 3, 8)),
    ('jpeg', 'quality', (90, 40, 8)),
    ('raindrops', 'count', (10, 40, 150)),
    ('underwater', 'distance', (0.2, 1.0, 3.0)),
    ('cdd11_low', 'gamma', (2, 2.5, 3)),
    ('cdd11_haze', 'beta', (0.5, 1, 2)),
    ('cdd11_rain', 'rain_density', (0.5, 2, 8)),
    ('cdd11_snow', 'snow_density', (0.005, 0.05, 0.3)),
]


@pytest.mark.parametrize(('name', 'key', 'values'), STRONGER, ids=[f'{name}-{key}' for name, key, _ in STRONGER])
def test_stronger_parameter_lower_psnr(name, key, values):
    image = scene()
    quality = []
    for value in values:
        results = [apply(name, image, draw(name, seeded(seed), {key: value}), seeded(seed)) for seed in range(3)]
        quality.append(np.mean([psnr(result, image) for result in results]))
    assert quality[0] > quality[1] + 0.3 and quality[1] > quality[2] + 0.3


# Noise


def test_gaussian_noise_clips_and_truncates():
    image = seeded(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    noise = seeded(9).standard_normal(image.shape, dtype=np.float32)
    exact = image.astype(np.float64) + 25.0 * noise
    expected = np.floor(np.clip(exact, 0, 255)).astype(np.uint8)
    found = gaussian_noise_uint8(image, sigma=25.0, rng=seeded(9))
    unsure = np.abs(exact - np.rint(exact)) < 1e-4  # a float32 sum may fall on the other side of a whole number
    np.testing.assert_array_equal(found[~unsure], expected[~unsure])
    assert unsure.mean() < 0.01


def test_gaussian_noise_of_zero_changes_no_8_bit_image():
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    as_float = image.astype(np.float32) / 255
    np.testing.assert_array_equal(to_uint8(apply('gaussian_noise', as_float, {'sigma': 0}, seeded())), image)
    with pytest.raises(ValueError, match='uint8'):
        gaussian_noise_uint8(as_float, sigma=1, rng=seeded())


def test_poisson_noise_has_the_variance_of_counted_photons():
    level, photons = 0.4, 50
    noisy = poisson_noise(np.full((200, 200, 3), level, np.float32), photons=photons, rng=seeded())
    assert noisy.mean() == pytest.approx(level, rel=0.01)
    assert noisy.var() == pytest.approx(level / photons, rel=0.05)


@pytest.mark.parametrize('grain', [0.0, 0.9])
def test_camera_noise_in_linear_light(grain):
    level, shot, read = 0.5, 0.002, 0.01
    noisy = camera_noise(np.full((150, 150, 3), level, np.float32), shot=shot, read=read, grain=grain, rng=seeded())
    linear = noisy.astype(np.float64) ** 2.2
    assert linear.mean() == pytest.approx(level**2.2, rel=0.01)
    assert linear.var() == pytest.approx(shot * level**2.2 + read**2, rel=0.05)
    neighbours = np.corrcoef(linear[:, :-1].ravel(), linear[:, 1:].ravel())[0, 1]
    assert (neighbours > 0.3) == (grain > 0)


# Rain and snow


def test_streaks_point_where_they_are_told():
    for angle in (-35.0, 0.0, 20.0):
        layer = streak_layer((160, 160), angle=angle, length=40, width=1.5, density=0.08, rng=seeded(2))
        rows, columns = np.gradient(ndimage.gaussian_filter(layer.astype(np.float64), 2))
        # the gradient is across the streaks: the structure tensor's weak direction is theirs
        tensor = np.array([[(columns**2).sum(), (columns * rows).sum()], [(columns * rows).sum(), (rows**2).sum()]])
        across = np.linalg.eigh(tensor)[1][:, 1]
        leaning = np.degrees(np.arctan2(across[1], across[0]))
        leaning = -(leaning + 90) % 180 - 90
        assert leaning == pytest.approx(angle, abs=4), (angle, leaning)


def test_rain_mask_is_sparse_or_dense_as_asked():
    sparse, dense = (
        streak_mask((96, 96), angle=5, length=20, width=1.5, density=density, brightness=0.5, rng=seeded(1))
        for density in (0.05, 1.0)
    )
    assert 0 < (sparse > 0.02).mean() < 0.25 and (dense > 0.02).mean() > 0.5
    assert sparse.max() <= 1 and sparse.min() >= 0


def test_rain_and_snow_formulas():
    image, mask = scene(), seeded(1).random((72, 96), dtype=np.float32)
    layered = mask[:, :, None].astype(np.float64)
    expected = np.clip(image * (1 - 0.3 * layered) + layered, 0, 1)
    np.testing.assert_allclose(add_rain(image, mask, blend=0.3), expected, atol=1e-6)
    np.testing.assert_allclose(add_snow(image, mask, colour=0.9), image * (1 - layered) + 0.9 * layered, atol=1e-6)


def test_rain_without_brightness_is_only_the_veil():
    out = rain(scene(), angle=0, length=20, width=2, density=0.3, brightness=0, blend=0.5, veil=0.2, rng=seeded())
    np.testing.assert_allclose(out, scene() * 0.8 + 0.15, atol=1e-6)


def test_line_kernel_is_a_centred_line():
    for length, angle in ((1.0, 0.0), (7.0, 30.0), (12.5, -60.0)):
        kernel = line_kernel(length, angle).astype(np.float64)
        offsets = np.arange(len(kernel)) - len(kernel) // 2
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        assert abs((kernel * offsets[:, None]).sum()) < 0.15 and abs((kernel * offsets[None, :]).sum()) < 0.15


def test_bigger_flakes_are_fewer():
    def pieces(size):
        mask = snow_mask((160, 160), size=size, density=0.03, opacity=1, trail=0, angle=0, drift=0, rng=seeded(1))
        return ndimage.label(mask > 0.3)[1]

    assert pieces(1.0) > 2 * pieces(3.0) > 0


# Depth and haze


def test_guided_filter_against_its_definition():
    rng = seeded(4)
    guide, values = rng.random((12, 15)), rng.random((12, 15))

    def mean(a):  # windows of 3 x 3, mirrored without repeating the border pixel
        padded = np.pad(a, 1, mode='reflect')
        return np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).mean(axis=(2, 3))

    slope = (mean(guide * values) - mean(guide) * mean(values)) / (mean(guide**2) - mean(guide) ** 2 + 0.01)
    expected = mean(slope) * guide + mean(mean(values) - slope * mean(guide))
    np.testing.assert_allclose(guided_filter(guide, values, size=3, epsilon=0.01), expected, atol=1e-12)


def test_generated_depth_is_near_below_and_far_at_the_sky():
    depth = generate_depth(scene(), horizon=0.35, relief=0.1, rng=seeded())
    assert depth.shape == (72, 96) and depth.min() >= 0 and depth.max() <= 1
    assert depth[-10:].mean() > depth[30:40].mean() > depth[:10].mean()


def test_a_crop_has_the_depth_and_the_light_of_its_place():
    whole = coarse_field((80, 120), cells=5, rng=seeded(6))
    part = coarse_field((20, 30), cells=5, rng=seeded(6), window=(40 / 79, 59 / 79, 60 / 119, 89 / 119))
    np.testing.assert_allclose(part, whole[40:60, 60:90], atol=0.03)  # OpenCV places samples on a grid of 1/32
    image = np.full((20, 30, 3), 0.5, np.float32)
    above, below = (
        generate_depth(image, horizon=0.2, relief=0, rng=seeded(), window=(top, top + 0.25, 0, 1)) for top in (0, 0.75)
    )
    assert below.mean() > above.mean() + 0.3


def test_haze_formula_and_supplied_depth():
    image = scene()
    near = np.linspace(0, 1, 72, dtype=np.float32)[:, None].repeat(96, axis=1)
    transmission = np.exp(-1.4 * (1 - near.astype(np.float64)))[:, :, None]
    colour = np.array([0.8 - 0.02, 0.8, 0.8 + 0.02])
    expected = image * transmission + colour * (1 - transmission)
    np.testing.assert_allclose(add_haze(image, near, beta=1.4, airlight=colour), expected, atol=1e-6)
    given = {'beta': 1.4, 'airlight': 0.8, 'tint': 0.5, 'horizon': 0.3, 'relief': 0.1, 'rng': seeded()}
    np.testing.assert_allclose(haze(image, depth=near, **given), expected, atol=1e-6)
    half = cv2.resize(near, (48, 36))
    np.testing.assert_allclose(haze(image, depth=half, **given), expected, atol=0.03)


# Light, blur, JPEG, water


def test_low_light_is_a_product_in_linear_light():
    image = scene()
    dark = low_light(image, exposure=0.1, contrast=0, cast=0.5, shot=0, read=0, rng=seeded())
    colour = np.array([1.0, 0.95, 0.85])
    np.testing.assert_allclose(dark, (image.astype(np.float64) ** 2.2 * 0.1 * colour) ** (1 / 2.2), atol=1e-5)
    uneven = low_light(image, exposure=0.1, contrast=0.8, cast=0.5, shot=0, read=0, rng=seeded())
    assert (uneven <= dark + 1e-6).all() and uneven.mean() < dark.mean()


def test_kernels_are_normalised_and_as_large_as_asked():
    for seed in range(5):
        kernel = trajectory_kernel(length=15, bend=1.0, rng=seeded(seed))
        assert kernel.sum() == pytest.approx(1, abs=1e-5) and kernel.min() >= 0 and kernel.shape[0] % 2 == 1
        rows, columns = np.nonzero(kernel > 1e-3)
        assert 5 < np.hypot(np.ptp(rows), np.ptp(columns)) < 19
        centre = ndimage.center_of_mass(kernel)
        np.testing.assert_allclose(centre, [kernel.shape[0] // 2] * 2, atol=0.35)
    straight = trajectory_kernel(length=15, bend=0.0, rng=seeded())
    rows, columns = np.nonzero(straight > 1e-3)
    assert np.hypot(np.ptp(rows), np.ptp(columns)) > 13
    for radius in (0.0, 1.0, 4.5):
        disc = disc_kernel(radius)
        assert disc.sum() == pytest.approx(1, abs=1e-5)
        offsets = np.arange(len(disc)) - len(disc) // 2
        spread = (disc * offsets[:, None] ** 2).sum()  # radius squared / 4 for an ideal disc
        assert spread == pytest.approx(radius**2 / 4, rel=0.15, abs=0.25)


def test_blur_is_a_convolution():
    image, kernel = scene(24, 30), trajectory_kernel(length=9, bend=1, rng=seeded(3))
    expected = np.stack(
        [
            ndimage.convolve(image[..., c].astype(np.float64), kernel.astype(np.float64), mode='mirror')
            for c in range(3)
        ],
        -1,
    )
    np.testing.assert_allclose(convolve(image, kernel), expected, atol=1e-5)
    light = np.stack(
        [ndimage.convolve(image[..., c] ** 2.0, kernel.astype(np.float64), mode='mirror') for c in range(3)], -1
    )
    np.testing.assert_allclose(convolve(image, kernel, gamma=2.0), np.sqrt(np.clip(light, 0, 1)), atol=1e-4)


def test_jpeg_is_the_codec_s_result():
    image = scene()
    data = cv2.imencode('.jpg', np.rint(image * 255).astype(np.uint8)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 30])[1]
    expected = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(np.rint(jpeg(image, quality=30) * 255), expected)


def test_water_swallows_red_first():
    grey = np.full((40, 40, 3), 0.6, np.float32)
    fixed = {'distance': 1.0, 'turbidity': 0.0, 'glow': 0.8, 'soften': 0, 'horizon': 0.3, 'relief': 0}
    green, blue = (underwater(grey, blue=colour, rng=seeded(), **fixed).mean(axis=(0, 1)) for colour in (0.0, 1.0))
    assert green[0] < green[2] < green[1] < 0.6
    assert blue[0] < blue[1] < blue[2] < 0.6


def test_modules_that_became_parts_of_others_can_be_imported():
    from mirage_data.degradations.camera import raw_noise
    from mirage_data.degradations.jpeg import jpeg as found
    from mirage_data.degradations.underwater import underwater as water

    assert (found, water) == (jpeg, underwater) and callable(raw_noise)
