"""Every command of ``mirage-basicsr``: a line in the table, a file, a help with an example, the codes for wrong use."""

import json
import re
from pathlib import Path

import pytest

from mirage_ir import commands, doctor
from mirage_ir.cli import COMMANDS, main

NAMES = [name for name, _, _ in COMMANDS]


def test_every_file_of_a_command_has_a_line():
    files = {path.stem for path in Path(commands.__file__).parent.glob('*.py')} - {'__init__'}
    assert files == {module for _, module, _ in COMMANDS}


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
