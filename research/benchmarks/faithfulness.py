"""Do the training switches change what is learned? Pixel losses of runs on the same batches, beside plain's.

    python research/benchmarks/faithfulness.py 600 --dim 12 --blocks 1 --size 48 --lr 1e-3 --methods plain bf16

Trains each method (those of ``training.py``) for so many iterations on noisy crops of scikit-image's photographs (or
``--images FOLDER``), the same ones for all, and compares the mean pixel loss of the last tenth.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import mirage_ir  # noqa: F401  its repairs come before anything of BasicSR
from mirage_data.degradations.noise import gaussian_noise_uint8
from research.benchmarks.report import Report, add_options, machine
from research.benchmarks.training import VARIANTS, add_network, build, kernels_of, network_of, parts_of
from research.common import parser_of, photographs


def noisy_crops(images: list[np.ndarray], iteration: int, batch: int, size: int) -> dict:
    """The batch of an iteration: crops with Gaussian noise of sigma 15 to 50, a function of the number alone."""
    rng = np.random.default_rng([0, iteration])
    pairs = []
    for _ in range(batch):
        image = images[rng.integers(len(images))]
        top, left = (rng.integers(side - size + 1) for side in image.shape[:2])
        clean = image[top : top + size, left : left + size]
        pairs.append((gaussian_noise_uint8(clean, sigma=rng.uniform(15, 50), rng=rng), clean))
    lq, gt = (torch.from_numpy(np.stack(part).transpose(0, 3, 1, 2) / np.float32(255)) for part in zip(*pairs))
    return {'lq': lq, 'gt': gt, 'lq_path': [f'iteration {iteration}'] * batch}


def compare(args: argparse.Namespace, report: Report) -> None:
    """A row for each method: its first loss, its mean of the last tenth, and that beside the first method's."""
    images, tail, base = photographs(args.images), max(1, args.iterations // 10), None
    for method in args.methods:
        if not report.has_time_for(method):
            return
        model = build(method, network_of(args, args.variant), args.device, args.lr, args.iterations)
        torch.manual_seed(1)
        losses = []
        for iteration in tqdm(range(1, args.iterations + 1), desc=method, unit='it'):
            with kernels_of(method):
                model.update_learning_rate(iteration)
                model.feed_data(noisy_crops(images, iteration, args.batch, args.size))
                model.optimize_parameters(iteration)
            losses.append(model.log_dict['l_pix'])
        last = statistics.fmean(losses[-tail:])
        base = base or last
        report.add(method=method, first_loss=losses[0], last_tenth=last, difference_percent=100 * (last / base - 1))


def main(argv: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    add = parser.add_argument
    add('iterations', type=int)
    add(
        '--methods',
        nargs='+',
        default=['plain', 'bf16', 'fp16', 'checkpoint_blocks', 'channels_last'],
        help='the others are compared with the first',
    )
    add('--variant', choices=VARIANTS, default='tiny')
    add('--size', type=int, default=48, help='height and width of the crops (default 48)')
    add('--batch', type=int, default=4)
    add('--lr', type=float, default=2e-4)
    add('--images', help='folder of photographs')
    add_network(parser)
    add_options(parser, 'faithfulness', devices=('cpu', 'cuda'))
    args = parser.parse_args(argv)
    for method in args.methods:
        parts_of(method)
    torch.set_num_threads(args.threads)
    logging.getLogger('basicsr').setLevel(logging.ERROR)
    settings = {
        **machine(args.device, args.threads),
        'variant': args.variant,
        'iterations': args.iterations,
        'batch': args.batch,
        'crops': f'{args.size}x{args.size}',
        'lr': args.lr,
    }
    report = Report('faithfulness', settings, args.out, args.seconds)
    compare(args, report)
    print(report.table())


if __name__ == '__main__':
    main()
