import logging
import re
import sys
import types

import pytest
import torch
import torch.nn.functional as F
from interpreter import interpret, run_python, version
from torch import nn

from mirage_arch import channel_norm as norm
from mirage_arch import triton_kernels
from mirage_arch.mirage_arch import ChannelNorm

needs_triton = pytest.mark.skipif(not triton_kernels.THERE, reason='no Triton, or a PyTorch before 2.7')


@pytest.fixture(scope='module')
def interpreted():
    return interpret('interpreted_norm.py')


@pytest.fixture
def as_if_interpreted(monkeypatch):
    monkeypatch.setattr(triton_kernels, 'INTERPRETED', True)
    monkeypatch.setattr(triton_kernels, 'enabled', True)
    monkeypatch.setattr(norm.kernels, 'failed', False)
    monkeypatch.setattr(norm, 'least_pixels', 0)


def draw(*shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(s, generator=generator).to(dtype) for s in (shape, shape[1:2], shape[1:2]))
    return (
        x.contiguous(memory_format=torch.channels_last).requires_grad_(),
        weight.requires_grad_(),
        bias.requires_grad_(),
    )


@needs_triton
def test_kernels_equal_pytorch_in_float64(interpreted):
    assert interpreted['messages'] == [], 'the kernels gave up'
    assert len(interpreted['exact']) == 11
    assert {name: values for name, values in interpreted['exact'].items() if max(values) > 1e-6} == {}
    assert max(interpreted['two channels']) < 2e-5  # +1 and -1 nearly, so little remains of the gradient of x


@needs_triton
def test_kernels_in_half_precision(interpreted):
    assert max(interpreted['bfloat16']) < 8e-3  # the interpreter cuts off where a GPU rounds
    assert max(interpreted['float16']) < 1e-3


@needs_triton
def test_under_autocast_it_gives_float32(interpreted):
    found = interpreted['autocast']
    assert found['types'] == ['torch.float32', 'torch.bfloat16', 'torch.float32', 'torch.float32']
    out, dx, dw, db = found['errors']
    assert max(out, dw, db) < 1e-6 and dx < 8e-3


@needs_triton
def test_gradients_that_are_not_wanted_change_nothing_in_the_others(interpreted):
    assert interpreted['parts'] is True
    assert interpreted['empty'] == [[0, 3, 4, 4], [0, 3, 4, 4], [3], [3]]


@needs_triton
def test_a_network_with_the_kernels_is_the_network_without(interpreted):
    found = interpreted['network']
    norms = found['norms']
    assert norms == 16
    assert found['off'] == [0, 0]
    assert {name: found[name][1:] for name in ('on', 'compiled', 'recomputed')} == {
        'on': [norms, norms],
        'compiled': [0, 0],  # the compiler gets PyTorch's norm
        'recomputed': [2 * norms, norms],
    }
    assert {name: found[name][0] for name in ('on', 'compiled', 'recomputed') if found[name][0] > 1e-4} == {}
    for dtype, limit in (('float32', 1e-5), ('bfloat16', 0.02)):
        error, count, gradients = found[f'strips torch.{dtype}']
        assert error < limit and count > 2 * norms and gradients == 0


