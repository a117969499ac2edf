"""Each picture and method is measured once, kept, and shown in tables that say where ours is not better."""

import csv
import json
import math

import numpy as np
import pytest

from mirage_ir.measuring import metrics
from research.classical.methods import Tuned
from research.restoration import measure as restoration_report
from research.restoration import scores as restoration_scores
from research.restoration.scores import (
    BM3D,
    CLASSICAL,
    INPUT,
    OURS,
    ScoreCache,
    SetScores,
    digest,
    file_digest,
    measure_sets,
)
from research.restoration.sets import BenchmarkSet, Picture


class Made(BenchmarkSet):
    """Three pictures with noise, or without."""

    def __len__(self) -> int:
        return 3

    def picture(self, position: int) -> Picture:
        gt = np.kron(np.random.default_rng(position).random((4, 4, 3), np.float32), np.ones((4, 4, 1), np.float32))
        noise = np.random.default_rng(9).normal(0, 0.1, gt.shape).astype(np.float32)
        lq = gt if self.name == 'clean' else np.clip(gt + noise, 0, 1)
        return Picture(f'p{position}', lq, gt, {})


def made(name: str = 'noisy', published: tuple[str, str] | None = None) -> Made:
    return Made(name, name, None, 'made-up pictures', published)


@pytest.fixture
def median(monkeypatch):
    chain = Tuned(({'median': {'size': 3}},), 20.0, 22.0, 4)
    monkeypatch.setattr(restoration_scores, 'tuned', lambda: {'noisy': chain})


def halfway(calls: list) -> object:
    def restore(image: np.ndarray) -> np.ndarray:
        calls.append(1)
        return image * 0.9 + 0.05

    return restore


def test_figures_are_measured_once_and_by_the_papers_metrics(tmp_path, median):
    calls = []
    cache = ScoreCache(tmp_path / 'sub' / 'scores.jsonl')
    options = {'restore': halfway(calls), 'weights': 'a', 'progress': False}
    (scores,) = measure_sets([made()], cache, [CLASSICAL, OURS], **options)
    picture = made().picture(1)
    assert scores.values[INPUT]['001_p1'] == {
        'psnr': metrics.psnr(picture.lq, picture.gt),
        'ssim': metrics.ssim(picture.lq, picture.gt),
        'psnr_line': restoration_scores.line_fitted_psnr(picture.lq, picture.gt),
    }
    assert scores.count(CLASSICAL) == scores.count(OURS) == len(calls) == 3
    assert scores.words[CLASSICAL] == 'median(size 3)'
    (again,) = measure_sets([made()], ScoreCache(cache.path), [CLASSICAL, OURS], **options)
    assert again.values == scores.values and len(calls) == 3
    (other,) = measure_sets([made()], ScoreCache(cache.path), [OURS], **{**options, 'weights': 'b'})
    assert len(calls) == 6
    assert other.count(CLASSICAL) == 3  # not selected, but there


def test_a_method_that_is_not_selected_is_not_computed(tmp_path, median):
    calls = []
    cache = ScoreCache(tmp_path / 'scores.jsonl')
    (scores,) = measure_sets([made()], cache, [CLASSICAL], restore=halfway(calls), progress=False)
    assert not calls and scores.count(OURS) == 0 and scores.mean(OURS, 'psnr') is None


def test_a_line_cut_off_by_a_kill_costs_only_itself(tmp_path):
    cache = ScoreCache(tmp_path / 'scores.jsonl')
    cache.put('a', {'psnr': 1.5}, {'method': 'm'})
    cache.put('b', {'psnr': math.inf}, {})
    whole = cache.path.read_text()
    cache.path.write_text(whole[:-9])
    broken = ScoreCache(cache.path)
    assert broken.get('a') == {'psnr': 1.5} and broken.get('b') is None
    broken.put('c', {'psnr': 2}, {})
    assert ScoreCache(cache.path).get('c') == {'psnr': 2} and ScoreCache(cache.path).get('a') == {'psnr': 1.5}


def test_digests_follow_the_content(tmp_path):
    a = np.zeros((4, 6, 3), np.float32)
    assert digest(a) == digest(a.copy()) and len({digest(a), digest(a.reshape(6, 4, 3)), digest(a + 1)}) == 3
    for name, content in (('x', b'1'), ('y', b'1'), ('z', b'2')):
        (tmp_path / name).write_bytes(content)
    assert file_digest(tmp_path / 'x') == file_digest(tmp_path / 'y') != file_digest(tmp_path / 'z')


def row(name: str, published: tuple[str, str] | None = None, **methods: list[float]) -> SetScores:
    values = {
        method: {f'{i}': {'psnr': value, 'ssim': 0.5} for i, value in enumerate(psnr)}
        for method, psnr in methods.items()
    }
    pictures = max(map(len, methods.values()))
    return SetScores(name, pictures, 'made-up pictures', published, {CLASSICAL: 'median(size 3)'}, values)


