"""Steps whose numbers are read one step later, as on a GPU; a CPU takes the same path when it is told to."""

from copy import deepcopy

import pytest
import torch
from model_setup import PairSet, batch, build, loader, train, training_options

from mirage_ir.training.diagnostics import takes_found_inf
from mirage_ir.training.guards import NonFiniteError


def late(options, seed=0):
    model = build(options, seed)
    assert model.reads_log_late is False  # nothing to gain on a CPU
    model.reads_log_late = True
    return model


def step(model, iteration, data=None):
    """An iteration of BasicSR's loop that does not look at the log."""
    model.update_learning_rate(iteration)
    model.feed_data(batch(iteration) if data is None else data)
    model.optimize_parameters(iteration)


def everything(model):
    optimizer = model.optimizer_g.state_dict()['state']
    return deepcopy(
        {
            **{f'net {k}': v for k, v in model.net_g.state_dict().items()},
            **{f'average {k}': v for k, v in model.net_g_ema.state_dict().items()},
            **{f'optimizer {i} {k}': v for i, state in optimizer.items() for k, v in state.items()},
        }
    )


def differing(a, b):
    assert list(a) == list(b)
    return [name for name in a if not torch.equal(a[name], b[name])]


@pytest.mark.parametrize('switches', [{}, {'grad_clip': 0.01}, {'amp': 'bf16', 'channels_last': True}])
def test_a_run_is_bit_for_bit_the_one_that_looks_at_every_step(tmp_path, switches):
    options = training_options(tmp_path, ema_decay=0.7, **switches)
    prompt, patient = build(options), late(options)
    for model in (prompt, patient):
        torch.manual_seed(3)
        for iteration in range(1, 8):  # a log is printed after 5
            step(model, iteration)
    assert patient._open_step is not None
    assert patient.get_current_log() == prompt.get_current_log()  # reading it closes the step
    assert patient._open_step is None and differing(everything(prompt), everything(patient)) == []


def test_saving_and_validating_close_the_step_first(tmp_path):
    options = training_options(tmp_path, ema_decay=0.7, network={'drop_path_rate': 0.0})
    prompt, patient = build(options), late(options)
    for model in (prompt, patient):
        for iteration in (1, 2):
            step(model, iteration)
        model.save(0, 2)
    stored = {'params_ema': prompt.net_g_ema.state_dict(), 'params': prompt.net_g.state_dict()}
    found = torch.load(tmp_path / 'models' / 'net_g_2.pth', weights_only=True)
    for key, tensors in stored.items():
        assert differing(tensors, found[key]) == []
    step(patient, 3)
    patient.validation(loader(PairSet([('/pictures/a.png', 'x', (16, 24))])), 3, None)
    step(prompt, 3)
    assert patient._open_step is None and differing(everything(prompt), everything(patient)) == []


@pytest.mark.parametrize('where', ['next step', 'log', 'save', 'validation'])
def test_a_nan_stops_before_any_weight_changes(tmp_path, where):
    model = late(training_options(tmp_path, ema_decay=0.7, grad_clip=1.0))
    for iteration in (1, 2):
        step(model, iteration)
    model.finish_step()
    before = everything(model)
    bad = batch(3)
    bad['gt'][1, 0, 4, 4] = float('nan')
    step(model, 3, bad)  # nobody has looked yet
    with pytest.raises(NonFiniteError, match=r'iteration 3: (.|\n)*lq/3_1.png  <- non-finite values in gt'):
        if where == 'next step':
            step(model, 4)
        elif where == 'log':
            model.get_current_log()
        elif where == 'save':
            model.save(0, 3)
        else:
            model.validation(loader(PairSet([('/pictures/a.png', 'x', (16, 24))])), 3, None)
    statistics = {name for name in before if name.startswith('net ') and ('running' in name or 'num_batch' in name)}
    assert set(differing(before, everything(model))) <= statistics  # of the forward pass, as always
    saved = torch.load(tmp_path / 'nonfinite_3_rank0.pt', weights_only=True)
    assert torch.equal(saved['batch']['gt'].isnan(), bad['gt'].isnan())
    assert not (tmp_path / 'models').exists()


def test_an_infinite_loss_with_a_finite_gradient_stops_too(tmp_path):
    model = late(training_options(tmp_path, losses=('pixel_opt',)))
    before = [p.clone() for p in model.net_g.parameters()]
    bad = batch(1)
    bad['gt'][0, 0, 0, 0] = float('inf')  # the gradient of an absolute difference is its sign
    step(model, 1, bad)
    with pytest.raises(NonFiniteError, match='l_pix = inf'):
        model.finish_step()
    assert all(torch.equal(a, b) for a, b in zip(before, model.net_g.parameters(), strict=True))


@pytest.mark.parametrize(
    'switches',
    [
        {'amp': 'fp16'},
        {'optim_g': {'type': 'AdamW', 'lr': 1e-3, 'fused': False}},
    ],
)
def test_where_the_optimizer_cannot_skip_the_host_looks_at_once(tmp_path, switches):
    model = late(training_options(tmp_path, **switches))
    bad = batch(1)
    bad['lq'][0] = float('nan')
    assert takes_found_inf(model.optimizer_g) is (switches.get('amp') == 'fp16')
    with pytest.raises(NonFiniteError):
        step(model, 1, bad)


def test_a_state_saved_without_the_fused_optimizer_is_looked_at_at_once(tmp_path):
    options = training_options(tmp_path)
    plain = deepcopy(options)
    plain['train']['optim_g']['fused'] = False
    source, model = build(plain), late(options)
    train(source, 1)
    model.optimizer_g.load_state_dict(source.optimizer_g.state_dict())
    assert not takes_found_inf(model.optimizer_g)
    step(model, 2)
    assert model._open_step is None
