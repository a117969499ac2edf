import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
from made_up_images import random_image

from mirage_data.files import lmdb_writer
from mirage_data.files.image import ImageError
from mirage_data.files.lmdb import LmdbError, LmdbReader, LmdbWriter, key_of, open_lmdb, partial_path
from mirage_data.files.lmdb_writer import JOURNAL_FILE, name_of_meta_line

ROOT = Path(__file__).resolve().parents[3]
NAMES = ['0001_0.8_0.04.jpg.png', 'part1/rain-1.png', 'été 2.png', 'plain.png']


def fill(path, names=NAMES, **options):
    """A database of images of different sizes; returns them by key."""
    images = {}
    with LmdbWriter(path, **options) as writer:
        for number, name in enumerate(names):
            image = random_image(number, 20 + 7 * number, 90 - 9 * number)
            writer.add_image(name, image)
            images[key_of(name)] = image
    return images


@pytest.mark.parametrize('raw', [False, True])
def test_what_is_written_is_read_whole_and_in_parts(tmp_path, raw):
    images = fill(tmp_path / 'a.lmdb', raw=raw)
    reader = open_lmdb(tmp_path / 'a.lmdb')
    assert reader.raw is raw and len(reader) == len(NAMES)
    assert sorted(reader.names) == sorted(NAMES)
    for key, image in images.items():
        assert np.array_equal(reader.read(key), image)
        assert np.array_equal(reader.read_crop(key, 3, 5, 9, 11), image[3:12, 5:16])
        with pytest.raises(ImageError, match='not inside'):
            reader.read_crop(key, 0, 0, 500, 3)
    assert not partial_path(tmp_path / 'a.lmdb').exists()


def test_raw_keeps_sixteen_bits_and_is_read_through_a_read_only_view(tmp_path):
    deep = random_image(0).astype(np.uint16) * 257
    with LmdbWriter(tmp_path / 'a.lmdb', raw=True) as writer:
        writer.add_image('deep.png', deep)
    view = open_lmdb(tmp_path / 'a.lmdb').view('deep')
    assert np.array_equal(view, deep)
    assert not view.flags.owndata and not view.flags.writeable


def test_format_is_basicsr_s(tmp_path):
    """Read with lmdb and the rules of BasicSR's documentation alone."""
    images = fill(tmp_path / 'a.lmdb', ['x.png', 'sub/y.png'])
    lines = (tmp_path / 'a.lmdb' / 'meta_info.txt').read_text().splitlines()
    assert lines == ['sub/y.png (27,81,3) 1', 'x.png (20,90,3) 1']
    environment = lmdb.open(str(tmp_path / 'a.lmdb'), readonly=True, lock=False)
    with environment.begin() as transaction:
        for line in lines:
            key = line.split('.')[0]
            image = cv2.imdecode(np.frombuffer(transaction.get(key.encode('ascii')), np.uint8), cv2.IMREAD_COLOR)
            assert np.array_equal(image[..., ::-1], images[key])
    environment.close()


def test_files_are_stored_as_they_are(tmp_path):
    data = cv2.imencode('.jpg', random_image(1))[1].tobytes()
    with LmdbWriter(tmp_path / 'a.lmdb') as writer:
        writer.add_file('photo.jpg', data)
        with pytest.raises(ImageError, match='^broken.jpg'):
            writer.add_file('broken.jpg', data[:200])
    assert bytes(open_lmdb(tmp_path / 'a.lmdb').value('photo')) == data


@pytest.mark.parametrize('raw', [False, True])
def test_many_names_share_one_stored_image(tmp_path, raw):
    image = random_image(0, 200, 200)
    with LmdbWriter(tmp_path / 'a.lmdb', raw=raw) as writer:
        writer.add_image('clear.png', image)
        for number in range(35):
            writer.add_alias(f'hazy_{number}.png', 'clear.png')
        with pytest.raises(LmdbError, match='other, which is not stored'):
            writer.add_alias('x.png', 'other')
    reader = open_lmdb(tmp_path / 'a.lmdb')
    assert len(reader) == 36
    assert np.array_equal(reader.read('hazy_34'), image)
    assert (tmp_path / 'a.lmdb' / 'data.mdb').stat().st_size < 2 * image.nbytes


def test_map_grows_with_the_images(tmp_path, monkeypatch):
    monkeypatch.setattr(lmdb_writer, '_FIRST_MAP', 1 << 16)
    monkeypatch.setattr(lmdb_writer, '_COMMIT_BYTES', 1 << 15)
    images = fill(tmp_path / 'a.lmdb', [f'{number}.png' for number in range(9)], raw=True)
    large = random_image(99, 700, 700)
    with LmdbWriter(tmp_path / 'b.lmdb', raw=True) as writer:
        writer.add_image('large.png', large)
    assert np.array_equal(open_lmdb(tmp_path / 'b.lmdb').read('large'), large)
    assert all(np.array_equal(open_lmdb(tmp_path / 'a.lmdb').read(key), image) for key, image in images.items())


