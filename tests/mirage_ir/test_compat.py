"""Each repair of BasicSR, alone."""

import os
import queue
import random
import select
import signal
import sys
import time
import types
from itertools import count

import lmdb
import numpy as np
import pytest
import torch
from basicsr.data.prefetch_dataloader import CPUPrefetcher, PrefetchDataLoader
from basicsr.utils import options as basicsr_options
from basicsr.utils.file_client import FileClient

from mirage_ir import compat


def test_applying_the_repairs_again_changes_nothing():
    before = (basicsr_options.init_dist, FileClient, CPUPrefetcher.__init__)
    compat.apply()
    assert (basicsr_options.init_dist, FileClient, CPUPrefetcher.__init__) == before
    assert basicsr_options.init_dist is compat.init_dist


def test_workers_draw_differently_in_each_epoch(monkeypatch):
    monkeypatch.setattr(compat.signal, 'signal', lambda *_: None)
    drawn = set()
    for torch_seed, worker in ((1, 0), (1, 1), (2, 0), (2, 1)):
        torch.manual_seed(torch_seed)
        compat.worker_init_fn(worker, num_workers=2, rank=0, seed=5)
        drawn.add((int(np.random.randint(2**31)), random.randrange(2**31)))
    assert len(drawn) == 4
    assert len({numbers[0] for numbers in drawn}) == len({numbers[1] for numbers in drawn}) == 4


def test_an_error_in_the_prefetching_thread_reaches_the_loop():
    class Faulty(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            if index == 2:
                raise ValueError('picture 2 is broken')
            return index

    prefetcher = CPUPrefetcher(PrefetchDataLoader(num_prefetch_queue=1, dataset=Faulty()))
    assert prefetcher.next() is None  # no iterator before reset: its workers would be thrown away at once
    prefetcher.reset()
    assert [int(prefetcher.next()), int(prefetcher.next())] == [0, 1]
    with pytest.raises(ValueError, match='picture 2 is broken'):
        prefetcher.next()


def test_the_prefetching_thread_ends_with_its_data():
    prefetcher = CPUPrefetcher(PrefetchDataLoader(num_prefetch_queue=1, dataset=[1, 2]))
    prefetcher.reset()
    assert [prefetcher.next(), prefetcher.next()] == [1, 2]
    assert prefetcher.next() is None
    assert isinstance(prefetcher.loader.queue, queue.Queue)


def test_two_clients_of_one_process_share_an_lmdb(tmp_path):
    with lmdb.open(str(tmp_path / 'a.lmdb')) as environment, environment.begin(write=True) as transaction:
        transaction.put(b'key', b'value')
    clients = [FileClient('lmdb', db_paths=[str(tmp_path / 'a.lmdb')], client_keys=['gt']) for _ in range(2)]
    assert [bytes(client.get('key', 'gt')) for client in clients] == [b'value', b'value']
    with pytest.raises(ValueError, match='2 client_keys for 1 db_paths'):
        FileClient('lmdb', db_paths=[str(tmp_path / 'a.lmdb')], client_keys=['gt', 'lq'])


def test_a_resumed_training_goes_on_with_its_run_of_wandb(tmp_path, monkeypatch):
    calls = []
    fake = types.ModuleType('wandb')  # of 0.23 and later: without util.generate_id
    fake.Error = type('Error', (Exception,), {})
    fake.init = lambda **arguments: calls.append(arguments)
    monkeypatch.setitem(sys.modules, 'wandb', fake)
    from basicsr import train

    opt = {'name': 'x', 'logger': {'wandb': {'project': 'p'}}, 'path': {'experiments_root': str(tmp_path)}}
    train.init_wandb_logger(opt)  # BasicSR's own pipeline has it, too
    train.init_wandb_logger({**opt, 'path': {**opt['path'], 'resume_state': '3.state'}})
    train.init_wandb_logger(opt)  # started over: another run
    train.init_wandb_logger({**opt, 'logger': {'wandb': {'project': 'p', 'resume_id': 'mine'}}})
    first, resumed, again, named = calls
    assert first['resume'] == again['resume'] == 'never' and first['id'] != again['id'] and len(first['id']) == 8
    assert (resumed['resume'], resumed['id']) == ('allow', first['id'])
    assert (named['resume'], named['id']) == ('allow', 'mine')

    def refuse(**_):
        raise fake.Error('No API key configured.')

    fake.init = refuse
    with pytest.raises(RuntimeError, match='No API key configured. Run `wandb login`, set WANDB_MODE=offline'):
        train.init_wandb_logger(opt)


def test_archives_of_one_second_do_not_collide(tmp_path, monkeypatch):
    from basicsr.utils import misc

    monkeypatch.setattr(misc, 'get_time_str', lambda: 'now')
    for number in count():
        misc.mkdir_and_rename(str(tmp_path / 'run'))
        (tmp_path / 'run' / 'file').write_text(str(number))
        if number == 3:
            break
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'run',
        'run_archived_now',
        'run_archived_now_1',
        'run_archived_now_2',
    ]


