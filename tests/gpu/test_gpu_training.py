"""Training steps on a GPU: every switch, faults, resumed runs, and a run of one rank through NCCL."""

import json
import shutil
import warnings

import pytest
import torch
from gpu_setup import DEVICE, exact, needs_cuda, somewhere
from kill_trial import prepare
from model_setup import batch, build, training_options
from small_run import fingerprint, launch, logged_losses

from mirage_ir.training.guards import NonFiniteError

pytestmark = somewhere

ON_GPU = DEVICE.type == 'cuda'


def model(folder, seed=0, **train):
    options = training_options(folder, network={'drop_path_rate': train.pop('drop_path_rate', 0.0)}, **train)
    options['num_gpu'] = int(ON_GPU)
    return build(options, seed)


def steps(trained, first, last):
    """Iterations of BasicSR's loop; the log of the last."""
    for iteration in range(first, last + 1):
        trained.update_learning_rate(iteration)
        trained.feed_data(batch(iteration))
        trained.optimize_parameters(iteration)
    return dict(trained.log_dict)


def weights(trained):
    """All tensors of the network and of its average, by name."""
    trained.finish_step()
    nets = {'net_g': trained.net_g, **({'net_g_ema': trained.net_g_ema} if trained.ema_decay else {})}
    return {f'{of}.{n}': t.detach().cpu().clone() for of, net in nets.items() for n, t in net.state_dict().items()}


def same(these, those):
    return these.keys() == those.keys() and all(torch.equal(tensor, those[name]) for name, tensor in these.items())


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    """Pixel loss after six steps without any switch."""
    with exact():
        return steps(model(tmp_path_factory.mktemp('plain')), 1, 6)['l_pix']


COMPILED = {'amp': 'bf16', 'channels_last': True, 'compile': True}
SWITCHES = [
    {'channels_last': True},
    {'amp': 'bf16', 'channels_last': True, 'ema_decay': 0.9},
    {'amp': 'fp16', 'grad_clip': 1.0},
    {'cuda_graph': True},
    {'cuda_graph': True, 'amp': 'bf16', 'channels_last': True, 'ema_decay': 0.9},
    {'cuda_graph': True, 'amp': 'fp16', 'grad_clip': 1.0, 'accumulate_grad': 2},
    {'checkpoint_blocks': True, 'amp': 'bf16'},
    {'accumulate_grad': 2},
    COMPILED,
    {'freeze_bn': True},
    {'tf32': True},
    {'tf32': False},
    {'optim_g': {'type': 'AdamW', 'lr': 1e-3, 'weight_decay': 0.01, 'betas': [0.9, 0.999], 'fused': False}},
]


@pytest.mark.parametrize('switch', SWITCHES, ids=json.dumps)
def test_six_steps_with_each_switch_end_where_plain_steps_do(switch, plain, tmp_path):
    if switch.get('compile') and not ON_GPU:
        pytest.skip('compiling for a CPU takes minutes and is tested in tests/mirage_ir')
    with exact():
        loss = steps(model(tmp_path, **switch), 1, 6)['l_pix']
    # batch norm that keeps statistics 0 and 1 is another network
    assert loss == pytest.approx(plain, rel=0.3 if switch.get('freeze_bn') else 0.05)


def test_a_scaler_halves_its_scale_and_leaves_the_weights(tmp_path):
    trained = model(tmp_path, amp='fp16')
    scale, before = trained.precision.scaler.get_scale(), [p.detach().clone() for p in trained.net_g.parameters()]
    handle = trained.net_g.output.weight.register_hook(lambda gradient: gradient * float('inf'))
    steps(trained, 1, 1)
    handle.remove()
    assert trained.precision.scaler.get_scale() == scale / 2
    assert all(torch.equal(a, b) for a, b in zip(before, trained.net_g.parameters()))


@pytest.mark.parametrize('graph', [False, True], ids=['eager', 'graph'])
@pytest.mark.parametrize('key', ['lq', 'gt'])
def test_a_nan_stops_the_run_before_a_weight_changes(key, graph, tmp_path):
    trained = model(tmp_path, amp='bf16', ema_decay=0.9, cuda_graph=graph)
    steps(trained, 1, 4)
    before, bad = weights(trained), batch(5)
    bad[key][0, 0, 0, 0] = float('nan')
    trained.feed_data(bad)
    with pytest.raises(NonFiniteError, match='iteration 5'):
        trained.optimize_parameters(5)
        trained.finish_step()  # on a GPU the numbers are looked at one step later
    after = weights(trained)
    changed = [name for name, tensor in before.items() if not torch.equal(tensor, after[name])]
    assert any(name.startswith('net_g_ema') for name in before)
    assert [name for name in changed if 'running' not in name and 'num_batches' not in name] == []


