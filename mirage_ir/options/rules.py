"""What BasicSR itself reads from an option file, as tables: its code declares nothing that could be asked.

What our classes read is declared at the classes (`mirage_data.option`, `mirage_ir.training.switches`). Arguments of
networks, losses, metrics and schedulers are read from the signatures of the registered classes.
"""

from __future__ import annotations

from mirage_data.option import Option

_TEXT, _FLAG, _SECTION, _ANY = Option('text'), Option('flag'), Option('section'), Option('any')
_COUNT, _POSITIVE = Option('count', low=0), Option('count', low=1)
_WEIGHT = Option('number', low=0)

TOP = {
    'name': Option('text', 'name of the run and of its folder', required=True),
    'model_type': Option('text', 'MIRAGEModel, or a model of BasicSR', required=True),
    'num_gpu': Option('count', "GPUs, 'auto' for all, 0 for the CPU", low=0, choices=('auto',), required=True),
    'datasets': Option('section', 'train, val, val_1, ..., or test_1, ...: a data set each', required=True),
    'path': Option('section', 'weights and states to start from', required=True),
    'network_g': Option('section', 'type and arguments of the network'),
    'scale': Option('count', 'of super-resolution; 1 here', low=1),
    'manual_seed': Option(
        'count', 'seed of weights and samples; absent: another in every run', low=0, high=4 * 10**9, none=True
    ),
    'train': Option('section', 'losses, optimizer, schedule, switches'),
    'val': Option('section', 'how results are measured'),
    'logger': Option('section', 'logs and checkpoints'),
    'dist_params': Option('section', 'backend and port of distributed training'),
    'find_unused_parameters': Option('flag', 'of DistributedDataParallel', False),
}
PATH = {
    'pretrain_network_g': Option('text', 'weights to start from, or to test'),
    'param_key_g': Option('text', 'entry of that file', 'params'),
    'strict_load_g': Option('flag', 'whether all tensors must fit', True),
    'resume_state': Option('text', 'state to go on from; --auto_resume finds the newest'),
    'ignore_resume_networks': Option('any', 'networks that do not follow the state'),
}
TRAIN = {
    'total_iter': Option('count', 'iterations of the run', low=1, required=True),
    'warmup_iter': Option('count', 'iterations in which the rate rises', -1, low=-1),
    'ema_decay': Option(
        'number', 'weight of the past in the average of weights; 0: no average', 0, low=0, high=1, open_high=True
    ),
    'optim_g': Option('section', 'type, lr and arguments of the optimizer'),
    'scheduler': Option('section', 'type and arguments of the schedule'),
    'pixel_opt': Option('section', 'the loss on pixels'),
    'perceptual_opt': Option('section', "BasicSR's loss on features"),
}
# of the models with a discriminator; ours has none
ADVERSARIAL = {
    '': {'network_d': _SECTION},
    'path': {'pretrain_network_d': _TEXT, 'param_key_d': _TEXT, 'strict_load_d': _FLAG},
    'train': {
        'optim_d': _SECTION,
        'gan_opt': _SECTION,
        'ldl_opt': _SECTION,
        'net_d_iters': _POSITIVE,
        'net_d_init_iters': _COUNT,
    },
}
OPTIMIZER = {
    'type': Option('text', 'Adam or AdamW', required=True),
    'lr': Option('number', 'learning rate, the highest of the schedule', low=0, open_low=True, required=True),
    'weight_decay': Option('number', 'see torch.optim', low=0),
    'betas': Option('numbers', 'see torch.optim', [0.9, 0.999], low=0, high=1, open_high=True, length=2),
    'eps': Option('number', 'see torch.optim', low=0),
}
SCHEDULER = {
    'type': Option('text', required=True),
    'milestones': Option('counts', low=0),
    'gamma': _WEIGHT,
    'periods': Option('counts', low=1),
    'restart_weights': Option('numbers', low=0),
    'restarts': Option('counts', low=0),
    'eta_min': _WEIGHT,
    'warmup_iter': Option('count', low=-1),
}
VAL = {
    'val_freq': Option('count', 'iterations between validations; needed for training', low=1),
    'save_img': Option('flag', 'whether pictures are written', required=True),
    'suffix': Option('any', "end of the pictures' names; absent: the name of the run"),
    'pbar': Option('flag', 'show progress', True),
    'metrics': Option('section', 'by name, a section each: type and arguments'),
}
METRIC = {
    'type': Option('text', required=True),
    'better': Option('text', choices=('higher', 'lower')),
    'crop_border': _COUNT,
    'test_y_channel': _FLAG,
}
LOGGER = {
    'print_freq': Option('count', 'iterations between lines of the log', low=1, required=True),
    'save_checkpoint_freq': Option('count', 'iterations between checkpoints', low=1, required=True),
    'use_tb_logger': Option('flag', 'write TensorBoard events', False),
    'wandb': Option('section', 'project and resume_id of Weights & Biases'),
}
WANDB = {'project': Option('text', 'absent: no Weights & Biases'), 'resume_id': Option('any', 'run to go on with')}
LOSS = {
    'type': Option('text', required=True),
    'loss_weight': _WEIGHT,
    'perceptual_weight': _WEIGHT,
    'style_weight': _WEIGHT,
    'reduction': Option('text', choices=('mean', 'sum')),
}
# what BasicSR's data loader reads, for any data set
LOADER = {
    'name': Option('text', 'name in tables and folders', required=True),
    'type': Option('text', 'class of the data set', required=True),
    'phase': _TEXT,
    'pin_memory': Option('flag', 'faster copies to a GPU', False),
    'persistent_workers': Option('flag', 'keep workers between epochs', False),
    'prefetch_mode': Option('text', "cpu, cuda, or absent: PyTorch's own", choices=('cpu', 'cuda')),
    'num_prefetch_queue': Option('count', 'batches held ready, with prefetch_mode: cpu', 1, low=1),
}
# and for training only
TRAIN_LOADER = {
    'batch_size_per_gpu': Option('count', 'samples of a step', low=1, required=True),
    'num_worker_per_gpu': Option('count', 'processes that make samples', low=0, required=True),
    'use_shuffle': Option('flag', 'random order', True),
    'dataset_enlarge_ratio': Option('number', 'how often the set counts in an epoch', 1, low=0, open_low=True),
}
# what data sets that are not ours read, as far as several of them do
FOREIGN_DATASET = {
    'scale': _POSITIVE,
    'dataroot_gt': _ANY,
    'dataroot_lq': _ANY,
    'dataroot': _ANY,
    'meta_info_file': _ANY,
    'meta_info': _TEXT,
    'filename_tmpl': _TEXT,
    'io_backend': _SECTION,
    'gt_size': _POSITIVE,
    'use_hflip': _FLAG,
    'use_rot': _FLAG,
    'mean': Option('numbers', none=True),
    'std': Option('numbers', none=True),
    'color': _TEXT,
}
IO_BACKENDS = ('disk', 'lmdb', 'memcached')
IO_BACKEND = {'type': Option('text', 'disk or lmdb', 'disk')}

