import json
import logging

import pytest

from research.benchmarks import faithfulness, training

SMALL = ['--dim', '6', '--blocks', '1', '--size', '16', '--threads', '1', '--device', 'cpu']


@pytest.fixture
def rows(tmp_path):
    """Runs a benchmark with these arguments and returns what it wrote."""
    logger = logging.getLogger('basicsr')
    level = logger.level

    def run(module, *arguments):
        module.main([*arguments, *SMALL, '--out', str(tmp_path)])
        name = module.__name__.rpartition('.')[2]
        found, table = json.loads((tmp_path / f'{name}.json').read_text()), (tmp_path / f'{name}.md').read_text()
        assert all(f'| {row["method"]} |' in table for row in found['rows'])
        return found

    yield run
    logger.setLevel(level)


def test_losses_are_compared_on_the_same_batches(rows):
    plain, recomputed, half = rows(
        faithfulness, '4', '--batch', '2', '--methods', 'plain', 'checkpoint_blocks', 'bf16'
    )['rows']
    assert plain['first_loss'] == recomputed['first_loss'] and plain['difference_percent'] == 0
    assert abs(recomputed['difference_percent']) < 0.01
    assert 0 < abs(half['difference_percent']) < 5


def test_rows_are_measured_in_turn_with_the_published_network(rows, tmp_path):
    found = rows(
        training,
        '--variants',
        'nano',
        '--batch',
        '2',
        '3',
        '--methods',
        'plain',
        '--rounds',
        '2',
        '--profile',
        str(tmp_path / 'profiles'),
    )['rows']
    assert [(r['batch'], r['method']) for r in found] == [
        (batch, method) for batch in (2, 3) for method in ('published', 'plain')
    ]
    assert all(
        len(r['all_seconds']) == 2 and r['images_per_s'] == pytest.approx(1e3 * r['batch'] / r['ms']) for r in found
    )
    assert ['ratio' in r for r in found] == [r['method'] != 'published' for r in found]
    for first, second in zip(found[:2], found[2:]):
        assert second['to_first_batch'] == pytest.approx(second['ms'] / first['ms'])
    published, plain = found[:2]
    assert published['operations'] > plain['operations'] > 500  # the norm, operation by operation
    assert 'aten::' in (tmp_path / 'profiles' / 'profile_nano_2_plain.txt').read_text()


def test_what_no_time_is_left_for_is_named(rows):
    found = rows(training, '--variants', 'nano', '--batch', '2', '--methods', 'plain', '--seconds', '0')
    assert found['rows'] == [] and found['left_out'] == ['nano, batch 2, published']


def test_memory_of_a_fresh_process(rows):
    found = rows(training, '--variants', 'nano', '--batch', '2', '--methods', 'plain', '--rounds', '1', '--memory')
    assert all(0.001 < row['peak_gib'] < 2 for row in found['rows'])


def test_the_settings_of_a_method_are_those_of_its_steps_only():
    import torch

    from mirage_arch import triton_kernels

    before = torch.backends.cudnn.allow_tf32, triton_kernels.enabled
    for method, expected in (('plain', (False, False)), ('published', (True, False)), ('all', (False, before[1]))):
        with training.kernels_of(method):
            assert (torch.backends.cudnn.allow_tf32, triton_kernels.enabled) == expected
    assert (torch.backends.cudnn.allow_tf32, triton_kernels.enabled) == before


def test_a_row_that_fails_does_not_end_the_table(rows, monkeypatch):
    class Broken(training.Steps):
        def __init__(self, method, *arguments):
            if method == 'plain':
                raise RuntimeError('CUDA out of memory. Tried to allocate')
            super().__init__(method, *arguments)

    monkeypatch.setattr(training, 'Steps', Broken)
    found = rows(training, '--variants', 'nano', '--batch', '2', '--rounds', '1', '--methods', 'plain', 'bf16')['rows']
    assert [('failed' in row, row['method']) for row in found] == [
        (False, 'published'),
        (True, 'plain'),
        (False, 'bf16'),
    ]


def test_an_unknown_method_is_named_with_the_allowed_ones(rows):
    with pytest.raises(SystemExit, match='warp.*bf16'):
        rows(training, '--methods', 'plain+warp')
