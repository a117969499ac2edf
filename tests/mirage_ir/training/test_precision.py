import numpy as np
import pytest
import torch
from model_setup import PairSet, batch, build, loader, train, training_options

from mirage_ir.training import model as model_module
from mirage_ir.training import validation
from mirage_ir.training.guards import NonFiniteError
from mirage_ir.training.precision import Precision

CPU = torch.device('cpu')


@pytest.mark.parametrize('value', [None, False, 'off'])
def test_off_however_yaml_writes_it(value):
    precision = Precision(value, CPU)
    assert precision.dtype is None and not precision.scaler.is_enabled()


@pytest.mark.parametrize('value', [True, 'float16', 'on'])
def test_unknown_values_are_named_with_the_allowed_ones(value):
    with pytest.raises(ValueError, match='off, bf16, fp16'):
        Precision(value, CPU)


@pytest.mark.parametrize(('amp', 'dtype'), [('bf16', torch.bfloat16), ('fp16', torch.float16)])
def test_network_computes_in_half_and_losses_in_single_precision(tmp_path, amp, dtype):
    model = build(training_options(tmp_path, amp=amp))
    seen = {}
    model.net_g.latent[0].ffn.project_in.register_forward_hook(lambda m, i, o: seen.update(inner=o.dtype))
    model.net_g.spd_proj_latent.register_forward_hook(lambda m, i, o: seen.update(head=i[0].dtype, embedding=o.dtype))
    for name in ('pix', 'fourier'):
        loss = getattr(model, f'cri_{name}')
        loss.register_forward_hook(lambda m, i, o, name=name: seen.update({name: i[0].dtype}))
    train(model, 1)
    assert seen.pop('inner') == dtype
    assert set(seen.values()) == {torch.float32} and set(seen) == {'head', 'embedding', 'pix', 'fourier'}
    assert all(p.dtype == torch.float32 and p.grad.dtype == torch.float32 for p in model.net_g.parameters())


@pytest.mark.parametrize('amp', ['bf16', 'fp16'])
def test_half_precision_keeps_the_loss(tmp_path, amp):
    def end_of_run(**switch):
        model = build(training_options(tmp_path, total_iter=8, **switch))
        return np.mean([log['l_pix'] for log in train(model, 8, batches=lambda i: batch(i % 4))[-2:]])

    assert end_of_run(amp=amp) == pytest.approx(end_of_run(), rel=0.02)


def test_scaler_skips_an_overflowing_step_and_its_scale_is_resumed(tmp_path):
    model = build(training_options(tmp_path, amp='fp16', losses=('pixel_opt',)))
    before = [p.clone() for p in model.net_g.parameters()]
    handle = model.net_g.output.weight.register_hook(lambda gradient: gradient * float('inf'))
    scale = model.precision.scaler.get_scale()
    log = train(model, 1)[0]
    assert 'grad_norm' not in log and model.precision.scaler.get_scale() == scale / 2
    assert all(torch.equal(a, b) for a, b in zip(before, model.net_g.parameters(), strict=True))
    other = build(training_options(tmp_path, amp='fp16', losses=('pixel_opt',)))
    other.load_extra_state(model.extra_state())
    assert other.precision.scaler.get_scale() == scale / 2
    # Where even the smallest scale overflows, going on would never end.
    model.precision.scaler.update(2.0**-11)
    with pytest.raises(NonFiniteError, match='bf16'):
        train(model, 1, start=1)
    handle.remove()


@pytest.mark.parametrize(
    'switches',
    [
        {'channels_last': True},
        {'checkpoint_blocks': True},
        {'channels_last': True, 'checkpoint_blocks': True},
    ],
)
def test_layout_and_recomputation_change_nothing(tmp_path, switches):
    plain, switched = (build(training_options(tmp_path, **s)) for s in ({}, switches))
    torch.manual_seed(1)
    expected = train(plain, 4)
    torch.manual_seed(1)
    found = train(switched, 4)
    for a, b in zip(expected, found, strict=True):
        assert [b[key] for key in ('l_pix', 'l_fourier', 'l_spd')] == pytest.approx(
            [a[key] for key in ('l_pix', 'l_fourier', 'l_spd')], rel=1e-4
        )
    for (name, a), b in zip(plain.net_g.state_dict().items(), switched.net_g.state_dict().values(), strict=True):
        if 'running' in name or 'num_batches' in name:  # statistics are counted once, not again by recomputation
            torch.testing.assert_close(b, a, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize('switches', [{}, {'checkpoint_blocks': True}, {'freeze_bn': True}])
def test_compiled_training_gives_the_same_losses_and_names(tmp_path, monkeypatch, switches):
    # The whole capture and its guards, without the minutes that the code generator takes.
    original = torch.nn.Module.compile
    compiled = []

    def capture_only(self, *args, **kwargs):
        compiled.append(type(self).__name__)
        original(self, *args, backend='eager', **kwargs)

    monkeypatch.setattr(torch.nn.Module, 'compile', capture_only)
    network = {'drop_path_rate': 0.0}  # the compiler draws other random numbers
    frozen = {key: value for key, value in switches.items() if key == 'freeze_bn'}
    plain = build(training_options(tmp_path, network=network, **frozen))
    switched = build(training_options(tmp_path, network=network, compile=True, ema_decay=0.9, **switches))
    assert set(compiled) == {'MixedDegradationBlock'}
    expected, found = train(plain, 3), train(switched, 3)
    for a, b in zip(expected, found, strict=True):
        assert b['l_pix'] == pytest.approx(a['l_pix'], rel=1e-4)
    assert list(switched.net_g.state_dict()) == list(plain.net_g.state_dict())
    counter = torch._dynamo.utils.counters['stats']['unique_graphs']
    switched.validation(loader(PairSet([(f'/pictures/{n}.png', 'x', (16, n)) for n in (16, 24, 32)])), 5, None)
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] == counter  # new sizes are not compiled


