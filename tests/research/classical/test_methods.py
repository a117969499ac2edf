"""Each classical method improves the degradation it is made for, on a small picture, and says what it lacks."""

import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mirage_data.degradations.blur import convolve, disc_kernel
from mirage_ir.measuring.metrics import psnr
from research.classical.methods import (
    STEPS,
    PackageMissingError,
    airlight,
    apply_steps,
    dark_channel,
    described,
    estimate_sigma,
    transmission,
)

KERNEL = disc_kernel(2)


def scene() -> np.ndarray:
    """A few coloured shapes with soft shading: (64, 80, 3) float32 in [0, 1]."""
    image = np.full((64, 80, 3), 0.5, np.float32) + np.linspace(-0.2, 0.2, 80, dtype=np.float32)[None, :, None]
    cv2.rectangle(image, (8, 8), (36, 40), (0.9, 0.2, 0.1), -1)
    cv2.circle(image, (56, 36), 16, (0.05, 0.3, 0.7), -1)
    cv2.rectangle(image, (20, 48), (70, 60), (0.1, 0.6, 0.02), -1)
    return image


def noisy(image: np.ndarray, sigma: float = 20) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(image.shape, dtype=np.float32)
    return np.clip(image + noise * (sigma / 255), 0, 1)


def with_bright_dots(image: np.ndarray) -> np.ndarray:
    spoilt = image.copy()
    rng = np.random.default_rng(1)
    spoilt[rng.integers(0, 64, 150), rng.integers(0, 80, 150)] = 0.95
    return spoilt


def hazy(image: np.ndarray) -> np.ndarray:
    t = np.linspace(0.3, 0.9, 64, dtype=np.float32)[:, None, None]
    return image * t + 0.85 * (1 - t)


def blocky(image: np.ndarray) -> np.ndarray:
    data = cv2.imencode('.jpg', np.rint(image * 255), [cv2.IMWRITE_JPEG_QUALITY, 15])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR).astype(np.float32) / 255


CASES = [
    (noisy, {'nlm': {'strength': 0.6}}),
    (noisy, {'nlm': {'sigma': 20, 'strength': 0.6, 'patch': 3, 'reach': 5}}),
    (noisy, {'opencv_nlm': {'sigma': 20, 'strength': 1}}),
    (noisy, {'guided': {'radius': 2, 'eps': 0.01}}),
    (noisy, {'bilateral': {'sigma': 60, 'radius': 2}}),
    (with_bright_dots, {'median': {'size': 3}}),
    (with_bright_dots, {'median': {'size': 7}}),
    (with_bright_dots, {'bright_median': {'size': 5, 'margin': 0.1}}),
    (lambda x: x**2.5, {'gamma': {'target': 0.45}}),
    (lambda x: x * 0.2, {'gain': {'target': 0.45}}),
    (lambda x: x * 0.2, {'clahe': {'clip': 20, 'tiles': 2}}),
    (hazy, {'dark_channel_prior': {'patch': 9, 'radius': 8}}),
    (blocky, {'bilateral': {'sigma': 25, 'radius': 2}}),
    (lambda x: cv2.GaussianBlur(x, (0, 0), 1.5), {'unsharp': {'radius': 1.5, 'amount': 1}}),
]


@pytest.mark.parametrize(('degrade', 'step'), CASES, ids=[f'{i}-{next(iter(s))}' for i, (_, s) in enumerate(CASES)])
def test_improves_its_degradation(degrade, step):
    degraded = degrade(scene())
    before = degraded.copy()
    restored = apply_steps(degraded, [step])
    assert np.array_equal(degraded, before)
    assert restored.shape == degraded.shape and restored.dtype == np.float32
    assert restored.min() >= 0 and restored.max() <= 1
    assert psnr(restored, scene()) > psnr(degraded, scene()) + 0.5


@pytest.mark.parametrize(
    'step', [{'wiener': {'balance': 0.003}}, {'richardson_lucy': {'iterations': 20}}], ids=['wiener', 'richardson_lucy']
)
@pytest.mark.parametrize('gamma', [1.0, 2.2])
def test_a_known_kernel_is_undone(step, gamma):
    blurred = convolve(scene(), KERNEL, gamma=gamma)
    restored = apply_steps(blurred, [step], {'kernel': KERNEL, 'gamma': gamma})
    assert restored.shape == blurred.shape and restored.dtype == np.float32
    assert psnr(restored, scene()) > psnr(blurred, scene()) + 1
    with pytest.raises(ValueError, match='needs the blur kernel'):
        apply_steps(blurred, [step])


