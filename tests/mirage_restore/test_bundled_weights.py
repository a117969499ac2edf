"""The weights in the package: the file that was measured, found without being named, and better than its input."""

import hashlib
from importlib.resources import files

import numpy as np
import pytest
from skimage import data

from mirage_arch.checkpoints import load_network
from mirage_data.degradations import degrade
from mirage_ir.measuring.metrics import psnr_float
from mirage_restore import Restorer
from mirage_restore.bundled import LIGHT_MODEL, bundled_models, bundled_weights
from mirage_restore.cli import main

LARGEST_TOGETHER = 20_000_000


@pytest.fixture(scope='module')
def restore():
    return Restorer(device='cpu')


@pytest.fixture(scope='module')
def photograph():
    return data.astronaut()[64:224, 128:288].astype(np.float32) / 255


@pytest.mark.parametrize('model', bundled_models())
def test_file_is_the_measured_one(model):
    weights = bundled_weights(model)
    recorded, name = weights.with_suffix('.sha256').read_text().split()
    assert name == weights.name
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == recorded


def test_all_files_together_are_small():
    assert sum(bundled_weights(model).stat().st_size for model in bundled_models()) < LARGEST_TOGETHER


@pytest.mark.parametrize('model', bundled_models())
def test_card_states_the_file_and_its_size(model):
    card = (files('mirage_restore') / 'weights' / 'README.md').read_text(encoding='utf-8')
    parameters = sum(p.numel() for p in load_network(bundled_weights(model)).parameters())
    assert bundled_weights(model).name in card
    assert f'{parameters:,}' in card


@pytest.mark.parametrize(
    ('model', 'recipe'),
    [
        ('denoise', {'degradation': 'gaussian_noise', 'sigma': 25}),
        ('enhance', {'degradation': 'cdd11_low'}),
        ('derain', {'degradation': 'rain'}),
    ],
)
def test_one_for_a_single_task_is_better_at_it(restore, photograph, model, recipe):
    single = Restorer(device='cpu', model=model)
    gains = []
    for seed in range(3):
        degraded = degrade(photograph, [recipe], np.random.default_rng(seed))[0].clip(0, 1).astype(np.float32)
        gains.append(psnr_float(single(degraded), photograph) - psnr_float(restore(degraded), photograph))
    assert np.mean(gains) > 0.1, gains


def test_the_light_one_is_for_the_same_tasks_and_smaller(restore, photograph):
    light = Restorer(device='cpu', model=LIGHT_MODEL)
    assert light.weights.stat().st_size < 0.6 * restore.weights.stat().st_size
    for recipe in ({'degradation': 'gaussian_noise', 'sigma': 25}, {'degradation': 'rain'}):
        degraded = degrade(photograph, [recipe], np.random.default_rng(0))[0].clip(0, 1).astype(np.float32)
        assert psnr_float(restore(degraded), photograph) > psnr_float(light(degraded), photograph)
        assert psnr_float(light(degraded), photograph) > psnr_float(degraded, photograph) + 3


def test_the_denoiser_leaves_darkness_as_it_is(photograph):
    dark = photograph * 0.15
    assert psnr_float(Restorer(device='cpu', model='denoise')(dark), dark) > 40


@pytest.mark.parametrize(
    ('recipe', 'gain'),
    [
        ({'degradation': 'gaussian_noise', 'sigma': 25}, 6),
        ({'degradation': 'gaussian_noise', 'sigma': 50}, 8),
        ({'degradation': 'low_light', 'exposure': [0.1, 0.15]}, 3),
    ],
    ids=['sigma 25', 'sigma 50', 'low light'],
)
def test_better_than_the_input(restore, photograph, recipe, gain):
    degraded = np.clip(degrade(photograph, [recipe], np.random.default_rng(0))[0], 0, 1).astype(np.float32)
    before = psnr_float(degraded, photograph)
    assert psnr_float(restore(degraded), photograph) > before + gain


def test_command_needs_no_weights(tmp_path, photograph):
    import cv2

    cv2.imwrite(str(tmp_path / 'photo.png'), np.rint(photograph * 255).astype(np.uint8))
    assert main([str(tmp_path / 'photo.png'), '-o', str(tmp_path / 'restored'), '--quiet']) == 0
    assert (tmp_path / 'restored' / 'photo.png').is_file()
