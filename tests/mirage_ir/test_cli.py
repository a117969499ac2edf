import json
import os
import sys
from pathlib import Path

import pytest

from mirage_ir.cli import main
from mirage_ir.training import runner
from mirage_restore.cli import main as restore

BAD = 'name: x\nmodel_type: SRModle\nnum_gpu: 0\ndatasets: {}\npath: {}\ntrain: {total_iter: 1e3}\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('bad file.yml').write_text(BAD)
    return tmp_path


def test_check_lists_the_problems_and_creates_nothing(folder, capsys):
    assert main(['check', '-opt', 'bad file.yml']) == 2
    printed = capsys.readouterr().out
    assert 'bad file.yml:2: model_type' in printed and 'SRModel' in printed and 'train:total_iter' in printed
    assert os.listdir(folder) == ['bad file.yml']


def test_check_as_json(folder, capsys):
    assert main(['check', '-opt', 'bad file.yml', '--json', '--force_yml', 'model_type=SRModel']) == 2
    problems = json.loads(capsys.readouterr().out)
    assert {'file', 'line', 'key', 'message', 'cure'} == set(problems[0])
    assert 'model_type' not in {problem['key'] for problem in problems}


@pytest.mark.parametrize('name', ['train', 'test'])
def test_runs_get_the_current_folder_and_the_flags_untouched(folder, monkeypatch, name):
    calls = []
    monkeypatch.setattr(runner, name, lambda root, words, check: calls.append((root, words)))
    words = ['-opt', 'bad file.yml', '--launcher', 'none', '--debug', '--force_yml', 'train:total_iter=3', 'name=y']
    assert main([name, *words]) == 0
    assert calls == [(str(folder), words)]


def test_a_run_with_faulty_options_ends_before_it_begins(folder, capsys):
    with pytest.raises(SystemExit) as ended:
        main(['train', '-opt', 'bad file.yml', '--auto_resume'])
    assert ended.value.code == 2
    assert 'nothing was started or created' in capsys.readouterr().err
    assert os.listdir(folder) == ['bad file.yml']


@pytest.mark.parametrize(
    'words',
    [[], ['train'], ['fly'], ['train', '-opt', 'a.yml', '--fresher'], ['link'], ['test', '-opt', 'a.yml', '--fresh']],
)
def test_wrong_words_are_refused_with_the_usage(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert 'usage: mirage-basicsr' in capsys.readouterr().err


def test_names_cannot_do_anything_to_the_terminal(folder, capsys):
    pictures = folder / 'a'
    pictures.mkdir()
    (pictures / 'x\x1b]0;owned\x07\x1b[2J\nerror: \u202egnp.png').write_bytes(b'no picture')
    assert main(['check-data', '--train', str(pictures)]) == 1
    assert main(['prepare', 'lol', '--source', str(pictures)]) == 1
    said = ''.join(capsys.readouterr())
    assert '\\x1b]0;owned\\x07' in said and '\\u202e' in said
    assert not any(c in said for c in '\x1b\x07\u202e')


@pytest.mark.parametrize(
    'command', [(main, ['prepare', '--list', '--json']), (main, ['--help']), (restore, ['--help'])]
)
def test_a_reader_that_closes_early_ends_a_command_quietly(command, monkeypatch, capfd):
    reading, writing = os.pipe()
    os.close(reading)
    run, words = command
    with open(writing, 'w') as stream, monkeypatch.context() as patch:
        patch.setattr(sys, 'stdout', stream)
        with pytest.raises(SystemExit, match='^141$'):
            run(words)
    assert capfd.readouterr().err == ''
