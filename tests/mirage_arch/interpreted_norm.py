"""Run by test_channel_norm in its own process with TRITON_INTERPRET=1: prints what the kernels gave, as JSON."""

import json
import logging

import torch
from torch.nn.functional import layer_norm

from mirage_arch import channel_norm as norm
from mirage_arch import channel_norm_kernels as kernels
from mirage_arch import fast_forward, triton_kernels
from mirage_arch.fast_kernels import TritonKernels
from mirage_arch.mirage_arch import ChannelNorm, MIRAGEArch

norm.least_pixels = 0
LAST = {'memory_format': torch.channels_last}
calls = {'normalise': 0, 'gradients': 0}


def counted(name, function):
    def call(*args, **options):
        calls[name] += 1
        return function(*args, **options)

    return call


def since(before):
    return [calls[name] - before[name] for name in calls]


def distance(value, expected):
    return float((value.double() - expected).norm() / expected.norm().clamp_min(1e-30))


def draw(b, c, h, w, dtype=torch.float32):
    """A slice of the channels of a wider map, away from zero; weight, bias, gradient."""
    wide = (2 * torch.randn(b, c + 3, h, w) + 1).to(dtype).contiguous(**LAST)
    return wide[:, 3:], torch.rand(c).add(0.5).to(dtype), torch.randn(c).to(dtype), torch.randn(b, c, h, w).to(dtype)


def reference(x, weight, bias):
    return layer_norm(x.movedim(1, -1), weight.shape, weight, bias, 1e-5).movedim(-1, 1)


def with_gradients(function, *values):
    *inputs, gradient = values
    inputs = [t.detach().requires_grad_() for t in inputs]
    out = function(*inputs)
    return [out.detach(), *torch.autograd.grad(out, inputs, gradient)]


def errors(found, given):
    expected = with_gradients(reference, *(t.double() for t in given))
    assert all(f.shape == e.shape for f, e in zip(found, expected))
    return [distance(f, e) for f, e in zip(found, expected)]


def compared(given):
    found = with_gradients(norm.channel_norm, *given)
    assert all(t.dtype is given[0].dtype for t in found)
    assert found[0].is_contiguous(**LAST) and found[1].is_contiguous(**LAST)
    return errors(found, given)


def layouts():
    x, weight, bias, gradient = draw(2, 6, 3, 5)
    assert kernels._pixels(x).data_ptr() == x.data_ptr()
    expanded, sliced = gradient[:1, :1, :1, :1].expand_as(x), draw(2, 6, 3, 5)[0]
    maps = {'contiguous': x.contiguous(), 'crop': x[:, :, 1:, 2:], 'one column': x[..., :1]}
    found = {name: compared((m, weight, bias, gradient[..., : m.shape[2], : m.shape[3]])) for name, m in maps.items()}
    return {
        **found,
        'expanded gradient': compared((x, weight, bias, expanded)),
        'sliced gradient': compared((x, weight, bias, sliced)),
    }


def many_programs():
    """Tiles of 2 pixels, written to a slice; of the gradients three programs that take them in turn."""
    given = x, weight, bias, gradient = draw(2, 24, 3, 5)
    wide = torch.full((2, 28, 3, 5), 7.0).contiguous(**LAST)
    out = wide[:, 2:26]
    kernels.normalise(x, weight, bias, 1e-5, out, elements=64)
    assert bool((wide[:, :2] == 7).all() and (wide[:, 26:] == 7).all()), 'written beside the slice'
    dx, affine = kernels.gradients(x, weight, gradient, 1e-5, elements=64, resident=3)
    return errors([out, dx, *affine], given)


def parts_of_the_gradients():
    x, weight, bias, gradient = draw(2, 6, 3, 5)
    whole = with_gradients(norm.channel_norm, x, weight, bias, gradient)
    of_x = x.detach().requires_grad_()
    (dx,) = torch.autograd.grad(norm.channel_norm(of_x, weight, bias), of_x, gradient)
    affine = [t.detach().requires_grad_() for t in (weight, bias)]
    found = torch.autograd.grad(norm.channel_norm(x, *affine), affine, gradient)
    return all(torch.equal(a, b) for a, b in zip(whole[1:], (dx, *found)))