def test_average_has_the_layout_of_the_network(tmp_path):
    model = build(training_options(tmp_path, channels_last=True, ema_decay=0.9))
    strides = {name: tensor.stride() for name, tensor in model.net_g.state_dict().items()}
    assert {name: tensor.stride() for name, tensor in model.net_g_ema.state_dict().items()} == strides
    assert any(len(s) == 4 and s[1] == 1 and min(s[2:]) > 1 for s in strides.values())


def test_tf32_is_a_choice_of_the_training_and_never_of_the_validation(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', True)
    build(training_options(tmp_path))
    assert torch.backends.cudnn.allow_tf32  # as PyTorch has it
    build(training_options(tmp_path, tf32=False))
    assert not torch.backends.cudnn.allow_tf32
    model = build(training_options(tmp_path, tf32=True))
    assert torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
    seen = []
    model._measure = lambda: {}
    model.net_g.output.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    train(model, 1)
    monkeypatch.setattr('mirage_ir.training.validation._equivalent', lambda *_: None)
    model.validation(loader(PairSet([('/pictures/a.png', 'x', (16, 24))])), 1, None)
    assert seen == [True, False] and torch.backends.cudnn.allow_tf32
    with pytest.raises(ValueError, match="tf32 is 'yes'"):
        build(training_options(tmp_path, tf32='yes'))


def test_validation_off_the_cpu_falls_back_to_strips_with_the_same_figures(tmp_path, monkeypatch):
    items = loader(PairSet([('/pictures/a.png', 'x', (24, 40)), ('/pictures/b.png', 'x', (16, 24))]))
    model = build(training_options(tmp_path))
    train(model, 2)
    model.validation(items, 2, None)
    expected = model.metric_results
    whole = []

    def no_memory(module, inputs):
        whole.append(inputs[0].shape)
        if inputs[0].shape[-1] > 32:
            raise RuntimeError('cuDNN error: CUDNN_STATUS_ALLOC_FAILED')

    def as_on_a_gpu(net, options, device):
        return original(net, options, NotACPU(device))

    original = validation._equivalent
    monkeypatch.setattr(validation, '_equivalent', as_on_a_gpu)
    monkeypatch.setattr(torch.nn.Module, 'to', lambda self, *args, **kwargs: self)
    handle = model.net_g.register_forward_pre_hook(no_memory)
    model.validation(items, 3, None)
    handle.remove()
    assert [shape[-1] for shape in whole] == [40, 24]
    assert model.metric_results == pytest.approx(expected, rel=1e-4)


class NotACPU:
    """A device of another name on which everything is where it was."""

    type = 'other'

    def __init__(self, device):
        self.device = device


@pytest.mark.parametrize(('gpus', 'compiled', 'distributed'), [(2, True, True), (1, True, False), (2, False, False)])
def test_compiling_for_several_gpus_needs_a_process_for_each(tmp_path, monkeypatch, gpus, compiled, distributed):
    model = build(training_options(tmp_path))
    monkeypatch.setattr(model_module, 'DataParallel', lambda net: net)
    monkeypatch.setattr(model_module, 'DistributedDataParallel', lambda net, **_: net)
    monkeypatch.setattr(torch.nn.Module, 'compile', lambda self, **_: None)
    model.opt.update(num_gpu=gpus, dist=distributed)
    model.opt['train']['compile'] = compiled
    model.model_to_device(model.net_g)
    model.opt.update(num_gpu=2, dist=False)
    model.opt['train']['compile'] = True
    with pytest.raises(ValueError, match='compile: .*torchrun --nproc_per_node'):
        model.model_to_device(model.net_g)
