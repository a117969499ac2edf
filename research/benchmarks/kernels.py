"""The Triton kernels of the dynamic 7x7 convolution and of the layer norm against PyTorch's own: right, then fast.

    python research/benchmarks/kernels.py --out report
    TRITON_INTERPRET=1 python research/benchmarks/kernels.py --device cpu --quick --out report    (no GPU)

Writes ``kernels.json`` and prints the same as tables. First every type and size against float64 (output and both
gradients), the gated convolution under torch.compile, autocast and checkpointing against the plain path; then medians
over the maps of the networks in training, the cache of the GPU emptied before every run. ``plain ...`` is PyTorch's,
``default`` what the network runs, the others are settings worth a trial; the norm in bfloat16 is that under autocast,
from bfloat16 to float32, with PyTorch's conversions. A check that fails is reported, the rest still runs, and the exit
status is 1. Measuring (not building) stops after ``--seconds`` for each of the two operations; ``--only`` takes one.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
import traceback
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mirage_arch import channel_norm as norm
from mirage_arch import dynamic_depthwise as depthwise
from mirage_arch import triton_kernels
from mirage_arch.mirage_arch import GatedConvolution
from research.common import parser_of

TYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}
LIMITS = {'float32': 1e-6, 'bfloat16': 4e-3, 'float16': 5e-4}  # relative, against float64: rounding of the result;
_INTERPRETER = 2  # times as much in Triton's interpreter, which cuts digits off where a GPU rounds
CHECKED = (
    (2, 3, 5, 9),
    (1, 1, 1, 1),
    (3, 10, 37, 53),
    (2, 40, 16, 16),
    (1, 5, 1, 30),
    (2, 4, 130, 3),
    (2, 16, 128, 128),
    (70000, 1, 1, 2),
)
TIMED = {  # (batch, channels, height, width) of the dynamic convolution in training, and of one 1080p image
    'T level 1': (32, 8, 128, 128),
    'T refinement': (32, 16, 128, 128),
    'T level 2': (32, 16, 64, 64),
    'T level 3': (32, 32, 32, 32),
    'T latent': (32, 64, 16, 16),
    'nano level 1': (32, 4, 128, 128),
    'nano level 2': (32, 8, 64, 64),
    'nano level 3': (32, 16, 32, 32),
    'nano latent': (32, 32, 16, 16),
    'S level 1': (32, 10, 128, 128),
    'S refinement': (32, 20, 128, 128),
    'T 1080p': (1, 16, 1080, 1920),
}
NORMS_CHECKED = ((2, 24, 5, 9), (1, 6, 1, 1), (3, 30, 37, 53), (2, 192, 16, 16), (2, 48, 128, 128), (1, 1000, 3, 2))
NORMS_TIMED = {  # of training with 32 crops of 128x128, and of one 1080p image
    'T level 1': (32, 24, 128, 128),
    'T refinement': (32, 48, 128, 128),
    'T level 2': (32, 48, 64, 64),
    'T level 3': (32, 96, 32, 32),
    'T latent': (32, 192, 16, 16),
    'nano level 1': (32, 12, 128, 128),
    'S level 1': (32, 30, 128, 128),
    'T 1080p': (1, 48, 1080, 1920),
}
SETTINGS = {  # of the convolution, and of the gradient of its kernels
    'convolve': ({'warps': 1}, {'warps': 4}, {'px': 2}, {'rows': 16}, {'rows': 32}, {'rows': 64}),
    'weight_gradient': ({'warps': 4}, {'block': 8}, {'rows': 16}, {'rows': 32}, {'rows': 64}),
}
NORM_SETTINGS = {
    'normalise': ({'elements': 1024}, {'elements': 4096}, {'warps': 2}, {'elements': 4096, 'warps': 8}),
    'gradients': (
        {'elements': 1024},
        {'elements': 4096, 'warps': 8},
        {'elements': 1024, 'resident': 8},
        {'resident': 2},
        {'resident': 8},
        {'resident': 16},
    ),
}


def slice_of_wide(b: int, c: int, h: int, w: int, dtype: torch.dtype, device: str) -> Tensor:
    """The last channels of a map of the gated convolution's width, channels_last: what the network convolves."""
    wide = torch.randn(b, 2 * int(8 / 3 * c), h, w, device=device, dtype=dtype)
    return wide.contiguous(memory_format=torch.channels_last)[:, -c:]


def distance(value: Tensor, expected: Tensor) -> float:
    """Relative distance of two tensors in float64; infinite if ``value`` is not finite."""
    value, expected = value.double(), expected.double()
    found = float((value - expected).norm() / expected.norm().clamp_min(1e-30))
    return found if math.isfinite(found) else math.inf


def with_gradients(function, *values: Tensor) -> list[Tensor]:
    """Result and gradients of all but the last of ``values``, which is the gradient of the result."""
    inputs = [t.detach().requires_grad_() for t in values[:-1]]
    out = function(*inputs)
    return [out.detach(), *torch.autograd.grad(out, inputs, values[-1])]


