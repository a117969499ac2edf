import subprocess
import sys
from pathlib import Path

import pytest
import torch
from reference import reference_state_dict
from test_mirage_arch import ABLATIONS, MINIATURE, miniature

from mirage_arch.checkpoints import (
    CheckpointError,
    convert_released_state_dict,
    infer_arguments,
    load_into,
    load_network,
    load_weights,
    save_weights,
)
from mirage_arch.mirage_arch import MIRAGEArch

ROOT = Path(__file__).resolve().parents[2]


class Unknown:
    """Stands for whatever object a training framework pickles beside its tensors."""


def lightning(state_dict):
    return {
        'state_dict': {f'net.{name}': tensor for name, tensor in state_dict.items()},
        'epoch': 1,
        'optimizer_states': [{'state': {}}],
        'loops': {},
    }


FORMATS = {
    'lightning.ckpt': lightning,
    'basicsr.pth': lambda sd: {'params': sd},
    'ema.pth': lambda sd: {'params': {}, 'params_ema': sd},
    'parallel.pth': lambda sd: {'params': {f'module.{name}': tensor for name, tensor in sd.items()}},
    'compiled.pth': lambda sd: {f'_orig_mod.{name}': tensor for name, tensor in sd.items()},
    'flat.pth': lambda sd: sd,
}


@pytest.fixture
def net():
    return miniature().eval()


@pytest.mark.parametrize('name', FORMATS)
def test_every_format_gives_the_same_network(name, net, tmp_path):
    torch.save(FORMATS[name](net.state_dict()), tmp_path / name)
    loaded = load_network(tmp_path / name)
    x = torch.rand(1, 3, 16, 24)
    assert torch.equal(loaded(x), net(x))


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_saved_weights_come_back(suffix, net, tmp_path):
    save_weights(net.state_dict(), tmp_path / f'weights{suffix}')
    loaded = load_weights(tmp_path / f'weights{suffix}')
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize(
    'options',
    [
        *ABLATIONS,
        {'ffn_expansion_factor': 2.66},
        {'num_blocks': (1, 2, 1, 3)},
        {'dim': 12, 'heads': (2, 2, 4, 4)},
        {'inp_channels': 1, 'out_channels': 1},
    ],
    ids=str,
)
def test_arguments_are_inferred_from_shapes(options):
    net = miniature(**options)
    again = MIRAGEArch(**infer_arguments(net.state_dict()))
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in net.state_dict().items()}


@pytest.mark.parametrize(('variant', 'dim', 'refinement'), [('tiny', 24, 2), ('small', 30, 3)])
def test_released_layout(variant, dim, refinement):
    state_dict = reference_state_dict(variant)
    released = {f'net.{name}': tensor for name, tensor in state_dict.items()}
    assert convert_released_state_dict(released).keys() == state_dict.keys()
    arguments = infer_arguments(state_dict)
    assert (arguments['dim'], arguments['num_refinement_blocks'], arguments['branch_ratio']) == (
        dim,
        refinement,
        (1, 1, 1),
    )


def test_misfits_are_named_and_change_nothing(net):
    state_dict = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state_dict['surplus.weight'] = torch.zeros(1)
    state_dict['output.weight'] = torch.zeros(3, 4, 3, 3)
    del state_dict['patch_embed.proj.weight']
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        load_into(net, state_dict, 'file.pth')
    for part in ('file.pth', 'patch_embed.proj.weight', 'surplus.weight', 'output.weight (3, 4, 3, 3) instead of'):
        assert part in str(error.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_weights_of_the_other_variant_are_refused(net):
    with pytest.raises(CheckpointError, match='misshapen'):
        load_into(net, MIRAGEArch(**{**MINIATURE, 'dim': 12}).state_dict())


def test_heads_are_dropped_for_a_network_without_them(net):
    headless = miniature(spd_head=False)
    load_into(headless, net.state_dict())
    assert torch.equal(headless.output.weight, net.output.weight)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'conv.weight': torch.zeros(1)}, 'no MIRAGE weights'),
        ({'params': {}}, r'other\.pth, entry params: no MIRAGE weights .*; it has nothing$'),
        (
            {'generator': {}},
            r'other\.pth: no MIRAGE weights .*; it has generator; .*name it \(convert --key, param_key_g\)',
        ),
        ([torch.zeros(1)], 'holds a list'),
        ({'epoch': 1, 'iter': 2, 'optimizers': [], 'schedulers': []}, 'training state'),
    ],
)
def test_other_files_are_refused(content, message, tmp_path):
    torch.save(content, tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match=message):
        load_weights(tmp_path / 'other.pth')


