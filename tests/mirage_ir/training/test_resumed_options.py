"""Options that change between a state and the run that goes on from it: each takes effect, and each is named."""

import json
import re
import shutil
from copy import deepcopy

import pytest
import torch
from kill_trial import prepare
from model_setup import build, train, training_options
from small_run import make_options, write_options

from mirage_ir.commands.run import train as main
from mirage_ir.training.command_line import force
from mirage_ir.training.resume import (
    changed_counts,
    changes,
    count_samples,
    describe,
    forget_records,
    read_state,
    recorded,
)

MULTISTEP = {'type': 'MultiStepLR', 'milestones': [3, 6, 50], 'gamma': 0.5}


def _stopped(folder, iterations, **options):
    """The state of a run of so many iterations, and its options."""
    (folder / 'models').mkdir()
    (folder / 'training_states').mkdir()
    opt = training_options(folder, losses=('pixel_opt',), total_iter=10, **options)
    model = build(opt)
    model.recorded_options = recorded(opt)
    train(model, iterations)
    model.save(0, iterations)
    return read_state(str(folder / 'training_states' / f'{iterations}.state')), opt


def _resumed(folder, state, **options):
    opt = training_options(folder, losses=('pixel_opt',), **{'total_iter': 10, **options})
    model = build(opt)
    model.recorded_options = recorded(opt)
    model.resume_training(deepcopy(state))
    return model


def _optimizer(**changed):
    return {'type': 'AdamW', 'lr': 1e-3, 'weight_decay': 0.01, 'betas': [0.9, 0.999], **changed}


def test_a_changed_optimizer_takes_effect_and_keeps_its_moments(tmp_path):
    state, _ = _stopped(tmp_path, 5)
    model = _resumed(tmp_path, state, optim_g=_optimizer(type='Adam', lr=4e-3, weight_decay=0.2, betas=[0.8, 0.99]))
    group = model.optimizer_g.param_groups[0]
    assert type(model.optimizer_g) is torch.optim.Adam and not group['decoupled_weight_decay']
    assert group['weight_decay'] == 0.2 and tuple(group['betas']) == (0.8, 0.99)
    first = group['params'][0]
    assert torch.equal(model.optimizer_g.state[first]['exp_avg'], state['optimizers'][0]['state'][0]['exp_avg'])
    # the same point of the same curve, four times as high
    same = _resumed(tmp_path, state)
    train(model, 1, start=5)
    train(same, 1, start=5)
    assert model.get_current_learning_rate()[0] == pytest.approx(4 * same.get_current_learning_rate()[0], rel=1e-12)
    assert same.get_current_learning_rate()[0] > 0


@pytest.mark.parametrize('before', [False, True])
def test_another_memory_layout_leaves_each_moment_with_its_weight(tmp_path, before):
    """Fused steps take weights and moments as they lie in memory."""
    state, _ = _stopped(tmp_path, 5, channels_last=before)
    weights = []
    for channels_last in (before, not before):
        model = _resumed(tmp_path, state, channels_last=channels_last)
        start = {name: value.clone() for name, value in model.net_g.named_parameters()}
        for parameter in model.net_g.parameters():
            parameter.grad = torch.zeros_like(parameter)  # so that the moments alone move the weights
        model.optimizer_g.step()
        weights.append({name: value - start[name] for name, value in model.net_g.named_parameters()})
    assert any(value.abs().max() > 1e-5 for value in weights[0].values())
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-4, atol=1e-8, msg=name)


def test_amsgrad_can_be_switched_on(tmp_path):
    state, _ = _stopped(tmp_path, 2)
    model = _resumed(tmp_path, state, optim_g=_optimizer(amsgrad=True))
    train(model, 1, start=2)
    entries = model.optimizer_g.state[model.optimizer_g.param_groups[0]['params'][0]]
    assert 'max_exp_avg_sq' in entries


