"""Repairs that let BasicSR 1.4.2 run on current packages. Import this before anything imports ``basicsr``.

BasicSR's files are never edited: each function below replaces one thing in the imported modules, and its docstring
says why. The repairs are applied once per process, when this module is imported; a spawned DataLoader worker applies
them again because the launchers import `mirage_ir` at their top. Nothing here imports another package of the project,
and nothing imports ``basicsr.train``, so this also works in the middle of a foreign BasicSR's own start-up.
"""

import ctypes
import functools
import importlib.util
import logging
import os
import random
import secrets
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

DIST_TIMEOUT_SECONDS = 1800
"""A collective that waits longer than this ends the run; ``MIRAGE_DIST_TIMEOUT`` (seconds) overrides it."""

WORKER_GRACE_SECONDS = 20
"""A DataLoader worker that is told to end (SIGTERM) while it is still needed ends this much later."""


_PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>


def alias_functional_tensor() -> None:
    """``basicsr.data.degradations`` imports a torchvision module that was removed: ``import basicsr`` fails."""
    name = 'torchvision.transforms.functional_tensor'
    if name in sys.modules or importlib.util.find_spec(name) is not None:
        return
    from torchvision.transforms import functional

    module = types.ModuleType(name)
    vars(module)['rgb_to_grayscale'] = functional.rgb_to_grayscale
    sys.modules[name] = module


def forget_failed_import() -> None:
    """An import of BasicSR that failed before the alias existed leaves submodules without their package."""
    if 'basicsr' not in sys.modules:
        for name in [name for name in sys.modules if name.startswith('basicsr.')]:
            del sys.modules[name]


def _replace_everywhere(old: object, new: object) -> None:
    """Put `new` wherever a BasicSR module holds `old`, since they import one another's functions by name."""
    for name, module in list(sys.modules.items()):
        if module is not None and (name == 'basicsr' or name.startswith('basicsr.')):
            for key, value in list(vars(module).items()):
                if value is old:
                    setattr(module, key, new)


class LauncherError(ValueError):
    """A ``--launcher`` that is unknown, or whose program (torchrun, srun) has not started this process."""

    wrong_use = True


