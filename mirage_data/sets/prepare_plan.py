"""Recognises a downloaded data set and decides what goes where, without touching the disk."""

from __future__ import annotations

import filecmp
import os
import posixpath
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from mirage_data.files.image import IMAGE_EXTENSIONS, SYSTEM_FILES, SYSTEM_FOLDERS
from mirage_data.files.pairing import match_pairs
from mirage_data.sets.layouts import LAYOUTS, LEFT_OUT, Layout, by_sides
from mirage_data.sets.source_tree import Entry, SourceError, SourceTree
from mirage_data.sets.table import DataSet, Part, all_data_sets, data_set

LISTS = {'allweather': 'Train/AllWeather'}  # sets that come with list files, and where those go


@dataclass
class Plan:
    """What goes where.

    Attributes:
        row: The data set.
        files: For each file of our layout, relative to the data root, the file of the source.
        origins: For each part that was found, 'split degradation', whose layout it was recognised by.
        skipped: For each reason, the paths left out.
    """

    row: DataSet
    files: dict[str, Entry] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def plan(name: str, tree: SourceTree, folders: tuple[str | None, str] | None = None, split: str = 'train') -> Plan:
    """Recognises a data set in a source.

    Args:
        name: Of the data set.
        tree: The source.
        folders: (degraded, clean) folders inside the source, for a layout that is not known; degraded is None where
            the set has none.
        split: Which part those folders are.

    Raises:
        SourceError: If nothing of the set is found, saying what is there and what is recognised.
    """
    row = data_set(name)
    result = Plan(row)
    base = len(tree.root.resolve().parent.as_posix().rstrip('/')) + 1
    images = [
        entry
        for entry in tree.entries
        if PurePosixPath(entry.path).suffix.lower() in IMAGE_EXTENSIONS and not _of_the_system(entry.path[base:])
    ]
    used: set[str] = set()
    parts = [part for part in row.parts if not folders or part.split == split]
    found = {}
    for part in parts:
        layouts = [_given_folders(part, folders)] if folders else _layouts_of(row, part)
        found[part] = _best(part, layouts, images, base)
        if not found[part][0] and not folders and part.lq is None:
            found[part] = _only_folder(part, images, base)
    if not folders:
        _find_by_sides(row, found, images, base)
    for part, (placed, origin) in found.items():
        for target, entry in placed:
            used.add(entry.path)
            other = result.files.setdefault(target, entry)
            if other.path != entry.path and not _equal(other, entry):
                result.skipped[f'another file is already {target}'].append(entry.path[base:])
        if placed:
            result.origins[f'{part.split} {part.degradation}'.strip()] = origin
    _place_lists(row, tree, result, used)
    if not result.files:
        raise SourceError(_nothing_found(row, tree, images, base))
    _explain_rest(row, tree, result, used, base)
    return result


def _equal(one: Entry, other: Entry) -> bool:
    """Whether two files have one content; of those in archives, one size."""
    if one.size != other.size or one.file is None or other.file is None:
        return one.size == other.size
    return filecmp.cmp(one.file, other.file, shallow=False)


