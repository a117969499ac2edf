"""The layout of the real pairs: what is held out, what is left out, and what a fault says."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from research.restoration import collect


def picture(path, side=300):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((side, side, 3), np.uint8))


def run(*words):
    return collect.main(['pairs', *map(str, words)])


def names(folder):
    return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []


def test_whole_scenes_are_held_out_and_go_to_both_sides(tmp_path):
    for scene in range(1400, 1410):
        picture(tmp_path / f'SOTS/clear/{scene}.png')
        for haze in (1, 5):
            picture(tmp_path / f'SOTS/hazy/{scene}_{haze}.png')
    assert run('--sots', tmp_path / 'SOTS', '--out', tmp_path / 'out') == 0
    assert names(tmp_path / 'out/heldout/sots_indoor/input') == ['1400_1.png', '1400_5.png', '1405_1.png', '1405_5.png']
    assert names(tmp_path / 'out/heldout/sots_indoor/target') == ['1400.png', '1405.png']
    assert len(names(tmp_path / 'out/pairs/sots_indoor/input')) == 16


def test_rain_takes_its_clean_side_from_the_photographs_and_leaves_the_held_out_ones_alone(tmp_path):
    for name in ('a', 'b', 'c'):
        picture(tmp_path / f'BSDS/train/{name}.jpg')
    (tmp_path / 'list.txt').write_text('a\nb.jpg\nc\n')
    for number in (1, 2):
        picture(tmp_path / f'rain/input/{number}.webp')
    (tmp_path / 'rain/targets.txt').write_text('1.webp BSDS/train/a.jpg\n2.webp BSDS/train/b.jpg\n')
    words = ('--bsds', tmp_path / 'BSDS', '--list', tmp_path / 'list.txt', '--rain100l', tmp_path / 'rain')
    assert run(*words, '--out', tmp_path / 'out') == 0
    assert names(tmp_path / 'out/heldout/bsds500') == ['a.jpg']  # the first of every 21
    assert names(tmp_path / 'out/pairs/rain100l/input') == ['2.webp']
    assert (tmp_path / 'out/pairs/rain100l/target/2.jpg').resolve() == tmp_path / 'BSDS/train/b.jpg'


def test_twins_of_the_test_scenes_and_small_pairs_are_left_out(tmp_path):
    for name in ('1', '2', '3'):
        picture(tmp_path / f'LOL/our485/low/{name}.png')
        picture(tmp_path / f'LOL/our485/high/{name}.png')
    (tmp_path / 'LOL/our485_same_scene_as_eval15.txt').write_text('2.png\n')
    for name, side in (('a', 300), ('b', 300), ('c', 200)):
        picture(tmp_path / f'Rain800/input/{name}.jpg', side)
        picture(tmp_path / f'Rain800/target/{name}.jpg', side)
    assert run('--lol', tmp_path / 'LOL/our485', '--rain800', tmp_path / 'Rain800', '--out', tmp_path / 'out') == 0
    assert names(tmp_path / 'out/pairs/lol/target') == ['1.png', '3.png']
    assert names(tmp_path / 'out/pairs/rain800/input') == ['b.jpg']


@pytest.mark.parametrize(('missing', 'word'), [('target', 'without their clean one'), ('input', 'none of the folders')])
def test_half_a_set_is_refused_by_name_and_nothing_is_written(tmp_path, capsys, missing, word):
    kept = {'target': 'input', 'input': 'target'}[missing]
    picture(tmp_path / f'PolyU/{kept}/x_1.jpg')
    if missing == 'target':
        picture(tmp_path / 'PolyU/target/other.jpg')
    assert run('--polyu', tmp_path / 'PolyU', '--out', tmp_path / 'out') == 2
    message = capsys.readouterr().err
    assert word in message and 'PolyU' in message
    assert not (tmp_path / 'out').exists()
