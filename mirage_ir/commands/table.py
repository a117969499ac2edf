"""The paper's tables with one's own results in them.

mirage-basicsr table results/test_5deg results/test_5deg_small
mirage-basicsr table results/test_weather_small --metric psnr=psnr_y --metric ssim=ssim_y
mirage-basicsr table --table 1 --format latex --out table1.tex
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from mirage_data.files.write import write_file
from mirage_ir.measuring import report, tables

from . import command_parser, existing, failed, json_text, print_json, refuse_over


def main(argv: list[str] | None = None) -> int:
    parser = command_parser('table', __doc__, as_json='the rows')
    parser.add_argument('results', nargs='*', type=existing, help='results.json, or the folder of a test run')
    numbers = [table.number for table in tables.published_tables()]
    parser.add_argument(
        '--table',
        choices=numbers,
        metavar='NUMBER',
        help='number of the table; by default the one that has the data sets of the results',
    )
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
        type=_split,
        default=[],
        metavar='PSNR=KEY',
        help="take a figure from another of the run's metrics, as psnr=psnr_y",
    )
    parser.add_argument('--own-only', action='store_true', help='of the published rows, show the compared ones alone')
    parser.add_argument('--out', type=Path, help='file to write; by default the table is printed')
    arguments = parser.parse_args(argv)
    if not arguments.results and not arguments.table:
        parser.error('name at least one result, or a --table to print the published rows')
    inputs = [path / 'results.json' if path.is_dir() else path for path in arguments.results]
    refuse_over(parser, arguments.out, *inputs)
    try:
        groups = gather(arguments)
        if arguments.json and not arguments.out:
            print_json([as_dict(group) for group in groups])
            return 0
        if arguments.json:
            write_file(arguments.out, json_text([as_dict(group) for group in groups]) + '\n')
            return 0
        text = '\n'.join(tables.FORMATS[arguments.format](*group) for group in groups)
        if arguments.out:
            write_file(arguments.out, text)
    except (ValueError, OSError) as error:
        return failed(error)
    if not arguments.out:
        print(text, end='')
    return 0


Group = tuple[tables.PaperTable, list[tables.TableRow], list[tables.TableRow], list[str]]
"""A table, its rows, the differences to published ones, and notes."""


def gather(arguments: argparse.Namespace) -> list[Group]:
    """All tables that the results belong to."""
    keys = dict(arguments.metric)
    loaded = [report.load_result(path) for path in arguments.results]
    groups: dict[str, list[report.Result]] = {arguments.table: loaded} if arguments.table else {}
    if not arguments.table:
        for result in loaded:
            groups.setdefault(tables.table_for(result).number, []).append(result)
    found = []
    for number, members in groups.items():
        table = tables.published_table(number)
        own = [tables.own_row(result, table, keys) for result in members]
        references = [table.row(arguments.against or _default_reference(result, table)) for result in members]
        differences = [tables.difference(a, b) for a, b in zip(own, references, strict=True)]
        shown = [row for row in table.rows if not arguments.own_only or row in references]
        notes = tables.protocol_notes(members, table, keys)
        found.append((table, [*shown, *own], differences, notes))
    return found


def as_dict(group: Group) -> dict:
    """One table for a program."""
    table, rows, differences, notes = group
    return {
        'table': table.number,
        'title': table.title,
        'rows': [asdict(row) for row in rows],
        'differences': [asdict(row) for row in differences],
        'notes': notes,
    }


def _split(word: str) -> tuple[str, str]:
    metric, sign, key = word.partition('=')
    if not sign or not metric or not key:
        raise argparse.ArgumentTypeError(f'{word}: written as COLUMN=KEY, for example psnr=psnr_y')
    return metric, key


def _default_reference(result: report.Result, table: tables.PaperTable) -> str:
    methods = [row.method for row in table.rows]
    return 'MIRAGE-S' if 'MIRAGE-T' not in methods or 'small' in result.name and 'MIRAGE-S' in methods else 'MIRAGE-T'
