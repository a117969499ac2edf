"""`--model auto`: each picture is restored with the model that suits it, a video with one for all its frames."""

import functools
import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors import safe_open
from skimage import data
from test_video import write

from mirage_data.degradations import degrade
from mirage_data.files.image import read_rgb
from mirage_restore import Restorer, bundled, choice, restorer
from mirage_restore.bundled import LIGHT_MODEL, bundled_models, bundled_weights
from mirage_restore.choice import CHOICE, VIEW, describe, views
from mirage_restore.cli import main
from mirage_restore.video import restore_video
from mirage_restore.video_streams import probe, sampled_frames


@pytest.fixture(scope='module')
def auto():
    return Restorer(device='cpu', model='auto')


@pytest.fixture(scope='module')
def photographs():
    return [data.astronaut()[40:260, 100:340], data.chelsea()[20:240, 100:340], data.coffee()[60:280, 150:390]]


def degraded(photograph, recipe, seed=0):
    clean = photograph.astype(np.float32) / 255
    return np.clip(degrade(clean, [recipe], np.random.default_rng(seed))[0], 0, 1).astype(np.float32)


def test_the_file_is_for_the_models_in_the_package():
    with safe_open(CHOICE, 'pt') as opened:
        about = opened.metadata()
    chosen_from = set(bundled_models()) - {LIGHT_MODEL}
    assert set(about['models'].split()) == chosen_from
    digests = {name: hashlib.sha256(bundled_weights(name).read_bytes()).hexdigest() for name in chosen_from}
    assert json.loads(about['sha256']) == digests


@pytest.mark.parametrize(
    ('recipe', 'model'),
    [
        ({'degradation': 'gaussian_noise', 'sigma': 15}, 'denoise'),
        ({'degradation': 'gaussian_noise', 'sigma': 40}, 'denoise'),
        ({'degradation': 'clean'}, 'denoise'),
        ({'degradation': 'low_light'}, 'enhance'),
        ({'degradation': 'cdd11_haze'}, 'mini'),
        ({'degradation': 'cdd11_rain'}, 'derain'),
        ({'degradation': 'cdd11_snow'}, 'mini'),
    ],
    ids=lambda value: value if isinstance(value, str) else '_'.join(map(str, value.values())),
)
def test_each_degradation_is_left_to_the_model_for_it(auto, photographs, recipe, model):
    chosen = []
    for photograph in photographs:
        auto(degraded(photograph, recipe))
        chosen.append(auto.chosen)
    assert chosen.count(model) >= 2, chosen


def test_the_result_is_that_of_the_chosen_model(auto, photographs):
    noisy = degraded(photographs[0], {'degradation': 'gaussian_noise', 'sigma': 25})
    result = auto(noisy)
    assert auto.chosen == 'denoise' and auto.weights == bundled_weights('denoise')
    assert np.array_equal(result, Restorer(device='cpu', model='denoise')(noisy))
    assert np.array_equal(auto(np.full((20, 30, 3), 90, np.uint8)), np.full((20, 30, 3), 90, np.uint8))
    assert auto.chosen is None  # nothing was restored


def test_nothing_that_brightens_is_taken_where_the_tone_stays(auto, photographs):
    dark = degraded(photographs[0], {'degradation': 'low_light', 'exposure': [0.1, 0.15]})
    auto(dark)
    assert auto.chosen == 'enhance'
    kept = Restorer(device='cpu', model='auto', keep_tone=True)
    result = kept(dark)
    assert kept.chosen in set(bundled_models()) - {'enhance'}
    assert np.array_equal(result, Restorer(device='cpu', model=kept.chosen, keep_tone=True)(dark))


def test_grey_and_tiny_pictures(auto, photographs):
    grey = photographs[1].mean(axis=2).astype(np.uint8)
    assert auto(grey).shape == grey.shape and auto.chosen in bundled_models()
    for shape in ((1, 2, 3), (3, 5, 3), (17, 1, 3)):
        picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        assert auto(picture).shape == shape and auto.chosen in bundled_models()


@pytest.mark.parametrize('size', [(1, 1), (200, 300), (300, 300), (2000, 90), (90, 4000), (1000, 1500)])
def test_views_lie_within_the_picture(size):
    picture = torch.rand(1, 3, *size)
    looked_at = views(picture)
    assert sum(share for share, _ in looked_at) == pytest.approx(1)
    assert all(min(view.shape[-2:]) >= 1 for _, view in looked_at)
    assert sum(view[0, 0].numel() for _, view in looked_at) <= 5.2 * VIEW * VIEW
    if size[0] * size[1] > 2 * VIEW * VIEW:
        parts = [view for _, view in looked_at[1:]]
        assert len(parts) == 4 and all(part.shape[-2:] == tuple(min(VIEW, side) for side in size) for part in parts)


