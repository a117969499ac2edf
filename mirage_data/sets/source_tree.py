"""What a user downloaded, as one list of files: a folder, a zip or tar archive, or a folder with archives in it.

Nothing is unpacked as a whole. Files are written one at a time to places that the caller chooses, so no name inside an
archive decides where anything goes; names that climb out of their archive are refused all the same.
"""

from __future__ import annotations

import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from mirage_data.files.image_headers import CONTROL, harmless

ZIP_ENDINGS = ('.zip',)
TAR_ENDINGS = ('.tar', '.tar.gz', '.tgz', '.tar.bz2', '.tbz2', '.tar.xz', '.txz')
FOREIGN_ARCHIVES = {'.rar': 'unrar x', '.7z': '7z x', '.001': '7z x'}
_ANY_ARCHIVE = (*ZIP_ENDINGS, *TAR_ENDINGS, *FOREIGN_ARCHIVES)
_CONTROL_NAME = 'control characters in its name: rename it'

#: What the readers of archives raise for damage; `OSError` without a number is one of bzip2's and gzip's.
_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
    *(EOFError, ValueError, RuntimeError, OSError),
)


class SourceError(ValueError):
    """A download that cannot be used; the message begins with its name and ends with the cure."""


@dataclass(frozen=True)
class Entry:
    """A file of the source.

    Attributes:
        path: Its place with forward slashes; begins with the source's own absolute path, or with an archive's name
            without ending, so that layouts are recognised from whichever level the user pointed at.
        size: Bytes.
        file: The file itself, or None if it lies in an archive.
        archive: The archive it lies in, or None.
        member: Its name there.
        half: 'left' or 'right' where only this half of the picture is meant; '' for the whole file.
    """

    path: str
    size: int
    file: Path | None = None
    archive: Path | None = None
    member: str = ''
    half: str = ''


@dataclass
class SourceTree:
    """All files of a source.

    Attributes:
        root: What the user named.
        entries: The files in the order of reading.
        refused: Name and reason of what is unusable (links and unsafe names in archives, archives of other kinds).
    """

    root: Path
    entries: list[Entry] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


def read_source(source: str | Path) -> SourceTree:
    """Lists the files of a folder or archive.

    Raises:
        SourceError: If it does not exist, is damaged, encrypted, or an archive of a kind we cannot read.
    """
    root = Path(source)
    tree = SourceTree(root)
    if root.is_dir():
        _list_folder(root, tree)
    elif root.is_file():
        hint = FOREIGN_ARCHIVES.get(root.suffix.lower())
        if hint:
            raise SourceError(f'{root}: cannot be read here; unpack it first ({hint} "{root}") and give the folder')
        if not _is_archive(root):
            kinds = ', '.join(ZIP_ENDINGS + TAR_ENDINGS)
            raise SourceError(f'{root}: neither a folder nor an archive; allowed are folders and {kinds}')
        _list_archive(root, root.resolve(), tree)
    else:
        raise SourceError(f'{root}: does not exist; give the downloaded folder or archive')
    return tree


def _is_archive(path: Path) -> bool:
    return path.name.lower().endswith(ZIP_ENDINGS + TAR_ENDINGS)


def _list_folder(root: Path, tree: SourceTree) -> None:
    top = root.resolve()
    seen = {str(top)}
    for folder, below, names in os.walk(top, followlinks=True):
        for name in sorted(below):
            real = os.path.realpath(os.path.join(folder, name))
            if real in seen:
                tree.refused.append((os.path.join(folder, name), 'a link to a folder that is listed already'))
            seen.add(real)
        below[:] = sorted(name for name in below if os.path.join(folder, name) not in dict(tree.refused))
        for name in sorted(names):
            file = Path(folder, name)
            if CONTROL.search(str(file)[len(str(top)) :]):
                tree.refused.append((harmless(str(file)), _CONTROL_NAME))
            elif not file.is_file():
                tree.refused.append((str(file), 'no file: a dangling link, a pipe or a device'))
            elif _is_archive(file):
                _list_archive(file, file, tree)
            elif file.suffix.lower() in FOREIGN_ARCHIVES:
                tree.refused.append((str(file), f'unpack it first: {FOREIGN_ARCHIVES[file.suffix.lower()]}'))
            else:
                tree.entries.append(Entry(file.as_posix(), file.stat().st_size, file=file))


