"""The benchmark must compare equal things and count work as the paper does."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from mirage_arch.mirage_arch import MIRAGEArch, mirage_tiny

SCRIPT = Path(__file__).resolve().parents[3] / 'research' / 'benchmarks' / 'inference.py'


@pytest.fixture(scope='module')
def benchmark():
    spec = importlib.util.spec_from_file_location('benchmark_inference', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def small(**kwargs) -> MIRAGEArch:
    torch.manual_seed(0)
    return MIRAGEArch(dim=12, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1, heads=(1, 2, 2, 4), **kwargs).eval()


@torch.no_grad()
def test_reference_as_published_computes_the_same_in_contiguous_layout(benchmark):
    net, x, layouts = small(), torch.rand(1, 3, 24, 32), []
    reference = benchmark.published(net)
    for block in (reference.latent[0], reference.decoder_level1[0]):
        block.register_forward_pre_hook(lambda module, inputs: layouts.append(inputs[0].is_contiguous()))
    assert torch.allclose(reference(x), net(x), atol=1e-5)
    assert layouts == [True, True]
    assert not any(isinstance(module, torch.nn.LayerNorm) for module in reference.modules())


def test_work_is_what_the_paper_counts(benchmark):
    assert benchmark.flops(mirage_tiny(spd_head=False), (1, 3, 224, 224)) == pytest.approx(2 * 16.275e9, rel=0.01)


@pytest.fixture
def report(benchmark, tmp_path, monkeypatch):
    """Runs the command with these arguments and returns what it wrote."""
    monkeypatch.setitem(benchmark.VARIANTS, 'tiny', small)
    monkeypatch.setattr(benchmark, 'product_rates', lambda device: {'fp32 mm': 1e9})

    def run(*arguments):
        benchmark.main([*arguments, '--rounds', '1', '--device', 'cpu', '--out', str(tmp_path)])
        return json.loads((tmp_path / 'inference.json').read_text()), (tmp_path / 'inference.md').read_text()

    return run


def test_a_run_writes_table_and_json(report, tmp_path, capsys):
    found, table = report(
        '--sizes',
        '30x21',
        '16x16',
        '--batch',
        '1',
        '2',
        '--methods',
        'published',
        'strips',
        '--profile',
        str(tmp_path / 'profiles'),
    )
    rows = found['rows']
    assert [(r['size'], r['batch'], r['method'], r['precision']) for r in rows] == [
        (size, batch, *way)
        for size in ('30x21', '16x16')
        for batch in (1, 2)
        for way in (('published', 'fp32'), ('strips', 'fp32'), ('strips', 'bf16'))
    ]
    assert all(r['max_difference'] < (1e-5 if r['precision'] == 'fp32' else 0.05) for r in rows)
    assert all(r['floors']['fp32 mm'] > 0 and r['ms'] > 0 and r['operations'] > 100 for r in rows)
    assert '| 30x21 | 1 | strips | fp32 |' in table and '| 30x21 | 1 | strips | fp32 |' in capsys.readouterr().out
    assert len(list((tmp_path / 'profiles').iterdir())) == len(rows)


def test_every_compiled_row_is_compiled(report, benchmark, monkeypatch):
    """Ten sizes are more than PyTorch compiles by itself; then it goes on without compiling."""
    compile_, graphs = torch.compile, []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, 'compile', lambda net, **settings: compile_(net, backend=backend, **settings))
    sizes = [f'{16 + 8 * i}x16' for i in range(10)]
    with torch._dynamo.config.patch(recompile_limit=torch._dynamo.config.recompile_limit):  # and back afterwards
        found, _ = report('--sizes', *sizes, '--precision', 'fp32', '--methods', 'plain', 'compile')
    assert [row.get('failed') for row in found['rows']] == [None] * 20
    assert len(graphs) == 10 and all(row['max_difference'] < 1e-5 for row in found['rows'])


def test_strips_have_no_row_for_tf32(report):
    found, _ = report('--sizes', '16x16', '--precision', 'fp32', 'tf32', '--methods', 'plain', 'strips')
    rows = [(row['method'], row['precision']) for row in found['rows']]
    assert rows == [('plain', 'fp32'), ('plain', 'tf32'), ('strips', 'fp32')]


def test_a_way_that_fails_and_one_without_time_are_named(report, benchmark, monkeypatch):
    built = benchmark.build

    def build(method, *arguments):
        if method == 'plain':
            raise RuntimeError('CUDA out of memory. Tried to allocate')
        return built(method, *arguments)

    monkeypatch.setattr(benchmark, 'build', build)
    found, table = report('--sizes', '16x16', '--precision', 'fp32', '--methods', 'published', 'plain', 'strips')
    assert [('failed' in row, row['method']) for row in found['rows']] == [
        (False, 'published'),
        (True, 'plain'),
        (False, 'strips'),
    ]
    found, table = report('--sizes', '16x16', '--precision', 'fp32', '--seconds', '0')
    assert found['rows'] == [] and found['left_out'] == ['16x16 1 published fp32']
    assert 'No time was left for 16x16 1 published fp32' in table


def test_exported_backends_ask_for_their_file(benchmark):
    with pytest.raises(SystemExit, match='--onnx'):
        benchmark.build('ort', small(), 'fp32', None)
