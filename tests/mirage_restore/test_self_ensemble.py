"""The mean over the eight flips and turns: what it is, what it changes, and that it can be watched."""

import numpy as np
import pytest
from PIL import Image
from skimage import data

from mirage_restore import cli
from mirage_restore.restorer import Restorer


@pytest.fixture(scope='module')
def noisy():
    clean = data.astronaut()[20:84, 150:230] / 510 + 0.25  # far from black and white, where results are clipped
    return np.clip(clean + np.random.default_rng(0).normal(0, 0.1, clean.shape), 0, 1).astype(np.float32)


@pytest.fixture(scope='module')
def ensemble():
    return Restorer(device='cpu', self_ensemble=True)


def test_it_is_the_mean_of_the_eight(noisy, ensemble):
    one, results = Restorer(device='cpu'), []
    for mirrored in (False, True):
        for turns in range(4):
            view = np.rot90(noisy[:, ::-1] if mirrored else noisy, turns)
            back = np.rot90(one(np.ascontiguousarray(view)), -turns)
            results.append(back[:, ::-1] if mirrored else back)
    assert np.abs(ensemble(noisy) - np.mean(results, axis=0)).max() < 1e-5
    assert np.abs(ensemble(noisy) - results[0]).max() > 2e-3


def test_a_turned_image_gives_the_turned_result(noisy, ensemble):
    turned = ensemble(np.ascontiguousarray(np.rot90(noisy)))
    assert np.abs(np.rot90(turned, -1) - ensemble(noisy)).max() < 1e-5


@pytest.mark.parametrize('tile', [None, 64])
def test_progress_rises_to_the_end(noisy, tile):
    restore, seen = Restorer(device='cpu', self_ensemble=True, tile=tile), []
    restore.on_progress = seen.append
    restore(noisy)
    assert seen == sorted(seen) and seen[-1] == pytest.approx(1) and sum(part < 0.5 for part in seen) >= 4


def test_the_command(tmp_path, noisy, ensemble):
    Image.fromarray(np.rint(noisy * 255).astype(np.uint8)).save(tmp_path / 'a.png')
    for name, option in (('one', '--self-ensemble'), ('other', '--tta')):
        out = tmp_path / name
        assert cli.main([str(tmp_path / 'a.png'), '-o', str(out), '--quiet', option]) == 0
        result = np.asarray(Image.open(out / 'a.png')).astype(int)
        assert np.abs(result - ensemble(tmp_path / 'a.png')).max() <= 1
