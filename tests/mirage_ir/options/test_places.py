"""Keys that nothing reads where they stand, misplaced, misspelt or of other toolboxes, are told where they belong."""

import ast
import inspect
import textwrap

import pytest
import yaml
from basicsr.utils.registry import DATASET_REGISTRY
from test_check_options import MIRAGE, project  # noqa: F401  a fixture

from mirage_data import TaskDataset
from mirage_data.option import options_of
from mirage_ir.options.places import declared_for, hint
from mirage_ir.training.model import MIRAGEModel

TOP, TRAIN, VAL, LOGGER, PATH = (), ('train',), ('val',), ('logger',), ('path',)
MIXED, PAIRED, NOISE = ('datasets', 'train'), ('datasets', 'val_1'), ('datasets', 'train', 'sources', 0)
OPTIM, SCHEDULER, NETWORK = ('train', 'optim_g'), ('train', 'scheduler'), ('network_g',)
METRIC = ('val', 'metrics', 'psnr')
PIXEL, SPD, BACKEND = ('train', 'pixel_opt'), ('train', 'spd_opt'), ('datasets', 'val_1', 'io_backend')

# section, key, value, what the cure must say
TRIED = [
    # in the wrong section
    (TOP, 'amp', 'bf16', '`train:`'),
    (TOP, 'ema_decay', 0.9, '`train:`'),
    (TOP, 'grad_clip', 1.0, '`train:`'),
    (TOP, 'accumulate_grad', 2, '`train:`'),
    (TOP, 'total_iter', 100, '`train:`'),
    (TOP, 'optim_g', {}, '`train:`'),
    (TOP, 'pixel_opt', {}, '`train:`'),
    (TOP, 'val_freq', 10, '`val:`'),
    (TOP, 'metrics', {}, '`val:`'),
    (TOP, 'print_freq', 10, '`logger:`'),
    (TOP, 'resume_state', 'a.state', '`path:`'),
    (TOP, 'pretrain_network_g', 'a.pth', '`path:`'),
    (TOP, 'gt_size', 64, 'data set'),
    (TOP, 'batch_size_per_gpu', 2, '`datasets: train:`'),
    (TOP, 'sources', [], 'MixedDegradationDataset'),
    (TOP, 'dim', 32, '`network_g:`'),
    (TRAIN, 'lr', 1e-3, '`train: optim_g:`'),
    (TRAIN, 'weight_decay', 0.1, '`train: optim_g:`'),
    (TRAIN, 'betas', [0.9, 0.99], '`train: optim_g:`'),
    (TRAIN, 'eta_min', 0, '`train: scheduler:`'),
    (TRAIN, 'milestones', [5], '`train: scheduler:`'),
    (TRAIN, 'batch_size_per_gpu', 2, '`datasets: train:`'),
    (TRAIN, 'num_worker_per_gpu', 2, '`datasets: train:`'),
    (TRAIN, 'gt_size', 64, 'data set'),
    (TRAIN, 'manual_seed', 1, 'the top level'),
    (TRAIN, 'num_gpu', 1, 'the top level'),
    (TRAIN, 'val_freq', 10, '`val:`'),
    (TRAIN, 'save_checkpoint_freq', 10, '`logger:`'),
    (TRAIN, 'loss_weight', 1.0, 'a loss of'),
    (TRAIN, 'temperature', 0.1, '`type: SPDContrastiveLoss`'),
    (TRAIN, 'dim', 32, '`network_g:`'),
    (VAL, 'psnr', {'type': 'psnr_float'}, '`val: metrics:`'),
    (VAL, 'lpips', {'type': 'lpips'}, '`val: metrics:`'),
    (VAL, 'keep_checkpoints', 2, '`logger:`'),
    (VAL, 'print_freq', 10, '`logger:`'),
    (VAL, 'test_y_channel', True, 'a metric of `val: metrics:`'),
    (VAL, 'channel', 'y', 'a metric of `val: metrics:`'),
    (VAL, 'crop_border', 4, 'a metric of `val: metrics:`'),
    (VAL, 'total_iter', 10, '`train:`'),
    (VAL, 'amp', 'bf16', '`train:`'),
    (LOGGER, 'val_freq', 10, '`val:`'),
    (LOGGER, 'save_img', True, '`val:`'),
    (LOGGER, 'total_iter', 10, '`train:`'),
    (LOGGER, 'project', 'mine', '`logger: wandb:`'),
    (PATH, 'dataroot_gt', 'photos', 'data set'),
    (PATH, 'ema_decay', 0.9, '`train:`'),
    (MIXED, 'lr', 1e-3, '`train: optim_g:`'),
    (MIXED, 'repeat', 2, 'a source of a MixedDegradationDataset'),
    (MIXED, 'total_iter', 9, '`train:`'),
    (PAIRED, 'sigma', 25, '`type: GaussianDenoiseDataset`'),
    (PAIRED, 'repeat', 2, 'CompositeDegradationDataset'),
    (PAIRED, 'recipe', [], '`type: SyntheticDegradationDataset`'),
    (PAIRED, 'types', 'all', '`type: CompositeDegradationDataset`'),
    (PAIRED, 'share', 0.5, 'a source of a MixedDegradationDataset'),
    (PAIRED, 'batch_size_per_gpu', 2, '`datasets: train:`'),
    (PAIRED, 'crop_border', 2, 'a metric'),
    (NOISE, 'pairing', 'same_name', '`type: PairedTaskDataset`'),
    (NOISE, 'batch_size_per_gpu', 2, '`datasets: train:`'),
    (NOISE, 'density', 0.2, '`recipe:`'),
    (OPTIM, 'total_iter', 10, '`train:`'),
    (OPTIM, 'grad_clip', 1.0, '`train:`'),
    (SCHEDULER, 'ema_decay', 0.9, '`train:`'),
    (NETWORK, 'lr', 0.1, '`train: optim_g:`'),
    (METRIC, 'val_freq', 10, '`val:`'),
    (PIXEL, 'temperature', 0.1, '`type: SPDContrastiveLoss`'),
    (SPD, 'lr', 0.1, '`train: optim_g:`'),
    (BACKEND, 'gt_size', 32, 'data set'),
    # misspelt
    (TOP, 'manual_sead', 1, '`manual_seed`'),
    (TOP, 'grad_clp', 1.0, '`grad_clip`, which belongs in `train:`'),
    (TRAIN, 'ema_dekay', 0.9, '`ema_decay`'),
    (TRAIN, 'chanels_last', True, '`channels_last`'),
    (TRAIN, 'acumulate_grad', 2, '`accumulate_grad`'),
    (VAL, 'crop_multipel', 16, '`crop_multiple`'),
    (VAL, 'input_metric', True, '`input_metrics`'),
    (LOGGER, 'keep_checkpoint', 2, '`keep_checkpoints`'),
    (PATH, 'param_key', 'params', '`param_key_g`'),
    (MIXED, 'use_hflips', True, '`use_hflip`'),
    (PAIRED, 'paring', 'same_name', '`pairing`'),
    (NOISE, 'repeats', 2, '`repeat`'),
    (OPTIM, 'weigth_decay', 0.1, '`weight_decay`'),
    (SPD, 'temprature', 0.1, '`temperature`'),
    # of other toolboxes
    (TOP, 'seed', 1, '`manual_seed`'),
    (TOP, 'gpu_ids', [0], '`num_gpu`'),
    (TOP, 'batch_size', 8, '`batch_size_per_gpu` here and belongs in `datasets: train:`'),
    (TOP, 'epochs', 5, '`total_iter` here and belongs in `train:`'),
    (TRAIN, 'niter', 10, '`total_iter`'),
    (TRAIN, 'use_grad_clip', True, '`grad_clip`'),
    (TRAIN, 'mixed_precision', 'bf16', '`amp`'),
    (TRAIN, 'learning_rate', 0.1, '`lr` here and belongs in `train: optim_g:`'),
    (TRAIN, 'lr_scheduler', {}, '`scheduler`'),
    (PATH, 'pretrain_model_g', 'a.pth', '`pretrain_network_g`'),
    (PATH, 'strict_load', True, '`strict_load_g`'),
    (MIXED, 'patch_size', 64, '`gt_size`'),
    (MIXED, 'num_workers', 2, '`num_worker_per_gpu`'),
    (NOISE, 'noise_level', 25, '`sigma`'),
    (LOGGER, 'save_freq', 100, '`save_checkpoint_freq`'),
    (VAL, 'tta', True, '`self_ensemble`'),
    (TRAIN, 'mixing_augs', {}, 'allowed are'),
    (TRAIN, 'gan_opt', {'type': 'GANLoss'}, 'allowed are'),
]


