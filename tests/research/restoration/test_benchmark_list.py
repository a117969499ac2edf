"""Listed sets: pairs, clean pictures, bars, tiles and sizes, on made-up pictures; faults are named with set and key."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from research.restoration import measure as restoration_report
from research.restoration.bars import between_bars
from research.restoration.scores import INPUT, LINE, OURS, ScoreCache, SetScores, line_fitted_psnr, measure_sets
from research.restoration.sets import KEYS, listed_sets

SHIPPED = Path(__file__).resolve().parents[3] / 'research' / 'restoration' / 'sets.yml'


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('sets')
    for folder in ('clean', 'dark', 'hazy'):
        (root / folder).mkdir()
    for number in range(3):
        noise = np.random.default_rng(number).random((66, 90, 3), np.float32)
        smooth = np.rint(cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX))
        cv2.imwrite(str(root / 'clean' / f'{number}.png'), smooth)
        cv2.imwrite(str(root / 'dark' / f'{number}.png'), smooth // 4)
        cv2.imwrite(str(root / 'hazy' / f'{number}_7.png'), smooth // 2 + 120)
    return root


def listed(root, content):
    file = root / 'list.yml'
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return listed_sets(file, [root / 'nowhere', root])


def test_every_kind_of_set(root):
    (dark, haze, noise, clean, night), absent = listed(
        root,
        {
            'dark': {'lq': 'dark', 'gt': 'clean', 'task': 'low_light', 'group': 'pairs', 'published': ['2', 'LOL']},
            'haze': {'lq': 'hazy', 'gt': 'clean', 'pairing': 'sots', 'only': ['1', '2_7']},
            'noise': {'gt': 'clean', 'sigma': 25},
            'clean': {'gt': 'clean', 'limit': 2},
            'night': {'gt': 'clean', 'recipe': ['dark_scene', 'raw_noise']},
            'elsewhere': {'gt': 'no such folder'},
        },
    )
    assert absent == [f'elsewhere: no such folder is in none of {root / "nowhere"}, {root}']
    assert (dark.source, dark.task, dark.published) == ('pairs', 'low_light', ('2', 'LOL'))
    picture = dark.picture(1)
    assert picture.lq.shape == (64, 80, 3) and np.abs(picture.lq * 4 - picture.gt).max() < 5 / 255
    assert [haze.picture(i).name for i in range(len(haze))] == ['1_7', '2_7']
    assert noise.task == 'denoise_25' and 15 < np.std(noise.picture(0).lq - noise.picture(0).gt) * 255 < 30
    assert len(clean) == 2 and [clean.picture(i).name for i in (0, 1)] == ['0', '2']
    assert np.array_equal(clean.picture(0).lq, clean.picture(0).gt)
    assert night.picture(0).gt.mean() < noise.picture(0).gt.mean() and night.task == 'raw_noise'


def test_bars_cover_their_share_and_figures_are_those_of_the_picture(root):
    for sides in ('letterbox', 'pillars', 'frame', 'left'):
        image = np.random.default_rng(0).random((64, 80, 3), np.float32)
        barred, inside = between_bars(image, share=0.25, sides=sides, colour=(255, 0, 0))
        assert np.array_equal(inside.of(barred), image)
        assert 1 - image.size / barred.size == pytest.approx(0.25, abs=0.02), sides
        outside = np.ones(barred.shape[:2], bool)
        inside.of(outside[..., None])[:] = False
        assert (barred[outside] == (1, 0, 0)).all()
    sets, _ = listed(
        root,
        {'noise': {'gt': 'clean', 'sigma': 25}, 'bars': {'gt': 'clean', 'sigma': 25, 'bars': 0.4, 'against': 'noise'}},
    )
    seen = []

    def restore(image):
        seen.append(image.shape)
        return image * 0.5 + 0.25

    plain, barred = measure_sets(sets, ScoreCache(root / 's1'), [OURS], restore=restore, progress=False)
    assert seen[0] == (64, 80, 3) and seen[-1] == (64 + 42, 80, 3)
    for method in (INPUT, OURS):  # this restorer does not care what is around
        assert barred.each(method, 'psnr') == pytest.approx(plain.each(method, 'psnr'))
    assert barred.against == 'noise'


def test_bars_may_be_degraded_with_the_picture(root):
    (noisy,), _ = listed(root, {'x': {'gt': 'clean', 'sigma': 25, 'bars': {'share': 0.4, 'degraded': True}}})
    picture = noisy.picture(1)
    assert picture.lq.shape == (64 + 42, 80, 3) and picture.inside == (21, 0, 64, 80)
    bars = np.r_[picture.lq[:21], picture.lq[-21:]]
    assert not picture.gt[:21].any() and 0.01 < bars.mean() < 0.06  # the positive half of the noise
    with pytest.raises(ValueError, match='x: bars: degraded: pairs are as they are'):
        listed(root, {'x': {'gt': 'clean', 'lq': 'dark', 'bars': {'degraded': True}}})


def test_tiles_reach_the_network_and_the_cache(root):
    sets, _ = listed(root, {'whole': {'gt': 'clean'}, 'tiles': {'gt': 'clean', 'tile': 32, 'against': 'whole'}})
    seen = []

    def restore(image, tile=None):
        seen.append(tile)
        return image * (0.9 if tile else 1.0)

    cache = ScoreCache(root / 's2')
    whole, tiles = measure_sets(sets, cache, [OURS], restore=restore, weights='w', progress=False)
    assert seen == [None] * 3 + [32] * 3
    assert math.isinf(whole.mean(OURS, 'psnr')) and math.isfinite(tiles.mean(OURS, 'psnr'))


@pytest.mark.parametrize('key', ['keep_tone', 'self_ensemble'])
def test_how_to_restore_reaches_the_network_and_the_cache(root, key):
    sets, _ = listed(root, {'blind': {'gt': 'clean'}, 'kept': {'gt': 'clean', key: True, 'against': 'blind'}})

    def restore(image, **how):
        return image * (1.0 if how == {key: True} else 0.9)

    blind, kept = measure_sets(sets, ScoreCache(root / 's3'), [OURS], restore=restore, weights='w', progress=False)
    assert math.isfinite(blind.mean(OURS, 'psnr')) and math.isinf(kept.mean(OURS, 'psnr'))


def test_sizes_show_the_same_scene(root):
    (small, large, noisy), _ = listed(
        root,
        {
            'small': {'gt': 'clean', 'megapixels': 0.002},
            'large': {'gt': 'clean', 'megapixels': 0.05},
            'noisy': {'gt': 'clean', 'megapixels': 0.02, 'sigma': 25},
        },
    )
    one, two = small.picture(1).gt, large.picture(1).gt
    assert one.shape[0] * one.shape[1] == pytest.approx(2000, rel=0.35) and one.shape[0] % 16 == 0
    assert two.shape[0] * two.shape[1] == pytest.approx(50000, rel=0.1)
    assert np.abs(cv2.resize(two, one.shape[1::-1], interpolation=cv2.INTER_AREA) - one).mean() < 0.06
    assert 15 < np.std(noisy.picture(0).lq - noisy.picture(0).gt) * 255 < 30
    assert np.array_equal(noisy.picture(0).lq, noisy.picture(0).lq)


def test_quick_takes_every_nth_under_the_same_labels(root):
    (clean,), _ = listed(root, {'clean': {'gt': 'clean'}})
    quick = clean.every(2)
    assert [quick.picture(i).name for i in range(len(quick))] == ['0', '2']
    (scores,) = measure_sets([quick], ScoreCache(root / 's3'), [], progress=False)
    assert list(scores.values[INPUT]) == ['000_0', '002_2']
    assert len(quick.every(5)) == 1


def test_a_line_for_each_colour_takes_away_brightness_and_colour_only():
    gt = np.random.default_rng(1).random((30, 40, 3))
    assert line_fitted_psnr(gt * [0.5, 0.2, 0.9] + 0.05, gt) > 100
    noise = np.random.default_rng(2).normal(0, 0.05, gt.shape)
    noisy = gt + noise
    expected = [np.polyval(np.polyfit(noisy[..., c].ravel(), gt[..., c].ravel(), 1), noisy[..., c]) for c in range(3)]
    error = np.mean((np.stack(expected, -1) - gt) ** 2)
    assert line_fitted_psnr(noisy, gt) == pytest.approx(-10 * np.log10(error), abs=1e-6)
    assert math.isfinite(line_fitted_psnr(np.full_like(gt, 0.5), gt))


def test_the_report_says_what_means_hide_and_what_circumstances_cost(tmp_path):
    def row(name, given, ours, against=None):
        values = {
            INPUT: {f'{i}': {'psnr': v, 'ssim': 0.5, LINE: v + 1} for i, v in enumerate(given)},
            OURS: {f'{i}': {'psnr': v, 'ssim': 0.5, LINE: v + 2} for i, v in enumerate(ours)},
        }
        return SetScores(name, len(given), 'made', None, values=values, against=against)

    scores = [
        row('noise', [20, 21, 22], [28, 20.5, 30]),
        row('bars', [20, 21, 22], [27, 20.5, 25], 'noise'),
        row('clean', [math.inf] * 2, [45, 33]),
    ]
    text = restoration_report.markdown(scores, {})
    cells = {line.split(' | ')[0].strip('| '): line.strip('| ').split(' | ') for line in text.splitlines()}
    harm = text[text.index('What the means hide') : text.index('other circumstances')]
    assert '| noise | 20.50 | -0.50 | 1 | 22.00 | 28.17 |' in harm
    assert '| clean | 33.00 | - | - | identical | 41.00 |' in harm
    assert cells['bars'] == ['bars', 'noise', '3', '26.17', '24.17', '-2.00', '-5.00']
    restoration_report.write_report(tmp_path, scores, {})
    assert '"psnr_line"' in (tmp_path / 'restoration.json').read_text()


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'lq': 'dark'}, 'x: gt is missing'),
        ({'gt': 'clean', 'sgima': 3}, "x: unknown key 'sgima'; allowed are lq, gt"),
        ({'gt': 'clean', 'against': 'y'}, "x: against: there is no set 'y'"),
        ({'gt': 'clean', 'bars': {'share': 2}}, 'x: bars: '),
        ({'gt': 'clean', 'bars': {'colour': 'red'}}, 'x: bars: '),
        ({'gt': 'clean', 'bars': {'degraded': 'yes'}}, 'x: bars: '),
        ({'gt': 'clean', 'tile': 3}, 'x: tile: 3'),
        ({'gt': 'clean', 'keep_tone': 'yes'}, "x: keep_tone: 'yes'"),
        ({'gt': 'clean', 'self_ensemble': 8}, 'x: self_ensemble: 8'),
        ({'gt': 'clean', 'megapixels': 0}, 'x: megapixels: 0'),
        ({'gt': 'clean', 'only': ['9']}, 'x: only: no picture is called 9'),
        ({'gt': 'clean', 'only': 'absent.txt'}, 'x: only: no file absent.txt'),
        ({'gt': 'clean', 'lq': 'dark', 'sigma': 3}, 'x: sigma: pairs are as they are'),
        ({'gt': 'clean', 'sigma': 3, 'recipe': 'rain'}, 'x: sigma and recipe'),
        ({'gt': 'clean', 'recipe': 'cdd11'}, 'x: recipe: .* is 11 sets'),
        ({'gt': 'clean', 'recipe': 'fog'}, "x: unknown degradation 'fog'"),
        ({'gt': 'clean', 'published': 'LOL'}, 'x: published: '),
    ],
)
def test_a_fault_is_named_with_its_set_and_key(root, options, words):
    with pytest.raises(ValueError, match=words):
        listed(root, {'x': options})


def test_the_shipped_list_is_one(root):
    content = yaml.safe_load(SHIPPED.read_text(encoding='utf-8'))
    assert all(set(options) <= set(KEYS) for options in content.values())
    for options in content.values():  # every option is valid, with the made-up pictures for all folders
        for key in ('lq', 'gt'):
            if key in options:
                options[key] = {'lq': 'dark', 'gt': 'clean'}[key]
        options.pop('pairing', None)
    sets, absent = listed(root, content)
    assert not absent and len(sets) == len(content)
    assert sum(1 for each in sets if each.bars) >= 5 and any(each.how.get('tile') == 512 for each in sets)
