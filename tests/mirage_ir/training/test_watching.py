"""Figures by task, the estimate of memory, and a log without noise."""

import csv
import logging
from functools import partial

import pytest
import torch
from basicsr.losses.basic_loss import L1Loss
from model_setup import batch, build, train, training_options

from mirage_arch.mirage_arch import MIRAGEArch, mirage_tiny
from mirage_ir.training import watching
from mirage_ir.training.diagnostics import ProgressLogger
from mirage_losses import FourierLoss

GIB = 2**30


def with_tasks(number):
    return {**batch(number), 'task': ['rain', 'haze', 'rain', 'rain']}


def test_losses_share_and_psnr_by_task_are_those_of_the_samples_alone(tmp_path, monkeypatch):
    model = build(training_options(tmp_path, print_freq=5))
    expected = {}
    real = watching.sample_figures

    def figures(losses, output, gt):
        tasks = with_tasks(0)['task']
        for sample, task in enumerate(tasks):
            one = output[sample : sample + 1], gt[sample : sample + 1]
            values = expected.setdefault(task, {'l_pix': [], 'l_fourier': [], 'psnr': []})
            values['l_pix'].append((one[0] - one[1]).abs().mean().item())
            values['l_fourier'].append(FourierLoss(0.1)(*one).item())
            values['psnr'].append(-10 * (one[0].clamp(0, 1) - one[1]).square().mean().log10().item())
        return real(losses, output, gt)

    monkeypatch.setattr('mirage_ir.training.model.sample_figures', figures)
    found = watching.by_task(train(model, 5, batches=with_tasks)[-1])
    assert {task: values['samples'] for task, values in found.items()} == {'haze': 5, 'rain': 15}
    assert {task: values['share'] for task, values in found.items()} == {'haze': 0.25, 'rain': 0.75}
    for task, values in expected.items():
        for name, numbers in values.items():
            assert found[task][name] == pytest.approx(sum(numbers) / len(numbers), rel=1e-4), (task, name)
    line = watching.task_line(found)
    assert line.startswith('by task: haze 25 % ') and '; rain 75 % ' in line and ' dB l_pix ' in line


