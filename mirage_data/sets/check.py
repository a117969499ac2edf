"""Checks prepared data sets: counts, readability, pairs, sizes, duplicates, list files, and leaks between sets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from mirage_data.crew import Team
from mirage_data.files.image import ImageError
from mirage_data.files.lists import check_list
from mirage_data.files.lmdb import LmdbError, LmdbReader
from mirage_data.files.pairing import PairingError, match_pairs
from mirage_data.sets.check_report import Finding, FolderRow, Report, below
from mirage_data.sets.fingerprint import misaligned
from mirage_data.sets.folder_scan import CheckCache, FolderScan, Progress, scan_folder
from mirage_data.sets.leaks import Leak, find_leaks
from mirage_data.sets.pack import lmdb_path
from mirage_data.sets.table import DataSet, Overlap, Part, all_data_sets


class Checker:
    """Checks data sets below one root; every folder is read once, however many sets share it.

    Args:
        root: The data root.
        quick: Compare names only, read no image (no sizes, duplicates or leaks then).
        workers: Threads; default is the number of cores.
        progress: Wraps long loops: `progress(items, total, what)`.
        pool: Reads and compares instead of threads.
        cache: Knows files and comparisons of earlier checks.
        acknowledged: What the user knows and accepts: names of training sets, whose known overlaps (`DataSet.overlaps`)
            are notes then, or pairs (training image, test image), below the root or whole, which are notes.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        quick: bool = False,
        workers: int | None = None,
        progress: Progress = lambda items, total, what: items,
        pool: Team | None = None,
        cache: CheckCache | None = None,
        acknowledged: Iterable[str | tuple[str, str]] = (),
    ) -> None:
        self.root, self.quick, self.workers, self.progress, self.pool = Path(root), quick, workers, progress, pool
        self.report = Report()
        self.cache, self.acknowledged = cache or CheckCache(), frozenset(acknowledged)
        self._scans: dict[tuple[str, str], FolderScan] = {}
        self._rows: dict[tuple[str, str], FolderRow] = {}

    def check(self, row: DataSet, required: bool = True) -> None:
        """Checks one data set. Absent folders are errors if it is `required` and else passed over."""
        if not required and not any((self.root / folder).is_dir() for part in row.parts for folder in part.folders):
            return
        for part in row.parts:
            missing = [folder for folder in part.folders if not self._scan(row, part, folder).names]
            for folder in missing:
                known = any(f.kind == 'absent' and f.where == str(self.root / folder) for f in self.report.findings)
                if not known:
                    text = f'no images of {row.title}'
                    if row.published:
                        text += f'; prepare them: {row.prepare_command}'
                    self._add('error' if required else 'warning', 'absent', folder, 0, text)
            if part.lq is not None and not missing:
                self._check_pairs(row, part)
        self._check_lists(row)

    def _scan(self, row: DataSet, part: Part, folder: str) -> FolderScan:
        clean = folder == part.gt
        key = (row.name, folder)
        if key not in self._scans:
            scan = scan_folder(
                self.root / folder,
                recursive=part.recursive,
                quick=self.quick,
                owns=part.owns_clean_file if clean else lambda name: True,
                workers=self.workers,
                progress=self.progress,
                pool=self.pool,
                cache=self.cache,
            )
            self._scans[key] = scan
            if scan.names or scan.foreign:
                self._describe(row, part, folder, scan)
        return self._scans[key]

    def _describe(self, row: DataSet, part: Part, folder: str, scan: FolderScan) -> None:
        expected = part.gt_count if folder == part.gt else part.lq_count
        groups = scan.duplicates()
        extra = sum(len(group) - 1 for group in groups)
        self._rows[row.name, folder] = FolderRow(
            row.name,
            part.split,
            folder,
            len(scan.names),
            expected,
            len(scan.unreadable),
            len(scan.foreign),
            duplicates=extra,
        )
        self.report.rows.append(self._rows[row.name, folder])
        if expected and len(scan.names) != expected:
            text = f'{len(scan.names):,} images, the published set has {expected:,}'
            self._add('warning', 'count', folder, abs(len(scan.names) - expected), text)
        if scan.unreadable:
            texts = list(scan.unreadable.values())
            self._add('error', 'unreadable', folder, len(texts), 'cannot be read', texts)
        if scan.foreign:
            text = 'no images (remove them), or control characters in the name (rename them)'
            self._add('warning', 'foreign', folder, len(scan.foreign), text, scan.foreign)
        if groups:
            names = [' = '.join(group) for group in groups]
            self._add('warning', 'duplicates', folder, extra, 'images whose pixels another one has', names)
        if scan.grey and row.published:
            text = 'without colour; figures on colour images differ'
            self._add('warning', 'grey', folder, len(scan.grey), text, scan.grey)
        if not part.gt_names:  # the database of a folder that two sets share has the names of both
            self._check_lmdb(folder, set(scan.names))

    def _check_lmdb(self, folder: str, names: set[str]) -> None:
        """A database beside a folder must be whole and of the same images."""
        path = lmdb_path(self.root / folder)
        if not path.exists():
            return
        try:
            reader = LmdbReader(path)
        except LmdbError as error:
            self._add('error', 'lmdb', path, 0, str(error))
            return
        differing = sorted(names.symmetric_difference(reader.names))
        try:
            damaged = [] if self.quick else self.cache.compared('lmdb', [path / 'data.mdb'], reader.damaged)
        except LmdbError as error:
            damaged = []
            self._add('error', 'lmdb', path, 0, str(error))
        reader.close()
        if damaged is None:
            text = 'keeps no checksums, so damage goes unseen; make it again: prepare NAME --lmdb'
            self._add('note', 'lmdb', path, 0, text)
        elif damaged:
            text = 'images are not as they were written; make it again: prepare NAME --lmdb'
            self._add('error', 'lmdb', path, len(damaged), text, damaged)
        if differing:
            text = 'images are only in the database or only in its folder; make it again: prepare NAME --lmdb'
            self._add('warning', 'lmdb', path, len(differing), text, differing)

    def _check_pairs(self, row: DataSet, part: Part) -> None:
        assert part.lq is not None
        lq, gt = self._scan(row, part, part.lq), self._scan(row, part, part.gt)
        try:
            pairs, left_lq, left_gt = match_pairs(lq.names, gt.names, part.pairing, lq.folder, gt.folder)
        except PairingError as error:
            self._add('error', 'unpaired', part.lq, len(lq.names), str(error))
            return
        for folder, left, level in ((part.lq, left_lq, 'error'), (part.gt, left_gt, 'warning')):
            if left:
                text = f'without a partner by the rule {part.pairing!r}'
                self._add(level, 'unpaired', folder, len(left), text, left)
                self._rows[row.name, folder].unpaired = len(left)
        known = [(a, b) for a, b in pairs if a in lq.shapes and b in gt.shapes]
        unequal = [(a, b) for a, b in known if lq.shapes[a] != gt.shapes[b]]
        if unequal:
            sizes = ['{} {}x{}, {} {}x{}'.format(a, *lq.shapes[a], b, *gt.shapes[b]) for a, b in unequal]
            self._add('error', 'size', part.lq, len(unequal), 'another size than the clean image', sizes)
            self._rows[row.name, part.lq].unequal = len(unequal)
        same_size = [(lq.folder / a, gt.folder / b) for a, b in known if lq.shapes[a] == gt.shapes[b]]
        if not row.published and same_size:  # sets as published are known to fit; one's own pairs are compared
            sides = [side for pair in same_size for side in pair]
            shifted, other = self.cache.compared('alignment', sides, lambda: misaligned(same_size))
            for names, text in ((shifted, 'shifted against the clean image'), (other, 'of another picture')):
                if names:
                    self._add('error', 'alignment', part.lq, len(names), text, names)
        equal = [a for a, b in known if lq.digests[a] == gt.digests[b]]
        if equal:
            self._add('error', 'equal sides', part.lq, len(equal), 'the same pixels as the clean image', equal)

    def _check_lists(self, row: DataSet) -> None:
        if not row.published:
            return
        parents = {str(Path(folder).parent) for part in row.parts for folder in part.folders}
        for parent in sorted(parents):
            for file in sorted((self.root / parent).glob('*.txt')):
                folders = {f for part in row.parts for f in part.folders if str(Path(f).parent) == parent}
                self.check_list_file(file, [row], folders)

    def check_list_file(self, file: str | Path, rows: Iterable[DataSet], only: Iterable[str] | None = None) -> None:
        """Compares a list file with the folders of some sets that have been checked.

        Raises:
            ValueError: If the file cannot be read.
        """
        wanted = {row.name for row in rows}
        folders: dict[str, list[str]] = defaultdict(list)
        for (name, folder), scan in self._scans.items():
            if name in wanted and (only is None or folder in only):
                folders[folder] += scan.names
        found = check_list(file, folders)
        for level, names, text in (
            ('error', found.absent, f'listed files are absent ({found.lines:,} lines)'),
            ('warning', found.repeated, 'names are listed repeatedly'),
            ('note', found.unlisted, 'images on the disk are not listed'),
        ):
            if names:
                self._add(level, 'list', Path(file), len(names), text, names)

    def check_leaks(self, train: Sequence[DataSet], test: Sequence[DataSet]) -> None:
        """Compares the clean images of all training parts with those of all test parts, by content."""
        sides = [self._clean_files(rows, split) for rows, split in ((train, 'train'), (test, 'test'))]
        if not all(sides):
            return
        unread: list[ImageError] = []  # reported by the scan of their folder

        def compare() -> list[dict]:
            found = find_leaks(
                list(sides[0]),
                list(sides[1]),
                workers=self.workers,
                on_unreadable=unread.append,
                progress=self.progress,
                pool=self.pool,
            )
            return [asdict(leak) for leak in found]

        files = [*sides[0], '', *sides[1]]
        leaks = [Leak(**leak) for leak in self.cache.compared('leaks', files, compare)]
        self.report.leaks += leaks
        grouped: dict[tuple[tuple[str, str], tuple[str, str]], list[Leak]] = defaultdict(list)
        for leak in leaks:
            grouped[sides[0][leak.train], sides[1][leak.test]].append(leak)
        for (source, target), group in grouped.items():
            known = self._known_overlap(source[0], target[0])
            for accepted in (False, True):
                part = [leak for leak in group if self._is_acknowledged(leak, source[0], known) is accepted]
                if part:
                    self._report_leaks(part, source[1], target[1], known, accepted)
        for row in train:
            self._note_leak_free(row, {leak.train for leak in leaks})

    def _report_leaks(
        self, leaks: Sequence[Leak], source: str, target: str, known: Overlap | None, accepted: bool
    ) -> None:
        photographs = {leak.train for leak in leaks}
        kinds = ', '.join(sorted({leak.kind for leak in leaks}))
        tests = len({leak.test for leak in leaks})
        text = f'training images show {tests} test images of {target} ({kinds})'
        if known:
            count = sum(known.has(photograph) for photograph in photographs)
            text += f'; known: {known.note}' + (f' ({count} of these)' if count < len(photographs) else '')
        text += '; acknowledged' if accepted else ''
        names = [
            f'{Path(leak.train).name} = {Path(leak.test).name} ({leak.kind}, correlation {leak.correlation:.2f})'
            for leak in leaks
        ]
        self._add('note' if accepted else 'error', 'leak', source, len(photographs), text, names)

    def _is_acknowledged(self, leak: Leak, train: str, known: Overlap | None) -> bool:
        if known and train in self.acknowledged and known.has(leak.train):
            return True
        return (below(leak.train, self.root), below(leak.test, self.root)) in self.acknowledged

    @staticmethod
    def _known_overlap(train: str, test: str) -> Overlap | None:
        rows = all_data_sets()
        return rows[train].overlaps.get(test) if train in rows else None

    def _names(self, row: DataSet, part: Part, folder: str) -> list[str]:
        """Images of a folder; of a set that is not being checked, without reading them."""
        scan = self._scans.get((row.name, folder))
        if scan is None:
            owns = part.owns_clean_file if folder == part.gt else lambda name: True
            scan = scan_folder(self.root / folder, recursive=part.recursive, quick=True, owns=owns)
        return scan.names

    def _clean_files(self, rows: Iterable[DataSet], split: str) -> dict[str, tuple[str, str]]:
        files: dict[str, tuple[str, str]] = {}
        for row in rows:
            for part in row.parts_of(split):
                for name in self._names(row, part, part.gt):
                    files.setdefault(str(self.root / part.gt / name), (row.name, part.gt))
        return files

    def _note_leak_free(self, row: DataSet, leaking: set[str]) -> None:
        for part in row.parts_of('train'):
            names = self._names(row, part, part.gt)
            bad = {name for name in names if str(self.root / part.gt / name) in leaking}
            if (row.name, part.gt) in self._rows:
                self._rows[row.name, part.gt].leaks = max(len(bad), self._rows[row.name, part.gt].leaks)
            if part.lq is None:
                good = [name for name in names if name not in bad]
            else:
                try:
                    pairs, _, _ = match_pairs(self._names(row, part, part.lq), names, part.pairing)
                except PairingError:  # which is a finding of its own
                    continue
                good = [a for a, b in pairs if b not in bad]
            key = ' '.join(word for word in (row.name, part.degradation) if word)
            known = self.report.leak_free.get(key)
            self.report.leak_free[key] = good if known is None else [name for name in known if name in set(good)]

    def _add(
        self, level: str, kind: str, where: str | Path, count: int, message: str, names: Sequence[str] = ()
    ) -> None:
        place = where if isinstance(where, Path) else self.root / where
        self.report.findings.append(Finding(level, kind, str(place), count, message, list(names)))
