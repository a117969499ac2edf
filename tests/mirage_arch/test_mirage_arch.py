import copy
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference import golden, reference_state_dict

from mirage_arch.mirage_arch import (
    MIRAGEArch,
    branch_widths,
    channel_covariance,
    mirage_small,
    mirage_tiny,
    pad_to_multiple,
)

BUILDERS = {'tiny': mirage_tiny, 'small': mirage_small}
MINIATURE = {'dim': 6, 'num_blocks': (1, 1, 1, 1), 'num_refinement_blocks': 1}
ABLATIONS = (
    {},
    {'branch_ratio': (1, 0, 0)},
    {'branch_ratio': (1, 0, 1)},
    {'branch_ratio': (1, 1, 0)},
    {'branch_ratio': (0, 1, 1)},
    {'branch_ratio': (1, 1, 2), 'dim': 12},
    {'branch_ratio': ((1, 1, 1), (1, 1, 1), (2, 1, 1), (1, 0, 1)), 'dim': 12},
    {'fusion': False},
    {'dynamic_conv': False},
    {'spd_head': False},
    {'contrast': 'euclidean'},
    {'spd_tap': 'patch_embed'},
    {'geometry': 'log_euclidean'},
    {'geometry': 'cholesky'},
    {'geometry': 'covariance'},
    {'bias': True},
)


def miniature(**kwargs):
    return MIRAGEArch(**{**MINIATURE, **kwargs})


