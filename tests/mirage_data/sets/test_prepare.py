"""Links, copies and unpacked files: whole or absent, the same the second time, never outside their place."""

import errno
import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from mirage_data.sets import prepare
from mirage_data.sets.prepare import carry_out
from mirage_data.sets.prepare_plan import plan
from mirage_data.sets.source_tree import SourceError, read_source

FILES = {
    'our485/low/2.png': b'low two',
    'our485/high/2.png': b'high two',
    'eval15/low/1 é.png': b'low one',
    'eval15/high/1 é.png': b'high one',
}
PREPARED = {
    'Train/Enhance/low/2.png': b'low two',
    'Train/Enhance/gt/2.png': b'high two',
    'test/enhance/lol/input/1 é.png': b'low one',
    'test/enhance/lol/target/1 é.png': b'high one',
}


def as_folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / 'LOL data' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / 'LOL data'


def as_zip(tmp_path: Path, extra: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(tmp_path / 'LOL.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in (FILES | (extra or {})).items():
            archive.writestr(name, content)
    return tmp_path / 'LOL.zip'


def as_tar(tmp_path: Path, extra: tuple[tarfile.TarInfo, ...] = ()) -> Path:
    with tarfile.open(tmp_path / 'LOL.tar.gz', 'w:gz') as archive:
        for name, content in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info, io.BytesIO(b'x' * info.size))
    return tmp_path / 'LOL.tar.gz'


def as_folder_of_archives(tmp_path: Path) -> Path:
    folder = tmp_path / 'parts'
    folder.mkdir()
    return as_zip(folder).parent


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob('*') if path.is_file()}


@pytest.mark.parametrize('make', [as_folder, as_zip, as_tar, as_folder_of_archives])
@pytest.mark.parametrize('link', [True, False])
def test_every_kind_of_source_and_twice_the_same(tmp_path, make, link):
    source, root = make(tmp_path), tmp_path / 'data sets'
    first = carry_out(plan('lol', read_source(source)), root, link=link)
    assert contents(root) == PREPARED
    linked = {path.name for path in root.rglob('*') if path.is_symlink()}
    assert bool(linked) == (link and make is as_folder)
    assert sum(first.done.values()) == 4 and not first.conflicts
    second = carry_out(plan('lol', read_source(source)), root, link=link)
    assert dict(second.done) == {'there already': 4}
    assert contents(root) == PREPARED


def test_copies_replace_links_when_asked_for(tmp_path):
    source, root = as_folder(tmp_path), tmp_path / 'root'
    carry_out(plan('lol', read_source(source)), root, link=True)
    outcome = carry_out(plan('lol', read_source(source)), root, link=False)
    assert outcome.done['copied'] == 4
    assert not any(path.is_symlink() for path in root.rglob('*'))
    assert contents(source) == FILES, 'the source itself is untouched'


def test_without_links_files_are_copied(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError('no links on this file system')

    monkeypatch.setattr(os, 'symlink', refuse)
    outcome = carry_out(plan('lol', read_source(as_folder(tmp_path))), tmp_path / 'root', link=True)
    assert outcome.done['copied'] == 4 and contents(tmp_path / 'root') == PREPARED


def test_other_content_is_kept_unless_told_otherwise(tmp_path):
    source, root = as_zip(tmp_path), tmp_path / 'root'
    place = root / 'Train/Enhance/low/2.png'
    place.parent.mkdir(parents=True)
    place.write_bytes(b'something of the user')
    outcome = carry_out(plan('lol', read_source(source)), root)
    assert outcome.conflicts == ['Train/Enhance/low/2.png']
    assert place.read_bytes() == b'something of the user'
    assert not carry_out(plan('lol', read_source(source)), root, overwrite=True).conflicts
    assert contents(root) == PREPARED


@pytest.mark.parametrize(
    'name',
    [
        '../our485/low/9.png',
        '/our485/low/9.png',
        'a/../../our485/low/9.png',
        '..\\our485\\low\\9.png',
        'C:/our485/low/9.png',
    ],
)
def test_names_that_climb_out_of_an_archive_are_refused(tmp_path, name):
    below = tmp_path / 'deep' / 'deeper'
    below.mkdir(parents=True)
    info = tarfile.TarInfo(name)
    info.size = 3
    for source in (as_zip(below, {name: b'bad'}), as_tar(below, (info,))):
        tree = read_source(source)
        assert [why for _, why in tree.refused] == ['its name leads out of the archive']
        carry_out(plan('lol', tree), below / 'root')
    assert contents(below / 'root') == PREPARED
    assert not list(tmp_path.rglob('9.png'))


@pytest.mark.parametrize('make', [as_zip, as_tar])
@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_a_name_that_is_twice_in_an_archive_is_not_guessed_at(tmp_path, make):
    archive = make(tmp_path)
    if archive.suffix == '.zip':
        with zipfile.ZipFile(archive, 'a') as content:
            content.writestr('our485/low/2.png', b'another')
    else:
        with tarfile.open(archive, 'w:gz') as content:
            for name, text in (*FILES.items(), ('our485/low/2.png', b'another')):
                info = tarfile.TarInfo(name)
                info.size = len(text)
                content.addfile(info, io.BytesIO(text))
    todo = plan('lol', read_source(archive))
    assert 'Train/Enhance/low/2.png' not in todo.files and 'test/enhance/lol/input/1 é.png' in todo.files
    (names,) = (names for why, names in todo.skipped.items() if why.startswith('twice in the archive'))
    assert len(names) == 2


def test_links_and_devices_in_archives_are_refused(tmp_path):
    link, device = tarfile.TarInfo('our485/low/7.png'), tarfile.TarInfo('our485/low/8.png')
    link.type, link.linkname, device.type = tarfile.SYMTYPE, '/etc/passwd', tarfile.CHRTYPE
    tree = read_source(as_tar(tmp_path, (link, device)))
    assert len(tree.refused) == 2
    zipped = as_zip(tmp_path)
    with zipfile.ZipFile(zipped, 'a') as archive:
        info = zipfile.ZipInfo('our485/low/7.png')
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, '/etc/passwd')
    assert [why for _, why in read_source(zipped).refused] == ['a link']


