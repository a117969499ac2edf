"""Pre-flight of data sets: do their folders exist, is something in them, and is it enough for one batch."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from mirage_data.datasets.base import logger
from mirage_data.datasets.mixed import SOURCE_OPTIONS, source_type
from mirage_data.degradations import parse_recipe
from mirage_data.files.image import IMAGE_EXTENSIONS, SYSTEM_FOLDERS
from mirage_data.files.image_headers import harmless
from mirage_data.files.lists import SAID_BY_CHECK, read_list
from mirage_data.files.pairing import match_pairs
from mirage_data.sets.table import describe_folder
from mirage_ir.measuring.protocols import settle_crops
from mirage_ir.training.command_line import resolve_all

from . import rules as schema
from .check_sizes import pictures_at_fault
from .file import FURTHER, KeyPath, OptionFile, nearest_hint
from .names import check_rules, check_section, check_type, check_unknown, cure, is_ours, registered, words_of_derived
from .places import dataset_options, hint, source_options

_said = logging.getLogger('mirage_ir.check')  # what is no fault of the options; stderr, where nobody set it up

_LONGEST_NAME = 180  # 255 bytes less what logs, archives and locks add
_COUNTED = 4096  # a data set is not counted further: no batch is as large


def check_datasets(options: OptionFile, registry: Iterable[tuple[str, Any]], is_train: bool) -> None:
    """Checks every data set that the run will build.

    Args:
        options: The option file.
        registry: BasicSR's registry of data sets.
        is_train: Training or testing.
    """
    phases = options.section('datasets')
    if not is_train and not phases:
        options.add(('datasets',), 'no data set to test on', 'add `test_1:` with name, type and folders')
    if is_train and 'train' not in phases:
        options.add(('datasets', 'train'), 'missing', 'add `train:` with a data set to train on')
    for phase in phases:
        kind = str(phase).split('_')[0]
        allowed = ('train', 'val') if is_train else ('val', 'test')
        if is_train and kind == 'test':
            options.add(
                ('datasets', phase),
                f'a training run does not know the phase {phase!r}',
                'call it val, or val_1, val_2 and so on',
            )
        elif kind not in ('train', 'val', 'test') or (is_train and kind == 'train' and phase != 'train'):
            options.add(
                ('datasets', phase),
                f'{phase!r} is no phase of BasicSR',
                nearest_hint(phase, allowed) or f'phases begin with {" or ".join(allowed)}',
            )
        elif not options.section('datasets', phase):
            options.add(('datasets', phase), 'empty', 'give it name, type and folders')
        else:
            _check_dataset(options, ('datasets', phase), registry, kind)
    _check_names(options, phases)


def _check_names(options: OptionFile, phases: dict) -> None:
    """Tables, folders of pictures and files of scores go by the names of data sets."""
    seen: dict[str, Any] = {}
    for phase, section in phases.items():
        name = section.get('name') if isinstance(section, dict) else None
        if not isinstance(name, str):
            continue
        key = ('datasets', phase, 'name')
        if fault := name_fault(name):
            options.add(key, *fault)
        if str(phase).startswith('train'):
            continue
        if name in seen:
            options.add(key, f'{name!r} is the name of {seen[name]}, too, and results go by names', 'give it another')
        seen.setdefault(name, phase)


def name_fault(name: str) -> tuple[str, str] | None:
    """What keeps a name from being that of a file and a folder, with the cure; None if nothing does."""
    wrong = sorted({c for c in name if c in '/\\\0' or not c.isprintable()})
    if wrong:
        return f'{name!r} has {", ".join(map(repr, wrong))} in it, and files are named after it', 'use other letters'
    if name in ('', '.', '..') or name != name.strip():
        return f'{name!r} cannot be the name of a folder', 'give it a name without spaces around it'
    if len(name.encode()) > _LONGEST_NAME:
        return f'a name of {len(name.encode())} bytes, and files are named after it', f'at most {_LONGEST_NAME}'
    return None


def _check_dataset(options: OptionFile, key: KeyPath, registry: Iterable, kind: str) -> None:
    """Keys, folders and sources of a data set; then, if there was nothing to say, the data set itself."""
    before = len(options.problems)
    reader = check_type(options, key, registry, 'data set')
    ours, training = is_ours(reader), kind == 'train'
    _check_keys(options, key, reader, training)
    count: float = _check_source(options, key, ours)
    section = options.section(*key)
    sources = section.get('sources')
    if ours and isinstance(sources, list):
        count = sum(
            _check_mixed_source(options, (*key, 'sources', position), registry)
            for position, source in enumerate(sources)
            if isinstance(source, dict)
        )
        if training:
            _check_crops(options, key, sources)
    if ours and len(options.problems) == before:
        count = _build(options, key, reader, kind)
    if ours and 'scale' not in section and options.data.get('scale') not in (None, 1):
        found = f'found {options.data["scale"]}, and {reader.__name__} gives pairs of one size'
        options.add(('scale',), found, 'set it to 1')
    if training and count:
        _check_batch(options, key, count)


def _check_keys(options: OptionFile, key: KeyPath, reader: Any, training: bool) -> None:
    """The keys of a data set's section: as declared by one of ours; of others what certainly fails, or is misspelt."""
    section = options.section(*key)
    if is_ours(reader):
        declared = dataset_options(reader, training)
        here = f'a data set of `type: {reader.__name__}`'
        check_section(options, key, declared, here, training=training, also=words_of_derived(reader))
        check_section(options, (*key, 'io_backend'), schema.IO_BACKEND, '`io_backend:`')
    else:
        rules = {**schema.LOADER, **schema.TRAIN_LOADER, **schema.FOREIGN_DATASET}
        optional = {name: replace(rule, required=False) for name, rule in rules.items() if name in schema.TRAIN_LOADER}
        check_rules(options, key, {**rules, **optional})
        if reader is not None:
            check_unknown(options, key, rules, [reader])
            needed = schema.DATASET_REQUIRED.get(section['type'], {})
            _require(options, key, (*needed.get('always', ()), *(needed.get('train', ()) if training else ())))
        if training:
            _require(options, key, [name for name, rule in schema.TRAIN_LOADER.items() if rule.required])
    if section.get('persistent_workers') is True and not (training and section.get('num_worker_per_gpu')):
        found = 'there are no workers to keep' if training else 'no workers to keep: validation sets are loaded without'
        cure_of_it = 'remove it, or set num_worker_per_gpu' if training else 'remove it'
        options.add((*key, 'persistent_workers'), found, cure_of_it)