def relative_error(value, expected):
    return np.abs(value - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize(
    ('variant', 'with_head', 'without'), [('tiny', 6_207_412, 6_158_576), ('small', 9_678_983, 9_629_499)]
)
def test_parameter_counts_and_names_are_the_released_ones(variant, with_head, without):
    with torch.device('meta'):
        net, headless = BUILDERS[variant](), BUILDERS[variant](spd_head=False)
    assert sum(p.numel() for p in net.parameters()) == with_head
    assert sum(p.numel() for p in headless.parameters()) == without
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    assert shapes == {name: tuple(tensor.shape) for name, tensor in reference_state_dict(variant).items()}


@pytest.mark.parametrize('variant', ['tiny', 'small'])
def test_evaluation_equals_the_authors_network(variant):
    net = BUILDERS[variant]().eval()
    net.load_state_dict(reference_state_dict(variant))
    arrays = golden(variant)
    cases = [case for case in 'ab' if f'{case}_input' in arrays]
    assert cases
    for case in cases:
        with torch.no_grad():
            image, z = net(torch.from_numpy(arrays[f'{case}_input']), return_embeddings=True)
        assert relative_error(image.numpy(), arrays[f'{case}_output']) < 1e-5
        for name in ('shallow', 'latent'):
            assert np.abs(z[name].numpy() - arrays[f'{case}_z_{name}']).max() < 1e-5


@pytest.mark.parametrize('variant', ['tiny', 'small'])
def test_training_step_equals_the_authors_network(variant):
    net = BUILDERS[variant](drop_path_rate=0.0).train()
    net.load_state_dict(reference_state_dict(variant))
    arrays = golden(variant)
    gt = torch.from_numpy(arrays['train_gt'])
    image, z = net(torch.from_numpy(arrays['train_input']), return_embeddings=True)
    assert relative_error(image.detach().numpy(), arrays['train_output']) < 1e-5

    spectrum = torch.view_as_real(torch.fft.rfft2(image) - torch.fft.rfft2(gt))
    contrast = F.cross_entropy(z['shallow'] @ z['latent'].T / 0.1, torch.arange(len(gt)))
    total = F.l1_loss(image, gt) + 0.1 * spectrum.abs().mean() + 0.01 * contrast
    assert total.item() == pytest.approx(float(arrays['train_total']), rel=1e-5)

    total.backward()
    gradients = {name: p.grad.norm().item() for name, p in net.named_parameters()}
    expected = dict(zip(arrays['train_grad_names'].tolist(), arrays['train_grad_norms'].tolist()))
    assert gradients.keys() == expected.keys()
    for name, norm in expected.items():
        if name not in ('reduce_shallow.bias', 'reduce_latent.bias'):  # zero in theory: rounding noise
            assert gradients[name] == pytest.approx(norm, rel=1e-3), name
    running_mean = net.encoder_level1[0].attn.gatedcnn.norm.running_mean
    assert np.abs(running_mean.numpy() - arrays['train_bn_mean_after']).max() < 1e-6


@pytest.mark.parametrize('size', [(1, 1), (1, 9), (7, 5), (8, 8), (3, 40), (61, 83)])
def test_any_size_comes_back(size):
    with torch.no_grad():
        out = miniature().eval()(torch.rand(1, 3, *size))
    assert out.shape == (1, 3, *size)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize('size', [(13, 21), (5, 30), (16, 9)])
def test_padding_reflects_where_it_can(size):
    x = torch.rand(2, 3, *size)
    bottom, right = (-size[0] % 8, -size[1] % 8)
    expected = F.pad(x, (0, right, 0, 0), mode='reflect' if right < size[1] else 'replicate')
    expected = F.pad(expected, (0, 0, 0, bottom), mode='reflect' if bottom < size[0] else 'replicate')
    if size[0] == 5:  # 3 rows of padding fit below 5 rows; 4 rows would too, 5 would not
        assert bottom < size[0]
    assert torch.equal(pad_to_multiple(x, 8), expected)


def test_padding_repeats_an_edge_that_is_too_short():
    x = torch.rand(1, 1, 2, 8)
    assert torch.equal(pad_to_multiple(x, 8), F.pad(x, (0, 0, 0, 6), mode='replicate'))


@pytest.mark.parametrize('options', ABLATIONS, ids=str)
def test_every_ablation_trains_every_parameter(options):
    net = miniature(**options).train()
    x = torch.rand(2, 3, 16, 16)
    if net.has_spd_head:
        image, z = net(x, return_embeddings=True)
        if net.geometry != 'covariance':
            assert all(torch.allclose(v.norm(dim=1), torch.ones(2), atol=1e-5) for v in z.values())
        loss = (
            image.square().mean()
            - (z['shallow'] * z['latent'].detach().roll(1, 0)).sum()
            + (z['latent'] * torch.randn(z['latent'].shape[1:])).sum()
        )
    else:
        loss = net(x).square().mean()
    loss.backward()
    without = [name for name, p in net.named_parameters() if p.grad is None]
    assert not without, f'no gradient: {without}'


def test_ablations_leave_their_modules_out():
    def names(**options):
        return ' '.join(miniature(**options).state_dict())

    assert 'gatedcnn' not in names(branch_ratio=(1, 0, 1))
    assert 'mlp' not in names(branch_ratio=(1, 1, 0))
    assert 'qkv' not in names(branch_ratio=(0, 1, 1))
    assert 'alpha' not in names(fusion=False)
    assert 'alpha' not in names(branch_ratio=(1, 0, 0))
    assert 'kernel_generator' not in names(dynamic_conv=False)
    assert 'spd' not in names(spd_head=False)


@pytest.mark.parametrize(
    ('width', 'ratio', 'heads', 'expected'),
    [
        (24, (1, 1, 1), 1, (8, 8, 8)),
        (24, (1, 0, 1), 1, (12, 0, 12)),
        (192, (1, 0, 0), 8, (192, 0, 0)),
        (48, (3, 2, 2), 2, (20, 14, 14)),
        (24, (10, 6, 8), 1, (10, 6, 8)),
        (96, (0, 1, 2), 4, (0, 32, 64)),
    ],
)
def test_branch_widths(width, ratio, heads, expected):
    assert branch_widths(width, ratio, heads) == expected


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'dim': 8}, 'divisible by 3'),
        ({'dim': 7}, 'even'),
        ({'dim': 6, 'heads': (1, 3, 4, 8)}, 'heads'),
        ({'heads': (1, 2, 4)}, 'heads must have 4'),
        ({'num_blocks': (1, 1, 1)}, 'num_blocks must have 4'),
        ({'num_blocks': (1, 0, 1, 1)}, 'positive'),
        ({'num_refinement_blocks': -1}, 'refinement'),
        ({'branch_ratio': (0, 0, 0)}, 'branch_ratio'),
        ({'branch_ratio': (1, 1)}, 'branch_ratio'),
        ({'branch_ratio': (1, -1, 1)}, 'branch_ratio'),
        ({'geometry': 'log_cholesky'}, "geometry must be one of 'vectorised'"),
        ({'geometry': 'cholesky', 'contrast': 'euclidean'}, "'cholesky' is one of covariances"),
        ({'contrast': 'cosine'}, 'contrast'),
        ({'spd_tap': 'latent'}, 'spd_tap'),
        ({'drop_path_rate': 1.0}, 'drop_path'),
        ({'out_channels': 1}, 'out_channels'),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        miniature(**options)


def test_embeddings_of_one_latent_pixel_are_refused():
    with pytest.raises(ValueError, match='more than 8 pixels'):
        miniature()(torch.rand(2, 3, 8, 8), return_embeddings=True)


def test_embeddings_without_heads_are_refused():
    with pytest.raises(ValueError, match='spd_head=True'):
        miniature(spd_head=False)(torch.rand(2, 3, 16, 16), return_embeddings=True)


