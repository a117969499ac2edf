"""Finds images with many descriptors in common among thousands, by locality-sensitive hashing.

Eight samples of 22 of a descriptor's 256 bits are keys into eight tables. Descriptors that differ in few bits meet in
some of them (Indyk and Motwani, STOC 1998); every meeting is a vote, which counts the more the rarer its key is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mirage_data.sets.fingerprint import Fingerprint

TABLES, KEY_BITS = 8, 22
CANDIDATES = 4  # of one image that are verified
COMMON = 32  # a key that more corners than this share says nothing about where it comes from
_BLOCK = 1 << 16


class DescriptorIndex:
    """Hash tables over the descriptors of some images.

    Args:
        prints: the images' fingerprints.
    """

    def __init__(self, prints: Sequence[Fingerprint]) -> None:
        self._by_digest: dict[str, list[Fingerprint]] = {}
        for p in prints:
            self._by_digest.setdefault(p.digest, []).append(p)
        # Equal images count once, or many copies of one would make its keys look common.
        self._prints = prints = [copies[0] for copies in self._by_digest.values()]
        rng = np.random.default_rng(0)
        self._bits = [rng.choice(256, KEY_BITS, replace=False) for _ in range(TABLES)]
        owners = np.repeat(np.arange(len(prints), dtype=np.int32), [len(p.points) for p in prints])
        descriptors = [p.descriptors for p in prints] or [np.zeros((0, 32), np.uint8)]
        self._tables = []
        for keys in self._keys(np.concatenate(descriptors)).T:
            order = np.argsort(keys, kind='stable')
            self._tables.append((keys[order], owners[order]))

    def _keys(self, descriptors: np.ndarray) -> np.ndarray:
        """(n, 32) uint8 descriptors -> (n, TABLES) uint32 keys; in blocks, because bits take a byte each."""
        weights = (1 << np.arange(KEY_BITS)).astype(np.uint32)
        keys = np.empty((len(descriptors), TABLES), np.uint32)
        for start in range(0, len(descriptors), _BLOCK):
            block = slice(start, start + _BLOCK)
            bits = np.unpackbits(descriptors[block], axis=1)
            for table, sample in enumerate(self._bits):
                keys[block, table] = bits[:, sample] @ weights
        return keys

    def same_pixels(self, query: Fingerprint) -> list[Fingerprint]:
        """The images whose pixels are those of `query`, which may be one of them."""
        return self._by_digest.get(query.digest, [])

    def candidates(self, query: Fingerprint) -> list[Fingerprint]:
        """Images that probably share a photograph with `query`, the likeliest first, one of those with equal pixels."""
        votes = np.zeros(len(self._prints))
        for (keys, owners), wanted in zip(self._tables, self._keys(query.descriptors).T, strict=True):
            low, high = np.searchsorted(keys, wanted, 'left'), np.searchsorted(keys, wanted, 'right')
            counts = np.where(high - low > COMMON, 0, high - low)
            offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            found = owners[np.repeat(low, counts) + offsets]
            votes += np.bincount(found, weights=1 / np.repeat(counts, counts), minlength=len(votes))
        best = np.argsort(-votes)[:CANDIDATES]
        return [self._prints[i] for i in best if votes[i] > _background(votes)]


def _background(votes: np.ndarray) -> float:
    """What an image gets by chance, nearly always: 3.5 deviations over the mean, the highest twentieth left out."""
    if len(votes) < 20:
        return 0.0
    usual = np.sort(votes)[: -(len(votes) // 20)]
    return float(usual.mean() + 3.5 * usual.std())
