"""What reads files of every kind, and good files for each: what `mutations.py` damages."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from research.common import ROOT


@dataclasses.dataclass(frozen=True)
class Reader:
    """What reads one kind of file.

    Attributes:
        make: The whole files, by name.
        read: Of a file, its content as anything with a repr; raises what the reader raises.
        summed: Whether checksums cover the content, so that other content is a silent error.
        own_process: Whether damage may end the process, so that the suite reads it in one of its own.
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
    from mirage_ir.measuring.report import load_result

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