# keys without which one of BasicSR's two general data sets ends in an error
DATASET_REQUIRED = {
    'PairedImageDataset': {
        'always': ('dataroot_gt', 'dataroot_lq', 'io_backend', 'scale'),
        'train': ('gt_size', 'use_hflip', 'use_rot'),
    },
    'SingleImageDataset': {'always': ('dataroot_lq', 'io_backend'), 'train': ()},
}
# names of earlier BasicSR versions that occur in published files and that version 1.4.2 ignores without harm
RETIRED = frozenset({'strict_load', 'pretrain_model_g', 'pretrain_model_d', 'gpu_ids', 'set_CUDA_VISIBLE_DEVICES'})

# what other toolboxes, and earlier versions of BasicSR, call what is here called otherwise
CALLED_HERE = {
    'pretrain_model_g': 'pretrain_network_g',
    'strict_load': 'strict_load_g',
    'gpu_ids': 'num_gpu',
    'gpus': 'num_gpu',
    'use_grad_clip': 'grad_clip',
    'clip_grad_norm': 'grad_clip',
    'max_norm': 'grad_clip',
    'gradient_clip_val': 'grad_clip',
    'gradient_accumulation_steps': 'accumulate_grad',
    'accumulate_grad_batches': 'accumulate_grad',
    'accumulation_steps': 'accumulate_grad',
    'use_amp': 'amp',
    'fp16': 'amp',
    'mixed_precision': 'amp',
    'precision': 'amp',
    'allow_tf32': 'tf32',
    'torch_compile': 'compile',
    'use_checkpoint': 'checkpoint_blocks',
    'gradient_checkpointing': 'checkpoint_blocks',
    'ema': 'ema_decay',
    'epochs': 'total_iter',
    'num_epochs': 'total_iter',
    'max_iter': 'total_iter',
    'niter': 'total_iter',
    'learning_rate': 'lr',
    'optimizer': 'optim_g',
    'lr_scheduler': 'scheduler',
    'loss': 'pixel_opt',
    'seed': 'manual_seed',
    'random_seed': 'manual_seed',
    'batch_size': 'batch_size_per_gpu',
    'num_workers': 'num_worker_per_gpu',
    'n_workers': 'num_worker_per_gpu',
    'shuffle': 'use_shuffle',
    'patch_size': 'gt_size',
    'crop_size': 'gt_size',
    'hflip': 'use_hflip',
    'noise_level': 'sigma',
    'noise_sigma': 'sigma',
    'resume': 'resume_state',
    'checkpoint': 'pretrain_network_g',
    'weights': 'pretrain_network_g',
    'eval_freq': 'val_freq',
    'save_freq': 'save_checkpoint_freq',
    'log_freq': 'print_freq',
    'max_keep_ckpts': 'keep_checkpoints',
    'network': 'network_g',
    'x8': 'self_ensemble',
    'tta': 'self_ensemble',
}
