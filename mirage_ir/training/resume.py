"""Finding the state a run continues from.

BasicSR looks below the current directory (so a run that is resumed from elsewhere is archived and started again),
takes the newest file whatever is in it, needs CUDA to read it, and expects the weights in the folder of the new name.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from basicsr.utils import get_root_logger

from mirage_arch.checkpoints import torch_file_fault

from .ranks import RunError, rank_zero_decides
from .state import STATE_FORMAT, iteration_of, state_files, weight_files

_NEEDED = ('epoch', 'iter', 'optimizers', 'schedulers')


class UnreadableStateError(RunError):
    """One state file cannot be used; the message says which and why."""


def load_resume_state(opt: dict) -> dict[str, Any] | None:
    """Return the state to continue from and point `opt` to its weights; stands in for BasicSR's function.

    With ``auto_resume`` it is the newest usable state of the experiment's folder, else the one that
    ``path: resume_state`` names: a state file, or an experiment folder, whose newest usable state is taken.

    Args:
        opt: BasicSR's options; ``path`` receives the weight files, ``manual_seed`` the saved one if none was given.

    Returns:
        The state, or None if the run starts anew.

    Raises:
        RunError: If there are states but none can be used, or the one to use is beyond ``total_iter``. Nothing is
            archived or started over then.
    """
    found = rank_zero_decides(lambda: _find(opt))
    if found is None:
        return None
    path, warnings = found
    if opt['rank'] == 0:
        for warning in warnings:
            print(f'WARNING: {warning}', file=sys.stderr, flush=True)
    state = read_state(path)
    _refuse_beyond_end(opt, path, state['iter'])
    _point_to_weights(opt, path, state['iter'])
    return state


def _refuse_beyond_end(opt: Mapping, path: str, iteration: int) -> None:
    total = (opt.get('train') or {}).get('total_iter')
    if total is None or iteration <= total:
        return
    earlier = next((p for p in state_files(os.path.dirname(path)) if iteration_of(p) <= total), None)
    way = f', or go on from an earlier state (path: resume_state: {earlier})' if earlier else ''
    raise RunError(
        f'train: total_iter is {total:,}, but the state {path} is of iteration {iteration:,}: nothing is left to '
        f'train, and nothing was changed. Its weights are in {models_folder(path)}. Raise total_iter{way}.'
    )


def _find(opt: dict) -> tuple[str, list[str]] | None:
    """Return the path of the state to use and the warnings about those passed over."""
    named = opt['path'].get('resume_state')
    own = opt['path']['training_states']
    if opt['auto_resume'] and state_files(own):
        folder = own
    elif not named:
        if opt['auto_resume']:
            _refuse_foreign_names(own)
        return None
    elif os.path.isfile(named):
        return os.path.abspath(named), _other_iteration(named, read_state(named))
    else:
        folder = os.path.join(named, 'training_states') if not named.rstrip('/').endswith('training_states') else named
    if os.path.realpath(folder) == os.path.realpath(own):  # another's may be being written
        _remove_parts(folder)
    files = state_files(folder)
    if not files:
        raise RunError(
            f'path: resume_state: found no state in {named}. Name a file '
            'experiments/<name>/training_states/<iter>.state, or an experiment folder that holds such files.'
        )
    warnings: list[str] = []
    for path in files:
        try:
            state = read_state(path)
        except UnreadableStateError as error:
            warnings.append(str(error))
            continue
        return path, warnings + _other_iteration(path, state)
    causes = '\n  '.join(warnings)
    raise RunError(
        f'None of the {len(files)} training states in {folder} can be used:\n  {causes}\n'
        'Nothing was changed. To start over and keep this folder under another name, run again with --fresh; to train '
        'on from weights alone, name them in path: pretrain_network_g.'
    )


def _refuse_foreign_names(folder: str) -> None:
    names = sorted(name for name in os.listdir(folder) if name.endswith('.state')) if os.path.isdir(folder) else []
    if names:
        raise RunError(
            f'{folder} holds {", ".join(names)}: no state that --auto_resume knows, whose names are iterations '
            '(12000.state). Nothing was changed. Name one in path: resume_state, or rename it; --fresh starts over '
            'and keeps this folder under another name.'
        )


def _other_iteration(path: str, state: Mapping[str, Any]) -> list[str]:
    """A warning about a state that was renamed."""
    if iteration_of(path) in (-1, state['iter']):
        return []
    return [f'{path} is, whatever its name says, of iteration {state["iter"]:,}; the run goes on from there.']


def set_aside_later(paths: Mapping[str, str], iteration: int) -> str:
    """Move states later than the one that a run goes on from, and their weights, out of its way.

    They are damaged, or of a past that is left. Where they stay, the next --auto_resume takes them for this run's, and
    ``keep_checkpoints`` keeps them instead of its own.

    Args:
        paths: Of the run: ``experiments_root``, ``training_states``, ``models``.
        iteration: Where it goes on.

    Returns:
        The folder that they are in now; empty if there are none.
    """
    states = [path for path in state_files(paths['training_states']) if iteration_of(path) > iteration]
    if not states:
        return ''
    folder = os.path.join(paths['experiments_root'], f'set_aside_after_{iteration}_{time.strftime("%Y%m%d_%H%M%S")}')
    weights = [path for path in weight_files(paths['models']) if iteration_of(path) > iteration]
    for name, files in (('training_states', states), ('models', weights)):
        os.makedirs(os.path.join(folder, name), exist_ok=True)
        for path in files:
            os.replace(path, os.path.join(folder, name, os.path.basename(path)))
    for table in ('validation.csv', 'tasks.csv'):  # whose later lines will be replaced
        if os.path.isfile(source := os.path.join(paths['experiments_root'], table)):
            shutil.copy2(source, folder)
    return folder


def _remove_parts(states_folder: str) -> None:
    """Delete what a kill left half written; the names of finished files never end like this."""
    models = os.path.join(os.path.dirname(os.path.abspath(states_folder)), 'models')
    for folder in (states_folder, models):
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            if name.endswith('.part'):
                os.remove(os.path.join(folder, name))


def read_state(path: str) -> dict[str, Any]:
    """Read a state file, on the CPU and without running code from it, and check that its weights are there.

    Args:
        path: The state file. Its weights are looked for in ``../models``.

    Returns:
        The state as `save_training_state` or BasicSR wrote it.

    Raises:
        UnreadableStateError: If it is empty, cut short, no training state, of a future version, or if its weight files
            are missing or were changed after it.
    """
    try:
        if os.path.getsize(path) == 0:
            raise UnreadableStateError(f'{path} is empty: its writing was interrupted.')
        fault = torch_file_fault(path)
    except OSError as error:
        raise UnreadableStateError(f'{path} cannot be read: {error.strerror}.') from error
    if fault:
        raise UnreadableStateError(f'{path} cannot be read: {fault}.')
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:
        cause = str(error).strip().split('. ')[0].splitlines() or [type(error).__name__]
        raise UnreadableStateError(f'{path} cannot be read: damaged, or no state file ({cause[0]}).') from error
    missing = [key for key in _NEEDED if not isinstance(state, dict) or key not in state]
    if missing:
        raise UnreadableStateError(
            f'{path} is no training state: it lacks {", ".join(missing)}. States end in .state and lie in '
            'experiments/<name>/training_states; weights belong to path: pretrain_network_g.'
        )
    if not isinstance(state['iter'], int) or state['iter'] < 0:
        raise UnreadableStateError(f'{path} is no training state: its iteration is {state["iter"]!r}.')
    if state.get('format', 0) > STATE_FORMAT:
        raise UnreadableStateError(
            f'{path} was written by a newer version (format {state["format"]}, this one reads up to {STATE_FORMAT}): '
            'update this project.'
        )
    models = models_folder(path)
    for name, checksum in state.get('weights', {}).items():
        weights = os.path.join(models, name)
        if not os.path.isfile(weights):
            raise UnreadableStateError(f'{path} has no weights: {weights} is missing.')
        with open(weights, 'rb') as file:
            if hashlib.sha256(file.read()).hexdigest() != checksum:
                raise UnreadableStateError(f'{path} does not belong to {weights}: damaged, or written at another time.')
    return state


def models_folder(state_path: str) -> str:
    """Return the folder of the weights that belong to a state, wherever the experiment was copied to."""
    return os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(state_path))), 'models')


def _point_to_weights(opt: dict, state_path: str, iteration: int) -> None:
    """Let the model load the weights that belong to the state, all of them."""
    opt['path']['resume_state'] = state_path
    ignored = opt['path'].get('ignore_resume_networks') or []
    for network in [key for key in opt if key.startswith('network_')]:
        label = network.removeprefix('network_')
        if network in ignored:
            continue
        weights = os.path.join(models_folder(state_path), f'net_{label}_{iteration}.pth')
        if not os.path.isfile(weights):
            raise RunError(f'{state_path} has no weights: {weights} is missing.')
        opt['path'][f'pretrain_{network}'] = weights
        opt['path'][f'param_key_{label}'] = 'params'
        opt['path'][f'strict_load_{label}'] = True


_SECTIONS = ('model_type', 'num_gpu', 'manual_seed', 'deterministic', 'datasets', 'path', 'train', 'val', 'logger')
_ADDED = ('phase',)  # keys that BasicSR puts into the sections by itself

_NOTES = {
    'manual_seed': 'the order of samples follows it; the random generators go on as they were saved',
    'path:pretrain': 'not used: the weights are those of the state. For others start a run without --auto_resume',
    'path:': 'not used: the weights are those of the state',
    'train:optim_g:type': 'with the moments that were saved',
    'train:scheduler': 'the rate is that of the new schedule at this iteration',
    'train:spd_opt': 'heads that are new begin untrained',
    'datasets:train:batch_size_per_gpu': 'samples and iterations are counted on from where they were',
    'network_': 'the weights of the state must fit',
}


class Change(NamedTuple):
    """An option with its value in the state and its value now; `ABSENT` stands for none."""

    key: str
    before: Any
    now: Any


ABSENT = 'not given'


def recorded(opt: Mapping[str, Any]) -> str:
    """What a state keeps of the options: JSON of everything that can change what a run does.

    Args:
        opt: Options as BasicSR's parser leaves them.
    """
    kept = {key: value for key, value in opt.items() if key in _SECTIONS or str(key).startswith('network_')}
    of_weights = ('pretrain', 'param_key', 'strict')
    kept['path'] = {key: value for key, value in opt['path'].items() if key.startswith(of_weights)}
    added = (*_ADDED, 'scale') if 'scale' in opt else _ADDED
    kept['datasets'] = {
        phase: {key: value for key, value in section.items() if key not in added}
        for phase, section in (opt.get('datasets') or {}).items()
    }
    return json.dumps(kept, default=str)


def changes(before: str, now: str, seed: int | None = None) -> list[Change]:
    """What differs between two records of `recorded`, in the order of the newer one.

    Args:
        before: The older record.
        now: The newer one.
        seed: That of the state, which is the seed of options that name none.
    """
    pair = json.loads(before), json.loads(now)
    for record in pair if seed is not None else ():
        if record.get('manual_seed') is None:
            record['manual_seed'] = seed
    found = _align_sources(*pair)
    old, new = dict(_flat(pair[0])), dict(_flat(pair[1]))
    keys = [*new, *(key for key in old if key not in new)]
    both = (Change(key, old.get(key, ABSENT), new.get(key, ABSENT)) for key in keys)
    # a key that is absent and one without a value are the same to every reader
    return found + [change for change in both if _bare(change.before) != _bare(change.now)]


def _align_sources(old: dict, new: dict) -> list[Change]:
    """Bring the older sources into the newer order, in place, so that each is compared with itself.

    Returns:
        One change that says which there were and are, where that differs.
    """
    sources = [(record.get('datasets') or {}).get('train', {}).get('sources') for record in (old, new)]
    if not all(isinstance(rows, list) and all(isinstance(row, dict) for row in rows) for rows in sources):
        return []
    names = [[str(row.get('task') or row.get('name') or row.get('type')) for row in rows] for rows in sources]
    if names[0] == names[1]:
        return []
    left = list(zip(names[0], sources[0]))
    rows = []
    for name, row in zip(names[1], sources[1]):
        match = next((pair for pair in left if pair[0] == name), None)
        if match:
            left.remove(match)
        rows.append(match[1] if match else row)
    old['datasets']['train']['sources'] = rows
    return [Change('datasets:train:sources', *(', '.join(of_record) or 'none' for of_record in names))]


def changed_counts(before: Mapping[str, int] | None, now: Mapping[str, int]) -> list[Change]:
    """Sources that have another number of samples than when the state was saved, as `count_samples` gave them."""
    both = ((name, (before or {}).get(name, count), count) for name, count in now.items())
    return [Change(f'samples of {name}', *counts) for name, *counts in both if counts[0] != counts[1]]


def count_samples(dataset: Any) -> dict[str, int]:
    """Number of samples by the source of a training set; a second one of the same task is `task (2)`."""
    if not hasattr(dataset, 'ratios'):
        return {str(dataset.opt.get('task') or dataset.opt.get('name')): len(dataset)}
    found: dict[str, int] = {}
    for row in dataset.ratios():
        name, number = row['task'], 1
        while name in found:
            number += 1
            name = f'{row["task"]} ({number})'
        found[name] = row['images']
    return found


def take_up_changes(model: Any, state: Mapping[str, Any], datasets: Mapping[str, Any]) -> None:
    """Tell, in the log, what differs from when the state was saved, and let records begin anew where they must.

    Args:
        model: With what it will record: ``recorded_options``, ``recorded_samples``.
        state: What the run goes on from.
        datasets: The section of the options.
    """
    before = state.get('options')
    changed = changes(before, model.recorded_options, state.get('manual_seed')) if before else []
    changed += changed_counts(state.get('samples'), model.recorded_samples)
    if changed:
        get_root_logger().warning(describe(changed, state['iter']))
    if dropped := forget_records(getattr(model, 'best_metric_results', {}), changed, datasets):
        get_root_logger().info(f'Measured otherwise from here on, so these begin anew: best {", ".join(dropped)}')


_MEASURED_ALIKE = ('name', 'num_worker_per_gpu', 'batch_size_per_gpu', 'io_backend', 'pin_memory', 'prefetch_mode')


def forget_records(records: dict[str, dict], changed: list[Change], datasets: Mapping[str, Any]) -> list[str]:
    """Drop, in place, best figures that those of now cannot be compared with: of changed pictures or measuring.

    Args:
        records: Best figures by data set and metric, as BasicSR keeps them.
        changed: What differs from the options of the state.
        datasets: The section of the options.

    Returns:
        What was dropped, for the log.
    """
    dropped = []
    for change in changed:
        section, _, rest = change.key.partition(':')
        part, _, key = rest.partition(':')
        name = str((datasets.get(part) or {}).get('name'))
        if section == 'datasets' and part != 'train' and key.split(':')[0] not in _MEASURED_ALIKE:
            wanted = [(name, metric) for metric in records.get(name, {})]
        elif section == 'val' and part in ('crop_multiple', 'self_ensemble', 'protocol'):
            wanted = [(dataset, metric) for dataset, record in records.items() for metric in record]
        elif section == 'val' and part == 'metrics':
            wanted = [(dataset, key.split(':')[0]) for dataset in records]
        else:
            continue
        for dataset, metric in wanted:
            if records.get(dataset, {}).pop(metric, None):
                dropped.append(f'{metric} of {dataset}')
    for dataset in [dataset for dataset, record in records.items() if not record]:
        del records[dataset]
    return dropped


def describe(changed: list[Change], iteration: int) -> str:
    """The changes as one message for the log."""
    lines = [f'Options that differ from those of the state of iteration {iteration:,}; they hold from here on:']
    for change in changed:
        note = next((text for start, text in _NOTES.items() if change.key.startswith(start)), '') or _note(change)
        lines.append(f'  {change.key}: {change.before} -> {change.now}' + (f' ({note})' if note else ''))
    return '\n'.join(lines)


def _note(change: Change) -> str:
    """What a change means that depends on its values."""
    if change.key == 'train:ema_decay':
        if not _given(change.now):
            return 'no average from here on'
        return '' if _given(change.before) else 'the average begins with the weights of the state'
    if change.key == 'train:amp' and change.now == 'fp16':
        return 'the scaling of float16 begins anew'
    if change.key.startswith('samples of '):
        return 'the order of samples is another from here on'
    return ''


def _given(value: Any) -> bool:
    return bool(value) and value != ABSENT


def _bare(value: Any) -> Any:
    return ABSENT if value is None else value


def _flat(value: Any, key: str = '') -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and (value or not key):
        for name, part in value.items():
            yield from _flat(part, f'{key}:{name}' if key else name)
    elif isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        for number, part in enumerate(value):
            yield from _flat(part, f'{key}:{number}')
    else:
        yield key, value