def test_logs_of_one_second_are_both_kept(tmp_path):
    from basicsr.utils import logger

    for number, text in enumerate(('killed early', 'resumed')):
        log = logger.get_root_logger(f'run {number}', log_file=str(tmp_path / 'train_now.log'))
        log.info(text)
        log.propagate = False
    assert [path.read_text().split()[-1] for path in sorted(tmp_path.iterdir())] == ['early', 'resumed']


def test_home_is_found_in_each_of_several_folders(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'small.yml').write_text(
        'name: small\nmodel_type: MIRAGEModel\nnum_gpu: 0\nmanual_seed: 0\n'
        'path: {}\ndatasets: {train: {dataroot_gt: [~/a, b], dataroot_lq: ~/c}}\n'
    )
    monkeypatch.setattr('sys.argv', ['train.py', '-opt', str(tmp_path / 'small.yml')])
    opt, _ = basicsr_options.parse_options(str(tmp_path))
    assert opt['datasets']['train']['dataroot_gt'] == [f'{tmp_path}/a', 'b']
    assert opt['datasets']['train']['dataroot_lq'] == f'{tmp_path}/c'


def test_a_launcher_without_its_environment_is_refused(monkeypatch):
    for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(compat.LauncherError, match='--launcher pytorch: the environment lacks RANK, .*torchrun'):
        compat.init_dist('pytorch')
    with pytest.raises(compat.LauncherError, match='--launcher slurm: the environment lacks SLURM_PROCID.*srun'):
        compat.init_dist('slurm')
    with pytest.raises(compat.LauncherError, match="found 'mpi', allowed are none, pytorch, slurm"):
        compat.init_dist('mpi')


@pytest.mark.parametrize(
    ('asked', 'gpus', 'backend'),
    [
        ('nccl', 4, 'cpu:gloo,cuda:nccl'),
        (None, 4, 'cpu:gloo,cuda:nccl'),
        ('gloo', 4, 'gloo'),
        ('nccl', 0, 'gloo'),
    ],
)
def test_nccl_has_gloo_beside_it_for_what_is_on_the_cpu(monkeypatch, asked, gpus, backend):
    for name in ('MASTER_ADDR', 'MASTER_PORT', 'LOCAL_RANK', 'RANK', 'WORLD_SIZE'):
        monkeypatch.setenv(name, '1')
    for name, value in {'PROCID': '1', 'NTASKS': '2', 'NODELIST': 'gpu1', 'LOCALID': '1'}.items():
        monkeypatch.setenv(f'SLURM_{name}', value)
    started = {}
    monkeypatch.setattr(compat.dist, 'init_process_group', lambda **options: started.update(options))
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: gpus)
    monkeypatch.setattr(torch.cuda, 'set_device', lambda number: started.update(gpu=number))
    compat.init_dist('slurm', backend=asked, port=29511)
    assert started['backend'] == backend and started.get('gpu') == (1 if gpus else None)


def test_slurm_variables_become_those_of_torch(monkeypatch):
    started = {}
    for name in ('MASTER_ADDR', 'MASTER_PORT', 'LOCAL_RANK', 'RANK', 'WORLD_SIZE'):
        monkeypatch.setenv(name, 'x')
        monkeypatch.delenv(name)
    for name, value in {'PROCID': '5', 'NTASKS': '8', 'NODELIST': 'gpu[1-2]', 'LOCALID': '1'}.items():
        monkeypatch.setenv(f'SLURM_{name}', value)
    answer = types.SimpleNamespace(stdout='gpu1\ngpu2\n')
    monkeypatch.setattr(compat.subprocess, 'run', lambda command, **_: started.update(command=command) or answer)
    monkeypatch.setattr(compat.dist, 'init_process_group', lambda **options: started.update(options))
    compat.init_dist('slurm', port=29511)
    environment = {name: compat.os.environ[name] for name in ('MASTER_ADDR', 'MASTER_PORT', 'RANK', 'WORLD_SIZE')}
    assert environment == {'MASTER_ADDR': 'gpu1', 'MASTER_PORT': '29511', 'RANK': '5', 'WORLD_SIZE': '8'}
    assert compat.os.environ['LOCAL_RANK'] == '1'
    assert started['command'][-1] == 'gpu[1-2]'
    assert started['timeout'].total_seconds() == compat.DIST_TIMEOUT_SECONDS


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='a signal of Linux')
def test_a_worker_ends_with_its_trainer_even_if_that_was_killed():
    reading, writing = os.pipe()
    trainer = os.fork()
    if trainer == 0:
        worker = os.fork()
        if worker == 0:
            compat.worker_init_fn(0, num_workers=1, rank=0, seed=0)
            os.write(writing, f'{os.getpid()}\n'.encode())
            time.sleep(120)
            os._exit(0)
        time.sleep(120)
        os._exit(0)
    os.close(writing)
    worker = int(os.read(reading, 20))
    os.kill(trainer, signal.SIGKILL)
    os.waitpid(trainer, 0)
    # the pipe closes when its last writer, the worker, is gone
    assert select.select([reading], [], [], 20)[0] and os.read(reading, 1) == b'', f'process {worker} lives on'
    os.close(reading)
