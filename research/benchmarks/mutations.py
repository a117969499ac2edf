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

import argparse
import collections
import csv
import dataclasses
import hashlib
import io
import json
import multiprocessing
import os
import resource
import shutil
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

BATCH = 250
GOOD = ('same', 'refused', 'changed')


@dataclasses.dataclass(frozen=True)
class Reader:
    """What reads one kind of file.

    Attributes:
        make: the whole files, by name.
        read: of a file, its content as anything with a repr; raises what the reader raises.
        summed: whether checksums cover the content, so that other content is a silent error.
        own_process: whether damage may end the process, so that the suite reads it in one of its own.
    """

    make: Callable[[], dict[str, bytes]]
    read: Callable[[Path], Any]
    summed: bool = False
    own_process: bool = False


# ---- the files ------------------------------------------------------------------------------------------------------
def picture(deep: bool = False) -> np.ndarray:
    """A small photograph-like picture, (36, 52, 3)."""
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.random((36, 52, 3)), (0, 0), 3) * 3 % 1
    return (image * 65535).astype(np.uint16) if deep else (image * 255).astype(np.uint8)


def pictures(*endings: str) -> dict[str, bytes]:
    """Files of the picture, of depths and kinds that each format has."""
    from PIL import Image

    files = {}
    for ending in endings:
        files[f'colour{ending}'] = cv2.imencode(ending, picture())[1].tobytes()
        if ending in ('.png', '.tiff', '.ppm'):
            files[f'deep{ending}'] = cv2.imencode(ending, picture(deep=True))[1].tobytes()
        if ending in ('.png', '.jpg', '.bmp', '.tiff', '.gif'):
            files[f'grey{ending}'] = saved(Image.fromarray(picture()).convert('L'), ending)
        if ending in ('.png', '.bmp', '.gif'):
            files[f'palette{ending}'] = saved(Image.fromarray(picture()).quantize(40), ending)
        if ending == '.tiff':
            files['packed.tiff'] = saved(Image.fromarray(picture()), ending, compression='tiff_lzw')
        if ending == '.jpg':
            files['progressive.jpg'] = saved(Image.fromarray(picture()), ending, progressive=True)
    return files


def saved(image: Any, ending: str, **options: Any) -> bytes:
    """A Pillow picture as a file."""
    buffer = io.BytesIO()
    image.save(buffer, {'.jpg': 'JPEG', '.tiff': 'TIFF'}.get(ending, ending[1:].upper()), **options)
    return buffer.getvalue()


def made(write: Callable[[Path], Any], name: str) -> bytes:
    """What a function writes into a file."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, name))
        return Path(folder, name).read_bytes()


def weights(kind: str) -> dict[str, bytes]:
    """A tiny network's weights."""
    import torch

    from mirage_arch.checkpoints import save_weights
    from mirage_arch.mirage_arch import MIRAGEArch

    torch.manual_seed(0)
    net = MIRAGEArch(dim=6, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1, heads=(1, 1, 1, 1), spd_head=False)
    state = net.state_dict()
    if kind == 'state':
        moments = {n: {'step': torch.tensor(3.0), 'exp_avg': p} for n, p in enumerate(state.values())}
        content = {'epoch': 1, 'iter': 10, 'optimizers': [{'state': moments}], 'schedulers': [{'last_epoch': 10}]}
        return {'10.state': made(lambda path: torch.save(content, path), '10.state')}
    if kind == 'ckpt':
        content = {'state_dict': {f'net.{name}': tensor for name, tensor in state.items()}, 'epoch': 1}
        return {'a.ckpt': made(lambda path: torch.save(content, path), 'a.ckpt')}
    return {f'a.{kind}': made(lambda path: save_weights(state, path), f'a.{kind}')}


def members() -> dict[str, bytes]:
    """The files of a small download."""
    rng = np.random.default_rng(0)
    sides = [f'{split}/{side}' for split in ('our485', 'eval15') for side in ('low', 'high')]
    return {f'LOL/{side}/{n}.png': rng.bytes(500) for side in sides for n in range(3)}


def zips() -> dict[str, bytes]:
    """Zip archives of each method."""
    files = {}
    methods = ((zipfile.ZIP_STORED, 'stored'), (zipfile.ZIP_DEFLATED, 'deflated'), (zipfile.ZIP_BZIP2, 'bzip2'))
    for method, name in (*methods, (zipfile.ZIP_LZMA, 'lzma')):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, 'w', method) as archive:
            for member, content in members().items():
                archive.writestr(member, content)
        files[f'{name}.zip'] = buffer.getvalue()
    return files


