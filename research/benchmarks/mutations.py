"""Damage files of every kind and look at what the readers do: no hang, no crash, no silent error.

    python research/benchmarks/mutations.py --count 10000 --out mutations.md
    python research/benchmarks/mutations.py --readers png_training lmdb --count 500

Each reader gets files that it reads well, each damaged in one place: bits turned, bytes lost, doubled or moved, numbers
replaced by the largest ones. Good ends are: read with the same content; refused by an error of the reader's kind that
names the file; and, of formats without checksums alone, read with other content. The files are read in batches by
processes of their own; a file that ends one, takes longer than --seconds or more memory than --megabytes is named and
kept. Exit code 1 if there is one that did not end well.
"""

from __future__ import annotations

import collections
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from research.benchmarks.mutation_readers import READERS, Reader
from research.common import parser_of

BATCH = 250
GOOD = ('same', 'refused', 'changed')


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """The same bytes with one fault; nearer to the beginning, where headers are, every third time."""
    length = len(data)
    place = int(rng.integers(min(length, 200) if rng.random() < 0.35 else length))
    size = int(rng.choice([1, 2, 4, 16, 200]))
    kind = int(rng.integers(9))
    if kind <= 2:
        turned = data[place] ^ 1 << int(rng.integers(8))
        return data[:place] + bytes([turned]) + data[place + 1 :]
    if kind == 3:
        return data[:place] + rng.bytes(size) + data[place + size :]
    if kind == 4:
        return data[:place] + data[place + size :]
    if kind == 5:
        return data[:place] + data[place : place + size] + data[place:]
    if kind == 6:
        return data[:place]
    if kind == 7:
        number = int(rng.choice([0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])).to_bytes(4, 'big')
        return data[:place] + (number if rng.random() < 0.5 else number[::-1]) + data[place + 4 :]
    other = int(rng.integers(length))
    return data[:place] + data[other : other + size] + data[place + size :]


def cases(name: str, whole: dict[str, bytes], numbers: Iterable[int], folder: Path) -> Iterator[tuple[int, Path, str]]:
    """The damaged files of a reader, each with its number and the name of the whole file."""
    names = sorted(whole)
    for number in numbers:
        rng = np.random.default_rng([number, len(name), *name.encode()])
        stem, _, ending = names[number % len(names)].partition('.')
        path = folder / f'{stem}.{ending}'
        path.write_bytes(damaged(whole[path.name], rng))
        yield number, path, path.name


def outcome(reader: Reader, path: Path, original: str) -> str:
    """How reading a damaged file ended; `GOOD` lists the good ends.

    Args:
        reader: The reader.
        path: The damaged file.
        original: What the whole file's content looks like.
    """
    from mirage_ir.training.ranks import RunError

    try:
        found = repr(reader.read(path))
    except (ValueError, RunError) as error:
        named = path.name in str(error) or path.parent.as_posix() in str(error)
        return 'refused' if named else f'no name: {error!r:.150}'
    except Exception as error:
        return f'traceback: {error!r:.150}'
    if found == original:
        return 'same'
    return 'silent: other content' if reader.summed else 'changed'