@pytest.fixture
def bm3d_calls(monkeypatch):
    """A stand-in for the package, whose licence keeps it out of the test environment: it records and overshoots."""
    calls = []

    def bm3d_rgb(image, level, profile):
        calls.append((image.dtype, level, profile.num_threads))
        return image * 2 - 0.5

    monkeypatch.setitem(sys.modules, 'bm3d', SimpleNamespace(BM3DProfile=SimpleNamespace, bm3d_rgb=bm3d_rgb))
    return calls


def test_bm3d_gets_one_thread_and_the_level_on_its_scale(bm3d_calls):
    image = scene()[:32, :32]
    restored = apply_steps(image, [{'bm3d': {'sigma': 51}}])
    assert bm3d_calls == [(np.float64, pytest.approx(0.2), 1)]
    assert restored.dtype == np.float32
    np.testing.assert_allclose(restored, np.clip(image * 2 - 0.5, 0, 1), atol=1e-6)


@pytest.mark.parametrize(
    ('package', 'step'),
    [
        ('bm3d', {'bm3d': {}}),
        ('skimage.restoration', {'nlm': {}}),
        ('skimage.restoration', {'wiener': {'balance': 1}}),
    ],
)
def test_a_missing_package_is_named_with_its_cure(monkeypatch, package, step):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(PackageMissingError, match=r"pip install 'mirage-ir\[classical\]'"):
        apply_steps(noisy(scene()), [step], {'kernel': KERNEL, 'gamma': 1.0})


def test_noise_level_is_read_from_the_image(bm3d_calls):
    flat = np.full((96, 96, 3), 0.5, np.float32)
    for sigma in (5, 25):
        assert estimate_sigma(noisy(flat, sigma)) == pytest.approx(sigma, rel=0.06)
    assert estimate_sigma(flat) == pytest.approx(0, abs=0.01)
    for name in ('nlm', 'bm3d'):  # nothing to remove, and nothing to divide by
        assert np.array_equal(STEPS[name](flat, sigma=0), flat)


def test_dark_channel_prior_by_hand():
    image = np.array([[[0.9, 0.5, 0.4], [0.8, 0.7, 0.6], [0.2, 0.3, 0.9]]] * 3, np.float32)
    dark = dark_channel(image, 3)
    # smallest channel of the columns: 0.4, 0.6, 0.2; smallest of each with its neighbours: 0.4, 0.2, 0.2
    assert np.allclose(dark, [[0.4, 0.2, 0.2]] * 3)
    light = airlight(image, dark_channel(image, 1))
    assert np.allclose(light, [0.8, 0.7, 0.6])  # one pixel of nine, of the column with the brightest dark channel
    # divided by the airlight the smallest values are 2/3 (0.4/0.6), 1 and 1/4 (0.2/0.8)
    assert np.allclose(transmission(image, light, omega=0.9, patch=1), [[1 - 0.6, 0.1, 1 - 0.225]] * 3, atol=1e-6)


def test_even_haze_is_removed_exactly_where_the_prior_holds():
    clear = np.zeros((40, 40, 3), np.float32)
    clear[..., 0] = 0.6  # the darkest channel is 0 everywhere, as the prior says
    sky = np.full((4, 40, 3), 0.8, np.float32)
    t = 0.5
    image = np.concatenate([sky, clear * t + 0.8 * (1 - t)])
    restored = apply_steps(image, [{'dark_channel_prior': {'omega': 1.0, 'patch': 3, 'radius': 2, 'eps': 1e-6}}])
    assert np.allclose(restored[12:-4], clear[8:-4], atol=0.01)


def test_brightening_reaches_its_target_and_never_darkens():
    image = scene()
    assert apply_steps(image * 0.3, [{'gain': {'target': 0.35}}]).mean() == pytest.approx(0.35, abs=0.01)
    for name in ('gain', 'gamma'):
        assert np.allclose(apply_steps(image, [{name: {'target': 0.1}}]), image)
        assert np.isfinite(apply_steps(np.zeros_like(image), [{name: {'target': 0.4}}])).all()


def test_chains_are_applied_in_order_and_described():
    steps = [{'gamma': {'target': 0.4}}, {'median': {'size': 3}}]
    expected = STEPS['median'](STEPS['gamma'](scene(), target=0.4), size=3)
    assert np.array_equal(apply_steps(scene(), steps), expected)
    assert described(steps) == 'gamma(target 0.4), median(size 3)'
    with pytest.raises(ValueError, match="'mode'.*median"):
        apply_steps(scene(), [{'mode': {}}])
    with pytest.raises(ValueError, match='3, 5, 7, 9, 11, 15, 21, 31, got 4'):
        apply_steps(scene(), [{'median': {'size': 4}}])
