"""Size, tone and surround: drawn for both sides alike, off by default, refused when wrong."""

import numpy as np
import pytest
import torch
from made_up_images import write_png
from made_up_scene import scene, seeded

from mirage_data.datasets.denoise import GaussianDenoiseDataset
from mirage_data.datasets.mixed import MixedDegradationDataset
from mirage_data.datasets.paired import PairedTaskDataset
from mirage_data.datasets.synthetic import SyntheticDegradationDataset
from mirage_data.datasets.variation import SHAPES, Variation, browned, draw_surround, resized, retoned

ALL = {
    'resize': [0.5, 1],
    'tone': {'probability': 0.5},
    'grey': 0.3,
    'sepia': 0.3,
    'surround': {'probability': 0.5, 'cover': [0.1, 0.5]},
}
NOISE = [{'degradation': 'gaussian_noise', 'sigma': 30}]


@pytest.fixture
def folders(tmp_path):
    for number in range(3):
        clean = np.rint(np.roll(scene(96, 128), 9 * number, axis=1) * 255).astype(np.uint8)
        write_png(tmp_path / 'gt' / f'{number}.png', clean)
        write_png(tmp_path / 'lq' / f'{number}.png', clean // 3)
    return tmp_path


def made(folders, kind, **options):
    own = {
        PairedTaskDataset: {'task': 'enhance', 'dataroot_lq': str(folders / 'lq')},
        GaussianDenoiseDataset: {'sigma': 25},
        SyntheticDegradationDataset: {'recipe': NOISE},
    }[kind]
    return kind({'dataroot_gt': str(folders / 'gt'), 'gt_size': 32, **own, **options})


KINDS = (PairedTaskDataset, GaussianDenoiseDataset, SyntheticDegradationDataset)


@pytest.mark.parametrize('kind', KINDS)
def test_samples_are_reproducible_and_of_the_crop_s_size(folders, kind):
    first, second = made(folders, kind, **ALL), made(folders, kind, **ALL)
    plain = made(folders, kind)
    differing = 0
    for epoch in range(6):
        one, two = first[epoch, 1], second[epoch, 1]
        assert one['lq'].shape == one['gt'].shape == (3, 32, 32)
        assert torch.equal(one['lq'], two['lq']) and torch.equal(one['gt'], two['gt'])
        differing += not torch.equal(one['gt'], plain[epoch, 1]['gt'])
    assert differing == 6


@pytest.mark.parametrize('kind', KINDS)
def test_validation_knows_no_variation(folders, kind):
    varied, plain = (made(folders, kind, phase='val', **options)[0] for options in (ALL, {}))
    assert torch.equal(varied['gt'], plain['gt']) and torch.equal(varied['lq'], plain['lq'])


@pytest.mark.parametrize('kind', KINDS)
def test_the_surround_is_the_same_flat_area_on_both_sides(folders, kind):
    covered = made(folders, kind, surround={'probability': 1, 'cover': [0.3, 0.4]})
    plain = made(folders, kind)
    shares = []
    for epoch in range(30):
        sample, bare = covered[epoch, 0], plain[epoch, 0]
        same = (sample['lq'] == sample['gt']).all(0)
        changed = (sample['gt'] != bare['gt']).any(0) | (sample['lq'] != bare['lq']).any(0)
        assert same[changed].all()  # whatever the surround touched is equal in lq and gt
        assert torch.equal(sample['gt'][:, ~changed], bare['gt'][:, ~changed])
        assert len(torch.unique(sample['gt'][:, changed], dim=1).T) in (1, 2)
        shares.append(changed.float().mean().item())
    assert 0.15 < min(shares) < max(shares) < 0.45 and np.mean(shares) == pytest.approx(0.34, abs=0.06)


@pytest.mark.parametrize('kind', (GaussianDenoiseDataset, SyntheticDegradationDataset))
def test_a_surround_may_be_degraded_with_the_scene(folders, kind):
    under, plain = made(folders, kind, surround={'probability': 1, 'cover': 0.4, 'under': 1}), made(folders, kind)
    for epoch in range(8):
        sample = under[epoch, 0]
        differs = (sample['lq'] != sample['gt']).any(0)
        covered = (sample['gt'] != plain[epoch, 0]['gt']).any(0)
        assert differs[covered].float().mean() > 0.4  # noisy there, too; white or black hides half of it
        assert 0.2 < covered.float().mean() < 0.5


def test_every_shape_covers_what_it_is_told():
    found = {}
    for seed in range(400):
        rng = seeded(seed)
        kind = SHAPES[int(seeded(seed).integers(len(SHAPES)))]
        layers = draw_surround((100, 100), 0.3, rng)
        found.setdefault(kind, []).append(np.logical_or.reduce([mask for mask, _ in layers]).mean())
    assert set(found) == set(SHAPES)
    for kind, shares in found.items():
        assert np.mean(shares) == pytest.approx(0.3, abs=0.05), kind
    assert all(draw_surround((1, 3), 0.5, seeded(seed)) for seed in range(40))


def test_resized_samples_show_more_of_the_photograph(folders):
    whole = made(folders, PairedTaskDataset, resize=[0.34, 0.34])[0, 0]
    photograph = np.rint(scene(96, 128) * 255).astype(np.uint8)
    side = 94  # 32 / 0.34
    shown = 255 * whole['gt'].numpy().transpose(1, 2, 0)
    places = ((top, left) for top in range(3) for left in range(128 - side + 1))
    parts = (resized(photograph[top : top + side, left : left + side], 32, 32) for top, left in places)
    best = min(np.abs(part - shown).max() for part in parts)
    assert best < 1
    # the pair stays a pair, and a photograph too small for it gives what it has
    assert (whole['lq'] - whole['gt'] / 3).abs().max() < 2 / 255
    assert made(folders, PairedTaskDataset, resize=[0.05, 0.05])[0, 0]['gt'].shape == (3, 32, 32)


def test_a_resized_blur_reads_its_margin(folders):
    recipe = [{'degradation': 'defocus_blur', 'radius': 5, 'gamma': 1}]
    dataset = made(folders, SyntheticDegradationDataset, recipe=recipe, resize=[0.5, 1], use_hflip=True, use_rot=True)
    for epoch in range(12):
        sample = dataset[epoch, epoch % 3]
        assert sample['lq'].shape == (3, 32, 32)
        assert abs(sample['lq'].mean() - sample['gt'].mean()) < 0.06  # both show the same place


def test_tone_and_grey():
    image = scene()
    np.testing.assert_allclose(retoned(image, gamma=2), image.astype(float) ** 2, atol=1e-6)
    grey = retoned(image, saturation=0)
    assert np.ptp(grey, axis=2).max() < 1e-6
    np.testing.assert_allclose(grey[..., 0], image @ [0.299, 0.587, 0.114], atol=1e-5)
    np.testing.assert_allclose(retoned(image, contrast=0.5), image * 0.5 + 0.25, atol=1e-6)
    eight_bit = np.rint(image * 255).astype(np.uint8)
    one, two = Variation.of_options({'grey': 1}).toned([eight_bit, eight_bit.astype(np.uint16) * 257], seeded())
    assert one.dtype == np.uint8 and two.dtype == np.uint16 and (np.ptp(one, axis=2) == 0).all()
    assert np.abs(two / 257 - one).max() <= 0.5


def test_a_mixture_hands_the_variations_to_its_sources(folders):
    source = {'task': 'enhance', 'dataroot_gt': str(folders / 'gt'), 'dataroot_lq': str(folders / 'lq')}
    mixture = MixedDegradationDataset({'gt_size': 32, 'grey': 1, 'sources': [source, {**source, 'grey': 0}]})
    assert np.ptp(mixture[0, 0]['gt'].numpy(), axis=0).max() == 0 < np.ptp(mixture[0, 3]['gt'].numpy(), axis=0).max()


@pytest.mark.parametrize(
    ('option', 'value', 'words'),
    [
        ('resize', [0.5, 2], r'resize: \[0.5, 2\]'),
        ('resize', 'half', "resize: 'half'"),
        ('grey', 3, 'grey: 3'),
        ('tone', {'gamma': [1, 2]}, 'tone: .* needed is a mapping with probability'),
        ('tone', {'probability': 1, 'gamma': [2, 1]}, 'tone: gamma'),
        ('surround', {'probability': 1, 'covers': 1}, 'allowed are probability, cover, under'),
        ('surround', {'probability': True}, 'surround: probability'),
        ('surround', 0.1, 'surround: 0.1'),
    ],
)
def test_wrong_options_are_named(folders, option, value, words):
    with pytest.raises(ValueError, match=words):
        made(folders, GaussianDenoiseDataset, **{option: value})


def test_an_old_print_is_grey_times_one_warm_colour():
    image = seeded(0).random((24, 24, 3), dtype=np.float32)
    colour = np.float32([1, 0.8, 0.6])
    out = browned(image, colour, 0.05)
    assert out == pytest.approx((0.05 + 0.95 * retoned(image, saturation=0)) * colour, abs=1e-6)
    drawn = Variation(sepia=1.0).toned([image, image], seeded(1))
    assert np.array_equal(*drawn) and (drawn[0][..., 0] > drawn[0][..., 1]).all()
    ratio = drawn[0] / drawn[0][..., :1]  # one colour for all pixels
    assert ratio.std((0, 1)).max() < 1e-5
