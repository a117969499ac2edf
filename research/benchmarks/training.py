"""Time and memory of a training step by network and switches, beside the network as published in the same run.

    python research/benchmarks/training.py --out report                       T, S and nano, 32 crops of 128x128
    python research/benchmarks/training.py --variants nano --batch 64 4 --methods bf16+channels_last+kernel all
    python research/benchmarks/training.py --quick --device cpu               a trial of the command itself
    python research/benchmarks/training.py --variants tiny --methods all --profile report

A method is ``published`` (the layer norm written operation by operation, contiguous maps, PyTorch's own operations and
its default of TF32 in convolutions: what the authors' code costs), ``plain`` (IEEE float32, no switch), one of the
switches below, or several joined by ``+``; ``all`` is bf16+channels_last+kernel+compile+cuda_graph. The step is that of
`MIRAGEModel`, with all losses, AdamW, and the transfer of the batch.

Each row is measured in turn with ``published``: its ``ratio`` is that of the two medians. Memory is the peak of the
row's own steps, on a GPU what PyTorch allocated, on a CPU (``--memory``) that of a fresh process over its start.
With two batch sizes the rows of the second tell by ``to_first_batch`` what binds the step: near 1, the host that
launches kernels (a GPU does the larger batch in the same time); near the ratio of the batches, memory or arithmetic.
Every row is printed and written to ``training.json`` and ``training.md`` as it comes; after ``--seconds`` no further
one is begun.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import mirage_ir  # noqa: F401  its repairs come before anything of BasicSR
from mirage_arch import triton_kernels
from mirage_ir.measuring.cost import process_peak
from mirage_ir.training.model import MIRAGEModel
from research.benchmarks.inference import published
from research.benchmarks.report import Report, add_options, failure, machine, profile, told_by_fresh_process
from research.common import parser_of

VARIANTS = {
    'tiny': {},
    'small': {'dim': 30, 'num_refinement_blocks': 3},
    'nano': {'dim': 12, 'num_blocks': [1, 2, 2, 3], 'num_refinement_blocks': 1},
    'mini': {'dim': 12, 'num_blocks': [2, 4, 4, 6], 'num_refinement_blocks': 2},
}
SWITCHES = {
    'tf32': {'tf32': True},
    'bf16': {'amp': 'bf16'},
    'fp16': {'amp': 'fp16'},
    'channels_last': {'channels_last': True},
    'kernel': {},
    'compile': {'compile': True},
    'cuda_graph': {'cuda_graph': True},
    'checkpoint_blocks': {'checkpoint_blocks': True},
    'accumulate_grad': {'accumulate_grad': 2},
    'grad_clip': {'grad_clip': 1.0},
    'ema': {'ema_decay': 0.999},
}
ALL = 'bf16+channels_last+kernel+compile+cuda_graph'
_HALF = 'bf16+channels_last'
METHODS = {
    'cuda': [
        'plain',
        'tf32',
        _HALF,
        f'{_HALF}+kernel',
        f'{_HALF}+kernel+cuda_graph',
        f'{_HALF}+kernel+compile',
        'all',
        f'{_HALF}+kernel+compile+checkpoint_blocks',
    ],
    'cpu': ['plain', 'channels_last', 'bf16', 'checkpoint_blocks', 'accumulate_grad'],
}


class PublishedModel(MIRAGEModel):
    """The model with a network that costs what the authors' costs."""

    def model_to_device(self, net: torch.nn.Module) -> torch.nn.Module:
        return super().model_to_device(published(net))


def parts_of(method: str) -> list[str]:
    """The switches of a method.

    Raises:
        SystemExit: One of them is unknown.
    """
    names = [n for name in method.split('+') for n in (ALL.split('+') if name == 'all' else [name])]
    unknown = [name for name in names if name not in (*SWITCHES, 'plain', 'published')]
    if unknown:
        raise SystemExit(
            f'--methods: {unknown} unknown; allowed: plain, published, all, {", ".join(SWITCHES)}, joined by +'
        )
    return names


@contextlib.contextmanager
def kernels_of(method: str) -> Iterator[None]:
    """TF32 and the Triton kernels as a method has them; both are settings of the process."""
    names, cudnn = parts_of(method), torch.backends.cudnn
    before = cudnn.allow_tf32, triton_kernels.enabled
    cudnn.allow_tf32 = 'tf32' in names or 'published' in names
    triton_kernels.enabled = 'kernel' in names and before[1]
    try:
        yield
    finally:
        cudnn.allow_tf32, triton_kernels.enabled = before


