from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from made_up_images import write_png

from mirage_data.datasets.denoise import GaussianDenoiseDataset, evaluation_rng
from mirage_data.files.image import read_rgb


def pixels(tensor):
    return (tensor * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


@pytest.fixture
def grey(tmp_path):
    """Options of three grey 200x200 photographs: nothing of the noise is clipped."""
    for name in ('a', 'b', 'c'):
        write_png(tmp_path / 'clean' / f'{name}.png', np.full((200, 200, 3), 128, np.uint8))
    return {'dataroot_gt': str(tmp_path / 'clean'), 'phase': 'val', 'sigma': 25}


def test_noise_has_the_paper_s_strength_and_is_truncated(grey):
    sample = GaussianDenoiseDataset(grey)[0]
    noise = pixels(sample['lq']).astype(float) - pixels(sample['gt'])
    assert noise.std() == pytest.approx(25, rel=0.01)
    assert noise.mean() == pytest.approx(-0.5, abs=0.25)  # truncated, not rounded
    assert torch.equal(sample['lq'] * 255, (sample['lq'] * 255).round())  # whole 8-bit steps


def test_values_are_clipped(tmp_path, grey):
    write_png(tmp_path / 'clean' / 'a.png', np.full((200, 200, 3), 250, np.uint8))
    lq = GaussianDenoiseDataset(grey)[0]['lq']
    assert lq.max() == 1 and lq.min() >= 0
    assert (lq == 1).float().mean() == pytest.approx(0.42, abs=0.02)  # P(25 N >= 5)


def test_validation_noise_depends_on_sigma_and_name_alone(grey, tmp_path):
    whole = {Path(sample['lq_path']).name: sample['lq'] for sample in GaussianDenoiseDataset(grey)}
    assert len({lq.numpy().tobytes() for lq in whole.values()}) == 3
    (tmp_path / 'clean' / 'a.png').unlink()
    (tmp_path / 'clean').rename(tmp_path / 'moved')
    subset = GaussianDenoiseDataset({**grey, 'dataroot_gt': str(tmp_path / 'moved')})
    assert len(subset) == 2
    for sample in subset:
        assert torch.equal(sample['lq'], whole[Path(sample['lq_path']).name])
    other = GaussianDenoiseDataset({**grey, 'dataroot_gt': str(tmp_path / 'moved'), 'sigma': 50})[0]['lq']
    assert torch.corrcoef(torch.stack([other.flatten(), subset[0]['lq'].flatten()]))[0, 1].abs() < 0.02


def test_names_that_are_no_text_have_noise_of_their_own():
    first, second = (evaluation_rng(25, f'odd{byte}.png').random() for byte in ('\udcff', '\udcfe'))
    assert first != second == evaluation_rng(25, 'sub/odd\udcfe.jpg').random()


def authors_evaluation(folder, sigmas):
    """The released test procedure restated: seed once, all files with one sigma, then with the next."""
    np.random.seed(0)
    noisy = {}
    for sigma in sigmas:
        for path in sorted(Path(folder).iterdir()):
            clean = read_rgb(path)
            clean = clean[: clean.shape[0] // 16 * 16, : clean.shape[1] // 16 * 16]  # here the centre is the corner
            noisy[sigma, path.name] = np.clip(clean + np.random.randn(*clean.shape) * sigma, 0, 255).astype(np.uint8)
    return noisy


@pytest.mark.parametrize('order', [[0, 1, 2], [2, 0, 1], [1, 1, 0]])
def test_authors_order_is_the_single_stream(tmp_path, image_folder, order):
    for number, size in enumerate([(33, 49), (17, 32), (48, 33)]):  # an odd count of numbers shifts numpy's pairs
        image_folder('clean', [f'{number}.png'], seed=number, size=size)
    expected = authors_evaluation(tmp_path / 'clean', (15, 25, 50))
    for sigma in (15, 25, 50):
        dataset = GaussianDenoiseDataset(
            {'phase': 'test', 'sigma': sigma, 'dataroot_gt': str(tmp_path / 'clean'), 'noise_order': 'authors'}
        )
        for position in order:
            assert np.array_equal(pixels(dataset[position]['lq']), expected[sigma, f'{position}.png'])


def test_several_sigmas_name_their_samples(grey):
    dataset = GaussianDenoiseDataset({**grey, 'sigma': [15, 25, 50]})
    assert [sample['task'] for sample in dataset] == ['denoise_15'] * 3 + ['denoise_25'] * 3 + ['denoise_50'] * 3
    for position, sigma in ((0, 15), (4, 25), (8, 50)):
        sample = dataset[position]
        assert (pixels(sample['lq']).astype(float) - pixels(sample['gt'])).std() == pytest.approx(sigma, rel=0.03)
    assert GaussianDenoiseDataset({**grey, 'task': 'denoise_25'})[0]['task'] == 'denoise_25'


def test_training_noise_is_new_each_time_and_reproducible(grey):
    dataset = GaussianDenoiseDataset({**grey, 'phase': 'train', 'gt_size': 32, 'manual_seed': 4})
    first, again, later = dataset[(0, 1)], dataset[(0, 1)], dataset[(1, 1)]
    assert first['lq'].shape == (3, 32, 32)
    assert torch.equal(first['lq'], again['lq'])
    assert not torch.equal(first['lq'], later['lq'])


def test_sixteen_bit_photographs_are_rounded_to_eight(tmp_path, grey):
    deep = np.full((200, 200, 3), 128 * 257 + 100, np.uint16)
    (tmp_path / 'clean' / 'a.png').write_bytes(cv2.imencode('.png', deep)[1].tobytes())
    sample = GaussianDenoiseDataset(grey)[0]
    assert (pixels(sample['gt']) == 128).all()
    assert torch.equal(sample['lq'] * 255, (sample['lq'] * 255).round())


@pytest.mark.parametrize(
    'change, message',
    [
        ({'sigma': None}, 'sigma: None'),
        ({'sigma': '25'}, "sigma: '25'"),
        ({'sigma': [15, 15]}, r'sigma: \[15, 15\]'),
        ({'sigma': 300}, 'sigma: 300'),
        ({'dataroot_gt': None}, 'dataroot_gt: missing'),
        ({'noise_order': 'random'}, "noise_order: 'random'; allowed: per_file, authors"),
        ({'noise_order': 'authors', 'sigma': 30}, r'noise_stream: \[15, 25, 50\]'),
    ],
)
def test_wrong_options_are_refused(grey, change, message):
    with pytest.raises(ValueError, match=message):
        GaussianDenoiseDataset({**grey, **change})


def test_noise_without_clipping_is_what_the_literature_adds(tmp_path):
    """Its PSNR is 20 log10(255 / sigma) whatever the picture; clipped noise has more, the more so in dark and light."""
    dark = np.zeros((256, 256, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'dark.png'), dark)
    options = {'phase': 'val', 'sigma': 50, 'dataroot_gt': str(tmp_path)}
    errors = {}
    for clip in (True, False):
        sample = GaussianDenoiseDataset({**options, 'clip': clip})[0]
        errors[clip] = -10 * np.log10(np.mean((sample['lq'] - sample['gt']).numpy().astype(float) ** 2))
    assert errors[False] == pytest.approx(20 * np.log10(255 / 50), abs=0.03) and errors[True] > 16.5
    sample = GaussianDenoiseDataset({**options, 'clip': False})[0]
    assert sample['lq'].min() < -0.5
    again = GaussianDenoiseDataset({**options, 'clip': True})[0]['lq']  # the same noise
    assert np.abs(sample['lq'].clamp(0, 1) - again).max() < 1.01 / 255
    for more, message in (({'noise_order': 'authors'}, 'noise_order'), ({'phase': 'train'}, 'surround')):
        with pytest.raises(ValueError, match=f'clip: false cannot be had with {message}'):
            surround = {'gt_size': 16, 'surround': {'probability': 1}} if 'phase' in more else {}
            GaussianDenoiseDataset({**options, 'clip': False, **more, **surround})