def test_numbers_tell_what_differs():
    view = torch.rand(1, 3, 64, 64)
    same, shifted = describe([view, view, view]), describe([view, view, (view + 0.1).clamp(0, 1)])
    assert same.isfinite().all() and same.shape == shifted.shape
    assert torch.equal(same[:5], shifted[:5]) and (shifted[5:8] > same[5:8] + 3).all()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the weights in the package."""
    weights = tmp_path / 'weights'
    shutil.copytree(bundled.WEIGHTS, weights)
    monkeypatch.setattr(bundled, 'WEIGHTS', weights)
    choose = functools.partial(choice.read_choice, weights / CHOICE.name)
    monkeypatch.setattr(restorer, 'read_choice', choose)
    return weights


def damage(file):
    content = bytearray(file.read_bytes())
    content[-3] ^= 255
    file.write_bytes(content)


@pytest.mark.parametrize(
    ('harm', 'message'),
    [
        (lambda file: file.unlink(), 'no such weights file'),
        (lambda file: file.write_bytes(b''), 'cannot be read'),
        (lambda file: file.write_bytes(file.read_bytes()[:300]), 'cannot be read'),
        (damage, 'damaged: its checksum'),
        (lambda file: shutil.copy(bundled_weights(), file), "is not what model 'auto' goes by"),
    ],
    ids=['missing', 'empty', 'cut short', 'damaged', 'another'],
)
def test_without_what_the_choice_goes_by_there_is_one_clear_line(package, harm, message):
    harm(package / CHOICE.name)
    with pytest.raises(ValueError, match=rf'choice.safetensors: {message}.*install the package again'):
        Restorer(device='cpu', model='auto')


def test_a_file_that_is_no_choice_of_it_does_not_keep_it_from_work(package):
    (package / 'mirage_mine.safetensors').write_text('hi')
    restore = Restorer(device='cpu', model='auto')
    restore(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))
    assert restore.chosen in bundled_models()


def test_a_model_that_is_missing_is_named(package):
    (package / 'mirage_denoise.safetensors').unlink()
    with pytest.raises(ValueError, match="got 'denoise'"):
        Restorer(device='cpu', model='auto')


def test_threads_do_not_disturb_one_another(photographs):
    """In tiles, the second model's choice must not reach the first one's picture."""
    recipes = [
        {'degradation': 'gaussian_noise', 'sigma': 30},
        {'degradation': 'low_light', 'exposure': [0.1, 0.15]},
        {'degradation': 'cdd11_haze'},
    ]
    pictures = [degraded(photographs[0][:96, :96], recipe) for recipe in recipes]
    auto = Restorer(device='cpu', model='auto', tile=48)
    expected = [auto(picture) for picture in pictures]
    with ThreadPoolExecutor(3) as pool:
        for _ in range(2):
            for found, right in zip(pool.map(auto, pictures), expected):
                assert np.array_equal(found, right)


def test_whoever_listened_hears_nothing_of_the_next_picture(photographs):
    auto, told, again = Restorer(device='cpu', model='auto'), [], []
    picture = photographs[0][:60, :60]
    auto.on_progress = told.append
    auto(picture)
    assert told == sorted(told) and told[-1] == 1.0
    auto.on_progress, heard = again.append, len(told)
    auto(picture)
    assert len(told) == heard and again == told
    auto.on_progress = None
    auto(picture)
    assert (len(told), len(again)) == (heard, heard)


@pytest.mark.parametrize('bad', [np.full((8, 8, 3), np.nan, np.float32), 'there is no such.png'], ids=['NaN', 'file'])
def test_nothing_is_said_to_be_chosen_for_what_was_refused(auto, photographs, bad):
    auto(photographs[0][:40, :40])
    assert auto.chosen is not None
    with pytest.raises((ValueError, OSError)):
        auto(bad)
    assert auto.chosen is None


def test_without_frames_each_image_has_its_own_choice(auto, photographs):
    restore = auto.within(None)
    assert auto.chosen is None and CHOICE.name in restore.identity
    dark = degraded(photographs[0], {'degradation': 'low_light', 'exposure': [0.1, 0.15]})
    assert np.array_equal(restore(dark), Restorer(device='cpu', model='enhance')(dark))
    noisy = degraded(photographs[0], {'degradation': 'gaussian_noise', 'sigma': 30})
    assert np.array_equal(restore(noisy), Restorer(device='cpu', model='denoise')(noisy))


def test_where_one_model_is_meant_auto_is_refused_in_such_words():
    with pytest.raises(ValueError, match="'auto' restores with whichever model suits a picture; here name one of"):
        bundled_weights('auto')


def test_the_command_says_what_was_taken(tmp_path, photographs, capsys):
    import cv2

    noisy = np.rint(degraded(photographs[2], {'degradation': 'gaussian_noise', 'sigma': 30}) * 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / 'noisy.png'), noisy[..., ::-1])
    options = ['-o', str(tmp_path / 'out'), '--quiet']
    assert main([str(tmp_path / 'noisy.png'), '--model', 'auto', *options]) == 0
    assert 'noisy.png: restored with denoise' in capsys.readouterr().out
    expected = Restorer(device='cpu', model='denoise')(noisy)
    assert np.array_equal(read_rgb(tmp_path / 'out' / 'noisy.png'), expected)


def test_a_video_has_one_model_for_all_frames(tmp_path, auto):
    source = write(tmp_path / 'a.mkv', frames=4)
    auto.within(None, sampled_frames(probe(source)))
    chosen = auto.chosen
    film = restore_video(auto, source, tmp_path / 'b.mkv', progress=False, encoder='ffv1')
    assert film.frames == 4 and auto.chosen == chosen
    restore_video(Restorer(device='cpu', model=chosen), source, tmp_path / 'c.mkv', progress=False, encoder='ffv1')
    both = [list(sampled_frames(probe(tmp_path / name))) for name in ('b.mkv', 'c.mkv')]
    assert len(both[0]) > 1 and np.array_equal(*both)


def test_the_frames_of_a_video_decide_together(auto, photographs):
    noise = {'degradation': 'gaussian_noise', 'sigma': 30}
    frames = [np.rint(degraded(photographs[0], noise, seed) * 255).astype(np.uint8) for seed in range(3)]
    restore = auto.within(None, frames)
    assert auto.chosen == 'denoise' and bundled_weights('denoise').name in restore.identity
    hazy = np.rint(degraded(photographs[0], {'degradation': 'cdd11_haze'}) * 255).astype(np.uint8)
    assert np.array_equal(restore(hazy), Restorer(device='cpu', model='denoise')(hazy))
