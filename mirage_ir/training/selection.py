"""Which data a run takes: ``--only`` and ``--without`` take some out; what is told of the rest with every figure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mirage_arch.checkpoints import read_notes
from mirage_data.files.image import list_names
from mirage_data.files.lists import read_list
from mirage_data.files.store import open_store
from mirage_data.files.write import write_file
from mirage_data.sets.table import mixture_notes, published

FLAGS = ('--only', '--without')


class SelectionError(ValueError):
    """Tasks that the options do not have, or a choice that leaves nothing."""


@dataclass(frozen=True)
class Selection:
    """Which tasks a run takes.

    A name is a task (``derain``), a task without its number (``denoise`` for ``denoise_15`` and ``denoise_50``), or
    the name of a data set (``Rain100L``); upper and lower case alike.

    Args:
        only: Take these; empty for all.
        without: Leave these out.
    """

    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.only or self.without)

    def apply(self, options: MutableMapping, forced: Iterable[str] = ()) -> list[str]:
        """Take out what is not wanted, in place, and shorten the training by the samples that are gone.

        The iterations (``total_iter``, ``warmup_iter``, and the scheduler's ``periods`` and ``milestones``) are
        multiplied by the part of an epoch that stays, so that the run has as many epochs as before. Of sets that the
        table knows the published counts are taken, as the option files' own numbers are, of others those on the disk.

        Args:
            options: Options of a run.
            forced: The values of ``--force_yml``; a ``train:total_iter`` given there stays as it is.

        Returns:
            What was done, a sentence each; empty if nothing was taken out.

        Raises:
            SelectionError: A name that fits nothing (the known ones are listed), or nothing left to train or test on.
        """
        if not self:
            return []
        sets = options.get('datasets')
        sets = sets if isinstance(sets, MutableMapping) else {}
        sources = sources_of(options)
        others = {
            phase: row for phase, row in sets.items() if isinstance(row, Mapping) and not (phase == 'train' and sources)
        }
        self._check_names([*sources, *others.values()])
        kept = [source for source in sources if self._wants(source)]
        gone = {phase: row for phase, row in others.items() if not self._wants(row)}
        if (sources and not kept) or 'train' in gone:
            there = _listed(sources or [gone['train']])
            raise SelectionError(f'{self} leaves no training data; the sources are {there}')
        if others and len(gone) == len(others) and not sources:
            raise SelectionError(f'{self} leaves no data set; there are {_listed(others.values())}')
        notes = []
        lost = [source for source in sources if not self._wants(source)]
        if lost:
            notes.append(f'left out of the training: {_listed(lost)}')
            notes += _shorten(options, sources, kept, forced)
            sets['train']['sources'] = kept
        if gone:
            titles = ', '.join(str(row.get('name', phase)) for phase, row in gone.items())
            notes.append(f'left out of validation and test: {titles}')
            for phase in gone:
                del sets[phase]
        return notes

    def kept_positions(self, options: Mapping) -> list[int]:
        """The positions of the training sources that stay, before `apply`."""
        return [position for position, source in enumerate(sources_of(options)) if self._wants(source)]

    def __str__(self) -> str:
        parts = [('--only', self.only), ('--without', self.without)]
        return ' '.join(f'{flag} {" ".join(names)}' for flag, names in parts if names)

    def _wants(self, row: Mapping) -> bool:
        if self.only and not any(_fits(word, row) for word in self.only):
            return False
        return not any(_fits(word, row) for word in self.without)

    def _check_names(self, rows: Sequence[Mapping]) -> None:
        for flag, words in zip(FLAGS, (self.only, self.without)):
            for word in words:
                if not any(_fits(word, row) for row in rows):
                    raise SelectionError(f'{flag} {word}: no such task or data set; there are {_listed(rows)}')


def sources_of(options: Mapping) -> list[Mapping]:
    """The sources of the training set; empty where it is not a mixture."""
    sets = options.get('datasets')
    train = sets.get('train') if isinstance(sets, Mapping) else None
    sources = train.get('sources') if isinstance(train, Mapping) else None
    return [s if isinstance(s, Mapping) else {} for s in sources] if isinstance(sources, list) else []


def _fits(word: str, row: Mapping) -> bool:
    task, name, word = str(row.get('task', '')).lower(), str(row.get('name', '')).lower(), word.lower()
    return word in (task, name, without_number(task))


def without_number(task: str) -> str:
    """A task without its noise level: ``denoise`` for ``denoise_25`` and ``denoise_12.5``."""
    return re.sub(r'_\d+(\.\d+)?$', '', task)


def _listed(rows: Iterable[Mapping]) -> str:
    return ', '.join(dict.fromkeys(str(row.get('task') or row.get('name')) for row in rows)) or 'none'


def _shorten(options: Mapping, sources: list[Mapping], kept: list[Mapping], forced: Iterable[str]) -> list[str]:
    train = options.get('train')
    if not isinstance(train, MutableMapping):
        return []
    total = train.get('total_iter')
    if not isinstance(total, int) or total < 1:
        return []
    if any(entry.partition('=')[0].strip() == 'train:total_iter' for entry in forced):
        return [f'total_iter stays {total:,}, as --force_yml says']
    sizes = {id(source): size for source in sources if (size := _samples(source)) is not None}
    unknown = [source for source in sources if id(source) not in sizes]
    if unknown:
        return [
            f'total_iter stays {total:,}: how many samples {_listed(unknown)} would have had is not known; '
            'set train:total_iter yourself'
        ]
    part = sum(sizes[id(source)] for source in kept) / sum(sizes.values())
    changes = [_scaled(train, 'total_iter', part), _scaled(train, 'warmup_iter', part)]
    scheduler = train.get('scheduler')
    scheduler = scheduler if isinstance(scheduler, MutableMapping) else {}
    for key in ('milestones', 'periods'):
        values = scheduler.get(key)
        if isinstance(values, list) and all(isinstance(value, int) for value in values):
            new = [max(1, round(value * part)) for value in values]
            if key == 'periods' and sum(values) == total:
                new[-1] += train['total_iter'] - sum(new)
            changes.append(f'{key} {values} -> {new}')
            scheduler[key] = new
    listed = ', '.join(change for change in changes if change)
    return [f'{100 * part:.1f} % of the samples of an epoch are left, so for the same number of epochs: {listed}']


def _scaled(section: MutableMapping, key: str, part: float) -> str:
    value = section.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        return ''
    section[key] = max(1, round(value * part))
    return f'{key} {value:,} -> {section[key]:,}'


def _samples(source: Mapping) -> float | None:
    """Samples of a source in an epoch, or its share; None if the table does not know it and the folder is absent."""
    if 'share' in source:
        return source['share'] if isinstance(source['share'], (int, float)) else None
    repeat, known = source.get('repeat', 1), published(source, 'train')
    if not isinstance(repeat, int):
        return None
    if known:
        return repeat * known.samples
    try:
        if source.get('meta_info_file'):
            count = len(read_list(source['meta_info_file']))
        else:
            root = source.get('dataroot_lq') or source.get('dataroot_gt') or source.get('dataroot') or ''
            count = len(list_names(root, recursive=True))
    except (TypeError, ValueError, OSError):
        return None
    return repeat * count * _versions(source)


def _versions(data: Mapping) -> int:
    """Samples that each picture gives: one for each noise level."""
    sigma = data.get('sigma')
    return len(sigma) if isinstance(sigma, (list, tuple)) else 1


# ---- told with the figures ------------------------------------------------------------------------------------------
FILE = 'training_data.json'
_UNTIL = 'until iteration '


def training_notes(opt: Mapping, dataset: Any, state: Mapping | None) -> list[str]:
    """What the figures of a run should be read with, those of its earlier parts included.

    Args:
        opt: Options of the run; read is what `Selection` left out.
        dataset: The training set; others than mixtures have no sources to tell of.
        state: What the run goes on from, if anything.
    """
    notes = opt['left_out'].split('; ') if opt.get('left_out') else []
    notes += mixture_notes(dataset.ratios()) if hasattr(dataset, 'ratios') else []
    if state:
        earlier = [note for note in state.get('notes') or [] if note not in notes]
        notes += [note if note.startswith(_UNTIL) else f'{_UNTIL}{state["iter"]:,}: {note}' for note in earlier]
    return notes


def write_training_data(opt: Mapping, dataset: Any, notes: Sequence[str]) -> None:
    """Writes the sources of a mixture, and the notes on it, into the run's folder.

    Args:
        opt: Options of the run; read is ``path: experiments_root``.
        dataset: The training set; others than mixtures have no sources to tell of.
        notes: Of `training_notes`.
    """
    if not hasattr(dataset, 'ratios'):
        return
    content = {'sources': dataset.ratios(), 'notes': list(notes)}
    write_file(Path(opt['path']['experiments_root'], FILE), json.dumps(content, indent=1, default=str) + '\n')


def data_notes(opt: Mapping) -> dict[str, list[str]]:
    """What the figures of a test run should be read with: incomplete training data, sets left out.

    Args:
        opt: Options of a test run. The notes of the training are in its weights or, of older ones, beside them.

    Returns:
        Entries of the protocol, each a list of sentences, which tables show below their figures
        (`mirage_ir.measuring.tables.CAVEATS`); empty if there is nothing to say.
    """
    notes: dict[str, list[str]] = {}
    if opt.get('left_out'):
        notes['chosen'] = opt['left_out'].split('; ')
    weights = opt['path'].get('pretrain_network_g')
    if weights:
        of_training = read_notes(weights) or _notes_beside(weights)
        if of_training:
            notes['trained on incomplete data'] = of_training
    parts = []
    for phase, dataset in opt['datasets'].items():
        known = published(dataset, 'test') if phase.startswith('test') else None
        found = _images(dataset) if known else None
        if known and found and found != known.samples:
            parts.append(f'{dataset["name"]} {found:,} of {known.samples:,}')
    if parts:
        notes['incomplete test sets'] = parts
    return notes


def _notes_beside(weights: str) -> list[str]:
    try:
        content = json.loads(Path(weights).resolve().parents[1].joinpath(FILE).read_text(encoding='utf-8'))
        return [str(note) for note in content['notes']]
    except (OSError, ValueError, LookupError, TypeError):  # weights from elsewhere
        return []


def _images(dataset: Mapping) -> int | None:
    root = dataset.get('dataroot_lq') or dataset.get('dataroot_gt') or ''
    try:
        count = len(open_store(root, dataset.get('io_backend'), dataset.get('recursive', True)).names)
    except ValueError:
        return None
    return count * _versions(dataset)