def _build(options: OptionFile, key: KeyPath, reader: type, phase: str) -> int:
    """Lets a data set of ours judge its options and files itself, and looks at the pictures' heads."""
    opt = {**deepcopy(options.section(*key)), 'phase': phase}
    resolve_all(opt, str(options.root))
    with suppress(ValueError, TypeError):  # which the check of `val` names
        settle_crops({'val': options.section('val'), 'datasets': {str(key[1]): opt}})
    try:
        with _most_unsaid() as said:
            dataset = reader(opt)
            faults = pictures_at_fault(dataset)
        for warning in said if os.environ.get('RANK', '0') == '0' else ():
            line = options.line((*key, 'meta_info_file'))
            _said.warning('%s:%d: %s: warning: %s', options.path, line, ':'.join(map(str, key)), harmless(warning))
        if faults:
            cure_of_it = 'correct or remove these files, or change the options that they do not fit'
            if phase == 'train':
                cure_of_it += '; on_error: skip replaces such samples by others, counted and logged'
            options.add(key, FURTHER.join(map(harmless, faults)), cure_of_it)
        return len(dataset)
    except ValueError as error:
        culprit = next((name for name in opt if f'{name}:' in str(error)), None)
        options.add((*key, culprit) if culprit else key, str(error), 'correct this data set')
    except Exception as error:  # what stops the check now would stop the run later
        options.add(key, f'{type(error).__name__} while building it: {error}', 'correct the values of this data set')
    return 0


