import csv
import io
import json
import os

import pytest

from mirage_ir.commands.table import main as table_command
from mirage_ir.measuring import report, tables

FIVE = ('SOTS', 'Rain100L', 'BSD68_25', 'GoPro', 'LOL')
FLOAT = {'psnr': {'type': 'psnr_float'}, 'ssim': {'type': 'ssim_float'}}


def _write(folder, scores, name='run', metrics=None, **protocol):
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{'dataset': d, 'task': 't', 'images': 3, **values} for d, values in scores.items()]
    protocol = {'metrics': metrics or FLOAT, **protocol}
    content = {'name': name, 'protocol': protocol, 'weights': 'w.pth', 'params_m': 5.8123, 'rows': rows}
    (folder / 'results.json').write_text(json.dumps(content))
    return folder


def _five(folder, psnr=30.0, **kwargs):
    return _write(folder, {name: {'psnr': psnr + i, 'ssim': 0.9} for i, name in enumerate(FIVE)}, **kwargs)


def test_published_averages_follow_from_their_rows():
    misprinted = {('1', 'NDR', 'psnr')}
    checked = set()
    for table in tables.published_tables():
        if len(table.columns) < 2 or 'average' not in table.columns:
            continue
        for row in table.rows:
            for metric, average in row.scores['average'].items():
                values = [row.scores[c][metric] for c in table.columns[:-1] if metric in row.scores[c]]
                error = abs(sum(values) / len(values) - average)
                assert (error > {'psnr': 0.016, 'ssim': 0.0016}[metric]) == (
                    (table.number, row.method, metric) in misprinted
                ), (table.number, row.method, metric, error)
                checked.add(table.number)
    assert checked == {'1', '2', '3', '4'}


def test_the_figures_to_reach_are_there():
    expected = {
        ('1', 'MIRAGE-S', 'Rain100L'): (38.94, 0.985),
        ('2', 'MIRAGE-T', 'average'): (30.41, 0.912),
        ('3', 'MIRAGE-T', 'average'): (28.86, 0.883),
        ('4', 'MIRAGE-S', 'Snow100K-S'): (37.97, 0.973),
        ('5', 'MIRAGE-S', 'UIEB'): (17.29, 0.773),
        ('B(c)', 'MIRAGE-T', 'BSD68_50'): (28.36, 0.808),
        ('7', 'att-only', 'average'): (32.23, 0.912),
        ('C', 'w/o Fourier Loss', 'average'): (32.70, 0.917),
    }
    for (number, method, column), figures in expected.items():
        scores = tables.published_table(number).row(method).scores[column]
        assert (scores['psnr'], scores['ssim']) == figures
    assert tables.published_table('d').row('MIRAGE-S').scores['POLED']['lpips'] == 0.5
    assert tables.published_table('6').row('MIRAGE-T').scores['224x224']['memory_mb'] == 3729
    assert [len(tables.published_table(n).rows) for n in ('1', '2', '3', '4', '5', '6')] == [20, 21, 8, 12, 8, 8]


def test_a_result_finds_its_table_and_average(tmp_path):
    result = report.load_result(_five(tmp_path))
    table = tables.table_for(result)
    row = tables.own_row(result, table)
    assert table.number == '2'
    assert row.scores['average'] == pytest.approx({'psnr': 32.0, 'ssim': 0.9})
    difference = tables.difference(row, table.row('MIRAGE-T'))
    assert difference.scores['GoPro']['psnr'] == pytest.approx(33 - 27.98)
    three = _write(tmp_path / 'a', {c: {'psnr': 30.0} for c in tables.published_table('1').columns[:5]})
    ablation = tables.own_row(report.load_result(three), tables.published_table('7'))
    assert ablation.scores['average'] == {'psnr': 30.0}


def test_tasks_of_one_data_set_become_columns(tmp_path):
    rows = [{'dataset': 'BSD68', 'task': f'denoise_{s}', 'images': 68, 'psnr': float(s)} for s in (15, 25, 50)]
    (tmp_path / 'results.json').write_text(json.dumps({'name': 'n', 'rows': rows, 'protocol': {}}))
    result = report.load_result(tmp_path)
    assert result.scores == {f'BSD68_{s}': {'psnr': float(s)} for s in (15, 25, 50)}
    assert tables.table_for(result).number == 'B(c)'


