"""Time, memory and equality of the ways to evaluate MIRAGE, measured alternately on this machine.

    python research/benchmarks/inference.py --sizes 224x224 512x512 1920x1080 --memory --json inference.json
    python research/benchmarks/inference.py --sizes 256x256 --batch 8 --methods published plain fast --device cuda
    mirage-basicsr export weights.pth mirage.onnx
    python research/benchmarks/inference.py --weights weights.pth --onnx mirage.onnx --methods fast ort openvino

Methods: ``published`` costs what the authors' network costs (contiguous layout, layer norm operation by operation),
``plain`` is ``net.eval()(x)`` as this package builds it, ``compile`` the same under torch.compile, ``fast`` the exact
strip-wise evaluation, ``ort`` and ``openvino`` run an exported file. Without --weights they are random; times do not
depend on them.
Sizes are WIDTHxHEIGHT. Every round runs every method once; medians over the rounds are reported.
"""
from __future__ import annotations

import argparse
import copy
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mirage_arch.checkpoints import load_network
from mirage_arch.fast_forward import prepare_fast
from mirage_arch.mirage_arch import ChannelNorm, Resample, mirage_small, mirage_tiny

VARIANTS = {'tiny': mirage_tiny, 'small': mirage_small}
DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
METHODS = ('published', 'plain', 'compile', 'fast', 'ort', 'openvino')


class UnfusedNorm(nn.Module):
    """The norm as published: (b, c, h, w) -> (b, h*w, c), the formula operation by operation, and back."""

    def __init__(self, norm: ChannelNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.body.weight, norm.body.bias, norm.body.eps

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        y = x.permute(0, 2, 3, 1).reshape(b, h * w, c)
        mean = y.mean(-1, keepdim=True)
        variance = y.var(-1, keepdim=True, unbiased=False)
        y = (y - mean) / torch.sqrt(variance + self.eps) * self.weight + self.bias
        return y.reshape(b, h, w, c).permute(0, 3, 1, 2).contiguous()


def published(net: nn.Module) -> nn.Module:
    """A copy that costs what the authors' network costs: contiguous maps and the unfused norm."""
    net = copy.deepcopy(net)
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, ChannelNorm):
                setattr(module, name, UnfusedNorm(child))
            elif isinstance(child, Resample):
                setattr(module, name, child.body)
    net.patch_embed.register_forward_pre_hook(lambda module, inputs: (inputs[0].contiguous(),))
    return net


def build(method: str, net: nn.Module, precision: str, onnx: str | None) -> Callable[[Tensor], Tensor]:
    """A function from image batch to image batch; below fp32, ``published``, ``plain`` and ``compile`` use autocast."""
    dtype, device = DTYPES[precision], next(net.parameters()).device
    if method == 'fast':
        return prepare_fast(net, dtype)
    if method in ('ort', 'openvino'):
        return exported(method, onnx, precision)
    net = {'published': published, 'plain': lambda n: n, 'compile': torch.compile}[method](net)

    def run(x: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return net(x).float()
    return run


def exported(method: str, path: str | None, precision: str) -> Callable[[Tensor], Tensor]:
    """Run an ONNX file, as mirage-basicsr export writes it."""
    if path is None:
        raise SystemExit(f'--methods {method} needs --onnx FILE (write one with mirage-basicsr export)')
    if method == 'ort':
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, options, providers=onnxruntime.get_available_providers())
        name = session.get_inputs()[0].name
        return lambda x: torch.from_numpy(session.run(None, {name: x.cpu().numpy()})[0])
    import openvino
    hint = {'fp32': 'f32', 'bf16': 'bf16', 'fp16': 'f16'}[precision]
    model = openvino.Core().compile_model(path, 'CPU', {
        'INFERENCE_PRECISION_HINT': hint, 'INFERENCE_NUM_THREADS': torch.get_num_threads()})
    return lambda x: torch.from_numpy(next(iter(model([x.cpu().numpy()]).values())).copy())


