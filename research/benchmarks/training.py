"""Speed, memory and faithfulness of the training switches, measured alternately on this machine.

    python research/benchmarks/training.py --size 128 --batch 4 --rounds 5 --memory --json training.json
    python research/benchmarks/training.py --device cuda --variant small --size 128 --batch 32 --memory
    python research/benchmarks/training.py --faithful 600 --dim 12 --blocks 1 --size 48 --lr 1e-3 --methods plain bf16

A method is ``plain`` (float32, no switch), ``published`` (plain with the layer norm written operation by operation
and contiguous maps, as in the authors' code), one of the switches below, or several joined by ``+``. The step is
`MIRAGEModel`'s own, with all three losses and AdamW. Every round takes one step of each method in turn; medians are
reported, ratios are to ``plain``. Memory is the peak of a fresh process over what it held before its first step.
``--faithful N`` trains each method for N iterations on noisy crops of scikit-image's photographs (or ``--images
FOLDER``), the same ones for all, and compares the mean pixel loss of the last tenth; it times nothing.
"""
from __future__ import annotations

import argparse
import json
import logging
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import mirage_ir  # noqa: F401  its repairs come before anything of BasicSR
from mirage_data import list_images, read_rgb, to_float
from mirage_data.degradations.noise import gaussian_noise_uint8
from mirage_ir.training.model import MIRAGEModel

VARIANTS = {'tiny': {}, 'small': {'dim': 30, 'num_refinement_blocks': 3}}
SWITCHES = {
    'bf16': {'amp': 'bf16'},
    'fp16': {'amp': 'fp16'},
    'channels_last': {'channels_last': True},
    'compile': {'compile': True},
    'checkpoint_blocks': {'checkpoint_blocks': True},
    'accumulate_grad': {'accumulate_grad': 2},
    'grad_clip': {'grad_clip': 1.0},
}
PHOTOGRAPHS = ('astronaut', 'coffee', 'chelsea', 'rocket', 'retina')
DEFAULT_METHODS = ['published', 'plain', 'channels_last', 'bf16', 'checkpoint_blocks', 'accumulate_grad']


class PublishedModel(MIRAGEModel):
    """The model with a network that costs what the authors' costs."""

    def model_to_device(self, net: torch.nn.Module) -> torch.nn.Module:
        from research.benchmarks.inference import published

        return super().model_to_device(published(net))


def build(method: str, args: argparse.Namespace, total_iter: int = 1_000_000) -> MIRAGEModel:
    """A model with the switches of a method and weights that are the same for all methods."""
    names = [name for name in method.split('+') if name not in ('plain', 'published')]
    unknown = [name for name in names if name not in SWITCHES]
    if unknown:
        raise SystemExit(f'--methods: {unknown} unknown; allowed: plain, published, {", ".join(SWITCHES)}, joined by +')
    network = {'type': 'MIRAGEArch', **VARIANTS[args.variant], **({'dim': args.dim} if args.dim else {})}
    if args.blocks:
        network.update(num_blocks=[args.blocks] * 4, num_refinement_blocks=args.blocks)
    options = {
        'name': 'benchmark', 'num_gpu': int(args.device == 'cuda'), 'dist': False, 'rank': 0, 'world_size': 1,
        'is_train': True, 'network_g': network, 'path': {'experiments_root': tempfile.gettempdir()},
        'datasets': {'train': {'name': 'train'}}, 'logger': {'print_freq': 1_000_000},
        'train': {
            'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0},
            'fourier_opt': {'type': 'FourierLoss', 'loss_weight': 0.1},
            'spd_opt': {'type': 'SPDContrastiveLoss', 'loss_weight': 0.01},
            'optim_g': {'type': 'AdamW', 'lr': args.lr, 'weight_decay': 0.01},
            'scheduler': {'type': 'CosineWithWarmup'}, 'total_iter': total_iter, 'warmup_iter': total_iter // 10,
            **{key: value for name in names for key, value in SWITCHES[name].items()},
        },
    }
    torch.manual_seed(0)
    return (PublishedModel if method.startswith('published') else MIRAGEModel)(options)


def random_batch(args: argparse.Namespace) -> dict:
    generator = torch.Generator().manual_seed(0)
    lq, gt = torch.rand(2, args.batch, 3, args.size, args.size, generator=generator)
    return {'lq': lq, 'gt': gt, 'lq_path': [''] * args.batch}


def step(model: MIRAGEModel, batch: dict, iteration: int) -> float:
    """Seconds of one training step, data transfer included."""
    start = time.perf_counter()
    model.update_learning_rate(iteration)
    model.feed_data(batch)
    model.optimize_parameters(iteration)  # reads the losses, and so waits for the device
    if model.device.type == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(args: argparse.Namespace) -> list[dict]:
    """Interleaved step times of all methods."""
    batch = random_batch(args)
    models = {method: build(method, args) for method in args.methods}
    first = {method: step(model, batch, 1) for method, model in models.items()}  # compiles, allocates
    seconds: dict[str, list[float]] = {method: [] for method in models}
    for number in tqdm(range(args.rounds), desc='rounds', unit='round'):
        for method, model in models.items():
            seconds[method].append(step(model, batch, number + 2))
    median = {method: statistics.median(times) for method, times in seconds.items()}
    base = median.get('plain', median[args.methods[0]])
    return [
        {
            'method': method, 'seconds': median[method], 'iterations_per_s': 1 / median[method],
            'images_per_s': args.batch / median[method], 'speedup': base / median[method],
            'first_step_seconds': first[method], 'all_seconds': seconds[method],
        }
        for method in models
    ]


