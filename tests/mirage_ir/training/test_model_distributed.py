"""`MIRAGEModel` on several gloo processes against one process with the whole batch."""

from __future__ import annotations

import csv
import os
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from model_setup import LOSSES, PairSet, batch, build, loader, train, training_options

from mirage_ir.training.diagnostics import ProgressLogger
from mirage_ir.training.guards import NonFiniteError

WHOLE = 4  # samples of the global batch
PICTURES = [(f'/pictures/{n}.png', 'rain' if n % 2 else 'haze', (16, 16 + 8 * n)) for n in range(5)]


def options(folder, rank=0, world=1, **switches):
    """Training options of one of several processes; stochastic depth off, as two batches would draw differently."""
    opt = training_options(folder, network={'drop_path_rate': 0.0}, **switches)
    opt.update(dist=world > 1, rank=rank, world_size=world)
    if 'spd_opt' in opt['train']:
        opt['train']['spd_opt'].update(loss_weight=1.0, symmetric=world == 4)
    return opt


def share(number, rank, world):
    """The part of a global batch that belongs to a rank."""
    size = WHOLE // world
    return {key: value[rank * size : (rank + 1) * size] for key, value in batch(number, WHOLE).items()}


def freeze_statistics(model):
    """Batch norm with the statistics it has: those of a part of a batch are others than those of the whole."""
    for module in model.net_g.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()


def gradients(opt, data):
    """Losses and gradients of one step with batch norm frozen."""
    model = build(opt)
    freeze_statistics(model)
    log = train(model, 1, batches=lambda _: data)[0]
    names = dict(model.get_bare_model(model.net_g).named_parameters())
    return {'log': log, 'gradients': {name: p.grad.clone() for name, p in names.items()}}


def work(rank, folder):
    """What each of four processes does: one step of all four, then everything else of the first two."""
    torch.set_num_threads(1)
    for world, task in ((4, step_of_four), (2, run_of_two)):
        if rank < world:
            dist.init_process_group('gloo', init_method=f'file://{folder}/meeting{world}', rank=rank, world_size=world)
            result = task(rank, world, folder)
            if rank == 0:
                torch.save(result, f'{folder}/found{world}.pt')
            dist.barrier()
            dist.destroy_process_group()
    os._exit(0)  # PyTorch's own threads now and then abort a process that is done


def step_of_four(rank, world, folder):
    """One sample on each process: its negatives come from the others."""
    return {'whole': gradients(options(folder, rank, world), share(1, rank, world))}


def run_of_two(rank, world, folder):
    """Steps, a step in parts, a checkpoint, a validation, and a bad sample on the last process."""
    result = {'whole': gradients(options(folder, rank, world), share(1, rank, world))}
    opt = options(folder, rank, world, losses=('pixel_opt', 'fourier_opt'), accumulate_grad=2)
    result['parts'] = gradients(opt, share(1, rank, world))

    model = build(options(folder, rank, world, losses=tuple(LOSSES), ema_decay=0.5), seed=rank)
    train(model, 2, batches=lambda number: share(number, rank, world))
    for mine in model.get_bare_model(model.net_g).parameters():
        first = mine.detach().clone()
        dist.broadcast(first, 0)
        assert torch.equal(mine, first), f'rank {rank} has drifted from rank 0'
    model.save(0, 2)
    model.validation(loader(PairSet(PICTURES)), 5, None, save_img=True)
    result['best'] = model.best_metric_results

    result['told'] = told_by_task(f'{folder}/tasks', rank, world)
    bad = share(3, rank, world)
    if rank == world - 1:
        bad['lq'][0, 0, 0, 0] = float('inf')
    model.feed_data(bad)
    with pytest.raises(NonFiniteError) as caught:
        model.optimize_parameters(3)
    result['messages'] = [None] * world
    dist.all_gather_object(result['messages'], str(caught.value))
    return result