def build(method: str, network: dict, device: str, lr: float = 2e-4, total_iter: int = 1_000_000) -> MIRAGEModel:
    """A model with the switches of a method and weights that are the same for all methods."""
    names = parts_of(method)
    options = {
        'name': 'benchmark',
        'num_gpu': int(device == 'cuda'),
        'dist': False,
        'rank': 0,
        'world_size': 1,
        'is_train': True,
        'network_g': {'type': 'MIRAGEArch', **network},
        'path': {'experiments_root': tempfile.gettempdir()},
        'datasets': {'train': {'name': 'train'}},
        'logger': {'print_freq': 1_000_000},
        'train': {
            'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0},
            'fourier_opt': {'type': 'FourierLoss', 'loss_weight': 0.1},
            'spd_opt': {'type': 'SPDContrastiveLoss', 'loss_weight': 0.01},
            'optim_g': {'type': 'AdamW', 'lr': lr, 'weight_decay': 0.01},
            'scheduler': {'type': 'CosineWithWarmup'},
            'total_iter': total_iter,
            'warmup_iter': total_iter // 10,
            **{key: value for name in names if name in SWITCHES for key, value in SWITCHES[name].items()},
        },
    }
    torch.manual_seed(0)
    with kernels_of(method):
        return (PublishedModel if 'published' in names else MIRAGEModel)(options)


def network_of(args: argparse.Namespace, variant: str) -> dict:
    network = {**VARIANTS[variant], **({'dim': args.dim} if args.dim else {})}
    if args.blocks:
        network.update(num_blocks=[args.blocks] * 4, num_refinement_blocks=args.blocks)
    return network


def random_batch(batch: int, size: int, device: str) -> dict:
    """As a loader gives it: on the CPU, page-locked where the steps are a GPU's."""
    lq, gt = torch.rand(2, batch, 3, size, size, generator=torch.Generator().manual_seed(0))
    if device == 'cuda':
        lq, gt = lq.pin_memory(), gt.pin_memory()
    return {'lq': lq, 'gt': gt, 'lq_path': [''] * batch}


class Steps:
    """The steps of one method on one batch, in the settings of the method.

    Args:
        method: See the top of the file.
        network: Arguments of the network.
        batch: What is fed.
        device: 'cpu' or 'cuda'.
    """

    def __init__(self, method: str, network: dict, batch: dict, device: str) -> None:
        self._method, self._batch, self._on_gpu, self._done = method, batch, device == 'cuda', 0
        self._held = torch.cuda.memory_allocated() if self._on_gpu else 0  # by others
        self.model = build(method, network, device)

    def seconds(self, steps: int = 1) -> float:
        """Mean time of some steps, one after the other without waiting between them."""
        with kernels_of(self._method):
            self._wait()
            start = time.perf_counter()
            for _ in range(steps):
                self._done += 1
                self.model.update_learning_rate(self._done)
                self.model.feed_data(self._batch)
                self.model.optimize_parameters(self._done)
            self.model.finish_step()
            self._wait()
        return (time.perf_counter() - start) / steps

    def peak_gib(self, steps: int) -> float | None:
        """Memory of some steps beside that of others; None on a CPU."""
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats()
        self.seconds(steps)
        if not self._on_gpu:
            return None
        return (torch.cuda.max_memory_allocated() - self._held) / 2**30

    def _wait(self) -> None:
        if self._on_gpu:
            torch.cuda.synchronize()


def measure(args: argparse.Namespace, report: Report) -> None:
    """All rows: for each network and batch the methods, in turn with the published network."""
    of_first_batch: dict[tuple[str, str], float] = {}
    for variant in args.variants:
        for size in args.batch:
            batch, network, base = random_batch(size, args.size, args.device), network_of(args, variant), None
            for method in ['published', *args.methods]:
                if not report.has_time_for(f'{variant}, batch {size}, {method}'):
                    return
                name = {'network': variant, 'batch': size, 'method': method}
                try:
                    steps = Steps(method, network, batch, args.device)
                    row = measured(args, name, steps, base)
                    first = of_first_batch.setdefault((variant, method), row['ms'])
                    if size != args.batch[0]:
                        row['to_first_batch'] = row['ms'] / first
                    report.add(**name, **row)
                    if method == 'published':
                        base = steps
                except RuntimeError as error:
                    report.add(**name, failed=failure(error))
                steps = None  # its memory is the next one's
                if args.device == 'cuda':
                    torch.cuda.empty_cache()


