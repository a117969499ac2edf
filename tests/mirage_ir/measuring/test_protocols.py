"""Conventions of measuring against BasicSR's functions, scikit-image and plain numpy."""

import json

import cv2
import numpy as np
import pytest
from basicsr.metrics import calculate_psnr, calculate_ssim
from skimage.metrics import structural_similarity

from mirage_ir.commands.evaluate import main
from mirage_ir.measuring import metrics
from mirage_ir.measuring.protocols import PROTOCOLS, apply_protocol, described, protocol, settle_crops


@pytest.fixture
def pair():
    """A dark float result that is no whole number of steps, and an 8-bit ground truth, RGB in [0, 1]."""
    rng = np.random.default_rng(3)
    gt = cv2.resize(rng.integers(0, 256, (8, 10, 3), dtype=np.uint8), (50, 42), interpolation=cv2.INTER_CUBIC)
    restored = np.clip(0.4 * gt / 255 + 0.05 * rng.standard_normal(gt.shape), 0, 1)
    return restored, gt / 255.0


def _bytes(image):
    """BGR, 8-bit, as BasicSR takes it."""
    return np.round(image * 255).astype(np.uint8)[..., ::-1]


@pytest.mark.parametrize('luma', [False, True])
@pytest.mark.parametrize('border', [0, 4])
def test_eight_bit_gaussian_figures_are_those_of_basicsr(pair, luma, border):
    options = {'crop_border': border, 'eight_bit': True, 'channel': 'y' if luma else 'rgb'}
    theirs = {'crop_border': border, 'test_y_channel': luma}
    bgr = [_bytes(image) for image in pair]
    assert metrics.psnr_float(*pair, **options) == pytest.approx(calculate_psnr(*bgr, **theirs), abs=1e-4)
    ssim = metrics.ssim_float(*pair, window='gaussian', **options)
    assert ssim == pytest.approx(calculate_ssim(*bgr, **theirs), abs=2e-6)


def test_the_gaussian_window_on_floats_is_that_of_scikit_image(pair):
    expected = structural_similarity(
        *pair, data_range=1, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert metrics.ssim_float(*pair, window='gaussian') == pytest.approx(expected, abs=1e-7)
    assert abs(metrics.ssim_float(*pair) - expected) > 1e-3  # the paper's is another


def test_gt_mean_sets_the_brightness_only(pair):
    restored, gt = pair
    grey = [cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY).mean() for image in (restored, gt)]
    brighter = np.clip(restored * (grey[1] / grey[0]), 0, 1)
    expected = -10 * np.log10(np.mean((brighter - gt) ** 2))
    assert metrics.psnr_float(restored, gt, gt_mean=True) == pytest.approx(expected, abs=1e-4)
    assert expected > metrics.psnr_float(restored, gt) + 3
    assert np.array_equal(metrics.with_mean_of(np.zeros_like(gt), gt), np.zeros_like(gt))
    with pytest.raises(ValueError, match="window is 'hann'; allowed are uniform, gaussian"):
        metrics.ssim(restored, gt, window='hann')


def test_protocols_are_metrics_that_say_how_they_were_made():
    val = {
        'protocol': 'deraining-y',
        'crop_multiple': 16,
        'metrics': {'psnr': {'type': 'calculate_psnr'}, 'lpips': {'type': 'lpips'}},
    }
    apply_protocol(val)
    assert val['metrics'] == {
        'psnr': {'type': 'psnr_float', 'channel': 'y', 'eight_bit': True},
        'lpips': {'type': 'lpips'},
        'ssim': {'type': 'ssim_float', 'channel': 'y', 'eight_bit': True, 'window': 'gaussian'},
    }
    assert val['crop_multiple'] == 0 and PROTOCOLS['paper'].crop_multiple == 16
    assert described(PROTOCOLS['lol-gtmean'].metrics()) == (
        'psnr by psnr_float (eight_bit True, gt_mean True); '
        'ssim by ssim_float (eight_bit True, gt_mean True, window gaussian); whole images'
    )
    with pytest.raises(ValueError, match='allowed are paper, deraining-y'):
        protocol('mine')


@pytest.mark.parametrize(
    'val, own, expected',
    [
        ({'protocol': 'lol'}, None, 1),
        ({'protocol': 'paper'}, None, 16),
        ({'crop_multiple': 0}, None, 1),
        ({'crop_multiple': 8}, None, 8),
        ({'protocol': 'lol', 'crop_multiple': 16}, None, 1),
        ({'protocol': 'lol'}, 16, 16),
        ({}, None, None),
    ],
)
def test_data_sets_crop_as_the_protocol_says_unless_they_say_otherwise(val, own, expected):
    opt = {'val': val, 'datasets': {'train': {}, 'val_1': {'crop_multiple': own}}}
    settle_crops(opt)
    assert opt['datasets'] == {'train': {}, 'val_1': {'crop_multiple': expected}}


def test_evaluate_measures_by_protocol_and_names_it(pair, tmp_path, capsys):
    for name, image in zip(('restored', 'gt'), pair, strict=True):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / 'a.png'), _bytes(image))
    folders = ['--restored', str(tmp_path / 'restored'), '--gt', str(tmp_path / 'gt')]
    assert main([*folders, '--protocol', 'deraining-y', '--json', str(tmp_path / 'out')]) == 0
    assert 'psnr by psnr_float (channel y, eight_bit True)' in capsys.readouterr().out
    result = json.loads((tmp_path / 'out' / 'results.json').read_text())
    assert result['protocol']['protocol'] == 'deraining-y' and result['protocol']['crop_multiple'] == 0
    bgr = [_bytes(image) for image in pair]
    (row,) = result['rows']
    assert row['psnr'] == pytest.approx(calculate_psnr(*bgr, crop_border=0, test_y_channel=True), abs=1e-4)
    assert row['ssim'] == pytest.approx(calculate_ssim(*bgr, crop_border=0, test_y_channel=True), abs=2e-6)
    assert main([*folders, '--window', 'gaussian', '--crop-multiple', '1', '--gt-mean']) == 0
    assert 'window gaussian' in capsys.readouterr().out
