"""Which clean image belongs to which degraded one: rules by name.

Every data set names its files in its own way, and copies in circulation rename them. A rule lists, for a degraded
file's name without extension, the names its clean partner may have. With the rules of this table an equal name is tried
first; with a rule of the user's own only names that match it count. No file is ever paired with itself.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath

_ENDING = re.compile(r'\.(?:png|jpe?g|bmp|webp|tiff?|ppm|pgm|gif)$', re.IGNORECASE)


class PairingError(ValueError):
    """Degraded and clean files that cannot be matched without guessing."""


# rule: (pattern of the whole degraded name, name of the clean one), tried in this order after the equal name
RULES: dict[str, tuple[tuple[str, str], ...]] = {
    'same_name': (),
    # rain-1.png and norain-1.png, or 1.png or rain-1.png on either side
    'rain100l': ((r'(?:rain-)?(\d+)', r'norain-\1'), (r'(?:rain-)?(\d+)', r'rain-\1'), (r'rain-(\d+)', r'\1')),
    # 0001_0.8_0.04.jpg and 0001.jpg: ID_A_BETA and ID
    'ots': ((r'([^_]+)_.+', r'\1'),),
    'sots': ((r'([^_]+)_.+', r'\1'),),
    # 0_rain.png and 0_clean.png
    'raindrop': ((r'(.+)_rain', r'\1_clean'), (r'(.+)_rain', r'\1')),
    # im_0001_s80_a04.png and im_0001.png
    'outdoor_rain': ((r'(.+?)_s\d+_a\d+', r'\1'),),
}


def composed(name: str) -> str:
    """A name with each letter in one piece (Unicode's NFC); macOS and some archives take accents apart."""
    return name if name.isascii() else unicodedata.normalize('NFC', name)


def parse_rule(text: str) -> str | dict[str, str]:
    """A rule as a command line has it: a name of `RULES`, or `REGEX=NAME` (the last `=` divides)."""
    pattern, equals, name = text.rpartition('=')
    return {'lq': pattern, 'gt': name} if equals else text


def rule_named(rule: str | dict) -> list[tuple[re.Pattern, str]]:
    """The compiled patterns of a rule of `RULES`, or of the user's own `{lq: REGEX, gt: NAME}`.

    Raises:
        PairingError: For an unknown name, or a pattern that is not a regular expression with the groups NAME needs.
    """
    if isinstance(rule, dict):
        if set(rule) != {'lq', 'gt'}:
            raise PairingError(f'pairing: {rule!r}; a rule of your own has exactly the keys lq and gt')
        table: tuple[tuple[str, str], ...] = ((str(rule['lq']), str(rule['gt'])),)
    elif rule in RULES:
        table = RULES[rule]
    else:
        raise PairingError(f'pairing: {rule!r}; allowed: {", ".join(RULES)}, or {{lq: REGEX, gt: NAME}}')
    patterns = []
    for pattern, name in table:
        try:
            patterns.append((re.compile(pattern), name))
            empty = re.compile(f'(?:{pattern})|').fullmatch('')
            assert empty is not None
            empty.expand(name)  # a reference to a group that is not there
        except (re.error, IndexError) as error:
            raise PairingError(f'pairing: {{lq: {pattern!r}, gt: {name!r}}}: {error}') from None
    return patterns


def same_file_test(
    lq_root: str | os.PathLike | None, gt_root: str | os.PathLike | None
) -> Callable[[str, str], bool] | None:
    """A test whether two names below two roots are one file; None where the roots have nothing in common."""
    if lq_root is None or gt_root is None:
        return None
    lq, gt = os.path.realpath(lq_root), os.path.realpath(gt_root)
    try:
        if os.path.commonpath([lq, gt]) not in (lq, gt):
            return None
    except ValueError:  # two drives of Windows
        return None
    return lambda a, b: os.path.normpath(os.path.join(lq, a)) == os.path.normpath(os.path.join(gt, b))


def match_indices(
    lq_paths: Sequence[str],
    gt_paths: Sequence[str],
    rule: str | dict,
    same_file: Callable[[str, str], bool] | None = None,
) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """`match_pairs` in positions instead of names: `(degraded, clean)` pairs and the positions of the leftovers.

    Args:
        lq_paths: Degraded names.
        gt_paths: Clean names.
        rule: As in `match_pairs`.
        same_file: Result of `same_file_test` for the roots of the two sides.
    """
    patterns = rule_named(rule)
    own = rule if isinstance(rule, dict) else {}
    with_folders = rule == 'same_name' or any('/' in str(text) for text in own.values())

    def stem(path: str) -> str:
        pure = PurePosixPath(path)
        return str(pure.with_suffix('')) if with_folders else pure.stem

    clean: dict[str, list[int]] = {}
    respelled: dict[str, list[int]] = {}
    for position, path in enumerate(gt_paths):
        name = stem(path)
        clean.setdefault(name, []).append(position)
        if not name.isascii():
            respelled.setdefault(composed(name), []).append(position)
    used = bytearray(len(gt_paths))
    pairs: list[tuple[int, int]] = []
    leftover_lq: list[int] = []
    for position, path in enumerate(lq_paths):
        name = stem(path)
        names = [] if own else [name]
        for pattern, template in patterns:
            match = pattern.fullmatch(name) or (own and pattern.fullmatch(name + PurePosixPath(path).suffix))
            if match:
                names.append(_ENDING.sub('', match.expand(template)) if own else match.expand(template))
        partners: list[int] = []
        for wanted in names:
            found = clean.get(wanted) or respelled.get(composed(wanted), [])
            partners = [place for place in found if not (same_file and same_file(path, gt_paths[place]))]
            if partners:
                break
        if len(partners) > 1:  # of equal names the one in a folder of the same name, if there is one
            parent = PurePosixPath(path).parent
            beside = [place for place in partners if PurePosixPath(gt_paths[place]).parent == parent]
            partners = beside if len(beside) == 1 and parent.name else partners
        if not partners:
            leftover_lq.append(position)
        elif len(partners) > 1:
            both = ' and '.join(gt_paths[partner] for partner in partners)
            raise PairingError(f'{path}: several clean images fit its name: {both}; remove what is not meant')
        else:
            pairs.append((position, partners[0]))
            used[partners[0]] = 1
    leftover_gt = [position for position in range(len(gt_paths)) if not used[position]]
    if same_file:  # a folder that holds both sides: what is one side of a pair is not missing on the other
        leftover_lq = _not_of_the_other(leftover_lq, lq_paths, {gt_paths[b] for _, b in pairs}, same_file)
        leftover_gt = _not_of_the_other(
            leftover_gt, gt_paths, {lq_paths[a] for a, _ in pairs}, lambda a, b: same_file(b, a)
        )
    return pairs, leftover_lq, leftover_gt


def _not_of_the_other(
    places: list[int], paths: Sequence[str], others: set[str], same_file: Callable[[str, str], bool]
) -> list[int]:
    """The places whose file is none of the other side's; only files of one name can be the same."""
    by_name: dict[str, list[str]] = {}
    for other in others:
        by_name.setdefault(PurePosixPath(other).name, []).append(other)
    return [
        place
        for place in places
        if not any(same_file(paths[place], other) for other in by_name.get(PurePosixPath(paths[place]).name, ()))
    ]


def match_pairs(
    lq_paths: Iterable,
    gt_paths: Iterable,
    rule: str | dict,
    lq_root: str | os.PathLike | None = None,
    gt_root: str | os.PathLike | None = None,
) -> tuple[list[tuple], list, list]:
    """Matches degraded with clean images by their names.

    Args:
        lq_paths: Names of degraded images, relative to their folder (strings or paths). Several may share a clean one.
        gt_paths: Names of clean images, relative to theirs. With 'same_name' folders below the root count as part of
            the name, with the other rules they do not.
        rule: A name of `RULES`, or `{lq: REGEX, gt: NAME}`, where the pattern must match the whole degraded name
            (with or without extension), and NAME may refer to its groups by \\1, \\2. Names without a match then have
            no partner, equal ones neither. If either has a slash, folders count as part of the name.
        lq_root: Folder of the degraded images, if a file of both sides is to be recognised as one and not paired.
        gt_root: Folder of the clean images, likewise.

    Returns:
        `(pairs, leftover_lq, leftover_gt)`: (degraded, clean) tuples in the order of `lq_paths`, and the files of
        either side without a partner, all as they were given.

    Raises:
        PairingError: For an unknown or unusable rule, or two clean images that fit one degraded one.
    """
    lq, gt = list(lq_paths), list(gt_paths)
    lq_texts, gt_texts = ([path if isinstance(path, str) else path.as_posix() for path in side] for side in (lq, gt))
    pairs, leftover_lq, leftover_gt = match_indices(lq_texts, gt_texts, rule, same_file_test(lq_root, gt_root))
    return [(lq[i], gt[j]) for i, j in pairs], [lq[i] for i in leftover_lq], [gt[j] for j in leftover_gt]