def own_memory(args: argparse.Namespace, method: str) -> None:
    """Body of a fresh process: three steps, then the peak of memory over the start, in bytes."""
    model, batch = build(method, args), random_batch(args)
    on_gpu = args.device == 'cuda'
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = 0  # weights, gradients and optimizer count: a GPU has to hold them too
    else:
        with open('/proc/self/statm', encoding='ascii') as file:
            before = int(file.read().split()[1]) * resource.getpagesize()
    for iteration in (1, 2, 3):
        step(model, batch, iteration)
    peak = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(peak - before)


def memory_of(args: argparse.Namespace, method: str) -> int | None:
    """Peak memory of a method in a process of its own; None where it failed."""
    command = [
        sys.executable, __file__, '--memory-of', method, '--variant', args.variant, '--device', args.device, '--size',
        str(args.size), '--batch', str(args.batch), '--threads', str(args.threads), '--dim', str(args.dim),
        '--blocks', str(args.blocks),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        print(f'{method}: no memory figure: {result.stderr.strip().splitlines()[-1:]}', file=sys.stderr)
        return None
    return int(result.stdout.split()[-1])


def photographs(args: argparse.Namespace) -> list[np.ndarray]:
    """8-bit RGB images (h, w, 3)."""
    if args.images:
        return [np.uint8(np.round(255 * to_float(read_rgb(path)))) for path in list_images(args.images)]
    from skimage import data

    return [np.ascontiguousarray(getattr(data, name)()[..., :3]) for name in PHOTOGRAPHS if hasattr(data, name)]


def noisy_crops(images: list[np.ndarray], iteration: int, args: argparse.Namespace) -> dict:
    """The batch of an iteration: crops with Gaussian noise of sigma 15 to 50, a function of the number alone."""
    rng = np.random.default_rng([0, iteration])
    pairs = []
    for _ in range(args.batch):
        image = images[rng.integers(len(images))]
        top, left = (rng.integers(side - args.size + 1) for side in image.shape[:2])
        clean = image[top:top + args.size, left:left + args.size]
        pairs.append((gaussian_noise_uint8(clean, sigma=rng.uniform(15, 50), rng=rng), clean))
    lq, gt = (torch.from_numpy(np.stack(part).transpose(0, 3, 1, 2) / np.float32(255)) for part in zip(*pairs))
    return {'lq': lq, 'gt': gt, 'lq_path': [f'iteration {iteration}'] * args.batch}


def faithfulness(args: argparse.Namespace) -> list[dict]:
    """Mean pixel loss over the last tenth of a run with each method, beside plain's."""
    images, tail = photographs(args), max(1, args.faithful // 10)
    rows: list[dict] = []
    for method in args.methods:
        model = build(method, args, args.faithful)
        torch.manual_seed(1)
        losses = []
        for iteration in tqdm(range(1, args.faithful + 1), desc=method, unit='it'):
            step(model, noisy_crops(images, iteration, args), iteration)
            losses.append(model.log_dict['l_pix'])
        rows.append({'method': method, 'first_loss': losses[0], 'last_tenth': statistics.fmean(losses[-tail:])})
        print(rows[-1], flush=True)  # a long run that is cut short has told something
    base = next((row['last_tenth'] for row in rows if row['method'] == 'plain'), rows[0]['last_tenth'])
    for row in rows:
        row['difference_percent'] = 100 * (row['last_tenth'] / base - 1)
    return rows


def show(rows: list[dict]) -> None:
    columns = [key for key in rows[0] if key != 'all_seconds']
    cells = [[f'{row[c]:.4g}' if isinstance(row[c], float) else str(row[c]) for c in columns] for row in rows]
    print(f'| {" | ".join(columns)} |\n|{"---|" * len(columns)}')
    for line in cells:
        print(f'| {" | ".join(line)} |')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--methods', nargs='+', default=DEFAULT_METHODS)
    parser.add_argument('--variant', choices=VARIANTS, default='tiny')
    parser.add_argument('--dim', type=int, default=0, help='another width of the first level; 0: the variant\'s')
    parser.add_argument('--blocks', type=int, default=0, help='as many blocks on every level; 0: the variant\'s')
    parser.add_argument('--size', type=int, default=128, help='height and width of the crops')
    parser.add_argument('--batch', type=int, default=4)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--lr', type=float, default=2e-4)
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--memory', action='store_true', help='also peak memory, each method in a fresh process')
    parser.add_argument('--faithful', type=int, default=0, metavar='N', help='compare losses over N iterations instead')
    parser.add_argument('--images', help='folder of photographs for --faithful')
    parser.add_argument('--json', help='write everything there')
    parser.add_argument('--memory-of', help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.getLogger('basicsr').setLevel(logging.ERROR)
    if args.memory_of:
        own_memory(args, args.memory_of)
        return
    on_cpu = f'{platform.processor() or platform.machine()}, {args.threads} threads'
    machine = torch.cuda.get_device_name() if args.device == 'cuda' else on_cpu
    print(f'torch {torch.__version__} on {machine}; {args.variant}, {args.batch} x {args.size}x{args.size}')
    rows = faithfulness(args) if args.faithful else measure(args)
    if args.memory and not args.faithful:
        for row in rows:
            peak = memory_of(args, row['method'])
            row['peak_gib'] = None if peak is None else peak / 2**30
    show(rows)
    if args.json:
        content = {'torch': torch.__version__, 'machine': machine, 'settings': vars(args), 'rows': rows}
        Path(args.json).write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