@pytest.mark.parametrize(
    ('name', 'data'),
    [('a.pth', b''), ('a.pth', b'not a checkpoint'), ('a.safetensors', b''), ('a.safetensors', b'\x00' * 64)],
)
def test_damaged_files_are_named(name, data, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=name):
        load_weights(tmp_path / name)


@pytest.mark.parametrize('allow_pickle', [False, True])
@pytest.mark.parametrize(
    ('data', 'found'),
    [
        (b'name: base\nscale: 1\n', r"begins with b'name: base\\nscale'"),
        (b'<!DOCTYPE html>', 'begins with'),
        (b'', 'is empty'),
        (bytes(64), 'begins with'),
    ],
)
def test_what_is_no_checkpoint_is_told_so_and_not_to_be_trusted(data, found, allow_pickle, tmp_path):
    (tmp_path / 'base.yml').write_bytes(data)
    with pytest.raises(CheckpointError, match=rf'base\.yml: no checkpoint.*{found}') as error:
        load_weights(tmp_path / 'base.yml', allow_pickle=allow_pickle)
    assert 'allow' not in str(error.value)


def test_safetensors_of_another_ending_are_told_so(net, tmp_path):
    save_weights(net.state_dict(), tmp_path / 'a.safetensors')
    (tmp_path / 'a.safetensors').rename(tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'a\.pth: is a safetensors file'):
        load_weights(tmp_path / 'a.pth')


def test_truncated_file_is_named(net, tmp_path):
    torch.save(net.state_dict(), tmp_path / 'whole.pth')
    (tmp_path / 'cut.pth').write_bytes((tmp_path / 'whole.pth').read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r'cut\.pth'):
        load_weights(tmp_path / 'cut.pth')


def test_missing_file_and_key(net, tmp_path):
    with pytest.raises(CheckpointError, match='no such weights file'):
        load_weights(tmp_path / 'absent.pth')
    torch.save({'params': net.state_dict()}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match="no entry 'params_ema'; it has params"):
        load_weights(tmp_path / 'a.pth', key='params_ema')
    torch.save({'generator': net.state_dict(), 'epoch': 3}, tmp_path / 'b.pth')
    assert load_weights(tmp_path / 'b.pth', key='generator').keys() == net.state_dict().keys()
    with pytest.raises(CheckpointError, match='it has generator, epoch; if one of these'):
        load_weights(tmp_path / 'b.pth')
    with pytest.raises(CheckpointError, match="its entry 'epoch' is of type int, expected a dict"):
        load_weights(tmp_path / 'b.pth', key='epoch')


@pytest.mark.parametrize('prefix', ['', 'net.', 'module.net_g.'])
@pytest.mark.parametrize('first', [0, 1])
def test_a_part_of_the_weights_is_read_and_fits_no_network(first, prefix, net, tmp_path):
    part = dict(list(net.state_dict().items())[first::2])
    assert ('patch_embed.proj.weight' in part) == (first == 0)
    content = {'perceptual.0.weight': torch.zeros(1)} | {f'{prefix}{name}': tensor for name, tensor in part.items()}
    torch.save(content, tmp_path / 'a.pth')
    found = load_weights(tmp_path / 'a.pth')
    assert found.keys() == part.keys() | (set() if prefix else {'perceptual.0.weight'})
    with pytest.raises(CheckpointError, match=rf'a\.pth: does not fit this network \({len(part)} of its'):
        load_into(net, found, 'a.pth')
    with pytest.raises(CheckpointError, match=r'a\.pth: not the tensors of a MIRAGE network: .* is missing'):
        load_network(tmp_path / 'a.pth')


