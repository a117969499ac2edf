"""Brightness and colours that stay: whatever a network does to them is undone, what it removes stays removed."""

import numpy as np
import pytest
import torch
from skimage import data

from mirage_restore import cli
from mirage_restore.photo import read_photo
from mirage_restore.restorer import Restorer
from mirage_restore.tone import keep_tone


def scene(h=160, w=200, seed=0):
    """A smooth scene with an edge, (1, 3, h, w)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:h, 0:w] / max(h, w)
    planes = [0.25 + 0.2 * np.sin(rng.uniform(4, 9) * x + rng.uniform(4, 9) * y) + 0.2 * (x > 0.4) for _ in range(3)]
    return torch.from_numpy(np.stack(planes).astype(np.float32))[None]


@pytest.fixture(scope='module')
def photograph():
    return data.astronaut()[20:180, 150:350]


def psnr(a, b):
    return -10 * torch.log10(torch.mean((a.double() - b.double()) ** 2)).item()


@pytest.mark.parametrize('slope, shift', [(1.0, 0.0), (2.0, 0.1), (0.3, 0.2), (1.0, -0.1)])
def test_a_line_for_each_colour_is_undone(slope, shift):
    before = scene()
    slopes = slope * torch.tensor([1.0, 0.9, 1.1]).view(1, 3, 1, 1)
    assert torch.allclose(keep_tone(before, before * slopes + shift), before, atol=1e-4)


def test_noise_stays_removed():
    clean = scene()
    noisy = clean + 25 / 255 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    brighter = clean * 2 + 0.1
    assert psnr(noisy, clean) < 21
    assert psnr(keep_tone(noisy, brighter), clean) > 38
    assert psnr(keep_tone(noisy, clean.clone()), clean) > 38


def test_light_that_varies_over_the_picture_is_undone():
    before = scene()
    lit = before + torch.linspace(0, 0.3, before.shape[-1])
    assert psnr(lit, before) < 16
    assert psnr(keep_tone(before, lit), before) > 40


@pytest.mark.parametrize('shape', [(1, 3, 1, 1), (1, 3, 1, 40), (2, 3, 17, 5), (1, 1, 33, 16)])
def test_any_size(shape):
    before = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    after = keep_tone(before, before.sqrt())
    assert after.shape == before.shape and torch.isfinite(after).all() and after.min() >= 0 and after.max() <= 1
    assert torch.allclose(after.mean((2, 3)), before.mean((2, 3)), atol=0.05)


def test_a_plane_of_one_value_becomes_the_mean():
    before = scene()
    after = keep_tone(before, torch.full_like(before, 0.9))
    assert torch.allclose(after.mean((2, 3)), before.mean((2, 3)), atol=0.01)


def test_images_of_a_batch_do_not_mix():
    before = torch.cat([scene(seed=0), scene(seed=1)])
    together = keep_tone(before, before * 1.5)
    assert torch.equal(together[1:], keep_tone(before[1:], before[1:] * 1.5))


def test_a_dark_photograph_stays_dark(photograph):
    dark = (photograph * 0.2).astype(np.uint8)
    blind, kept = Restorer(device='cpu')(dark), Restorer(device='cpu', keep_tone=True)(dark)
    assert kept.shape == dark.shape and kept.dtype == dark.dtype
    assert blind.mean() > 1.5 * dark.mean()
    assert abs(kept.mean() - dark.mean()) < 1
    grey = dark.mean(axis=2).astype(np.uint8)
    assert abs(Restorer(device='cpu', keep_tone=True)(grey).mean() - grey.mean()) < 1


def test_strength_counts_from_the_kept_tone(photograph):
    kept = Restorer(device='cpu', keep_tone=True)(photograph).astype(float)
    half = Restorer(device='cpu', keep_tone=True, strength=0.5)(photograph)
    assert np.abs(half - (photograph + kept) / 2).max() <= 1


def test_the_command(tmp_path, photograph):
    from PIL import Image

    Image.fromarray((photograph * 0.2).astype(np.uint8)).save(tmp_path / 'a.png')
    for option in ([], ['--devices', 'cpu']):
        out = tmp_path / f'out{len(option)}'
        assert cli.main([str(tmp_path / 'a.png'), '-o', str(out), '--quiet', '--keep-tone', *option]) == 0
        expected = Restorer(device='cpu', keep_tone=True)(tmp_path / 'a.png')
        assert np.abs(read_photo(out / 'a.png').pixels.astype(int) - expected).max() <= 1