def judged(shape, name: str, device: str, plain, function, values, kernels) -> dict:
    """Output and gradients of a function against ``plain`` in float64, and twice the same bits."""
    expected = with_gradients(plain, *(t.double() for t in values))
    found, again = (with_gradients(function, *values) for _ in range(2))
    errors = [distance(f, e) for f, e in zip(found, expected)]
    limit = LIMITS[name] * (_INTERPRETER if device == 'cpu' else 1)
    equal = all(torch.equal(f, a) for f, a in zip(found, again))
    passed = equal and max(errors) <= limit and not kernels.failed
    return {'shape': shape, 'dtype': name, 'errors': errors, 'deterministic': equal, 'passed': passed}


def check_values(shapes, device: str) -> list[dict]:
    """Output and gradients of every type and size against float64, and twice the same bits."""
    rows = []
    for shape in shapes:
        for name, dtype in TYPES.items():
            if name == 'float16' and shape not in CHECKED[:3]:
                continue
            b, c = shape[:2]
            inputs = (
                slice_of_wide(*shape, dtype, device),
                torch.randn(b, c, 7, 7, device=device, dtype=dtype),
                slice_of_wide(*shape, dtype, device),
            )
            rows.append(
                judged(shape, name, device, depthwise.plain, depthwise.dynamic_depthwise, inputs, depthwise.kernels)
            )
    return rows


