"""Run by test_dynamic_depthwise in its own process with TRITON_INTERPRET=1: prints what the kernels gave, as JSON."""

import json
import logging

import torch
from torch.utils.checkpoint import checkpoint

from mirage_arch import dynamic_depthwise as depthwise
from mirage_arch import dynamic_depthwise_kernels as kernels
from mirage_arch import triton_kernels
from mirage_arch.mirage_arch import GatedConvolution


def distance(value, expected):
    return float((value.double() - expected).norm() / expected.norm().clamp_min(1e-30))


def inputs(b, c, h, w, dtype=torch.float32):
    wide = torch.randn(b, c + 3, h, w).to(dtype).contiguous(memory_format=torch.channels_last)
    gradient = torch.randn(b, c, h, w).to(dtype).contiguous(memory_format=torch.channels_last)
    return wide[:, 3:], torch.randn(b, c, 7, 7).to(dtype), gradient


def with_gradients(function, x, weight, gradient):
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    out = function(x, weight)
    return [out.detach(), *torch.autograd.grad(out, (x, weight), gradient)]


def compared(shape, dtype=torch.float32):
    given = inputs(*shape, dtype)
    expected = with_gradients(depthwise.plain, *(t.double() for t in given))
    found = with_gradients(depthwise.dynamic_depthwise, *given)
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    assert all(t.dtype is dtype for t in found)
    assert all(f.shape == e.shape for f, e in zip(found, expected))
    return [distance(f, e) for f, e in zip(found, expected)]


def strips():
    """Several programs to every axis: rows, columns, channels and samples."""
    x, weight, gradient = inputs(2, 5, 3, 19)
    assert kernels._channels_last(x) is x
    out, dx, dw = with_gradients(depthwise.plain, *(t.double() for t in (x, weight, gradient)))
    return [
        distance(kernels.convolve(x, weight, False, px=2, warps=1, rows=2), out),
        distance(kernels.convolve(gradient, weight, True, px=4, warps=1, rows=3), dx),
        distance(kernels.weight_gradient(x, gradient, px=2, rows=2, block=4), dw),
    ]


def contiguous():
    """A map that is not channels_last."""
    x, weight, gradient = (t.contiguous() for t in inputs(1, 3, 2, 3))
    expected = with_gradients(depthwise.plain, *(t.double() for t in (x, weight, gradient)))
    return [distance(f, e) for f, e in zip(with_gradients(depthwise.dynamic_depthwise, x, weight, gradient), expected)]


def module(amp):
    """The gated convolution alone, recomputed and compiled, with kernels and without."""
    torch.manual_seed(0)
    net = GatedConvolution(2, False, 0.0, True)
    image = torch.randn(1, 2, 2, 3).contiguous(memory_format=torch.channels_last)

    def run(function, recompute=False):
        x = image.clone().requires_grad_()
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=amp):
            out = checkpoint(function, x, use_reentrant=False) if recompute else function(x)
        return [
            t.double() for t in (out.detach(), *torch.autograd.grad(out.float().square().sum(), (x, *net.parameters())))
        ]

    triton_kernels.enabled = False
    expected = run(net)
    triton_kernels.enabled = True
    compiled = torch.compile(net, dynamic=False, fullgraph=True, backend='aot_eager')
    found = (run(net), run(net, recompute=True), run(compiled), run(compiled, recompute=True))
    return [max(distance(f, e) for f, e in zip(values, expected)) for values in found]


def main():
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger('mirage_arch').addHandler(handler)
    torch.manual_seed(0)
    report = {f'float32 {shape}': compared(shape) for shape in ((2, 3, 5, 9), (1, 1, 1, 1), (1, 20, 2, 5))}
    report |= {'strips': strips(), 'contiguous': contiguous(), 'module': module(amp=False)}
    report['bfloat16'] = compared((1, 2, 1, 4), torch.bfloat16)
    report['float16'] = compared((1, 2, 1, 4), torch.float16)
    report['module bfloat16'] = module(amp=True)
    empty = depthwise.dynamic_depthwise(torch.zeros(0, 3, 4, 4), torch.zeros(0, 3, 7, 7))
    print(json.dumps({'errors': report, 'messages': messages, 'empty': list(empty.shape)}))


if __name__ == '__main__':
    main()
