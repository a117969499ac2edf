"""Sets that people have beside the paper's: layouts, pictures with both sides, folders named after sides."""

from pathlib import Path

import numpy as np
import pytest
from made_up_images import random_image, write_png

from mirage_data.files.image import read_rgb
from mirage_data.files.pairing import match_pairs
from mirage_data.sets.prepare import carry_out
from mirage_data.sets.prepare_plan import plan
from mirage_data.sets.source_tree import read_source
from mirage_data.sets.table import data_set
from mirage_ir.commands.prepare import main

# set: files of a download, in pairs (degraded, clean); where they belong
DOWNLOADS = {
    'rain100h': (
        ['RainTrainH/rain-7.png', 'RainTrainH/norain-7.png', 'Rain100H/rain-001.png', 'Rain100H/norain-001.png'],
        [
            'Train/Rain100H/rainy/rain-7.png',
            'Train/Rain100H/gt/norain-7.png',
            'test/derain/Rain100H/input/rain-001.png',
            'test/derain/Rain100H/target/norain-001.png',
        ],
    ),
    'sots_indoor': (
        ['SOTS/indoor/hazy/1400_1.png', 'SOTS/indoor/gt/1400.png'],
        ['test/dehaze_indoor/input/1400_1.png', 'test/dehaze_indoor/target/1400.png'],
    ),
    'polyu': (
        ['CroppedImages/Canon5D2_bag_1_real.JPG', 'CroppedImages/Canon5D2_bag_1_mean.JPG'],
        ['test/denoise/polyu/input/Canon5D2_bag_1.jpg', 'test/denoise/polyu/target/Canon5D2_bag_1.jpg'],
    ),
    'cc15': (
        ['real/5dmark3_iso3200_1_real.png', 'mean/5dmark3_iso3200_1_mean.png'],
        ['test/denoise/cc15/input/5dmark3_iso3200_1.png', 'test/denoise/cc15/target/5dmark3_iso3200_1.png'],
    ),
    'nam': (
        ['Nam/d800_a_real.png', 'Nam/d800_a_mean.png'],
        ['test/denoise/nam/input/d800_a.png', 'test/denoise/nam/target/d800_a.png'],
    ),
    'sidd': (
        ['Data/0001_001_S6/0001_NOISY_SRGB_010.PNG', 'Data/0001_001_S6/0001_GT_SRGB_010.PNG'],
        ['Train/SIDD/noisy/0001_001_S6_010.png', 'Train/SIDD/gt/0001_001_S6_010.png'],
    ),
    'i_haze': (
        ['# I-HAZY NTIRE 2018/hazy/01_indoor_hazy.jpg', '# I-HAZY NTIRE 2018/GT/01_indoor_GT.jpg'],
        ['test/dehaze_i_haze/input/01.jpg', 'test/dehaze_i_haze/target/01.jpg'],
    ),
    'o_haze': (
        ['O-HAZE/hazy/45_outdoor_hazy.jpg', 'O-HAZE/GT/45_outdoor_GT.jpg'],
        ['test/dehaze_o_haze/input/45.jpg', 'test/dehaze_o_haze/target/45.jpg'],
    ),
    'nh_haze': (
        ['NH-HAZE/02_hazy.png', 'NH-HAZE/02_GT.png'],
        ['test/dehaze_nh_haze/input/02.png', 'test/dehaze_nh_haze/target/02.png'],
    ),
    'reds': (
        [
            'train/train_blur/000/00000001.png',
            'train/train_sharp/000/00000001.png',
            'val/val_blur/029/00000099.png',
            'val/val_sharp/029/00000099.png',
        ],
        [
            'Train/REDS/blur/000_00000001.png',
            'Train/REDS/sharp/000_00000001.png',
            'test/deblur/reds/input/029_00000099.png',
            'test/deblur/reds/target/029_00000099.png',
        ],
    ),
    'realblur_j': (
        [
            'RealBlur_J/train/input/a.png',
            'RealBlur_J/train/target/a.png',
            'RealBlur_J/test/input/b.png',
            'RealBlur_J/test/target/b.png',
        ],
        [
            'Train/RealBlur_J/blur/a.png',
            'Train/RealBlur_J/sharp/a.png',
            'test/deblur/realblur_j/input/b.png',
            'test/deblur/realblur_j/target/b.png',
        ],
    ),
    'lol_v2_real': (
        [
            'LOL-v2/Real_captured/Train/Low/low00001.png',
            'LOL-v2/Real_captured/Train/Normal/normal00001.png',
            'LOL-v2/Real_captured/Test/Low/low00690.png',
            'LOL-v2/Real_captured/Test/Normal/normal00690.png',
        ],
        [
            'Train/LOLv2_real/low/00001.png',
            'Train/LOLv2_real/gt/00001.png',
            'test/enhance/lol_v2_real/input/00690.png',
            'test/enhance/lol_v2_real/target/00690.png',
        ],
    ),
    'lol_v2_syn': (
        ['LOL-v2/Synthetic/Train/Low/r0a.png', 'LOL-v2/Synthetic/Train/Normal/r0a.png'],
        ['Train/LOLv2_syn/low/r0a.png', 'Train/LOLv2_syn/gt/r0a.png'],
    ),
    'sice': (
        [
            'Dataset_Part1/12/3.JPG',
            'Dataset_Part1/Label/12.JPG',
            'Dataset_Part2/12/1.JPG',
            'Dataset_Part2/Label/12.JPG',
        ],
        [
            'Train/SICE/exposures/1-12_3.jpg',
            'Train/SICE/gt/1-12.jpg',
            'Train/SICE/exposures/2-12_1.jpg',
            'Train/SICE/gt/2-12.jpg',
        ],
    ),
    # folders that only say which side they are
    'uieb': (
        ['download/raw/1.png', 'download/ref/1.png'],
        ['test/underwater/uieb/input/1.png', 'test/underwater/uieb/target/1.png'],
    ),
    'rain100l': (
        ['Rain100L-full/rainy/rain-1.png', 'Rain100L-full/norain/norain-1.png'],
        ['test/derain/Rain100L/input/rain-1.png', 'test/derain/Rain100L/target/norain-1.png'],
    ),
    'lol': (
        ['my/training/dark/1.png', 'my/training/bright/1.png', 'my/testing/dark/2.png', 'my/testing/bright/2.png'],
        [
            'Train/Enhance/low/1.png',
            'Train/Enhance/gt/1.png',
            'test/enhance/lol/input/2.png',
            'test/enhance/lol/target/2.png',
        ],
    ),
    'sots': (
        ['anything/hazy/0001_0.8_0.2.jpg', 'anything/clear/0001.png'],
        ['test/dehaze/input/0001_0.8_0.2.jpg', 'test/dehaze/target/0001.png'],
    ),
}


