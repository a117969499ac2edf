import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import logm
from test_mirage_arch import MINIATURE, miniature

from mirage_arch.checkpoints import infer_arguments, load_network, save_weights
from mirage_arch.mirage_arch import MIRAGEArch, channel_covariance
from mirage_arch.spd_heads import GeometryHeads

GEOMETRIES = ('log_euclidean', 'cholesky', 'covariance')


def _reduced(heads, name, features):
    conv = getattr(heads, f'reduce_{name}')
    pixels = features.flatten(2).double().numpy()
    return conv.weight[:, :, 0, 0].double().detach().numpy() @ pixels + conv.bias.double().detach().numpy()[:, None]


def _coordinates(geometry, matrix):
    """The vector of one covariance by scipy's logarithm or numpy's factor."""
    rows, columns = np.tril_indices(len(matrix))
    if geometry == 'log_euclidean':
        return (logm(matrix).real * np.where(np.eye(len(matrix)), 1, 2**0.5))[rows, columns]
    factor = np.linalg.cholesky(matrix)
    np.fill_diagonal(factor, np.log(factor.diagonal()))
    return factor[rows, columns]


@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_heads_equal_numpys_computation(geometry):
    heads = GeometryHeads(6, geometry).double()
    features = {'shallow': torch.randn(2, 6, 9, 8).double(), 'latent': torch.randn(2, 24, 7, 6).double()}
    for name, z in heads(**features).items():
        expected = np.stack([np.cov(x) + 1e-5 * np.eye(len(x)) for x in _reduced(heads, name, features[name])])
        if geometry != 'covariance':
            project = getattr(heads, f'{geometry}_{name}')
            vectors = np.stack([_coordinates(geometry, matrix) for matrix in expected])
            expected = vectors @ project.weight.detach().numpy().T + project.bias.detach().numpy()
            expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(z.detach().numpy(), expected, atol=1e-8)


@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_restoration_never_runs_the_heads(geometry):
    net, headless = miniature(geometry=geometry).eval(), miniature(geometry=geometry, spd_head=False).eval()
    headless.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith('spd_heads.')})
    x = torch.rand(1, 3, 21, 16)
    with torch.no_grad():
        image, z = copy.deepcopy(net)(x, return_embeddings=True)
        assert torch.equal(pickle.loads(pickle.dumps(net))(x, return_embeddings=True)[1]['latent'], z['latent'])
        net.spd_heads.forward = None  # a call would fail
        assert torch.equal(net(x), image)
        assert torch.equal(headless(x), image)
        if geometry == 'cholesky':  # one is enough for a slow check
            assert torch.allclose(torch.jit.trace(net, torch.rand(1, 3, 24, 24))(x), image, atol=1e-6)


@pytest.mark.parametrize('geometry', GEOMETRIES)
@pytest.mark.parametrize(
    'features',
    [torch.zeros, torch.ones, torch.rand, lambda *s: 1e3 * torch.rand(*s)],
    ids=['zeros', 'ones', 'two pixels', 'two large pixels'],
)
def test_degenerate_features_of_one_sample_stay_finite(geometry, features):
    heads = GeometryHeads(6, geometry)
    shallow, latent = features(1, 6, 1, 2).requires_grad_(), features(1, 24, 2, 1).requires_grad_()
    z = heads(shallow, latent)
    assert all(v.isfinite().all() for v in z.values())
    sum((v * torch.randn_like(v)).sum() for v in z.values()).backward()
    assert shallow.grad.isfinite().all() and latent.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in heads.parameters())


@pytest.mark.parametrize('geometry', GEOMETRIES)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_around_the_heads_leaves_them_in_float32(geometry, dtype):
    net = miniature(geometry=geometry)
    shallow, latent = torch.rand(2, 6, 8, 8), torch.rand(2, 24, 4, 4)
    with torch.autocast('cpu', dtype=dtype):
        z = net.embed(shallow.to(dtype), latent.to(dtype))
    expected = net.embed(shallow.to(dtype).float(), latent.to(dtype).float())
    for name in z:
        assert z[name].dtype == torch.float32
        assert torch.equal(z[name], expected[name])


@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_a_feature_that_is_not_finite_gives_nan_for_its_sample_alone(geometry):
    heads = GeometryHeads(6, geometry)
    shallow = torch.rand(2, 6, 4, 4)
    shallow[1, 2, 3, 3] = torch.inf
    z = heads(shallow, torch.rand(2, 24, 4, 4))['shallow']
    assert z[0].isfinite().all() and z[1].isnan().any()


@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_weights_are_read_back_with_and_without_heads(geometry, tmp_path):
    net = miniature(geometry=geometry).eval()
    assert infer_arguments(net.state_dict())['geometry'] == geometry
    save_weights(net.state_dict(), tmp_path / 'net.pth')
    x = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        image, z = load_network(tmp_path / 'net.pth')(x, return_embeddings=True)
        assert torch.equal(z['shallow'], net(x, return_embeddings=True)[1]['shallow'])
        assert torch.equal(load_network(tmp_path / 'net.pth', spd_head=False)(x), image)


def test_the_published_heads_are_as_they_were():
    net = miniature(geometry='vectorised')
    assert not hasattr(net, 'spd_heads')
    assert net.spd_proj_shallow.weight.shape == (64, 144) and net.spd_proj_latent.weight.shape == (64, 576)


def test_another_geometry_and_one_pixel_are_refused():
    with pytest.raises(ValueError, match='log_euclidean, cholesky, covariance'):
        GeometryHeads(6, 'vectorised')
    with pytest.raises(ValueError, match='more than 8 pixels'):
        GeometryHeads(6, 'cholesky')(torch.rand(1, 6, 8, 8), torch.rand(1, 24, 1, 1))


def test_the_file_alone_says_what_it_lacks(tmp_path):
    source = Path(sys.modules[MIRAGEArch.__module__].__file__)
    (tmp_path / 'mirage_arch.py').write_text(source.read_text())
    code = (
        'import mirage_arch\n'
        f"mirage_arch.MIRAGEArch(**{MINIATURE}, geometry='cholesky', spd_head=False)\n"
        f"mirage_arch.MIRAGEArch(**{MINIATURE}, geometry='cholesky')"
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True)
    assert "ImportError: geometry='cholesky' needs the packages mirage_arch and mirage_losses" in done.stderr
    assert done.stderr.count('line 3, in <module>') == 1, 'without heads it must build'


def test_the_covariance_is_that_of_the_network():
    heads = GeometryHeads(6, 'covariance')
    x = torch.rand(2, 6, 5, 5)
    assert torch.equal(heads(x, torch.rand(2, 24, 3, 3))['shallow'], channel_covariance(heads.reduce_shallow(x)))
