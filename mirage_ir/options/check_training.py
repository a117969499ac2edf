"""Pre-flight of what drives a run: optimizer, scheduler, losses, validation, logging, GPUs and disk space."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.models import lr_scheduler as basicsr_schedulers
from basicsr.models.base_model import BaseModel
from basicsr.utils.registry import LOSS_REGISTRY, METRIC_REGISTRY
from torch import nn

from mirage_ir.measuring.metrics import require_available
from mirage_ir.measuring.protocols import TAKEN_COLUMNS
from mirage_ir.training import schedulers as own_schedulers
from mirage_ir.training.losses import OWN_NAMES, compares_images, loss_name
from mirage_ir.training.precision import COMPILE_CURE, COMPILE_NEEDS_TORCHRUN

from . import rules as schema
from .check_teachers import check_teachers
from .file import OptionFile, nearest_hint
from .names import (
    check_arguments,
    check_rules,
    check_section,
    check_type,
    check_unknown,
    is_ours,
    words_of_derived,
)
from .places import argument_options, declared_for

_BYTES_PER_VALUE = 4
_MIB = 2**20
_ONE_PIXEL = 8  # side of a crop that the network's deepest level, or any smaller one, sees as one pixel
_COMPARING = ('pixel', 'fourier', 'perceptual')


def check_train(options: OptionFile, model: Any) -> None:
    """The ``train`` section: kinds and ranges, optimizers, scheduler, losses."""
    if not options.section('train'):
        options.add(('train',), 'missing', 'add a `train:` section with total_iter, optim_g, scheduler and losses')
        return
    ours = is_ours(model)
    if ours:
        check_section(options, ('train',), declared_for(model)['train'], '`train:`', also=words_of_derived(model))
    else:
        rules = {**schema.TRAIN, **schema.ADVERSARIAL['train']}
        check_rules(options, ('train',), rules)
        check_unknown(options, ('train',), rules, [] if model is None else [model])
    if not options.section('train').get('optim_g') and model is not None:
        options.add(('train', 'optim_g'), 'missing', 'add `optim_g:` with type and lr')
    for name, section in options.section('train').items():
        if str(name).startswith('optim_') and isinstance(section, Mapping):
            _check_optimizer(options, ('train', name), model)
        elif str(name).endswith('_opt') and isinstance(section, Mapping):
            _check_loss(options, ('train', name), ours)
        elif name == 'losses' and ours and isinstance(section, list):
            for position in range(len(section)):
                _check_loss(options, ('train', name, position), ours)
            _check_loss_names(options, section)
    if ours:
        check_teachers(options)
    _check_scheduler(options, model)
    listed = options.section('train').get('losses')
    if ours and not listed and not any(options.section('train', f'{name}_opt') for name in _COMPARING):
        options.add(
            ('train',), 'no loss compares the output with the ground truth', 'add `pixel_opt:` with `type: L1Loss`'
        )


def _check_optimizer(options: OptionFile, key: tuple, model: Any) -> None:
    check_rules(options, key, schema.OPTIMIZER)
    name = options.section(*key).get('type')
    own_choice = getattr(model, 'get_optimizer', None) is not BaseModel.get_optimizer
    allowed = ('Adam', 'AdamW') if is_ours(model) else ('Adam',)
    if isinstance(name, str) and name not in allowed and (is_ours(model) or not own_choice):
        options.add((*key, 'type'), f'no optimizer {name!r} here', f'allowed are {", ".join(allowed)}')
    elif isinstance(name, str) and hasattr(torch.optim, name):
        check_arguments(options, key, getattr(torch.optim, name), given=('params',), here='`train: optim_g:`')


def _check_loss(options: OptionFile, key: tuple, ours: bool) -> None:
    loss = check_type(options, key, LOSS_REGISTRY, 'loss')
    check_rules(options, key, schema.LOSS)
    if loss is not None:
        beside = ('type', 'name') if key[1] == 'losses' else ('type',)
        check_arguments(options, key, loss, beside=beside, here=f'a loss of `type: {loss.__name__}`')
        fault = compares_images(loss) if getattr(loss, 'COMPARES', 'images') == 'images' else None
        if ours and key[1] in ('losses', 'pixel_opt') and fault:
            options.add((*key, 'type'), fault, 'choose a loss of pictures such as L1Loss, MSELoss or CharbonnierLoss')
    if is_ours(loss):
        check_rules(options, key, {name: argument_options(loss)[name] for name in getattr(loss, 'OPTIONS', {})})
    if is_ours(loss) and loss.__name__ == 'SPDContrastiveLoss':
        batch = options.section('datasets', 'train').get('batch_size_per_gpu')
        parts = options.section('train').get('accumulate_grad') or 1
        if batch == parts and int(os.environ.get('WORLD_SIZE', 1)) == 1:
            found = 'the batch has one' if parts == 1 else f'accumulate_grad: {parts} leaves one in each part of it'
            options.add(
                key,
                f'contrasts the samples of a batch with each other, and {found}',
                'raise datasets:train:batch_size_per_gpu, or remove this loss',
            )
        side = options.section('datasets', 'train').get('gt_size')
        compared = options.section('network_g').get('contrast', 'spd')
        if isinstance(side, int) and side <= _ONE_PIXEL and compared == 'spd':
            options.add(
                ('datasets', 'train', 'gt_size'),
                f'crops of {side} pixels are one pixel at the deepest level, and {":".join(key)} compares covariances',
                f'crops of more than {_ONE_PIXEL} pixels, or remove that loss',
            )


def _check_loss_names(options: OptionFile, listed: list) -> None:
    entries = [(position, loss_name(entry)) for position, entry in enumerate(listed) if isinstance(entry, Mapping)]
    for position, name in entries:
        if name in OWN_NAMES or name in [other for earlier, other in entries if earlier < position]:
            options.add(
                ('train', 'losses', position),
                f'the name {name!r} is taken, by which losses are logged',
                'give this loss a `name:` of its own',
            )


def _check_scheduler(options: OptionFile, model: Any) -> None:
    key = ('train', 'scheduler')
    section = options.section(*key)
    if not section:
        if model is not None:
            options.add(key, 'missing', 'add `scheduler:` with `type: MultiStepLR` and milestones, or another type')
        return
    check_rules(options, key, schema.SCHEDULER)
    name = section.get('type')
    known = {
        'MultiStepLR': basicsr_schedulers.MultiStepRestartLR,
        'MultiStepRestartLR': basicsr_schedulers.MultiStepRestartLR,
        'CosineAnnealingRestartLR': basicsr_schedulers.CosineAnnealingRestartLR,
    }
    if is_ours(model):
        known['CosineWithWarmup'] = own_schedulers.CosineWithWarmup
    overrides = getattr(model, 'setup_schedulers', None) is not BaseModel.setup_schedulers
    if isinstance(name, str) and name in known:
        _check_scheduler_arguments(options, key, known[name])
    elif isinstance(name, str) and (is_ours(model) or not overrides):
        options.add(
            (*key, 'type'),
            f'no scheduler {name!r} here',
            nearest_hint(name, known) or f'allowed are {", ".join(known)}',
        )


def _check_scheduler_arguments(options: OptionFile, key: tuple, scheduler: type) -> None:
    section = options.section(*key)
    train = options.section('train')
    total = train.get('total_iter')
    total = total if isinstance(total, (int, float)) and not isinstance(total, bool) else None
    if scheduler is own_schedulers.CosineWithWarmup:  # the model passes the length of the run
        check_arguments(
            options,
            key,
            scheduler,
            given=('optimizer', 'last_epoch'),
            filled=('total_iter',),
            here='`train: scheduler:`',
        )
        warmup = section.get('warmup_iter', train.get('warmup_iter', 0))
        if total is not None and isinstance(warmup, (int, float)) and warmup >= total:
            where = (*key, 'warmup_iter') if 'warmup_iter' in section else ('train', 'warmup_iter')
            options.add(
                where,
                f'the warm-up of {warmup:g} iterations does not end before the run of {total:g}',
                'shorten warmup_iter or raise total_iter',
            )
        length = section.get('total_iter')
        if total is not None and isinstance(length, (int, float)) and length < total and not section.get('eta_min'):
            options.add(
                (*key, 'total_iter'),
                f'the schedule ends after {length:g} iterations and the run after {total:g}, the rest of it at rate 0',
                'leave it out, which means the length of the run',
            )
        low, high = section.get('eta_min'), options.section('train', 'optim_g').get('lr')
        if isinstance(low, (int, float)) and isinstance(high, (int, float)) and low > high:
            options.add((*key, 'eta_min'), f'{low:g} is above the rate it falls from, optim_g:lr: {high:g}', 'lower it')
        return
    if not check_arguments(options, key, scheduler, given=('optimizer', 'last_epoch')):
        return
    for first, second, default in (('periods', 'restart_weights', (1,)), ('restarts', 'restart_weights', (1,))):
        values = section.get(first)
        weights = section.get(second, default)
        if isinstance(values, list) and isinstance(weights, (list, tuple)) and len(values) != len(weights):
            options.add(
                (*key, second),
                f'{len(weights)} values beside {len(values)} {first}',
                f'give one value for each of {first}',
            )
    periods = section.get('periods')
    if (
        isinstance(periods, list)
        and total is not None
        and all(isinstance(p, (int, float)) for p in periods)
        and sum(periods) < total - 1
    ):
        options.add(
            (*key, 'periods'),
            f'the periods end after {sum(periods):g} iterations and the run after {total:g}',
            f'make the periods add up to total_iter, e.g. [{total:g}]',
        )


def check_val(options: OptionFile, model: Any, is_train: bool) -> None:
    """The ``val`` section and its metrics."""
    val = options.section('val')
    if not val:
        if not is_train:
            options.add(('val',), 'missing', 'add `val:` with save_img, suffix and metrics')
        return
    ours = is_ours(model)
    if ours:
        check_section(options, ('val',), declared_for(model)['val'], '`val:`', also=words_of_derived(model))
    else:
        check_rules(options, ('val',), schema.VAL)
        check_unknown(options, ('val',), schema.VAL, [] if model is None else [model])
    if is_train and 'val_freq' not in val:
        options.add(('val', 'val_freq'), 'missing', 'add `val_freq:` with a number of iterations')
    if not is_train and not ours and val.get('save_img') is True and 'suffix' not in val:
        options.add(
            ('val', 'suffix'),
            'missing, and BasicSR needs it to name the pictures',
            'add `suffix: ~` to use the name of the run',
        )
    for name, section in options.section('val', 'metrics').items():
        if not isinstance(section, Mapping):
            options.add(('val', 'metrics', name), f'found {section}', 'write a section with `type: calculate_psnr`')
            continue
        key = ('val', 'metrics', name)
        metric = check_type(options, key, METRIC_REGISTRY, 'metric')
        check_rules(options, key, schema.METRIC)
        if name in TAKEN_COLUMNS:
            options.add(key, 'tables of results have a column of this name', 'call the metric otherwise')
        if metric is not None:
            declared = argument_options(metric)
            check_rules(
                options, key, {n: rule for n, rule in declared.items() if is_ours(metric) or rule.kind == 'flag'}
            )
            check_arguments(
                options,
                key,
                metric,
                given=('img', 'img2', 'img1'),
                beside=('type', 'better'),
                here='a metric of `val: metrics:`',
            )
            try:
                require_available(str(section.get('type')), section.get('net', 'alex'))
            except ValueError as error:
                options.add((*key, 'type'), 'cannot be computed here', str(error))


def check_logger(options: OptionFile, model: Any, networks: Mapping[str, nn.Module]) -> None:
    """The ``logger`` section, and whether its checkpoints fit on the disk."""
    if not options.section('logger'):
        options.add(('logger',), 'missing', 'add `logger:` with print_freq and save_checkpoint_freq')
        return
    logger = declared_for(model if is_ours(model) else None)['logger']
    if is_ours(model):
        check_section(options, ('logger',), logger, '`logger:`', also=words_of_derived(model))
    else:
        check_rules(options, ('logger',), logger)
        check_unknown(options, ('logger',), logger, [])
    name = str(options.data.get('name', ''))
    if options.section('logger', 'wandb').get('project') and 'debug' not in name:
        if options.section('logger').get('use_tb_logger') is not True:
            options.add(
                ('logger', 'use_tb_logger'),
                'wandb is fed by TensorBoard, which is off',
                'set use_tb_logger: true, or wandb:project to ~',
            )
        if importlib.util.find_spec('wandb') is None:
            options.add(
                ('logger', 'wandb', 'project'),
                'the package wandb is not installed',
                'pip install wandb, or set project to ~',
            )
    _check_disk(options, networks, options.root / 'experiments' / name)


def _check_disk(options: OptionFile, networks: Mapping[str, nn.Module], folder: Path) -> None:
    """Weights, their moving average and two moments of Adam for every checkpoint that is still to come."""
    total, every = options.section('train').get('total_iter'), options.section('logger').get('save_checkpoint_freq')
    if not isinstance(total, (int, float)) or not isinstance(every, (int, float)):
        return
    if not networks or min(total, every) < 1:
        return
    assert total and every
    values = sum(p.numel() for net in networks.values() for p in net.parameters())
    copies = 4 if options.section('train').get('ema_decay') else 3
    kept = options.section('logger').get('keep_checkpoints')
    done = len(list((folder / 'training_states').glob('*.state'))) if folder.is_dir() else 0
    count = max(int(total // every) - done, 0) + 1
    count = min(count, kept + 1) if isinstance(kept, int) else count
    needed = values * _BYTES_PER_VALUE * copies * count
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if needed > free:
        options.add(
            ('logger', 'save_checkpoint_freq'),
            f'{count} checkpoints take about {needed / _MIB:,.0f} MiB, and {there} has {free / _MIB:,.0f} MiB free',
            'save less often, keep only the last ones (logger:keep_checkpoints), or free some space',
        )


def check_machine(options: OptionFile, launcher: str) -> None:
    """GPUs asked for against GPUs present."""
    wanted, present = options.data.get('num_gpu'), torch.cuda.device_count()
    if launcher == 'none' and isinstance(wanted, int) and wanted > present:
        cure = 'set num_gpu: auto, or 0 for the CPU' if not present else f'set num_gpu to at most {present}, or auto'
        options.add(('num_gpu',), f'asks for {wanted}, and PyTorch sees {present or "no GPU"}', cure)
    used = present if wanted == 'auto' else wanted if isinstance(wanted, int) else 0
    if launcher == 'none' and used > 1 and options.section('train').get('compile'):
        options.add(('train', 'compile'), COMPILE_NEEDS_TORCHRUN, COMPILE_CURE)
    per_node = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    if launcher == 'pytorch' and present and per_node > present:
        options.add(
            (),
            f'{per_node} processes on this machine share {present} GPUs',
            f'start torchrun with --nproc_per_node={present}',
        )
