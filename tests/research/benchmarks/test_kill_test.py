"""The kill test on a run of six iterations with one kill; and that it says so where something differs."""

import json
from functools import partial

import pytest
from small_run import fork

from research.benchmarks import kill_test


@pytest.fixture
def run(tmp_path, monkeypatch):
    for name in ('run_to_end', 'run_and_kill'):
        monkeypatch.setattr(kill_test, name, partial(getattr(kill_test, name), start=fork))
    words = ['--kills', '1', '--iterations', '6', '--every', '2', '--span', '1', '--json']

    def call():
        code = kill_test.main([*words, str(tmp_path / 'log.json')])
        return code, json.loads((tmp_path / 'log.json').read_text())

    return call


def test_a_killed_run_ends_as_the_undisturbed_one(run, capsys, monkeypatch):
    code, log = run()
    assert code == 0 and log['differences'] == []
    assert len(log['kills']) == 1 and log['kills'][0]['moment'] == 'training'
    assert log['killed'] == [log['undisturbed']]
    assert 'logged losses: 6 iterations; differences: none' in capsys.readouterr().out

    key = next(iter(log['undisturbed']))
    results = iter([{**log['undisturbed'], key: 'another'}, log['undisturbed']])
    ended = kill_test.collect

    def collect(root):
        found = ended(root)
        found.hashes = next(results)
        return found

    monkeypatch.setattr(kill_test, 'collect', collect)
    code, log = run()
    assert code == 1 and log['differences'] == [key]
