"""Time, memory and equality of the ways to evaluate MIRAGE, each in turn with the first of them.

    python research/benchmarks/inference.py --out report      on a GPU 512x512, 1080p and 4K, one image and eight
    python research/benchmarks/inference.py --sizes 224x224 512x512 --memory --device cpu
    python research/benchmarks/inference.py --quick           a trial of the command itself
    mirage-basicsr export weights.pth mirage.onnx
    python research/benchmarks/inference.py --weights weights.pth --onnx mirage.onnx --methods strips ort openvino

Methods: ``published`` costs what the authors' network costs (contiguous layout, layer norm operation by operation,
PyTorch's own operations), ``plain`` is ``net.eval()(x)`` as this package builds it, ``compile`` the same under
torch.compile (PyTorch's own best), ``strips`` the exact strip-wise evaluation, ``ort`` and ``openvino`` run an exported
file. float32 is IEEE, on a GPU too; ``tf32`` lets convolutions use TF32, those of ``strips`` never. Without --weights
they are random; times do not depend on them. Sizes are WIDTHxHEIGHT. Every row is printed and written to
``inference.json`` and ``inference.md`` as it comes; after ``--seconds`` no further one is begun.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch._dynamo
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mirage_arch import triton_kernels
from mirage_arch.checkpoints import load_network
from mirage_arch.fast_forward import prepare_fast
from mirage_arch.ieee import evaluation_kernels
from mirage_arch.mirage_arch import ChannelNorm, Resample, mirage_mini, mirage_nano, mirage_small, mirage_tiny
from mirage_ir.measuring.cost import process_peak
from research.benchmarks.report import Report, add_options, failure, machine, profile, told_by_fresh_process
from research.common import parser_of

VARIANTS = {'tiny': mirage_tiny, 'small': mirage_small, 'nano': mirage_nano, 'mini': mirage_mini}
DTYPES = {'fp32': torch.float32, 'tf32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
METHODS = ('published', 'plain', 'compile', 'strips', 'ort', 'openvino')
_OWN_TYPES = ('strips', 'ort', 'openvino')  # no autocast around them


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
    """A function from image batch to image batch; ``published``, ``plain`` and ``compile`` use autocast."""
    dtype, device = DTYPES[precision], next(net.parameters()).device
    if method in _OWN_TYPES:
        run = prepare_fast(net, dtype) if method == 'strips' else exported(method, onnx, precision)
    else:
        forward = {'published': published, 'plain': lambda n: n, 'compile': compiled}[method](net)

        def run(x: Tensor) -> Tensor:
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                return forward(x).float()

    def evaluate(x: Tensor) -> Tensor:
        with kernels_of(method, precision):
            return run(x)

    return evaluate


def compiled(net: nn.Module) -> nn.Module:
    """For one size; whatever would run uncompiled instead is an error, as the row would show something else."""
    torch._dynamo.config.recompile_limit = 1000  # by itself 8 sizes and types
    return torch.compile(net, dynamic=False, fullgraph=True)


@contextlib.contextmanager
def kernels_of(method: str, precision: str) -> Iterator[None]:
    """TF32 and the Triton kernels as a row has them."""
    before = triton_kernels.enabled
    triton_kernels.enabled = before and method != 'published'
    try:
        with evaluation_kernels():
            torch.backends.cudnn.allow_tf32 = precision == 'tf32'
            yield
    finally:
        triton_kernels.enabled = before


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

    hint = {'fp32': 'f32', 'tf32': 'f32', 'bf16': 'bf16', 'fp16': 'f16'}[precision]
    model = openvino.Core().compile_model(
        path, 'CPU', {'INFERENCE_PRECISION_HINT': hint, 'INFERENCE_NUM_THREADS': torch.get_num_threads()}
    )
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
        rates[name] = 2 * 2048**3 / min(timed(product, device) for _ in range(8))
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


def images(args: argparse.Namespace, size: tuple[int, int], batch: int) -> Tensor:
    return torch.rand(batch, 3, size[1], size[0], generator=torch.Generator().manual_seed(0)).to(args.device)


def peak_memory(args: argparse.Namespace, method: str, precision: str, size: tuple[int, int], batch: int) -> int | None:
    """Bytes on a CPU over those in use before the images are restored, in a fresh process; None where it fails."""
    words = ['--one', method, precision, f'{size[0]}x{size[1]}', '--variant', args.variant, '--device', args.device]
    words += ['--batch', batch, '--threads', args.threads]
    for name in ('onnx', 'weights'):
        words += [f'--{name}', getattr(args, name)] if getattr(args, name) else []
    return told_by_fresh_process(__file__, words, f'{method} {precision}')


@torch.no_grad()
def one(args: argparse.Namespace, method: str, precision: str, size: tuple[int, int]) -> None:
    """Body of the fresh process: restore one batch and print the peak of memory over the start."""
    run = build(method, network(args), precision, args.onnx)
    x = images(args, size, args.batch[0])
    run(x[..., :64, :64])  # libraries load their kernels on the first call
    print(int(process_peak(lambda: run(x)) * 2**20))


def peak_on_gpu(run: Callable[[Tensor], Tensor], x: Tensor) -> int:
    """Bytes that PyTorch allocated beside what was there before; the result among them."""
    torch.cuda.reset_peak_memory_stats(x.device)
    before = torch.cuda.memory_allocated(x.device)
    run(x)
    return torch.cuda.max_memory_allocated(x.device) - before


@torch.no_grad()
def measure(args: argparse.Namespace, report: Report, rates: dict[str, float]) -> None:
    """All rows: for each size and number of images the ways, in turn with the first of them."""
    net = network(args)
    for size in args.sizes:
        for batch in args.batch:
            x, base, reference = images(args, size, batch), None, None
            work = flops(net, tuple(x.shape))
            for method, precision in args.ways:
                name = {'size': f'{size[0]}x{size[1]}', 'batch': batch, 'method': method, 'precision': precision}
                if not report.has_time_for(' '.join(map(str, name.values()))):
                    return
                try:
                    row, run, output = row_of(args, net, method, precision, x, base)
                except RuntimeError as error:
                    report.add(**name, failed=failure(error))
                    continue
                finally:
                    if x.is_cuda:
                        torch.cuda.empty_cache()
                base, reference = (run, output) if base is None else (base, reference)
                error = float((output - reference).square().mean())
                row |= {
                    'max_difference': float((output - reference).abs().max() / reference.abs().max()),
                    'psnr_to_first': None if error == 0 else -10 * torch.log10(torch.tensor(error)).item(),
                    'floors': {name: row['ms'] / 1e3 * rate / work for name, rate in rates.items()},
                }
                row['times_floor'] = next(iter(row['floors'].values()))
                if args.memory and not x.is_cuda:
                    row['peak_gb'] = _gb(peak_memory(args, method, precision, size, batch))
                report.add(**name, **row)


def row_of(
    args: argparse.Namespace,
    net: nn.Module,
    method: str,
    precision: str,
    x: Tensor,
    base: Callable[[Tensor], Tensor] | None,
) -> tuple[dict, Callable[[Tensor], Tensor], Tensor]:
    """Measures one way: its row, the function, and its output on the CPU."""
    run = build(method, net, precision, args.onnx)
    first = timed(lambda: run(x if method == 'compile' else x[..., :64, :64]), x.device)
    if x.is_cuda:
        run(x)  # kernels and workspaces for this size
    times, base_times = [], []
    for _ in range(args.rounds):
        times.append(timed(lambda: run(x), x.device))
        base_times += [] if base is None else [timed(lambda: base(x), x.device)]
    output = run(x).float().cpu()
    median = statistics.median(times)
    row = {
        'ms': 1e3 * median,
        'us_per_pixel': 1e6 * median / x[:, 0].numel(),
        'speedup': statistics.median(base_times) / median if base_times else 1.0,
        'first_call_s': first,
        'all_seconds': times,
    }
    if x.is_cuda:
        row['peak_gb'] = _gb(peak_on_gpu(run, x))
    if args.profile:
        file = Path(args.profile) / f'profile_{x.shape[3]}x{x.shape[2]}_{len(x)}_{method}_{precision}.txt'
        row |= profile(lambda: timed(lambda: run(x), x.device), file, x.is_cuda)
    return row, run, output


def _gb(count: int | None) -> float | None:
    return None if count is None else count / 1e9


def size_of(text: str) -> tuple[int, int]:
    width, height = text.lower().split('x')
    return int(width), int(height)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of(__doc__)
    add = parser.add_argument
    add('--sizes', nargs='+', type=size_of, metavar='WxH', help='default: see above; on a CPU 224x224 512x512')
    add('--variant', choices=VARIANTS, default='tiny')
    add('--weights', metavar='FILE', help='time these weights instead of random ones of --variant')
    add('--precision', nargs='+', choices=DTYPES, help='default: fp32 bf16')
    add(
        '--methods',
        nargs='+',
        choices=METHODS,
        help='the first, in the first precision, is what the others are '
        'compared with; default: published plain strips, on a GPU compile too',
    )
    add('--batch', type=int, nargs='+', help='images at once, one or several numbers; default 1, on a GPU 1 8')
    add('--rounds', type=int, default=3)
    add('--quick', action='store_true', help='a small picture, once: does the command work here?')
    add('--memory', action='store_true', help='peak memory on a CPU too, each from a fresh process')
    add('--profile', metavar='FOLDER', help='what each row consists of, one file each; counts its kernels')
    add('--onnx', metavar='FILE', help='exported network for ort and openvino')
    add_options(parser, 'inference')
    add('--one', nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    on_gpu = args.device.startswith('cuda')
    if args.quick:
        args.variant, args.sizes, args.batch, args.rounds = 'nano', args.sizes or [(40, 24)], args.batch or [1], 1
    args.sizes = args.sizes or ([(512, 512), (1920, 1080), (3840, 2160)] if on_gpu else [(224, 224), (512, 512)])
    args.batch = args.batch or ([1, 8] if on_gpu else [1])
    args.precision = args.precision or ['fp32', 'bf16']
    args.methods = args.methods or ['published', 'plain', 'strips', *(['compile'] if on_gpu else [])]
    first = args.precision[0]
    args.ways = [(m, p) for m in args.methods for p in args.precision if m != 'published' or p == first]
    args.ways = [way for way in args.ways if way != ('strips', 'tf32')]  # in float32 they are always IEEE
    return args


def main(argv: list[str] | None = None) -> None:
    args = arguments(argv)
    torch.set_num_threads(args.threads)
    if args.one:
        one(args, args.one[0], args.one[1], size_of(args.one[2]))
        return
    rates = product_rates(torch.device(args.device))
    rates = dict(sorted(rates.items(), key=lambda item: item[0] != 'fp32 oneDNN'))  # the fastest float32 comes first
    settings = {
        **machine(args.device, args.threads),
        'network': args.weights or args.variant,
        'rounds': args.rounds,
        **{f'GFLOP/s {name}': rate / 1e9 for name, rate in rates.items()},
    }
    report = Report('inference', settings, args.out, args.seconds)
    measure(args, report, rates)
    print(report.table())


if __name__ == '__main__':
    main()