def flops(net: nn.Module, shape: tuple[int, ...]) -> int:
    """Two operations for each multiply-add of products and convolutions, counted without computing them."""
    shape = (*shape[:2], *(-(-n // 8) * 8 for n in shape[2:]))  # padding as the network does needs real tensors
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        copy.deepcopy(net).to('meta')(torch.empty(shape, device='meta'))
    return counter.get_total_flops()


def product_rates(device: torch.device) -> dict[str, float]:
    """Operations per second of large matrix products: torch.mm and, on a CPU, oneDNN's, which may be far faster."""
    a, rates = torch.randn(2048, 2048, device=device), {}
    half = a.bfloat16()
    products = {'fp32 mm': lambda: a @ a, 'bf16 mm': lambda: half @ half}
    if device.type == 'cpu' and torch.backends.mkldnn.is_available():
        products['fp32 oneDNN'] = lambda: torch.ops.mkldnn._linear_pointwise(a, a, None, 'none', [], '')
    for name, product in products.items():
        rates[name] = 2 * 2048 ** 3 / min(timed(product, device) for _ in range(8))
    return rates


def timed(function: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    function()
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def network(args: argparse.Namespace) -> nn.Module:
    if args.weights:
        return load_network(args.weights, spd_head=False).to(args.device)
    torch.manual_seed(0)
    return VARIANTS[args.variant](spd_head=False).eval().to(args.device)


def images(args: argparse.Namespace, size: tuple[int, int]) -> Tensor:
    return torch.rand(args.batch, 3, size[1], size[0], generator=torch.Generator().manual_seed(0)).to(args.device)


def peak_memory(args: argparse.Namespace, method: str, precision: str, size: tuple[int, int]) -> int | None:
    """Bytes over those in use before the image is restored, from a fresh process; None where it fails."""
    command = [sys.executable, __file__, '--one', method, precision, f'{size[0]}x{size[1]}', '--variant', args.variant,
               '--device', args.device, '--batch', str(args.batch), '--threads', str(args.threads)]
    for name in ('onnx', 'weights'):
        command += [f'--{name}', getattr(args, name)] if getattr(args, name) else []
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        print(f'  {method} {precision}: no memory figure, the process ended with {result.returncode}', file=sys.stderr)
        return None
    return int(result.stdout.split()[-1])


@torch.no_grad()
def one(args: argparse.Namespace, method: str, precision: str, size: tuple[int, int]) -> None:
    """Body of the fresh process: restore one image and print the peak of memory over the start."""
    run = build(method, network(args), precision, args.onnx)
    x = images(args, size)
    run(x[..., :64, :64])  # libraries load their kernels on the first call
    if x.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(x)
        print(torch.cuda.max_memory_allocated() - before)
        return
    with open('/proc/self/statm') as file:
        before = int(file.read().split()[1]) * resource.getpagesize()
    run(x)
    print(max(0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before))


@torch.no_grad()
def measure(args: argparse.Namespace, size: tuple[int, int], rates: dict[str, float]) -> list[dict]:
    """Rows of the table for one size."""
    net, x = network(args), images(args, size)
    runs = {(m, p): build(m, net, p, args.onnx) for m in args.methods for p in args.precision
            if m != 'published' or p == args.precision[0]}
    warm_up = {key: timed(lambda run=run, y=x if key[0] == 'compile' else x[..., :64, :64]: run(y), x.device)
               for key, run in runs.items()}
    seconds, outputs = {key: [] for key in runs}, {}
    for _ in range(args.rounds):
        for key, run in runs.items():
            seconds[key].append(timed(lambda run=run, key=key: outputs.__setitem__(key, run(x)), x.device))
    work = flops(net, tuple(x.shape))
    first = next(iter(runs))
    reference, base = outputs[first].cpu(), statistics.median(seconds[first])
    rows = []
    for (method, precision), times in seconds.items():
        median = statistics.median(times)
        difference = outputs[method, precision].cpu().float() - reference
        error = float(difference.square().mean())
        row = {'size': f'{size[0]}x{size[1]}', 'batch': args.batch, 'method': method, 'precision': precision,
               'seconds': median, 'all_seconds': times, 'microseconds_per_pixel': 1e6 * median / x[:, 0].numel(),
               'speedup': base / median, 'first_call_seconds': warm_up[method, precision],
               'floors': {name: median * rate / work for name, rate in rates.items()},
               'max_relative_difference': float(difference.abs().max() / reference.abs().max()),
               'psnr_to_first': None if error == 0 else -10 * torch.log10(torch.tensor(error)).item()}
        if args.memory:
            row['peak_bytes'] = peak_memory(args, method, precision, size)
        rows.append(row)
    return rows


def report(rows: list[dict], rates: dict[str, float]) -> str:
    """The rows as a Markdown table. Floor: the time over that of its multiply-adds as one fp32 product."""
    floors = [name for name in rates if name.startswith('fp32')]
    lines = ['| size | method | | seconds | us/pixel | speed-up | ' + ' | '.join(f'x floor ({f})' for f in floors)
             + ' | max diff | PSNR to first | peak memory |', '|' + '---|' * (9 + len(floors))]
    for row in rows:
        memory, psnr = row.get('peak_bytes'), row['psnr_to_first']
        cells = [row['size'] + (f' x{row["batch"]}' if row['batch'] > 1 else ''), row['method'], row['precision'],
                 f'{row["seconds"]:.3f}', f'{row["microseconds_per_pixel"]:.2f}', f'{row["speedup"]:.2f}',
                 *(f'{row["floors"][f]:.2f}' for f in floors), f'{row["max_relative_difference"]:.1e}',
                 '' if psnr is None else f'{psnr:.1f} dB', '' if memory is None else f'{memory / 1e9:.2f} GB']
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def size_of(text: str) -> tuple[int, int]:
    width, height = text.lower().split('x')
    return int(width), int(height)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--sizes', nargs='+', type=size_of, default=[(224, 224), (512, 512)], metavar='WxH')
    parser.add_argument('--variant', choices=VARIANTS, default='tiny')
    parser.add_argument('--weights', metavar='FILE', help='time these weights instead of random ones of --variant')
    parser.add_argument('--precision', nargs='+', choices=DTYPES, default=['fp32', 'bf16'])
    parser.add_argument('--methods', nargs='+', choices=METHODS, default=['published', 'plain', 'fast'],
                        help='the first one is what the others are compared with')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--memory', action='store_true', help='peak memory too, each from a fresh process')
    parser.add_argument('--onnx', metavar='FILE', help='exported network for ort and openvino')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures there, too')
    parser.add_argument('--one', nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.one:
        one(args, args.one[0], args.one[1], size_of(args.one[2]))
        return
    rates = product_rates(torch.device(args.device))
    machine = {'processor': _processor(args.device), 'threads': args.threads, 'torch': torch.__version__,
               'products_per_second': rates}
    print(f'{machine["processor"]}, {args.threads} threads, PyTorch {torch.__version__}; '
          + ', '.join(f'{name} {rate / 1e9:.0f} GFLOP/s' for name, rate in rates.items()), flush=True)
    rows = []
    for size in args.sizes:
        rows += measure(args, size, rates)
        print(report(rows, rates) if size == args.sizes[-1] else f'{size[0]}x{size[1]} done', flush=True)
        if args.json:
            args.json.write_text(json.dumps({'machine': machine, 'variant': args.variant, 'rows': rows}, indent=1))


def _processor(device: str) -> str:
    if device.startswith('cuda'):
        return torch.cuda.get_device_name(device)
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        return next(line.split(':')[1].strip() for line in lines if line.startswith('model name'))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == '__main__':
    main()
