"""The metrics against scikit-image and BasicSR, which share no code with ours."""

import sys
import types

import numpy as np
import pytest
import torch

import mirage_ir  # noqa: F401  repairs the import of BasicSR
from mirage_ir.measuring import metrics

skimage_metrics = pytest.importorskip('skimage.metrics')


def _images(shape=(40, 51, 3), seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    gt = rng.random(shape)
    gt[:20] = np.linspace(0, 1, shape[1])[None, :, None]
    return np.clip(gt + 0.1 * rng.standard_normal(shape), 0, 1).astype(dtype), gt.astype(dtype)


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('shape', [(40, 51, 3), (7, 9, 3)])
def test_equal_scikit_image(dtype, shape):
    restored, gt = _images(shape, dtype=dtype)
    psnr = skimage_metrics.peak_signal_noise_ratio(gt, restored, data_range=1)
    ssim = skimage_metrics.structural_similarity(gt, restored, data_range=1, channel_axis=-1)
    assert metrics.psnr(restored, gt) == pytest.approx(psnr, abs=1e-6)
    assert metrics.ssim(restored, gt) == pytest.approx(ssim, abs=1e-6)
    assert metrics.psnr_float(restored, gt) == metrics.psnr(restored, gt)
    assert metrics.ssim_float(restored, gt) == metrics.ssim(restored, gt)


def test_luma_equals_basicsr_and_its_metrics_follow_scikit_image():
    from basicsr.utils import rgb2ycbcr

    restored, gt = _images(dtype=np.float32)
    lumas = [rgb2ycbcr(x, y_only=True) for x in (restored, gt)]
    np.testing.assert_allclose(metrics.luma(gt)[..., 0], lumas[1], atol=1e-6)
    psnr = skimage_metrics.peak_signal_noise_ratio(lumas[1], lumas[0], data_range=1)
    ssim = skimage_metrics.structural_similarity(lumas[1], lumas[0], data_range=1)
    assert metrics.psnr(restored, gt, 'y') == pytest.approx(psnr, abs=1e-4)
    assert metrics.ssim(restored, gt, 'y') == pytest.approx(ssim, abs=1e-5)


def test_on_8_bit_images_psnr_is_basicsrs():
    from basicsr.metrics import calculate_psnr

    restored, gt = ((x * 255).round().astype(np.uint8) for x in _images())
    for y in (False, True):
        expected = calculate_psnr(restored, gt, crop_border=4, test_y_channel=y)
        ours = metrics.psnr_float(restored, gt, channel='y' if y else 'rgb', crop_border=4)
        assert ours == pytest.approx(expected, abs=1e-4)


def test_channel_order_matters_for_luma_only():
    restored, gt = _images()
    flipped = restored[..., ::-1], gt[..., ::-1]
    assert metrics.psnr_float(*flipped) == pytest.approx(metrics.psnr(restored, gt))
    assert metrics.psnr_float(*flipped, channel='y') != pytest.approx(metrics.psnr(restored, gt, 'y'), abs=1e-3)
    assert metrics.psnr_float(*flipped, 'y', input_format='bgr') == pytest.approx(metrics.psnr(restored, gt, 'y'))


def test_equal_images():
    _, gt = _images()
    assert metrics.psnr(gt, gt) == float('inf')
    assert metrics.ssim(gt, gt) == pytest.approx(1)


def test_registered_and_callable_by_basicsr():
    from basicsr.metrics import calculate_metric

    restored, gt = _images()
    for name in ('psnr_float', 'ssim_float'):
        value = calculate_metric({'img': restored, 'img2': gt}, {'type': name, 'better': 'higher', 'channel': 'y'})
        assert value == getattr(metrics, name)(restored, gt, channel='y')


def test_niqe_prefers_a_photograph_to_a_noisy_one():
    from skimage import data

    photo = data.astronaut()[:, :, :3] / 255
    noisy = np.clip(photo + 0.2 * np.random.default_rng(0).standard_normal(photo.shape), 0, 1)
    assert metrics.naturalness(photo) < metrics.naturalness(noisy)
    with pytest.raises(ValueError, match='96x96'):
        metrics.naturalness(photo[:96, :100])


def test_lpips_says_what_is_missing(monkeypatch, tmp_path):
    restored, gt = _images()
    monkeypatch.setattr(metrics, 'find_spec', lambda name: None)
    with pytest.raises(metrics.MetricUnavailableError, match=r"pip install 'mirage-ir\[lpips\]'"):
        metrics.perceptual_distance(restored, gt)
    monkeypatch.setattr(metrics, 'find_spec', lambda name: name)
    monkeypatch.setattr(metrics.torch.hub, 'get_dir', lambda: str(tmp_path))
    with pytest.raises(metrics.MetricUnavailableError, match='alexnet-owt-7be5be79.pth'):
        metrics.lpips(restored, gt)
    with pytest.raises(ValueError, match="net is 'resnet'; allowed are alex"):
        metrics.require_available('lpips', 'resnet')
    metrics.require_available('psnr_float')


def test_lpips_gets_what_its_package_expects(monkeypatch):
    """RGB in [-1, 1], (1, 3, h, w); the package itself needs weights that are not at hand."""

    class LPIPS(torch.nn.Module):
        def __init__(self, net, verbose):
            super().__init__()
            assert (net, verbose) == ('squeeze', False)

        def forward(self, a, b):
            assert a.shape == (1, 3, 8, 9) and a.dtype == torch.float32
            return (a[:, 0] - b[:, 0]).mean().view(1, 1, 1, 1)

    monkeypatch.setitem(sys.modules, 'lpips', types.SimpleNamespace(LPIPS=LPIPS))
    monkeypatch.setattr(metrics, 'require_available', lambda name, net: None)
    restored, gt = np.zeros((8, 9, 3)), np.zeros((8, 9, 3))
    restored[..., 0] = 1
    assert metrics.lpips(restored, gt, net='squeeze') == 2
    eight_bit = (restored[..., ::-1] * 255).astype(np.uint8)
    assert metrics.lpips(eight_bit, gt.astype(np.uint8), net='squeeze') == 2
    metrics._lpips_model.cache_clear()


@pytest.mark.parametrize(
    ('restored', 'gt', 'options', 'message'),
    [
        (np.zeros((8, 8, 3)), np.zeros((8, 9, 3)), {}, r'\(8, 8, 3\).*\(8, 9, 3\)'),
        (np.zeros((8, 8)), np.zeros((8, 8)), {}, r'must be \(h, w, 3\)'),
        (np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8), {}, 'must be float'),
        (np.zeros((8, 8, 3)), np.zeros((8, 8, 3)), {'channel': 'Y'}, "channel is 'Y'; allowed are rgb, y"),
        (np.zeros((6, 8, 3)), np.zeros((6, 8, 3)), {}, '7x7'),
    ],
)
def test_bad_input(restored, gt, options, message):
    with pytest.raises(ValueError, match=message):
        metrics.ssim(restored, gt, **options)


