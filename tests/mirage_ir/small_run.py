"""A project folder with a data set of made-up pictures and an option file, small enough to train in seconds."""

import hashlib
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml

from mirage_data.files.lmdb import LmdbWriter

ROOT = Path(__file__).resolve().parents[2]

NETWORK = {
    'type': 'MIRAGEArch',
    'dim': 6,
    'num_blocks': [1, 1, 1, 1],
    'num_refinement_blocks': 1,
    'heads': [1, 1, 2, 4],
}


def make_pictures(folder: Path, count: int, size: int = 24) -> None:
    """Write smooth colour pictures, each another one."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(len(str(folder.name)))
    for number in range(count):
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f'{number}.png'), cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC))


def pack(folder: Path, database: Path) -> None:
    """Put the pictures of a folder into an LMDB."""
    with LmdbWriter(database) as writer:
        for path in sorted(folder.iterdir()):
            writer.add_file(path.name, path.read_bytes())


def make_options(root: Path, **changes) -> dict:
    """Return options of a run of 12 iterations: 7 pictures, batch 2, a checkpoint every 3 iterations.

    Args:
        root: Folder that receives the pictures, if it has none yet.
        **changes: Top-level options to replace; sections are merged one level deep.
    """
    if not (root / 'pictures').exists():
        make_pictures(root / 'pictures' / 'train', 7)
        make_pictures(root / 'pictures' / 'val', 2)
    train_set = {
        'name': 'made_up',
        'type': 'MixedDegradationDataset',
        'gt_size': 16,
        'use_hflip': True,
        'use_rot': True,
        'crop_multiple': 8,
        'io_backend': {'type': 'disk'},
        'num_worker_per_gpu': 0,
        'batch_size_per_gpu': 2,
        'dataset_enlarge_ratio': 2,
        'sources': [{'task': 'denoise_25', 'dataroot_gt': 'pictures/train', 'sigma': 25}],
    }
    val_set = {
        'name': 'val',
        'type': 'GaussianDenoiseDataset',
        'task': 'denoise',
        'sigma': 25,
        'io_backend': {'type': 'disk'},
        'dataroot_gt': 'pictures/val',
        'crop_multiple': 8,
    }
    options = {
        'name': 'small',
        'model_type': 'MIRAGEModel',
        'num_gpu': 0,
        'manual_seed': 7,
        'datasets': {'train': train_set, 'val': val_set},
        'network_g': dict(NETWORK),
        'path': {'pretrain_network_g': None, 'strict_load_g': True, 'resume_state': None},
        'train': {
            'ema_decay': 0.9,
            'total_iter': 12,
            'warmup_iter': 2,
            'optim_g': {'type': 'AdamW', 'lr': 1.0e-3, 'weight_decay': 0.01, 'betas': [0.9, 0.999]},
            'scheduler': {'type': 'CosineWithWarmup'},
            'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
            'fourier_opt': {'type': 'FourierLoss', 'loss_weight': 0.1},
            'spd_opt': {'type': 'SPDContrastiveLoss', 'loss_weight': 0.01},
        },
        'val': {'val_freq': 3, 'save_img': False, 'suffix': None, 'metrics': {'psnr': {'type': 'psnr_float'}}},
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 3, 'use_tb_logger': False},
    }
    for key, value in changes.items():
        if isinstance(value, dict) and key in options:
            for inner, content in value.items():
                old = options[key].get(inner)
                merge = isinstance(content, dict) and isinstance(old, dict)
                options[key][inner] = {**old, **content} if merge else content
        else:
            options[key] = value
    return options


def write_options(root: Path, file_name: str = 'small.yml', **changes) -> Path:
    """Write `make_options` to a YAML file in `root` and return its path; packs the pictures if LMDB is asked for."""
    path = root / file_name
    options = make_options(root, **changes)
    train_set = options['datasets']['train']
    if train_set['io_backend'] == {'type': 'lmdb'}:
        if not (root / 'pictures' / 'train.lmdb').exists():
            pack(root / 'pictures' / 'train', root / 'pictures' / 'train.lmdb')
        train_set['sources'] = [{**source, 'dataroot_gt': 'pictures/train.lmdb'} for source in train_set['sources']]
    path.write_text(yaml.safe_dump(options, sort_keys=False))
    return path


class Run:
    """A training or test in a process of its own; what it prints goes to ``output.txt`` of its project folder.

    Args:
        process: A `subprocess.Popen`, or a `multiprocessing.Process`.
        output: The file.
    """

    def __init__(self, process, output: Path):
        self._process = process
        self.output = output
        self.pid = process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        is_popen = isinstance(self._process, subprocess.Popen)
        return self._process.poll() if is_popen else self._process.exitcode

    def text(self) -> str:
        """What it has printed so far."""
        return self.output.read_text(errors='replace')

    def finish(self, timeout: float = 400) -> str:
        """Wait for its end, kill it after `timeout` seconds, and return what it printed."""
        deadline = time.monotonic() + timeout
        while self.returncode is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if self.returncode is None:
            self.kill()
            raise TimeoutError(f'still running after {timeout} s:\n{self.text()[-4000:]}')
        return self.text()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, SIGKILL by default, and wait for the end."""
        if self.returncode is None:
            os.kill(self.pid, number)
        (self._process.wait if isinstance(self._process, subprocess.Popen) else self._process.join)()


def _python_path(*first: Path) -> str:
    """Folders to import from: these, and those of this process, where packages may lie in one of their own."""
    others = os.environ.get('PYTHONPATH', '').split(os.pathsep)
    return os.pathsep.join([*map(str, first), *(other for other in others if other not in ('', *map(str, first)))])


