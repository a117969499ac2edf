"""The command that checks and times the kernels, with PyTorch's convolution in their place; wrong ones are found."""

import json

import pytest

from mirage_arch import triton_kernels
from research.benchmarks import kernels

own = pytest.importorskip('mirage_arch.dynamic_depthwise_kernels', reason='needs triton')


@pytest.fixture
def run(tmp_path, monkeypatch):
    depthwise = kernels.depthwise
    monkeypatch.setattr(triton_kernels, 'enabled', triton_kernels.enabled)  # which the command switches
    monkeypatch.setattr(own, 'convolve', lambda x, weight, flip, **_: depthwise.plain(x, weight))
    monkeypatch.setattr(own, 'weight_gradient', lambda x, gradient, **_: (x * gradient).sum((2, 3)))

    def call(*words):
        code = kernels.main(['--quick', '--device', 'cpu', '--out', str(tmp_path), *words])
        return code, json.loads((tmp_path / 'kernels.json').read_text())

    return call


def test_right_kernels_pass_and_are_timed(run, capsys):
    code, found = run()
    assert code == 0 and found['errors'] == []
    assert len(found['values']) == 6 and len(found['module']) == 8
    assert all(row['passed'] for row in found['values'] + found['module'])
    times = found['tiny float32']
    assert times['ratio'] > 0 and list(times['convolve'])[0] == 'default'
    assert len(times['weight_gradient']) == 1 + len(kernels.SETTINGS['weight_gradient'])
    printed = capsys.readouterr().out
    assert printed.count('ok  ') == 14 and 'times PyTorch' in printed


def test_wrong_values_fail_and_the_rest_still_runs(run, monkeypatch, capsys):
    right = kernels.depthwise.dynamic_depthwise
    monkeypatch.setattr(kernels.depthwise, 'dynamic_depthwise', lambda x, weight: right(x, weight) * 1.05)
    code, found = run('--seconds', '0')
    assert code == 1 and not any(row['passed'] for row in found['values'])
    assert 'FAIL' in capsys.readouterr().out
    assert 'module' in found and 'tiny float32' not in found
