"""Parameters, multiply-adds, peak memory and time of a network, beside the published rows of Table 6.

mirage-basicsr cost
mirage-basicsr cost --opt train.yml --size 512 512 --device cuda
mirage-basicsr cost --count-only --format csv
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial

from mirage_ir.measuring import cost as complexity
from mirage_ir.measuring import tables

from . import command_parser, existing, failed, print_json

HEADS = {
    'network': 'network',
    'parameters': 'parameters',
    'multiply_adds': 'multiply-adds (G)',
    'products': 'convolutions and products alone (G)',
    'train_mb': 'memory, training (MiB)',
    'eval_mb': 'memory, restoring (MiB)',
    'seconds': 'time (s)',
}


def main(argv: list[str] | None = None) -> int:
    parser = command_parser('cost', __doc__, as_json='the rows, with plain numbers,')
    parser.add_argument('--variant', nargs='+', choices=tuple(complexity.VARIANTS), default=[])
    parser.add_argument('--opt', nargs='+', type=existing, default=[], help='option files whose network_g is measured')
    parser.add_argument('--size', nargs=2, type=int, default=[224, 224], metavar=('H', 'W'))
    parser.add_argument('--device', default='cpu', help='cpu, cuda, cuda:1, ...')
    parser.add_argument('--repeats', type=int, default=5, help='timed restorations')
    parser.add_argument('--count-only', action='store_true', help='count, run nothing')
    parser.add_argument('--format', choices=('markdown', 'csv'), default='markdown')
    arguments = parser.parse_args(argv)
    if min(arguments.size) < 1:
        parser.error(f'--size {" ".join(map(str, arguments.size))}: both sides have at least 1 pixel')
    if arguments.repeats < 1:
        parser.error(f'--repeats {arguments.repeats}: at least 1; --count-only runs nothing')
    try:
        rows = [row for name, spec in _specs(arguments) for row in _rows(name, spec, arguments)]
    except (ValueError, OSError) as error:
        return failed(error)
    if arguments.json:
        print_json(rows)
        return 0
    lines = [_cells(row) for row in rows]
    if arguments.size == [224, 224]:
        lines += [_published(row) for row in tables.published_table('6').rows]
    if arguments.format == 'csv':
        csv.writer(sys.stdout, lineterminator='\n').writerows([HEADS.values(), *lines])
        return 0
    print(tables.markdown_table(list(HEADS.values()), lines, left=1))
    height, width = arguments.size
    print(
        f'\nOne image of {height}x{width}. Multiply-adds as fvcore counts the released network (the paper: FLOPs). '
        'Memory is the peak over the loaded network: training is one forward pass in train mode with its graph kept, '
        'as in the paper, restoring one in eval mode.'
    )
    return 0


def _specs(arguments: argparse.Namespace) -> list[tuple[str, str | Mapping]]:
    specs = [(str(path), complexity.network_options(path)) for path in arguments.opt]
    variants = arguments.variant or ([] if specs else list(complexity.VARIANTS))
    return [(f'MIRAGE {name}', name) for name in variants] + specs


def _rows(name: str, spec: str | Mapping, arguments: argparse.Namespace) -> list[dict]:
    """With the SPD heads and, if there are any, without them; by the keys of `HEADS`, with the device."""
    size = tuple(arguments.size)
    has_head = getattr(complexity.build(spec), 'has_spd_head', False)
    rows = []
    for head in (True, False) if has_head else (True,):
        cost = complexity.count(partial(complexity.build, spec, head), size)
        row = {
            'network': name if head else f'{name}, no heads',
            'parameters': cost.parameters,
            'multiply_adds': cost.multiply_adds,
            'products': cost.products,
        }
        if not arguments.count_only:
            row |= asdict(complexity.measure(spec, size, arguments.device, arguments.repeats, head))
        rows.append(row)
    return rows


def _cells(row: dict) -> list[str]:
    cells = [row['network'], f'{row["parameters"]:,}']
    cells += [f'{row[key] / 1e9:.3f}' for key in ('multiply_adds', 'products')]
    if 'seconds' not in row:
        return [*cells, '-', '-', '-']
    return [*cells, f'{row["train_mb"]:,.0f}', f'{row["eval_mb"]:,.0f}', f'{row["seconds"]:.3f} ({row["device"]})']


def _published(row: tables.TableRow) -> list[str]:
    scores = row.scores['224x224']
    cells = [f'{scores["params_m"]:g} M', f'{scores["flops_g"]:g}', '-', f'{scores["memory_mb"]:,.0f} MB', '-', '-']
    return [f'{row.method} (published, A100)', *cells]
