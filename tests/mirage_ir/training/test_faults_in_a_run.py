"""Faults that come while a run is training: files that vanish or change on disk, and a NaN in one of two ranks."""

import multiprocessing
import os
import re
import shutil
import signal
import time

import pytest
import torch
from kill_trial import collect, prepare
from small_run import fork, fork_ranks, make_pictures

from mirage_ir.training.model import MIRAGEModel

VICTIM = 'pictures/train/3.png'


def after_step(iteration, action):
    """Make this process do something once, between two iterations of its run."""
    step = MIRAGEModel.optimize_parameters

    def optimize_parameters(self, current_iter):
        step(self, current_iter)
        if current_iter == iteration:
            action()

    MIRAGEModel.optimize_parameters = optimize_parameters


def delete(root):
    after_step(4, (root / VICTIM).unlink)


def damage(root):
    after_step(4, lambda: os.truncate(root / VICTIM, 150))


def shrink(root):
    after_step(4, lambda: shutil.copy(root / 'tiny' / '0.png', root / VICTIM))


def delete_in_rank_1(root):
    if os.environ['RANK'] == '1':
        delete(root)


def nan_in_rank_1(root):
    """Put a NaN into the second sample that rank 1 is fed for iteration 5, and note which image it was."""
    if os.environ['RANK'] != '1':
        return
    seen = []

    def spoil(self, data, feed=MIRAGEModel.feed_data):
        if len(data['lq']) == 2:  # validation feeds one image at a time
            seen.append(data)
            if len(seen) == 5:
                data['lq'][1, 0, 3, 3] = float('nan')
        feed(self, data)

    MIRAGEModel.feed_data = spoil


def stop_all_twice(root):
    """What a cluster or `kill -- -GROUP` does: the workers are signalled as the trainer is, and end at the second."""

    def signals():
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(2):
            for worker in multiprocessing.active_children():
                os.kill(worker.pid, signal.SIGTERM)
            time.sleep(0.3)
        assert not multiprocessing.active_children()

    after_step(4, signals)


def stop_in_a_validation(root):
    restore = MIRAGEModel.test

    def test(self):
        restore(self)
        os.kill(os.getpid(), signal.SIGTERM)

    MIRAGEModel.test = test


def newest_state(root):
    states = root / 'experiments' / 'small' / 'training_states'
    return max(states.iterdir(), key=lambda path: int(path.stem))


@pytest.mark.parametrize(
    'fault, workers, cause',
    [
        (delete, 0, r'cannot be read \(No such file or directory\); restore the file'),
        (damage, 1, 'the PNG is truncated'),
    ],
)
def test_a_file_lost_in_a_run_stops_it_and_loses_nothing(undisturbed, tmp_path, fault, workers, cause):
    prepare(tmp_path, datasets={'train': {'num_worker_per_gpu': workers}})
    intact = (tmp_path / VICTIM).read_bytes()
    run = fork(tmp_path, '-opt', 'small.yml', fault=fault)
    text = run.finish()
    assert run.returncode == 1 and 'Traceback' not in text, text[-3000:]
    assert re.search(rf'The run stops after iteration \d+.*\n\S*{VICTIM}: .*{cause}', text), text[-3000:]
    assert 'on_error: skip' in text
    state = newest_state(tmp_path)
    assert f'The last complete state is {state}. To go on from it, give the same command with --auto_resume' in text
    (tmp_path / VICTIM).write_bytes(intact)
    run = fork(tmp_path, '-opt', 'small.yml', '--auto_resume')
    text = run.finish()
    assert run.returncode == 0 and f'iter: {state.stem}' in text, text[-3000:]
    assert collect(tmp_path).differences(collect(undisturbed)) == []


def damage_validation(root):
    after_step(4, lambda: os.truncate(root / 'pictures' / 'val' / '1.png', 150))


def test_a_validation_picture_lost_in_a_run_stops_it_and_loses_nothing(undisturbed, tmp_path):
    prepare(tmp_path, logger={'save_checkpoint_freq': 100})  # so that the state is saved because of the fault
    victim = tmp_path / 'pictures' / 'val' / '1.png'
    intact = victim.read_bytes()
    run = fork(tmp_path, '-opt', 'small.yml', fault=damage_validation)
    text = run.finish()
    assert run.returncode == 1 and 'Traceback' not in text, text[-3000:]
    assert 'The run stops after iteration 6, in a validation.\nval: image 2 of 2: ' in text
    assert re.search(r'pictures/val/1.png: the PNG is truncated', text)
    assert f'The last complete state is {newest_state(tmp_path)}.' in text and newest_state(tmp_path).stem == '6'
    victim.write_bytes(intact)
    run = fork(tmp_path, '-opt', 'small.yml', '--auto_resume')
    text = run.finish()
    assert run.returncode == 0 and 'iter: 6' in text, text[-3000:]
    figures = [(root / 'experiments' / 'small' / 'validation.csv').read_text() for root in (tmp_path, undisturbed)]
    assert figures[0] == figures[1]


