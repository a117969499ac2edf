"""What BasicSR and MIRAGE read from an option file: names, kinds and ranges, as tables.

The tables hold what cannot be found out from the code itself. Arguments of networks, losses, metrics and
schedulers are not here: they are read from the signatures of the registered classes, which cannot go stale.
"""
from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mirage_losses.spd_contrastive_loss import SIMILARITIES


@dataclass(frozen=True)
class Rule:
    """What a value must be.

    Args:
        kind: 'text', 'flag', 'count' (a whole number, also written 5e3), 'number', 'numbers' (list), 'counts'
            (list), 'number or numbers', 'section', 'sections' (list of sections), 'any'.
        low: Smallest allowed number.
        high: Largest allowed number.
        open_low: Whether ``low`` itself is excluded.
        length: How many values a list must have; 0 for any number.
        choices: Allowed words, if only some are. For a numeric kind they are allowed beside the numbers.
        required: Whether the key must be there.
        none: Whether ``~`` may stand for "not set"; by default not for numbers, with which somebody calculates.
    """

    kind: str
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    length: int = 0
    choices: tuple[Any, ...] = ()
    required: bool = False
    none: bool | None = None

    def fault(self, value: Any) -> str | None:
        """What was found in place of an allowed value, in words; None if ``value`` is allowed."""
        if value is None:
            allowed = not self.kind.startswith(('count', 'number')) if self.none is None else self.none
            return None if allowed and not self.required else 'found nothing'
        if self.choices and any(type(value) is type(c) and value == c for c in self.choices):
            return None
        if self._fits(value):
            return None
        return f'found {_shown(value)}'

    def allowed(self) -> str:
        """The allowed values in words."""
        words = ', '.join(str(c) for c in self.choices)
        if self.kind == 'text':
            return f'one of {words}' if words else 'a text'
        plain = {'flag': 'true or false', 'section': 'a section of its own keys', 'any': 'anything',
                 'sections': 'a list of sections, each starting with a dash'}
        if self.kind in plain:
            return ' or '.join(part for part in (plain[self.kind], words) if part)
        noun = {'count': 'a whole number', 'number': 'a number', 'counts': 'a list of whole numbers',
                'numbers': 'a list of numbers', 'number or numbers': 'a number or a list of numbers'}[self.kind]
        bounds = [f'({self.length} of them)'] if self.length else []
        if self.low > -math.inf:
            bounds.append(f'{"above" if self.open_low else "of at least"} {self.low:g}')
        if self.high < math.inf:
            bounds.append(f'{"and " if self.low > -math.inf else ""}at most {self.high:g}')
        return ' '.join([noun, *bounds]) + (f', or {words}' if words else '')

    def _fits(self, value: Any) -> bool:
        if self.kind == 'any':
            return True
        if self.kind == 'text':
            return not self.choices and isinstance(value, str)
        if self.kind == 'flag':
            return isinstance(value, bool)
        if self.kind == 'section':
            return isinstance(value, Mapping)
        if self.kind == 'sections':
            return isinstance(value, (list, tuple)) and all(isinstance(v, Mapping) for v in value)
        whole = self.kind.startswith('count')
        if self.kind.endswith('s') and isinstance(value, (list, tuple)):
            right_length = not self.length or len(value) == self.length
            return right_length and all(self._is_number(v, whole) for v in value)
        return self.kind in ('count', 'number', 'number or numbers') and self._is_number(value, whole)

    def _is_number(self, value: Any, whole: bool) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return False
        if whole and value != int(value):
            return False
        return (value > self.low if self.open_low else value >= self.low) and value <= self.high


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return f'{"the text " if isinstance(value, str) else ""}{text if len(text) < 60 else text[:57] + "..."}'


_TEXT, _FLAG, _SECTION, _ANY = Rule('text'), Rule('flag'), Rule('section'), Rule('any')
_COUNT, _POSITIVE = Rule('count', low=0), Rule('count', low=1)
_WEIGHT = Rule('number', low=0)
_SHARE = Rule('number', low=0, high=1)

