"""Parameters, multiply-adds, peak memory and time of a network, beside the published rows of Table 6.

mirage-basicsr cost
mirage-basicsr cost --opt train.yml --size 512 512 --device cuda
mirage-basicsr cost --count-only --format csv
"""

from __future__ import annotations

import argparse
import csv
import sys
from functools import partial

from mirage_ir.measuring import cost as complexity
from mirage_ir.measuring import tables

from . import command_parser

HEADS = (
    'network',
    'parameters',
    'multiply-adds (G)',
    'convolutions and products alone (G)',
    'memory, training (MiB)',
    'memory, restoring (MiB)',
    'time (s)',
)


def main(argv: list[str] | None = None) -> int:
    parser = command_parser('cost', __doc__)
    parser.add_argument('--variant', nargs='+', choices=tuple(complexity.VARIANTS), default=[])
    parser.add_argument('--opt', nargs='+', default=[], help='option files whose network_g is measured')
    parser.add_argument('--size', nargs=2, type=int, default=[224, 224], metavar=('H', 'W'))
    parser.add_argument('--device', default='cpu', help='cpu, cuda, cuda:1, ...')
    parser.add_argument('--repeats', type=int, default=5, help='timed restorations')
    parser.add_argument('--count-only', action='store_true', help='count, run nothing')
    parser.add_argument('--format', choices=('markdown', 'csv'), default='markdown')
    arguments = parser.parse_args(argv)
    try:
        lines = [line for name, spec in _specs(arguments) for line in _lines(name, spec, arguments)]
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    if arguments.size == [224, 224]:
        lines += [_published(row) for row in tables.published_table('6').rows]
    if arguments.format == 'csv':
        csv.writer(sys.stdout, lineterminator='\n').writerows([HEADS, *lines])
        return 0
    print(tables.markdown_table(HEADS, lines, left=1))
    height, width = arguments.size
    print(
        f'\nOne image of {height}x{width}. Multiply-adds as fvcore counts the released network (the paper: FLOPs). '
        'Memory is the peak over the loaded network: training is one forward pass in train mode with its graph kept, '
        'as in the paper, restoring one in eval mode.'
    )
    return 0


def _specs(arguments: argparse.Namespace) -> list[tuple[str, object]]:
    specs = [(str(path), complexity.network_options(path)) for path in arguments.opt]
    variants = arguments.variant or ([] if specs else list(complexity.VARIANTS))
    return [(f'MIRAGE {name}', name) for name in variants] + specs


def _lines(name: str, spec: object, arguments: argparse.Namespace) -> list[list[str]]:
    """With the SPD heads and, if there are any, without them."""
    size = tuple(arguments.size)
    whole = complexity.build(spec)
    has_head = getattr(whole, 'has_spd_head', False)
    lines = []
    for head in (True, False) if has_head else (True,):
        cost = complexity.count(partial(complexity.build, spec, head), size)
        cells = [f'{cost.parameters:,}', f'{cost.multiply_adds / 1e9:.3f}', f'{cost.products / 1e9:.3f}']
        if not arguments.count_only:
            use = complexity.measure(spec, size, arguments.device, arguments.repeats, head)
            cells += [f'{use.train_mb:,.0f}', f'{use.eval_mb:,.0f}', f'{use.seconds:.3f} ({use.device})']
        else:
            cells += ['-'] * 3
        lines.append([name if head else f'{name}, no heads', *cells])
    return lines


def _published(row: tables.TableRow) -> list[str]:
    scores = row.scores['224x224']
    cells = [f'{scores["params_m"]:g} M', f'{scores["flops_g"]:g}', '-', f'{scores["memory_mb"]:,.0f} MB', '-', '-']
    return [f'{row.method} (published, A100)', *cells]
