"""Strip-wise evaluation against the network itself, over everything that can be configured."""

import logging

import pytest
import torch
from torch import nn

from mirage_arch.fast_block import sweep, tile_shape
from mirage_arch.fast_forward import prepare_fast, supports
from mirage_arch.fast_kernels import OneDnnKernels, PlainKernels, choose_kernels
from mirage_arch.mirage_arch import MIRAGEArch

SMALL = {'dim': 12, 'num_blocks': (1, 2, 1, 1), 'num_refinement_blocks': 1, 'heads': (1, 2, 4, 4)}


def lively(seed: int = 0, **kwargs) -> MIRAGEArch:
    """A small network whose norms, temperatures and fusion weights differ from their initial 0 and 1."""
    torch.manual_seed(seed)
    net = MIRAGEArch(**{**SMALL, **kwargs}).eval()
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if name.endswith('running_var'):
                tensor.uniform_(0.3, 2)
            elif tensor.is_floating_point() and tensor.dim() == 1 or 'alpha' in name or 'temperature' in name:
                tensor.add_(0.3 * torch.randn_like(tensor))
    return net


@pytest.fixture(scope='module')
def default_net() -> MIRAGEArch:
    return lively()


def image(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def relative_error(net: MIRAGEArch, x: torch.Tensor, **kwargs) -> float:
    with torch.no_grad():
        expected = net(x)
    fast = prepare_fast(net, **kwargs)
    assert fast.is_fast, fast.reason
    result = fast(x)
    assert result.shape == expected.shape and result.dtype == expected.dtype
    return float((result - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(
    'arguments',
    [
        {},
        {'branch_ratio': (1, 0, 0)},
        {'branch_ratio': (0, 1, 0)},
        {'branch_ratio': (0, 0, 1)},
        {'branch_ratio': (1, 0, 1)},
        {'branch_ratio': (1, 1, 0)},
        {'branch_ratio': (0, 1, 1)},
        {'branch_ratio': (2, 1, 1)},
        {'branch_ratio': (1, 2, 3)},
        {'branch_ratio': ((1, 1, 1), (1, 0, 1)) * 2},
        {'fusion': False},
        {'branch_ratio': (2, 1, 1), 'fusion': False},
        {'dynamic_conv': False},
        {'spd_head': False},
        {'bias': True},
        {'bias': True, 'dynamic_conv': False, 'branch_ratio': (1, 2, 1)},
        {'bias': True, 'fusion': False},
        {'contrast': 'euclidean'},
        {'spd_tap': 'patch_embed'},
        {'geometry': 'cholesky'},
        {'dim': 18, 'ffn_expansion_factor': 1.5, 'heads': (1, 1, 2, 4)},
        {'inp_channels': 1, 'out_channels': 1},
    ],
    ids=str,
)
def test_every_variant_equals_the_network(arguments):
    net = lively(**arguments)
    assert relative_error(net, image(1, arguments.get('inp_channels', 3), 40, 24), strip_rows=7) < 1e-5


@pytest.mark.parametrize('shape', [(1, 1), (1, 70), (37, 1), (8, 8), (3, 5), (61, 83)], ids=str)
def test_any_size(default_net, shape):
    assert relative_error(default_net, image(1, 3, *shape)) < 1e-5


@pytest.mark.parametrize('rows', [1, 2, 3, 4, 5, 8, 31, 1000])
def test_strip_height_does_not_show(default_net, rows):
    assert relative_error(default_net, image(1, 3, 43, 20), strip_rows=rows) < 1e-5


def test_images_of_a_batch_do_not_influence_each_other(default_net):
    batch = torch.cat([image(1, 3, 24, 32), 0.1 * image(1, 3, 24, 32, seed=2), torch.zeros(1, 3, 24, 32)])
    assert relative_error(default_net, batch) < 1e-5
    fast = prepare_fast(default_net)
    assert torch.equal(fast(batch)[1:2], fast(batch[1:2]))
    assert fast(batch[:0]).shape == (0, 3, 24, 32)


def test_large_channel_means_cost_no_digits():
    net = lively()
    with torch.no_grad():
        net.patch_embed.proj.weight.mul_(0.05).add_(3)  # features far from zero that hardly differ among channels
    assert relative_error(net, image(1, 3, 32, 32)) < 1e-5


@pytest.mark.parametrize('kernels', [PlainKernels, OneDnnKernels])
def test_plain_and_fused_operations_give_the_same_network(default_net, kernels, monkeypatch):
    if kernels is OneDnnKernels and choose_kernels(torch.device('cpu'), torch.float32) is PlainKernels:
        kernels = PlainKernels  # a build without oneDNN has one set only
    monkeypatch.setattr('mirage_arch.fast_forward.choose_kernels', lambda *_: kernels)
    assert relative_error(default_net, image(1, 3, 40, 24), strip_rows=6) < 1e-5


def test_bfloat16_stays_close(default_net):
    x = image(1, 3, 64, 48)
    with torch.no_grad():
        expected = default_net(x)
    result = prepare_fast(default_net, torch.bfloat16)(x)
    assert result.dtype == torch.float32
    assert -10 * torch.log10((result - expected).square().mean()) > 45


def test_float16_on_a_cpu_runs(default_net):
    x = image(1, 3, 24, 24)
    with torch.no_grad():
        expected = default_net(x)
    assert (prepare_fast(default_net, torch.float16)(x) - expected).abs().max() < 0.02 * expected.abs().max()


def test_result_has_the_type_of_the_input(default_net):
    assert prepare_fast(default_net)(image(1, 3, 16, 16).double()).dtype == torch.float64


def test_weights_are_read_when_prepared():
    net, x = lively(), image(1, 3, 24, 24)
    fast = prepare_fast(net)
    before = fast(x)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(0.5)
    assert torch.equal(fast(x), before)
    assert not torch.allclose(prepare_fast(net)(x), before)
    assert relative_error(net, x) < 1e-5


def test_network_is_left_alone():
    net = lively().train()
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    x = image(1, 3, 24, 24)
    fast, requires_grad = prepare_fast(net)(x), x.requires_grad_()
    assert net.training and not fast.requires_grad and requires_grad.grad is None
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    assert torch.allclose(fast, net.eval()(x).detach(), atol=1e-4)


def _with_hook(net):
    net.latent[0].register_forward_hook(lambda module, inputs, output: 2 * output)
    return net


def _with_foreign_layer(net):
    net.refinement = nn.Sequential(nn.Identity(), *net.refinement)
    return net


def _subclass(net):
    class Doubled(MIRAGEArch):
        def forward(self, x):
            return 2 * super().forward(x)

    net.__class__ = Doubled
    return net


@pytest.mark.parametrize(
    'change, reason',
    [
        (_with_hook, 'latent.0 has a forward hook'),
        (_with_foreign_layer, 'refinement.0 is a Identity'),
        (_subclass, 'Doubled is not MIRAGEArch'),
    ],
)
def test_anything_else_takes_the_plain_path_and_says_so(change, reason, caplog):
    net, x = change(lively()), image(1, 3, 24, 24)
    assert supports(net)[0] is False and reason in supports(net)[1]
    with caplog.at_level(logging.WARNING):
        fast = prepare_fast(net)
    assert reason in caplog.text and not fast.is_fast
    with torch.no_grad():
        assert torch.equal(fast(x), net(x))
        assert prepare_fast(net, torch.bfloat16)(x).dtype == torch.float32


@pytest.mark.parametrize('arguments', [{'dtype': torch.int8}, {'strip_rows': 0}])
def test_wrong_arguments_are_named(default_net, arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        prepare_fast(default_net, **arguments)


def test_one_image_without_a_batch_is_refused(default_net):
    with pytest.raises(ValueError, match=r'\(b, c, h, w\).*\(3, 8, 8\)'):
        prepare_fast(default_net)(torch.rand(3, 8, 8))


def test_autocast_around_it_changes_nothing(default_net):
    x, fast = image(1, 3, 24, 24), prepare_fast(default_net)
    with torch.autocast('cpu', torch.bfloat16):
        inside = fast(x)
    assert torch.equal(inside, fast(x))


def test_other_device_is_refused(default_net):
    with pytest.raises(ValueError, match='meta'):
        prepare_fast(default_net)(torch.empty(1, 3, 8, 8, device='meta'))


@pytest.mark.parametrize('halo', [0, 1, 3])
@pytest.mark.parametrize('shape', [(1, 11), (2, 3), (4, 11), (9, 5), (40, 1)], ids=str)
def test_tiles_see_the_pixels_as_they_were(halo, shape):
    x = image(23, 11, 16)
    expected = torch.nn.functional.layer_norm(x, (16,))
    for tile in sweep(x, halo, shape, PlainKernels, torch.float32, 1e-5):
        top, bottom = max(0, tile.top - halo), min(23, tile.bottom + halo)
        left, right = max(0, tile.left - halo), min(11, tile.right + halo)
        around = tile.around(halo)
        assert torch.allclose(around, expected[top:bottom, left:right], atol=1e-6)
        assert torch.equal(tile.inner(around, halo), tile.around(0).flatten(0, 1))
        assert tile.missing(halo) == (
            halo - (tile.top - top),
            halo - (bottom - tile.bottom),
            halo - (tile.left - left),
            halo - (right - tile.right),
        )
        tile.add(torch.full(tile.inner(around, halo).shape, 100.0))
    assert x.min() > 99 and x.max() < 102  # every pixel was changed once


@pytest.mark.parametrize('shape', [(3, 5), (1, 1), (8, 7), (32, 2)], ids=str)
def test_tile_shape_does_not_show(default_net, shape, monkeypatch):
    monkeypatch.setattr('mirage_arch.fast_forward.tile_shape', lambda *_: shape)
    assert relative_error(default_net, image(1, 3, 30, 43)) < 1e-5


@pytest.mark.parametrize('size', [(8, 8), (512, 512), (1088, 1920), (3000, 4000), (16, 20000), (20000, 16)], ids=str)
def test_tiles_stay_small(size):
    rows, columns = tile_shape(*size, 4 * 48 * size[1], torch.device('cpu'))
    assert 1 <= columns <= size[1]
    assert rows * columns * 4 * 48 < 6_000_000
    assert rows >= min(22, size[0])