@contextmanager
def _most_unsaid() -> Iterator[list[str]]:
    """Collects the warnings that the check says, too; a data set says them, and all others, when the run builds it."""
    said: list[str] = []

    def collect(record: logging.LogRecord) -> bool:
        if hasattr(record, SAID_BY_CHECK):
            said.append(record.getMessage())
        return False

    logger.addFilter(collect)
    try:
        yield said
    finally:
        logger.removeFilter(collect)


def _check_crops(options: OptionFile, key: KeyPath, sources: list) -> None:
    """All sources of a mixture have crops of one size: that of the mixture or, without, of the first that names one."""
    size, whose = options.section(*key).get('gt_size'), 'the mixture'
    for position, source in enumerate(sources):
        if not isinstance(source, dict) or 'gt_size' not in source:
            continue
        if size is None:
            size, whose = source['gt_size'], f'sources:{position}'
        elif source['gt_size'] != size:
            found = f'found {source["gt_size"]!r}, that of {whose} is {size!r}, and all crops of a batch have one size'
            options.add((*key, 'sources', position, 'gt_size'), found, 'remove it: it is taken from the mixture')


def _check_mixed_source(options: OptionFile, key: KeyPath, registry: Iterable) -> float:
    source = options.section(*key)
    kind = registered(registry, source_type(source))
    if kind is None:
        names = [name for name, _ in registry]
        options.add(
            (*key, 'type'),
            f'no data set is called {source["type"]!r}',
            nearest_hint(source['type'], names) or f'registered are: {", ".join(names)}',
        )
    else:
        declared = source_options(kind) if is_ours(kind) else SOURCE_OPTIONS
        given = {name: declared[name] for name in source if name in declared}  # the mixture may give what is required
        for name, rule in given.items():
            if fault := rule.fault(source[name]):
                options.add((*key, name), fault, cure(source[name], rule))
        for name in source:
            if name not in declared and not str(name).startswith(('_', 'x-')):
                options.add(
                    (*key, name),
                    'nothing reads this key here',
                    hint(name, 'a source of a MixedDegradationDataset', declared, source)
                    or f'allowed are {", ".join(sorted(declared))}',
                )
    if 'repeat' in source and 'share' in source:
        options.add((*key, 'share'), 'given beside `repeat`', 'keep one of the two')
    repeat = source.get('repeat', 1)
    return _check_source(options, key, True) * (repeat if isinstance(repeat, (int, float)) else 1)


def _check_source(options: OptionFile, key: KeyPath, ours: bool) -> int:
    """Checks the folders of one data set or source; returns a lower bound of its images, 0 where unknown."""
    source = options.section(*key)
    if ours and 'pairing' in source:
        try:
            match_pairs([], [], source['pairing'])  # without files it checks the rule alone
        except (TypeError, ValueError) as error:
            options.add((*key, 'pairing'), str(error).removeprefix('pairing: '), 'choose one of these rules')
    backend = source.get('io_backend')
    backend = backend.get('type', 'disk') if isinstance(backend, dict) else 'disk'
    if isinstance(backend, str) and backend not in schema.IO_BACKENDS:
        options.add(
            (*key, 'io_backend', 'type'),
            f'found {backend!r}',
            nearest_hint(backend, schema.IO_BACKENDS) or f'allowed are {", ".join(schema.IO_BACKENDS)}',
        )
    if ours and source.get('recipe') is not None:
        try:
            parse_recipe(source['recipe'])
        except ValueError as error:
            shape = '`- {degradation: NAME, PARAMETER: [LOW, HIGH]}`'
            options.add((*key, 'recipe'), str(error), f'a recipe is a list of {shape}')
    counts = {}
    for name, value in source.items():
        values = [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, str)]
        if str(name).startswith('dataroot'):
            counts[name] = sum(_check_folder(options, (*key, name), folder, backend, ours) for folder in values)
        elif name in ('meta_info_file', 'meta_info') and values:
            counts['list'] = sum(_check_list(options, (*key, name), file) for file in values)
    return next((counts[name] for name in ('list', 'dataroot_lq', 'dataroot_gt', 'dataroot') if counts.get(name)), 0)