def test_a_missing_data_set_leaves_no_average(tmp_path):
    result = report.load_result(_write(tmp_path, {name: {'psnr': 30.0, 'ssim': 0.9} for name in FIVE[:4]}))
    assert tables.own_row(result, tables.published_table('2')).scores['average'] == {}


def test_another_definition_is_not_compared(tmp_path):
    kinds = {'psnr': {'type': 'psnr_float'}, 'ssim': {'type': 'calculate_ssim'}}
    result = report.load_result(_five(tmp_path, 50.0, metrics=kinds, crop_multiple=0))
    table = tables.table_for(result)
    row = tables.own_row(result, table)
    assert row.incomparable == ('ssim',)
    best = tables.best_cells([*table.rows, row], table)
    assert ('SOTS', 'psnr', 50.0) in best and ('SOTS', 'ssim', 0.98) in best
    assert set(tables.difference(row, table.row('MIRAGE-T')).scores['SOTS']) == {'psnr'}
    notes = ' '.join(tables.protocol_notes([result], table))
    assert 'not the published test sets, to judge by the number of images: SOTS 3 of 500, Rain100L 3 of 100' in notes
    assert (
        'ssim by calculate_ssim' in notes
        and 'not compared' in notes
        and 'whole images; the paper: cropped to multiples of 16' in notes
    )


def test_another_metric_can_be_chosen(tmp_path):
    scores = {name: {'psnr': 1.0, 'psnr_y': 2.0} for name in tables.published_table('4').data_sets}
    kinds = {'psnr': {'type': 'psnr_float'}, 'psnr_y': {'type': 'calculate_psnr', 'test_y_channel': True}}
    result = report.load_result(_write(tmp_path, scores, metrics=kinds))
    table = tables.table_for(result)
    assert table.number == '4'
    assert tables.own_row(result, table, {'psnr': 'psnr_y'}).scores['average'] == {'psnr': 2.0}
    assert 'test_y_channel True' in tables.protocol_notes([result], table, {'psnr': 'psnr_y'})[1]
    with pytest.raises(ValueError, match="no metric 'psnr_z'"):
        tables.own_row(result, table, {'psnr': 'psnr_z'})


def _texts(tmp_path):
    result = report.load_result(_five(tmp_path, 50.0, name='my_run'))
    table = tables.table_for(result)
    own = tables.own_row(result, table)
    difference = tables.difference(own, table.row('MIRAGE-T'))
    notes = tables.protocol_notes([result], table)
    return {k: make(table, [*table.rows, own], [difference], notes) for k, make in tables.FORMATS.items()}


def test_texts(tmp_path):
    texts = _texts(tmp_path)
    lines = texts['markdown'].splitlines()
    assert '| **my_run** (incomplete test sets) | | 5.812 | **50.00** / 0.900 |' in texts['markdown']
    assert any('MIRAGE-S' in line and '38.92 / **0.985**' in line for line in lines)
    assert any('my_run - MIRAGE-T' in line and '+18.65 / -0.079' in line for line in lines)
    assert 'InstructIR-5D (assisted) | ECCV 2024 | 16 | 36.84 / 0.973' in texts['markdown']
    widths = {line.count('|') for line in lines if line.startswith('|')}
    assert widths == {10}
    assert r'my\_run' in texts['latex'] and r'\textbf{50.00}' in texts['latex']
    assert {line.count('&') for line in texts['latex'].splitlines() if line.endswith(r'\\')} == {14, 8}
    body = [line for line in texts['csv'].splitlines() if not line.startswith('#')]
    table = list(csv.DictReader(io.StringIO('\n'.join(body))))
    own = next(row for row in table if row['kind'] == 'own')
    assert own['average:psnr'] == '52' and 'average:psnr' in own['best']
    assert [row['kind'] for row in table].count('assisted') == 4


