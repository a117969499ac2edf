"""CDD11's recipe on made-up maps, against an evaluation of its formulas written without OpenCV."""

import numpy as np
import pytest
from made_up_scene import scene
from scipy.ndimage import uniform_filter

from mirage_data.degradations import cdd11

GAMMA, NOISE, BETA, AIRLIGHT = 2.37, 0.055, 1.43, 0.71


def made_up_maps() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(11)
    return {
        'illumination': uniform_filter(rng.random((60, 80)), 9) * 0.6 + 0.2,
        'depth': np.linspace(0, 1, 60)[:, None] * np.ones((1, 80)),
        'rain': uniform_filter(rng.random((60, 80)), (9, 1)) * 0.4,
        'snow': uniform_filter(rng.random((45, 50, 3)) ** 6, (3, 3, 1)),  # of another size, in colour
    }


def enlarged(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, pixel centres at half-integers."""

    def places(size: int, old: int):
        at = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
        low = np.floor(at).astype(int)
        return low, np.minimum(low + 1, old - 1), at - low

    (up, down, v), (left, right, u) = places(height, image.shape[0]), places(width, image.shape[1])
    v, u = v[:, None, None], u[None, :, None]
    above = image[up][:, left] * (1 - u) + image[up][:, right] * u
    below = image[down][:, left] * (1 - u) + image[down][:, right] * u
    return above * (1 - v) + below * v


def box(image: np.ndarray, size: int) -> np.ndarray:
    return uniform_filter(image, size, mode='mirror')


def by_the_formulas(image: np.ndarray, kind: str, maps: dict[str, np.ndarray], noise: np.ndarray) -> np.ndarray:
    result = image
    if 'low' in kind:
        grey = 0.299 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]
        guide = maps['illumination']
        slope = (box(guide * grey, 3) - box(guide, 3) * box(grey, 3)) / (box(guide**2, 3) - box(guide, 3) ** 2 + 0.01)
        light = box(slope, 3) * guide + box(box(grey, 3) - slope * box(guide, 3), 3)
        reflectance = image / light[..., None]
        result = np.clip(reflectance * light[..., None] ** GAMMA + noise, 0, 1)
    if 'rain' in kind:
        result = result + maps['rain'][..., None]
    if 'snow' in kind:
        mask = enlarged(maps['snow'], *image.shape[:2])
        result = result * (1 - mask) + mask
    if 'haze' in kind:
        transmission = np.exp(-np.minimum(1 - box(maps['depth'], 22), 0.7) * BETA)[..., None]
        result = np.clip(result * transmission + AIRLIGHT * (1 - transmission), 0, 1)
    return result


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('kind', cdd11.TYPES)
def test_equals_the_published_formulas(kind, dtype):
    image = scene(60, 80).astype(np.float64)
    maps = made_up_maps()
    noise = NOISE * np.random.default_rng(5).standard_normal(image.shape, dtype=np.float32)
    expected = by_the_formulas(image, kind, maps, noise)
    found = cdd11.composite(
        image.astype(dtype),
        kind,
        {name: array.astype(dtype) for name, array in maps.items()},
        rng=np.random.default_rng(5),
        gamma=GAMMA,
        noise=NOISE,
        beta=BETA,
        airlight=AIRLIGHT,
    )
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 if dtype == np.float32 else 1e-10)
    assert np.abs(found - image).mean() > 0.01  # something happened


def test_published_order_of_the_colour_channels_is_an_option():
    image, light = scene(60, 80), made_up_maps()['illumination']
    swapped = cdd11.illumination_of(image, light, (0.114, 0.587, 0.299))
    np.testing.assert_allclose(swapped, cdd11.illumination_of(image[..., ::-1], light), atol=1e-12)


def test_a_black_image_stays_finite_and_black():
    black = np.zeros((9, 9, 3), np.float32)
    low = cdd11.add_low_light(black, np.zeros((9, 9)), gamma=2, noise=0, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(low, black)


def test_unknown_type_and_missing_map():
    with pytest.raises(ValueError, match='unknown CDD11 type .fog.; known are low, haze'):
        cdd11.composite(scene(), 'fog', {}, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="haze_snow needs the map 'snow'; given are depth"):
        cdd11.composite(scene(60, 80), 'haze_snow', {'depth': np.ones((60, 80))}, rng=np.random.default_rng(0))


def test_other_combinations_and_a_new_part_need_no_change(monkeypatch):
    image = scene(40, 50)
    values = {'gamma': 2.5, 'noise': 0.05, 'beta': 1.5, 'airlight': 0.75, 'horizon': 0.5, 'relief': 0.1}
    dim = cdd11.Part('dim', lambda image, layer, v, rng: image * layer, lambda image, v, rng, window: np.float32(0.5))
    monkeypatch.setitem(cdd11.PARTS, 'dim', dim)
    found = cdd11.synthesise(image, kind='dim_low', rng=np.random.default_rng(0), **values)
    low = cdd11.synthesise(image, kind='low', rng=np.random.default_rng(0), **values)
    assert np.allclose(found, low * 0.5)  # what comes last in PARTS happens last
    with pytest.raises(ValueError, match='any combination of low, rain, snow, haze, dim'):
        cdd11.parts_of('dim_fog')