def tars(*packers: str) -> dict[str, bytes]:
    """Tar archives, packed or plain."""
    files = {}
    for packer in packers:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=f'w:{packer}') as archive:
            for member, content in members().items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        files[f'a.tar.{packer}' if packer else 'a.tar'] = buffer.getvalue()
    return files


def options() -> dict[str, bytes]:
    """Option files."""
    folder = ROOT / 'options'
    return {name: (folder / name).read_bytes() for name in ('train_mirage_5deg.yml', 'test_5deg.yml', 'test_cdd11.yml')}


def database(raw: bool) -> dict[str, bytes]:
    """The data file of an LMDB; its other files stand beside the damaged copy."""
    from mirage_data.files.lmdb import LmdbWriter

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'a.lmdb')
        with LmdbWriter(path, raw=raw) as writer:
            for number in range(4):
                writer.add_image(f'{number}.png', picture() + np.uint8(9 * number))
        rest = {file.name: file.read_bytes().hex() for file in path.iterdir() if file.name != 'data.mdb'}
        return {f'{"raw" if raw else "encoded"}.mdb': (path / 'data.mdb').read_bytes(), 'rest.json': _text(rest)}


def _text(content: Any) -> bytes:
    return json.dumps(content).encode()


def results() -> dict[str, bytes]:
    """What runs leave behind."""
    rows = [{'dataset': 'LOL', 'task': 'enhance', 'images': 15, 'psnr': 23.5, 'ssim': 0.84}]
    return {'results.json': _text({'name': 'a', 'rows': rows, 'protocol': {'crop_multiple': 16}, 'weights': 'a.pth'})}


def validation() -> dict[str, bytes]:
    """``validation.csv`` of a training run."""
    lines = [('iter', 'dataset', 'task', 'metric', 'value')]
    lines += [(n, 'LOL', 'enhance', metric, n / 7) for n in range(0, 900, 100) for metric in ('psnr', 'ssim')]
    buffer = io.StringIO(newline='')
    csv.writer(buffer, lineterminator='\n').writerows(lines)
    return {'validation.csv': buffer.getvalue().encode()}


def lists() -> dict[str, bytes]:
    """List files of pairs, in the ways that people write them."""
    plain = ''.join(f'{n}.png {n}.png\n' for n in range(6))
    return {'plain.txt': plain.encode(), 'wide.txt': plain.replace(' ', '\t').encode('utf-16')}


def video(ending: str) -> dict[str, bytes]:
    """A short clip."""
    import av

    def write(path: Path) -> None:
        with av.open(str(path), 'w') as output:
            stream = output.add_stream({'.mp4': 'libx264', '.mkv': 'ffv1'}[ending], rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
            for n in range(8):
                image = np.roll(np.resize(picture(), (48, 64, 3)), n, 1)
                output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='rgb24')))
            output.mux(stream.encode())

    return {f'a{ending}': made(write, f'a{ending}')}


# ---- the readers ----------------------------------------------------------------------------------------------------
def read_training(path: Path) -> Any:
    from mirage_data.files.image import read_rgb

    return _digest(read_rgb(path))


def read_restoring(path: Path) -> Any:
    from mirage_restore.photo import read_photo

    return _digest(read_photo(path).pixels)


def read_weights(path: Path) -> Any:
    from mirage_arch.checkpoints import load_network

    return {name: _digest(tensor.numpy()) for name, tensor in load_network(path).state_dict().items()}


def read_state(path: Path) -> Any:
    from mirage_ir.training.resume import read_state as read

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items()}
        if isinstance(value, list):
            return [plain(part) for part in value]
        return _digest(value.numpy()) if hasattr(value, 'numpy') else value

    return plain(read(str(path)))


def read_source(path: Path) -> Any:
    from mirage_data.sets.prepare import carry_out
    from mirage_data.sets.prepare_plan import plan
    from mirage_data.sets.source_tree import read_source as read

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        todo = plan('lol', read(path))
        carry_out(todo, folder)
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob('*') if p.is_file()}
        return sorted(files.items()), sorted(todo.skipped)


def read_options(path: Path) -> Any:
    from mirage_ir.options.check import check_option_file

    return [str(problem).partition(':')[2] for problem in check_option_file(path, root=path.parent)]


