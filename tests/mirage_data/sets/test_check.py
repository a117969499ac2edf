"""Every fault is found, named with its files, counted in the table, and gives the right exit code."""

import json
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_up_images import random_image, write_png

from mirage_data.files.image import list_names, read_rgb
from mirage_data.files.lists import check_list, places_of_list, read_list
from mirage_data.files.store import open_store
from mirage_data.sets import fingerprint as fingerprints
from mirage_data.sets import folder_scan
from mirage_data.sets.check import Checker
from mirage_data.sets.pack import write_lmdb
from mirage_data.sets.table import all_data_sets, data_set
from mirage_ir.commands.check_data import cache_file, main
from mirage_ir.commands.prepare import main as prepare


def write_pairs(root: Path, lq: str, gt: str, names: list[tuple[str, str]], seed: int = 0) -> None:
    for number, (degraded, clean) in enumerate(names):
        image = random_image(seed + number, 32, 40)
        write_png(root / gt / clean, image)
        write_png(root / lq / degraded, np.maximum(image, 40))


@pytest.fixture
def lol(tmp_path):
    """LOL with three training pairs and one test pair, all in order but for their number."""
    root = tmp_path / 'datasets'
    write_pairs(root, 'Train/Enhance/low', 'Train/Enhance/gt', [(f'{n}.png', f'{n}.png') for n in (1, 2, 3)])
    write_pairs(root, 'test/enhance/lol/input', 'test/enhance/lol/target', [('1.png', '1.png')], seed=50)
    return root


def findings(root: Path, name: str, quick: bool = False) -> dict[str, list]:
    checker = Checker(root, quick=quick, workers=1)
    checker.check(data_set(name))
    found = {}
    for finding in checker.report.findings:
        found.setdefault(finding.kind, []).append(finding)
    return found


def test_a_sound_set_differs_in_its_number_only(lol):
    found = findings(lol, 'lol')
    assert set(found) == {'count'}
    assert {(f.level, f.message) for f in found['count']} == {
        ('warning', '3 images, the published set has 485'),
        ('warning', '1 images, the published set has 15'),
    }


def break_pair(root: Path) -> None:
    (root / 'Train/Enhance/gt/2.png').unlink()


def break_size(root: Path) -> None:
    write_png(root / 'Train/Enhance/low/2.png', random_image(1, 32, 41))


def break_file(root: Path) -> None:
    path = root / 'Train/Enhance/low/2.png'
    path.write_bytes(path.read_bytes()[:200])


def add_foreign(root: Path) -> None:
    for name in ('Thumbs.db', '.DS_Store', 'notes.doc'):
        (root / 'Train/Enhance/low' / name).write_bytes(b'x')


