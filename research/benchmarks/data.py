"""Samples per second and core: BasicSR's PairedImageDataset and ours on the same task, measured in turns.

    python research/benchmarks/data.py                          # photographs that come with scikit-image
    python research/benchmarks/data.py --images DIR             # photographs of your own
    python research/benchmarks/data.py --json data_speed.json

The task is a 128x128 crop with flips from pairs of 481x321 photographs (the size of BSD's). Each dataset lives in a
process of its own with one thread; the two are asked in turns, and medians over the rounds are printed. BasicSR cannot
read raw LMDBs: there ours is compared with BasicSR on the PNG LMDB. The last lines say what an index of 72,135 pairs
(RESIDE's OTS) costs.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mirage_data.files.lmdb import LmdbWriter
from research.common import parser_of, photographs

HEIGHT, WIDTH = 321, 481
OTS_PAIRS, OTS_CLEAR = 72_135, 2_061
# name: (folder of either side, backend, what BasicSR reads instead, speed-up to reach)
CASES = {
    'PNG files': ('png/{}', 'disk', None, 1.3),
    'JPEG files': ('jpg/{}', 'disk', None, 1.3),
    'PNG LMDB': ('{}.lmdb', 'lmdb', None, 1.3),
    "PNG LMDB as BasicSR's script encodes": ('{}_level1.lmdb', 'lmdb', None, 1.3),
    'raw LMDB (BasicSR: PNG LMDB)': ('{}_raw.lmdb', 'lmdb', '{}.lmdb', 8.0),
}
COMPOSITE = 'on-the-fly composite (ours alone)'
COMPOSITE_TARGET = 60.0  # samples per second and core


def crops(folder: str | None, count: int) -> list[np.ndarray]:
    """Crops of BSD's size, uint8 RGB, from the photographs of a folder or scikit-image's, repeated at other places."""
    images = [image for image in photographs(folder) if min(image.shape[:2]) >= 64]
    if not images:
        raise SystemExit(f'{folder}: no photographs of 64 pixels and more')
    rng = np.random.default_rng(0)
    chosen = []
    for number in range(count):
        image = images[number % len(images)]
        grow = max(1.0, HEIGHT / image.shape[0], WIDTH / image.shape[1])
        if grow > 1:
            image = cv2.resize(image, None, fx=grow, fy=grow, interpolation=cv2.INTER_CUBIC)
        top, left = rng.integers(image.shape[0] - HEIGHT + 1), rng.integers(image.shape[1] - WIDTH + 1)
        chosen.append(image[top : top + HEIGHT, left : left + WIDTH])
    return chosen


def write_task(root: Path, clean: list[np.ndarray]) -> None:
    """Writes the pairs (noise as degradation) in every form of storage."""
    rng = np.random.default_rng(0)
    noisy = [np.clip(image + rng.normal(0, 10, image.shape), 0, 255).astype(np.uint8) for image in clean]
    for side, images in (('lq', noisy), ('gt', clean)):
        for kind in ('png', 'jpg'):
            (root / kind / side).mkdir(parents=True)
        with (
            LmdbWriter(root / f'{side}.lmdb') as plain,
            LmdbWriter(root / f'{side}_level1.lmdb') as level1,
            LmdbWriter(root / f'{side}_raw.lmdb', raw=True) as raw,
        ):
            for number, image in enumerate(images):
                name, bgr = f'{number:04d}.png', np.ascontiguousarray(image[..., ::-1])
                cv2.imwrite(str(root / 'png' / side / name), bgr)
                cv2.imwrite(str(root / 'jpg' / side / f'{number:04d}.jpg'), bgr)
                plain.add_image(name, image)
                level1.add_file(name, cv2.imencode('.png', bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes())
                raw.add_image(name, image)


def task_options(root: Path, folder: str, backend: str) -> dict:
    """One set of options for both classes."""
    return {
        'phase': 'train',
        'scale': 1,
        'gt_size': 128,
        'use_hflip': True,
        'use_rot': True,
        'dataroot_lq': str(root / folder.format('lq')),
        'dataroot_gt': str(root / folder.format('gt')),
        'io_backend': {'type': backend},
    }


def serve(pipe, maker: str, cases: dict[str, dict]) -> None:
    """A process that holds one kind of dataset and, when asked, times passes through it on one thread."""
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    if maker == 'basicsr':
        import mirage_ir.compat  # noqa: F401, I001  (BasicSR cannot be imported without its repairs)
        from basicsr.data.paired_image_dataset import PairedImageDataset as Paired
    else:
        from mirage_data import PairedTaskDataset as Paired
        from mirage_data import SyntheticDegradationDataset
    datasets = {}
    for name, options in cases.items():
        synthetic = 'recipe' in options
        datasets[name] = SyntheticDegradationDataset(options) if synthetic else Paired(options)
    pipe.send('ready')
    while (question := pipe.recv()) is not None:
        name, first, samples = question
        dataset = datasets[name]
        begin = time.perf_counter()
        for number in range(first, first + samples):
            place = number % len(dataset)
            dataset[place if maker == 'basicsr' else (number // len(dataset), place)]
        pipe.send((time.perf_counter() - begin) / samples)


def start(maker: str, cases: dict[str, dict]):
    """Starts a serving process; returns it and its pipe."""
    context = multiprocessing.get_context('spawn')
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, maker, cases), daemon=True)
    process.start()
    theirs.close()
    ours.recv()
    return process, ours


def compare(root: Path, rounds: int, samples: int) -> list[dict]:
    """Times all cases in turns; one row each with medians in samples per second."""
    basicsr, mirage = {}, {}
    for name, (folder, backend, replacement, _) in CASES.items():
        mirage[name] = task_options(root, folder, backend)
        if not replacement:
            basicsr[name] = task_options(root, folder, backend)
    mirage[COMPOSITE] = {**task_options(root, 'png/{}', 'disk'), 'recipe': [{'degradation': 'cdd11'}]}
    sides = {'basicsr': start('basicsr', basicsr), 'mirage': start('mirage', mirage)}
    seconds: dict[tuple[str, str], list[float]] = {}
    for turn in tqdm(range(rounds + 1), desc='rounds', unit='round'):
        for name in mirage:
            for side, own in (('basicsr', basicsr), ('mirage', mirage)):
                if name in own:
                    pipe = sides[side][1]
                    # a crop of a raw database takes so little time that more of them are timed
                    pipe.send((name, turn * samples, samples * (8 if 'raw' in name else 1)))
                    took = pipe.recv()
                    if turn:  # the first round warms the caches
                        seconds.setdefault((name, side), []).append(took)
    for process, pipe in sides.values():
        pipe.send(None)
        process.join()
    rows = []
    for name in mirage:
        ours = 1 / statistics.median(seconds[name, 'mirage'])
        replacement = 'PNG LMDB' if name in CASES and CASES[name][2] else name
        theirs = 1 / statistics.median(seconds[replacement, 'basicsr']) if replacement in basicsr else None
        ratio, target = (ours / theirs, CASES[name][3]) if theirs else (None, COMPOSITE_TARGET)
        reached = (ratio if theirs else ours) >= target
        rows.append(
            {'case': name, 'basicsr': theirs, 'mirage': ours, 'ratio': ratio, 'target': target, 'reached': reached}
        )
    return rows


def private_megabytes() -> float:
    """Memory that only this process holds."""
    fields = dict(line.split(':', 1) for line in Path('/proc/self/smaps_rollup').read_text().splitlines()[1:])
    return sum(int(fields[key].split()[0]) for key in ('Private_Clean', 'Private_Dirty')) / 1024


def index_cost(pipe, options: dict, samples: int) -> None:
    """A process that builds the index of a large set, reads from it, and reports seconds and memory."""
    import torch

    from mirage_data import PairedTaskDataset

    torch.set_num_threads(1)
    alone = {**options, 'phase': 'val', 'dataroot_lq': options['dataroot_gt'], 'dataroot_gt': None}
    PairedTaskDataset(alone)[(0, 0)]  # what is loaded once does not count
    before = private_megabytes()
    begin = time.perf_counter()
    dataset = PairedTaskDataset(options)
    seconds = time.perf_counter() - begin
    for number in range(samples):
        dataset[(0, number * 7919 % len(dataset))]
    pipe.send({'pairs': len(dataset), 'index_seconds': seconds, 'worker_megabytes': private_megabytes() - before})


def measure_index(root: Path, clean: list[np.ndarray], samples: int) -> dict:
    """An index of OTS's size, of links to a few JPEGs under OTS's names."""
    for part in range(1, 5):
        (root / 'ots' / 'synthetic' / f'part{part}').mkdir(parents=True)
    (root / 'ots' / 'original').mkdir()
    files = []
    for number, image in enumerate(clean[:8]):
        files.append(root / 'ots' / f'{number}.jpg')
        cv2.imwrite(str(files[-1]), image[..., ::-1])
    for number in range(OTS_CLEAR):
        os.link(files[number % len(files)], root / 'ots' / 'original' / f'{number:04d}.jpg')
    for number in range(OTS_PAIRS):
        part, clear, strength = number % 4 + 1, number % OTS_CLEAR, number // OTS_CLEAR
        name = f'{clear:04d}_{0.8 + strength / 100:.2f}_0.{strength:02d}.jpg'
        os.link(files[clear % len(files)], root / 'ots' / 'synthetic' / f'part{part}' / name)
    options = {**task_options(root, 'png/{}', 'disk'), 'pairing': 'ots'}
    options |= {
        'dataroot_lq': str(root / 'ots' / 'synthetic'),
        'dataroot_gt': str(root / 'ots' / 'original'),
    }
    context = multiprocessing.get_context('spawn')
    ours, theirs = context.Pipe()
    process = context.Process(target=index_cost, args=(theirs, options, samples), daemon=True)
    process.start()
    result = ours.recv()
    process.join()
    return result


def main(argv: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument('--images', help='folder of photographs; default: those that come with scikit-image')
    parser.add_argument('--pairs', type=int, default=40, help='number of pairs (default 40)')
    parser.add_argument('--rounds', type=int, default=7, help='rounds after the first, which warms up (default 7)')
    parser.add_argument('--samples', type=int, default=40, help='samples per round and case (default 40)')
    parser.add_argument('--json', help='also write the figures to this file')
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        root, clean = Path(folder), crops(arguments.images, arguments.pairs)
        write_task(root, clean)
        rows = compare(root, arguments.rounds, arguments.samples)
        index = measure_index(root, clean, arguments.samples) if Path('/proc/self/smaps_rollup').exists() else None
    print(f'{"samples per second and core":38}{"BasicSR":>9}{"ours":>9}{"ratio":>8}{"target":>8}')
    for row in rows:
        theirs, ratio = (f'{row["basicsr"]:.0f}', f'{row["ratio"]:.2f}') if row['basicsr'] else ('-', '-')
        mark = '' if row['reached'] else '  not reached'
        print(f'{row["case"]:38}{theirs:>9}{row["mirage"]:>9.0f}{ratio:>8}{row["target"]:>8g}{mark}')
    if index:
        print(
            f'index of {index["pairs"]:,} pairs: {index["index_seconds"]:.1f} s (target 10), '
            f'{index["worker_megabytes"]:.0f} MB more in a worker after reading from it (target 300)'
        )
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({'cases': rows, 'index': index}, indent=1))


if __name__ == '__main__':
    main()