@pytest.mark.parametrize('name', DOWNLOADS)
def test_layouts_of_sets_that_people_have(name, tmp_path):
    files, places = DOWNLOADS[name]
    for file in files:
        path = tmp_path / 'here' / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.encode())
    found = plan(name, read_source(tmp_path / 'here')).files
    sources = {target: Path(entry.path).relative_to(tmp_path / 'here').as_posix() for target, entry in found.items()}
    assert sources == dict(zip(places, files, strict=True))
    for part in data_set(name).parts:  # and what lies there is paired by the set's own rule
        lq, gt = ([p[len(f) + 1 :] for p in places if p.startswith(f + '/')] for f in (part.lq, part.gt))
        assert match_pairs(lq, gt, part.pairing)[1:] == ([], [])


def side_by_side(tmp_path):
    clean, rainy = random_image(1, 20, 24), random_image(2, 20, 24)
    for folder in ('training', 'test_syn'):
        write_png(tmp_path / f'rain/{folder}/7.png', np.concatenate([clean, rainy], 1))
    return tmp_path / 'rain', clean, rainy


def test_pictures_with_both_sides_are_cut_in_two(tmp_path):
    source, clean, rainy = side_by_side(tmp_path)
    root = tmp_path / 'root'
    todo = plan('rain800', read_source(source))
    assert carry_out(todo, root).done == {'cut in two': 4}
    for folder, image in (('Train/Rain800/gt', clean), ('Train/Rain800/rainy', rainy)):
        assert np.array_equal(read_rgb(root / folder / '7.png'), image)
    assert np.array_equal(read_rgb(root / 'test/derain/Rain800/target/7.png'), clean)
    assert carry_out(todo, root).done == {'there already': 4}
    write_png(source / 'training/7.png', np.concatenate([rainy, clean], 1))
    assert len(carry_out(todo, root).conflicts) == 2


def test_a_picture_that_cannot_hold_two_is_named(tmp_path, capsys):
    write_png(tmp_path / 'rain/training/7.png', random_image(1, 20, 25))
    assert main(['rain800', '--source', str(tmp_path / 'rain'), '--root', str(tmp_path / 'root')]) == 1
    assert 'training/7.png: 25 pixels wide' in capsys.readouterr().err
