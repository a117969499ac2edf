import json
import shutil

import cv2
import numpy as np
import pytest

from mirage_ir.commands import evaluate, table
from mirage_ir.measuring import folders as evaluation
from mirage_ir.measuring import metrics


def _folders(tmp_path, size=(37, 51), cropped=False, suffix=''):
    rng = np.random.default_rng(0)
    images = {}
    for side in ('restored', 'gt'):
        (tmp_path / side).mkdir()
    for name in ('a', 'b.c'):
        gt = rng.integers(0, 256, (*size, 3), np.uint8)
        restored = np.clip(gt + rng.normal(0, 9, gt.shape), 0, 255).astype(np.uint8)
        images[name] = (restored / 255, gt / 255)
        shown = restored[2:34, 1:49] if cropped else restored
        cv2.imwrite(str(tmp_path / 'restored' / f'{name}{suffix}.png'), shown[..., ::-1])
        cv2.imwrite(str(tmp_path / 'gt' / f'{name}.png'), gt[..., ::-1])
    return tmp_path / 'restored', tmp_path / 'gt', images


@pytest.mark.parametrize('cropped', [False, True])
def test_figures_are_those_of_the_metrics(tmp_path, cropped):
    restored, gt, images = _folders(tmp_path, cropped=cropped, suffix='_done')
    result = evaluation.evaluate_folders(restored, gt, ('psnr', 'ssim'), suffix='_done')
    assert list(result.images) == ['a_done.png', 'b.c_done.png']
    for (a, b), values in zip(images.values(), result.images.values(), strict=True):
        a, b = (x[2:34, 1:49].astype(np.float32) for x in (a, b))
        assert values == pytest.approx({'psnr': metrics.psnr(a, b), 'ssim': metrics.ssim(a, b)}, abs=1e-5)
    assert result.mean['psnr'] == pytest.approx(np.mean([v['psnr'] for v in result.images.values()]))
    whole = evaluation.evaluate_folders(shutil.copytree(gt, tmp_path / 'same'), gt, ['psnr'], crop_multiple=1)
    assert whole.mean['psnr'] == float('inf')


def test_files_without_a_partner_are_named(tmp_path):
    restored, gt, _ = _folders(tmp_path)
    (gt / 'a.png').unlink()
    assert evaluation.evaluate_folders(restored, gt).unpaired == ('a.png',)


def test_what_was_left_out_stands_in_the_results(tmp_path, capsys):
    restored, gt, _ = _folders(tmp_path)
    (restored / 'a.png').unlink()
    assert evaluate.main(['--restored', str(restored), '--gt', str(gt), '--json', str(tmp_path / 'out')]) == 0
    content = json.loads((tmp_path / 'out/results.json').read_text())
    assert content['protocol']['incomplete test sets'] == ['gt: 1 pictures without a partner']


def test_a_picture_is_never_its_own_ground_truth_nor_one_of_two_of_a_name(tmp_path):
    restored, gt, _ = _folders(tmp_path)
    with pytest.raises(ValueError, match='a.png is its own ground truth'):
        evaluation.evaluate_folders(gt, tmp_path / 'restored' / '..' / 'gt')
    cv2.imwrite(str(restored / 'a.jpg'), cv2.imread(str(restored / 'a.png')))
    with pytest.raises(ValueError, match='a.jpg and a.png have one ground truth'):
        evaluation.evaluate_folders(restored, gt)


def test_results_of_a_test_run_are_not_replaced(tmp_path, capsys):
    restored, gt, _ = _folders(tmp_path)
    out = tmp_path / 'out'
    command = ['--restored', str(restored), '--gt', str(gt), '--json', str(out)]
    assert evaluate.main(command) == 0 and evaluate.main(command) == 0  # its own it replaces
    content = json.loads((out / 'results.json').read_text())
    (out / 'results.json').write_text(json.dumps({**content, 'weights': 'net_g_latest.pth'}))
    with pytest.raises(SystemExit):
        evaluate.main(command)
    assert 'holds the results of a test run' in capsys.readouterr().err


@pytest.mark.parametrize('wrong', [['--name', '../x'], ['--name', 'a\nb'], ['--json', 'a.png']])
def test_results_go_nowhere_else_and_are_refused_before_they_are_measured(tmp_path, monkeypatch, capsys, wrong):
    restored, gt, _ = _folders(tmp_path)
    monkeypatch.chdir(gt)
    with pytest.raises(SystemExit) as stop:
        evaluate.main(['--restored', str(restored), '--gt', str(gt), '--json', str(tmp_path / 'out'), *wrong])
    assert stop.value.code == 2 and wrong[0] in capsys.readouterr().err and not (tmp_path / 'x').exists()


