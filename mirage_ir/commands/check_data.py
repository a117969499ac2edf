"""Checks prepared data sets, and any folders of images, before they cost a training run.

    mirage-basicsr check-data                            # everything that is prepared
    mirage-basicsr check-data rain100l bsd400 --json report.json
    mirage-basicsr check-data wed --list-file denoise.txt
    mirage-basicsr check-data --pairs my/dark my/bright --pairing '(.+)_dark=\\1'
    mirage-basicsr check-data --train my/photos --test datasets/test/denoise/bsd68 --leak-free lists/

Counted, read and compared are: images against the published number, unreadable and foreign files, pairs without a
partner or of different size, equal pixels, list files, and photographs of a training set that a test set shows, too,
even re-encoded, resized or cropped. Exit code: 0 in order (warnings allowed), 1 errors (with --strict warnings, too),
2 wrong use.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import sys
from pathlib import Path

import cv2
from tqdm import tqdm

from mirage_data.crew import RayActors, Team, calling
from mirage_data.files.lists import listed_name
from mirage_data.files.pairing import parse_rule, rule_named
from mirage_data.files.write import write_file
from mirage_data.sets.check import Checker
from mirage_data.sets.check_report import EXAMPLES, as_json, as_text, leaks_in
from mirage_data.sets.folder_scan import CheckCache
from mirage_data.sets.table import DEFAULT_ROOT, DataSet, Part, all_data_sets, data_set

from . import command_parser, existing, failed


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command_parser('check-data', __doc__)
    parser.add_argument('names', nargs='*', metavar='NAME', help='data sets (default: all that are prepared)')
    parser.add_argument('--root', default=DEFAULT_ROOT, help='data root (default: datasets)')
    parser.add_argument('--train', nargs='+', default=[], metavar='DIR', help='further folders, compared as training')
    parser.add_argument('--test', nargs='+', default=[], metavar='DIR', help='further folders, compared as test images')
    pairs = 'folders of degraded and clean images: names, sizes, and whether both sides show one picture'
    parser.add_argument('--pairs', nargs=2, action='append', default=[], metavar=('LQ', 'GT'), help=pairs)
    parser.add_argument('--pairing', type=parse_rule, default='same_name', help='rule of --pairs, or REGEX=NAME')
    parser.add_argument(
        '--list-file', nargs='+', type=existing, default=[], help='list files to compare with the named sets'
    )
    parser.add_argument('--quick', action='store_true', help='compare names only, read no image')
    parser.add_argument('--no-leaks', action='store_true', help='do not compare training with test images')
    known = "leaks that are no errors: a set's known overlaps by its NAME, or the pairs of an earlier --json report"
    parser.add_argument('--acknowledge', nargs='+', default=[], metavar='NAME', help=known)
    parser.add_argument('--all-names', action='store_true', help='print every name, not the first of each finding')
    parser.add_argument('--no-cache', action='store_true', help='read files again that have not changed since')
    parser.add_argument('--leak-free', metavar='DIR', help='write a list of unaffected samples per training set')
    parser.add_argument('--json', metavar='FILE', help='write everything that was found; - prints it instead of text')
    parser.add_argument('--strict', action='store_true', help='exit with 1 for warnings, too')
    parser.add_argument('--workers', type=int, default=None, help='threads (default: one per core), or actors of Ray')
    parser.add_argument('--ray', metavar='ADDRESS', help="read on a Ray cluster: 'auto' or its address")
    args = parser.parse_args(argv)
    if args.workers is not None and args.workers < 1:
        parser.error(f'--workers {args.workers}: at least 1')
    args.leaks = not (args.quick or args.no_leaks)
    if args.leak_free and not args.leaks:
        parser.error('--leak-free needs the comparison that --quick and --no-leaks leave out')
    if args.json and Path(args.json).is_dir():  # said before minutes of reading, not after
        parser.error(f'--json {args.json}: is a folder; name a file')
    if args.leak_free and Path(args.leak_free).exists() and not Path(args.leak_free).is_dir():
        parser.error(f'--leak-free {args.leak_free}: is a file; name a folder')
    own = args.train or args.test or args.pairs
    if not own and args.root != DEFAULT_ROOT and not Path(args.root).is_dir():
        parser.error(f'--root {args.root}: no such folder')
    for folder in (*args.train, *args.test, *(side for sides in args.pairs for side in sides)):
        if not Path(folder).is_dir():
            parser.error(f'{folder}: no such folder')
    try:
        rule_named(args.pairing)
        args.rows = [data_set(name) for name in args.names]
        args.acknowledged = [known for name in args.acknowledge for known in acknowledged(name)]
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return args


def acknowledged(name: str) -> list[str | tuple[str, str]]:
    """What one value of --acknowledge stands for.

    Raises:
        ValueError: if it is neither a set with known overlaps nor a report.
        OSError: if the report cannot be read.
    """
    table = all_data_sets()
    if name in table and table[name].overlaps:
        return [name]
    if Path(name).is_file():
        return [*leaks_in(name)]
    known = ', '.join(other for other, row in table.items() if row.overlaps)
    raise ValueError(
        f'--acknowledge {name}: neither a set with known overlaps ({known}) nor a report; leaks of other sets and '
        'folders are acknowledged by the report that found them: check-data ... --json FILE, then --acknowledge FILE'
    )


def cache_file(root: str) -> Path:
    """Where earlier results are kept: with the user, as data may lie where nobody writes."""
    place = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache', 'mirage-ir')
    return place / f'check-data-{hashlib.sha1(os.path.realpath(root).encode()).hexdigest()[:12]}.json'


def folder_row(folder: str, split: str) -> DataSet:
    """A folder of one's own as a data set without expectations."""
    part = Part(split, gt=str(Path(folder).resolve()), gt_count=0, recursive=True)
    return DataSet(str(folder), str(folder), '', (part,), [], '', '')