def test_covariance_is_numpys():
    x = torch.randn(2, 5, 4, 7, dtype=torch.float64)
    expected = np.stack([np.cov(sample.reshape(5, -1)) for sample in x.numpy()]) + 1e-5 * np.eye(5)
    assert np.allclose(channel_covariance(x).numpy(), expected, rtol=0, atol=1e-12)


def test_stochastic_depth_drops_whole_samples_only_while_training():
    net = miniature(drop_path_rate=0.5)
    x = torch.rand(2, 3, 16, 16)
    net.eval()
    assert torch.equal(net(x), net(x))
    net.train()
    torch.manual_seed(1)
    first = net(x)
    torch.manual_seed(2)
    assert not torch.equal(first, net(x))


def test_traced_network_works_at_other_sizes():
    net = miniature().eval()
    with torch.no_grad():
        traced = torch.jit.trace(net, torch.rand(1, 3, 64, 64))
        for size in ((61, 83), (3, 9), (64, 72)):
            x = torch.rand(1, 3, *size)
            assert torch.allclose(traced(x), net(x), atol=1e-6)


def test_deepcopy_data_parallel_and_compile_agree():
    net = miniature().eval()
    x = torch.rand(2, 3, 20, 24)
    with torch.no_grad():
        expected = net(x)
        assert torch.equal(copy.deepcopy(net)(x), expected)
        assert torch.equal(torch.nn.DataParallel(net)(x), expected)
        # 'eager' checks that the graph can be captured without needing a C++ compiler
        assert torch.allclose(torch.compile(net, backend='eager')(x), expected, atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_stays_close_and_embeds_in_float32(dtype):
    net = miniature().eval()
    x = torch.rand(2, 3, 24, 24)
    with torch.no_grad():
        expected = net(x)
        with torch.autocast('cpu', dtype=dtype):
            image, z = net(x, return_embeddings=True)
    assert (image - expected).abs().max() < 0.05
    assert all(v.dtype == torch.float32 for v in z.values())


def test_recomputing_blocks_changes_neither_gradients_nor_statistics():
    results = []
    for recompute in (False, True):
        torch.manual_seed(0)
        net = miniature(checkpoint_blocks=recompute).train()
        torch.manual_seed(1)
        net(torch.rand(2, 3, 16, 16)).square().mean().backward()
        results.append([p.grad for p in net.parameters() if p.grad is not None] + list(net.buffers()))
    assert len(results[0]) == len(results[1])
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(*results))


def test_the_file_works_alone_without_basicsr(tmp_path):
    source = Path(sys.modules[MIRAGEArch.__module__].__file__)
    (tmp_path / 'mirage_arch.py').write_text(source.read_text())
    code = (
        "import sys; sys.modules['basicsr'] = None\n"
        'import torch, mirage_arch\n'
        'net = mirage_arch.MIRAGEArch(dim=6, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1)\n'
        'print(tuple(net(torch.rand(1, 3, 10, 11)).shape))'
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '(1, 3, 10, 11)'


def _train_then_validate_alone(rank, meeting):
    torch.set_num_threads(1)
    limit = timedelta(seconds=60)
    torch.distributed.init_process_group('gloo', init_method=meeting, rank=rank, world_size=2, timeout=limit)
    net = torch.nn.parallel.DistributedDataParallel(miniature(spd_head=False).train())
    net(torch.rand(1, 3, 16, 16)).mean().backward()
    if rank == 0:  # as SRModel does, through the wrapper, while the other process has gone on
        net.eval()
        with torch.no_grad():
            net(torch.rand(1, 3, 16, 16))
    torch.distributed.destroy_process_group()


def test_one_of_several_processes_can_validate_alone(tmp_path):
    torch.multiprocessing.spawn(_train_then_validate_alone, (f'file://{tmp_path}/meeting',), nprocs=2)


def test_a_torch_that_is_too_old_is_named(monkeypatch):
    source = Path(sys.modules[MIRAGEArch.__module__].__file__).read_text()
    with monkeypatch.context() as patch:
        patch.delattr(torch, 'autocast')
        patch.setattr(torch, '__version__', '1.8.1')
        with pytest.raises(ImportError, match=r'1\.10 or later, and this is 1\.8\.1'):
            exec(source, {'__name__': 'copied'})
    monkeypatch.setattr(sys.modules[MIRAGEArch.__module__], 'checkpoint', lambda function, *args: function(*args))
    with pytest.raises(ValueError, match=r'checkpoint_blocks=True needs PyTorch 2\.1'):
        miniature(checkpoint_blocks=True)
