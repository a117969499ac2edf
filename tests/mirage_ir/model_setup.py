"""Options, made-up data and small networks for tests of `MIRAGEModel`."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch.utils.data import DataLoader, Dataset

import mirage_ir  # noqa: F401  registers everything
from mirage_ir.training.model import MIRAGEModel

NETWORK = {
    'type': 'MIRAGEArch',
    'dim': 6,
    'num_blocks': [1, 1, 1, 1],
    'num_refinement_blocks': 1,
    'heads': [1, 1, 2, 4],
}
LOSSES = {
    'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0},
    'fourier_opt': {'type': 'FourierLoss', 'loss_weight': 0.1},
    'spd_opt': {'type': 'SPDContrastiveLoss', 'loss_weight': 0.05},
}
METRICS = {'psnr': {'type': 'psnr_float'}, 'ssim': {'type': 'ssim_float'}}


def training_options(folder, *, losses=tuple(LOSSES), network=None, val=None, sets=('val',), total_iter=20, **train):
    """Options as BasicSR's parser leaves them, for training in ``folder``; keywords go under ``train``."""
    root = str(folder)
    return deepcopy(
        {
            'name': 'small',
            'model_type': 'MIRAGEModel',
            'num_gpu': 0,
            'dist': False,
            'rank': 0,
            'world_size': 1,
            'is_train': True,
            'manual_seed': 0,
            'network_g': {**NETWORK, **(network or {})},
            'path': {
                'experiments_root': root,
                'models': f'{root}/models',
                'training_states': f'{root}/training_states',
                'visualization': f'{root}/visualization',
                'pretrain_network_g': None,
                'strict_load_g': True,
            },
            'datasets': {
                'train': {'name': 'train', 'batch_size_per_gpu': 4},
                **{f'val_{number}': {'name': name} for number, name in enumerate(sets)},
            },
            'train': {
                **{name: LOSSES[name] for name in losses},
                'optim_g': {'type': 'AdamW', 'lr': 1e-3, 'weight_decay': 0.01, 'betas': [0.9, 0.999]},
                'scheduler': {'type': 'CosineWithWarmup'},
                'total_iter': total_iter,
                'warmup_iter': 2,
                **train,
            },
            'val': {'val_freq': 5, 'save_img': False, 'metrics': METRICS, **(val or {})},
            'logger': {'print_freq': 5, 'save_checkpoint_freq': 5, 'use_tb_logger': False},
        }
    )


def test_options(folder, weights=None, *, sets=('val',), val=None, network=None):
    """Options for testing; results go to ``folder``."""
    opt = training_options(folder, sets=sets, val=val, network=network)
    for key in ('train', 'logger'):
        del opt[key]
    del opt['datasets']['train']
    opt['is_train'] = False
    opt['path'] = {
        'results_root': str(folder),
        'visualization': f'{folder}/visualization',
        'pretrain_network_g': weights,
        'strict_load_g': True,
        'param_key_g': 'params_ema',
    }
    return opt


test_options.__test__ = False  # not a test, whatever its name begins with


def batch(number=0, size=4, side=32):
    """One made-up batch: ramps of colour as ground truth, noise on them as input."""
    generator = torch.Generator().manual_seed(number)
    ramp = torch.linspace(0, 1, side).expand(side, side)
    colour = torch.rand(size, 3, 1, 1, generator=generator)
    gt = (colour * ramp + (1 - colour) * ramp.T).contiguous()
    lq = (gt + 0.2 * torch.randn(gt.shape, generator=generator)).clamp(0, 1)
    return {'lq': lq, 'gt': gt, 'lq_path': [f'lq/{number}_{i}.png' for i in range(size)]}


def build(options, seed=0):
    """A model whose initial weights depend on the seed only."""
    torch.manual_seed(seed)
    return MIRAGEModel(options)


def train(model, iterations, start=0, batches=batch):
    """Runs the body of BasicSR's loop; returns the logs of all iterations."""
    logs = []
    for iteration in range(start + 1, start + iterations + 1):
        model.update_learning_rate(iteration, warmup_iter=model.opt['train'].get('warmup_iter', -1))
        model.feed_data(batches(iteration))
        model.optimize_parameters(iteration)
        logs.append(dict(model.get_current_log()))
    return logs


class PairSet(Dataset):
    """Validation pairs by path: ``items`` are (lq_path, task, (h, w)) or with ``gt=False`` without ground truth."""

    def __init__(self, items, name='val', root='/pictures', gt=True):
        self.items, self.gt = items, gt
        self.opt = {'name': name, 'dataroot_lq': root}

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        path, task, size = self.items[index]
        generator = torch.Generator().manual_seed(index)
        gt = torch.rand(3, *size, generator=generator)
        lq = (gt + 0.1 * torch.randn(gt.shape, generator=generator)).clamp(0, 1)
        return {'lq': lq, 'lq_path': path, 'task': task, **({'gt': gt, 'gt_path': path} if self.gt else {})}


def loader(dataset):
    """What BasicSR hands to ``validation``."""
    return DataLoader(dataset, batch_size=1)
