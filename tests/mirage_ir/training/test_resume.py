"""A killed and resumed run must end bit for bit where an undisturbed one ends."""

import shutil

import numpy as np
import pytest
import torch
from kill_trial import collect, prepare, run_and_kill, run_to_end
from small_run import fingerprint, fork, logged_losses, write_options


@pytest.mark.parametrize('workers', [0, 2])
def test_kills_leave_no_trace(undisturbed, tmp_path, workers):
    prepare(tmp_path, datasets={'train': {'num_worker_per_gpu': workers}})
    rng = np.random.default_rng(workers)
    kills = [
        run_and_kill(tmp_path, moment, rng, span=3, startup=0.5, start=fork)
        for moment in ('training', 'writing', 'training')
    ]
    run_to_end(tmp_path, '--auto_resume', start=fork)
    assert len([kill for kill in kills if kill is not None]) >= 2
    assert collect(undisturbed).differences(collect(tmp_path)) == []


def test_continues_under_a_new_name_and_from_a_copied_folder(undisturbed, tmp_path):
    for root in (tmp_path / 'named', tmp_path / 'copied'):
        prepare(root)
        shutil.copytree(undisturbed / 'experiments' / 'small', root / 'kept')
        for iteration in (9, 12):
            (root / 'kept' / 'training_states' / f'{iteration}.state').unlink()
    named, copied = tmp_path / 'named', tmp_path / 'copied'

    write_options(named, name='second', path={'resume_state': 'kept/training_states/6.state'})
    run_to_end(named, start=fork)
    assert fingerprint(named / 'experiments' / 'second') == fingerprint(undisturbed / 'experiments' / 'small')
    assert min(logged_losses(named / 'experiments' / 'second')) == 7

    (copied / 'experiments').mkdir()
    (copied / 'kept').rename(copied / 'experiments' / 'small')
    (copied / 'elsewhere').mkdir()
    kept_options = copied / 'experiments' / 'small' / 'small.yml'
    run = fork(copied, '-opt', str(kept_options), '--auto_resume', cwd=copied / 'elsewhere')
    assert 'Resuming training from epoch: 0, iter: 6' in run.finish()
    assert fingerprint(copied / 'experiments' / 'small') == fingerprint(undisturbed / 'experiments' / 'small')


def test_a_longer_total_iter_continues_and_anneals_to_the_new_end(undisturbed, tmp_path):
    prepare(tmp_path)
    shutil.copytree(undisturbed / 'experiments', tmp_path / 'experiments')
    (tmp_path / 'experiments' / 'small' / 'training_states' / '12.state').unlink()
    write_options(tmp_path, train={'total_iter': 18})
    run_to_end(tmp_path, '--auto_resume', start=fork)

    prepare(tmp_path / 'whole', train={'total_iter': 18})
    run_to_end(tmp_path / 'whole', start=fork)
    resumed, whole = (
        {i: next(iter(texts)).split(')')[0] for i, texts in logged_losses(root / 'experiments' / 'small').items()}
        for root in (tmp_path, tmp_path / 'whole')
    )
    assert {i: resumed[i] for i in range(13, 19)} == {i: whole[i] for i in range(13, 19)}
    assert resumed[18] == 'lr:(0.000e+00,'


def test_a_seed_drawn_at_random_is_kept(tmp_path):
    prepare(tmp_path, manual_seed=None)
    run_to_end(tmp_path, start=fork)
    states = tmp_path / 'experiments' / 'small' / 'training_states'
    before = fingerprint(tmp_path / 'experiments' / 'small')
    for iteration in (9, 12):
        (states / f'{iteration}.state').unlink()
    run_to_end(tmp_path, '--auto_resume', start=fork)
    assert fingerprint(tmp_path / 'experiments' / 'small') == before


def test_keeps_the_newest_checkpoints_and_the_weights_of_the_best(tmp_path):
    prepare(tmp_path, logger={'keep_checkpoints': 2}, train={'total_iter': 15})
    run_to_end(tmp_path, start=fork)
    experiment = tmp_path / 'experiments' / 'small'
    best = torch.load(experiment / 'training_states' / '15.state', weights_only=True)['best_metric_results']
    assert {path.stem for path in experiment.glob('training_states/*')} == {'12', '15'}
    kept = {path.stem.removeprefix('net_g_') for path in experiment.glob('models/*')}
    assert kept == {'12', '15', 'latest', str(best['val']['psnr']['iter'])}


def test_fresh_starts_over_and_deletes_nothing(undisturbed, tmp_path):
    prepare(tmp_path)
    shutil.copytree(undisturbed / 'experiments', tmp_path / 'experiments')
    text = run_to_end(tmp_path, '--auto_resume', '--fresh', start=fork)
    assert 'Start training from epoch: 0, iter: 0' in text
    (archived,) = (tmp_path / 'experiments').glob('small_archived_*')
    assert fingerprint(archived) == fingerprint(undisturbed / 'experiments' / 'small')
    assert fingerprint(tmp_path / 'experiments' / 'small') == fingerprint(archived)