def test_the_table_says_where_ours_is_not_better(tmp_path):
    scores = [
        row('CBSD68_25', ('1', 'BSD68_25'), input=[20, 21], classical=[26, 25], bm3d=[30], ours=[29.5, 26.5]),
        row('rain', input=[24, 25], classical=[26, 27], ours=[25, 26.5]),
        row('clean', input=[math.inf, math.inf], ours=[41, 42]),
        row('snow', input=[24, 25]),
    ]
    restoration_report.write_report(tmp_path, scores, {'network': 'nano'})
    lines = (tmp_path / 'restoration.md').read_text().splitlines()
    assert lines[0] == '- network: nano'
    first = lines[: next(i for i, line in enumerate(lines) if 'What the means hide' in line)]
    cells = {parts[1]: parts[2:-1] for line in first if len(parts := [p.strip() for p in line.split('|')]) > 2}
    assert cells['set'] == [
        'pictures',
        'input',
        'classical',
        'BM3D',
        'ours',
        'AirNet (published)',
        'PromptIR (published)',
        'MIRAGE-T (published)',
        'ours - input',
        'ours - classical',
        'ours - BM3D',
    ]
    assert cells['CBSD68_25'] == [
        '2',
        '20.50 / 0.500',
        '25.50 / 0.500',
        '30.00 / 0.500 (1 of 2)',
        '28.00 / 0.500',
        '31.26 / 0.888',
        '31.31 / 0.888',
        '31.40 / 0.892',
        '+7.50',
        '+2.50',
        '**-0.50**',
    ]
    assert cells['rain'][-3:] == ['+1.25', '**-0.75**', '-'] and cells['rain'][5:8] == ['-'] * 3
    assert cells['clean'] == ['2', 'identical', '-', '-', '41.50 / 0.500', *['-'] * 3, 'above 40', '-', '-']
    assert cells['snow'][1:5] == ['24.50 / 0.500', '-', '-', '-']
    assert any(line == '- rain: classical: median(size 3)' for line in lines)


def test_csv_and_json_hold_the_same_figures(tmp_path):
    scores = [row('rain', input=[24, 25], ours=[25, 26.5]), row('clean', input=[math.inf] * 2, ours=[39, 40])]
    restoration_report.write_report(tmp_path, scores, {})
    with open(tmp_path / 'restoration.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [(r['set'], r['method'], float(r['psnr'])) for r in rows][:2] == [
        ('rain', 'input', 24.5),
        ('rain', 'ours', 25.75),
    ]
    sets = json.loads((tmp_path / 'restoration.json').read_text())['sets']
    assert sets[0]['methods']['ours']['each']['1'] == {'psnr': 26.5, 'ssim': 0.5}
    assert sets[1]['methods']['input']['psnr'] is None
    assert '**not above 40**' in (tmp_path / 'restoration.md').read_text()


def test_a_picture_that_came_back_unchanged_hides_no_other(tmp_path):
    scores = [
        row('clean', input=[math.inf] * 3, ours=[math.inf, 22.5, 41.5]),
        row('rain', input=[math.inf, 24, 25], ours=[30, 26, 28]),
    ]
    restoration_report.write_report(tmp_path, scores, {})
    text = (tmp_path / 'restoration.md').read_text()
    assert '| clean | 3 | identical | 32.00 / 0.500 (1 identical) | **not above 40** |' in text
    assert '| rain | 3 | 24.50 / 0.500 (1 identical) | 28.00 / 0.500 | +2.50 |' in text  # 27 beside 24.5
    clean = json.loads((tmp_path / 'restoration.json').read_text())['sets'][0]['methods']['ours']
    assert clean['psnr'] == 32 and clean['identical'] == 1


def test_bm3d_may_see_every_other_picture(tmp_path, monkeypatch, median):
    bm3d = restoration_scores.Method(BM3D, 'quick', lambda picture: picture.gt * 0.5)
    original = restoration_scores.methods_of
    monkeypatch.setattr(restoration_scores, 'methods_of', lambda *args: [*original(*args), bm3d])
    (scores,) = measure_sets([made()], ScoreCache(tmp_path / 's'), [BM3D], bm3d_every=2, progress=False)
    assert list(scores.values[BM3D]) == ['000_p0', '002_p2'] and CLASSICAL not in scores.values
    expected = np.mean([v['psnr'] for k, v in scores.values[INPUT].items() if k != '001_p1'])
    assert scores.mean(INPUT, 'psnr', among=BM3D) == pytest.approx(expected)


def test_pictures_are_saved_side_by_side(tmp_path, median):
    list(
        measure_sets(
            [made()],
            ScoreCache(tmp_path / 's'),
            [OURS],
            restore=halfway([]),
            sheets=tmp_path / 'sheets',
            sheet_every=2,
            progress=False,
        )
    )
    assert sorted(p.name for p in (tmp_path / 'sheets' / 'noisy').iterdir()) == ['p0.jpg', 'p2.jpg']
