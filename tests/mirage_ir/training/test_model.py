import logging
import math
from copy import deepcopy

import pytest
import torch
from model_setup import LOSSES, NETWORK, PairSet, batch, build, loader, test_options, train, training_options

from mirage_arch.checkpoints import CheckpointError
from mirage_arch.mirage_arch import MIRAGEArch
from mirage_ir.training.guards import NonFiniteError
from mirage_ir.training.model import MIRAGEModel
from mirage_losses.fourier_loss import fourier_loss
from mirage_losses.spd_contrastive_loss import info_nce


def weights(model):
    return {name: tensor.clone() for name, tensor in model.net_g.state_dict().items()}


def test_losses_are_the_weighted_ones_and_all_weights_learn(tmp_path):
    model = build(training_options(tmp_path, network={'drop_path_rate': 0.0}))
    twin = MIRAGEArch(**{k: v for k, v in NETWORK.items() if k != 'type'}, drop_path_rate=0.0)
    twin.load_state_dict(model.net_g.state_dict())
    data, before = batch(1), weights(model)
    log = train(model, 1, batches=lambda _: data)[0]
    output, embeddings = twin.train()(data['lq'], return_embeddings=True)
    assert log['l_pix'] == pytest.approx((output - data['gt']).abs().mean().item(), rel=1e-5)
    assert log['l_fourier'] == pytest.approx(0.1 * fourier_loss(output, data['gt']).item(), rel=1e-5)
    assert log['l_spd'] == pytest.approx(0.05 * info_nce(embeddings['shallow'], embeddings['latent']).item(), rel=1e-5)
    unchanged = [name for name, p in model.net_g.named_parameters() if torch.equal(p, before[name])]
    assert unchanged == []


@pytest.mark.parametrize('losses', [('pixel_opt',), ('fourier_opt',), ('pixel_opt', 'spd_opt')])
def test_every_loss_is_optional(tmp_path, losses):
    model = build(training_options(tmp_path, losses=losses))
    log = train(model, 1)[0]
    names = {'pixel_opt': 'l_pix', 'fourier_opt': 'l_fourier', 'spd_opt': 'l_spd'}
    assert {key for key in log if key.startswith('l_')} == {names[loss] for loss in losses}
    assert model.net_g.has_spd_head == ('spd_opt' in losses)


def test_no_restoration_loss_is_an_error(tmp_path):
    with pytest.raises(ValueError, match='pixel_opt, fourier_opt, perceptual_opt and losses'):
        build(training_options(tmp_path, losses=('spd_opt',)))


def test_heads_switched_off_beside_spd_opt_is_an_error(tmp_path):
    with pytest.raises(ValueError, match='spd_head'):
        build(training_options(tmp_path, network={'spd_head': False}))


def test_perceptual_loss_is_added(tmp_path, monkeypatch):
    class Perceptual(torch.nn.Module):
        def forward(self, output, gt):
            return 0.5 * (output - gt).pow(2).mean(), None

    model = build(training_options(tmp_path, losses=('pixel_opt',)))
    model.cri_perceptual = Perceptual()
    log = train(model, 1)[0]
    assert log['l_percep'] > 0 and 'l_style' not in log


def test_options_of_the_caller_stay_as_they_are(tmp_path):
    options = training_options(tmp_path, losses=('pixel_opt',), ema_decay=0.9)
    copy = deepcopy(options)
    train(build(options), 1)
    assert options == copy


def test_training_lowers_the_loss(tmp_path):
    model = build(training_options(tmp_path, total_iter=60))
    logs = train(model, 50, batches=lambda _: batch(1))
    assert logs[-1]['l_pix'] < 0.7 * logs[0]['l_pix']


@pytest.mark.parametrize('name', ['AdamW', 'Adam'])
def test_optimizers_take_the_step_of_the_plain_ones(tmp_path, name):
    options = training_options(tmp_path, losses=('pixel_opt',), network={'drop_path_rate': 0.0})
    options['train']['optim_g']['type'] = name
    fused = build(options)
    options['train']['optim_g']['fused'] = False
    plain = build(options)
    assert fused.optimizer_g.defaults['fused'] and isinstance(fused.optimizer_g, getattr(torch.optim, name))
    train(fused, 3)
    train(plain, 3)
    for (key, a), b in zip(fused.net_g.state_dict().items(), plain.net_g.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, msg=key)