def test_an_interrupted_run_leaves_whole_files_only_and_is_gone_on_with(tmp_path, monkeypatch):
    source, root = as_zip(tmp_path), tmp_path / 'root'
    real, calls = prepare.shutil.copyfileobj, []

    def killed(stream, file, length):
        calls.append(1)
        if len(calls) == 3:
            file.write(b'half')
            raise KeyboardInterrupt
        real(stream, file, length)

    monkeypatch.setattr(prepare.shutil, 'copyfileobj', killed)
    with pytest.raises(KeyboardInterrupt):
        carry_out(plan('lol', read_source(source)), root)
    assert len(contents(root)) == 2 and contents(root).items() <= PREPARED.items()
    outcome = carry_out(plan('lol', read_source(source)), root)
    assert outcome.done == {'there already': 2, 'unpacked': 2}
    assert contents(root) == PREPARED


def test_remains_of_a_killed_process_are_cleared(tmp_path):
    root = tmp_path / 'root'
    remains = root / 'Train/Enhance/low/2.png.part'
    remains.parent.mkdir(parents=True)
    remains.write_bytes(b'half')
    carry_out(plan('lol', read_source(as_zip(tmp_path))), root)
    assert contents(root) == PREPARED


def test_a_full_disk_names_the_file_and_the_cure(tmp_path, monkeypatch):
    def full(stream, file, length):
        raise OSError(errno.ENOSPC, 'No space left on device', file.name)

    monkeypatch.setattr(prepare.shutil, 'copyfileobj', full)
    with pytest.raises(SourceError, match=r'2\.png.*No space left.*free some space.*goes on where it stopped'):
        carry_out(plan('lol', read_source(as_zip(tmp_path))), tmp_path / 'root')
    assert contents(tmp_path / 'root') == {}


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('broken.zip', b'PK\x03\x04 cut off', 'damaged or incomplete'),
        ('broken.tar.gz', b'\x1f\x8b\x08\x00 cut off', 'damaged or incomplete'),
        ('set.rar', b'Rar!', 'unrar x'),
        ('set.txt', b'text', 'neither a folder nor an archive'),
    ],
)
def test_unusable_sources_say_why(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=f'{name}.*{message}'):
        read_source(tmp_path / name)


def test_a_missing_source_and_a_truncated_archive(tmp_path):
    with pytest.raises(SourceError, match='does not exist'):
        read_source(tmp_path / 'nothing')
    whole = as_tar(tmp_path)
    whole.write_bytes(whole.read_bytes()[:-60])
    with pytest.raises(SourceError, match='download it again'):
        carry_out(plan('lol', read_source(whole)), tmp_path / 'root')


def test_the_data_root_itself_may_be_the_source(tmp_path):
    root = tmp_path / 'datasets'
    for name, content in PREPARED.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    for link in (True, False):
        assert carry_out(plan('lol', read_source(root)), root, link=link).done == {'there already': 4}
    assert contents(root) == PREPARED
