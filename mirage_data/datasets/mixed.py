"""All-in-one training: any sources, mixed in any ratio."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mirage_data.datasets.base import TaskDataset, logger
from mirage_data.datasets.composite import CompositeDegradationDataset
from mirage_data.datasets.denoise import GaussianDenoiseDataset
from mirage_data.datasets.paired import PairedTaskDataset
from mirage_data.datasets.sample import Index, split_index
from mirage_data.datasets.synthetic import SyntheticDegradationDataset
from mirage_data.datasets.variation import OPTIONS as VARIATIONS
from mirage_data.files.store import telling_passed_over
from mirage_data.option import Option
from mirage_data.sets.table import mixture_notes, published

# What a source takes over from the mixture's own options unless it names its own.
INHERITED = (
    'phase',
    'gt_size',
    'use_hflip',
    'use_rot',
    'augment',
    'crop_multiple',
    'on_error',
    *VARIATIONS,
    'io_backend',
    'recursive',
)
SOURCE_OPTIONS = {
    'type': Option('text', 'class of the source; by default noise with `sigma`, pairs without'),
    'repeat': Option('count', 'how often its samples come in an epoch', 1, low=1),
    'share': Option('number', 'its part of an epoch, instead of repeat', low=0, open_low=True),
}

SOURCE_TYPES: dict[str, type[TaskDataset]] = {
    kind.__name__: kind
    for kind in (PairedTaskDataset, GaussianDenoiseDataset, CompositeDegradationDataset, SyntheticDegradationDataset)
}


def source_type(source: Mapping) -> str:
    """Name of the class that a source is made by."""
    return source.get('type') or ('GaussianDenoiseDataset' if 'sigma' in source else 'PairedTaskDataset')


BALANCES = ('disk', 'published')


class MixedDegradationDataset(TaskDataset):
    """The samples of several sources as one training set.

    Example of the options::

        type: MixedDegradationDataset
        gt_size: 128
        use_hflip: true
        use_rot: true
        sources:
          - {task: denoise, dataroot_gt: datasets/Train/Denoise, sigma: [15, 25, 50], repeat: 3}
          - {task: derain, dataroot_lq: ..., dataroot_gt: ..., pairing: rain100l, repeat: 120}

    With `repeat` a source's samples count that often in an epoch, each time with another crop, flip and noise. Where a
    folder holds another number of samples than the published set, a warning states both shares; `balance: published`
    then draws every source as often as if its set were complete, so that the tasks keep their published shares. With
    `share` (for all sources or none) a source makes that part of the epoch; unless `epoch_length` says otherwise the
    epoch is just long enough for every image of every source to come at least once.

    Args:
        opt: `sources`, a list of options of datasets: `type` (one of `SOURCE_TYPES`; else noise if the source has a
            `sigma`, and pairs if not), `repeat` (whole number >= 1, default 1) or `share` (> 0, made to sum to 1),
            `task`, and what that dataset reads. `INHERITED` keys are taken over from the mixture. Optional
            `epoch_length` (samples, only with `share`), `balance` ('disk': `repeat` counts the samples that are there;
            'published': those of the published set, where the folder is one of ours). `manual_seed` as in
            `TaskDataset`.

    Raises:
        ValueError: If a source is unusable, or has another `gt_size` than the mixture in training; the message begins
            with its number and task.
    """

    OPTIONS = {
        'sources': Option('sections', 'the data sets that are mixed', required=True),
        'epoch_length': Option('count', 'samples of an epoch, with shares', low=1),
        'balance': Option(
            'text', 'whether repeat counts the samples on the disk or the published ones', 'disk', choices=BALANCES
        ),
    }

    @telling_passed_over()
    def __init__(self, opt: dict) -> None:
        super().__init__(opt)
        sources = opt.get('sources')
        if not isinstance(sources, list) or not sources or not all(isinstance(source, dict) for source in sources):
            raise ValueError(f'sources: {sources!r}; needed is a list of at least one source, each with its options')
        self.sources = [self._build(number, source) for number, source in enumerate(sources)]
        self.sizes = np.array([len(source) for source in self.sources])
        self._published = [published(source, 'train') for source in sources]
        self._repeats = [source.get('repeat', 1) for source in sources]
        balance = opt.get('balance') or 'disk'
        if balance not in BALANCES:
            raise ValueError(f'balance: {balance!r}; allowed: {", ".join(BALANCES)}')
        self.counts = self._counts(sources, opt.get('epoch_length'), balance)
        self._ends = np.cumsum(self.counts)
        self._describe(can_balance=balance == 'disk' and 'share' not in sources[0])

    def _describe(self, *, can_balance: bool) -> None:
        """Logs every source, and where the data are not the published ones what that does to the mixture."""
        rows = self.ratios()
        for row in rows:
            logger.info('source %(task)s: %(images)d samples, %(per_epoch)d an epoch, %(percent).1f %% (%(root)s)', row)
        notes = mixture_notes(rows)
        if notes:
            cure = ''
            if can_balance:
                cure = (
                    '\nThis is another mixture than the published one. To keep the published shares with the data at '
                    'hand: balance: published in datasets: train (or --force_yml datasets:train:balance=published); '
                    'to leave tasks out: --without TASK'
                )
            logger.warning('incomplete training data:\n  %s%s', '\n  '.join(notes), cure)

    def ratios(self) -> list[dict]:
        """One row per source: its task, clean folder, own samples, samples in an epoch and their percentage.

        `published` is the number of samples of the published set (`titles`), None for data that are not in the table;
        `published_percent` the share that `repeat` gives the source if all sets of the table are complete, None where
        the shares are given.
        """
        rows = []
        sizes, counts = self.sizes.tolist(), self.counts.tolist()
        complete = [(size if known is None else known.samples) for size, known in zip(sizes, self._published)]
        with_shares = 'share' in self.opt['sources'][0]
        whole = sum(size * repeat for size, repeat in zip(complete, self._repeats))
        for number, (source, size, count) in enumerate(zip(self.sources, sizes, counts)):
            root = source.opt.get('dataroot_gt') or source.opt.get('dataroot')
            task = source.opt.get('task') or type(source).__name__
            percent = 100 * count / len(self)
            known = self._published[number]
            rows.append(
                {
                    'task': task,
                    'root': root,
                    'images': size,
                    'per_epoch': count,
                    'percent': percent,
                    'published': known and known.samples,
                    'titles': known.titles if known else '',
                    'published_percent': None
                    if with_shares
                    else 100 * complete[number] * self._repeats[number] / whole,
                }
            )
        return rows

    def _build(self, number: int, source: dict) -> TaskDataset:
        opt = {key: self.opt[key] for key in INHERITED if key in self.opt}
        opt.update({key: value for key, value in source.items() if key not in SOURCE_OPTIONS})
        # Each source has random numbers of its own, whatever its position in another mixture.
        opt['manual_seed'] = int(np.random.SeedSequence([self.manual_seed, number]).generate_state(1)[0])
        kind = source_type(source)
        where = f'sources[{number}] ({source.get("task", kind)})'
        if kind not in SOURCE_TYPES:
            raise ValueError(f'{where}: type: {kind!r}; allowed: {", ".join(SOURCE_TYPES)}')
        if self.train and opt['gt_size'] != self.gt_size:
            raise ValueError(
                f'{where}: gt_size: {opt["gt_size"]!r}; allowed is {self.gt_size}, that of the mixture, since all '
                'crops of a batch have one size: remove it'
            )
        try:
            return SOURCE_TYPES[kind](opt)
        except ValueError as error:
            raise ValueError(f'{where}: {error}') from error

    def _counts(self, sources: list[dict], epoch_length: int | None, balance: str = 'disk') -> np.ndarray:
        """How many samples of each source make an epoch."""
        with_share = ['share' in source for source in sources]
        if not any(with_share):
            repeats = [source.get('repeat', 1) for source in sources]
            if not all(isinstance(repeat, int) and repeat >= 1 for repeat in repeats):
                raise ValueError(f'repeat: {repeats}; allowed are whole numbers >= 1')
            if epoch_length is not None:
                raise ValueError('epoch_length: needs sources with share: instead of repeat:')
            sizes = self.sizes.tolist()
            if balance == 'published':
                sizes = [(known.samples if known else size) for known, size in zip(self._published, sizes)]
            return np.array(sizes) * np.array(repeats)
        if balance == 'published':
            raise ValueError('balance: published is about repeat:; with share: the shares are given already')
        shares: list[Any] = [source.get('share') for source in sources]
        if not all(isinstance(share, (int, float)) and share > 0 for share in shares):
            raise ValueError(f'share: {shares}; needed is a number above 0 for every source')
        if any('repeat' in source for source in sources):
            raise ValueError('repeat: cannot be combined with share:')
        parts = np.array(shares, float) / sum(shares)
        length = epoch_length if epoch_length is not None else math.ceil((self.sizes / parts).max() - 1e-9)
        if not isinstance(length, int) or length < len(sources):
            raise ValueError(f'epoch_length: {length!r}; allowed are whole numbers >= {len(sources)}')
        ends = np.rint(np.cumsum(parts) * length).astype(np.int64)
        return np.maximum(np.diff(ends, prepend=0), 1)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def use_bytes(self) -> None:
        """See `TaskDataset.use_bytes`."""
        for source in self.sources:
            source.use_bytes()

    @property
    def skipped(self) -> int:
        """How many broken samples the sources replaced so far, in all processes together."""
        return sum(getattr(source, 'skipped', 0) for source in self.sources)

    def source_index(self, index: Index) -> tuple[int, Index]:
        """Which source a sample comes from, and what that source is asked for.

        Passes through a source are numbered over all epochs and serve it as its epoch, so that every repetition is a
        new sample; a part of a pass is another part in the next epoch.
        """
        epoch, position = split_index(index, len(self))
        number = int(np.searchsorted(self._ends, position, side='right'))
        count, size = int(self.counts[number]), int(self.sizes[number])
        place = position - (int(self._ends[number]) - count)
        turn, item = divmod((epoch or 0) * count + place, size)
        if count % size:
            item = item * _stride(size) % size  # so that a part of a pass is not a run of neighbours
        return number, item if epoch is None else (turn, item)

    def __getitem__(self, index: Index) -> dict:
        number, inner = self.source_index(index)
        return self.sources[number][inner]


def _stride(size: int) -> int:
    """A step near the golden section of `size` without a common divisor, so that its multiples visit everything."""
    stride = max(1, round(size * 0.618))
    while math.gcd(stride, size) > 1:
        stride += 1
    return stride