def told_by_task(folder, rank=0, world=1):
    """What log, TensorBoard and `tasks.csv` say of two steps; the last task is one of the last process alone."""
    opt = options(folder, rank, world, losses=('pixel_opt', 'fourier_opt'))
    opt['logger'] = {'print_freq': 2, 'use_tb_logger': True}
    os.makedirs(folder, exist_ok=True)
    model, size, lines, scalars = build(opt), WHOLE // world, [], {}
    freeze_statistics(model)
    tasks = ['haze', 'rain', 'rain', 'snow'][rank * size : (rank + 1) * size]
    log = train(model, 2, batches=lambda number: {**share(number, rank, world), 'task': tasks})[-1]
    recorder = SimpleNamespace(add_scalar=lambda key, value, step: scalars.update({key: value}))
    progress = ProgressLogger(opt, 0, recorder if rank == 0 else None)
    progress.logger = SimpleNamespace(info=lines.append)
    progress({'epoch': 0, 'iter': 2, 'lrs': [1e-3], 'time': 1.0, 'data_time': 0.1, **log})
    return {'lines': lines, 'scalars': scalars}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('ranks')
    mp.spawn(work, (str(path),), nprocs=4)
    return path


@pytest.fixture
def found(folder):
    return torch.load(folder / 'found2.pt', weights_only=True)


def compare(one, many):
    largest = max(gradient.abs().max() for gradient in one['gradients'].values())
    assert set(one['gradients']) == set(many['gradients'])
    for name, gradient in one['gradients'].items():
        assert (many['gradients'][name] - gradient).abs().max() <= 1e-5 * largest, name
    for key in (key for key in one['log'] if key.startswith('l_')):
        assert many['log'][key] == pytest.approx(one['log'][key], rel=1e-5), key


@pytest.mark.parametrize('world', [2, 4])
def test_losses_and_gradients_equal_one_process_with_the_whole_batch(folder, tmp_path, world):
    opt = options(tmp_path)
    opt['train']['spd_opt']['symmetric'] = world == 4
    one = gradients(opt, batch(1, WHOLE))
    assert one['log']['l_spd'] > 0.5
    compare(one, torch.load(folder / f'found{world}.pt', weights_only=True)['whole'])


def test_parts_on_several_ranks_equal_one_process_with_the_whole_batch(found, tmp_path):
    compare(gradients(options(tmp_path, losses=('pixel_opt', 'fourier_opt')), batch(1, WHOLE)), found['parts'])


def test_validation_gives_the_figures_of_one_process(folder, found, tmp_path):
    one = options(tmp_path, ema_decay=0.5)
    one['path']['pretrain_network_g'] = str(folder / 'models' / 'net_g_2.pth')
    model = build(one)
    model.validation(loader(PairSet(PICTURES)), 5, None)
    with open(tmp_path / 'validation.csv') as a, open(folder / 'validation.csv') as b:
        assert list(csv.reader(a)) == list(csv.reader(b))  # to the last digit
    assert model.best_metric_results == found['best']
    written = [path.stem for path in (folder / 'visualization').rglob('*.png')]
    assert sorted(written) == [f'{n}_5' for n in range(5)]


def test_figures_by_task_are_those_of_one_process_in_log_tensorboard_and_table(folder, found, tmp_path):
    one, two = told_by_task(str(tmp_path)), found['told']
    keys = {key for key in one['scalars'] if key.startswith('tasks/')}
    names = ('samples', 'share', 'psnr', 'l_pix', 'l_fourier')
    assert keys == {f'tasks/{task}/{name}' for task in ('haze', 'rain', 'snow') for name in names}
    assert {key for key in two['scalars'] if key.startswith('tasks/')} == keys
    for key in keys:
        assert two['scalars'][key] == pytest.approx(one['scalars'][key], rel=1e-4), key
    assert two['scalars']['tasks/rain/samples'] == 4 and two['scalars']['tasks/snow/share'] == 0.25
    with open(folder / 'tasks/tasks.csv', newline='') as file:
        table = {f'tasks/{row["task"]}/{row["metric"]}': row for row in csv.DictReader(file)}
    assert set(table) == keys and {row['iter'] for row in table.values()} == {'2'}
    for key, row in table.items():
        assert float(row['value']) == pytest.approx(two['scalars'][key], rel=1e-5), key
    line = two['lines'][-1]
    assert line.startswith('by task: haze 25 % ') and '; rain 50 % ' in line and '; snow 25 % ' in line


def test_one_bad_rank_stops_all_with_the_same_message(folder, found):
    first, second = found['messages']
    assert first == second and first.count('<-') == 1
    assert 'lq/3_2.png  <- non-finite values in lq' in first
    assert {path.name for path in folder.glob('nonfinite*')} == {'nonfinite_3_rank0.pt', 'nonfinite_3_rank1.pt'}
