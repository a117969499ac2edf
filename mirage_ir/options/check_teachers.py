"""Pre-flight of ``train: teachers:``: their keys, their weights, and whether the training data has their tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY

from mirage_arch.checkpoints import CheckpointError
from mirage_data.datasets.composite import chosen_types
from mirage_data.datasets.mixed import source_type
from mirage_data.degradations.compose import parse_recipe
from mirage_ir.training.selection import sources_of
from mirage_ir.training.teachers import ENTRY, clash, first_of_each, names_of, tasks_of, trained_network

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
    known = {name for task in given or () for name in names_of(task)}
    for position, entry in enumerate(listed):
        key = ('train', 'teachers', position)
        if given is not None and (unknown := [task for task in tasks_of(entry) if task not in known]):
            hints = {task: nearest_hint(task, known) for task in unknown}
            options.add(
                (*key, 'tasks'),
                f'no sample of the training data has the task {", ".join(map(repr, unknown))}',
                ' '.join(filter(None, hints.values())) or f'there are {", ".join(sorted(given))}',
            )
    for position, entry in first_of_each(listed):
        _check_weights(options, ('train', 'teachers', position), entry)


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
        other = 'choose weights of MIRAGE, or describe their network in `network:`'
        cure = 'choose weights of that network' if entry.get('network') else other
        options.add((*key, 'pretrain_network'), str(error), cure)
    except Exception as error:  # whatever a constructor objects to
        options.add((*key, 'network'), str(error) or type(error).__name__, 'choose values that fit together')


def _tasks_given(options: OptionFile) -> set[str] | None:
    """The tasks that samples of the training set are named by; None if it cannot be known from the options.

    Nor is it known where ``--only`` or ``--without`` have taken sources out, whose teachers have nothing to do then.
    """
    if options.data.get('left_out'):
        return None
    found: set[str] = set()
    for section in sources_of(options.data) or [options.section('datasets', 'train')]:
        tasks = _tasks_of_set(section)
        if tasks is None:
            return None
        found |= tasks
    return found


def _tasks_of_set(section: Mapping) -> set[str] | None:
    """None, too, where the check of the data has something to complain about."""
    kind, task = source_type(section), section.get('task')
    try:
        if kind == 'CompositeDegradationDataset':
            return set(chosen_types(section.get('types', 'all')))
        if kind == 'PairedTaskDataset':
            return {str(task or 'restore')}
        if kind == 'GaussianDenoiseDataset':
            sigma, name = section.get('sigma'), str(task or 'denoise')
            levels = sigma if isinstance(sigma, list) and len(sigma) > 1 else []
            return {f'{name}_{level:g}' for level in levels} or {name}
        if kind == 'SyntheticDegradationDataset':
            return {str(task)} if task else {entry.task for entry in parse_recipe(section.get('recipe')).entries}
    except (ValueError, TypeError):
        pass
    return None