def test_without_ground_truth_naturalness_only(tmp_path):
    restored, gt, images = _folders(tmp_path, size=(100, 200))
    result = evaluation.evaluate_folders(restored, None, ['niqe'], crop_multiple=1)
    assert result.images['a.png']['niqe'] == pytest.approx(metrics.naturalness(images['a'][0]))
    with pytest.raises(ValueError, match='psnr need a ground truth'):
        evaluation.evaluate_folders(restored, None, ['niqe', 'psnr'])


def test_bad_input(tmp_path):
    restored, gt, _ = _folders(tmp_path)
    with pytest.raises(ValueError, match='metrics psmr: allowed are psnr'):
        evaluation.evaluate_folders(restored, gt, ['psmr'])
    with pytest.raises(ValueError, match="ends? in '_x'"):
        evaluation.evaluate_folders(restored, gt, suffix='_x')
    with pytest.raises(ValueError, match='crop_multiple is 0'):
        evaluation.evaluate_folders(restored, gt, crop_multiple=0)
    cv2.imwrite(str(gt / 'a.png'), np.zeros((40, 60, 3), np.uint8))
    with pytest.raises(ValueError, match=r'a\.png has 51x37 pixels, its ground truth .*60x40'):
        evaluation.evaluate_folders(restored, gt)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='no pictures'):
        evaluation.evaluate_folders(tmp_path / 'empty', gt)
    with pytest.raises(ValueError, match='has a ground truth'):
        evaluation.evaluate_folders(restored, tmp_path / 'empty')


def test_the_commands_from_another_directory(tmp_path, monkeypatch):
    """Pictures to results.json to table, through the two commands."""
    restored, gt, _ = _folders(tmp_path)
    out = tmp_path / 'my results'
    monkeypatch.chdir(tmp_path)
    assert evaluate.main(['--restored', restored.name, '--gt', gt.name, '--name', 'UIEB', '--json', str(out)]) == 0
    assert json.loads((out / 'results.json').read_text())['rows'][0]['images'] == 2
    assert table.main([str(out), '--out', 't.md']) == 0
    text = (tmp_path / 't.md').read_text()
    assert '**my results**' in text and 'MoCE-IR' in text and 'UIEB 2' in text


def test_the_commands_explain_what_is_wrong(tmp_path, capsys):
    assert evaluate.main(['--restored', str(tmp_path), '--gt', str(tmp_path)]) == 1
    assert table.main([str(tmp_path)]) == 1
    for words in ([], ['--table', '1', '--metric', 'psnr']):
        with pytest.raises(SystemExit, match='2'):
            table.main(words)
    errors = capsys.readouterr().err
    assert 'no pictures' in errors and 'results.json: not found' in errors
    assert 'name at least one result' in errors and 'COLUMN=KEY' in errors


@pytest.mark.parametrize('style', ['{n}_my_run', '{i:05d}_{n}_my_run', '{n}', 'x/{n}_my_run'])
def test_pictures_of_our_own_test_runs_are_found_by_their_names(tmp_path, style):
    rng = np.random.default_rng(0)
    for number, name in enumerate(['rain-1', 'rain_2_b', '00007_c']):
        image = rng.integers(0, 256, (16, 16, 3), np.uint8)
        for place in (tmp_path / 'gt' / f'{name}.png', tmp_path / 'out' / f'{style.format(i=number, n=name)}.png'):
            if style.startswith('x/'):
                place = place if 'out' in place.parts else tmp_path / 'gt' / 'x' / place.name
            place.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(place), image)
    result = evaluation.evaluate_folders(tmp_path / 'out', tmp_path / 'gt', ['psnr'])
    assert not result.unpaired
    assert [value['psnr'] for value in result.images.values()] == [float('inf')] * 3


def test_own_rules_pair_restored_pictures_on_the_command_line(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name, folder in (('1_real_out', 'out'), ('1_mean', 'gt'), ('1_real_out', 'gt')):
        (tmp_path / folder).mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / folder / f'{name}.png'), rng.integers(0, 256, (16, 16, 3), np.uint8))
    options = ['--restored', str(tmp_path / 'out'), '--gt', str(tmp_path / 'gt'), '--pairing']
    assert evaluate.main([*options, r'(.+)_real_out=\1_mean']) == 0
    out = capsys.readouterr().out
    assert '1_real_out.png  psnr' in out and 'inf' not in out