@pytest.mark.parametrize('options', ABLATIONS, ids=str)
def test_every_tensor_alone_is_known_for_one_of_the_network(options):
    for name, tensor in miniature(**options).state_dict().items():
        assert convert_released_state_dict({f'net.{name}': tensor}).keys() == {name}


def test_objects_need_trust(net, tmp_path):
    torch.save({**lightning(net.state_dict()), 'callbacks': Unknown()}, tmp_path / 'a.ckpt')
    with pytest.raises(CheckpointError, match='allow_pickle=True'):
        load_weights(tmp_path / 'a.ckpt')
    assert load_weights(tmp_path / 'a.ckpt', allow_pickle=True).keys() == net.state_dict().keys()


def test_conversion_script(net, tmp_path):
    torch.save(lightning(net.state_dict()), tmp_path / 'a.ckpt')
    command = [sys.executable, '-m', 'mirage_ir', 'convert']
    env = {'PYTHONPATH': str(ROOT)}
    out = tmp_path / 'with space.safetensors'
    subprocess.run([*command, str(tmp_path / 'a.ckpt'), str(out), '--no-head'], check=True, env=env)
    assert load_weights(out).keys() == miniature(spd_head=False).state_dict().keys()
    failed = subprocess.run([*command, str(tmp_path / 'none.ckpt'), str(out)], env=env, capture_output=True, text=True)
    assert failed.returncode == 2
    assert 'none.ckpt' in failed.stderr


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_one_bit_of_a_tensor_is_noticed(suffix, net, tmp_path):
    path = tmp_path / f'a{suffix}'
    save_weights(net.state_dict(), path)
    whole = path.read_bytes()
    start = whole.find(net.state_dict()['patch_embed.proj.weight'].numpy().tobytes())
    assert start > 0
    path.write_bytes(flipped(whole, start + 5))  # a low bit: the value stays finite and plausible
    with pytest.raises(CheckpointError, match=rf'a{suffix}.*damaged'):
        load_weights(path)


def test_weights_of_others_without_our_checksum_are_read(net, tmp_path):
    from safetensors.torch import save_file

    save_file(dict(net.state_dict()), tmp_path / 'a.safetensors')
    torch.save(net.state_dict(), tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    for name in ('a.safetensors', 'old.pth'):
        assert load_weights(tmp_path / name).keys() == net.state_dict().keys()


def test_tensors_that_unfold_are_refused(net, tmp_path):
    import zipfile

    state = net.state_dict() | {'bomb': torch.zeros(1).expand(40_000, 40_000)}
    torch.save(state, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='unfold to 6,4'):
        load_weights(tmp_path / 'a.pth')
    wide = net.state_dict() | {'patch_embed.proj.weight': torch.zeros(200_000, 3, 1, 1)}
    torch.save(wide, tmp_path / 'wide.pth')
    with pytest.raises(CheckpointError, match='of 200000 channels, the rest of fewer'):
        load_network(tmp_path / 'wide.pth')
    torch.save(net.state_dict(), tmp_path / 'b.pth')
    with zipfile.ZipFile(tmp_path / 'b.pth') as old, zipfile.ZipFile(tmp_path / 'c.pth', 'w', 8) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(CheckpointError, match='compressed'):
        load_weights(tmp_path / 'c.pth')


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_a_failed_conversion_leaves_the_file_that_is_there(suffix, net, tmp_path, monkeypatch):
    import os

    path = tmp_path / f'a{suffix}'
    save_weights(net.state_dict(), path)
    before = path.read_bytes()

    def full(*arguments):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'replace', full)
    with pytest.raises(OSError, match='No space'):
        save_weights(net.state_dict(), path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [path.name]


def test_states_are_checked_by_their_sums(tmp_path):
    from mirage_arch.checkpoints import torch_file_fault

    torch.save({'optimizers': [torch.arange(1000.0)]}, tmp_path / 'a.state')
    assert torch_file_fault(tmp_path / 'a.state') is None
    whole = (tmp_path / 'a.state').read_bytes()
    place = whole.find(torch.arange(1000.0).numpy().tobytes()) + 2001
    (tmp_path / 'a.state').write_bytes(flipped(whole, place))
    assert 'checksum of a/data/0 is wrong' in torch_file_fault(tmp_path / 'a.state')
