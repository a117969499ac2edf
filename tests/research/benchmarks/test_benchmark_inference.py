"""The benchmark must compare equal things and count work as the paper does."""
import importlib.util
import json
import sys
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


def test_a_run_writes_table_and_json(benchmark, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(benchmark.VARIANTS, 'tiny', small)
    monkeypatch.setattr(benchmark, 'product_rates', lambda device: {'fp32 mm': 1e9})
    out = tmp_path / 'inference.json'
    monkeypatch.setattr(sys, 'argv', ['benchmark', '--sizes', '30x21', '16x16', '--rounds', '1', '--device', 'cpu',
                                      '--methods', 'published', 'fast', '--json', str(out)])
    benchmark.main()
    rows = json.loads(out.read_text())['rows']
    assert [(r['size'], r['method'], r['precision']) for r in rows] == [
        (size, *way) for size in ('30x21', '16x16')
        for way in (('published', 'fp32'), ('fast', 'fp32'), ('fast', 'bf16'))]
    assert all(r['max_relative_difference'] < (1e-5 if r['precision'] == 'fp32' else 0.05) for r in rows)
    assert all(r['floors']['fp32 mm'] > 0 and r['seconds'] > 0 for r in rows)
    assert '| 30x21 | fast | fp32 |' in capsys.readouterr().out


def test_exported_backends_ask_for_their_file(benchmark):
    with pytest.raises(SystemExit, match='--onnx'):
        benchmark.build('ort', small(), 'fp32', None)