def init_dist(launcher: str, backend: str | None = None, **kwargs) -> None:
    """Join the process group; BasicSR's divides by the number of GPUs and always asks for NCCL.

    Args:
        launcher: ``'pytorch'`` (torchrun sets the environment) or ``'slurm'`` (srun does).
        backend: As of `torch.distributed.init_process_group`. By default gloo, and NCCL beside it for GPU tensors;
            ``'nccl'``, which BasicSR's option files say, means the same, since decisions of all ranks are reduced on
            the CPU. Without GPUs it is gloo.
        **kwargs: ``port`` for SLURM; the rest goes to `torch.distributed.init_process_group`.

    Raises:
        LauncherError: The launcher is unknown or did not set its environment.
    """
    port = kwargs.pop('port', None)
    if launcher == 'slurm':
        _environment_from_slurm(port)
    elif launcher != 'pytorch':
        raise LauncherError(f'--launcher: found {launcher!r}, allowed are none, pytorch, slurm')
    missing = [name for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT') if name not in os.environ]
    if missing:
        raise LauncherError(
            f'--launcher {launcher}: the environment lacks {", ".join(missing)}. Start the run with torchrun '
            '(--launcher pytorch) or srun (--launcher slurm), or leave --launcher out for one process.'
        )
    if mp.get_start_method(allow_none=True) is None:
        mp.set_start_method('spawn')
    gpus = torch.cuda.device_count()
    if gpus:
        torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', os.environ['RANK'])) % gpus)
    seconds = float(os.environ.get('MIRAGE_DIST_TIMEOUT', DIST_TIMEOUT_SECONDS))
    kwargs.setdefault('timeout', timedelta(seconds=seconds))
    if backend in (None, 'nccl'):
        backend = 'cpu:gloo,cuda:nccl'
    dist.init_process_group(backend=backend if gpus else 'gloo', **kwargs)


def _environment_from_slurm(port: int | None) -> None:
    """Set what torch's env:// rendezvous reads from what srun sets."""
    missing = [name for name in ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST') if name not in os.environ]
    if missing:
        raise LauncherError(
            f'--launcher slurm: the environment lacks {", ".join(missing)}. Start the run with srun, or leave '
            '--launcher out for one process.'
        )
    rank = os.environ['SLURM_PROCID']
    if 'MASTER_ADDR' not in os.environ:
        command = ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']]
        hosts = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        os.environ['MASTER_ADDR'] = hosts[0]
    if port is not None:
        os.environ['MASTER_PORT'] = str(port)
    os.environ.setdefault('MASTER_PORT', '29500')
    os.environ['WORLD_SIZE'] = os.environ['SLURM_NTASKS']
    os.environ['RANK'] = rank
    os.environ['LOCAL_RANK'] = os.environ.get('SLURM_LOCALID', rank)


def model_to_device(self, net: torch.nn.Module) -> torch.nn.Module:
    """Move and wrap a network; BasicSR's gives DDP a CUDA device even where there is none."""
    net = net.to(self.device)
    if self.opt['dist']:
        devices = [torch.cuda.current_device()] if self.device.type == 'cuda' else None
        unused = self.opt.get('find_unused_parameters', False)
        return torch.nn.parallel.DistributedDataParallel(net, device_ids=devices, find_unused_parameters=unused)
    return torch.nn.DataParallel(net) if self.opt['num_gpu'] > 1 else net


def worker_init_fn(worker_id: int, num_workers: int, rank: int, seed: int) -> None:
    """Seed numpy and python in a worker; BasicSR's does it alike in every epoch, hence the same crops."""
    _die_with_parent()
    # Ctrl-C, torchrun and SLURM signal workers, too: they must serve until the training process has saved and left
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, 'alarm'):
        signal.signal(signal.SIGTERM, _end_later)
    import cv2

    cv2.setNumThreads(0)  # the workers are the parallelism, as torch has told its own threads
    # torch seeds each worker from its loader's generator, which moves on with every epoch
    mixed = np.random.SeedSequence([torch.initial_seed() % 2**63, seed, rank, worker_id]).generate_state(2)
    np.random.seed(mixed[0])
    random.seed(int(mixed[1]))


def _die_with_parent() -> None:
    """Let the kernel end this process when the one that started it is gone, however that ended (Linux).

    A worker that waits in its queue would outlast a trainer that was killed, and a memory killer takes that one first.
    """
    if not sys.platform.startswith('linux'):
        return
    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    except (OSError, AttributeError):  # a C library without it
        return
    parent = mp.parent_process()
    if parent is not None and not parent.is_alive():  # it was gone before
        os._exit(1)


def _end_later(number: int, frame: types.FrameType | None) -> None:
    """Serve on for a while after the first SIGTERM; end at the second, which is the training process's own."""
    signal.alarm(WORKER_GRACE_SECONDS)
    signal.signal(number, signal.SIG_DFL)


def _lazy_prefetcher_init(self, loader) -> None:
    """Wait for `reset` with the first iterator: BasicSR starts workers here and throws them away at once."""
    self.ori_loader = loader
    self.loader = iter(())


class _Failure:
    """An exception on its way from the prefetching thread to the training loop."""

    def __init__(self, error: BaseException):
        self.error = error


def _prefetch_run(self) -> None:
    """Hand a dataset's exception over; in BasicSR the thread dies and the training loop waits forever."""
    try:
        for item in self.generator:
            self.queue.put(item)
        self.queue.put(None)
    except BaseException as error:
        self.queue.put(_Failure(error))


def _prefetch_next(self) -> dict:
    """Take a batch from the prefetching thread, or raise what it raised."""
    item = self.queue.get()
    if item is None:
        raise StopIteration
    if isinstance(item, _Failure):
        raise item.error
    return item


_environments: dict[tuple[int, str], object] = {}
_environments_lock = threading.Lock()


def _lmdb_init(self, db_paths, client_keys='default', readonly=True, lock=False, readahead=False, **kwargs) -> None:
    """Open each LMDB folder once per process: lmdb refuses a second time, as when train and val share a GT."""
    import lmdb

    keys = [client_keys] if isinstance(client_keys, str) else list(client_keys)
    self.db_paths = [str(path) for path in (db_paths if isinstance(db_paths, (list, tuple)) else [db_paths])]
    if len(keys) != len(self.db_paths):
        raise ValueError(f'io_backend lmdb: found {len(keys)} client_keys for {len(self.db_paths)} db_paths')
    self._client = {}
    with _environments_lock:
        for key, path in zip(keys, self.db_paths):
            slot = (os.getpid(), os.path.realpath(path))
            if slot not in _environments:
                _environments[slot] = lmdb.open(path, readonly=readonly, lock=lock, readahead=readahead, **kwargs)
            self._client[key] = _environments[slot]


def _unused(stem: str, ending: str = '') -> str:
    """Return the path `stem` + `ending`, with a number between them if that exists."""
    path, number = stem + ending, 1
    while os.path.exists(path):
        path, number = f'{stem}_{number}{ending}', number + 1
    return path


def mkdir_and_rename(path: str) -> None:
    """Archive a folder under an unused name; BasicSR's fails when two archives fall into one second."""
    from basicsr.utils.misc import get_time_str

    if os.path.exists(path):
        archive = _unused(f'{path}_archived_{get_time_str()}')
        print(f'Path already exists. Rename it to {archive}', flush=True)
        os.rename(path, archive)
    os.makedirs(path, exist_ok=True)


def log_to_unused_file(get_root_logger: Callable[..., logging.Logger]) -> Callable[..., logging.Logger]:
    """BasicSR's logger empties the log of a run that began in the same second, as one that was killed early did."""

    @functools.wraps(get_root_logger)
    def wrapped(logger_name: str = 'basicsr', log_level: int = logging.INFO, log_file: str | None = None):
        if log_file is not None:
            log_file = _unused(*os.path.splitext(log_file))
        return get_root_logger(logger_name, log_level, log_file)

    return wrapped


def init_wandb_logger(opt: dict) -> None:
    """Start or go on with a run of Weights & Biases, which gets what TensorBoard gets.

    BasicSR's calls a function that wandb 0.23 no longer has, and opens another run at every resume.

    Args:
        opt: BasicSR's options. ``logger: wandb: resume_id`` names a run to go on with; otherwise a training that is
            resumed goes on with the one whose name lies in its folder as ``wandb_run``.

    Raises:
        RuntimeError: Wandb refuses, mostly for lack of a key; the message says what it says and what to do.
    """
    from basicsr.utils.dist_util import get_dist_info

    if get_dist_info()[0] != 0:
        return
    import wandb
    from basicsr.utils.logger import get_root_logger

    place = os.path.join(opt['path']['experiments_root'], 'wandb_run')
    wanted, known = opt['logger']['wandb'].get('resume_id'), None
    if opt['path'].get('resume_state') and os.path.isfile(place):
        with open(place, encoding='utf-8') as file:
            known = file.read().strip() or None
    run_id = str(wanted or known or secrets.token_hex(4))
    project = opt['logger']['wandb']['project']
    try:
        wandb.init(
            id=run_id,
            resume='allow' if wanted or known else 'never',
            name=opt['name'],
            config=opt,
            project=project,
            sync_tensorboard=True,
        )
    except wandb.Error as error:
        raise RuntimeError(
            f'logger: wandb: {error} Run `wandb login`, set WANDB_MODE=offline (send it later by `wandb sync`), or set '
            'project to ~.'
        ) from error
    with open(place, 'w', encoding='utf-8') as file:
        file.write(f'{run_id}\n')
    get_root_logger().info(f'wandb: {"going on with" if wanted or known else "new"} run {run_id} of project {project}')


def expanduser(path: str | list) -> str | list:
    """Replace ``~`` in a path or each of a list; BasicSR's option parser fails at a list, which our data sets take."""
    return [expanduser(part) for part in path] if isinstance(path, list) else os.path.expanduser(path)


def apply() -> None:
    """Apply every repair to the BasicSR that this process imports."""
    alias_functional_tensor()
    forget_failed_import()
    from basicsr.data import prefetch_dataloader
    from basicsr.models import base_model
    from basicsr.utils import dist_util, file_client, logger, misc, options

    from basicsr import data

    _replace_everywhere(dist_util.init_dist, init_dist)
    _replace_everywhere(misc.mkdir_and_rename, mkdir_and_rename)
    _replace_everywhere(logger.get_root_logger, log_to_unused_file(logger.get_root_logger))
    _replace_everywhere(data.worker_init_fn, worker_init_fn)
    _replace_everywhere(logger.init_wandb_logger, init_wandb_logger)
    options.osp = types.SimpleNamespace(**{**vars(os.path), 'expanduser': expanduser})
    base_model.BaseModel.model_to_device = model_to_device
    file_client.LmdbBackend.__init__ = _lmdb_init
    prefetch_dataloader.CPUPrefetcher.__init__ = _lazy_prefetcher_init
    prefetch_dataloader.PrefetchGenerator.run = _prefetch_run
    prefetch_dataloader.PrefetchGenerator.__next__ = _prefetch_next


apply()