def test_unknown_optimizer_and_text_instead_of_a_number_are_named(tmp_path):
    options = training_options(tmp_path)
    options['train']['optim_g']['type'] = 'AdamX'
    with pytest.raises(ValueError, match='AdamX.*AdamW, Adam'):
        build(options)
    options['train']['optim_g'].update(type='AdamW', lr='2e-4')
    with pytest.raises(ValueError, match='lr is the text'):
        build(options)


def test_learning_rate_follows_our_schedule_and_basicsrs_own(tmp_path):
    model = build(training_options(tmp_path, total_iter=10))
    found = []
    for iteration in range(1, 11):
        model.update_learning_rate(iteration, warmup_iter=2)
        found.append(model.get_current_learning_rate()[0])
    assert found[:2] == pytest.approx([0.5e-3, 1e-3])
    assert found[2] == pytest.approx(0.5e-3 * (1 + math.cos(math.pi / 8))) and found[-1] == 0
    options = training_options(tmp_path, total_iter=10)
    options['train']['scheduler'] = {'type': 'CosineAnnealingRestartLR', 'periods': [10], 'restart_weights': [1]}
    options['train']['warmup_iter'] = 4
    model = build(options)
    model.update_learning_rate(1, warmup_iter=4)
    assert model.get_current_learning_rate()[0] == pytest.approx(0.25e-3)


def test_average_carries_batch_norm_statistics_and_is_saved(tmp_path):
    model = build(training_options(tmp_path, ema_decay=0.5))
    train(model, 3)
    model.save(0, 3)
    stored = torch.load(tmp_path / 'models' / 'net_g_3.pth', weights_only=True)
    name = next(key for key in stored['params'] if key.endswith('running_mean'))
    assert stored['params_ema'][name].abs().sum() > 0
    assert not torch.equal(stored['params_ema'][name], stored['params'][name])


@pytest.mark.parametrize('ema_decay', [0, 0.9])
def test_frozen_batch_norm_trains_the_network_that_is_evaluated(tmp_path, ema_decay):
    model = build(training_options(tmp_path, freeze_bn=True, ema_decay=ema_decay, network={'drop_path_rate': 0.0}))
    before = weights(model)
    train(model, 2)
    model.validation(loader(PairSet([('/pictures/a.png', 'x', (16, 24))])), 2, None)
    train(model, 1, start=2)
    after = weights(model)
    statistics = [name for name in after if 'running' in name or 'num_batches' in name]
    assert statistics and all(torch.equal(before[name], after[name]) for name in statistics)
    assert not torch.equal(before['latent.0.attn.gatedcnn.norm.weight'], after['latent.0.attn.gatedcnn.norm.weight'])
    lq = batch(9)['lq']
    with torch.no_grad():
        trained = model.net_g(lq)
        torch.testing.assert_close(model.net_g.eval()(lq), trained)


@pytest.mark.parametrize('culprit', ['lq', 'gt'])
def test_non_finite_input_stops_before_the_step_and_names_the_sample(tmp_path, culprit):
    model = build(training_options(tmp_path, ema_decay=0.9))
    train(model, 2)
    model.save(0, 2)
    before, average = weights(model), deepcopy(model.net_g_ema.state_dict())
    state = deepcopy(model.optimizer_g.state_dict()['state'][0])
    bad = batch(3)
    bad[culprit][2, 0, 5, 5] = float('nan')
    model.update_learning_rate(3)
    model.feed_data(bad)
    with pytest.raises(NonFiniteError, match=r'iteration 3:') as caught:
        model.optimize_parameters(3)
    assert f'lq/3_2.png  <- non-finite values in {culprit}' in str(caught.value)
    assert str(caught.value).count('<-') == 1
    weights_now = weights(model)
    parameters = {name for name, _ in model.net_g.named_parameters()}
    assert all(torch.equal(weights_now[name], before[name]) for name in parameters)
    assert all(torch.equal(tensor, average[name]) for name, tensor in model.net_g_ema.state_dict().items())
    assert torch.equal(model.optimizer_g.state_dict()['state'][0]['exp_avg'], state['exp_avg'])
    saved = torch.load(tmp_path / 'nonfinite_3_rank0.pt', weights_only=True)
    torch.testing.assert_close(saved['batch'][culprit], bad[culprit], equal_nan=True)
    stored = torch.load(tmp_path / 'models' / 'net_g_2.pth', weights_only=True)['params']
    assert all(tensor.isfinite().all() for tensor in stored.values())


