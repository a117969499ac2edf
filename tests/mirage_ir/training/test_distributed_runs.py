"""Runs of several processes on the CPU: they train, validate, resume, and end together when one of them dies."""

import os
import shutil
import signal
import time

import pytest
import torch
from kill_trial import collect, prepare
from small_run import fingerprint, fork, fork_ranks, launch, logged_losses


def finish(runs):
    texts = [run.finish() for run in runs]
    assert [run.returncode for run in runs] == [0] * len(runs), texts[0][-4000:]
    return texts


def files(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob('*') if path.is_file())


@pytest.fixture(scope='module')
def two_ranks(tmp_path_factory):
    root = tmp_path_factory.mktemp('two')
    prepare(root)
    finish(fork_ranks(root, 2, '-opt', 'small.yml'))
    return root


def test_two_ranks_train_validate_and_resume_bit_for_bit(two_ranks, tmp_path):
    prepare(tmp_path)
    shutil.copytree(two_ranks / 'experiments', tmp_path / 'experiments')
    states = tmp_path / 'experiments' / 'small' / 'training_states'
    for iteration in (9, 12):
        (states / f'{iteration}.state').unlink()
    texts = finish(fork_ranks(tmp_path, 2, '-opt', 'small.yml', '--auto_resume'))
    assert 'Resuming training from epoch: 1, iter: 6' in texts[0]
    assert collect(tmp_path).differences(collect(two_ranks)) == []
    state = torch.load(states / '12.state', weights_only=True)
    assert state['samples_seen'] == 12 * 2 * 2 and len(state['random']) == 2


def test_only_rank_0_writes(two_ranks):
    expected = ['small.yml', 'training_data.json', 'validation.csv']
    expected += [f'models/net_g_{label}.pth' for label in (3, 6, 9, 12, 'latest')]
    expected += [f'training_states/{iteration}.state' for iteration in (3, 6, 9, 12)]
    found = files(two_ranks / 'experiments' / 'small')
    logs = [name for name in found if name.endswith('.log')]
    assert len(logs) == 1
    assert sorted(expected) == [name for name in found if name not in logs]
    assert 'INFO' not in (two_ranks / 'output_1.txt').read_text()


@pytest.mark.parametrize('processes', [1, 4])
def test_another_number_of_ranks_goes_on_in_the_stream(two_ranks, tmp_path, processes):
    prepare(tmp_path, train={'total_iter': 14})
    shutil.copytree(two_ranks / 'experiments', tmp_path / 'experiments')
    arguments = ('-opt', 'small.yml', '--auto_resume')
    finish(fork_ranks(tmp_path, processes, *arguments) if processes > 1 else [fork(tmp_path, *arguments)])
    assert max(logged_losses(tmp_path / 'experiments' / 'small')) == 14
    assert '\n12,val,denoise,psnr,' in (tmp_path / 'experiments' / 'small' / 'validation.csv').read_text()


def wait_for_iteration_4(run):
    deadline = time.monotonic() + 300
    while 'iter:       4' not in run.text():
        assert time.monotonic() < deadline and run.returncode is None, run.text()[-3000:]
        time.sleep(0.01)


def test_a_killed_rank_stops_the_others_with_a_message(tmp_path):
    prepare(tmp_path, train={'total_iter': 2000})
    runs = fork_ranks(tmp_path, 2, '-opt', 'small.yml')
    wait_for_iteration_4(runs[0])
    os.kill(runs[1].pid, signal.SIGKILL)
    text = runs[0].finish()
    assert runs[0].returncode == 1
    assert 'Rank 0 stopped' in text and 'another rank was killed' in text
    assert 'The last complete state is' in text and '--auto_resume' in text


def test_a_signal_to_one_rank_stops_all_after_the_same_iteration(two_ranks, tmp_path):
    prepare(tmp_path, logger={'save_checkpoint_freq': 1000})
    runs = fork_ranks(tmp_path, 2, '-opt', 'small.yml')
    wait_for_iteration_4(runs[0])
    os.kill(runs[1].pid, signal.SIGTERM)
    texts = [run.finish() for run in runs]
    assert [run.returncode for run in runs] == [128 + signal.SIGTERM] * 2
    assert [text.count('Stopped by SIGTERM after iteration') for text in texts] == [1, 0]
    prepare(tmp_path)
    finish(fork_ranks(tmp_path, 2, '-opt', 'small.yml', '--auto_resume'))
    assert fingerprint(tmp_path / 'experiments' / 'small') == fingerprint(two_ranks / 'experiments' / 'small')


def test_torchrun_with_spawned_workers_stops_at_a_signal_and_goes_on(undisturbed, tmp_path):
    root, elsewhere = tmp_path / 'my project', tmp_path / 'else where'
    elsewhere.mkdir()
    # a spawned worker imports everything anew: one long epoch; torchrun passes the signal on to the workers, too
    train_set = {'num_worker_per_gpu': 1, 'dataset_enlarge_ratio': 20}
    prepare(root, logger={'save_checkpoint_freq': 1000}, datasets={'train': train_set})
    run = launch(root, '-opt', 'small.yml', processes=1, cwd=elsewhere)
    wait_for_iteration_4(run)
    run.kill(signal.SIGTERM)
    assert run.text().count('Stopped by SIGTERM after iteration') == 1
    assert os.listdir(elsewhere) == []
    prepare(root)
    finish([fork(root, '-opt', 'small.yml', '--auto_resume')])
    assert fingerprint(root / 'experiments' / 'small') == fingerprint(undisturbed / 'experiments' / 'small')