def put(section, key, value):
    options = yaml.safe_load(MIRAGE)
    place = options
    for part in section:
        place = place.setdefault(part, {}) if isinstance(place, dict) else place[part]
    if key in (
        'niter',
        'save_freq',
        'pretrain_model_g',
        'strict_load',
        'lr_scheduler',
        'num_workers',
        'patch_size',
        'noise_level',
        'weigth_decay',
        'temprature',
    ):
        place.pop(
            {
                'niter': 'total_iter',
                'save_freq': 'save_checkpoint_freq',
                'lr_scheduler': 'scheduler',
                'pretrain_model_g': 'pretrain_network_g',
                'strict_load': 'strict_load_g',
                'patch_size': 'gt_size',
                'num_workers': 'num_worker_per_gpu',
                'noise_level': 'sigma',
                'weigth_decay': 'weight_decay',
            }.get(key),
            None,
        )
    place[key] = value
    return yaml.safe_dump(options, sort_keys=False)


@pytest.mark.parametrize(
    'section, key, value, cure', TRIED, ids=[':'.join(map(str, [*section, key])) for section, key, *_ in TRIED]
)
def test_a_key_that_nothing_reads_here_is_told_where_it_belongs(project, section, key, value, cure):  # noqa: F811
    named = ':'.join(map(str, [*section, key]))
    found = [problem for problem in project(put(section, key, value)) if problem.key == named]
    assert len(found) == 1, [str(problem) for problem in project(put(section, key, value))]
    assert cure in found[0].cure
    assert f'{key}:' in put(section, key, value).splitlines()[found[0].line - 1]


