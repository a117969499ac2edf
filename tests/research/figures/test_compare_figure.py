import json

import cv2
import numpy as np
import pytest

from mirage_ir.measuring import report
from research.figures import compare as compare_figure


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(0)
    for name, files in (('in', ('rain-1', 'rain-2')), ('ours', ('rain-1_run', 'rain-2_run')), ('gt', ('1', '2'))):
        (tmp_path / name).mkdir()
        for stem in files:
            prefix = 'norain-' if name == 'gt' else ''
            cv2.imwrite(str(tmp_path / name / f'{prefix}{stem}.png'), rng.integers(0, 256, (24, 32, 3), np.uint8))
    return tmp_path


def test_pictures_of_folders(folders, capsys):
    call = [
        'pictures',
        '--input',
        str(folders / 'in'),
        '--method',
        f'ours={folders / "ours"}',
        '--gt',
        str(folders / 'gt'),
        '--pairing',
        'rain100l',
        '--out',
        str(folders / 'out'),
        '--dpi',
        '40',
    ]
    assert compare_figure.main([*call, '--only', 'rain-2']) == 0
    assert sorted(p.name for p in (folders / 'out').iterdir()) == ['rain-2.pdf', 'rain-2.png']
    for more, message in (
        (['--only', 'rain-3'], 'no picture rain-3'),
        (['--limit', '0'], '1 or more'),
        (['--crop', '30,0,8,8'], 'rain-1.png: crop 30,'),
        (['--method', 'gt'], 'NAME=DIR'),
        (['--method', f'b={folders / "gt"}'], 'named rain-1 or'),
    ):
        assert compare_figure.main([*call, *more]) == 2
        assert message in capsys.readouterr().err


def test_summary_puts_own_results_among_the_published(folders):
    rows = [
        {'dataset': name, 'task': 't', 'images': 3, 'psnr': 30.0 + i, 'ssim': 0.9}
        for i, name in enumerate(('SOTS', 'Rain100L', 'BSD68_25', 'GoPro', 'LOL'))
    ]
    (folders / 'results.json').write_text(json.dumps({'name': 'mine', 'rows': rows}))
    out = folders / 'summary'
    assert (
        compare_figure.main(
            ['summary', str(folders), '--tables', '5', '--out', str(out), '--formats', 'png', '--dpi', '40']
        )
        == 0
    )
    assert cv2.imread(f'{out}.png').std() > 1
    pairs = compare_figure.averages('2', [report.load_result(folders)], best=1)
    assert [row.method for row, _ in pairs] == ['MIRAGE-T', 'MIRAGE-S', 'mine†'], 'three images are not the test sets'
    assert pairs[-1][1]['psnr'] == pytest.approx(32)
    figure = compare_figure.summary([report.load_result(folders)], best=1)
    assert [bar.get_width() for bar in figure.axes[0].patches] == [pair[1]['psnr'] for pair in pairs]


def test_summaries_without_an_average_are_refused(folders, capsys):
    rows = [{'dataset': name, 'task': 't', 'images': 3, 'psnr': 30.0, 'ssim': 0.9} for name in ('SOTS', 'GoPro', 'LOL')]
    (folders / 'results.json').write_text(json.dumps({'name': 'part', 'rows': rows}))
    for words, message in (
        ([str(folders)], 'part: no average for Table 2'),
        (['--tables', 'D'], 'has no average'),
        ([], 'at least one'),
    ):
        assert compare_figure.main(['summary', *words, '--out', str(folders / 'x')]) == 2
        assert message in capsys.readouterr().err
