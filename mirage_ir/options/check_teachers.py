"""Pre-flight of ``train: teachers:``: their keys, their weights, and whether the training data has their tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY

from mirage_arch.checkpoints import CheckpointError
from mirage_data.datasets.composite import CompositeDegradationDataset
from mirage_data.datasets.denoise import GaussianDenoiseDataset
from mirage_data.datasets.mixed import SOURCE_TYPES, source_type
from mirage_data.datasets.paired import PairedTaskDataset
from mirage_data.degradations.compose import parse_recipe
from mirage_ir.training.selection import sources_of
from mirage_ir.training.teachers import ENTRY, clash, names_of, tasks_of, trained_network

from .file import OptionFile, nearest_hint
from .names import check_arguments, check_section, check_type

_WHERE = 'a teacher of `train: teachers:`'


def check_teachers(options: OptionFile) -> None:
    """Complains about teachers that could not be built, or that would have nothing to teach."""
    listed = options.section('train').get('teachers')
    if not isinstance(listed, list) or not all(isinstance(entry, Mapping) for entry in listed):
        return  # which the kind of the key has complained about
    before = len(options.problems)
    for position, entry in enumerate(listed):
        key = ('train', 'teachers', position)
        check_section(options, key, ENTRY, _WHERE)
        tasks = entry.get('tasks')
        if tasks is not None and not _is_texts(tasks):
            options.add((*key, 'tasks'), f'found {tasks!r}', 'name a task, or a list of tasks: [denoise, derain]')
    if len(options.problems) > before:
        return
    if fault := clash(listed):
        options.add(('train', 'teachers', fault[0], 'tasks'), fault[1], 'leave each task to one of them')
    given = _tasks_given(options)
    for position, entry in enumerate(listed):
        key = ('train', 'teachers', position)
        if given is not None:
            for task in set(tasks_of(entry)) - {name for known in given for name in names_of(known)}:
                options.add(
                    (*key, 'tasks'),
                    f'no sample of the training data has the task {task!r}',
                    nearest_hint(task, given) or f'there are {", ".join(sorted(given))}',
                )
        _check_weights(options, key, entry)


def _is_texts(tasks: Any) -> bool:
    return isinstance(tasks, str) or isinstance(tasks, list) and bool(tasks) and all(isinstance(t, str) for t in tasks)


def _check_weights(options: OptionFile, key: tuple, entry: Mapping) -> None:
    weights = options.locate(entry['pretrain_network'])
    if not weights.is_file():
        options.add((*key, 'pretrain_network'), f'no such file: {weights}', 'give the path of a weights file')
        return
    if entry.get('network'):
        place = (*key, 'network')
        network = check_type(options, place, ARCH_REGISTRY, 'network')
        if network is None or not check_arguments(options, place, network):
            return
    try:
        trained_network({**entry, 'pretrain_network': str(weights)})
    except CheckpointError as error:
        options.add(
            (*key, 'pretrain_network'), str(error), 'choose weights of MIRAGE, or describe their network in `network:`'
        )
    except Exception as error:  # whatever a constructor objects to
        options.add((*key, 'network'), str(error), 'choose values that fit together')


def _tasks_given(options: OptionFile) -> set[str] | None:
    """The tasks that samples of the training set are named by; None if it cannot be known from the options."""
    train = options.section('datasets', 'train')
    found: set[str] = set()
    for section in sources_of(options.data) or [train]:
        tasks = _tasks_of_set(section)
        if tasks is None:
            return None
        found |= tasks
    return found


def _tasks_of_set(section: Mapping) -> set[str] | None:
    kind: Any = SOURCE_TYPES.get(source_type(section))
    task = section.get('task')
    if kind is None or kind is CompositeDegradationDataset:
        return None
    if kind is PairedTaskDataset:
        return {str(task or 'restore')}
    if kind is GaussianDenoiseDataset:
        sigma = section.get('sigma')
        levels = sigma if isinstance(sigma, list) and len(sigma) > 1 else []
        name = str(task or 'denoise')
        return {f'{name}_{level:g}' for level in levels} or {name}
    if task:
        return {str(task)}
    try:
        return {entry.task for entry in parse_recipe(section.get('recipe')).entries}
    except ValueError:  # which the check of the data complains about
        return None
