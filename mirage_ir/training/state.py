"""Checkpoints that survive any kill and bring a run back bit for bit.

BasicSR writes its files in place, keeps neither random states nor the position in the data nor the best metrics, and
goes on silently when the disk is full. Here every file is written aside, flushed and renamed; the state file, written
last, names its weight files by checksum, so that a state and weights of different moments are never combined.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import random
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.models.lr_scheduler import MultiStepRestartLR
from basicsr.utils import get_root_logger
from torch.nn.parallel import DataParallel, DistributedDataParallel

from mirage_arch.checkpoints import NOTES
from mirage_data.files.write import write_file

from .ranks import RunError, gather_on_rank_zero, is_distributed

STATE_FORMAT = 1
"""Written into every state; a reader refuses higher numbers."""

_SCHEDULER_POSITION = ('last_epoch', '_step_count', '_last_lr', 'base_lrs')


def samples_seen(opt: dict, iteration: int) -> int:
    """Return how many sample numbers of the data stream a run has used up after an iteration.

    Args:
        opt: The model's options; the runner leaves ``sample_stream`` there (the iteration and sample number it
            started from and the samples per iteration over all ranks). Without it the batch size decides.
        iteration: Iterations finished.
    """
    stream = opt.get('sample_stream')
    if stream is None:
        replicas = opt['world_size'] if opt['dist'] else max(opt['num_gpu'], 1)
        return iteration * opt['datasets']['train']['batch_size_per_gpu'] * replicas
    return stream['sample'] + (iteration - stream['iter']) * stream['batch']


def save_training_state(model, epoch: int, current_iter: int) -> None:
    """Write ``training_states/<iter>.state``; every rank calls this, rank 0 writes.

    Args:
        model: A BasicSR model; `TrainingStateMixin.save_network` has left the checksums of its weights there.
        epoch: BasicSR's epoch.
        current_iter: Iterations finished; -1, BasicSR's mark for the end of training, writes nothing.

    Raises:
        RunError: If the file cannot be written.
    """
    if current_iter == -1:
        return
    states_of_ranks = gather_on_rank_zero(random_states())
    if states_of_ranks is None:
        return
    extra_state = getattr(model, 'extra_state', None)
    state = {
        'format': STATE_FORMAT,
        'epoch': epoch,
        'iter': current_iter,
        'samples_seen': samples_seen(model.opt, current_iter),
        'manual_seed': model.opt['manual_seed'],
        'total_iter': model.opt['train']['total_iter'],
        'optimizers': [optimizer.state_dict() for optimizer in model.optimizers],
        'parameters': _parameter_names(model),
        'schedulers': [_position(scheduler.state_dict()) for scheduler in model.schedulers],
        'random': states_of_ranks,
        'best_metric_results': getattr(model, 'best_metric_results', {}),
        'weights': getattr(model, 'saved_weights', {}).get(current_iter, {}),
        'extra': extra_state() if extra_state else {},
        'options': getattr(model, 'recorded_options', None),
        'samples': getattr(model, 'recorded_samples', None),
        'notes': getattr(model, 'data_notes', []),
    }
    atomic_torch_save(_plain(state), os.path.join(model.opt['path']['training_states'], f'{current_iter}.state'))
    keep = model.opt['logger'].get('keep_checkpoints')
    if keep:
        remove_old_checkpoints(model.opt['path'], keep, _best_iterations(model))


def _position(scheduler_state: dict[str, Any]) -> dict[str, Any]:
    return {key: scheduler_state[key] for key in _SCHEDULER_POSITION if key in scheduler_state}


def _plain(value: Any) -> Any:
    """Turn numpy values into python ones and tensors: a state must be readable without running code from it."""
    if isinstance(value, dict):
        return {_plain(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    return value.item() if isinstance(value, np.generic) else value


def _best_iterations(model) -> set[int]:
    records = getattr(model, 'best_metric_results', {}).values()
    return {metric['iter'] for record in records for metric in record.values()}


def remove_old_checkpoints(paths: dict[str, str], keep: int, spare: Set[int] = frozenset()) -> None:
    """Delete all but the newest states and the weights that belong to deleted states.

    Args:
        paths: The folders ``training_states`` and ``models``.
        keep: Number of states that stay.
        spare: Iterations whose weights stay although their state goes: the best of a metric so far.
    """
    states = [path for path in state_files(paths['training_states']) if os.path.isfile(path)]
    for path in states[keep:]:
        os.remove(path)  # before its weights: a kill in between leaves weights without a state, which harm nobody
    kept = {iteration_of(path) for path in states[:keep]} | spare
    for weights in weight_files(paths['models']):
        if iteration_of(weights) not in kept:
            os.remove(weights)


def iteration_of(path: str) -> int:
    """The iteration that the name of a state or weights file says; -1 for a file that we have not named."""
    label = Path(path).stem.rpartition('_')[2]
    return int(label) if label.isascii() and label.isdecimal() and str(int(label)) == label else -1


def state_files(folder: str | Path) -> list[str]:
    """Return the state files of a folder, newest iteration first; an absent folder has none."""
    if not os.path.isdir(folder):
        return []
    paths = [os.path.join(os.path.abspath(folder), name) for name in os.listdir(folder) if name.endswith('.state')]
    ours = [path for path in paths if iteration_of(path) >= 0 and '_' not in os.path.basename(path)]
    return sorted(ours, key=iteration_of, reverse=True)


def weight_files(folder: str | Path) -> list[str]:
    """Return the weights of iterations in a folder, those of ``latest`` not among them."""
    paths = [str(path) for path in Path(folder).glob('net_*.pth')]
    return [path for path in paths if iteration_of(path) >= 0]


def restore_training_state(model, state: dict[str, Any]) -> None:
    """Put optimizers, schedulers, records and random generators of a model back to a saved moment.

    A scheduler gets back its position only, so that its shape follows the options: a changed ``total_iter`` counts.
    Likewise an optimizer gets back its moments, and its rate in proportion; whatever else is set follows the options.

    Args:
        model: The model, its weights already loaded.
        state: Content of a state file.

    Raises:
        RunError: If the state belongs to a model with other optimizers.
    """
    for kind, own in (('optimizers', model.optimizers), ('schedulers', model.schedulers)):
        if len(state[kind]) != len(own):
            raise RunError(f'The training state holds {len(state[kind])} {kind}, these options build {len(own)}.')
    names = _parameter_names(model)
    before = state.get('parameters') or names
    for optimizer, saved, own_names, saved_names in zip(model.optimizers, state['optimizers'], names, before):
        try:
            _restore_optimizer(optimizer, _by_name(saved, optimizer, own_names, saved_names))
        except (KeyError, ValueError) as error:
            raise RunError(
                f'The training state does not fit the optimizer of these options ({error}). Resume with the options '
                'the run was started with, or start a new run from its weights (path: pretrain_network_g).'
            ) from error
    record = getattr(model, 'recorded_options', None)
    if any(_follows_another(scheduler, state, record) for scheduler in model.schedulers):
        _play(model, state['iter'])
    for scheduler, saved in zip(model.schedulers, state['schedulers']):
        base_lrs = [group['initial_lr'] for group in scheduler.optimizer.param_groups]
        scheduler.load_state_dict(_position({**saved, 'base_lrs': base_lrs}))
    if state.get('best_metric_results'):
        model.best_metric_results = state['best_metric_results']
    if state.get('extra') and hasattr(model, 'load_extra_state'):
        model.load_extra_state(state['extra'])
    rank = torch.distributed.get_rank() if is_distributed() else 0
    saved_states = state.get('random', [])
    if rank < len(saved_states):
        set_random_states(saved_states[rank])
    else:  # a rank the saved run did not have, or a state of plain BasicSR
        from basicsr.utils import set_random_seed

        seeds = np.random.SeedSequence([model.opt['manual_seed'], rank, state['iter']])
        set_random_seed(int(seeds.generate_state(1)[0]))


def _parameter_names(model) -> list[list[str]]:
    """The names of the parameters of each optimizer, in its order; empty ones for what belongs to no network."""
    networks = {label: part for label, part in vars(model).items() if isinstance(part, torch.nn.Module)}
    names = {
        id(parameter): f'{label}.{name}'
        for label, network in networks.items()
        for name, parameter in _bare(network).named_parameters()
    }
    return [
        [names.get(id(parameter), '') for group in optimizer.param_groups for parameter in group['params']]
        for optimizer in model.optimizers
    ]


def _by_name(
    saved: dict[str, Any], optimizer: torch.optim.Optimizer, names: Sequence[str], saved_names: Sequence[str]
) -> dict[str, Any]:
    """The saved state of an optimizer as one of the parameters that there are now.

    Parts of a network that serve a loss (the contrastive heads) come and go with it.
    """
    if list(names) == list(saved_names) or '' in names:
        return saved
    saved_numbers = [number for group in saved['param_groups'] for number in group['params']]
    number_of = dict(zip(saved_names, saved_numbers, strict=True))
    own_groups = optimizer.state_dict()['param_groups']
    if len(own_groups) != len(saved['param_groups']):
        return saved
    own_numbers = [number for group in own_groups for number in group['params']]
    entries = {
        number: saved['state'][number_of[name]]
        for number, name in zip(own_numbers, names, strict=True)
        if number_of.get(name) in saved['state']
    }
    if fresh := [name for name in names if name not in number_of]:
        get_root_logger().warning(f'{len(fresh)} tensors that the state does not have begin anew: {", ".join(fresh)}')
    groups = [{**group, 'params': own['params']} for group, own in zip(saved['param_groups'], own_groups, strict=True)]
    return {'state': entries, 'param_groups': groups}


def _restore_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Load moments and the rate, in proportion to a changed peak; all other settings are those of the options."""
    fresh = [{key: value for key, value in group.items() if key != 'params'} for group in optimizer.param_groups]
    if len(fresh) != len(saved['param_groups']):
        raise ValueError(f'{len(saved["param_groups"])} groups of parameters were saved, there are {len(fresh)}')
    groups = []
    for own, group in zip(fresh, saved['param_groups']):
        peak = own.get('initial_lr', own['lr'])
        before = group.get('initial_lr', peak)
        rate = group['lr'] if before == peak else group['lr'] * peak / before if before else peak
        groups.append({**group, **own, 'lr': rate, 'initial_lr': peak})
    optimizer.load_state_dict({'state': saved['state'], 'param_groups': groups})
    for parameter, entries in optimizer.state.items():  # fused kernels go through memory as it lies
        for key, value in entries.items():
            if torch.is_tensor(value) and value.shape == parameter.shape and value.stride() != parameter.stride():
                entries[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    for group in optimizer.param_groups:
        for parameter in group['params'] if group.get('amsgrad') else []:
            entries = optimizer.state.get(parameter, {})
            if 'exp_avg_sq' in entries and 'max_exp_avg_sq' not in entries:  # it was switched on just now
                entries['max_exp_avg_sq'] = entries['exp_avg_sq'].clone()


def _follows_another(scheduler, state: dict[str, Any], recorded: str | None) -> bool:
    """Whether the saved rate is another schedule's, where the next one is made from it and not from a formula."""
    if not isinstance(scheduler, MultiStepRestartLR):
        return False
    before = state.get('options')
    if before and recorded:
        old, new = json.loads(before)['train'], json.loads(recorded)['train']
        return any(old.get(key) != new.get(key) for key in ('scheduler', 'warmup_iter'))
    return any(group['lr'] == 0 < group['initial_lr'] for group in scheduler.optimizer.param_groups)


def _play(model, iteration: int) -> None:
    """Go through the schedules from their beginning, warm-up included, for the rates that they have by now."""
    with warnings.catch_warnings():  # that no step of the optimizer lies between
        warnings.simplefilter('ignore')
        for scheduler in model.schedulers:
            for group in scheduler.optimizer.param_groups:
                group['lr'] = group['initial_lr']
            scheduler.last_epoch = -1
            scheduler.step()
        for passed in range(1, iteration + 1):
            model.update_learning_rate(passed, model.opt['train'].get('warmup_iter', -1))


def _bare(net: torch.nn.Module) -> torch.nn.Module:
    return net.module if isinstance(net, (DataParallel, DistributedDataParallel)) else net


class TrainingStateMixin:
    """Saving and resuming for a BasicSR model: list it before the BasicSR class it replaces methods of."""

    opt: dict[str, Any]  # of BasicSR's class

    def save_network(self, net, net_label: str, current_iter: int, param_key='params') -> None:
        """Save one network or several into ``models/<net_label>_<iter>.pth``, atomically, on rank 0.

        Args:
            net: A network or a list of networks.
            net_label: Beginning of the file's name, such as ``net_g``.
            current_iter: Iterations finished; -1 stands for ``latest``.
            param_key: The key of the network in the file, or one per network.

        Raises:
            RunError: If the file cannot be written.
        """
        if is_distributed() and torch.distributed.get_rank() != 0:
            return
        nets = net if isinstance(net, list) else [net]
        keys = param_key if isinstance(param_key, list) else [param_key]
        content: dict[str, Any] = {}
        for one, key in zip(nets, keys, strict=True):
            weights = _bare(one).state_dict()
            content[key] = {name.removeprefix('module.'): value.cpu() for name, value in weights.items()}
        if notes := getattr(self, 'data_notes', None):
            content[NOTES] = list(notes)
        label = 'latest' if current_iter == -1 else current_iter
        file_name = f'{net_label}_{label}.pth'
        checksum = atomic_torch_save(content, os.path.join(self.opt['path']['models'], file_name))
        # only this iteration's: the state that follows names the files it belongs to
        self.saved_weights = {current_iter: {**getattr(self, 'saved_weights', {}).get(current_iter, {})}}
        self.saved_weights[current_iter][file_name] = checksum

    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Save everything but the weights; see `save_training_state`."""
        save_training_state(self, epoch, current_iter)

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Continue from a loaded state; see `restore_training_state`."""
        restore_training_state(self, resume_state)


_HOPELESS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR}


