"""Which clean image belongs to which degraded one: rules by name.

Every data set names its files in its own way, and copies in circulation rename them. A rule lists, for a degraded
file's name without extension, the names its clean partner may have; an equal name is always tried first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath


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


def rule_named(rule: str | dict) -> list[tuple[re.Pattern, str]]:
    """The compiled patterns of a rule of `RULES`, or of the user's own `{lq: REGEX, gt: NAME}`.

    Raises:
        PairingError: for an unknown name, or a pattern that is not a regular expression with the groups NAME needs.
    """
    if isinstance(rule, dict):
        if set(rule) != {'lq', 'gt'}:
            raise PairingError(f'pairing: {rule!r}; a rule of your own has exactly the keys lq and gt')
        table = ((str(rule['lq']), str(rule['gt'])),)
    elif rule in RULES:
        table = RULES[rule]
    else:
        raise PairingError(f'pairing: {rule!r}; allowed: {", ".join(RULES)}, or {{lq: REGEX, gt: NAME}}')
    patterns = []
    for pattern, name in table:
        try:
            patterns.append((re.compile(pattern), name))
            re.compile(f'(?:{pattern})|').fullmatch('').expand(name)  # a reference to a group that is not there
        except (re.error, IndexError) as error:
            raise PairingError(f'pairing: {{lq: {pattern!r}, gt: {name!r}}}: {error}') from None
    return patterns


def match_indices(
    lq_paths: Sequence[str], gt_paths: Sequence[str], rule: str | dict
) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """`match_pairs` in positions instead of names: `(degraded, clean)` pairs and the positions of the leftovers."""
    patterns = rule_named(rule)

    def stem(path: str) -> str:
        pure = PurePosixPath(path)
        return str(pure.with_suffix('')) if rule == 'same_name' else pure.stem

    clean: dict[str, list[int]] = {}
    for position, path in enumerate(gt_paths):
        clean.setdefault(stem(path), []).append(position)
    used = bytearray(len(gt_paths))
    pairs: list[tuple[int, int]] = []
    leftover_lq: list[int] = []
    for position, path in enumerate(lq_paths):
        name = stem(path)
        partners = clean.get(name)
        for pattern, template in patterns:
            if partners:
                break
            match = pattern.fullmatch(name)
            partners = clean.get(match.expand(template)) if match else None
        if not partners:
            leftover_lq.append(position)
        elif len(partners) > 1:
            both = ' and '.join(gt_paths[partner] for partner in partners)
            raise PairingError(f'{path}: several clean images fit its name: {both}; remove what is not meant')
        else:
            pairs.append((position, partners[0]))
            used[partners[0]] = 1
    return pairs, leftover_lq, [position for position in range(len(gt_paths)) if not used[position]]


def match_pairs(lq_paths: Iterable, gt_paths: Iterable, rule: str | dict) -> tuple[list[tuple], list, list]:
    """Matches degraded with clean images by their names.

    Args:
        lq_paths: names of degraded images, relative to their folder (strings or paths). Several may share a clean one.
        gt_paths: names of clean images, relative to theirs. With 'same_name' folders below the root count as part of
            the name, with the other rules they do not.
        rule: a name of `RULES`, or `{lq: REGEX, gt: NAME}`, where the pattern must match the whole degraded name
            without extension, and NAME may refer to its groups by \\1, \\2.

    Returns:
        `(pairs, leftover_lq, leftover_gt)`: (degraded, clean) tuples in the order of `lq_paths`, and the files of
        either side without a partner, all as they were given.

    Raises:
        PairingError: for an unknown or unusable rule, or two clean images that fit one degraded one.
    """
    lq, gt = list(lq_paths), list(gt_paths)
    texts = [[path if isinstance(path, str) else path.as_posix() for path in side] for side in (lq, gt)]
    pairs, leftover_lq, leftover_gt = match_indices(*texts, rule)
    return [(lq[i], gt[j]) for i, j in pairs], [lq[i] for i in leftover_lq], [gt[j] for j in leftover_gt]
