"""Damaged and hostile downloads, and two programs at once: a clear error, nothing lost, nothing silently missing."""

import io
import json
import multiprocessing
import os
import tarfile
import time
import zipfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from mirage_data.files.write import alone_in
from mirage_data.sets import prepare
from mirage_data.sets.prepare import carry_out
from mirage_data.sets.prepare_plan import plan
from mirage_data.sets.source_tree import SourceError, read_source
from mirage_data.sets.synthesis import synthesize

RANDOM = np.random.default_rng(0)
FILES = {
    f'{split}/{side}/{n}.png': RANDOM.bytes(700)
    for split in ('our485', 'eval15')
    for side in ('low', 'high')
    for n in range(4)
}
PLACES = {'our485/low': 'Train/Enhance/low', 'our485/high': 'Train/Enhance/gt'}
PLACES |= {'eval15/low': 'test/enhance/lol/input', 'eval15/high': 'test/enhance/lol/target'}
WHOLE = {f'{PLACES[str(Path(name).parent)]}/{Path(name).name}': data for name, data in FILES.items()}
ZIPS = {'stored.zip': zipfile.ZIP_STORED, 'deflated.zip': 8, 'bzip2.zip': zipfile.ZIP_BZIP2, 'lzma.zip': 14}
TARS = {'plain.tar': '', 'packed.tar.gz': 'gz', 'packed.tar.bz2': 'bz2', 'packed.tar.xz': 'xz'}


def archive_of(name: str) -> bytes:
    buffer = io.BytesIO()
    if name in ZIPS:
        with zipfile.ZipFile(buffer, 'w', ZIPS[name]) as archive:
            for member, content in FILES.items():
                archive.writestr(f'LOL/{member}', content)
    else:
        with tarfile.open(fileobj=buffer, mode=f'w:{TARS[name]}') as archive:
            for member, content in FILES.items():
                info = tarfile.TarInfo(f'LOL/{member}')
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def prepared(source: Path, root: Path) -> dict[str, bytes]:
    carry_out(plan('lol', read_source(source)), root)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob('*') if path.is_file()}


@pytest.mark.parametrize('name', [*ZIPS, *TARS])
def test_no_damage_goes_unseen(name, tmp_path):
    whole, rng = archive_of(name), np.random.default_rng(1)
    (tmp_path / name).write_bytes(whole)
    assert prepared(tmp_path / name, tmp_path / 'whole') == WHOLE
    step = 1024 + 512 if name == 'plain.tar' else 0  # the content of a plain tar has no checksum: its headers have
    cases = [whole[: len(whole) * n // 8] for n in range(1, 8)]
    for _ in range(25):
        place = int(rng.integers(len(FILES)) * step + rng.integers(100)) if step else int(rng.integers(len(whole)))
        cases.append(whole[:place] + bytes([whole[place] ^ 1 << int(rng.integers(8))]) + whole[place + 1 :])
    noticed = 0
    for number, data in enumerate(cases):
        (tmp_path / name).write_bytes(data)
        try:
            found = prepared(tmp_path / name, tmp_path / str(number))
        except SourceError as error:
            assert name in str(error)
            noticed += 1
        else:
            assert found == WHOLE, number
    assert noticed > len(cases) // 2


def test_a_tar_that_was_cut_between_files_is_damaged(tmp_path):
    (tmp_path / 'LOL.tar').write_bytes(archive_of('plain.tar')[: 3 * (512 + 1024)])
    with pytest.raises(SourceError, match='LOL.tar: damaged or incomplete .*after 3 files.*download it again'):
        read_source(tmp_path / 'LOL.tar')


def test_a_method_that_is_not_read_is_named(tmp_path):
    data = archive_of('stored.zip').replace(b'PK\x03\x04\x14\0\0\0\0\0', b'PK\x03\x04\x14\0\0\0\x63\0')
    data = data.replace(b'PK\x01\x02\x14\x03\x14\0\0\0\0\0', b'PK\x01\x02\x14\x03\x14\0\0\0\x63\0')
    (tmp_path / 'LOL.zip').write_bytes(data)
    with pytest.raises(SourceError, match='LOL.zip: .*method'):
        read_source(tmp_path / 'LOL.zip')


def test_archives_that_do_not_fit_are_not_begun(tmp_path, monkeypatch):
    (tmp_path / 'LOL.zip').write_bytes(archive_of('deflated.zip'))
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr(prepare.shutil, 'disk_usage', lambda path: usage(10, 5, 5000))
    with pytest.raises(SourceError, match='are to be written and 0.0 GB are free'):
        prepared(tmp_path / 'LOL.zip', tmp_path / 'out')
    assert not list((tmp_path / 'out').rglob('*.png'))


def test_links_in_circles_pipes_and_devices_in_a_folder(tmp_path):
    folder = tmp_path / 'LOL'
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    for name in 'abcdefgh':
        (folder / name).symlink_to('.')
    os.mkfifo(folder / 'our485/low/x.png')
    (folder / 'our485/low/zero.png').symlink_to('/dev/zero')
    start = time.perf_counter()
    tree = read_source(folder)
    assert {Path(name).name for name, _ in tree.refused} == {*'abcdefgh', 'x.png', 'zero.png'}
    assert prepared(folder, tmp_path / 'out') == WHOLE
    assert time.perf_counter() - start < 5


def _prepare_at_once(source: str, root: str, results) -> None:
    try:
        results.put(sorted(prepared(Path(source), Path(root))) == sorted(WHOLE))
    except BaseException as error:
        results.put(repr(error))


def test_two_at_once(tmp_path):
    (tmp_path / 'LOL.zip').write_bytes(archive_of('deflated.zip'))
    fork = multiprocessing.get_context('fork')
    results = fork.Queue()
    arguments = (str(tmp_path / 'LOL.zip'), str(tmp_path / 'out'), results)
    (tmp_path / 'out').mkdir()
    both = [fork.Process(target=_prepare_at_once, args=arguments) for _ in range(2)]
    with alone_in(tmp_path / 'out'):
        for process in both:
            process.start()
        time.sleep(0.3)
        assert results.empty()  # they wait
    assert [results.get(timeout=30) for _ in both] == [True, True]
    for process in both:
        process.join()


def test_what_a_killed_synthesis_left_is_cleared_and_a_damaged_record_is_told(tmp_path):
    import cv2

    (tmp_path / 'photos').mkdir()
    cv2.imwrite(str(tmp_path / 'photos/a.png'), RANDOM.integers(0, 255, (32, 32, 3)).astype(np.uint8))
    out = tmp_path / 'out'
    settings = {'recipe': [{'degradation': 'jpeg'}], 'jobs': 1, 'progress': False}
    records, failures = synthesize([tmp_path / 'photos'], out, 'paired', **settings)
    assert len(records) == 1 and not failures
    remains = (out / records[0]['degraded']).parent / '.a.png.0123abcd.part'
    remains.write_bytes(b'half')
    (out / 'records.jsonl').write_bytes(b'\xff\xfe\n[1]\n{"clean": 3}\n')
    again, _ = synthesize([tmp_path / 'photos'], out, 'paired', **settings)
    assert again == records and not remains.exists()
    for content in ('', '[]', '[1]', '{'):
        (out / 'synthesis.json').write_text(content)
        with pytest.raises(ValueError, match=r'synthesis\.json: empty or damaged|other settings'):
            synthesize([tmp_path / 'photos'], out, 'paired', **settings)
    assert json.loads((out / 'records.jsonl').read_text())['photograph']