def plan_own(
    name: str,
    tree: SourceTree,
    split: str = 'train',
    rule: str | dict = 'same_name',
    folders: tuple[str, str] | None = None,
    degraded_half: str = '',
) -> Plan:
    """Pairs of one's own: both sides get one name, in `Train/NAME/input` and `target` (`test/NAME/...`).

    Args:
        name: Of the set, a plain folder name.
        tree: The source.
        split: 'train' or 'test'.
        rule: Of `mirage_data.files.pairing`, over the names below the source (below `folders` where given).
        folders: (degraded, clean) folders inside the source.
        degraded_half: 'left' or 'right' where each picture holds both sides; the rule and folders don't count then.

    Raises:
        SourceError: If the name is none, or the source has no pair.
    """
    if not re.fullmatch(r'[\w][\w .+-]{0,99}', name) or name != name.strip():
        raise SourceError(f'{name!r}: cannot be the name of a folder; give it letters, digits, -, _ and .')
    top = f'{"Train" if split == "train" else "test"}/{name}'
    part = Part(split, gt=f'{top}/target', gt_count=0, lq=f'{top}/input', lq_count=0)
    result = Plan(DataSet(name, name, '', (part,), [], '', ''))
    base = len(tree.root.resolve().parent.as_posix().rstrip('/')) + 1
    images = {
        entry.path[base:].partition('/')[2]: entry
        for entry in tree.entries
        if PurePosixPath(entry.path).suffix.lower() in IMAGE_EXTENSIONS
        and not _of_the_system(entry.path[base:])
        and not PurePosixPath(entry.path).name.startswith('.')  # as those that a Mac lays beside pictures
    }
    if degraded_half:
        clean_half = {'left': 'right', 'right': 'left'}[degraded_half]
        pairs = [(replace(e, half=degraded_half), replace(e, half=clean_half), path) for path, e in images.items()]
    else:
        sides = [{p: p for p in images}] * 2 if folders is None else [_below(images, folder) for folder in folders]
        lq, gt = (list(side) for side in sides)
        roots = ('/', '/') if folders is None else ('/lq', '/gt')
        found, alone, _ = match_pairs(lq, gt, rule, *roots)
        pairs = [(images[sides[0][a]], images[sides[1][b]], a) for a, b in found]
        used = {path for pair in found for path in pair} if folders is None else set()
        result.skipped['no partner by the rule'] += sorted(path for path in alone if path not in used)
        if folders is not None:
            matched = {b for _, b in found}
            result.skipped['no partner by the rule'] += sorted(path for path in gt if path not in matched)
    for lq_entry, gt_entry, path in pairs:
        stem = os.path.splitext(path)[0].replace('/', '_')
        for entry, folder in ((lq_entry, part.lq), (gt_entry, part.gt)):
            ending = '.png' if entry.half else os.path.splitext(entry.path)[1].lower()
            target = f'{folder}/{stem}{ending}'
            if result.files.setdefault(target, entry) is not entry:
                raise SourceError(f'{tree.root}: two files would become {target}; rename one')
    result.skipped = defaultdict(list, {why: names for why, names in result.skipped.items() if names})
    if not pairs:
        seen = ', '.join(list(images)[:5]) or 'no image'
        raise SourceError(
            f'{tree.root}: no pair by the rule {rule!r} among {len(images)} images ({seen}); both sides are needed: '
            "say which names belong together (--pairing '(.+)_dark=\\1_bright'), name the folders (--lq, --gt), or "
            'which half of each picture is degraded (--halves)'
        )
    result.origins[split] = f'{len(pairs):,} pairs of your own'
    return result


def _below(images: dict[str, Entry], folder: str) -> dict[str, str]:
    """The names below a folder of the source: relative to it, and as they are in the source."""
    start = folder.strip('/') + '/'
    found = {path[len(start) :]: path for path in images if path.startswith(start)}
    if not found:
        raise SourceError(f'{folder}: no images in this folder of the source')
    return found


def _find_by_sides(
    row: DataSet, found: dict[Part, tuple[list[tuple[str, Entry]], str]], images: list[Entry], base: int
) -> None:
    """For parts of which a side is missing, among the files that no whole part took: folders named after sides."""
    whole = {part for part, (placed, _) in found.items() if _has_both(part, placed)}
    taken = {entry.path for part in whole for _, entry in found[part][0]}
    rest = [entry for entry in images if entry.path not in taken]
    for part in found:
        if part in whole or part.lq is None or part.degradation:
            continue
        general = by_sides(part.split, len({other.split for other in found}) == 1)
        placed, origin = _best(part, [general], rest, base)
        if _has_both(part, placed):
            _refuse_other_sets(row, part, [entry for _, entry in placed], base)
            found[part] = placed, origin