def norm_inputs(shape, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A channels_last map away from zero, weight, bias, and a gradient of the result."""
    x, gradient = torch.randn(2, *shape, device=device, dtype=dtype)
    weight, bias = torch.rand(2, shape[1], device=device, dtype=dtype)
    last = torch.channels_last
    return (x + 1).contiguous(memory_format=last), weight + 0.5, bias, gradient.contiguous(memory_format=last)


def check_norms(shapes, device: str) -> list[dict]:
    """The same for the norm."""
    return [
        judged(shape, name, device, norm.plain, norm.channel_norm, norm_inputs(shape, dtype, device), norm.kernels)
        for shape in shapes
        for name, dtype in TYPES.items()
    ]


def check_module(device: str, size: int, backend: str) -> list[dict]:
    """The gated convolution by the kernels, under everything that wraps it, against the plain path."""
    torch.manual_seed(0)
    module = GatedConvolution(8, False, 0.0, True).to(device, memory_format=torch.channels_last)
    image = torch.randn(2, 8, size, size + 3, device=device).contiguous(memory_format=torch.channels_last)

    def run(function, dtype, recompute=False):
        x = image.clone().requires_grad_()
        with torch.autocast(torch.device(device).type, dtype=dtype, enabled=dtype is not torch.float32):
            out = checkpoint(function, x, use_reentrant=False) if recompute else function(x)
        return [out.detach(), *torch.autograd.grad(out.float().square().sum(), (x, *module.parameters()))]

    rows = []
    for name in ('float32', 'bfloat16'):
        dtype = TYPES[name]
        triton_kernels.enabled = False
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        expected = run(module, dtype)
        triton_kernels.enabled = True
        torch._dynamo.reset()
        compiled = torch.compile(module, dynamic=False, fullgraph=True, backend=backend)
        for what, function, recompute in (
            ('eager', module, False),
            ('checkpointed', module, True),
            ('compiled', compiled, False),
            ('compiled, checkpointed', compiled, True),
        ):
            start = time.perf_counter()
            error = max(distance(f, e) for f, e in zip(run(function, dtype, recompute), expected))
            rows.append(
                {
                    'what': what,
                    'dtype': name,
                    'error': error,
                    'seconds': time.perf_counter() - start,
                    'passed': error <= (1e-4 if dtype is torch.float32 else 0.05) and not depthwise.kernels.failed,
                }
            )
    return rows


def milliseconds(function, device: str, seconds: float = 0.03) -> float:
    """Median duration of a call, the GPU's cache filled with something else before each."""
    function()
    if device == 'cpu':
        start = time.perf_counter()
        function()
        return 1e3 * (time.perf_counter() - start)
    other = torch.empty(128 * 2**20, dtype=torch.uint8, device=device)
    times, begun = [], time.perf_counter()
    while len(times) < 5 or (time.perf_counter() - begun < seconds and len(times) < 50):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        other.zero_()
        start.record()
        function()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def measure(shape, name: str, device: str) -> dict:
    """Durations of one map: PyTorch's three convolutions, the kernels' default and the best setting of each."""
    from mirage_arch.dynamic_depthwise_kernels import convolve, weight_gradient

    dtype, (b, c) = TYPES[name], shape[:2]
    x, g = (slice_of_wide(*shape, dtype, device) for _ in range(2))
    weight = torch.randn(b, c, 7, 7, device=device, dtype=dtype)
    xg, wg = x.detach().requires_grad_(), weight.detach().requires_grad_()
    out = depthwise.plain(xg, wg)
    times = {
        'plain output': milliseconds(lambda: depthwise.plain(x, weight), device),
        'plain gradients': milliseconds(lambda: torch.autograd.grad(out, (xg, wg), g, retain_graph=True), device),
    }
    for kernel, call in (
        ('convolve', lambda **k: convolve(x, weight, True, **k)),
        ('weight_gradient', lambda **k: weight_gradient(x, g, **k)),
    ):
        times[kernel] = {'default': milliseconds(call, device)}
        for setting in SETTINGS[kernel]:
            times[kernel][json.dumps(setting)] = milliseconds(lambda c=call, s=setting: c(**s), device)
    mine = 2 * times['convolve']['default'] + times['weight_gradient']['default']
    return {**times, 'ratio': (times['plain output'] + times['plain gradients']) / mine}


def measure_norm(shape, name: str, device: str) -> dict:
    """Durations of one map: PyTorch's norm and its gradients, the kernels' default and the best setting of each."""
    from mirage_arch.channel_norm_kernels import gradients, normalise

    x, weight, bias, g = norm_inputs(shape, TYPES[name], device)
    weight, bias, g = weight.float(), bias.float(), g.float()
    inputs = [t.detach().requires_grad_() for t in (x, weight, bias)]

    def plain(x, weight, bias):
        return norm.plain(x.float(), weight, bias)

    out, result = plain(*inputs), torch.empty_like(g)
    times = {
        'plain output': milliseconds(lambda: plain(x, weight, bias), device),
        'plain gradients': milliseconds(lambda: torch.autograd.grad(out, inputs, g, retain_graph=True), device),
    }
    for kernel, call in (
        ('normalise', lambda **k: normalise(x, weight, bias, 1e-5, result, **k)),
        ('gradients', lambda **k: gradients(x, weight, g, 1e-5, **k)),
    ):
        times[kernel] = {'default': milliseconds(call, device)}
        for setting in NORM_SETTINGS[kernel]:
            times[kernel][json.dumps(setting)] = milliseconds(lambda c=call, s=setting: c(**s), device)
    mine = times['normalise']['default'] + times['gradients']['default']
    return {**times, 'ratio': (times['plain output'] + times['plain gradients']) / mine}


def main(arguments: list[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument('--out', type=Path, required=True, help='folder of kernels.json')
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--seconds', type=float, default=30, help='no new measurement starts after so long')
    parser.add_argument('--only', choices=('convolution', 'norm'), help='one of the operations; both without')
    parser.add_argument('--quick', action='store_true', help='tiny sizes, as a dry run')
    args = parser.parse_args(arguments)
    device = torch.cuda.get_device_name() if args.device == 'cuda' else 'cpu'
    report: dict = {'torch': torch.__version__, 'device': device, 'errors': []}
    try:
        import triton

        report['triton'] = triton.__version__
    except ImportError:
        parser.error('Triton is not installed')
    torch.manual_seed(0)

    def section(name: str, function, *values):
        start = time.perf_counter()
        try:
            report[name] = function(*values)
        except Exception:
            report['errors'].append({'section': name, 'traceback': traceback.format_exc()})
            print(report['errors'][-1]['traceback'], flush=True)
        print(f'-- {name}: {time.perf_counter() - start:.1f} s', flush=True)
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / 'kernels.json').write_text(json.dumps(report, indent=1))

    def print_values(name: str):
        for row in report.get(name, ()):
            print('ok  ' if row['passed'] else 'FAIL', row['shape'], row['dtype'], *(f'{e:.1e}' for e in row['errors']))

    def time_all(prefix: str, shapes: dict, function, settings: dict):
        begun = time.perf_counter()
        for name in ('bfloat16', 'float32'):
            for label, shape in shapes.items():
                key = f'{prefix}{label} {name}'
                if time.perf_counter() - begun < args.seconds:
                    section(key, function, shape, name, args.device)
                    found = report.get(key, {})
                    if found:
                        print(
                            f'{prefix}{label} {shape} {name}: {found["ratio"]:.1f} times PyTorch;',
                            ', '.join(f'{key} {value:.4f}' for key, value in found.items() if isinstance(value, float)),
                        )
                    for kernel in settings:
                        print('  ', kernel, *(f'{key}: {ms:.4f}' for key, ms in found.get(kernel, {}).items()), 'ms')

    if args.only != 'norm':
        section('values', check_values, CHECKED[:2] if args.quick else CHECKED, args.device)
        print_values('values')
        section('module', check_module, args.device, 4 if args.quick else 64, 'eager' if args.quick else 'inductor')
        for row in report.get('module', ()):
            print(
                'ok  ' if row['passed'] else 'FAIL',
                row['what'],
                row['dtype'],
                f'{row["error"]:.1e}',
                f'{row["seconds"]:.1f} s',
            )
        time_all('', {'tiny': (1, 2, 8, 8)} if args.quick else TIMED, measure, SETTINGS)
    if args.only != 'convolution':
        section('norms', check_norms, NORMS_CHECKED[:2] if args.quick else NORMS_CHECKED, args.device)
        print_values('norms')
        time_all('norm, ', {'tiny': (1, 6, 4, 4)} if args.quick else NORMS_TIMED, measure_norm, NORM_SETTINGS)
    failed = depthwise.kernels.failed or norm.kernels.failed
    checks = [row for name in ('values', 'module', 'norms') for row in report.get(name, [])]
    return int(bool(report['errors']) or failed or not all(row['passed'] for row in checks))


if __name__ == '__main__':
    sys.exit(main())