TOP = {
    'name': Rule('text', required=True), 'model_type': Rule('text', required=True),
    'num_gpu': Rule('count', low=0, choices=('auto',), required=True), 'datasets': Rule('section', required=True),
    'path': Rule('section', required=True), 'network_g': _SECTION, 'network_d': _SECTION, 'scale': _POSITIVE,
    'manual_seed': Rule('count', low=0, none=True), 'train': _SECTION, 'val': _SECTION, 'logger': _SECTION,
    'dist_params': _SECTION, 'find_unused_parameters': _FLAG, 'deterministic': _FLAG,
}

PATH = {
    'pretrain_network_g': _TEXT, 'param_key_g': _TEXT, 'strict_load_g': _FLAG, 'pretrain_network_d': _TEXT,
    'param_key_d': _TEXT, 'strict_load_d': _FLAG, 'resume_state': _TEXT, 'ignore_resume_networks': _ANY,
}

TRAIN = {
    'total_iter': Rule('count', low=1, required=True), 'warmup_iter': Rule('count', low=-1), 'ema_decay': _SHARE,
    'optim_g': _SECTION, 'optim_d': _SECTION, 'scheduler': _SECTION, 'pixel_opt': _SECTION,
    'perceptual_opt': _SECTION, 'gan_opt': _SECTION, 'ldl_opt': _SECTION, 'net_d_iters': _POSITIVE,
    'net_d_init_iters': _COUNT,
}

# keys that MIRAGEModel adds to BasicSR's
MIRAGE_TRAIN = {
    'fourier_opt': _SECTION, 'spd_opt': _SECTION, 'amp': Rule('text', choices=('off', 'bf16', 'fp16', False)),
    'channels_last': _FLAG, 'compile': _FLAG, 'checkpoint_blocks': _FLAG, 'sync_bn': _FLAG,
    'freeze_bn': _FLAG, 'tf32': _FLAG,
    'accumulate_grad': Rule('count', low=1, none=True), 'grad_clip': Rule('number', low=0, none=True),
}

OPTIMIZER = {
    'type': Rule('text', required=True), 'lr': Rule('number', low=0, required=True),
    'weight_decay': _WEIGHT, 'betas': Rule('numbers', low=0, high=1, length=2), 'eps': Rule('number', low=0),
}

SCHEDULER = {
    'type': Rule('text', required=True), 'milestones': Rule('counts', low=0), 'gamma': _WEIGHT,
    'periods': Rule('counts', low=1), 'restart_weights': Rule('numbers', low=0), 'restarts': Rule('counts', low=0),
    'eta_min': _WEIGHT, 'warmup_iter': Rule('count', low=-1),
}

VAL = {
    'val_freq': Rule('count', low=1), 'save_img': Rule('flag', required=True), 'suffix': _ANY, 'pbar': _FLAG,
    'metrics': _SECTION, 'crop_multiple': Rule('count', low=0, none=True), 'self_ensemble': _FLAG,
    'input_metrics': _FLAG,
}

METRIC = {'type': Rule('text', required=True), 'better': Rule('text', choices=('higher', 'lower')),
          'crop_border': _COUNT, 'test_y_channel': _FLAG, 'channel': Rule('text', choices=('rgb', 'y'))}

LOGGER = {
    'print_freq': Rule('count', low=1, required=True), 'save_checkpoint_freq': Rule('count', low=1, required=True),
    'use_tb_logger': _FLAG, 'wandb': _SECTION, 'keep_checkpoints': Rule('count', low=1, none=True),
}

LOSS = {'type': Rule('text', required=True), 'loss_weight': _WEIGHT, 'perceptual_weight': _WEIGHT,
        'style_weight': _WEIGHT, 'temperature': Rule('number', low=0, open_low=True),
        'reduction': Rule('text', choices=('none', 'mean', 'sum')), 'symmetric': _FLAG}

