"""The paper's tables with one's own results in them.

mirage-basicsr table results/test_5deg results/test_5deg_small
mirage-basicsr table results/test_weather_small --metric psnr=psnr_y --metric ssim=ssim_y
mirage-basicsr table --table 1 --format latex --out table1.tex
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mirage_data.files.write import write_file
from mirage_ir.measuring import tables

from . import command_parser


def main(argv: list[str] | None = None) -> int:
    parser = command_parser('table', __doc__)
    parser.add_argument('results', nargs='*', help='results.json, or the folder of a test run')
    parser.add_argument('--table', help='number of the table; by default the one that has the data sets of the results')
    parser.add_argument('--format', choices=tuple(tables.FORMATS), default='markdown')
    parser.add_argument(
        '--against',
        metavar='METHOD',
        help='published row for the differences (default: MIRAGE-T, or '
        'MIRAGE-S for runs with "small" in their name and where the table has no MIRAGE-T)',
    )
    parser.add_argument(
        '--metric',
        action='append',
        default=[],
        metavar='PSNR=KEY',
        help="take a figure from another of the run's metrics, as psnr=psnr_y",
    )
    parser.add_argument('--own-only', action='store_true', help='of the published rows, show the compared ones alone')
    parser.add_argument('--out', type=Path, help='file to write; by default the table is printed')
    arguments = parser.parse_args(argv)
    try:
        text = make(arguments)
    except ValueError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    if arguments.out:
        write_file(arguments.out, text)
    else:
        print(text, end='')
    return 0


def make(arguments: argparse.Namespace) -> str:
    """The text of all tables that the results belong to."""
    keys = dict(_split(word) for word in arguments.metric)
    loaded = [tables.load_result(path) for path in arguments.results]
    if not loaded and not arguments.table:
        raise ValueError('name at least one result, or a --table to print the published rows')
    groups: dict[str, list[tables.Result]] = {arguments.table: loaded} if arguments.table else {}
    if not arguments.table:
        for result in loaded:
            groups.setdefault(tables.table_for(result).number, []).append(result)
    texts = []
    for number, members in groups.items():
        table = tables.published_table(number)
        own = [tables.own_row(result, table, keys) for result in members]
        references = [table.row(arguments.against or _default_reference(result, table)) for result in members]
        differences = [tables.difference(a, b) for a, b in zip(own, references, strict=True)]
        shown = [row for row in table.rows if not arguments.own_only or row in references]
        notes = tables.protocol_notes(members, table, keys)
        texts.append(tables.FORMATS[arguments.format](table, [*shown, *own], differences, notes))
    return '\n'.join(texts)


def _split(word: str) -> tuple[str, str]:
    metric, sign, key = word.partition('=')
    if not sign or not metric or not key:
        raise ValueError(f'--metric {word}: written as COLUMN=KEY, for example psnr=psnr_y')
    return metric, key


def _default_reference(result: tables.Result, table: tables.PaperTable) -> str:
    methods = [row.method for row in table.rows]
    return 'MIRAGE-S' if 'MIRAGE-T' not in methods or 'small' in result.name and 'MIRAGE-S' in methods else 'MIRAGE-T'