def add_duplicate(root: Path) -> None:
    image = cv2.imread(str(root / 'Train/Enhance/gt/2.png'))
    cv2.imwrite(str(root / 'Train/Enhance/gt/3.png'), image, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def equal_sides(root: Path) -> None:
    (root / 'Train/Enhance/low/2.png').write_bytes((root / 'Train/Enhance/gt/2.png').read_bytes())


def make_grey(root: Path) -> None:
    write_png(root / 'Train/Enhance/gt/2.png', np.repeat(random_image(1, 32, 40)[..., :1], 3, axis=2))


@pytest.mark.parametrize(
    ('spoil', 'kind', 'level', 'count', 'example'),
    [
        (break_pair, 'unpaired', 'error', 1, '2.png'),
        (break_size, 'size', 'error', 1, '2.png 32x41, 2.png 32x40'),
        (break_file, 'unreadable', 'error', 1, 'truncated'),
        (add_foreign, 'foreign', 'warning', 3, 'Thumbs.db'),
        (add_duplicate, 'duplicates', 'warning', 1, '2.png = 3.png'),
        (equal_sides, 'equal sides', 'error', 1, '2.png'),
        (make_grey, 'grey', 'warning', 1, '2.png'),
    ],
)
def test_each_fault_is_found(lol, spoil, kind, level, count, example):
    spoil(lol)
    found = findings(lol, 'lol')
    assert set(found) == {'count', kind}
    (finding,) = found[kind]
    assert (finding.level, finding.count) == (level, count)
    assert any(example in text for text in finding.examples)
    assert 'Train/Enhance' in finding.where


def test_a_quick_check_reads_no_image(lol):
    break_file(lol)
    break_pair(lol)
    assert set(findings(lol, 'lol', quick=True)) == {'count', 'unpaired'}


def test_absent_folders_come_with_the_command(tmp_path):
    found = findings(tmp_path, 'sots')
    assert set(found) == {'absent'} and len(found['absent']) == 2
    assert all('mirage-basicsr prepare sots' in finding.message for finding in found['absent'])


def test_pairs_of_other_rules_and_folders_below(tmp_path):
    write_pairs(
        tmp_path,
        'Train/Dehaze/synthetic',
        'Train/Dehaze/original',
        [('part1/0025_0.8_0.1.png', '0025.png'), ('part2/0025_0.9_0.1.png', '0025.png'), ('9_1_1.png', '0031.png')],
    )
    found = findings(tmp_path, 'ots')
    assert {finding.where.rsplit('/', 1)[1]: finding.count for finding in found['unpaired']} == {
        'synthetic': 1,
        'original': 1,
    }


def test_databases_beside_folders_are_compared(lol):
    write_lmdb(lol / 'Train/Enhance/low')
    assert set(findings(lol, 'lol')) == {'count'}
    write_png(lol / 'Train/Enhance/low/9.png', random_image(9, 32, 40))
    write_png(lol / 'Train/Enhance/gt/9.png', random_image(8, 32, 40))
    (finding,) = findings(lol, 'lol')['lmdb']
    assert (finding.level, finding.examples) == ('warning', ['9.png'])
    (lol / 'Train/Enhance/low.lmdb/meta_info.txt').unlink()
    (finding,) = findings(lol, 'lol')['lmdb']
    assert finding.level == 'error' and 'meta_info.txt' in finding.message


LISTING = 'part1/0025_0.8_0.1.png', 'part2/0026_0.9_0.1 b.png'


@pytest.mark.parametrize(
    ('text', 'absent', 'repeated', 'unlisted'),
    [
        ('synthetic/part1/0025_0.8_0.1.png\nsynthetic/part2/0026_0.9_0.1 b.png\n', [], [], []),
        ('part1/0025_0.8_0.1.png (32,40,3) 1\n\n# a remark\n', [], [], [LISTING[1]]),
        ('part1/0025_0.8_0.1.png\nx/9.png\n./part1/0025_0.8_0.1.png\n', ['x/9.png'], [LISTING[0]], [LISTING[1]]),
        ('synthetic/part2/0026_0.9_0.1 b.png original/0026.png\n', [], [], [LISTING[0]]),
        ('part2/0026_0.9_0.1 b.png,0027.png\n', ['0027.png'], [], [LISTING[0]]),
        (f'{LISTING[0]}\nsynthetic/9.png 0026.png\n', ['synthetic/9.png'], [], [LISTING[1]]),
        ('\ufeffC:\\data\\synthetic\\part1\\0025_0.8_0.1.png\n', [], [], [LISTING[1]]),
    ],
)
def test_list_files_against_the_disk(tmp_path, text, absent, repeated, unlisted):
    (tmp_path / 'list.txt').write_text(text, encoding='utf-8')
    folders = {'Train/Dehaze/synthetic': list(LISTING), 'Train/Dehaze/original': ['0025.png', '0026.png']}
    result = check_list(tmp_path / 'list.txt', folders)
    assert (result.absent, result.repeated, result.unlisted) == (absent, repeated, unlisted)


def test_an_unreadable_list_names_itself(tmp_path):
    with pytest.raises(ValueError, match='nolist.txt: cannot be read as a list'):
        check_list(tmp_path / 'nolist.txt', {})


def test_lists_beside_the_folders_are_checked_unasked(tmp_path):
    write_pairs(tmp_path, 'Train/AllWeather/input', 'Train/AllWeather/gt', [('a.png', 'a.png'), ('b.png', 'b.png')])
    (tmp_path / 'Train/AllWeather/allweather.txt').write_text('input/a.png\ninput/c.png\n')
    found = {finding.level: finding for finding in findings(tmp_path, 'allweather')['list']}
    assert found['error'].examples == ['input/c.png'] and found['note'].examples == ['b.png']


def scene(number: int) -> np.ndarray:
    """Shapes of every size in random colours: corners enough, and no two alike."""
    rng = np.random.default_rng(number)
    image = np.full((240, 320, 3), rng.integers(0, 256, 3), np.uint8)
    for size in range(60, 4, -1):
        x, y = (int(value) for value in rng.integers(0, (320, 240)))
        colours = rng.integers(256, size=(2, 3)).tolist()
        cv2.ellipse(image, (x, y), (size, size // 2 + 2), int(rng.integers(180)), 0, 360, colours[0], -1)
        cv2.rectangle(image, (y, x), (y + size, x + size // 3), colours[1], -1)
    return image


@pytest.fixture
def leaking(tmp_path):
    """Three clean training photographs, one of them cropped and compressed in a test set."""
    root = tmp_path / 'datasets'
    for number in (1, 2, 3):
        write_png(root / f'Train/Denoise/{number}00.png', scene(number))
    write_png(root / 'test/denoise/bsd68/4.png', scene(4))
    crop = scene(2)[30:200, 40:260, ::-1]
    cv2.imwrite(str(root / 'test/denoise/bsd68/5.jpg'), crop, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return root


def test_the_command_finds_leaks_and_writes_what_is_free_of_them(leaking, tmp_path, capsys):
    lists, report = tmp_path / 'lists', tmp_path / 'out' / 'report.json'
    options = ['--root', str(leaking), '--json', str(report), '--leak-free', str(lists), '--workers', '1']
    assert main(options) == 1
    out = capsys.readouterr().out
    assert '1 training images show 1 test images of test/denoise/bsd68 (part)' in out and '200.png = 5.jpg' in out
    assert (lists / 'bsd400_leak_free.txt').read_text() == '100.png\n300.png\n'
    content = json.loads(report.read_text())
    assert content['worst'] == 'error'
    (leak,) = content['leaks']
    assert leak['train'].endswith('200.png') and leak['kind'] == 'part' and leak['scale'] == pytest.approx(1, abs=0.02)
    row = next(row for row in content['folders'] if row['data_set'] == 'bsd400')
    assert (row['images'], row['expected'], row['leaks']) == (3, 400, 1)


def test_exit_codes(leaking, lol, capsys):
    assert main(['--root', str(leaking), '--no-leaks', '--workers', '1']) == 0
    assert main(['--root', str(leaking), '--no-leaks', '--strict', '--workers', '1']) == 1
    assert main(['bsd68', '--root', str(leaking), '--workers', '1']) == 1, 'a test set is compared with all training'
    assert main(['sots', '--root', str(leaking), '--quick']) == 1
    (leaking / 'empty').mkdir()
    assert main(['--root', str(leaking / 'empty')]) == 0
    assert 'nothing to check' in capsys.readouterr().out
    for wrong in (
        ['bsd500'],
        ['--train', '/no/such/folder'],
        ['--root', '/no/such/folder'],
        ['--quick', '--leak-free', 'x'],
        ['--json', '.'],
        ['--leak-free', __file__],
    ):
        with pytest.raises(SystemExit) as stop:
            main(wrong)
        assert stop.value.code == 2


def test_sets_that_were_not_asked_for_are_compared_but_not_checked(leaking, capsys):
    (leaking / 'Train/Denoise/900.png').write_bytes(b'broken')
    assert main(['bsd68', '--root', str(leaking), '--workers', '1']) == 1
    out = capsys.readouterr().out
    assert '200.png = 5.jpg' in out and 'cannot be read' not in out and 'the published set has 400' not in out


def test_folders_of_ones_own(leaking, tmp_path, capsys):
    options = ['--train', str(leaking / 'Train/Denoise'), '--test', str(leaking / 'test/denoise/bsd68')]
    assert main([*options, '--root', str(tmp_path / 'none'), '--workers', '1']) == 1
    out = capsys.readouterr().out
    assert '200.png = 5.jpg' in out and 'prepare_data' not in out


def test_a_named_list_is_compared(leaking, tmp_path, capsys):
    (tmp_path / 'denoise.txt').write_text('100.png\n999.png\n')
    options = ['bsd400', '--root', str(leaking), '--quick', '--list-file', str(tmp_path / 'denoise.txt')]
    assert main(options) == 1
    assert '999.png' in capsys.readouterr().out


def test_a_second_check_reads_only_what_has_changed(leaking, monkeypatch, capsys):
    command = ['--root', str(leaking), '--workers', '1', '--all-names']
    assert main(command) == 1
    first = capsys.readouterr().out
    read = []
    monkeypatch.setattr(folder_scan, 'read_rgb', lambda path: read.append(path.name) or read_rgb(path))
    monkeypatch.setattr(fingerprints, 'read_rgb', lambda path: read.append(Path(path).name) or read_rgb(path))
    assert main(command) == 1
    assert capsys.readouterr().out == first and not read
    write_png(leaking / 'Train/Denoise/200.png', scene(9))  # the leak is gone
    assert main(command) == 0
    assert read.count('200.png') == 2 and read.count('100.png') == 1  # compared anew, but scanned no more
    (file,) = Path(os.environ['XDG_CACHE_HOME'], 'mirage-ir').glob(f'{cache_file(str(leaking)).name}')
    file.write_text('{"version": 1, "seen": 3}')
    assert main(command) == 0
    read.clear()
    assert main([*command, '--no-cache']) == 0 and read.count('100.png') == 2


def test_known_leaks_are_stated_and_can_be_acknowledged(leaking, capsys):
    for name in ('target', 'input'):
        write_png(leaking / f'test/derain/Rain100L/{name}/norain-1.png', scene(3))
    command = ['bsd400', '--root', str(leaking), '--workers', '1', '--no-cache']
    assert main(command) == 1
    out = capsys.readouterr().out
    assert 'known: 67 of the 400 are clean sides of its test images' in out
    assert re.search(r'200\.png = 5\.jpg \(part.*, correlation [01]\.\d\d\)', out)
    assert '(0 of these)' in out  # made-up names are none of the 67


def test_acknowledging_is_about_pairs_so_that_a_new_leak_is_found(leaking, tmp_path, capsys):
    known, new = leaking / 'Train/Denoise/100075.png', leaking / 'Train/Denoise/900.png'
    command = ['bsd400', '--root', str(leaking), '--workers', '1', '--no-cache']
    for name in ('target', 'input'):
        write_png(leaking / f'test/derain/Rain100L/{name}/norain-1.png', scene(31))
    write_png(known, scene(31))
    (leaking / 'Train/Denoise/200.png').unlink()
    assert '100075' in all_data_sets()['bsd400'].overlaps['rain100l'].train
    assert main(command) == 1 and main([*command, '--acknowledge', 'bsd400']) == 0
    assert 'acknowledged' in capsys.readouterr().out

    write_png(new, scene(31))
    report = tmp_path / 'report.json'
    assert main([*command, '--acknowledge', 'bsd400', '--json', str(report)]) == 1
    out = capsys.readouterr().out
    error = next(line for line in out.splitlines() if line.startswith('error: '))
    assert '1 training images show 1 test images' in error and 'error' in out.split('900.png = norain-1.png')[0]
    assert main([*command, '--acknowledge', str(report)]) == 0  # both pairs, as the report has them
    write_png(leaking / 'test/denoise/bsd68/77.png', scene(31))  # a new leak of an image that leaks already
    capsys.readouterr()
    assert main([*command, '--acknowledge', str(report)]) == 1
    assert '900.png = 77.png' in capsys.readouterr().out


@pytest.mark.parametrize('name', ['wed', 'my/photos', 'broken.json'])
def test_what_cannot_be_acknowledged_is_named_with_the_cure(name, leaking, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path('broken.json').write_text('{"leaks": [3]}')
    with pytest.raises(SystemExit) as stop:
        main(['bsd400', '--root', str(leaking), '--acknowledge', name])
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert name in err and ('no JSON report' in err if name == 'broken.json' else '--json FILE' in err)


def test_a_check_that_is_stopped_keeps_what_it_read(leaking, monkeypatch):
    command = ['--root', str(leaking), '--workers', '1']

    def stop(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checker, 'check_leaks', stop)
        with pytest.raises(KeyboardInterrupt):
            main(command)
    read = []
    monkeypatch.setattr(folder_scan, 'read_rgb', lambda path: read.append(path.name) or read_rgb(path))
    main(command)
    assert not read


def test_a_name_that_is_no_text_does_not_lose_the_report(leaking, tmp_path):
    odd = leaking / 'Train/Denoise' / os.fsdecode(b'\xff2.png')
    odd.write_bytes((leaking / 'Train/Denoise/200.png').read_bytes())
    report = tmp_path / 'report.json'
    assert main(['bsd400', '--root', str(leaking), '--json', str(report), '--workers', '1']) == 1
    assert str(odd) in {leak['train'] for leak in json.loads(report.read_text(encoding='utf-8'))['leaks']}
    assert main(['bsd400', '--root', str(leaking), '--acknowledge', str(report), '--workers', '1']) == 0


def test_names_with_control_characters_are_told_in_one_line_and_refused(lol, capsys):
    strange = lol / 'Train/Enhance/low/4\n0 errors\x1b[2J.png'
    strange.write_bytes((lol / 'Train/Enhance/low/1.png').read_bytes())
    assert main(['lol', '--root', str(lol), '--no-cache']) == 0  # a warning
    out = capsys.readouterr().out
    assert '4\\x0a0 errors\\x1b[2J.png' in out and '\n0 errors' not in out and '3 images, the published' in out
    with pytest.raises(ValueError, match=r'4\\x0a0 errors.*rename it'):
        list_names(strange.parent)
    assert prepare(['lol', '--source', str(lol), '--root', str(lol.parent / 'new')]) == 0
    assert not list((lol.parent / 'new').rglob('4*'))
    assert 'control characters in its name' in capsys.readouterr().out


def test_every_known_overlap_is_between_sets_of_the_table():
    rows = all_data_sets()
    found = [(row.name, other) for row in rows.values() for other in row.overlaps]
    assert ('lol', 'lol') in found and all(rows[other].parts_of('test') for _, other in found)


def test_lists_of_samples_without_leaks_have_names_of_their_own_and_read_back(tmp_path, capsys):
    names = {'one': ['#1.png', ' 2.png', '3.png'], 'two': ['4.png'], 'leak': ['5.png']}
    for number, (folder, files) in enumerate(names.items()):
        for place, name in enumerate(files):
            write_png(tmp_path / folder / 'train/gt' / name, random_image(10 * number + place, 96, 96))
    write_png(tmp_path / 'test/t.png', read_rgb(tmp_path / 'leak/train/gt/5.png'))
    folders = [str(tmp_path / folder / 'train/gt') for folder in names]
    options = ['--test', str(tmp_path / 'test'), '--root', str(tmp_path), '--workers', '1', '--leak-free']
    assert main(['--train', *folders[:2], *options, str(tmp_path / 'lists')]) == 0
    lists = sorted((tmp_path / 'lists').iterdir())
    assert [file.name for file in lists] == ['train_gt_2_leak_free.txt', 'train_gt_leak_free.txt']
    found = {len(read_list(file)): file for file in lists}
    assert sorted(found) == [1, 3]
    store = open_store(folders[0], None, True)
    assert len(places_of_list(str(found[3]), store, measured=False)) == 3
    assert main(['--train', folders[2], *options, str(tmp_path / 'lists')]) == 1
    assert [file.name for file in (tmp_path / 'lists').iterdir()] == ['train_gt_2_leak_free.txt']
    assert 'every sample leaks, no list' in capsys.readouterr().err


def test_a_name_with_several_partners_is_a_finding_also_where_leaks_are_looked_for(tmp_path, capsys):
    for place, name in enumerate(('lq/a.png', 'gt/a.png', 'gt/a.bmp', 'test/t.png')):
        write_png(tmp_path / name, random_image(place, 64, 64))
    pairs = ['--pairs', str(tmp_path / 'lq'), str(tmp_path / 'gt')]
    code = main([*pairs, '--test', str(tmp_path / 'test'), '--root', str(tmp_path), '--workers', '1'])
    captured = capsys.readouterr()
    assert code == 1 and 'several clean images fit' in captured.out and not captured.err.startswith('error')