def test_matlabs_luma_by_whole_numbers():
    """rgb2ycbcr of uint8: 65.481, 128.553, 24.966 over 255, plus 16, rounded half up; here in whole numbers."""
    rgb = np.random.default_rng(0).integers(0, 256, (400, 500, 3))
    rgb[:2, :4] = [
        [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0]],
        [[0, 0, 255], [1, 1, 1], [128] * 3, [254] * 3],
    ]
    thousandths = 65481 * rgb[..., 0] + 128553 * rgb[..., 1] + 24966 * rgb[..., 2]
    expected = (2 * thousandths + 255000) // 510000 + 16
    found = np.round(metrics.luma_of_eight_bits(rgb / 255.0) * 255)[..., 0]
    ties = (2 * thousandths + 255000) % 510000 == 0
    assert (found == expected)[~ties].all() and ties.mean() < 1e-3
    assert found[:2, :4].tolist() == [[16, 235, 81, 145], [41, 17, 126, 234]]
    restored = np.clip(rgb / 255 + 0.02, 0, 1)
    by_hand = -10 * np.log10(
        np.mean((metrics.luma_of_eight_bits(restored) - metrics.luma_of_eight_bits(rgb / 255)) ** 2)
    )
    assert metrics.psnr_float(restored, rgb / 255, channel='y8') == pytest.approx(by_hand)
    assert metrics.psnr_float(restored, rgb / 255, channel='y8') != metrics.psnr_float(restored, rgb / 255, channel='y')
