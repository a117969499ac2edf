"""Mixing weights: the values, the heads, and files that do not belong together."""

import torch
from safetensors.torch import load_file, save_file

from research.restoration import mix_weights

FIRST = 'patch_embed.proj.weight'  # by which a file of MIRAGE is known


def test_values_heads_and_counters(tmp_path):
    earlier = {FIRST: torch.tensor([0.0, 2.0]), 'n': torch.tensor(3), 'spd_proj_latent.bias': torch.ones(1)}
    later = {FIRST: torch.tensor([1.0, 4.0]), 'n': torch.tensor(7)}
    save_file(earlier, tmp_path / 'a.safetensors')
    torch.save({'params': {FIRST: torch.zeros(2), 'n': torch.tensor(0)}, 'params_ema': later}, tmp_path / 'b.pth')
    words = [str(tmp_path / 'a.safetensors'), str(tmp_path / 'b.pth'), '--share', '0.25', '--out']
    assert mix_weights.main([*words, str(tmp_path / 'c.safetensors')]) == 0
    found = load_file(tmp_path / 'c.safetensors')
    assert set(found) == {FIRST, 'n'}
    assert torch.equal(found[FIRST], torch.tensor([0.25, 2.5]))
    assert found['n'] == 7


def test_other_networks_and_shares_are_refused(tmp_path, capsys):
    save_file({FIRST: torch.zeros(2)}, tmp_path / 'a.safetensors')
    save_file({FIRST: torch.zeros(3)}, tmp_path / 'b.safetensors')
    words = [str(tmp_path / 'a.safetensors'), str(tmp_path / 'b.safetensors'), '--out', str(tmp_path / 'c.safetensors')]
    assert mix_weights.main(words) == 2
    assert 'different networks' in capsys.readouterr().err
    assert mix_weights.main([words[0], words[0], '--share', '1.5', *words[2:]]) == 2
    assert '1.5' in capsys.readouterr().err
    assert not (tmp_path / 'c.safetensors').exists()
