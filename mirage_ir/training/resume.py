"""Finding the state a run continues from.

BasicSR looks below the current directory (so a run that is resumed from elsewhere is archived and started again),
takes the newest file whatever is in it, needs CUDA to read it, and expects the weights in the folder of the new name.
"""

import hashlib
import os
import sys
from typing import Any

import torch

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


def state_files(folder: str) -> list[str]:
    """Return the state files of a folder, newest iteration first; an absent folder has none."""
    if not os.path.isdir(folder):
        return []
    stems = [name[: -len('.state')] for name in os.listdir(folder) if name.endswith('.state')]
    iterations = sorted((int(stem) for stem in stems if stem.isdigit()), reverse=True)
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