def test_a_finished_cosine_run_goes_on_with_another_schedule_at_the_rate_of_that_one(tmp_path):
    state, _ = _stopped(tmp_path, 10)
    assert state['optimizers'][0]['param_groups'][0]['lr'] == 0
    model = _resumed(tmp_path, state, total_iter=100, scheduler=MULTISTEP, warmup_iter=-1)
    train(model, 1, start=10)
    assert model.get_current_learning_rate()[0] == pytest.approx(1e-3 * 0.5 * 0.5)
    # a state from before the options were recorded
    old = {key: value for key, value in state.items() if key != 'options'}
    model = _resumed(tmp_path, old, total_iter=100, scheduler=MULTISTEP, warmup_iter=-1)
    train(model, 1, start=10)
    assert model.get_current_learning_rate()[0] == pytest.approx(1e-3 * 0.5 * 0.5)


def test_a_multistep_run_follows_changed_milestones_and_a_changed_peak(tmp_path):
    state, _ = _stopped(tmp_path, 5, scheduler=MULTISTEP, warmup_iter=-1)
    later = _resumed(tmp_path, state, scheduler={**MULTISTEP, 'milestones': [8]}, warmup_iter=-1)
    assert later.get_current_learning_rate()[0] == 1e-3
    higher = _resumed(tmp_path, state, scheduler=MULTISTEP, warmup_iter=-1, optim_g=_optimizer(lr=2e-3))
    assert higher.get_current_learning_rate()[0] == pytest.approx(2e-3 * 0.5)


def test_every_change_is_named_with_both_values():
    before = {
        'name': 'a',
        'manual_seed': 1,
        'scale': 1,
        'path': {'pretrain_network_g': None, 'log': 'x'},
        'datasets': {'train': {'phase': 'train', 'sources': [{'sigma': 15}, {'sigma': 25}], 'gt_size': 64}},
        'train': {'total_iter': 9, 'losses': None},
        'network_g': {'dim': 6},
    }
    after = deepcopy(before)
    after.update(name='b', manual_seed=2, rank=0)
    after['datasets']['train']['sources'][1]['sigma'] = 50
    after['train'] = {'total_iter': 9, 'grad_clip': 1.0}
    after['path']['pretrain_network_g'] = 'w.pth'
    found = changes(recorded(before), recorded(after))
    assert sorted(map(tuple, found)) == [
        ('datasets:train:sources:1:sigma', 25, 50),
        ('manual_seed', 1, 2),
        ('path:pretrain_network_g', None, 'w.pth'),
        ('train:grad_clip', 'not given', 1.0),
    ]
    text = describe(found, 1200)
    assert '1,200' in text and 'sigma: 25 -> 50' in text and 'not used: the weights are those of the state' in text
    assert changes(recorded(before), recorded(before)) == [] and json.loads(recorded(before))


def test_a_run_names_what_changed_and_leaves_a_last_state(tmp_path, monkeypatch, capfd):
    """Checkpoints rarer than the run is long: its end can be gone on from all the same."""
    prepare(tmp_path, train={'total_iter': 4}, logger={'save_checkpoint_freq': 50})
    monkeypatch.chdir(tmp_path)
    main(['-opt', 'small.yml'], root=str(tmp_path))
    experiment = tmp_path / 'experiments' / 'small'
    assert [path.name for path in (experiment / 'training_states').iterdir()] == ['4.state']
    write_options(tmp_path, train={'total_iter': 5, 'grad_clip': 0.5}, logger={'save_checkpoint_freq': 50})
    capfd.readouterr()
    main(['-opt', 'small.yml', '--auto_resume'], root=str(tmp_path))
    text = capfd.readouterr().err
    assert 'train:total_iter: 4 -> 5' in text and 'train:grad_clip: not given -> 0.5' in text
    assert (experiment / 'training_states' / '5.state').is_file()


def _heads(net):
    return [name for name, _ in net.named_parameters() if name.startswith(('spd_', 'reduce_shallow', 'reduce_latent'))]


def _gone_on(folder, state, losses, iterations, seed=0):
    """A model that took up a state with its weights, and trained on."""
    opt = training_options(folder, losses=losses, total_iter=10)
    opt['path'].update(resume_state='a.state', pretrain_network_g=f'{folder}/models/net_g_5.pth')
    if 'spd_opt' in losses:
        opt['train']['spd_opt']['loss_weight'] = 0  # its gradients are 0: the rest trains as without it
    model = build(opt, seed)
    model.resume_training(deepcopy(state))
    train(model, iterations, start=5)
    return model