@needs_cuda
@pytest.mark.parametrize('graph', [False, True], ids=['eager', 'graph'])
def test_the_host_does_not_wait_for_the_gpu_within_a_step(graph, tmp_path):
    trained = model(tmp_path, amp='bf16', channels_last=True, ema_decay=0.9, cuda_graph=graph)
    data = {k: v.pin_memory() if torch.is_tensor(v) else v for k, v in batch(1).items()}

    def step(iteration):
        trained.update_learning_rate(iteration)
        trained.feed_data(data)
        trained.optimize_parameters(iteration)

    for iteration in (1, 2, 3):
        step(iteration)
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter('always')
            torch.cuda.set_sync_debug_mode('warn')
            step(4)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    waits = [str(w.message) for w in seen if 'prototype feature' not in str(w.message)]
    assert waits == []


@pytest.fixture
def deterministic(monkeypatch):
    """What `deterministic: true` sets."""
    monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before


@pytest.mark.parametrize(
    'switch',
    [
        {'tf32': False},
        {'amp': 'bf16', 'ema_decay': 0.9},
        {'amp': 'fp16'},
        {'amp': 'bf16', 'ema_decay': 0.9, 'cuda_graph': True},
        COMPILED,
    ],
    ids=json.dumps,
)
def test_steps_after_loading_a_state_are_bit_for_bit_those_without_a_stop(switch, tmp_path, deterministic):
    if switch.get('compile') and not ON_GPU:
        pytest.skip('compiling for a CPU takes minutes and is tested in tests/mirage_ir')
    for name in ('models', 'training_states'):
        (tmp_path / name).mkdir()
    whole = model(tmp_path, drop_path_rate=0.3, **switch)
    steps(whole, 1, 3)
    whole.save(0, 3)
    steps(whole, 4, 6)
    again = model(tmp_path, seed=1, drop_path_rate=0.3, **switch)
    state = torch.load(tmp_path / 'training_states' / '3.state', weights_only=True, map_location='cpu')
    for net, key in ((again.net_g, 'params'), (getattr(again, 'net_g_ema', None), 'params_ema')):
        if net is not None:
            again.load_network(net, str(tmp_path / 'models' / 'net_g_3.pth'), True, key)
    again.resume_training(state)
    steps(again, 4, 6)
    assert same(weights(whole), weights(again))


@needs_cuda
@pytest.mark.parametrize(
    'switch',
    [
        {},
        {'amp': 'bf16', 'channels_last': True, 'ema_decay': 0.9, 'grad_clip': 0.1},
        {'amp': 'fp16', 'accumulate_grad': 2},
        COMPILED,
    ],
    ids=json.dumps,
)
def test_recorded_steps_are_bit_for_bit_those_launched_one_by_one(switch, tmp_path, deterministic):
    found = []
    for graph in (False, True):
        trained = model(tmp_path, drop_path_rate=0.3, cuda_graph=graph, **switch)
        torch.manual_seed(5)  # of drop path
        for iteration in range(1, 13):
            trained.update_learning_rate(iteration)
            trained.feed_data(batch(iteration, side=32 if iteration % 3 else 24))  # two graphs in turn
            trained.optimize_parameters(iteration)
        found.append(weights(trained))
        assert len(trained.step_graphs._recorded if graph else '12') == 2
    assert same(*found)


def run(root, *arguments, **settings):
    process = launch(root, '-opt', 'small.yml', *arguments, **settings)
    text = process.finish()
    assert process.returncode == 0, text[-3000:]
    return root / 'experiments' / 'small'


CHANGES = {
    'deterministic': True,
    'num_gpu': int(ON_GPU),
    'train': {'amp': 'bf16', 'channels_last': True},
    'datasets': {'train': {'pin_memory': True, 'prefetch_mode': 'cuda' if ON_GPU else None}},
    'val': {'val_freq': 6},
    'logger': {'save_checkpoint_freq': 6},
}


@pytest.mark.parametrize('graph', [False, True], ids=['eager', 'graph'])
def test_a_run_that_was_killed_ends_bit_for_bit_like_one_that_was_not(graph, tmp_path):
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    prepare(whole, **{**CHANGES, 'train': {**CHANGES['train'], 'cuda_graph': graph}})
    experiment = run(whole)
    shutil.copytree(whole, killed)
    for path in [*killed.glob('experiments/small/*/*12.*'), *killed.glob('experiments/small/*/*latest*')]:
        path.unlink()
    resumed = run(killed, '--auto_resume')
    assert fingerprint(resumed) == fingerprint(experiment)
    assert logged_losses(resumed) == logged_losses(experiment)


@pytest.mark.parametrize('sync_bn', [False, True], ids=['', 'sync_bn'])
def test_torchrun_with_one_rank(sync_bn, tmp_path):
    changes = {**CHANGES, 'train': {**CHANGES['train'], 'sync_bn': sync_bn}}
    prepare(tmp_path, dist_params={'backend': 'nccl' if ON_GPU else 'gloo'}, **changes)
    experiment = run(tmp_path, processes=1)
    assert max(logged_losses(experiment)) == 12