def test_there_are_enough_of_them():
    assert len(TRIED) >= 60


def test_comments_as_keys_are_left_alone(project):  # noqa: F811
    assert project(put(TRAIN, 'x-note', 'mine')) == [] and project(put(TOP, '_base', 1)) == []


def test_foreign_classes_are_taken_leniently(project):  # noqa: F811
    text = MIRAGE.replace('MIRAGEModel', 'SRModel').replace('AdamW', 'Adam')
    assert not [problem for problem in project(text + 'something_of_theirs: 1\n') if 'something' in problem.key]


def read_keys(function) -> set[str]:
    """Names that are taken from ``opt`` in a function or class: ``opt.get('x')``, ``opt['x']``, helpers with them."""
    found = set()
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        words = []
        if isinstance(node, ast.Call) and node.args:
            name = ast.unparse(node.func)
            if name in ('opt.get', 'self.opt.get'):
                words = node.args[:1]
            elif name == '_whole':
                words = node.args[1:2]
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) in ('opt', 'self.opt'):
            words = [node.slice]
        found |= {word.value for word in words if isinstance(word, ast.Constant) and isinstance(word.value, str)}
    return found


@pytest.mark.parametrize(
    'kind', [kind for _, kind in DATASET_REGISTRY if issubclass(kind, TaskDataset)], ids=lambda kind: kind.__name__
)
def test_a_data_set_declares_what_it_reads(kind):
    read = set().union(*(read_keys(base) for base in kind.__mro__ if base.__module__.startswith('mirage_data')))
    assert read, 'the search itself must find something'
    assert read <= {*options_of(kind), 'phase', 'dataroot'}, 'declare it in OPTIONS of the class'


def test_the_model_declares_its_switches():
    sections = declared_for(MIRAGEModel)
    assert {'total_iter', 'grad_clip', 'losses'} <= set(sections['train']) and 'keep_checkpoints' in sections['logger']


def test_no_hint_for_what_is_like_nothing():
    assert hint('qqqqqq', '`train:`', ['amp']) == ''