def test_unfinished_work_is_continued_not_repeated(tmp_path):
    path = tmp_path / 'a.lmdb'
    with pytest.raises(KeyboardInterrupt), LmdbWriter(path) as writer:
        writer.add_image('one.png', random_image(1))
        writer.commit()
        writer.add_image('two.png', random_image(2))
        raise KeyboardInterrupt
    assert not path.exists()
    with pytest.raises(LmdbError, match='a.lmdb.partial is unfinished'):
        LmdbReader(path)
    with LmdbWriter(path) as writer:
        assert 'one.png' in writer and 'two.png' not in writer
        writer.add_image('two.png', random_image(3))
    assert np.array_equal(open_lmdb(path).read('one'), random_image(1))
    assert np.array_equal(open_lmdb(path).read('two'), random_image(3))


_WRITER = """
    import sys
    sys.path[:0] = [{root!r}, {tests!r}]
    from made_up_images import random_image
    from mirage_data.files import lmdb_writer
    lmdb_writer._COMMIT_BYTES = 1 << 16
    {setup}
    with lmdb_writer.LmdbWriter({path!r}, raw=True) as writer:
        for number in range(400):
            if f'{{number}}.png' not in writer:
                writer.add_image(f'{{number}}.png', random_image(number))
                print(number, flush=True)
"""


def start_writer(path, setup=''):
    here = str(Path(__file__).parents[1])
    code = textwrap.dedent(_WRITER).format(root=str(ROOT), tests=here, path=str(path), setup=setup)
    return subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_kill_in_the_middle_loses_nothing_that_was_committed(tmp_path):
    path = tmp_path / 'a.lmdb'
    writer = start_writer(path)
    for line in writer.stdout:
        if int(line) >= 150:
            os.kill(writer.pid, signal.SIGKILL)
            break
    writer.communicate()
    with open(partial_path(path) / JOURNAL_FILE, 'a') as journal:
        journal.write('399.pn')  # a line cut off by the kill
    assert not path.exists()
    second = start_writer(path)
    output, errors = second.communicate()
    assert second.returncode == 0, errors
    assert len(output.split()) < 300  # most of the first run's work was kept
    reader = LmdbReader(path)
    assert len(reader) == 400
    assert all(np.array_equal(reader.read(str(number)), random_image(number)) for number in range(400))


def test_a_full_disk_is_named_and_survived(tmp_path):
    path = tmp_path / 'a.lmdb'
    # a limit on the size of files stands for the full disk: writing fails in the same place
    limit = 'import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))'
    writer = start_writer(path, limit)
    _, errors = writer.communicate()
    assert writer.returncode != 0
    assert 'LmdbError' in errors and 'a.lmdb.partial: cannot be written' in errors
    assert 'run the same command again' in errors
    assert not path.exists()
    assert start_writer(path).wait() == 0
    assert np.array_equal(LmdbReader(path).read('399'), random_image(399))


def test_unfinished_work_of_the_other_kind_is_not_mixed_in(tmp_path):
    with pytest.raises(KeyboardInterrupt), LmdbWriter(tmp_path / 'a.lmdb', raw=True):
        raise KeyboardInterrupt
    with pytest.raises(LmdbError, match=r'a\.lmdb\.partial: an unfinished database of another format'):
        LmdbWriter(tmp_path / 'a.lmdb')


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'file').write_text('x')
    with pytest.raises(LmdbError, match=r'a\.lmdb\.partial: cannot be begun'):
        LmdbWriter(tmp_path / 'file' / 'a.lmdb')


def test_existing_databases_are_replaced_only_on_request(tmp_path):
    fill(tmp_path / 'a.lmdb', ['old.png'])
    with pytest.raises(LmdbError, match='exists already'):
        LmdbWriter(tmp_path / 'a.lmdb')
    fill(tmp_path / 'a.lmdb', ['new.png'], overwrite=True)
    assert list(LmdbReader(tmp_path / 'a.lmdb').names) == ['new.png']
    assert [path.name for path in tmp_path.iterdir()] == ['a.lmdb']