def launch(
    root: Path, *arguments: str, processes: int = 0, script: str = 'train', cwd: Path | None = None, **environment: str
) -> Run:
    """Start a run the way a user does, with the launchers of `root` (see `link_launchers`).

    Args:
        root: Folder that receives the experiments.
        *arguments: The command line behind the script.
        processes: Through torchrun with that many processes; 0 starts one without it.
        script: ``train`` or ``test``.
        cwd: Directory to start it in; by default `root`.
        **environment: Additional environment variables.
    """
    command = [sys.executable]
    if processes:
        command += ['-m', 'torch.distributed.run', f'--nproc_per_node={processes}', '--standalone']
        command += ['--local_addr', '127.0.0.1']  # the machine's name need not be one that can be looked up
        arguments = (*arguments, '--launcher', 'pytorch')
    command += [str(root / 'basicsr' / f'{script}.py'), *arguments]
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': _python_path(ROOT), **environment}
    with open(root / 'output.txt', 'w') as file:
        process = subprocess.Popen(command, cwd=cwd or root, env=env, stdout=file, stderr=subprocess.STDOUT)
    return Run(process, root / 'output.txt')


def fork(
    root: Path,
    *arguments: str,
    script: str = 'train',
    cwd: Path | None = None,
    output: str = 'output.txt',
    fault: Callable[[Path], None] | None = None,
    **environment: str,
) -> Run:
    """Start a run like `launch`, but from a process that has done all imports already: seconds sooner.

    Args:
        root: As `launch`, and so are the others that are not named here.
        output: File in `root` for what it prints.
        fault: Function of a module, called with `root` in the new process before the run.
    """
    context = multiprocessing.get_context('forkserver')
    preloaded = ['mirage_ir.training.runner', 'mirage_ir.measuring.metrics', 'basicsr.train', 'small_run']
    context.set_forkserver_preload(preloaded)
    os.environ['PYTHONPATH'] = _python_path(ROOT, Path(__file__).parent)
    process = context.Process(target=_run_here, args=(root, script, arguments, environment, cwd or root, output, fault))
    (root / output).write_text('')
    process.start()
    return Run(process, root / output)


def fork_ranks(
    root: Path, processes: int, *arguments: str, fault: Callable[[Path], None] | None = None, **environment: str
) -> list[Run]:
    """Start one run of several processes with the environment that torchrun gives them."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    shared = {'WORLD_SIZE': str(processes), 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port), **environment}
    return [
        fork(
            root,
            *arguments,
            '--launcher',
            'pytorch',
            output=f'output_{rank}.txt',
            fault=fault,
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            **shared,
        )
        for rank in range(processes)
    ]


def _run_here(
    root: Path,
    script: str,
    arguments: tuple[str, ...],
    environment: dict[str, str],
    cwd: Path,
    output: str,
    fault: Callable[[Path], None] | None,
) -> None:
    """Turn this freshly forked process into a run."""
    descriptor = os.open(root / output, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.update(environment)
    os.chdir(cwd)
    torch.set_num_threads(1)
    multiprocessing.set_start_method('fork', force=True)  # as in a process that a user starts
    from importlib import import_module

    if fault:
        fault(root)
    getattr(import_module('mirage_ir.commands.run'), script)(arguments, root=str(root))


def link_launchers(root: Path) -> None:
    """Copy the two launchers below `root`, so that its experiments land there."""
    (root / 'basicsr').mkdir(parents=True, exist_ok=True)
    for name in ('train.py', 'test.py'):
        (root / 'basicsr' / name).write_bytes((ROOT / 'basicsr' / name).read_bytes())


def fingerprint(experiment: Path, iteration: int | None = None) -> dict[str, str]:
    """Return hashes of everything that a bit-exact resume must reproduce.

    Args:
        experiment: Folder of the run.
        iteration: Iteration to look at; the newest by default.

    Returns:
        Hashes of the weights, the average, the optimizer, the schedule, the records and the random states.
    """
    states = experiment / 'training_states'
    iteration = iteration or max(int(path.stem) for path in states.glob('*.state'))
    weights = torch.load(experiment / 'models' / f'net_g_{iteration}.pth', weights_only=True)
    state = torch.load(states / f'{iteration}.state', weights_only=True)
    parts = {**weights, **{key: value for key, value in state.items() if key not in ('weights', 'epoch', 'options')}}
    latest = torch.load(experiment / 'models' / 'net_g_latest.pth', weights_only=True)
    parts.update({f'latest_{key}': value for key, value in latest.items()})
    return {key: _hash(value) for key, value in parts.items()}


def _hash(value) -> str:
    digest = hashlib.sha256()

    def add(part) -> None:
        if isinstance(part, dict):
            for key in part:
                digest.update(repr(key).encode())
                add(part[key])
        elif isinstance(part, (list, tuple)):
            for item in part:
                add(item)
        elif isinstance(part, torch.Tensor):
            digest.update(str(part.dtype).encode() + part.contiguous().cpu().numpy().tobytes())
        else:
            digest.update(repr(part).encode())

    add(value)
    return digest.hexdigest()[:16]


def logged_losses(experiment: Path) -> dict[int, set[str]]:
    """Return what the log files say for each iteration, times left out: one text unless a resume differed."""
    lines: dict[int, set[str]] = {}
    for path in experiment.glob('train_*.log'):
        for line in path.read_text().splitlines():
            found = re.search(r'iter:\s*([\d,]+), (lr:\(\S+\)).*?(l_\w+: .*)', line)
            if found:
                values = ' '.join(re.findall(r'(?:l_\w+|grad_norm): \S+', found[3]))
                lines.setdefault(int(found[1].replace(',', '')), set()).add(f'{found[2]} {values}')
    return lines