@needs_triton
def test_derivatives_of_every_order_by_differences():
    values = draw(2, 3, 2, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(norm.channel_norm, values)
    assert torch.autograd.gradgradcheck(norm.channel_norm, values)


@needs_triton
def test_pytorch_normalises_where_the_kernels_cannot_be_built(as_if_interpreted, caplog):
    """Here: no GPU that Triton could build for. One warning, however often it is needed."""
    if torch.cuda.is_available():
        pytest.skip('Triton finds a GPU')
    module, (x, weight, bias) = ChannelNorm(3), draw(2, 3, 4, 5)
    module.body.weight, module.body.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
    with caplog.at_level(logging.WARNING):
        out = norm.channel_norm(x, weight, bias)
        found = torch.autograd.grad(out.square().sum(), (x, weight, bias))
        again = module(x)
    expected = torch.autograd.grad(norm.plain(x, weight, bias).square().sum(), (x, weight, bias))
    assert norm.kernels.failed and not norm.applies(x, module.body)
    assert torch.equal(out, norm.plain(x, weight, bias)) and torch.equal(again, out)
    assert all(torch.allclose(f, e, rtol=1e-4, atol=1e-4) for f, e in zip(found, expected))
    assert [record.levelname for record in caplog.records if 'MIRAGE_TRITON=0' in record.message] == ['WARNING']


@needs_triton
@pytest.mark.parametrize('name', ['normalise', 'gradients'])
def test_want_of_memory_passes_and_the_kernel_stays(name, as_if_interpreted, monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError('CUDA out of memory.')

    module = types.SimpleNamespace(**{'normalise': lambda *args: args[-1].zero_(), name: fail})
    monkeypatch.setitem(sys.modules, 'mirage_arch.channel_norm_kernels', module)
    with pytest.raises(torch.OutOfMemoryError):
        norm.channel_norm(*draw(1, 2, 4, 5)).sum().backward()
    assert not norm.kernels.failed


@needs_triton
def test_the_switch():
    code = (
        'import sys; sys.modules["basicsr"] = None; import torch; from mirage_arch import channel_norm as n; '
        'assert "triton" not in sys.modules; n.least_pixels = 0\n'
        'print(n.applies(torch.zeros(1, 3, 2, 2), torch.nn.LayerNorm(3)))'
    )
    assert run_python(code, MIRAGE_TRITON='1', TRITON_INTERPRET='0').split() == ['False']
    assert run_python(code, MIRAGE_TRITON='1', TRITON_INTERPRET='1').split() == ['True']
    assert run_python(code, MIRAGE_TRITON='0', TRITON_INTERPRET='1').split() == ['False']


@needs_triton
def test_what_is_not_a_plain_norm_of_one_type_stays_with_pytorch(as_if_interpreted, monkeypatch):
    x, body = torch.zeros(1, 3, 2, 2), nn.LayerNorm(3)
    hooked, pre_hooked, frozen = nn.LayerNorm(3), nn.LayerNorm(3), nn.LayerNorm(3)
    hooked.register_forward_hook(lambda *_: None)
    pre_hooked.register_full_backward_pre_hook(lambda *_: None)
    frozen.requires_grad_(False)
    extended = nn.utils.parametrizations.weight_norm(nn.LayerNorm(3), 'weight', dim=0)
    assert norm.applies(x, body) and norm.applies(x, frozen)
    for other in (hooked, pre_hooked, extended, nn.LayerNorm(4), nn.LayerNorm(3, bias=False), nn.Identity()):
        assert not norm.applies(x, other)
    for other in (x.double(), x.bfloat16(), x[0], x.to('meta'), torch.zeros(1, 1, 2, 2), torch.zeros(1, 1025, 1, 1)):
        assert not norm.applies(other, body if other.dim() < 4 else nn.LayerNorm(other.shape[1]))
    monkeypatch.setattr(norm, 'least_pixels', 5)
    assert not norm.applies(x, body) and norm.applies(torch.zeros(1, 3, 1, 5), body)
    monkeypatch.setattr(norm, 'least_pixels', 0)
    with torch._subclasses.FakeTensorMode() as mode:
        assert not norm.applies(mode.from_tensor(x), body)
    with pytest.raises(RuntimeError, match='normalized_shape'):
        ChannelNorm(4)(x)


@needs_triton
def test_exporters_compilers_and_functorch_get_the_plain_path(as_if_interpreted, monkeypatch):
    def fail(*_):
        raise AssertionError('the kernels were called')

    monkeypatch.setattr(norm, 'channel_norm', fail)
    module, x = ChannelNorm(4), torch.rand(1, 4, 3, 2)
    with pytest.raises(AssertionError, match='kernels were called'):
        module(x)
    exported = [str(node.target) for node in torch.export.export(module, (x,)).graph.nodes]
    traced = [node.kind() for node in torch.jit.trace(module, x, check_trace=False).inlined_graph.nodes()]
    assert sum('layer_norm' in name for name in exported) == sum('layer_norm' in name for name in traced) == 1
    torch.compile(module, backend='aot_eager', fullgraph=True)(x)
    assert torch.func.vmap(module)(x[None]).shape == (1, *x.shape)
    assert torch.func.grad(lambda y: module(y).square().sum())(x).shape == x.shape
    with torch.autograd.forward_ad.dual_level():
        module(torch.autograd.forward_ad.make_dual(x, x))
    seen = []
    with nn.modules.module.register_module_forward_hook(lambda inner, *_: seen.append(inner)):
        module(x)
    assert module.body in seen


@needs_triton
def test_a_result_that_is_not_contiguous_leaves_the_kernels_in_use(as_if_interpreted, monkeypatch):
    monkeypatch.setattr(norm, 'least_pixels', 0)
    x = torch.rand(2, 3, 4)
    assert not norm.normalise_pixels(x, torch.empty(2, 3, 8)[..., ::2], 1e-5) and not norm.kernels.failed


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
def test_on_a_cpu_it_is_pytorchs_norm_to_the_bit(dtype):
    x, weight, bias = draw(2, 6, 3, 5, dtype=dtype)
    module = ChannelNorm(6).to(dtype)
    module.load_state_dict({'body.weight': weight.detach(), 'body.bias': bias.detach()})
    expected = F.layer_norm(x.permute(0, 2, 3, 1), (6,), weight, bias).permute(0, 3, 1, 2)
    found = module(x)
    assert torch.equal(found, expected) and found.stride() == expected.stride()
    assert type(found.grad_fn) is type(expected.grad_fn)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r'\(2, 3, 4, 4\), \(4,\) and \(3,\)'):
        norm.channel_norm(torch.zeros(2, 3, 4, 4), torch.zeros(4), torch.zeros(3))


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from mirage_arch import channel_norm_kernels as kernels

rows, block = kernels._tile(24, 2048)
sizes = {'C': 24, 'ROWS': rows, 'BLOCK': block, 'X_STRIDE': 24}
numbers = {'rows': 'i32', 'epsilon': 'fp32'}
of_norm = {'x': '*bf16', 'weight': '*fp32', 'bias': '*fp32', 'out': '*fp32', **numbers}
of_gradients = {'x': '*bf16', 'weight': '*fp32', 'gradient': '*fp32', 'x_gradient': '*bf16', 'parts': '*fp32'}
for kernel, types, constants in (
    (kernels._normalise, of_norm, {'OUT_STRIDE': 24, 'AFFINE': True}),
    (kernels._gradients, {**of_gradients, **numbers}, {'G_STRIDE': 24, 'OF_X': True, 'OF_AFFINE': True}),
):
    constants = {**sizes, **constants}
    signature = {**types, **{name: 'constexpr' for name in constants}}
    aligned = {(kernel.arg_names.index(n),): [['tt.divisibility', 16]] for n, t in types.items() if '*' in t}
    source = ASTSource(kernel, signature, constants, aligned)
    print(triton.compile(source, target=GPUTarget('cuda', 80, 32), options={'num_warps': 4}).asm['ptx'])
"""


@needs_triton
def test_kernels_compile_for_a_gpu_and_read_16_bytes_at_a_time():
    """24 channels, which are no power of two: what a compiler must know for it is what the kernels tell it."""
    if version('triton') < (3, 8):
        pytest.skip('another interface of the compiler')
    code = run_python(COMPILE, TRITON_INTERPRET='0')
    access = re.findall(r'(?:ld|st)\.global\S*', code)
    assert code.count('.entry') == 2
    assert {word for word in access if not word.endswith('.v4.b32')} <= {'st.global.b32'}  # the two sums of a program
    assert sum(word.endswith('.v4.b32') for word in access) > 12