def _check_list(options: OptionFile, key: KeyPath, file: str) -> int:
    path = options.locate(file)
    if not path.is_file():
        options.add(key, f'no such file: {file}', 'give a list of file names, one a line')
        return 0
    try:
        return len(read_list(path))
    except ValueError as error:
        options.add(key, str(error).removeprefix('meta_info_file: '), 'give a text of file names, one a line')
        return 0


def _check_folder(options: OptionFile, key: KeyPath, folder: str, backend: str, ours: bool) -> int:
    path = options.locate(folder)
    if not path.exists():
        options.add(key, f'no such folder: {folder}', _what_belongs(options, folder))
    elif backend == 'lmdb' or (ours and path.suffix == '.lmdb'):
        return _check_lmdb(options, key, folder, path)
    elif not path.is_dir():
        options.add(key, f'{folder} is a file, not a folder', 'give the folder that contains the images')
    else:
        count = sum(1 for _ in islice(_images(path, IMAGE_EXTENSIONS if ours else None), _COUNTED))
        if not count:
            options.add(key, f'no image in the folder: {folder}', _what_belongs(options, folder))
        return count
    return 0


def _check_lmdb(options: OptionFile, key: KeyPath, folder: str, path: Path) -> int:
    absent = [name for name in ('data.mdb', 'meta_info.txt') if not (path / name).is_file()]
    if absent:
        options.add(
            key,
            f'{folder} is no finished LMDB: it has no {" and no ".join(absent)}',
            'write it with mirage-basicsr prepare NAME --lmdb, or name the folder of images instead',
        )
        return 0
    return len(read_list(path / 'meta_info.txt'))


def _images(folder: Path, endings: Iterable[str] | None) -> Iterator[str]:
    """Files with one of these endings (any visible file without them), here and below, found one by one."""
    for _, below, names in os.walk(folder, followlinks=True):
        below[:] = [name for name in below if name.lower() not in SYSTEM_FOLDERS]
        for name in names:
            if not name.startswith('.') and (endings is None or os.path.splitext(name)[1].lower() in endings):
                yield name


def _what_belongs(options: OptionFile, folder: str) -> str:
    earlier = next((p for p in options.problems if p.message.endswith(f': {folder}')), None)
    if earlier:
        return f'as for line {earlier.line}'
    return describe_folder(folder) or (
        'relative paths are looked up in the current directory, then in the project: '
        'correct the path, or put the images there'
    )


def _check_batch(options: OptionFile, key: KeyPath, count: float) -> None:
    section = options.section(*key)
    batch, ratio = section.get('batch_size_per_gpu'), section.get('dataset_enlarge_ratio', 1)
    gpus = options.data.get('num_gpu')
    processes = int(os.environ.get('WORLD_SIZE', 1))
    if not isinstance(batch, int) or not isinstance(ratio, (int, float)):
        return
    # one process feeds all of its GPUs; torchrun starts one process for each
    whole = batch * (processes if processes > 1 else max(gpus, 1) if isinstance(gpus, int) else 1)
    if count * ratio < whole and count < _COUNTED:
        options.add(
            (*key, 'batch_size_per_gpu'),
            f'a batch of {whole} does not fit in a data set of {count * ratio:g} samples',
            'lower it, or set dataset_enlarge_ratio so that the set is passed through several times',
        )
    parts = options.section('train').get('accumulate_grad')
    if isinstance(parts, int) and parts > 0 and batch % parts:
        options.add(
            ('train', 'accumulate_grad'),
            f'a batch of {batch} does not divide into {parts} equal parts',
            'choose a divisor of datasets:train:batch_size_per_gpu',
        )


def _require(options: OptionFile, key: KeyPath, names: Iterable[str]) -> None:
    section = options.section(*key)
    for name in names:
        if name not in section and not (name == 'scale' and 'scale' in options.data):
            options.add(
                (*key, name),
                f'missing, and {section.get("type", "BasicSR")} reads it',
                f'add `{name}:` to this section',
            )