def test_the_contrastive_loss_can_be_left_out_and_added_on_resume(tmp_path):
    (tmp_path / 'models').mkdir()
    (tmp_path / 'training_states').mkdir()
    for losses in (('pixel_opt', 'spd_opt'), ('pixel_opt',)):
        model = build(training_options(tmp_path, losses=losses, total_iter=10))
        train(model, 5)
        model.save(0, 5)
        state = read_state(str(tmp_path / 'training_states' / '5.state'))
        with_heads = _gone_on(tmp_path, state, ('pixel_opt', 'spd_opt'), 2)
        without = _gone_on(tmp_path, state, ('pixel_opt',), 2)
        # the same network whatever becomes of the heads: its moments have found their tensors
        common = without.net_g.state_dict()
        assert all(torch.equal(value, with_heads.net_g.state_dict()[name]) for name, value in common.items())
        names = {id(p): name for name, p in with_heads.net_g.named_parameters()}
        steps = {names[id(p)]: int(entry['step']) for p, entry in with_heads.optimizer_g.state.items()}
        new_heads = 'spd_opt' not in losses
        assert len(_heads(with_heads.net_g)) == 8 and all(
            steps[n] == (2 if new_heads else 7) for n in _heads(with_heads.net_g)
        )
        assert steps['output.weight'] == 7


def test_a_multistep_run_follows_another_warm_up(tmp_path):
    state, _ = _stopped(tmp_path, 5, scheduler=MULTISTEP, warmup_iter=8)
    assert state['optimizers'][0]['param_groups'][0]['lr'] == pytest.approx(1e-3 * 5 / 8)
    for warmup in (-1, 6):
        model = _resumed(tmp_path, state, scheduler=MULTISTEP, warmup_iter=warmup)
        whole = build(training_options(tmp_path, losses=('pixel_opt',), scheduler=MULTISTEP, warmup_iter=warmup))
        train(model, 2, start=5)
        train(whole, 7)
        assert model.get_current_learning_rate() == pytest.approx(whole.get_current_learning_rate(), rel=1e-12)


def test_sources_are_compared_by_task_and_a_seed_that_is_not_named_is_the_states():
    def record(*tasks, seed=7):
        rows = [{'task': task, 'sigma': sigma} for task, sigma in tasks]
        return recorded({'path': {}, 'manual_seed': seed, 'datasets': {'train': {'sources': rows}}})

    before = record(('a', 15), ('b', 25))
    assert changes(before, record(('b', 25), ('a', 15))) == [('datasets:train:sources', 'a, b', 'b, a')]
    assert changes(before, record(('c', 5), ('a', 50), ('b', 25))) == [
        ('datasets:train:sources', 'a, b', 'c, a, b'),
        ('datasets:train:sources:1:sigma', 15, 50),
    ]
    assert changes(before, record(('a', 15), ('b', 25), seed=None), seed=7) == []
    assert changes(record(('a', 15), seed=None), record(('a', 15), seed=8), seed=7) == [('manual_seed', 7, 8)]


def test_other_numbers_of_pictures_are_named():
    class Mixture:
        def ratios(self):
            return [{'task': 'a', 'images': 10}, {'task': 'a', 'images': 4}, {'task': 'b', 'images': 3}]

    now = count_samples(Mixture())
    assert now == {'a': 10, 'a (2)': 4, 'b': 3}
    assert changed_counts(None, now) == [] and changed_counts({**now, 'gone': 1}, now) == []
    (change,) = changed_counts({'a': 7, 'a (2)': 4}, now)
    assert 'samples of a: 7 -> 10 (the order of samples is another' in describe([change], 5)


def test_best_figures_that_cannot_be_compared_begin_anew(tmp_path):
    before = make_options(tmp_path)
    for forced, left in (
        ('datasets:val:sigma=50', {}),
        ('datasets:val:num_worker_per_gpu=2', {'val': {'psnr', 'ssim'}}),
        ('val:metrics:psnr:channel=y', {'val': {'ssim'}}),
        ('val:crop_multiple=8', {}),
        ('val:val_freq=6', {'val': {'psnr', 'ssim'}}),
        ('datasets:train:sigma=50', {'val': {'psnr', 'ssim'}}),
    ):
        now = deepcopy(before)
        force(now, forced)
        records = {'val': {'psnr': {'val': 30.0, 'iter': 6}, 'ssim': {'val': 0.9, 'iter': 6}}}
        forget_records(records, changes(recorded(before), recorded(now)), now['datasets'])
        assert {name: set(record) for name, record in records.items()} == left, forced