def pair_row(lq: str, gt: str, rule: str | dict) -> DataSet:
    """Two folders of one's own as a data set without expectations."""
    lq, gt = (str(Path(folder).resolve()) for folder in (lq, gt))
    return DataSet(lq, lq, '', (Part('train', gt=gt, gt_count=0, lq=lq, pairing=rule, recursive=True),), [], '', '')


def bar(items, total: int, what: str):
    return tqdm(items, desc=Path(what).name or what, total=total, unit='file', leave=False, disable=None)


def main(argv: list[str] | None = None) -> int:
    args = arguments(argv)
    cv2.setNumThreads(1)  # images are spread over threads already
    own = [folder_row(folder, 'train') for folder in args.train] + [folder_row(folder, 'test') for folder in args.test]
    own += [pair_row(lq, gt, args.pairing) for lq, gt in args.pairs]
    table = list(all_data_sets().values())
    chosen = args.rows + own or table
    try:
        with Team(RayActors(calling, args.ray, args.workers)) if args.ray else contextlib.nullcontext() as pool:
            checker = Checker(
                args.root,
                quick=args.quick,
                workers=args.workers,
                progress=bar,
                pool=pool,
                cache=CheckCache(None if args.no_cache else cache_file(args.root)),
                acknowledged=args.acknowledged,
            )
            try:
                for row in chosen:
                    checker.check(row, required=bool(args.rows + own))
                    checker.cache.save()
                for file in args.list_file:
                    checker.check_list_file(file, chosen)
                if args.leaks:
                    find_leaks(checker, args, chosen, own, table)
            finally:  # a check that is stopped need not read again what it knows
                checker.cache.save()
        if args.json == '-':
            print(as_json(checker.report, args.root))
        else:
            print(as_text(checker.report, args.quick, args.leaks, None if args.all_names else EXAMPLES))
        if args.json and args.json != '-':
            write_file(args.json, as_json(checker.report, args.root))
        if args.leak_free:
            write_lists(checker, Path(args.leak_free))
    except (ValueError, OSError, RuntimeError) as error:
        return failed(error)
    failing = ('error', 'warning') if args.strict else ('error',)
    return 1 if checker.report.worst() in failing else 0


def find_leaks(
    checker: Checker, args: argparse.Namespace, chosen: list[DataSet], own: list[DataSet], table: list[DataSet]
) -> None:
    """Named sets are compared with all that are prepared; folders of one's own with each other where both are given."""
    if args.train and args.test and not args.rows:
        checker.check_leaks(chosen, chosen)
        return
    everything = table + own
    checker.check_leaks(chosen, everything)
    rest = [row for row in everything if row not in chosen]
    if rest:
        checker.check_leaks(rest, chosen)


def write_lists(checker: Checker, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    taken: set[Path] = set()
    for name, samples in checker.report.leak_free.items():
        stem, number = '_'.join(Path(name.replace(' ', '_')).parts[-2:]), 1
        while (file := folder / f'{stem}{f"_{number}" if number > 1 else ""}_leak_free.txt') in taken:
            number += 1
        taken.add(file)
        if not samples:
            print(f'{name}: every sample leaks, no list', file=sys.stderr)
            file.unlink(missing_ok=True)  # of an earlier run
            continue
        write_file(file, ''.join(f'{listed_name(sample)}\n' for sample in samples))
        print(f'{file}: {len(samples):,} samples, for meta_info_file', file=sys.stderr)