def atomic_torch_save(obj: Any, path: str, *, attempts: int = 3) -> str:
    """Save an object so that `path` holds either its old content or all of the new one, at every instant.

    Args:
        obj: What `torch.save` accepts.
        path: Target file; its folder is made if it is missing.
        attempts: How often to try when the error may pass (a network file system that is away for a second).

    Returns:
        The SHA-256 of the file, in hexadecimal.

    Raises:
        RunError: If the file cannot be written; names the file, the cause and the cure.
    """
    buffer = io.BytesIO()  # a file object, not a name: torch writes the name into the file, and bytes would differ
    torch.save(obj, buffer)
    data = buffer.getbuffer()
    while True:
        attempts -= 1
        try:
            write_file(path, data, durable=True)
            return hashlib.sha256(data).hexdigest()
        except OSError as error:
            if attempts < 1 or error.errno in _HOPELESS:
                raise RunError(_describe_failure(path, len(data), error)) from error
            get_root_logger().warning(f'Saving {path} failed ({error}); trying again.')
            time.sleep(1.0)


def _describe_failure(path: str, size: int, error: OSError) -> str:
    message = f'Cannot save {path}: {error.strerror or error}.'
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        folder = os.path.dirname(os.path.abspath(path))
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        free = shutil.disk_usage(folder).free
        message += (
            f' The file needs {size / 1e6:.1f} MB, {free / 1e6:.1f} MB are free. Free some space, save less often '
            '(logger: save_checkpoint_freq) or keep fewer (logger: keep_checkpoints).'
        )
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        message += ' The folder is read-only for this user: give it write permission.'
    return message + ' Everything saved before is intact: continue with the same command and --auto_resume.'


@contextmanager
def untouched_random_state() -> Iterator[None]:
    """Puts the global random states of torch (all devices), numpy and python back at the end of the block.

    A validation inside draws what it likes; the training around it is the same with and without the validation.
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


def random_states() -> dict[str, Any]:
    """Return the states of all global random generators of this process, as plain data and tensors."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    version, internal, gauss = random.getstate()
    return {
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        'numpy': [kind, keys.tolist(), position, has_gauss, cached],
        'python': [version, list(internal), gauss],
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Put the generators into states that `random_states` returned.

    Args:
        states: Its result; CUDA states are left out where the number of devices differs.
    """
    torch.set_rng_state(states['torch'].cpu())
    if torch.cuda.is_available() and len(states['cuda']) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([state.cpu() for state in states['cuda']])
    kind, keys, position, has_gauss, cached = states['numpy']
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    version, internal, gauss = states['python']
    random.setstate((version, tuple(internal), gauss))