def autocast():
    """bfloat16 in, float32 out, as PyTorch has it on a GPU; without autocast it would be refused there."""
    x, weight, bias, _ = draw(2, 6, 3, 5)
    x, gradient = x.bfloat16(), torch.randn(x.shape)
    module = ChannelNorm(6)
    assert not norm.applies(x, module.body) and norm.applies(x.float(), module.body)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert norm.applies(x, module.body)
        found = with_gradients(norm.channel_norm, x, weight, bias, gradient)
    expected = with_gradients(reference, *(t.double() for t in (x, weight, bias, gradient)))
    return {
        'types': [str(t.dtype) for t in found],
        'errors': [distance(f, e) for f, e in zip(found, expected)],
    }


def second_derivatives():
    def twice(function, *values):
        *inputs, gradient = values
        inputs = [t.detach().requires_grad_() for t in inputs]
        first = torch.autograd.grad(function(*inputs), inputs, gradient, create_graph=True)
        return torch.autograd.grad(sum(t.square().sum() for t in first), inputs[:2])

    given = draw(2, 6, 3, 5)
    found, expected = twice(norm.channel_norm, *given), twice(reference, *(t.double() for t in given))
    return [distance(f, e) for f, e in zip(found, expected)]


def network():
    """A whole network with the kernels and without, in training, recomputed, compiled, and in strips."""
    torch.manual_seed(0)
    options = {
        'dim': 6,
        'num_blocks': (1, 1, 1, 1),
        'num_refinement_blocks': 1,
        'dynamic_conv': False,
        'drop_path_rate': 0.0,
    }
    net = MIRAGEArch(**options, spd_head=False)
    with torch.no_grad():
        for p in net.parameters():
            if p.dim() == 1:
                p.add_(0.3 * torch.randn_like(p))
    image = torch.rand(2, 3, 13, 16)
    blocks = sum(isinstance(module, ChannelNorm) for module in net.modules())

    def run(function):
        before = dict(calls)
        out = function(image)
        found = [out.detach(), *torch.autograd.grad(out.square().sum(), list(net.parameters()))]
        return found, since(before)

    def largest(found):
        scale = max(float(e.double().norm()) for e in expected[1:])
        return max(float((f.double() - e).norm() / (e.double().norm() + 1e-4 * scale)) for f, e in zip(found, expected))

    report = {'norms': blocks}
    triton_kernels.enabled = False
    expected, report['off'] = run(net)
    triton_kernels.enabled = True
    for name, change in (('on', lambda: net), ('compiled', compiled(net)), ('recomputed', recomputing(net))):
        found, count = run(change())
        report[name] = [largest(found), *count]
    net.checkpoint_blocks = False
    fast_forward.choose_kernels = lambda *_: TritonKernels
    net.eval()
    with torch.no_grad():
        triton_kernels.enabled = False
        whole = net(image)
        triton_kernels.enabled = True
        for dtype in (torch.float32, torch.bfloat16):
            before = dict(calls)
            strips = fast_forward.prepare_fast(net, dtype, strip_rows=5)(image)
            report[f'strips {dtype}'] = [float((strips - whole).abs().max() / whole.abs().max()), *since(before)]
    return report


def compiled(net):
    return lambda: torch.compile(net, dynamic=False, fullgraph=True, backend='aot_eager')


def recomputing(net):
    def switch():
        net.checkpoint_blocks = True
        return net

    return switch


def main():
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger('mirage_arch').addHandler(handler)
    for name in calls:
        setattr(kernels, name, counted(name, getattr(kernels, name)))
    torch.manual_seed(0)
    shapes = ((2, 24, 5, 9), (1, 3, 1, 1), (1, 192, 2, 3), (1, 1000, 1, 2))
    exact = {f'float32 {shape}': compared(draw(*shape)) for shape in shapes}
    exact |= {**layouts(), 'many programs': many_programs(), 'second derivatives': second_derivatives()}
    report = {
        'exact': exact,
        'two channels': compared(draw(1, 2, 33, 32)),
        'bfloat16': compared(draw(2, 24, 3, 5, torch.bfloat16)),
        'float16': compared(draw(2, 24, 3, 5, torch.float16)),
        'autocast': autocast(),
        'parts': parts_of_the_gradients(),
        'network': network(),
        'empty': [list(t.shape) for t in with_gradients(norm.channel_norm, *draw(0, 3, 4, 4))],
        'messages': messages,
    }
    print(json.dumps(report))


if __name__ == '__main__':
    main()