def test_going_back_to_an_earlier_state_loses_nothing(undisturbed, tmp_path, monkeypatch, capfd):
    """States of the past that was left would be taken by the next --auto_resume, or spared by keep_checkpoints."""
    prepare(tmp_path, path={'resume_state': 'experiments/small/training_states/3.state'}, train={'total_iter': 7})
    shutil.copytree(undisturbed / 'experiments', tmp_path / 'experiments')
    monkeypatch.chdir(tmp_path)
    main(['-opt', 'small.yml', '--force_yml', 'logger:keep_checkpoints=2'], root=str(tmp_path))
    experiment = tmp_path / 'experiments' / 'small'
    (aside,) = experiment.glob('set_aside_after_3_*')
    assert {path.name for path in aside.rglob('*.*')} == {
        *(f'{iteration}.state' for iteration in (6, 9, 12)),
        *(f'net_g_{iteration}.pth' for iteration in (6, 9, 12)),
        'validation.csv',
    }
    assert {path.name for path in experiment.glob('training_states/*')} == {'6.state', '7.state'}
    assert str(aside) in capfd.readouterr().err
    main(['-opt', 'small.yml', '--auto_resume'], root=str(tmp_path))
    text = capfd.readouterr().err
    assert 'Resuming training from epoch: 1, iter: 7' in text and 'nothing is left to train' in text
    with pytest.raises(SystemExit, match='1'):
        main(['-opt', 'small.yml', '--auto_resume', '--force_yml', 'train:total_iter=6'], root=str(tmp_path))
    text = capfd.readouterr().err
    assert re.search(r'total_iter is 6, but the state .*7\.state is of iteration 7.*or go on .*6\.state', text)
    with pytest.raises(SystemExit, match='1'):
        main(['-opt', 'small.yml', '--auto_resume', '--force_yml', 'network_g:dim=12'], root=str(tmp_path))
    text = capfd.readouterr().err
    assert 'network_g must be as it was then' in text and 'Traceback' not in text


CHANGED = """
manual_seed=9 deterministic=true network_g:dim=12 network_g:drop_path_rate=0.2 train:ema_decay=0
train:total_iter=20 train:warmup_iter=5 train:optim_g:lr=1e-4 train:optim_g:type=Adam
train:optim_g:betas=[0.9,0.99] train:optim_g:fused=false train:optim_g:weight_decay=0
train:scheduler:type=MultiStepLR train:scheduler:eta_min=1e-6 train:pixel_opt:type=MSELoss
train:pixel_opt:loss_weight=2 train:fourier_opt=~ train:spd_opt:temperature=0.5 train:amp=bf16 train:compile=true
train:grad_clip=1 train:accumulate_grad=2 train:channels_last=true train:freeze_bn=true train:tf32=false
train:checkpoint_blocks=true datasets:train:gt_size=8 datasets:train:batch_size_per_gpu=4
datasets:train:use_hflip=false datasets:train:sources:0:sigma=50 datasets:train:sources:0:dataroot_gt=x
datasets:train:num_worker_per_gpu=2 datasets:train:resize=[0.5,1] datasets:val:sigma=50 datasets:val:clip=false
val:val_freq=6 val:protocol=lol logger:keep_checkpoints=2 logger:print_freq=4 path:pretrain_network_g=w.pth
path:strict_load_g=false model_type=SRModel
"""


def test_every_changed_key_is_named_with_both_values(tmp_path):
    before = make_options(tmp_path)
    for entry in CHANGED.split():
        now = deepcopy(before)
        force(now, entry)
        found = changes(recorded(before), recorded(now))
        name = entry.partition('=')[0]
        assert found and all(change.key.startswith(name) and change.before != change.now for change in found), entry
