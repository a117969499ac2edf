"""One parser reads the command line of a run: no spelling passes the check, and no value is code."""

import sys

import pytest
from basicsr.utils import options as basicsr_options

from mirage_ir.commands import check as check_command
from mirage_ir.training import runner
from mirage_ir.training.selection import Selection

RUNS_CODE = 'name: x\nz: !!python/object/apply:os.system ["touch ran"]\n'


def seen_by_the_check(words, is_train=True):
    """What the check is given for a command line, and what BasicSR then reads."""
    calls = []

    def check(path, **arguments):
        calls.append((path, arguments))
        return 'name: effective\n'

    with runner._command_line('.', words, check, is_train=is_train) as command:
        place = sys.argv.index('-opt') + 1
        with open(sys.argv[place], encoding='utf-8') as file:
            assert file.read() == 'name: effective\n'
        return calls, command, [word for word in sys.argv[1:] if word != sys.argv[place]]


@pytest.mark.parametrize(
    'words',
    [
        ['-opt', 'a.yml'],
        ['-opt=a.yml'],
        ['--opt', 'a.yml'],
        ['-opt', 'a.yml', '--force_yml', 'name=y', '--force_yml', 'train:lr=1'],
        ['--force_yml=name=y', '-opt', 'a.yml', '--force_yml', 'train:lr=1'],
    ],
)
def test_every_spelling_is_checked(words):
    calls, _, rest = seen_by_the_check(words)
    assert [path for path, _ in calls] == ['a.yml']
    forced = calls[0][1]['force_yml']
    assert forced == (['name=y', 'train:lr=1'] if len(words) > 2 else None)
    assert rest == ['-opt', '--launcher', 'none', '--local_rank', '0']  # nothing that BasicSR would run through eval


def test_one_dash_and_half_a_name_is_checked_or_refused():
    try:
        calls, _, _ = seen_by_the_check(['-op', 'a.yml'])
    except SystemExit as stop:  # by newer Pythons, as with two dashes
        assert stop.code == 2
    else:
        assert [path for path, _ in calls] == ['a.yml']


@pytest.mark.parametrize(
    'words', [['-opt', 'a.yml', '--force', 'name=y'], ['-opt', 'a.yml', '--fre'], ['--op', 'a.yml'], []]
)
def test_abbreviations_are_refused(words, capsys):
    with pytest.raises(SystemExit) as stop:
        seen_by_the_check(words)
    assert stop.value.code == 2
    assert 'usage:' in capsys.readouterr().err


def test_flags_reach_the_check_and_basicsr():
    words = ['-opt', 'a.yml', '--only', 'derain', 'LOL', '--auto_resume', '--without=a', '--debug']
    calls, command, rest = seen_by_the_check(words)
    assert command.selection == Selection(('derain', 'LOL'), ('a',)) == calls[0][1]['selection']
    assert calls[0][1]['resuming'] and rest[-2:] == ['--debug', '--auto_resume']
    assert '--auto_resume' not in seen_by_the_check(['-opt', 'a.yml', '--fresh', '--auto_resume'])[2]
    calls = seen_by_the_check(['--protocol=lol', '-opt', 'a.yml', '--force_yml', 'name=b'], is_train=False)[0]
    assert calls[0][1]['force_yml'] == ['name=b', 'val:protocol=lol']


@pytest.mark.parametrize('check', ['none', 'ours'])
def test_an_option_file_runs_no_code(tmp_path, monkeypatch, capsys, check):
    from mirage_ir.options.check import require_ok

    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.yml').write_text(RUNS_CODE)
    used = require_ok if check == 'ours' else None
    with pytest.raises(SystemExit) as stop, runner._command_line('.', ['-opt', 'a.yml'], used, is_train=True):
        raise AssertionError('it was read')
    assert stop.value.code == 2 and 'a.yml:2' in capsys.readouterr().err
    (tmp_path / 'b.yml').write_text('name: x\n')
    spoilt = ['-opt', 'b.yml', '--force_yml', 'a=[__import__("os").system("touch ran")]']
    with runner._command_line('.', spoilt, None, is_train=True) as command:
        assert '__import__' in command.options  # a text like any other
    assert check_command.main(spoilt) == 2
    assert not (tmp_path / 'ran').exists()


def test_basicsr_reads_plain_values_within_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.yml').write_text('name: x\nb: {c: 1, d: !!python/tuple [1, 2]}\n')
    with runner._command_line('.', ['-opt', 'a.yml'], None, is_train=True):
        import yaml

        loader = basicsr_options.ordered_yaml()[0]
        assert yaml.load((tmp_path / 'a.yml').read_text(), Loader=loader) == {'name': 'x', 'b': {'c': 1, 'd': (1, 2)}}
        with pytest.raises(yaml.YAMLError, match='could not determine a constructor'):
            yaml.load(RUNS_CODE, Loader=loader)
    assert not (tmp_path / 'ran').exists()
    assert basicsr_options.ordered_yaml.__module__ == 'basicsr.utils.options'