def _refuse_other_sets(row: DataSet, part: Part, images: list[Entry], base: int) -> None:
    """`input` and `target` may be anybody's: what is laid out like another set by its own names is that set."""
    for other in all_data_sets().values():
        for theirs in other.parts if other.name != row.name else ():
            layouts = _layouts_of(other, theirs)
            if theirs.lq is None or theirs.split != part.split or not layouts:
                continue
            placed, _ = _best(theirs, layouts, images, base)
            if len(placed) == len(images) and _has_both(theirs, placed):
                raise SourceError(
                    f'{images[0].path[base:]} and the other {len(images) - 1:,} images are laid out as {other.title}, '
                    f'not as {row.title}: mirage-basicsr prepare {other.name}; if they are {row.title} all the same, '
                    'name the folders: --lq, --gt'
                )


def _has_both(part: Part, placed: list[tuple[str, Entry]]) -> bool:
    return all(any(target.startswith(f'{folder}/') for target, _ in placed) for folder in part.folders)


def _layouts_of(row: DataSet, part: Part) -> list[Layout]:
    wanted = (part.split, part.degradation)
    return [layout for layout in LAYOUTS.get(row.name, ()) if (layout.split, layout.degradation) == wanted]


_NAMED = 'the folders you named'


def _given_folders(part: Part, folders: tuple[str | None, str]) -> Layout:
    lq, gt = (re.escape(_plain(folder or '')) + r'/(?P<name>[^/]+)' for folder in folders)
    return Layout(_NAMED, part.split, gt=gt, lq=lq if folders[0] is not None else None)


def _plain(folder: str) -> str:
    plain = posixpath.normpath(folder).strip('/')
    return '' if plain == '.' else plain


def _best(part: Part, layouts: list[Layout], images: list[Entry], base: int) -> tuple[list[tuple[str, Entry]], str]:
    """The layout that recognises most files; the first of equals."""
    best: list[tuple[str, Entry]] = []
    origin = ''
    for layout in layouts:
        lq_half, gt_half = layout.halves or ('', '')
        placed = _match(layout, layout.gt, layout.gt_name, part.gt, images, base, gt_half)
        if part.lq is not None and layout.lq is not None:
            placed += _match(layout, layout.lq, layout.lq_name, part.lq, images, base, lq_half)
        if len(placed) > len(best):
            best, origin = placed, layout.origin
    return best, origin


def _outermost(found: dict[str, list[tuple[str, Entry]]]) -> list[tuple[str, Entry]]:
    """Of folders of one name, by where they lie, the one that lies highest.

    Raises:
        SourceError: There are several.
    """
    highest = min(place.count('/') for place in found)
    places = [place for place in found if place.count('/') == highest]
    if len(places) > 1:
        raise SourceError(
            f'{", ".join(place.rstrip("/") or "/" for place in places)}: each has a folder of this name; name one with '
            'the folders around it: --lq OUTER/NAME'
        )
    return found[places[0]]


def _match(
    layout: Layout, pattern: str, template: str, folder: str, images: list[Entry], base: int, half: str = ''
) -> list[tuple[str, Entry]]:
    """What one side's pattern of a layout recognises, with its place in the folder."""
    wanted = re.compile(rf'(?:^|/){pattern}$', re.IGNORECASE)
    unwanted = re.compile(rf'(?:^|/)(?:{layout.exclude})', re.IGNORECASE) if layout.exclude else None
    placed: dict[str, list[tuple[str, Entry]]] = defaultdict(list)  # by the folder around what is recognised
    for entry in images:
        if PurePosixPath(entry.path).name.startswith('.'):
            continue
        stem, extension = os.path.splitext(entry.path)
        match = wanted.search(stem[base - 1 :] if layout.inner else stem)
        if match and not (unwanted and unwanted.search(entry.path[base:])):
            groups = {key: value or '' for key, value in match.groupdict().items()}
            ending = '.png' if half else extension.lower()  # a half is written anew, without loss
            place = f'{folder}/{template.format(**groups).lstrip("/")}{ending}'
            around = stem[: match.start() + 1] if layout.origin == _NAMED else ''
            placed[around].append((place, replace(entry, half=half) if half else entry))
    return _outermost(placed) if placed else []


