import pytest
import torch
from torch import nn

from mirage_ir.training.network_setup import BufferCopy, update_average


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def test_weights_and_batch_norm_statistics_move_by_the_formula():
    net, average = network(), network()
    before = {name: tensor.clone() for name, tensor in average.state_dict().items()}
    net(torch.randn(8, 3, 5, 5) + 3)  # moves the running statistics
    update_average(average, net, 0.9)
    for name, tensor in average.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, 0.9 * before[name] + 0.1 * net.state_dict()[name])
    assert average[1].running_mean.abs().sum() > 0
    assert int(average[1].num_batches_tracked) == 1


def test_decay_zero_is_an_exact_copy():
    net, average = network(), network()
    net(torch.randn(8, 3, 5, 5))
    update_average(average, net, 0)
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in average.state_dict().items())


@pytest.mark.parametrize('decay', [1, -0.1])
def test_decay_outside_the_range_is_refused(decay):
    with pytest.raises(ValueError, match='ema_decay'):
        update_average(network(), network(), decay)


def test_buffers_of_an_earlier_moment_can_be_averaged():
    net, early, late = network(), network(), network()
    late.load_state_dict(early.state_dict())
    copy = BufferCopy(net)
    for _ in range(2):  # the memory is used again
        net(torch.randn(8, 3, 5, 5) + 3)
        update_average(early, net, 0.9)
        buffers = copy.take()
        net(torch.randn(8, 3, 5, 5) - 7)
        update_average(late, net, 0.9, buffers)
        assert all(torch.equal(a, b) for a, b in zip(early.state_dict().values(), late.state_dict().values()))
