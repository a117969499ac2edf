import inspect

import pytest
import torch
from torch import nn

from mirage_arch.checkpoints import CheckpointError, infer_arguments, save_weights
from mirage_arch.mirage_arch import MIRAGEArch, branch_widths
from mirage_arch.ratio_branches import hard_masks, soft_masks, whole_widths
from mirage_arch.ratio_search import RatioSearchArch, discrete_ratios, export, load_search

SMALL = {'dim': 6, 'num_blocks': (1, 1, 1, 1), 'num_refinement_blocks': 1, 'heads': (1, 2, 2, 4)}
UNEVEN = ((2, 3, 1), (2, 6, 4), (10, 6, 8), (16, 30, 2))


def search(**options):
    """A small search whose norms, temperatures and statistics are not those of a new network."""
    net = RatioSearchArch(**{**SMALL, **options})
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if name.endswith('running_var'):
                tensor.uniform_(0.5, 2)
            elif not name.startswith('ratio_') and tensor.ndim == 1 and tensor.is_floating_point():
                tensor.add_(0.2 * torch.randn_like(tensor))
    return net


def temperature(value):
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize('sharpness', [0.01, 1.0, 5.0])
def test_masks_add_up_to_one_and_lie_in_their_places(sharpness):
    widths = torch.tensor([7.3, 10.4, 6.3], dtype=torch.float64)
    masks = soft_masks(widths, 24, 2, temperature(sharpness))
    total = masks.att + masks.gated + masks.mlp
    torch.testing.assert_close(total, torch.ones(24, dtype=torch.float64))
    assert all((mask >= 0).all() and (mask <= 1).all() for mask in masks)
    assert (masks.att.diff() <= 0).all() and (masks.mlp.diff() >= 0).all()
    if sharpness < 1:
        assert [m.round().sum().item() for m in masks[:3]] == [7, 11, 6]


@pytest.mark.parametrize(('widths', 'heads'), [((8, 10, 6), 2), ((12, 0, 12), 4), ((24, 0, 0), 1), ((0, 9, 15), 3)])
def test_sharp_masks_are_the_hard_ones(widths, heads):
    hard = hard_masks(torch.tensor(widths), 24, heads)
    soft = soft_masks(torch.tensor(widths, dtype=torch.float64), 24, heads, temperature(1e-3))
    for name in ('att', 'gated', 'mlp', 'slots'):
        torch.testing.assert_close(getattr(hard, name), getattr(soft, name).float())
    assert hard.slots.reshape(heads, -1).sum(dim=1).tolist() == [widths[0] // heads] * heads
    assert hard.identity.sum().item() == int(8 / 3 * widths[1]) - widths[1]


@pytest.mark.parametrize(
    ('shares', 'channels', 'heads', 'expected'),
    [
        ((1 / 3, 1 / 3, 1 / 3), 24, 1, (8, 8, 8)),
        ((1 / 3, 1 / 3, 1 / 3), 192, 8, (64, 64, 64)),
        ((0.3, 0.3, 0.4), 48, 4, (16, 13, 19)),
        ((0.001, 0.999, 0.0), 24, 2, (0, 24, 0)),
        ((0.99, 0.005, 0.005), 24, 2, (24, 0, 0)),
    ],
)
def test_shares_become_whole_channels(shares, channels, heads, expected):
    assert whole_widths(shares, channels, heads) == expected
    assert branch_widths(channels, expected, heads) == expected, 'MIRAGEArch reads these ratios as these widths'


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'fusion': False},
        {'dynamic_conv': False, 'bias': True},
        {'branch_ratio': (1, 1, 1)},
        {'branch_ratio': ((1, 2, 1), (2, 1, 1), (1, 1, 2), (1, 1, 1)), 'geometry': 'cholesky'},
        # without drops: an absent branch draws its numbers all the same
        {'branch_ratio': ((1, 1e-9, 1), (1e-9, 1, 1), (1, 1e-9, 1e-9), (1, 1, 1e-9)), 'drop_path_rate': 0.0},
    ],
    ids=str,
)
def test_the_exported_network_gives_what_the_search_gives(options):
    """Several heads, widths that are equal and not, and branches that vanished."""
    net = search(**{'branch_ratio': UNEVEN, 'drop_path_rate': 0.5, **options})
    net.set_progress(1.0)
    ordinary = export(net)
    assert type(ordinary) is MIRAGEArch
    x = torch.rand(2, 3, 16, 24)
    with torch.no_grad():
        for training in (False, True):
            torch.manual_seed(1)
            expected, z = net.train(training)(x, return_embeddings=True)
            torch.manual_seed(1)
            image, other = ordinary.train(training)(x, return_embeddings=True)
            assert (image - expected).abs().max() < 1e-5 * expected.abs().max()
            assert torch.allclose(z['latent'], other['latent'], atol=1e-5)