def test_a_damaged_table_of_figures_is_met_before_training_goes_on(tmp_path):
    prepare(tmp_path, train={'total_iter': 3})
    assert fork(tmp_path, '-opt', 'small.yml').finish() is not None
    table = tmp_path / 'experiments' / 'small' / 'validation.csv'
    table.write_text(table.read_text() + '5;val;denoise\n')
    run = fork(tmp_path, '-opt', 'small.yml', '--auto_resume', '--force_yml', 'train:total_iter=6')
    text = run.finish()
    assert run.returncode == 1 and 'Traceback' not in text, text[-3000:]
    assert "validation.csv: line 3 is ['5;val;denoise']" in text and 'move the file away' in text
    assert newest_state(tmp_path).stem == '3'


@pytest.mark.parametrize(
    'fault, ranks, cause', [(shrink, 1, 'has 8x8 pixels'), (delete_in_rank_1, 2, 'cannot be read')]
)
def test_with_skip_the_run_goes_on_counting_and_logging(tmp_path, fault, ranks, cause):
    train_set = {'on_error': 'skip', 'num_worker_per_gpu': 2 - ranks}
    prepare(tmp_path, datasets={'train': train_set}, val={'val_freq': 100})
    make_pictures(tmp_path / 'tiny', 1, size=8)
    runs = fork_ranks(tmp_path, 2, '-opt', 'small.yml', fault=fault) if ranks == 2 else None
    runs = runs or [fork(tmp_path, '-opt', 'small.yml', fault=fault)]
    texts = [run.finish() for run in runs]
    assert [run.returncode for run in runs] == [0] * ranks, texts[-1][-3000:]
    skipped = [re.findall(rf'skipped \((\d+) so far\): \S*{VICTIM}: .*{cause}', text) for text in texts]
    for numbers in skipped:
        assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    count = sum(map(len, skipped))
    assert count and f'WARNING: {count} broken training samples were replaced' in texts[0]
    log = next((tmp_path / 'experiments' / 'small').glob('train_small_*.log')).read_text()
    assert log.count('so far)') == len(skipped[0]) and 'samples were replaced' in log
    assert newest_state(tmp_path).name == '12.state'


def test_a_file_that_one_of_two_ranks_misses_stops_both(tmp_path):
    prepare(tmp_path)
    runs = fork_ranks(tmp_path, 2, '-opt', 'small.yml', fault=delete_in_rank_1)
    texts = [run.finish() for run in runs]
    assert [run.returncode for run in runs] == [1, 1]
    assert any(re.search(rf'The run stops after iteration \d.*\n\S*{VICTIM}: cannot be read', text) for text in texts)
    for text in texts:
        assert f'The last complete state is {newest_state(tmp_path)}.' in text


def test_a_nan_in_one_of_two_ranks_stops_both_before_the_step(tmp_path):
    prepare(tmp_path)
    runs = fork_ranks(tmp_path, 2, '-opt', 'small.yml', fault=nan_in_rank_1)
    texts = [run.finish() for run in runs]
    for run, text in zip(runs, texts, strict=True):
        assert run.returncode == 1 and 'Traceback' not in text, text[-3000:]
        assert 'iteration 5: a loss or its gradient is not finite' in text
        assert len(re.findall(r'pictures/train/\d\.png\n|pictures/train/\d\.png  <- ', text)) == 4
        assert re.search(r'rank 1:\n  \S+\n  \S+train/\d\.png  <- non-finite values in lq\n', text)
        assert f'The last complete state is {newest_state(tmp_path)}.' in text
    experiment = tmp_path / 'experiments' / 'small'
    saved = torch.load(experiment / 'nonfinite_5_rank1.pt', weights_only=True)
    assert saved['batch']['lq_path'][1] + '  <-' in texts[0]
    assert newest_state(tmp_path).name == '3.state'
    weights = torch.load(experiment / 'models' / 'net_g_3.pth', weights_only=True)
    assert all(value.isfinite().all() for part in weights.values() for value in part.values())
    runs = fork_ranks(tmp_path, 2, '-opt', 'small.yml', '--auto_resume')
    texts = [run.finish() for run in runs]
    assert [run.returncode for run in runs] == [0, 0] and 'iter: 3' in texts[0], texts[0][-3000:]


def test_a_stop_signal_to_workers_or_in_a_validation_loses_nothing(undisturbed, tmp_path):
    prepare(tmp_path, datasets={'train': {'num_worker_per_gpu': 2}})
    for fault, iteration, told in (
        (stop_all_twice, 4, 'Stopped by SIGTERM after iteration 4 of 12'),
        (
            stop_in_a_validation,
            6,
            'The validation on val stops after 1 images; it is made up for when the run goes on.',
        ),
    ):
        run = fork(tmp_path, '-opt', 'small.yml', '--auto_resume', fault=fault)
        text = run.finish()
        assert run.returncode == 143 and told in text, text[-2000:]
        assert newest_state(tmp_path).stem == str(iteration)
    run = fork(tmp_path, '-opt', 'small.yml', '--auto_resume')
    run.finish()
    assert run.returncode == 0 and collect(undisturbed).differences(collect(tmp_path)) == []
