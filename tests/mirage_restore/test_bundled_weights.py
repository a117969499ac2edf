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
from mirage_restore.bundled import bundled_weights
from mirage_restore.cli import main

LARGEST_FILE = 15_000_000
WEIGHTS = bundled_weights('nano')


@pytest.fixture(scope='module')
def restore():
    return Restorer(device='cpu')


@pytest.fixture(scope='module')
def photograph():
    return data.astronaut()[64:224, 128:288].astype(np.float32) / 255


def test_file_is_the_measured_one():
    recorded, name = (files('mirage_restore') / 'weights' / 'mirage_nano.sha256').read_text().split()
    assert name == WEIGHTS.name
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() == recorded
    assert WEIGHTS.stat().st_size < LARGEST_FILE


def test_card_states_the_file_and_its_size():
    card = (files('mirage_restore') / 'weights' / 'README.md').read_text(encoding='utf-8')
    parameters = sum(p.numel() for p in load_network(WEIGHTS).parameters())
    assert WEIGHTS.name in card
    assert f'{parameters:,}' in card


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
