import logging
import sys
import types

import pytest
import torch
from interpreter import interpret, run_python

from mirage_arch import dynamic_depthwise as depthwise
from mirage_arch import triton_kernels
from mirage_arch.mirage_arch import GatedConvolution

pytestmark = pytest.mark.skipif(not triton_kernels.THERE, reason='no Triton, or a PyTorch before 2.7')


@pytest.fixture(scope='module')
def interpreted():
    return interpret('interpreted_kernels.py')


def test_kernels_equal_pytorch_in_float64(interpreted):
    assert interpreted['messages'] == [], 'the kernels gave up'
    errors = interpreted['errors']
    exact = {name: values for name, values in errors.items() if 'float16' not in name}
    assert len(exact) == 6
    assert {name: max(values) for name, values in exact.items() if max(values) > 1e-6} == {}


def test_kernels_in_half_precision(interpreted):
    errors = interpreted['errors']
    assert max(errors['bfloat16']) < 8e-3  # the interpreter cuts off where a GPU rounds
    assert max(errors['float16']) < 1e-3
    assert max(errors['module bfloat16']) < 2e-2


def test_an_empty_batch_stays_empty(interpreted):
    assert interpreted['empty'] == [0, 3, 4, 4]


def test_operators_and_their_derivatives():
    """As PyTorch checks operators: layouts under compilation, first and second derivatives by differences."""
    generator = torch.Generator().manual_seed(0)
    x, g = (
        torch.randn(2, 3, 4, 5, generator=generator).double().contiguous(memory_format=torch.channels_last)
        for _ in range(2)
    )
    x, g = x.requires_grad_(), g.requires_grad_()
    weight = torch.randn(2, 3, 7, 7, generator=generator).double().requires_grad_()
    ops = torch.ops.mirage
    for flip in (False, True):
        torch.library.opcheck(ops.dynamic_depthwise.default, (x, weight, flip))
        assert torch.autograd.gradcheck(lambda x, w, f=flip: ops.dynamic_depthwise(x, w, f), (x, weight))
        assert torch.autograd.gradgradcheck(
            lambda x, w, f=flip: ops.dynamic_depthwise(x, w, f), (x, weight), fast_mode=True
        )
    torch.library.opcheck(ops.dynamic_depthwise_weight.default, (x, g))


def test_pytorch_convolves_where_the_kernels_cannot_be_built(monkeypatch, caplog):
    """Here: no GPU that Triton could build for. One warning, however often it is needed."""
    if torch.cuda.is_available():
        pytest.skip('Triton finds a GPU')
    monkeypatch.setattr(triton_kernels, 'INTERPRETED', True)
    monkeypatch.setattr(depthwise.kernels, 'failed', False)
    x, weight = torch.randn(2, 3, 4, 5).requires_grad_(), torch.randn(2, 3, 7, 7).requires_grad_()
    with caplog.at_level(logging.WARNING):
        out = depthwise.dynamic_depthwise(x, weight)
        found = torch.autograd.grad(out.square().sum(), (x, weight))
    expected = torch.autograd.grad(depthwise.plain(x, weight).square().sum(), (x, weight))
    assert all(torch.allclose(f, e, rtol=1e-4, atol=1e-4) for f, e in zip(found, expected))
    assert [record.levelname for record in caplog.records if 'MIRAGE_TRITON=0' in record.message] == ['WARNING']


@pytest.mark.parametrize(
    'full',
    [torch.OutOfMemoryError('CUDA out of memory.'), RuntimeError('Triton Error [CUDA]: out of memory')],
    ids=['PyTorch', 'Triton'],
)
@pytest.mark.parametrize('name', ['convolve', 'weight_gradient'])
def test_want_of_memory_passes_and_the_kernel_stays(full, name, monkeypatch):
    def fail(*_):
        raise full

    monkeypatch.setitem(sys.modules, 'mirage_arch.dynamic_depthwise_kernels', types.SimpleNamespace(**{name: fail}))
    monkeypatch.setattr(triton_kernels, 'INTERPRETED', True)
    monkeypatch.setattr(depthwise.kernels, 'failed', False)
    x, weight = torch.randn(1, 2, 4, 5), torch.randn(1, 2, 7, 7)
    with pytest.raises(RuntimeError, match='out of memory'):
        depthwise._convolve(x, weight, False) if name == 'convolve' else depthwise._weight_gradient(x, x)
    assert not depthwise.kernels.failed


def test_the_switch_and_what_an_import_costs():
    code = (
        'import sys; sys.modules["basicsr"] = None; import torch; from mirage_arch import triton_kernels as k; '
        'assert "triton" not in sys.modules; print(k.enabled, k.applies(torch.zeros(1)))'
    )
    assert run_python(code, MIRAGE_TRITON='1', TRITON_INTERPRET='0').split() == ['True', 'False']
    assert run_python(code, MIRAGE_TRITON='1', TRITON_INTERPRET='1').split() == ['True', 'True']
    assert run_python(code, MIRAGE_TRITON='0', TRITON_INTERPRET='1').split() == ['False', 'False']


def test_exporters_get_the_plain_path(monkeypatch):
    monkeypatch.setattr(triton_kernels, 'INTERPRETED', True)
    monkeypatch.setattr(triton_kernels, 'enabled', True)
    net = GatedConvolution(2, False, 0.0, True).eval()
    image = torch.rand(1, 2, 4, 4)
    exported = [str(node.target) for node in torch.export.export(net, (image,)).graph.nodes]
    traced = [node.kind() for node in torch.jit.trace(net, image, check_trace=False).inlined_graph.nodes()]
    assert not [name for name in exported + traced if 'dynamic_depthwise' in name]
    assert sum('conv' in name for name in exported) == sum('conv' in name for name in traced) == 6


def test_functorch_and_forward_derivatives_get_the_plain_path(monkeypatch):
    net = GatedConvolution(2, False, 0.0, True).eval()
    image = torch.rand(1, 2, 4, 4)
    image.requires_grad_()
    (expected,) = torch.autograd.grad(net(image).sum(), image)
    monkeypatch.setattr(triton_kernels, 'INTERPRETED', True)  # from here on a kernel would be tried
    monkeypatch.setattr(triton_kernels, 'enabled', True)
    found = torch.func.grad(lambda each: net(each).sum())(image.detach())
    torch.testing.assert_close(found, expected)
    with torch.autograd.forward_ad.dual_level():
        carried = net(torch.autograd.forward_ad.make_dual(image.detach(), torch.ones_like(image)))
        tangent = torch.autograd.forward_ad.unpack_dual(carried).tangent
    torch.testing.assert_close(tangent.sum(), expected.sum())
    assert not depthwise.kernels.failed


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r'\(2, 3, 4, 4\) and \(2, 3, 5, 5\)'):
        depthwise.dynamic_depthwise(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 5, 5))
