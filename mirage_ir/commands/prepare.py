"""Brings a downloaded data set into the layout that the option files read.

    mirage-basicsr prepare --list
    mirage-basicsr prepare rain100l --source ~/Downloads/rain100L.zip
    mirage-basicsr prepare gopro --source ~/data/GOPRO_Large --subimages 512 256 --lmdb
    mirage-basicsr prepare lol --source ~/data/LOL --lq our485/low --gt our485/high --split train
    mirage-basicsr prepare --own shots --source ~/shots --pairing '(.+)_dark=\\1_bright'
    mirage-basicsr prepare --own sheets --source ~/sheets --halves left --split test

Folders are linked (--copy copies them), archives are unpacked. What is not used is listed with its reason. Running the
command again does only what is missing. --list says where to get each set. Pairs of one's own (--own) go to
Train/NAME/input and target, or test/NAME/..., under one name on both sides.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from mirage_data.files.image import list_names
from mirage_data.files.pairing import parse_rule
from mirage_data.sets.pack import SUFFIX, cut_folder, write_lmdb
from mirage_data.sets.prepare import Outcome, carry_out
from mirage_data.sets.prepare_plan import Plan, plan, plan_own, unpaired
from mirage_data.sets.source_tree import read_source
from mirage_data.sets.table import DEFAULT_ROOT, DataSet, all_data_sets, data_set

from . import command_parser, existing, failed, print_json


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command_parser('prepare', __doc__, as_json='what --list shows')
    parser.add_argument('name', nargs='?', help='data set, one of those of --list')
    parser.add_argument('--list', action='store_true', help='show all data sets and where they are published')
    parser.add_argument(
        '--source', type=existing, help='downloaded folder or archive; not needed to add --lmdb or --subimages later'
    )
    parser.add_argument('--root', default=DEFAULT_ROOT, help='data root (default: datasets)')
    how = parser.add_mutually_exclusive_group()
    how.add_argument('--link', action='store_true', help='link the files of a folder (the default)')
    how.add_argument('--copy', action='store_true', help='copy the files of a folder')
    parser.add_argument('--overwrite', action='store_true', help='replace files that are there with other content')
    parser.add_argument('--own', metavar='NAME', help='instead of a data set: pairs of your own under this name')
    rule = "with --own: which names belong together: REGEX=NAME, or a rule's name (default: same_name)"
    parser.add_argument('--pairing', type=parse_rule, help=rule)
    halves = 'with --own: each picture holds both sides, and this half of it is the degraded one'
    parser.add_argument('--halves', choices=('left', 'right'), default='', help=halves)
    parser.add_argument('--lq', help='folder of degraded images inside the source, for a layout of your own')
    parser.add_argument('--gt', help='folder of clean images inside the source, for a layout of your own')
    parser.add_argument('--split', choices=('train', 'test'), default='train', help='what --lq and --gt are')
    parser.add_argument('--subimages', nargs=2, type=int, metavar=('SIZE', 'STEP'), help='cut training images up')
    parser.add_argument('--lmdb', action='store_true', help='write an LMDB beside every folder (NAME.lmdb)')
    parser.add_argument('--raw', action='store_true', help='with --lmdb: store pixels, read without decoding')
    args = parser.parse_args(argv)
    if args.own and (args.name or args.list or args.lmdb or args.subimages or not args.source):
        parser.error('--own NAME takes --source and goes without a data set, --list, --lmdb and --subimages')
    if (args.pairing or args.halves) and not args.own or args.pairing and args.halves:
        parser.error('--pairing and --halves are about --own NAME, one of the two')
    if bool(args.lq) != bool(args.gt) and args.own:
        parser.error('--own needs both sides: --lq and --gt, or neither')
    if not args.list and args.name is None and not args.own:
        parser.error('name a data set, or ask for --list')
    if args.raw and not args.lmdb:
        parser.error('--raw is about --lmdb')
    if args.lq and not args.gt:
        parser.error('--lq needs --gt')
    if not (args.list or args.source or args.lmdb or args.subimages):
        parser.error('nothing to do: give --source, --lmdb or --subimages')
    if args.json and not args.list:
        parser.error('--json is about --list')
    if not args.list and not args.own and args.name not in all_data_sets():
        parser.error(f'unknown data set {args.name!r}; known: {", ".join(all_data_sets())}')
    return args


def main(argv: list[str] | None = None) -> int:
    args = arguments(argv)
    try:
        if args.list:
            print_json([asdict(row) for row in all_data_sets().values()]) if args.json else show_table()
            return 0
        if args.own:
            return prepare_own(args)
        row = data_set(args.name)
        ok = prepare(row, args) if args.source else True
        if args.subimages:
            ok = cut(row, args) and ok
        if args.lmdb:
            ok = pack(row, args) and ok
    except (ValueError, OSError) as error:
        return failed(error)
    except KeyboardInterrupt:
        print('\nstopped; the same command goes on where it was', file=sys.stderr)
        return 130
    if ok:
        print(f'next: mirage-basicsr check-data {row.name}' + root_option(args.root))
    return 0 if ok else 1


def root_option(root: str) -> str:
    return '' if root == DEFAULT_ROOT else f' --root "{root}"'


def bar(what: str):
    return lambda items, total: tqdm(items, desc=what, total=total, unit='file', leave=False, disable=None)


def show_table() -> None:
    for row in all_data_sets().values():
        print(f'{row.name:13} {row.title}: {", ".join(count_words(row))}\n{"":13} {row.published[0]}')


def count_words(row: DataSet) -> list[str]:
    words = []
    for part in row.parts:
        pairs = f'{part.lq_count:,} pairs' if part.lq else f'{part.gt_count:,} images'
        words.append(' '.join(word for word in (part.split, part.degradation, pairs) if word))
    return words


def prepare(row: DataSet, args: argparse.Namespace) -> bool:
    if row.note:
        print(f'{row.title}: {row.note}')
    folders = (args.lq, args.gt) if args.gt else None
    todo = plan(row.name, read_source(args.source), folders, args.split)
    for part, origin in todo.origins.items():
        print(f'{part}: recognised as the layout of {origin}')
    outcome = carry_out(todo, args.root, link=not args.copy, overwrite=args.overwrite, progress=bar(row.title))
    report(todo, outcome, Path(args.root))
    halves = half_parts(todo, Path(args.root))
    for problem in halves:
        print(problem, file=sys.stderr)
    return not (outcome.conflicts or halves)


def prepare_own(args: argparse.Namespace) -> int:
    folders = (args.lq, args.gt) if args.gt else None
    rule = args.pairing or 'same_name'
    todo = plan_own(args.own, read_source(args.source), args.split, rule, folders, args.halves)
    outcome = carry_out(todo, args.root, link=not args.copy, overwrite=args.overwrite, progress=bar(args.own))
    report(todo, outcome, Path(args.root))
    (part,) = todo.row.parts
    sides = Path(args.root, str(part.lq)), Path(args.root, part.gt)
    print(f'in an option file: type: PairedTaskDataset, dataroot_lq: {sides[0]}, dataroot_gt: {sides[1]}')
    print(f'next: mirage-basicsr check-data --pairs "{sides[0]}" "{sides[1]}"')
    return 1 if outcome.conflicts else 0


def half_parts(todo: Plan, root: Path) -> list[str]:
    """A line for each pair of folders of which this source filled one and the other is empty on the disk, too."""
    problems = []
    for part in todo.row.parts:
        if part.lq is None or not any(name.startswith((part.lq + '/', part.gt + '/')) for name in todo.files):
            continue
        sides = {side: has_images(root / folder) for side, folder in (('degraded', part.lq), ('clean', part.gt))}
        for side, other, folder in (('degraded', 'clean', part.lq), ('clean', 'degraded', part.gt)):
            if not sides[side] and sides[other]:
                problems.append(
                    f'{root / folder}: no {side} images of {todo.row.title}, only {other} ones were recognised; name '
                    f'both folders inside the source (--lq FOLDER --gt FOLDER --split {part.split}), or prepare the '
                    f'archive of the {side} side, too'
                )
    return list(dict.fromkeys(problems))


def has_images(folder: Path) -> bool:
    return folder.is_dir() and bool(list_names(folder, recursive=True))


def report(todo: Plan, outcome: Outcome, root: Path) -> None:
    print(', '.join(f'{count:,} {what}' for what, count in outcome.done.items()) or 'nothing done')
    for why, names in todo.skipped.items():
        print(f'skipped {len(names):,}: {why} (e.g. {names[0]})')
    for folder, names in unpaired(todo).items():
        print(f'without a partner in this source, {len(names):,} of {folder} (e.g. {names[0]})')
    for name in outcome.conflicts[:5]:
        print(f'kept as it was: {root / name} has other content; --overwrite replaces it', file=sys.stderr)
    if len(outcome.conflicts) > 5:
        print(f'  and {len(outcome.conflicts) - 5:,} more', file=sys.stderr)
    show_folders(todo.row, root)


def show_folders(row: DataSet, root: Path) -> None:
    """How many files each folder has now, beside what the published set has."""
    owners = {folder: part for part in reversed(row.parts) for folder in part.folders}  # of several the first
    for folder in dict.fromkeys(folder for part in row.parts for folder in part.folders):
        part, place = owners[folder], root / folder
        files = [entry for entry in place.rglob('*') if entry.is_file()] if place.is_dir() else []
        if folder == part.gt:
            files = [entry for entry in files if part.owns_clean_file(entry.name)]
        expected = part.gt_count if folder == part.gt else part.lq_count
        other = row.published and len(files) != expected
        print(f'  {place}: {len(files):,} files' + (f'   <- the published set has {expected:,}' if other else ''))


def cut(row: DataSet, args: argparse.Namespace) -> bool:
    ok = True
    for folder in {folder: None for part in row.parts_of('train') for folder in part.folders}:
        place = Path(args.root, folder)
        target = place.with_name(place.name + SUFFIX)
        result = cut_folder(place, target, *args.subimages, progress=bar(f'cutting {folder}'))
        print(f'{target}: {result.written:,} squares written, {result.there_already:,} there already')
        for problem in result.problems:
            print(f'  {problem}', file=sys.stderr)
        ok = ok and not result.problems
    return ok


def pack(row: DataSet, args: argparse.Namespace) -> bool:
    ok = True
    folders = {folder: None for part in row.parts for folder in part.folders}
    places = [Path(args.root, folder) for folder in folders]
    if args.subimages:
        training = {Path(args.root, folder) for part in row.parts_of('train') for folder in part.folders}
        places = [place.with_name(place.name + SUFFIX) if place in training else place for place in places]
    made = False
    for place in places:
        if not place.is_dir():
            print(f'{place}: not there, no LMDB made')
            continue
        made = True
        result = write_lmdb(place, raw=args.raw, progress=bar(f'LMDB of {place.name}'))
        state = 'there already' if result.there_already else f'{result.shared:,} of them share stored pixels'
        print(f'{result.path}: {result.stored:,} images, {state}')
        for problem in result.problems:
            print(f'  left out: {problem}', file=sys.stderr)
        ok = ok and not result.problems
    return ok and made
