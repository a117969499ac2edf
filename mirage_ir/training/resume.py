"""Finding the state a run continues from.

BasicSR looks below the current directory (so a run that is resumed from elsewhere is archived and started again),
takes the newest file whatever is in it, needs CUDA to read it, and expects the weights in the folder of the new name.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mirage_arch.checkpoints import torch_file_fault

from .ranks import RunError, rank_zero_decides
from .state import STATE_FORMAT

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
        RunError: If there are states but none can be used. Nothing is archived or started over then.
    """
    found = rank_zero_decides(lambda: _find(opt))
    if found is None:
        return None
    path, warnings = found
    if opt['rank'] == 0:
        for warning in warnings:
            print(f'WARNING: {warning}', file=sys.stderr, flush=True)
    state = read_state(path)
    _point_to_weights(opt, path, state['iter'])
    return state


def _find(opt: dict) -> tuple[str, list[str]] | None:
    """Return the path of the state to use and the warnings about those passed over."""
    named = opt['path'].get('resume_state')
    if opt['auto_resume'] and state_files(opt['path']['training_states']):
        folder = opt['path']['training_states']
    elif not named:
        return None
    elif os.path.isfile(named):
        read_state(named)
        return os.path.abspath(named), []
    else:
        folder = os.path.join(named, 'training_states') if not named.rstrip('/').endswith('training_states') else named
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
            read_state(path)
        except UnreadableStateError as error:
            warnings.append(str(error))
            continue
        return path, warnings
    causes = '\n  '.join(warnings)
    raise RunError(
        f'None of the {len(files)} training states in {folder} can be used:\n  {causes}\n'
        'Nothing was changed. To start over and keep this folder under another name, run again with --fresh; to train '
        'on from weights alone, name them in path: pretrain_network_g.'
    )


def state_files(folder: str | Path) -> list[str]:
    """Return the state files of a folder, newest iteration first; an absent folder has none."""
    if not os.path.isdir(folder):
        return []
    stems = [name[: -len('.state')] for name in os.listdir(folder) if name.endswith('.state')]
    iterations = sorted((int(stem) for stem in stems if stem.isdecimal()), reverse=True)
    return [os.path.join(os.path.abspath(folder), f'{iteration}.state') for iteration in iterations]


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
    if os.path.getsize(path) == 0:
        raise UnreadableStateError(f'{path} is empty: its writing was interrupted.')
    if fault := torch_file_fault(path):
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
    'train:ema_decay': 'an average that is new begins with the weights of the state',
    'train:amp': 'the scaling of float16 begins anew',
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


def changes(before: str, now: str) -> list[Change]:
    """What differs between two records of `recorded`, in the order of the newer one."""
    old, new = dict(_flat(json.loads(before))), dict(_flat(json.loads(now)))
    keys = [*new, *(key for key in old if key not in new)]
    pairs = ((key, old.get(key, ABSENT), new.get(key, ABSENT)) for key in keys)
    # a key that is absent and one without a value are the same to every reader
    return [Change(*pair) for pair in pairs if _bare(pair[1]) != _bare(pair[2])]


def describe(changed: list[Change], iteration: int) -> str:
    """The changes as one message for the log."""
    lines = [f'Options that differ from those of the state of iteration {iteration:,}; they hold from here on:']
    for change in changed:
        note = next((text for start, text in _NOTES.items() if change.key.startswith(start)), '')
        lines.append(f'  {change.key}: {change.before} -> {change.now}' + (f' ({note})' if note else ''))
    return '\n'.join(lines)


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
