"""More blocks, the same function, and every new weight can be trained."""

import pytest
import torch
from safetensors.torch import save_file

from mirage_arch import mirage_mini, mirage_nano
from mirage_arch.checkpoints import load_network
from mirage_restore.bundled import bundled_weights
from research.restoration import deepen


def test_nano_becomes_mini_and_computes_the_same(tmp_path):
    out = tmp_path / 'deeper.safetensors'
    assert deepen.main([str(bundled_weights('nano')), '--out', str(out)]) == 0
    small, large = load_network(bundled_weights('nano'), spd_head=False), load_network(out, spd_head=False)
    shapes = {name: tensor.shape for name, tensor in mirage_mini(spd_head=False).state_dict().items()}
    assert {name: tensor.shape for name, tensor in large.state_dict().items()} == shapes
    x = torch.rand(2, 3, 41, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(large(x), small(x))


def test_training_moves_the_new_blocks():
    torch.manual_seed(0)
    net = mirage_mini(spd_head=False)
    net.load_state_dict(deepen.deepened(mirage_nano(spd_head=False).state_dict()))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    x, y = torch.rand(2, 2, 3, 32, 32)
    for _ in range(2):  # the last maps first, then what feeds them
        optimizer.zero_grad()
        (net(x) - y).abs().mean().backward()
        optimizer.step()
    assert not [name for name, tensor in net.named_parameters() if not tensor.grad.any()]


def test_other_weights_are_refused(tmp_path, capsys):
    with pytest.raises(ValueError, match='no block of MIRAGE'):
        deepen.deepened({'patch_embed.proj.weight': torch.zeros(1)})
    save_file({'patch_embed.proj.weight': torch.zeros(1)}, tmp_path / 'a.safetensors')
    assert deepen.main([str(tmp_path / 'a.safetensors'), '--out', str(tmp_path / 'b.safetensors')]) == 2
    assert 'no block of MIRAGE' in capsys.readouterr().err and not (tmp_path / 'b.safetensors').exists()