def read_lmdb(path: Path) -> Any:
    from mirage_data.files.lmdb import LmdbError, LmdbReader

    rest = json.loads((path.parent / 'rest.json').read_text())
    folder = path.parent / 'a.lmdb'
    folder.mkdir(exist_ok=True)
    for name, content in rest.items():
        (folder / name).write_bytes(bytes.fromhex(content))
    shutil.copyfile(path, folder / 'data.mdb')
    reader = LmdbReader(folder)
    try:
        damaged = reader.damaged()
        if damaged:
            raise LmdbError(f'{path}: {len(damaged)} values are not as they were written')
        return {name: _digest(np.array(reader.view(name.removesuffix('.png')))) for name in reader.names}
    finally:
        reader.close()


def read_result(path: Path) -> Any:
    from mirage_ir.measuring.tables import load_result

    return load_result(path)


def read_validation(path: Path) -> Any:
    from mirage_ir.measuring.curves import load_run

    return load_run(path.parent).validation


def read_list(path: Path) -> Any:
    from mirage_data.files.lists import pairs_of_list
    from mirage_data.files.store import FolderStore

    folder = path.parent / 'pictures'
    for side in ('lq', 'gt'):
        (folder / side).mkdir(parents=True, exist_ok=True)
        for n in range(6):
            (folder / side / f'{n}.png').touch()
    stores = FolderStore(folder / 'lq'), FolderStore(folder / 'gt')
    return pairs_of_list(path, *stores, 'same_name').tolist()


def read_video(path: Path) -> Any:
    from mirage_restore.video import restore_video

    target = path.with_name('restored.mkv')
    target.unlink(missing_ok=True)
    restore_video(lambda pixels: pixels, path, target, progress=False, encoder='ffv1')
    return _digest(np.frombuffer(target.read_bytes(), np.uint8)) and target.stat().st_size // 2000


def _digest(values: np.ndarray) -> str:
    head = f'{values.shape} {values.dtype}'
    return hashlib.sha1(head.encode() + np.ascontiguousarray(values).tobytes()).hexdigest()


_KINDS = ('jpg', 'bmp', 'tiff', 'webp', 'gif', 'ppm')
READERS: dict[str, Reader] = {
    'png_training': Reader(lambda: pictures('.png'), read_training, summed=True),
    'png_restoring': Reader(lambda: pictures('.png'), read_restoring, summed=True),
    **{f'{kind}_training': Reader(lambda kind=kind: pictures(f'.{kind}'), read_training) for kind in _KINDS},
    **{f'{kind}_restoring': Reader(lambda kind=kind: pictures(f'.{kind}'), read_restoring) for kind in _KINDS},
    'pth': Reader(lambda: weights('pth'), read_weights, summed=True),
    'ckpt': Reader(lambda: weights('ckpt'), read_weights, summed=True),
    'safetensors': Reader(lambda: weights('safetensors'), read_weights, summed=True),
    'state': Reader(lambda: weights('state'), read_state, summed=True),
    'zip': Reader(zips, read_source, summed=True),
    'packed_tar': Reader(lambda: tars('gz', 'bz2', 'xz'), read_source, summed=True),
    'plain_tar': Reader(lambda: tars(''), read_source),
    'options': Reader(options, read_options),
    'list': Reader(lists, read_list),
    'results': Reader(results, read_result),
    'validation': Reader(validation, read_validation),
    'lmdb': Reader(lambda: database(raw=False), read_lmdb, summed=True, own_process=True),
    'raw_lmdb': Reader(lambda: database(raw=True), read_lmdb, summed=True, own_process=True),
    'mp4': Reader(lambda: video('.mp4'), read_video, own_process=True),
    'mkv': Reader(lambda: video('.mkv'), read_video, own_process=True),
}


# ---- damage ---------------------------------------------------------------------------------------------------------
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
        reader: the reader.
        path: the damaged file.
        original: what the whole file's content looks like.
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--readers', nargs='+', choices=list(READERS), default=list(READERS), metavar='NAME')
    parser.add_argument('--count', type=int, default=10_000, help='files of all readers together')
    parser.add_argument('--seconds', type=float, default=10, help='most CPU time for a file')
    parser.add_argument('--megabytes', type=float, default=600, help='most memory for a file')
    parser.add_argument('--out', type=Path, help='Markdown file to write; a JSON file of all records stands beside it')
    args = parser.parse_args()
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