def test_soft_masks_reach_the_exported_network_as_they_sharpen():
    net = search(branch_ratio=UNEVEN, softness=1e-4).double().eval()
    net.ratio_widths.copy_(torch.tensor(discrete_ratios(net)))
    ordinary = export(net)
    net.ratio_widths.zero_()
    with torch.no_grad():
        x = torch.rand(1, 3, 16, 16).double()
        hard, soft = ordinary(x), net(x)
    assert (hard - soft).abs().max() < 1e-5 * hard.abs().max()


def test_every_parameter_learns_shares_included():
    net = search().train()
    image, z = net(torch.rand(2, 3, 16, 16), return_embeddings=True)
    (image.square().mean() + (z['latent'] * torch.randn(64)).sum() + (z['shallow'] * torch.randn(64)).sum()).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []
    assert (net.ratio_logits.grad.abs() > 0).all()


def test_a_branch_that_is_needed_grows():
    """A channel at the upper edge of the convolution's part is asked of it: its share must rise, on that level."""
    net = RatioSearchArch(**SMALL, spd_head=False, drop_path_rate=0.0)
    masks = net.masks(0, 6)
    weight = torch.zeros(6)
    weight[3] = 1.0
    (masks.gated * weight).sum().backward()
    gradient = net.ratio_logits.grad
    assert gradient[0, 1] > 0 and (gradient[1:] == 0).all()


def test_ratios_become_whole_once_and_stay():
    net = search(harden_at=0.5)
    net.set_progress(0.49)
    assert not net.ratio_widths.any()
    net.set_progress(0.5)
    first = discrete_ratios(net)
    with torch.no_grad():
        net.ratio_logits.normal_()
    net.set_progress(0.9)
    assert discrete_ratios(net) == first
    net(torch.rand(1, 3, 16, 16)).sum().backward()
    assert torch.equal(net.ratio_logits.grad, torch.zeros(4, 3)), 'fixed, yet present for distributed training'


def test_edges_sharpen():
    net = RatioSearchArch(**SMALL)

    def uncertainty():
        att = net.masks(3, 48).att
        return (att * (1 - att)).sum().item()

    values = []
    for fraction in (0.0, 0.4, 0.74):
        net.set_progress(fraction)
        values.append(uncertainty())
    assert values[0] > 2 * values[1] > 4 * values[2]


def test_recomputing_blocks_changes_no_gradient():
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(0)
        net = RatioSearchArch(**SMALL, spd_head=False, checkpoint_blocks=recompute).train()
        torch.manual_seed(1)
        net(torch.rand(2, 3, 8, 8)).square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
    torch.testing.assert_close(*gradients)


def test_half_precision_stays_close():
    net = search().eval()
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        expected = net(x)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            assert (net(x) - expected).abs().max() < 0.05


def test_weights_are_read_back(tmp_path):
    net = search(branch_ratio=UNEVEN, ratio_gain=3.0, bias=True, dynamic_conv=False).eval()
    net.set_progress(0.3)
    save_weights(net.state_dict(), tmp_path / 'search.pth')
    again = load_search(tmp_path / 'search.pth')
    x = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(again(x), net(x))
    assert discrete_ratios(again) == discrete_ratios(net) == UNEVEN
    with pytest.raises(CheckpointError, match='ratio_search.export'):
        infer_arguments(net.state_dict())
    save_weights(export(net).state_dict(), tmp_path / 'ordinary.pth')
    with pytest.raises(CheckpointError, match='no learned ratios'):
        load_search(tmp_path / 'ordinary.pth')


def test_its_arguments_are_those_of_the_network_and_its_own():
    names = inspect.signature(RatioSearchArch).parameters
    assert set(names) == {*inspect.signature(MIRAGEArch).parameters, 'harden_at', 'softness', 'ratio_gain'}
    with torch.device('meta'):
        assert isinstance(RatioSearchArch(**SMALL), nn.Module)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'branch_ratio': (1, 0, 1)}, 'three shares above 0'),
        ({'branch_ratio': ((1, 1, 1),) * 3}, 'four such triples'),
        ({'harden_at': 1.0}, 'harden_at'),
        ({'softness': 0}, 'softness'),
        ({'ratio_gain': -1}, 'ratio_gain'),
        ({'heads': (1, 2, 4, 5)}, '5 do not divide 48'),
        ({'dim': 7}, 'even'),
        ({'spd_tap': 'x'}, 'spd_tap'),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RatioSearchArch(**{**SMALL, **options})