def test_exploding_gradient_of_a_finite_loss_stops_too(tmp_path):
    model = build(training_options(tmp_path, losses=('pixel_opt',)))
    model.net_g.output.weight.register_hook(lambda gradient: gradient * float('inf'))
    with pytest.raises(NonFiniteError, match='grad_norm = '):
        train(model, 1)


def test_clipping_bounds_the_gradient(tmp_path):
    model = build(training_options(tmp_path, grad_clip=0.01))
    log = train(model, 1)[0]
    assert log['grad_norm'] > 0.01
    clipped = torch.stack([p.grad.norm() for p in model.net_g.parameters()]).norm()
    assert clipped.item() == pytest.approx(0.01, rel=1e-3)


def test_parts_of_a_batch_add_up_to_its_gradient(tmp_path):
    # Batch norm frozen and no contrastive loss: then the parts must give exactly the batch's gradient.
    def gradients(parts):
        options = training_options(
            tmp_path, losses=('pixel_opt', 'fourier_opt'), network={'drop_path_rate': 0.0}, accumulate_grad=parts
        )
        model = build(options)
        for module in model.net_g.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        log = train(model, 1)[0]
        return log, [p.grad.clone() for p in model.net_g.parameters()]

    (whole_log, whole), (parts_log, parts) = gradients(1), gradients(4)
    assert parts_log == pytest.approx(whole_log, rel=1e-4)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_parts_must_divide_the_batch(tmp_path):
    with pytest.raises(ValueError, match='accumulate_grad is 3'):
        train(build(training_options(tmp_path, accumulate_grad=3)), 1)


def test_stale_ground_truth_is_forgotten(tmp_path):
    model = build(training_options(tmp_path))
    model.feed_data(batch(1))
    model.feed_data({'lq': batch(2)['lq'], 'lq_path': ['x']})
    assert not hasattr(model, 'gt')


def test_weights_round_trip_and_test_network_has_no_heads(tmp_path):
    model = build(training_options(tmp_path, ema_decay=0.5))
    train(model, 2)
    model.save(0, 2)
    tested = build(test_options(tmp_path, str(tmp_path / 'models' / 'net_g_2.pth')), seed=5)
    assert not tested.net_g.has_spd_head
    for name, tensor in tested.net_g.state_dict().items():
        assert torch.equal(tensor, model.net_g_ema.state_dict()[name])


def test_loading_without_strictness_needs_at_least_one_tensor(tmp_path):
    options = training_options(tmp_path, ema_decay=0.5)
    model = build(options)
    path = str(tmp_path / 'other.pth')
    other = {'patch_embed.proj.weight': torch.zeros(7, 3, 3, 3), 'something': torch.zeros(2)}
    torch.save({'params': other}, path)
    with pytest.raises(CheckpointError, match='other.pth: no tensor fits'):
        model.load_network(model.net_g, path, strict=False)
    other['output.weight'] = torch.ones_like(model.net_g.output.weight)
    torch.save({'params': other}, path)
    model.load_network(model.net_g, path, strict=False)
    assert torch.equal(model.net_g.output.weight, other['output.weight'])
    with pytest.raises(CheckpointError, match='missing'):
        model.load_network(model.net_g, path, strict=True)