def test_unusable_names_are_refused(tmp_path):
    with pytest.raises(LmdbError, match='must end with .lmdb'):
        LmdbWriter(tmp_path / 'a')
    with pytest.raises(LmdbError, match='two images with the key'), LmdbWriter(tmp_path / 'a.lmdb') as writer:
        writer.add_image('a.png', random_image(0))
        writer.add_image('a.jpg', random_image(0))
    with pytest.raises(LmdbError, match='cannot be a key'), LmdbWriter(tmp_path / 'b.lmdb') as writer:
        writer.add_image('x' * 600 + '.png', random_image(0))
    with pytest.raises(LmdbError, match='cannot be a key'), LmdbWriter(tmp_path / 'c.lmdb') as writer:
        writer.add_image('odd\udcff.png', random_image(0))


def _no_database(path):
    path.mkdir()


def _of_another_version(path):
    fill(path)
    (path / 'format.json').write_text(json.dumps({'format': 'raw', 'version': 7}))


def _without_list(path):
    fill(path)
    (path / 'meta_info.txt').unlink()


def _fewer_images_than_listed(path):
    fill(path)
    with open(path / 'meta_info.txt', 'a') as meta:
        meta.write('ghost.png (1,1,3) 1\n')


def _with_a_list_of_another_kind(path):
    fill(path)
    (path / 'meta_info.txt').write_bytes(b'\xff\xfe\x00')


def _not_an_lmdb_file(path):
    fill(path)
    (path / 'data.mdb').write_bytes(b'no database' * 1000)


def _of_another_lmdb_version(path):
    fill(path)
    data = bytearray((path / 'data.mdb').read_bytes())
    for page in (0, 4096):  # both copies of the head: magic, then the version
        place = data.index(bytes.fromhex('dec0efbe'), page)
        data[place + 4] = 9
    (path / 'data.mdb').write_bytes(data)


def _cut_off(path):
    fill(path)
    data = (path / 'data.mdb').read_bytes()
    (path / 'data.mdb').write_bytes(data[:3000])


def _cut_off_later(path):
    fill(path)
    data = (path / 'data.mdb').read_bytes()
    (path / 'data.mdb').write_bytes(data[: len(data) * 2 // 3])


@pytest.mark.parametrize(
    'make, message',
    [
        (lambda path: None, 'no such database'),
        (_no_database, 'no data.mdb'),
        (_of_another_version, "format 'raw' version 7; this program reads version 1"),
        (_without_list, 'no meta_info.txt'),
        (_fewer_images_than_listed, 'half written'),
        (_with_a_list_of_another_kind, 'meta_info.txt cannot be read'),
        (_not_an_lmdb_file, 'not a readable LMDB'),
        (_of_another_lmdb_version, 'not a readable LMDB'),
        (_cut_off, 'not a readable LMDB'),
        (_cut_off_later, 'data.mdb is cut off'),
    ],
)
def test_unreadable_databases_are_named(tmp_path, make, message):
    path = tmp_path / 'bad.lmdb'
    make(path)
    with pytest.raises(LmdbError, match=message) as caught:
        LmdbReader(path)
    assert str(path) in str(caught.value)


def test_lines_of_the_list_survive_brackets_and_blanks():
    assert name_of_meta_line('photo (2) final.png (480,640,3) 1') == 'photo (2) final.png'
    assert name_of_meta_line('photo 2.png\n') == 'photo 2.png'


def test_unknown_keys_are_named(tmp_path):
    fill(tmp_path / 'a.lmdb')
    with pytest.raises(LmdbError, match=r"a\.lmdb: no key 'ghost'"):
        open_lmdb(tmp_path / 'a.lmdb').read('ghost')


def test_one_process_opens_a_database_once(tmp_path):
    fill(tmp_path / 'a.lmdb')
    assert open_lmdb(tmp_path / 'a.lmdb') is open_lmdb(str(tmp_path / '.' / 'a.lmdb'))


@pytest.mark.parametrize('raw', [False, True])
def test_a_database_knows_which_of_its_values_are_damaged(tmp_path, raw):
    path = tmp_path / 'a.lmdb'
    with LmdbWriter(path, raw=raw) as writer:
        for number in range(3):
            writer.add_image(f'{number}.png', np.full((40, 50, 3), 60 * number + 7, np.uint8))
        writer.add_alias('3.png', '0.png')
    reader = LmdbReader(path)
    assert reader.damaged() == []
    value = bytes(reader.value('1'))
    reader.close()
    content = bytearray((path / 'data.mdb').read_bytes())
    content[content.index(value) + 100] ^= 4
    (path / 'data.mdb').write_bytes(content)
    reader = LmdbReader(path)
    assert reader.damaged() == ['1']
    reader.close()
    (path / 'checksums.json').write_text('{"1": 2}')
    with pytest.raises(LmdbError, match='checksums.json: unreadable'):
        LmdbReader(path).damaged()
    (path / 'checksums.json').unlink()
    assert LmdbReader(path).damaged() is None  # BasicSR's have none
