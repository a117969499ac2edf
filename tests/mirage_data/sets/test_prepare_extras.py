"""Sub-images, LMDBs beside folders, and the command line of `mirage-basicsr prepare`."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_up_images import random_image, write_png

from mirage_data.files.image import ImageError, read_rgb
from mirage_data.files.lmdb import LmdbReader, LmdbWriter
from mirage_data.sets.pack import cut_folder, lmdb_path, starts, write_lmdb
from mirage_ir.commands.check_data import main as check_data
from mirage_ir.commands.prepare import main


@pytest.mark.parametrize(
    ('length', 'size', 'step', 'expected'),
    [(10, 10, 5, [0]), (20, 10, 5, [0, 5, 10]), (23, 10, 5, [0, 5, 10, 13]), (11, 10, 10, [0, 1])],
)
def test_squares_reach_the_border(length, size, step, expected):
    assert starts(length, size, step) == expected


def test_subimages_are_the_right_pixels_under_basicsr_names(tmp_path):
    image = random_image(1, 40, 70)
    write_png(tmp_path / 'in' / 'a.b.png', image)
    write_png(tmp_path / 'in' / 'small.png', random_image(2, 20, 70))
    result = cut_folder(tmp_path / 'in', tmp_path / 'out', 32, 24)
    assert result.written == 6 and len(result.problems) == 1 and 'small.png: 20x70 is smaller' in result.problems[0]
    places = [(top, left) for top in (0, 8) for left in (0, 24, 38)]
    for number, (top, left) in enumerate(places, 1):
        piece = read_rgb(tmp_path / 'out' / f'a.b_s{number:03d}.png')
        assert np.array_equal(piece, image[top : top + 32, left : left + 32])
    again = cut_folder(tmp_path / 'in', tmp_path / 'out', 32, 24)
    assert (again.written, again.there_already) == (0, 6)


def test_subimages_refuse_gaps(tmp_path):
    with pytest.raises(ValueError, match='--subimages 32 40'):
        cut_folder(tmp_path, tmp_path / 'out', 32, 40)


@pytest.fixture
def hazy(tmp_path):
    """OTS-like: two parts, a copy of one file under another name, and a broken one."""
    folder = tmp_path / 'synthetic'
    for number, name in enumerate(('part1/0025_0.8_0.1', 'part1/0025_0.8_0.2', 'part2/3068_1_0.1')):
        write_png(folder / f'{name}.png', random_image(number, 24 + number, 40))
    (folder / 'part2/copy_1.png').write_bytes((folder / 'part1/0025_0.8_0.1.png').read_bytes())
    (folder / 'part2/broken_1.png').write_bytes(b'no image')
    return folder


@pytest.mark.parametrize('raw', [False, True])
def test_lmdb_has_the_same_pixels_and_equal_files_once(hazy, raw):
    result = write_lmdb(hazy, raw=raw)
    assert (result.stored, result.shared, len(result.problems)) == (4, 1, 1)
    assert 'broken_1.png' in result.problems[0]
    reader = LmdbReader(lmdb_path(hazy))
    assert reader.raw == raw
    assert sorted(reader.names) == sorted(
        p.relative_to(hazy).as_posix() for p in hazy.rglob('*.png') if p.name != 'broken_1.png'
    )
    for name in reader.names:
        assert np.array_equal(reader.read(name.removesuffix('.png')), read_rgb(hazy / name)), name
    reader.close()


def test_lmdb_is_made_again_only_when_names_changed(hazy):
    (hazy / 'part2/broken_1.png').unlink()
    write_lmdb(hazy)
    written = (lmdb_path(hazy) / 'data.mdb').stat().st_mtime_ns
    assert write_lmdb(hazy).there_already
    assert (lmdb_path(hazy) / 'data.mdb').stat().st_mtime_ns == written
    write_png(hazy / 'new.png', random_image(9, 16, 16))
    assert not write_lmdb(hazy).there_already
    reader = LmdbReader(lmdb_path(hazy))
    assert 'new.png' in set(reader.names)
    reader.close()


def test_an_interrupted_lmdb_is_gone_on_with(hazy, monkeypatch):
    put, seen = LmdbWriter.add_file, []

    def killed(self, name, data):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(name)
        put(self, name, data)
        self.commit()

    monkeypatch.setattr(LmdbWriter, 'add_file', killed)
    with pytest.raises(KeyboardInterrupt):
        write_lmdb(hazy)
    assert not lmdb_path(hazy).exists()
    monkeypatch.setattr(LmdbWriter, 'add_file', lambda self, name, data: (seen.append(name), put(self, name, data)))
    result = write_lmdb(hazy)
    assert sorted(map(seen.count, seen)) == [1] * 4, 'nothing is stored twice, and the broken file is tried'
    assert (result.stored, result.shared) == (4, 1)
    reader = LmdbReader(lmdb_path(hazy))
    for name in reader.names:
        assert np.array_equal(reader.read(name.removesuffix('.png')), read_rgb(hazy / name))
    reader.close()


def test_lmdb_of_equal_keys_and_of_nothing(tmp_path):
    folder = tmp_path / 'gt'
    image = random_image(1, 16, 16)
    write_png(folder / '1.png', image)
    cv2.imwrite(str(folder / '1.bmp'), image[..., ::-1])
    result = write_lmdb(folder)
    assert result.stored == 1 and 'has the key of 1.bmp' in result.problems[0]
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ImageError, match='has no images'):
        write_lmdb(tmp_path / 'empty')


def gopro(tmp_path: Path) -> Path:
    for split in ('train', 'test'):
        for number, side in enumerate(('blur', 'sharp')):
            write_png(tmp_path / f'GOPRO_Large/{split}/GOPR1/{side}/1.png', random_image(number, 40, 48))
    return tmp_path / 'GOPRO_Large'


def test_the_command_prepares_cuts_and_packs(tmp_path, capsys):
    source, root = gopro(tmp_path), tmp_path / 'data root'
    options = ['gopro', '--root', str(root), '--subimages', '32', '16', '--lmdb']
    assert main([*options, '--source', str(source)]) == 0
    out = capsys.readouterr().out
    assert 'train: recognised as the layout of publisher' in out and '4 linked' in out
    assert 'the published set has 2,103' in out and f'mirage-basicsr check-data gopro --root "{root}"' in out in out
    assert len(list((root / 'Train/Deblur/blur_sub').glob('*.png'))) == 4
    reader = LmdbReader(root / 'Train/Deblur/sharp_sub.lmdb')
    assert len(reader) == 4
    reader.close()
    assert (root / 'test/deblur/gopro/input.lmdb/meta_info.txt').read_text().startswith('GOPR1_1.png (40,48,3) ')
    assert main(options) == 0, 'without --source it goes on with what is prepared'
    assert 'there already' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('options', 'code', 'message'),
    [
        (['nonsense', '--source', '.'], 2, "unknown data set 'nonsense'"),
        (['lol', '--source', 'nowhere'], 2, 'nowhere: no such file or folder'),
        (['lol'], 2, 'nothing to do'),
        (['lol', '--source', '.', '--raw'], 2, '--raw is about --lmdb'),
        ([], 2, 'name a data set'),
    ],
)
def test_wrong_use_says_what_to_do(options, code, message, capsys):
    try:
        found = main(options)
    except SystemExit as stop:
        found = stop.code
    assert found == code
    assert message in capsys.readouterr().err


def test_an_lmdb_of_nothing_is_a_failure(tmp_path, capsys):
    assert main(['lol', '--lmdb', '--root', str(tmp_path)]) == 1
    assert 'not there, no LMDB made' in capsys.readouterr().out


def test_conflicts_make_the_command_fail(tmp_path, capsys):
    source, root = gopro(tmp_path), tmp_path / 'root'
    place = root / 'Train/Deblur/blur/GOPR1_1.png'
    place.parent.mkdir(parents=True)
    place.write_bytes(b'mine')
    assert main(['gopro', '--root', str(root), '--source', str(source)]) == 1
    assert '--overwrite' in capsys.readouterr().err
    assert place.read_bytes() == b'mine'


def test_the_list_shows_every_set(capsys):
    assert main(['--list']) == 0
    out = capsys.readouterr().out
    assert 'cdd11' in out and 'train 72,135 pairs' in out and 'https://' in out


def test_half_a_pair_makes_the_command_fail_until_the_other_side_is_there(tmp_path, capsys):
    for side in ('hazy', 'gt'):
        write_png(tmp_path / f'{side}_only/SOTS/outdoor/{side}/0001.png', random_image(1, 16, 16))
    options = ['sots', '--root', str(tmp_path / 'root'), '--source']
    assert main([*options, str(tmp_path / 'hazy_only')]) == 1
    err = capsys.readouterr().err
    assert 'test/dehaze/target: no clean images of RESIDE SOTS outdoor, only degraded ones' in err and '--gt' in err
    assert main([*options, str(tmp_path / 'gt_only')]) == 0


def test_folders_of_the_storage_system_are_no_data(tmp_path, capsys):
    for folder in ('low', 'high'):
        write_png(tmp_path / f'x/our485/{folder}/1.png', random_image(1, 16, 16))
        write_png(tmp_path / f'x/our485/{folder}/@eaDir/1.png/SYNOPHOTO_THUMB.png', random_image(2, 16, 16))
        write_png(tmp_path / f'x/#recycle/our485/{folder}/9.png', random_image(2, 16, 16))
    assert main(['lol', '--root', str(tmp_path / 'root'), '--source', str(tmp_path / 'x')]) == 0
    assert 'skipped 4: left by the operating system' in capsys.readouterr().out
    assert [path.name for path in (tmp_path / 'root').rglob('*.png')] == ['1.png', '1.png']


@pytest.mark.parametrize('raw', [False, True])
def test_an_lmdb_is_made_again_when_a_file_was_replaced(tmp_path, raw):
    folder = tmp_path / 'gt'
    for number in range(2):
        write_png(folder / f'{number}.png', random_image(number, 16, 16))
    write_lmdb(folder, raw=raw)
    assert write_lmdb(folder, raw=raw).there_already
    write_png(folder / '1.png', random_image(7, 16, 16))
    assert not write_lmdb(folder, raw=raw).there_already
    reader = LmdbReader(lmdb_path(folder))
    assert np.array_equal(reader.read('1'), random_image(7, 16, 16))
    reader.close()
    os.utime(folder / '1.png', ns=(1, 1))  # another time, the same content
    assert write_lmdb(folder, raw=raw).there_already


def test_squares_of_another_size_are_not_taken_for_these(tmp_path):
    write_png(tmp_path / 'a/1.png', random_image(1, 40, 48))
    cut_folder(tmp_path / 'a', tmp_path / 'a_sub', 16, 16)
    with pytest.raises(ValueError, match='holds squares of --subimages 16 16, not of 32 16'):
        cut_folder(tmp_path / 'a', tmp_path / 'a_sub', 32, 16)


def test_squares_of_a_replaced_picture_are_cut_again(tmp_path):
    write_png(tmp_path / 'a/1.png', random_image(1, 40, 48))
    first = cut_folder(tmp_path / 'a', tmp_path / 'a_sub', 16, 16)
    assert cut_folder(tmp_path / 'a', tmp_path / 'a_sub', 16, 16).there_already == first.written == 9
    image = random_image(2, 16, 33)
    write_png(tmp_path / 'a/1.png', image)
    assert cut_folder(tmp_path / 'a', tmp_path / 'a_sub', 16, 16).written == 3
    squares = sorted((tmp_path / 'a_sub').glob('*.png'))
    assert [path.name for path in squares] == ['1_s001.png', '1_s002.png', '1_s003.png']
    assert np.array_equal(read_rgb(squares[2]), image[:, 17:])


def test_squares_of_other_pictures_stay(tmp_path):
    for place, name in enumerate(('a.png', 'a.bmp', 'img_sunset.png')):
        write_png(tmp_path / 'a' / name, random_image(place, 32, 32))
    write_png(tmp_path / 'a/img.png', random_image(9, 16, 16))
    first = cut_folder(tmp_path / 'a', tmp_path / 'a_sub', 16, 16)
    assert first.written == 9 and 'would be called like those of a.bmp; rename one' in first.problems[0]
    write_png(tmp_path / 'a/img.png', random_image(10, 16, 16))
    assert cut_folder(tmp_path / 'a', tmp_path / 'a_sub', 16, 16).written == 1
    assert len(list((tmp_path / 'a_sub').glob('img_sunset_s*.png'))) == 4


def own(tmp_path: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        write_png(tmp_path / 'shots' / name, random_image(number, 20, 24))
    return tmp_path / 'shots'


def prepared_own(tmp_path: Path, *options: str) -> tuple[int, set[str]]:
    root = tmp_path / 'data'
    code = main(['--own', 'mine', '--root', str(root), *options])
    return code, {p.relative_to(root).as_posix() for p in root.rglob('*') if p.is_file() and p.suffix == '.png'}


def test_pairs_of_ones_own_by_a_rule(tmp_path, capsys):
    source = own(tmp_path, 'a/1_dark.png', 'a/1_bright.png', '2_dark.png', '2_bright.png', '3_dark.png')
    code, files = prepared_own(tmp_path, '--source', str(source), '--pairing', r'(.+)_dark=\1_bright')
    assert code == 0
    sides = [f'Train/mine/{side}' for side in ('input', 'target')]
    assert files == {f'{side}/{name}.png' for side in sides for name in ('a_1_dark', '2_dark')}
    out = capsys.readouterr().out
    assert 'no partner by the rule (e.g. 3_dark.png)' in out and 'dataroot_lq' in out
    data = tmp_path / 'data'
    assert np.array_equal(read_rgb(data / sides[1] / '2_dark.png'), read_rgb(source / '2_bright.png'))
    assert check_data(['--pairs', *(str(data / side) for side in sides), '--no-leaks', '--workers', '1']) in (0, 1)
    code, _ = prepared_own(tmp_path, '--source', str(source), '--pairing', r'(.+)_noisy=\1_clean')
    assert code and 'both sides are needed' in capsys.readouterr().err


def test_the_named_folders_are_the_outermost_ones(tmp_path, capsys):
    for number, folder in enumerate(('src/dark', 'src/bright', 'src/backup/dark', 'src/backup/bright')):
        for name in ('1.png', '2.png') if number < 2 else ('1.png', '2.png', '3.png'):
            write_png(tmp_path / folder / name, random_image(number, 20, 24))
    words = ['lol', '--source', str(tmp_path / 'src'), '--lq', './dark', '--gt', 'bright']
    assert main([*words, '--root', str(tmp_path / 'data')]) == 0
    low = sorted((tmp_path / 'data/Train/Enhance/low').iterdir())
    assert len(low) == 2 and all(np.array_equal(read_rgb(file), random_image(0, 20, 24)) for file in low)
    (tmp_path / 'src/backup').rename(tmp_path / 'src/.backup')
    hidden = ['lol', '--source', str(tmp_path / 'src'), '--lq', '.backup/dark', '--gt', '.backup/bright']
    assert main([*hidden, '--root', str(tmp_path / 'hidden')]) == 0
    assert len(list((tmp_path / 'hidden/Train/Enhance/low').iterdir())) == 3
    (tmp_path / 'src/.backup').rename(tmp_path / 'src/backup')
    (tmp_path / 'src/dark').rename(tmp_path / 'src/other')
    write_png(tmp_path / 'src/more/dark/1.png', random_image(5, 20, 24))
    capsys.readouterr()
    assert main([*words, '--root', str(tmp_path / 'again')]) == 1
    assert 'each has a folder of this name' in capsys.readouterr().err


def test_a_picture_of_the_same_size_is_told_from_this_one(tmp_path, capsys):
    for version in (1, 2):
        for side in ('in', 'gt'):
            folder = tmp_path / f'v{version}' / side
            folder.mkdir(parents=True)
            cv2.imwrite(str(folder / 'a.bmp'), random_image(version, 16, 16))
            (folder / '._a.bmp').write_bytes(b'\0\5\26\7')
    words = ['--own', 'x', '--lq', 'in', '--gt', 'gt', '--root', str(tmp_path / 'data')]
    placed = tmp_path / 'data/Train/x/input'
    for how in (['--copy'], []):
        shutil.rmtree(tmp_path / 'data', ignore_errors=True)
        assert main([*words, *how, '--source', str(tmp_path / 'v1')]) == 0
        assert [file.name for file in placed.iterdir()] == ['a.bmp']
        assert main([*words, *how, '--source', str(tmp_path / 'v2')]) == 1
        assert (placed / 'a.bmp').read_bytes() == (tmp_path / 'v1/in/a.bmp').read_bytes()
        assert main([*words, *how, '--source', str(tmp_path / 'v2'), '--overwrite']) == 0
        assert (placed / 'a.bmp').read_bytes() == (tmp_path / 'v2/in/a.bmp').read_bytes()


def test_pairs_of_ones_own_by_folders_and_halves(tmp_path, capsys):
    source = own(tmp_path, 'in/1.png', 'out/1.png', 'in/2.png', 'out/3.png')
    code, files = prepared_own(tmp_path, '--source', str(source), '--lq', 'in', '--gt', 'out', '--split', 'test')
    assert code == 0 and files == {'test/mine/input/1.png', 'test/mine/target/1.png'}
    sheet = tmp_path / 'sheets'
    write_png(sheet / '7.png', np.hstack([random_image(1, 10, 12), random_image(2, 10, 12)]))
    code, files = prepared_own(tmp_path, '--source', str(sheet), '--halves', 'right')
    assert code == 0 and {'Train/mine/input/7.png', 'Train/mine/target/7.png'} <= files
    lq, gt = (read_rgb(tmp_path / 'data/Train/mine' / side / '7.png') for side in ('input', 'target'))
    assert np.array_equal(lq, random_image(2, 10, 12)) and np.array_equal(gt, random_image(1, 10, 12))
    for wrong in (['--halves', 'left', '--pairing', 'a=b'], ['--lq', 'in'], ['--lmdb']):
        with pytest.raises(SystemExit):
            main(['--own', 'x', '--source', str(sheet), *wrong])
    assert main(['--own', '../x', '--source', str(sheet), '--root', str(tmp_path / 'data')]) != 0
    assert 'cannot be the name of a folder' in capsys.readouterr().err
