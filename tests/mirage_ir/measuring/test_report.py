import json
import math

import pytest

from mirage_ir.measuring.report import (
    ImageScore,
    Row,
    load_result,
    mean_values,
    rows_of,
    table,
    update_csv,
    write_results,
)

ROWS = [Row('Rain100L', 'derain', 100, {'psnr': 38.25, 'ssim': 0.983}), Row('SOTS', 'dehaze', 500, {'psnr': 31.35})]


def test_scores_are_averaged_by_task_in_the_order_of_the_images():
    scores = [
        ImageScore(2, 'c', 'rain', {'psnr': 30.0}),
        ImageScore(0, 'a', 'haze', {'psnr': 20.0}),
        ImageScore(1, 'b', 'rain', {'psnr': 31.0}),
    ]
    assert rows_of('set', scores) == [Row('set', 'haze', 1, {'psnr': 20.0}), Row('set', 'rain', 2, {'psnr': 30.5})]


def test_means_skip_what_is_missing_and_keep_infinity():
    assert mean_values([{'psnr': 1.0, 'ssim': 0.5}, {'psnr': 2.0}]) == {'psnr': 1.5, 'ssim': 0.5}
    assert mean_values([{'psnr': math.inf}, {'psnr': 2.0}])['psnr'] == math.inf


def test_table_shows_every_row_the_average_and_the_best():
    best = {'SOTS': {'psnr': {'better': 'higher', 'val': 31.4, 'iter': 900}, 'ssim': {'val': -math.inf, 'iter': -1}}}
    lines = table(ROWS, best).splitlines()
    assert [line.split() for line in lines[:4]] == [
        ['data', 'set', 'task', 'images', 'psnr', 'ssim'],
        ['Rain100L', 'derain', '100', '38.2500', '0.9830'],
        ['SOTS', 'dehaze', '500', '31.3500', '-'],
        ['average', '600', '34.8000', '0.9830'],
    ]
    assert lines[4:] == ['best of SOTS: psnr 31.4000 @ 900']
    assert len({len(line) for line in lines[:4]}) == 1


def test_csv_keeps_exact_values_and_names_a_foreign_file(tmp_path):
    path = tmp_path / 'validation.csv'
    value = 0.1 + 0.2
    update_csv(str(path), 5, [Row('a', 't', 1, {'psnr': value})])
    update_csv(str(path), 5, [Row('b', 't', 1, {'psnr': 1.0})])
    assert path.read_text() == f'iter,dataset,task,metric,value\n5,a,t,psnr,{value!r}\n5,b,t,psnr,1.0\n'
    path.write_text('something else\nentirely\n')
    with pytest.raises(ValueError, match=r'validation.csv: the first line must be iter,dataset'):
        update_csv(str(path), 10, ROWS)


def test_results_are_json_whatever_the_figures(tmp_path):
    def refuse(name):
        raise AssertionError(f'{name} is not JSON')

    rows = [Row('same', 't', 1, {'psnr': math.inf, 'ssim': 1.0}), Row('odd', 't', 1, {'psnr': math.nan, 'ssim': 0.5})]
    write_results(str(tmp_path), 'run', None, {'crop_multiple': {'same': 0, 'odd': 16}}, rows)
    content = json.loads((tmp_path / 'results.json').read_text(), parse_constant=refuse)
    assert [row['psnr'] for row in content['rows']] == ['inf', None]
    scores = load_result(tmp_path).scores
    assert scores['same']['psnr'] == math.inf and math.isnan(scores['odd']['psnr'])
