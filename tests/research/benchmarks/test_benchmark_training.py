import json
import logging
import runpy
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / 'research' / 'benchmarks'
SMALL = ['--dim', '6', '--blocks', '1', '--size', '16', '--batch', '2', '--threads', '1', '--device', 'cpu']


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """Runs the script with these arguments and returns the rows of its JSON."""
    logger = logging.getLogger('basicsr')
    level = logger.level

    def run(*arguments):
        out = tmp_path / 'out.json'
        monkeypatch.syspath_prepend(str(SCRIPTS))
        monkeypatch.setattr(sys, 'argv', ['benchmark_training.py', *SMALL, *arguments, '--json', str(out)])
        runpy.run_path(str(SCRIPTS / 'training.py'), run_name='__main__')
        return json.loads(out.read_text())['rows']

    yield run
    logger.setLevel(level)


def test_losses_are_compared_on_the_same_batches(rows):
    plain, recomputed, half = rows('--faithful', '4', '--methods', 'plain', 'checkpoint_blocks', 'bf16')
    assert plain['first_loss'] == recomputed['first_loss'] and plain['difference_percent'] == 0
    assert abs(recomputed['difference_percent']) < 0.01
    assert 0 < abs(half['difference_percent']) < 5


def test_steps_are_timed_in_turn_against_plain(rows):
    published, plain = rows('--rounds', '2', '--methods', 'published', 'plain')
    assert plain['speedup'] == 1 and len(plain['all_seconds']) == 2
    assert published['speedup'] == pytest.approx(plain['seconds'] / published['seconds'])


def test_an_unknown_method_is_named_with_the_allowed_ones(rows):
    with pytest.raises(SystemExit, match='warp.*bf16'):
        rows('--methods', 'plain+warp')