def test_what_was_incomplete_stands_in_two_words_in_the_row_and_in_lines_below(tmp_path, capsys):
    _five(tmp_path, 50.0, name='my_run')
    file = tmp_path / 'results.json'
    content = json.loads(file.read_text())
    content['protocol'] |= {
        'trained on incomplete data': 'left out: dehaze; derain has 2 of the 200 samples of Rain100L',  # as before
        'incomplete test sets': ['SOTS 120 of 500', 'a|b\n# 1 of 2'],
    }
    file.write_text(json.dumps(content))
    caveats = ['incomplete training data', 'incomplete test sets']
    texts = {}
    for kind in ('markdown', 'csv', 'latex'):
        assert table_command([str(tmp_path), '--format', kind]) == 0
        texts[kind] = capsys.readouterr().out
    assert f'| **my_run** ({", ".join(caveats)}) | |' in texts['markdown']
    below = """- my_run: trained on incomplete data:
  - left out: dehaze
  - derain has 2 of the 200 samples of Rain100L
- my_run: incomplete test sets:
  - SOTS 120 of 500
  - a|b\\x0a# 1 of 2
"""
    assert below in texts['markdown'] and max(map(len, texts['markdown'].splitlines())) < 260
    assert '#   derain has 2 of the 200 samples of Rain100L\n' in texts['csv']
    lines = [line for line in texts['csv'].splitlines() if not line.startswith('#')]
    own = next(row for row in csv.DictReader(lines) if row['kind'] == 'own')
    assert own['method'] == 'my_run' and own['note'] == '; '.join(caveats)
    assert f'my\\_run ({", ".join(caveats)}) &' in texts['latex']
    assert table_command([str(tmp_path), '--json']) == 0
    (table,) = json.loads(capsys.readouterr().out)
    assert next(row for row in table['rows'] if row['own'])['caveats'] == caveats
    assert '  SOTS 120 of 500' in table['notes']


def test_a_table_is_not_written_over_what_it_reads_nor_read_from_a_pipe(tmp_path, capsys):
    file = _five(tmp_path) / 'results.json'
    before = file.read_bytes()
    os.mkfifo(tmp_path / 'pipe')
    for words, said in (([str(tmp_path), '--out', str(file)], 'is what is read'), ([str(tmp_path / 'pipe')], 'a pipe')):
        with pytest.raises(SystemExit) as stop:
            table_command(words)
        assert stop.value.code == 2 and said in capsys.readouterr().err and file.read_bytes() == before


def test_names_cannot_break_a_table():
    table = tables.markdown_table(['method', 'a|b'], [['x\ny', '\x1b[2J|']])
    assert table == '| method | a\\|b |\n|---|---|\n| x\\x0ay | \\x1b[2J\\| |'


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match='results.json: not found'):
        report.load_result(tmp_path)
    (tmp_path / 'results.json').write_text('{"rows": 3}')
    with pytest.raises(ValueError, match='not the results of a test run'):
        report.load_result(tmp_path)
    whole = json.loads(_write(tmp_path, {'SOTS': {'psnr': 1.0}}).joinpath('results.json').read_text())
    for change in (
        {'protocol': [1]},
        {'protocol': {'metrics': {'psnr': 3}}},
        {'params_m': 'x'},
        {'rows': [{'dataset': 'SOTS', 'images': 'many', 'psnr': 1.0}]},
        {'rows': [{'dataset': 'SOTS', 'images': 1, 'psnr': 1.0}] * 2},
    ):
        (tmp_path / 'results.json').write_text(json.dumps({**whole, **change}))
        with pytest.raises(ValueError, match='results.json: not the results of a test run'):
            report.load_result(tmp_path)
    with pytest.raises(ValueError, match='no table has the data sets cats; known names: .*CDD11_haze'):
        tables.table_for(report.load_result(_write(tmp_path, {'cats': {'psnr': 1.0}})))
    with pytest.raises(ValueError, match="no table '9'; there are 1, 2"):
        tables.published_table('9')
    with pytest.raises(ValueError, match="no method 'X'; it has SwinIR"):
        tables.published_table('5').row('X')
