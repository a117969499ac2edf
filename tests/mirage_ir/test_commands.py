"""Every command of ``mirage-basicsr``: a line in the table, a file, a help with an example, the codes for wrong use."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mirage_arch.checkpoints import load_weights
from mirage_ir import commands, doctor
from mirage_ir.cli import COMMANDS, main
from mirage_restore.bundled import bundled_weights

NAMES = [name for name, _, _ in COMMANDS]


def test_every_file_of_a_command_has_a_line():
    files = {path.stem for path in Path(commands.__file__).parent.glob('*.py')} - {'__init__'}
    assert files == {place.partition('.')[0] for _, place, _ in COMMANDS}


@pytest.mark.parametrize('name', NAMES)
def test_help_shows_an_example_and_the_exit_codes(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, '--help'])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert re.search(rf'^ *mirage-basicsr {name}\b', text, re.MULTILINE) and commands.EXIT_CODES in text


@pytest.mark.parametrize('name', NAMES)
def test_an_unknown_option_is_wrong_use(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, '--no-such-option'])
    assert ended.value.code == 2
    assert f'mirage-basicsr {name}' in capsys.readouterr().err


@pytest.mark.parametrize('name', [name for name in NAMES if name not in ('train', 'test')])
def test_a_program_can_read_what_a_command_finds(name, capsys):
    with pytest.raises(SystemExit):
        main([name, '--help'])
    assert '--json' in capsys.readouterr().out


WRONG = {
    'doctor': ['--json', 'absent'],
    'prepare': ['absent', '--source', '.'],
    'check-data': ['--train', 'absent'],
    'synthesize': ['paired', '--source', 'absent', '--output', 'out'],
    'check': ['-opt', 'absent.yml'],
    'train': ['-opt', 'absent.yml'],
    'test': ['-opt', 'absent.yml'],
    'evaluate': ['--restored', 'absent', '--gt', '.'],
    'table': ['absent'],
    'curves': ['absent'],
    'convert': ['absent.pth', 'out.pth'],
    'export': ['absent.pth', 'out.onnx'],
    'cost': ['--opt', 'absent.yml'],
    'link': ['absent'],
    'unlink': ['absent'],
}
"""Words that cannot be meant."""

BROKEN = {
    'prepare': ['lol', '--source', 'broken.zip'],
    'evaluate': ['--restored', 'pictures', '--gt', 'pictures'],
    'table': ['broken.json'],
    'curves': ['pictures'],
    'convert': ['broken.pth', 'out.pth'],
    'export': ['broken.pth', 'out.onnx'],
    'cost': ['--opt', 'broken.yml', '--count-only'],
    'synthesize': ['paired', '--source', 'pictures', '--output', 'out', '--degradation', 'jpeg', '--jobs', '1'],
    'link': ['pictures'],
    'unlink': ['pictures'],
}
"""Files that are there and cannot be used."""


def exit_code(words):
    try:
        return main(words)
    except SystemExit as ended:
        return ended.code


@pytest.mark.parametrize('name', NAMES)
def test_wrong_use_is_2_and_writes_nothing(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert exit_code([name, *WRONG[name]]) == 2
    captured = capsys.readouterr()
    assert 'absent' in captured.out + captured.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'words',
    [
        ['evaluate', '--restored', '.', '--gt', '.', '--crop-border', '-1'],
        ['cost', '--count-only', '--size', '-5', '8'],
        ['cost', '--variant', 'tiny', '--repeats', '0'],
        ['check-data', '--train', '.', '--workers', '0'],
    ],
    ids=lambda words: words[0] + words[-2],
)
def test_numbers_that_cannot_be_meant_are_2_and_named(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert exit_code(words) == 2
    flag = next(word for word in reversed(words) if word.startswith('--'))
    assert f'error: {flag} ' in capsys.readouterr().err


@pytest.mark.parametrize('name', BROKEN)
def test_a_failure_is_1(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'pictures').mkdir()
    for file in ('broken.zip', 'broken.json', 'broken.pth', 'broken.yml', 'pictures/broken.png'):
        (tmp_path / file).write_bytes(b'broken')
    assert exit_code([name, *BROKEN[name]]) == 1
    error = capsys.readouterr().err
    assert ('broken' in error or 'pictures' in error) and 'Traceback' not in error


@pytest.mark.parametrize('words', [['prepare', '--list'], ['table', '--table', '1'], ['cost', '--count-only']])
def test_json_is_all_that_is_printed(words, capsys):
    assert main([*words, '--json']) == 0
    found = json.loads(capsys.readouterr().out)
    assert found and isinstance(found, list)
    if words[0] == 'cost':
        tiny = found[0]
        assert tiny['network'] == 'MIRAGE tiny' and 5e6 < tiny['parameters'] < tiny['products'] < tiny['multiply_adds']


def test_a_table_as_json_goes_to_its_file(tmp_path, capsys):
    assert main(['table', '--table', '1', '--json']) == 0
    printed = json.loads(capsys.readouterr().out)
    assert main(['table', '--table', '1', '--json', '--out', str(tmp_path / 'table.json')]) == 0
    assert json.loads((tmp_path / 'table.json').read_text()) == printed and not capsys.readouterr().out


def test_convert_and_evaluate_as_json(tmp_path, capsys):
    out = tmp_path / 'nano.pth'
    assert main(['convert', str(bundled_weights()), str(out), '--json']) == 0
    made = json.loads(capsys.readouterr().out)
    assert made['file'] == str(out) and made['arguments']['dim'] == 12 and made['parameters'] > 7e5
    for folder in ('restored', 'gt'):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / 'a.png'), np.full((32, 32, 3), 99, np.uint8))
    words = ['--restored', str(tmp_path / 'restored'), '--gt', str(tmp_path / 'gt')]
    assert main(['evaluate', *words, '--json', '-']) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures['mean']['ssim'] == pytest.approx(1) and figures['mean']['psnr'] == 'inf', 'JSON has no number for it'


def test_convert_keeps_what_it_reads_and_writes_no_weights_that_nobody_takes(tmp_path, capsys):
    weights, half = tmp_path / 'w.pth', tmp_path / 'half.pth'
    assert main(['convert', str(bundled_weights()), str(weights)]) == 0
    before = weights.read_bytes()
    with pytest.raises(SystemExit) as stop:
        main(['convert', str(weights), str(tmp_path / '..' / tmp_path.name / 'w.pth'), '--no-head'])
    assert stop.value.code == 2 and 'is what is read' in capsys.readouterr().err and weights.read_bytes() == before
    content = torch.load(weights)
    name = next(name for name in content['params'] if name.endswith('running_var'))
    for value, words, said in ((1e6, ['--half'], 'not written'), (-1.0, [], 'variances below 0')):
        content['params'][name].fill_(value)
        torch.save(content, weights)
        assert main(['convert', str(weights), str(half), *words]) == 1 and not half.exists()
        assert name in (error := capsys.readouterr().err) and said in error


def test_convert_makes_the_folder_and_names_the_file_that_it_cannot_use(tmp_path, capsys):
    out = tmp_path / 'made' / 'here' / 'w.safetensors'
    assert main(['convert', str(bundled_weights()), str(out)]) == 0
    assert [path.name for path in out.parent.iterdir()] == ['w.safetensors'] and str(out) in capsys.readouterr().out
    part, text, absent = tmp_path / 'part.pth', tmp_path / 'base.yml', tmp_path / 'absent' / 'x.pth'
    torch.save(dict(list(load_weights(out).items())[1::2]), part)
    text.write_text('name: base\n')
    for path, said in ((part, 'patch_embed.proj.weight is missing'), (text, 'no checkpoint')):
        assert main(['convert', str(path), str(absent)]) == 1 and not absent.parent.exists()
        error = capsys.readouterr().err
        assert str(path) in error and said in error and 'allow-pickle' not in error


def test_the_list_of_commands(capsys):
    with pytest.raises(SystemExit) as ended:
        main(['--help'])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(re.search(rf'^  {name} ', text, re.MULTILINE) for name in NAMES)


def test_doctor_as_json(monkeypatch, capsys):
    found = [doctor.Finding('FAIL', 'broken', 'mend it')]
    monkeypatch.setattr(doctor, 'SECTIONS', {'A': lambda: iter(found)})
    assert main(['doctor', '--json']) == 1
    assert json.loads(capsys.readouterr().out) == [
        {'section': 'A', 'level': 'FAIL', 'text': 'broken', 'cure': 'mend it'}
    ]