def measured(args: argparse.Namespace, name: Mapping[str, Any], steps: Steps, base: Steps | None) -> dict[str, Any]:
    """Times a method in turn with the published network, then looks at its memory and at what a step consists of."""
    first = steps.seconds()  # compiles, builds kernels, searches for the fastest convolutions
    peak = steps.peak_gib(args.warm)  # of recording, too: a recorded step itself allocates nothing
    times, published_times = [], []
    for _ in range(args.rounds):
        times.append(steps.seconds(args.steps))
        if base is not None:
            published_times.append(base.seconds(args.steps))
    median = statistics.median(times)
    row: dict[str, Any] = {'ms': 1e3 * median, 'images_per_s': name['batch'] / median}
    if published_times:
        row['ratio'] = statistics.median(published_times) / median
    row |= {'peak_gib': peak, 'first_step_s': first, 'all_seconds': times}
    if args.memory and args.device == 'cpu':
        row['peak_gib'] = memory_of(args, *name.values())
    if args.profile:
        file = Path(args.profile) / f'profile_{"_".join(map(str, name.values()))}.txt'
        row |= profile(steps.seconds, file, args.device == 'cuda')
    return row


def own_memory(args: argparse.Namespace) -> None:
    """Body of a fresh process: three steps, then the peak of memory over the start, in bytes."""
    variant, size, method = args.memory_of
    steps = Steps(method, network_of(args, variant), random_batch(int(size), args.size, 'cpu'), 'cpu')
    print(int(process_peak(lambda: steps.seconds(3)) * 2**20))


def memory_of(args: argparse.Namespace, variant: str, size: int, method: str) -> float | None:
    """Peak memory of a method on a CPU in GiB, in a process of its own; None where it failed."""
    words = ['--memory-of', variant, size, method, '--device', 'cpu', '--size', args.size, '--threads', args.threads]
    found = told_by_fresh_process(__file__, [*words, '--dim', args.dim, '--blocks', args.blocks], method)
    return None if found is None else found / 2**30


def add_network(parser: argparse.ArgumentParser) -> None:
    """Options of `network_of`."""
    parser.add_argument('--dim', type=int, default=0, help="another width of the first level; 0: the network's")
    parser.add_argument('--blocks', type=int, default=0, help="as many blocks on every level; 0: the network's")


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of(__doc__)
    add = parser.add_argument
    add('--variants', nargs='+', choices=VARIANTS, default=['tiny', 'small', 'nano'])
    add('--methods', nargs='+', metavar='METHOD', help='beside published, which is always measured')
    add('--size', type=int, default=128, help='height and width of the crops (default 128)')
    add('--batch', type=int, nargs='+', default=[32], help='one or several sizes (default 32)')
    add('--rounds', type=int, default=5, help='turns of each method and of published (default 5)')
    add('--steps', type=int, help='steps in a turn (default 4 on a GPU, 1 on a CPU)')
    add('--warm', type=int, default=2, help='steps before the turns, after the first (default 2)')
    add('--quick', action='store_true', help='a small network, crops and batches: does the command work here?')
    add_network(parser)
    add_options(parser, 'training', devices=('cpu', 'cuda'))
    add('--memory', action='store_true', help='peak memory on a CPU too, each method in a fresh process')
    add('--profile', metavar='FOLDER', help='what a step of each row consists of, one file each; counts its kernels')
    add('--memory-of', nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.quick:
        args.variants, args.size, args.batch = ['nano'], 32, [2, 4]
        args.dim, args.blocks, args.rounds, args.warm = 6, 1, 2, 1
        args.methods = args.methods or (METHODS[args.device] if args.device == 'cuda' else ['plain', _HALF])
    args.methods = [m for m in args.methods or METHODS[args.device] if m != 'published']
    args.steps = args.steps or (4 if args.device == 'cuda' else 1)
    for method in args.methods:
        parts_of(method)
    return args


def main(argv: list[str] | None = None) -> None:
    args = arguments(argv)
    torch.set_num_threads(args.threads)
    logging.getLogger('basicsr').setLevel(logging.ERROR)
    if args.memory_of:
        own_memory(args)
        return
    torch.backends.cudnn.benchmark = True  # as BasicSR trains
    settings = {
        **machine(args.device, args.threads),
        'crops': f'{args.size}x{args.size}',
        'rounds': args.rounds,
        'steps_in_a_turn': args.steps,
        'arguments': json.dumps(sys.argv[1:] if argv is None else argv),
    }
    report = Report('training', settings, args.out, args.seconds)
    measure(args, report)
    print(report.table())


if __name__ == '__main__':
    main()