def test_parts_of_a_batch_keep_their_tasks_and_the_weights_are_as_without(tmp_path):
    whole = build(training_options(tmp_path))
    parts = build(training_options(tmp_path, accumulate_grad=2))
    plain = build(training_options(tmp_path))
    for model in (whole, parts):
        torch.manual_seed(1)  # of drop path
        assert train(model, 5, batches=with_tasks)[-1]['tasks/rain/samples'] == 15
    torch.manual_seed(1)
    train(plain, 5)  # samples without a task: nothing to tell
    for a, b in zip(whole.net_g.state_dict().values(), plain.net_g.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_one_task_alone_is_not_told_by_task(tmp_path):
    model = build(training_options(tmp_path))
    log = train(model, 5, batches=lambda number: {**batch(number), 'task': ['rain'] * 4})[-1]
    assert not watching.by_task(log)


def test_the_contrastive_loss_is_logged_without_its_weight_too(tmp_path):
    log = train(build(training_options(tmp_path)), 5)[-1]
    assert log['l_spd_unweighted'] == pytest.approx(log['l_spd'] / 0.05, rel=1e-5)


def test_a_loss_that_cannot_be_taken_apart_is_left_out():
    output, gt = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    summed = L1Loss(0.5, 'sum')
    values = watching.sample_values(summed, output, gt)
    assert values.sum().item() == pytest.approx(summed(output, gt).item(), rel=1e-5) and summed.reduction == 'sum'
    assert watching.sample_values(torch.nn.Identity(), output, gt) is None


def test_the_table_goes_on_where_a_resumed_run_does(tmp_path, caplog):
    opt = {
        'name': 'x',
        'path': {'experiments_root': str(tmp_path)},
        'logger': {'print_freq': 1, 'use_tb_logger': False},
    }
    opt = {**opt, 'train': {'total_iter': 9}, 'rank': 0}
    line = {'epoch': 0, 'lrs': [1e-3], 'time': 1.0, 'data_time': 0.1}
    figures = {f'tasks/{task}/{name}': 0.5 for task in ('a', 'b') for name in ('share', 'psnr', 'l_pix')}
    log = ProgressLogger(opt, 0)
    for iteration in (1, 2, 3):
        log({**line, 'iter': iteration, **figures})
    path = tmp_path / watching.TASKS_FILE
    path.write_text(path.read_text() + '3,b,l_p')  # cut off by a kill
    ProgressLogger(opt, 1)({**line, 'iter': 2, **dict.fromkeys(figures, 0.25)})
    with open(path, newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['iter'] for row in rows] == ['1'] * 6 + ['2'] * 6
    assert {row['value'] for row in rows if row['iter'] == '2'} == {'0.25'}


def meta(make):
    with torch.device('meta'):
        return make().train()


def test_the_estimate_of_memory_is_near_what_was_measured():
    # peak over start of a step, docs/speed.md: 4 crops of 128x128, MIRAGE-T
    plain, recomputed = (meta(partial(mirage_tiny, checkpoint_blocks=blocks)) for blocks in (False, True))
    assert watching.memory_need(plain, 4, 128) / GIB == pytest.approx(5.4, rel=0.25)
    assert watching.memory_need(plain, 4, 128, half=True) / GIB == pytest.approx(2.9, rel=0.25)
    assert watching.memory_need(recomputed, 4, 128) / GIB == pytest.approx(1.4, rel=0.35)
    assert recomputed.checkpoint_blocks


def test_too_much_memory_is_a_warning_with_cures(tmp_path, monkeypatch):
    told = []
    logger = logging.getLogger('for this test')
    monkeypatch.setattr(watching, 'get_root_logger', lambda: logger)
    monkeypatch.setattr(logger, 'info', lambda text: told.append(('info', text)))
    monkeypatch.setattr(logger, 'warning', lambda text: told.append(('warning', text)))
    options = training_options(tmp_path, accumulate_grad=2)
    options['datasets']['train'].update(batch_size_per_gpu=32, gt_size=64)
    need = watching.tell_memory_need(options, options['network_g'], float('inf'))
    half = watching.memory_need(
        meta(lambda: MIRAGEArch(**{k: v for k, v in options['network_g'].items() if k != 'type'})), 16, 64
    )
    assert need == half
    watching.tell_memory_need(options, options['network_g'], need / 4)
    assert [level for level, _ in told] == ['info', 'warning']
    assert '32 crops of 64x64 in 2 parts in float32' in told[0][1]
    for text in ('batch_size_per_gpu: 8', 'checkpoint_blocks: true', 'amp: bf16', 'probably be killed'):
        assert text in told[1][1]
    options['datasets']['train']['batch_size_per_gpu'] = 1
    assert watching.tell_memory_need(options, options['network_g'], 1.0) is None  # too small to matter


def test_the_log_has_one_line_for_the_network_and_no_false_warning(tmp_path, caplog, monkeypatch):
    logger = logging.getLogger('basicsr')
    monkeypatch.setattr(logger, 'propagate', True)
    caplog.set_level(logging.INFO, 'basicsr')
    options = training_options(tmp_path)
    build(options)
    assert 'Network: MIRAGEArch, ' in caplog.text and 'Conv2d(' not in caplog.text
    options['logger']['print_network'] = True
    build(options)
    assert 'Conv2d(' in caplog.text
    record = partial(logging.LogRecord, 'basicsr', logging.WARNING, '', 0, args=(), exc_info=None)
    assert watching.is_true(record(msg='anything else'))
    assert not watching.is_true(record(msg='Multiple validation datasets are *only* supported by SRModel.'))
    text = watching.readable({'a': [{'task': 'rain', 'sigma': [15, 25]}], 'b': {'c': None}})
    assert text == '\na:\n- task: rain\n  sigma: [15, 25]\nb: {c: null}\n'