# of `SPDContrastiveLoss`
SPD_LOSS = {'similarity': Rule('text', choices=SIMILARITIES),
            'shrinkage': Rule('number', low=0, high=1, open_low=True)}

# what the data loader of BasicSR reads, for any data set; training only where it says so
DATASET = {
    'name': Rule('text', required=True), 'type': Rule('text', required=True), 'scale': _POSITIVE, 'phase': _TEXT,
    'dataroot_gt': _ANY, 'dataroot_lq': _ANY, 'dataroot': _ANY, 'meta_info_file': _ANY, 'meta_info': _TEXT,
    'filename_tmpl': _TEXT, 'io_backend': _SECTION, 'gt_size': _POSITIVE, 'use_hflip': _FLAG, 'use_rot': _FLAG,
    'mean': Rule('numbers', none=True), 'std': Rule('numbers', none=True), 'color': _TEXT, 'use_shuffle': _FLAG,
    'num_worker_per_gpu': _COUNT, 'batch_size_per_gpu': _POSITIVE,
    'dataset_enlarge_ratio': Rule('number', low=0, open_low=True), 'pin_memory': _FLAG, 'persistent_workers': _FLAG,
    'prefetch_mode': Rule('text', choices=('cpu', 'cuda')), 'num_prefetch_queue': _POSITIVE,
}

TRAIN_LOADER = ('batch_size_per_gpu', 'num_worker_per_gpu')

IO_BACKENDS = ('disk', 'lmdb', 'memcached')

# keys of the data sets of mirage_data; a source of a mixed set has the same ones
MIRAGE_DATASET = {
    'task': _TEXT, 'sources': Rule('sections'), 'pairing': _ANY, 'crop_multiple': _POSITIVE,
    'augment': Rule('text', choices=('flips', 'dihedral7')), 'on_error': Rule('text', choices=('raise', 'skip')),
    'sigma': Rule('number or numbers', low=0, high=255), 'noise_stream': Rule('numbers', low=0, high=255),
    'resize': _ANY, 'tone': _SECTION, 'surround': _SECTION, 'grey': Rule('number', low=0, high=1),
    'noise_order': Rule('text', choices=('per_file', 'authors')), 'recipe': _ANY, 'types': _ANY,
    'manual_seed': Rule('count', low=0, none=True), 'recursive': _FLAG, 'repeat': _POSITIVE,
    'share': Rule('number', low=0, open_low=True), 'epoch_length': _POSITIVE, 'quantize': _FLAG,
    'return_record': _FLAG,
}

# keys without which a data set ends in an error; of BasicSR's own, the two general ones
DATASET_REQUIRED = {
    'PairedImageDataset': {'always': ('dataroot_gt', 'dataroot_lq', 'io_backend', 'scale'),
                           'train': ('gt_size', 'use_hflip', 'use_rot')},
    'SingleImageDataset': {'always': ('dataroot_lq', 'io_backend'), 'train': ()},
    'MixedDegradationDataset': {'always': ('sources',), 'train': ('gt_size',)},
    'PairedTaskDataset': {'always': ('dataroot_lq',), 'train': ('gt_size',)},
    'GaussianDenoiseDataset': {'always': ('dataroot_gt', 'sigma'), 'train': ('gt_size',)},
    'CompositeDegradationDataset': {'always': ('dataroot',), 'train': ('gt_size',)},
    'SyntheticDegradationDataset': {'always': ('dataroot_gt', 'recipe'), 'train': ('gt_size',)},
}

# names of earlier BasicSR versions that occur in published files and that version 1.4.2 ignores without harm
RETIRED = frozenset({'strict_load', 'pretrain_model_g', 'pretrain_model_d', 'gpu_ids', 'set_CUDA_VISIBLE_DEVICES'})
