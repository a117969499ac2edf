"""Every command of `research/` starts from the checkout and says how it is called."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / 'research').rglob('*.py')
    if "__name__ == '__main__'" in path.read_text(encoding='utf-8')
)


@pytest.mark.parametrize('command', COMMANDS)
def test_help(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', [command, '--help'])
    monkeypatch.setattr(sys, 'path', list(sys.path))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / command), run_name='__main__')
    assert not ended.value.code
    assert 'usage:' in capsys.readouterr().out


def test_the_list_names_each():
    listed = (ROOT / 'research' / 'README.md').read_text(encoding='utf-8')
    assert [command for command in COMMANDS if command.removeprefix('research/') not in listed] == []
    assert len(COMMANDS) > 15