def _only_folder(part: Part, images: list[Entry], base: int) -> tuple[list[tuple[str, Entry]], str]:
    """Clean photographs need no layout if there is just one folder with images."""
    if len({PurePosixPath(entry.path).parent for entry in images}) != 1:
        return [], ''
    layout = Layout('', part.split, gt=r'(?P<name>[^/]+)')
    placed = _match(layout, layout.gt, layout.gt_name, part.gt, images, base)
    return [item for item in placed if part.owns_clean_file(item[0])], 'the only folder with images'


def _place_lists(row: DataSet, tree: SourceTree, result: Plan, used: set[str]) -> None:
    folder = LISTS.get(row.name)
    for entry in tree.entries if folder else ():
        if re.fullmatch(r'all-?weather[^/]*\.txt', PurePosixPath(entry.path).name, re.IGNORECASE):
            result.files[f'{folder}/{PurePosixPath(entry.path).name.lower()}'] = entry
            used.add(entry.path)


def _explain_rest(row: DataSet, tree: SourceTree, result: Plan, used: set[str], base: int) -> None:
    """Gives every file that is not used its reason."""
    rules = [(re.compile(rf'(?:^|/)(?:{pattern})$', re.IGNORECASE), why) for pattern, why in LEFT_OUT.get(row.name, ())]
    for entry in tree.entries:
        if entry.path in used:
            continue
        path = PurePosixPath(entry.path)
        inner, stem = entry.path[base:], os.path.splitext(entry.path[base:])[0]
        if path.name.startswith('.') or path.name.lower() in SYSTEM_FILES or _of_the_system(inner):
            why = 'left by the operating system'
        elif path.suffix.lower() not in IMAGE_EXTENSIONS:
            why = 'not an image'
        else:
            why = next((why for rule, why in rules if rule.search(stem)), f'not part of {row.title} as it is used here')
        result.skipped[why].append(inner)
    for name, why in tree.refused:
        result.skipped[why].append(name)


def _of_the_system(path: str) -> bool:
    return any(part.lower() in SYSTEM_FOLDERS for part in PurePosixPath(path).parts[:-1])


def _nothing_found(row: DataSet, tree: SourceTree, images: list[Entry], base: int) -> str:
    folders = Counter(PurePosixPath(entry.path[base:]).parent.as_posix() for entry in images)
    seen = ', '.join(f'{folder}/ ({count} images)' for folder, count in folders.most_common(8)) or 'no images at all'
    refused = ''.join(f'\n  {name}: {why}' for name, why in tree.refused[:8])
    known = '\n'.join(
        f'  {layout.split} {layout.degradation or row.task} ({layout.origin}): {layout.in_words()}'
        for layout in LAYOUTS[row.name]
    )
    return (
        f'{tree.root}: nothing of {row.title} was recognised. It holds: {seen}{refused}\n'
        f'Recognised are paths that end like this:\n{known}\n'
        'For another layout, name the folders: --lq FOLDER --gt FOLDER --split train|test'
    )


def unpaired(todo: Plan) -> dict[str, list[str]]:
    """Files of the plan that have no partner in it, by folder; files already on the disk are not looked at."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    owned = sorted({folder for part in todo.row.parts for folder in part.folders}, key=len, reverse=True)
    for target in todo.files:
        folder = next((folder for folder in owned if target.startswith(folder + '/')), None)
        if folder is not None:
            by_folder[folder].append(target[len(folder) + 1 :])
    alone: dict[str, list[str]] = {}
    for part in todo.row.parts:
        if part.lq is not None and by_folder[part.lq] and by_folder[part.gt]:
            _, lq, gt = match_pairs(sorted(by_folder[part.lq]), sorted(by_folder[part.gt]), part.pairing)
            alone.update({folder: names for folder, names in ((part.lq, lq), (part.gt, gt)) if names})
    return alone