@pytest.mark.parametrize(('key', 'there'), [('params_ema', 'params'), ('params', 'params_ema')])
def test_an_entry_that_the_options_name_is_not_replaced_in_silence(key, there, tmp_path, caplog, monkeypatch):
    path = str(tmp_path / 'one.pth')
    torch.save({there: build(training_options(tmp_path), seed=3).net_g.state_dict(), 'epoch': 1}, path)
    monkeypatch.setattr(logging.getLogger('basicsr'), 'propagate', True)
    told = (
        f'{path}: has no entry {key!r}; it has {there}, epoch. '
        f'path: param_key_g asks for {key!r}; used instead is {there!r}.'
    )
    for asked, expected in ({'param_key_g': key}, {told}), ({'param_key_g': there}, set()), ({}, set()):
        caplog.clear()
        options = training_options(tmp_path, ema_decay=0.9)
        options['path'].update(pretrain_network_g=path, **asked)
        build(options)
        assert {r.getMessage() for r in caplog.records if r.levelno == logging.WARNING} == expected


def test_average_of_a_partly_loaded_network_starts_as_its_copy(tmp_path):
    path = str(tmp_path / 'part.pth')
    source = build(training_options(tmp_path), seed=3)
    part = {k: v for k, v in source.net_g.state_dict().items() if k.startswith('patch_embed')}
    torch.save({'params': part}, path)
    options = training_options(tmp_path, ema_decay=0.9)
    options['path'].update(pretrain_network_g=path, strict_load_g=False)
    model = build(options)
    for name, tensor in model.net_g_ema.state_dict().items():
        assert torch.equal(tensor, model.net_g.state_dict()[name]), name


def test_any_registered_network_can_be_trained(tmp_path):
    options = training_options(tmp_path, losses=('pixel_opt', 'fourier_opt'), ema_decay=0.5)
    options['network_g'] = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 1, 'upscale': 1}
    model = build(options)
    assert math.isfinite(train(model, 1)[0]['l_pix'])
    model.save(0, 1)
    again = MIRAGEModel(options)
    again.load_network(again.net_g, str(tmp_path / 'models' / 'net_g_1.pth'))
    assert all(torch.equal(a, b) for a, b in zip(again.net_g.parameters(), model.net_g.parameters(), strict=True))
    for key, value in (('checkpoint_blocks', True), ('spd_opt', LOSSES['spd_opt'])):
        options['train'][key] = value
        with pytest.raises(ValueError, match=f'{key} is not possible'):
            build(options)
        del options['train'][key]


def test_logging_iterations_show_the_state_of_the_run(tmp_path):
    log = train(build(training_options(tmp_path)), 5)[-1]
    expected = {
        'grad_norm',
        'lr',
        'memory_gib',
        'images_per_s',
        'spd/positive_cosine',
        'spd/negative_cosine',
        'spd/negative_spread',
        'spd/condition_shallow',
        'spd/condition_latent',
    }
    assert expected <= set(log)
    assert all(isinstance(value, float) and math.isfinite(value) for value in log.values())
    assert log['spd/condition_shallow'] > 1 and 0 < log['memory_gib'] < 64


@pytest.mark.parametrize(('geometry', 'similarity'), [('cholesky', 'cosine'), ('covariance', 'affine_invariant')])
def test_contrast_of_another_geometry_trains_and_shows_its_state(tmp_path, geometry, similarity):
    options = training_options(tmp_path, network={'geometry': geometry})
    options['train']['spd_opt']['similarity'] = similarity
    model = build(options)
    before = weights(model)
    log = train(model, 5)[-1]
    assert all(not torch.equal(p, before[name]) for name, p in model.net_g.named_parameters() if 'spd_heads' in name)
    compared = model.cri_spd.compare(model.embeddings['shallow'], model.embeddings['latent'])
    name = 'cosine' if similarity == 'cosine' else 'geodesic'
    assert log[f'spd/positive_{name}'] == pytest.approx(compared.diagonal().mean().item(), rel=1e-4)
    assert {f'spd/negative_{name}', 'spd/negative_spread'} <= set(log) and log['spd/condition_latent'] > 1