def _list_archive(archive: Path, full: Path, tree: SourceTree) -> None:
    name = archive.name.lower()
    ending = next(end for end in sorted(ZIP_ENDINGS + TAR_ENDINGS, key=len, reverse=True) if name.endswith(end))
    prefix = (full.parent / archive.name[: -len(ending)]).as_posix()
    try:
        members = list(_zip_members(archive) if ending in ZIP_ENDINGS else _tar_members(archive))
        counts = Counter(member for member, _, _ in members)
        for member, size, problem in members:
            if problem is None and counts[member] > 1:
                problem = 'twice in the archive: unpack it and give its folder'
            elif problem is None and _is_unsafe(member):
                problem = 'its name leads out of the archive'
            elif problem is None and CONTROL.search(member):
                problem = _CONTROL_NAME
            elif problem is None and PurePosixPath(member).name.lower().endswith(_ANY_ARCHIVE):
                problem = 'an archive within an archive: unpack the outer one and give its folder'
            if problem is not None:
                tree.refused.append((harmless(f'{archive.name}: {member}'), problem))
            else:
                clean = PurePosixPath(member.replace('\\', '/')).as_posix()
                tree.entries.append(Entry(f'{prefix}/{clean}', size, archive=archive, member=member))
    except _DAMAGE as error:
        raise _damaged(archive, error) from error


def _damaged(archive: Path, error: BaseException) -> SourceError:
    if isinstance(error, SourceError):
        return error
    if isinstance(error, OSError) and error.errno:
        return SourceError(f'{archive}: cannot be read ({error.strerror}); check the disk, or download it again')
    if isinstance(error, NotImplementedError):
        return SourceError(
            f'{archive}: damaged, or packed by a method that is not read here ({error}); unpack it first'
        )
    return SourceError(f'{archive}: damaged or incomplete ({error}); download it again')


def _is_unsafe(member: str) -> bool:
    path = PurePosixPath(member.replace('\\', '/'))
    return path.is_absolute() or '..' in path.parts or ':' in (path.parts[0] if path.parts else '')


def _zip_members(archive: Path) -> Iterator[tuple[str, int, str | None]]:
    with zipfile.ZipFile(archive) as content:
        for info in content.infolist():
            if info.flag_bits & 1:
                raise SourceError(f'{archive}: is encrypted; unpack it first and give the folder')
            if stat.S_ISLNK(info.external_attr >> 16):
                yield info.filename, 0, 'a link'
            elif not info.is_dir():
                with content.open(info):  # the name of the file itself must be that of the directory at the end
                    pass
                yield info.filename, info.file_size, None


def _tar_members(archive: Path) -> Iterator[tuple[str, int, str | None]]:
    with tarfile.open(archive) as content:
        content.fileobj = reads = _LastRead(content.fileobj)
        for info in content:
            if info.isfile():
                yield info.name, info.size, None
            elif not info.isdir():
                yield info.name, 0, 'a link or device'
        # `tarfile` takes a damaged header for the mark of the end, too; an archive of nothing else was read before
        if reads.last is not None and (len(reads.last) != tarfile.BLOCKSIZE or any(reads.last)):
            raise tarfile.ReadError(f'ends after {len(content.getmembers()):,} files without the mark of its end')
        while reads.read(1 << 20):  # the checksum of a compressed archive stands at its end
            pass


class _LastRead:
    """A binary file that remembers what was read last."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.last: bytes | None = None

    def read(self, *size: int) -> bytes:
        self.last = self._file.read(*size)
        return self.last

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Member:
    """A file of an archive, whose damage shows when it is read."""

    def __init__(self, stream: IO[bytes], archive: Path) -> None:
        self._stream, self._archive = stream, archive

    def read(self, size: int = -1) -> bytes:
        try:
            return self._stream.read(size)
        except _DAMAGE as error:
            raise _damaged(self._archive, error) from error


Stream = IO[bytes] | _Member


@contextmanager
def open_entries(entries: list[Entry]) -> Iterator[Iterator[tuple[Entry, Stream]]]:
    """Opens files of a source one after the other, those of each archive in the order in which it stores them.

    Yields:
        An iterator over (entry, open binary file); the file is closed when the next one is asked for.
    """
    streams = _streams(entries)
    try:
        yield streams
    finally:
        streams.close()


def _streams(entries: list[Entry]) -> Generator[tuple[Entry, Stream], None, None]:
    for entry in entries:
        if entry.file is not None:
            with open(entry.file, 'rb') as stream:
                yield entry, stream
    archives = {entry.archive: None for entry in entries if entry.archive is not None}
    for archive in archives:
        wanted = {entry.member: entry for entry in entries if entry.archive == archive}
        try:
            if archive.name.lower().endswith(ZIP_ENDINGS):
                with zipfile.ZipFile(archive) as content:
                    for member, entry in wanted.items():
                        with content.open(member) as stream:
                            yield entry, _Member(stream, archive)
            else:
                yield from _tar_streams(archive, wanted)
        except _DAMAGE as error:
            raise _damaged(archive, error) from error


def _tar_streams(archive: Path, wanted: dict[str, Entry]) -> Iterator[tuple[Entry, Stream]]:
    with tarfile.open(archive) as content:
        for info in content:  # sequentially: a compressed tar can only be read from its beginning
            entry = wanted.get(info.name)
            stream = content.extractfile(info) if entry is not None and info.isfile() else None
            if entry is not None and stream is not None:
                with stream:
                    yield entry, _Member(stream, archive)
