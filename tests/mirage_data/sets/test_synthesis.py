"""Synthesised sets on disk: the layouts, the same files for a seed, going on after an interruption."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_up_images import write_png
from made_up_scene import scene

from mirage_data.degradations import apply
from mirage_data.degradations.cdd11 import TYPES as CDD11_TYPES
from mirage_data.sets import synthesis
from mirage_data.sets.synthesis import LAYOUTS, synthesize

ROOT = Path(__file__).resolve().parents[3]
RAIN = [{'degradation': 'rain'}]


@pytest.fixture
def photographs(tmp_path):
    for number in range(3):
        picture = np.rint(np.roll(scene(40, 56), 9 * number, axis=1) * 255).astype(np.uint8)
        write_png(tmp_path / 'clean photos' / f'p{number}.png', picture)
    return tmp_path / 'clean photos'


def files_of(folder: Path) -> dict[str, str]:
    found = [path for path in sorted(folder.rglob('*')) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def make(photographs, output, layout='paired', recipe=RAIN, jobs=1, **settings):
    return synthesize([photographs], output, layout, recipe=recipe, jobs=jobs, progress=False, **settings)


def test_pairs_have_equal_names_and_sizes_and_a_record_that_explains_them(photographs, tmp_path):
    records, failures = make(photographs, tmp_path / 'out', copies=2)
    assert not failures and len(records) == 6
    assert {record['degraded'] for record in records} == {f'lq/p{n}{c}.png' for n in range(3) for c in ('', '_2')}
    for record in records:
        lq, gt = (cv2.imread(str(tmp_path / 'out' / record[side])) for side in ('degraded', 'clean'))
        assert lq.shape == gt.shape == (40, 56, 3) and np.abs(lq.astype(int) - gt).max() > 5
        np.testing.assert_array_equal(gt, cv2.imread(str(photographs / f'{record["photograph"]}.png')))
    assert records[0]['steps'][0]['length'] != records[1]['steps'][0]['length']
    lines = [json.loads(line) for line in (tmp_path / 'out' / 'records.jsonl').read_text().splitlines()]
    assert [line['steps'] for line in lines] == [record['steps'] for record in records]


def test_processes_and_order_change_nothing_and_the_seed_everything(photographs, tmp_path):
    make(photographs, tmp_path / 'one', jobs=1)
    make(photographs, tmp_path / 'two', jobs=2)
    assert files_of(tmp_path / 'one') == files_of(tmp_path / 'two')
    make(photographs, tmp_path / 'seed', seed=1)
    same = files_of(tmp_path / 'one').items() & files_of(tmp_path / 'seed').items()
    assert {name for name, _ in same} == {f'gt/p{n}.png' for n in range(3)}


def test_an_interrupted_run_goes_on_and_ends_the_same(photographs, tmp_path, monkeypatch):
    make(photographs, tmp_path / 'straight', layout='cdd11', recipe=None)
    written, write_image = [], synthesis.write_image

    def interrupted(path, image):
        written.append(path)
        if len(written) == 18:  # in the middle of the second photograph
            raise KeyboardInterrupt
        write_image(path, image)

    monkeypatch.setattr(synthesis, 'write_image', interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(photographs, tmp_path / 'out', layout='cdd11', recipe=None)
    with open(tmp_path / 'out' / 'records.jsonl', 'a') as log:
        log.write('{"photograph": "p1", "cl')  # what a killed process leaves
    (tmp_path / 'out' / 'rain' / 'p0.png').unlink()

    again = []
    monkeypatch.setattr(
        synthesis, 'write_image', lambda path, image: (again.append(path.name), write_image(path, image))
    )
    records, _ = make(photographs, tmp_path / 'out', layout='cdd11', recipe=None)
    assert len(records) == 33 and again.count('p0.png') == 2  # the missing one and its clean partner
    assert files_of(tmp_path / 'out') == files_of(tmp_path / 'straight')
    again.clear()
    make(photographs, tmp_path / 'out', layout='cdd11', recipe=None)
    assert again == []


def test_pairs_of_a_replaced_photograph_are_made_again_and_leave_nothing_of_the_old_one(photographs, tmp_path):
    haze = [{'degradation': 'haze', 'task': 'dehaze'}]
    make(photographs, tmp_path / 'out', layout='train5', recipe=haze)
    (photographs / 'p1.png').write_bytes((photographs / 'p2.png').read_bytes())
    write_png(photographs / 'a.png', np.full((40, 56, 3), 90, np.uint8))  # comes first: all numbers move by one
    make(photographs, tmp_path / 'out', layout='train5', recipe=haze)
    make(photographs, tmp_path / 'fresh', layout='train5', recipe=haze)
    assert files_of(tmp_path / 'out') == files_of(tmp_path / 'fresh')
    assert len(list((tmp_path / 'out/Dehaze/synthetic').rglob('*.jpg'))) == 4


def test_photographs_whose_copies_would_have_one_name_are_refused(photographs, tmp_path):
    (photographs / 'p1_2.png').write_bytes((photographs / 'p2.png').read_bytes())
    assert make(photographs, tmp_path / 'one')[1] == []
    with pytest.raises(ValueError, match=r'p1 and p1_2 would both be written as gt/p1_2\.png'):
        make(photographs, tmp_path / 'two', copies=2)
    (photographs / 'P0.png').write_bytes((photographs / 'p2.png').read_bytes())
    with pytest.raises(ValueError, match='would both be written'):
        make(photographs, tmp_path / 'three')


@pytest.mark.parametrize('place', ['.', 'out'])
def test_pairs_are_not_written_among_the_photographs(photographs, place):
    with pytest.raises(ValueError, match='whose photographs it would join'):
        make(photographs, photographs / place)
    assert sorted(path.name for path in photographs.iterdir()) == ['p0.png', 'p1.png', 'p2.png']


def test_neither_photographs_nor_files_of_others_are_written_over(photographs, tmp_path, caplog):
    for output, place in ((photographs.parent, photographs.parent / 'gt'), (tmp_path / 'set', tmp_path / 'set/gt/in')):
        shutil.copytree(photographs, place)
        before = files_of(place)
        with pytest.raises(ValueError, match='among the photographs of'):
            make(place, output)
        assert files_of(place) == before
    write_png(tmp_path / 'taken/gt/p1.png', np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r'has gt/p1.png already, which no synthesis has made \(1 such\)'):
        make(photographs, tmp_path / 'taken')
    assert list(files_of(tmp_path / 'taken')) == ['gt/p1.png']


def test_pairs_whose_photograph_is_gone_are_named(photographs, tmp_path, caplog):
    make(photographs, tmp_path / 'out')
    assert not caplog.records
    (photographs / 'p0.png').unlink()
    records, _ = make(photographs, tmp_path / 'out')
    assert len(records) == 2 and '2 files are of pairs that are made no more' in caplog.text
    assert 'gt/p0.png, lq/p0.png' in caplog.text


def test_cdd11_layout_follows_the_recipe_of_its_types(photographs, tmp_path):
    records, _ = make(photographs, tmp_path / 'out', layout='cdd11', recipe=None)
    folders = {path.name for path in (tmp_path / 'out').iterdir() if path.is_dir()}
    assert folders == {'clear', *CDD11_TYPES}
    assert all(
        sorted(p.name for p in (tmp_path / 'out' / f).iterdir()) == ['p0.png', 'p1.png', 'p2.png'] for f in folders
    )
    assert {record['task'] for record in records} == set(CDD11_TYPES)
    own = make(photographs, tmp_path / 'own', layout='cdd11', recipe=[{'degradation': 'cdd11_haze', 'beta': 5}])[0]
    assert {record['steps'][0]['beta'] for record in own if record['task'] == 'haze'} == {5}


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('copies', [1, 3])
def test_no_two_pairs_share_a_degraded_file(layout, copies):
    recipe = synthesis.parse_recipe(RAIN) if layout == 'paired' else None
    if copies > 1 and layout in ('cdd11', 'test5'):
        with pytest.raises(ValueError, match='holds each photograph once'):
            LAYOUTS[layout](['a', 'b'], recipe, copies)
        return
    pairs = LAYOUTS[layout](['a', 'b'], recipe, copies)
    assert len({pair.key for pair in pairs}) == len(pairs)


def test_five_task_layout_has_the_authors_names(photographs, tmp_path):
    records, _ = make(photographs, tmp_path / 'out', layout='train5', recipe=None, copies=2)
    names = set(files_of(tmp_path / 'out'))
    assert {'Denoise/p0.png', 'Derain/gt/norain-6.png', 'Derain/rainy/rain-6.png', 'Dehaze/original/0003.jpg'} <= names
    assert {'Deblur/blur/p1_2.png', 'Deblur/sharp/p1_2.png', 'Enhance/low/p2.png', 'Enhance/gt/p2.png'} <= names
    hazy = [record for record in records if record.get('task') == 'dehaze']
    assert len({record['degraded'] for record in hazy}) == 6
    step = hazy[0]['steps'][0]
    assert hazy[0]['degraded'] == f'Dehaze/synthetic/part1/0001_{step["airlight"]:.2f}_{step["beta"]:.3f}.jpg'


def test_a_record_is_enough_to_make_the_image_again(photographs, tmp_path):
    record = make(photographs, tmp_path / 'out', recipe=[{'degradation': 'jpeg'}])[0][1]
    step = dict(record['steps'][0])
    clean = cv2.imread(str(tmp_path / 'out' / record['clean']))[..., ::-1].astype(np.float32) / 255
    again = apply(step.pop('degradation'), clean, step, np.random.default_rng(0))
    stored = cv2.imread(str(tmp_path / 'out' / record['degraded']))[..., ::-1]
    np.testing.assert_array_equal(np.rint(again * 255), stored)


def test_larger_photographs_are_reduced(photographs, tmp_path):
    make(photographs, tmp_path / 'out', max_side=28, limit=1)
    assert cv2.imread(str(tmp_path / 'out' / 'gt' / 'p0.png')).shape == (20, 28, 3)
    assert not (tmp_path / 'out' / 'gt' / 'p1.png').exists()


def test_a_broken_photograph_is_left_out_by_name(photographs, tmp_path):
    (photographs / 'p1.png').write_bytes(b'\x89PNG\r\n\x1a\nhalf')
    records, failures = make(photographs, tmp_path / 'out')
    assert [record['photograph'] for record in records] == ['p0', 'p2']
    assert len(failures) == 1 and 'p1.png' in failures[0]


def test_a_full_disk_ends_the_run_without_half_files(photographs, tmp_path, monkeypatch):
    def full(path, data):
        with open(path, 'wb') as file:
            file.write(data[:10])
        raise OSError(28, 'No space left on device', str(path))

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(OSError, match='No space left'):
        make(photographs, tmp_path / 'out')
    assert [path for path in (tmp_path / 'out').rglob('*p0*') if path.is_file()] == []


def test_clear_errors(photographs, tmp_path):
    with pytest.raises(ValueError, match='unknown layout .lol.; known are paired'):
        make(photographs, tmp_path / 'out', layout='lol')
    with pytest.raises(ValueError, match='paired needs a recipe'):
        make(photographs, tmp_path / 'out', recipe=None)
    with pytest.raises(ValueError, match='copies: 0'):
        make(photographs, tmp_path / 'out', copies=0)
    with pytest.raises(ValueError, match="task 'derain' has no place in the layout cdd11"):
        make(photographs, tmp_path / 'out', layout='cdd11')
    make(photographs, tmp_path / 'out')
    with pytest.raises(ValueError, match='begun with other settings .seed: 0, now 4.'):
        make(photographs, tmp_path / 'out', seed=4)
    write_png(tmp_path / 'more' / 'p0.png', np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match='would both be called p0'):
        synthesize([photographs, tmp_path / 'more'], tmp_path / 'two', 'paired', recipe=RAIN, jobs=1, progress=False)


def test_the_script_reads_recipes_and_reports_faults(photographs, tmp_path):
    (tmp_path / 'recipe.yml').write_text('datasets: {train: {recipe: [{degradation: [haze, rain]}]}}')

    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}

    def run(*words):
        command = [
            sys.executable,
            '-m',
            'mirage_ir',
            'synthesize',
            'paired',
            '--source',
            str(photographs),
        ]
        command += ['--jobs', '1', *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)

    good = run('--output', 'made here', '--recipe', 'recipe.yml')
    assert good.returncode == 0 and '3 pairs' in good.stdout, good.stderr
    assert len(files_of(tmp_path / 'made here' / 'lq')) == 3
    bad = run('--output', 'other', '--degradation', 'fog')
    assert bad.returncode == 2 and "unknown degradation 'fog'" in bad.stderr and 'Traceback' not in bad.stderr