def originals(reader: Reader, folder: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    """The whole files, and what the reader makes of each."""
    whole = reader.make()
    if 'rest.json' in whole:
        (folder / 'rest.json').write_bytes(whole.pop('rest.json'))
    for file, content in whole.items():
        (folder / file).write_bytes(content)
    return whole, {file: repr(reader.read(folder / file)) for file in whole}


def try_batch(name: str, numbers: Iterable[int], tell: Callable[[dict], None]) -> None:
    """Reads some damaged files in this process; tells of each before it is read and after."""
    with tempfile.TemporaryDirectory(prefix='mutations_') as place:
        folder = Path(place)
        reader = READERS[name]
        whole, known = originals(reader, folder)
        cv2.setNumThreads(1)
        for number, path, original in cases(name, whole, numbers, folder):
            tell({'begun': number})
            peak, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
            ended = outcome(reader, path, known[original])
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
            tell({'number': number, 'ended': ended, 'seconds': time.process_time() - start, 'megabytes': grown})


def _child(name: str, numbers: list[int], pipe: Any) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libraries say about damaged files
    try_batch(name, numbers, pipe.send)
    pipe.close()


def run(name: str, count: int, seconds: float, megabytes: float) -> list[dict]:
    """Reads the first `count` damaged files of a reader, in processes of their own.

    Returns:
        A record for each: `number`, `ended`, `seconds` of CPU time, `megabytes` by which the peak of memory rose.
    """
    # here once, and not counted as what a file takes
    import mirage_ir.measuring.curves
    import mirage_ir.training.ranks  # noqa: F401

    left, records = list(range(count)), []
    context = multiprocessing.get_context('fork')
    while left:
        mine, theirs = context.Pipe(duplex=False)
        batch = left[:BATCH]
        child = context.Process(target=_child, args=(name, batch, theirs))
        child.start()
        theirs.close()
        at_work = None
        try:
            while True:
                if not mine.poll(60 + 20 * seconds):  # of the clock: other programs may be computing
                    records.append({'number': at_work, 'ended': 'hang', 'seconds': seconds, 'megabytes': 0})
                    break
                told = mine.recv()
                at_work = told.get('begun')
                if at_work is None:
                    if told['seconds'] > seconds and told['ended'] in GOOD:
                        told['ended'] = f'slow: {told["seconds"]:.1f} s'
                    if told['megabytes'] > megabytes and told['ended'] in GOOD:
                        told['ended'] = f'memory: {told["megabytes"]:.0f} MB'
                    records.append(told)
        except EOFError:
            child.join()
            if at_work is not None:
                records.append({'number': at_work, 'ended': f'crash: {child.exitcode}', 'seconds': 0, 'megabytes': 0})
            elif child.exitcode:
                raise RuntimeError(f'{name}: the process ended with {child.exitcode} before it read anything') from None
        if child.is_alive():
            child.kill()
        child.join()
        done = {record['number'] for record in records}
        left = [number for number in left if number not in done]
    return records


def report(found: dict[str, list[dict]]) -> str:
    """A Markdown table by reader, and every file that did not end well."""
    lines = ['| reader | files | same | refused | other content | bad | slowest, s | most memory, MB |']
    lines.append('|---|--:|--:|--:|--:|--:|--:|--:|')
    bad = []
    for name, records in found.items():
        counts = collections.Counter(record['ended'] for record in records)
        wrong = [record for record in records if record['ended'] not in GOOD]
        bad += [f'- {name} {record["number"]}: {record["ended"]}' for record in wrong]
        slowest, most = (max(record[key] for record in records) for key in ('seconds', 'megabytes'))
        cells = [len(records), *(counts[end] for end in GOOD), len(wrong)]
        lines.append(f'| {name} | ' + ' | '.join(f'{cell:,}' for cell in cells) + f' | {slowest:.2f} | {most:.0f} |')
    total = sum(len(records) for records in found.values())
    return '\n'.join([*lines, '', f'{total:,} files, {len(bad):,} did not end well.', *bad, ''])


def main(argv: list[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument('--readers', nargs='+', choices=list(READERS), default=list(READERS), metavar='NAME')
    parser.add_argument('--count', type=int, default=10_000, help='files of all readers together')
    parser.add_argument('--seconds', type=float, default=10, help='most CPU time for a file')
    parser.add_argument('--megabytes', type=float, default=600, help='most memory for a file')
    parser.add_argument('--out', type=Path, help='Markdown file to write; a JSON file of all records stands beside it')
    args = parser.parse_args(argv)
    found = {}
    for name in args.readers:
        found[name] = run(name, -(-args.count // len(args.readers)), args.seconds, args.megabytes)
        print(report({name: found[name]}).split('\n', 2)[2].strip(), flush=True)
        if args.out:
            args.out.write_text(report(found), encoding='utf-8')
            args.out.with_suffix('.json').write_text(json.dumps(found), encoding='utf-8')
    return 1 if any(record['ended'] not in GOOD for records in found.values() for record in records) else 0


if __name__ == '__main__':
    raise SystemExit(main())
