"""The command that checks and times the kernels, with PyTorch's convolution in their place; wrong ones are found."""

import json

import pytest

from mirage_arch import triton_kernels
from research.benchmarks import kernels

own = pytest.importorskip('mirage_arch.dynamic_depthwise_kernels', reason='needs triton')
own_norm = pytest.importorskip('mirage_arch.channel_norm_kernels', reason='needs triton')


@pytest.fixture
def run(tmp_path, monkeypatch):
    depthwise = kernels.depthwise
    monkeypatch.setattr(triton_kernels, 'enabled', triton_kernels.enabled)  # which the command switches
    monkeypatch.setattr(own, 'convolve', lambda x, weight, flip, **_: depthwise.plain(x, weight))
    monkeypatch.setattr(own, 'weight_gradient', lambda x, gradient, **_: (x * gradient).sum((2, 3)))
    monkeypatch.setattr(
        own_norm, 'normalise', lambda x, weight, bias, *_, **__: kernels.norm.plain(x.float(), weight, bias)
    )
    monkeypatch.setattr(own_norm, 'gradients', lambda x, weight, gradient, *_, **__: (x, weight))

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
    assert len(found['norms']) == 6 and all(row['passed'] for row in found['norms'])
    times = found['norm, tiny bfloat16']
    assert times['ratio'] > 0 and times['plain output'] > 0
    assert all(len(times[name]) == 1 + len(settings) for name, settings in kernels.NORM_SETTINGS.items())
    printed = capsys.readouterr().out
    assert printed.count('ok  ') == 20 and printed.count('times PyTorch') == 4


def test_wrong_values_fail_and_the_rest_still_runs(run, monkeypatch, capsys):
    right = kernels.depthwise.dynamic_depthwise
    monkeypatch.setattr(kernels.depthwise, 'dynamic_depthwise', lambda x, weight: right(x, weight) * 1.05)
    code, found = run('--seconds', '0')
    assert code == 1 and not any(row['passed'] for row in found['values'])
    assert 'FAIL' in capsys.readouterr().out
    assert 'module' in found and 'tiny float32' not in found


def test_a_wrong_norm_fails_and_is_the_only_one_asked_for(run, monkeypatch, capsys):
    right = kernels.norm.channel_norm
    monkeypatch.setattr(kernels.norm, 'channel_norm', lambda *values: right(*values) * 1.05)
    code, found = run('--seconds', '0', '--only', 'norm')
    assert code == 1 and not any(row['passed'] for row in found['norms'])
    assert 'values' not in found and 'module' not in found
    assert 'FAIL' in capsys.readouterr().out
