"""Checked against scipy's dense matrix functions and pyRiemann, which share no code with ours."""

import numpy as np
import pytest
import torch
from scipy import linalg

from mirage_losses import spd_geometry as geometry

DISTANCES = {
    'affine_invariant': geometry.affine_invariant_distance,
    'log_euclidean': geometry.log_euclidean_distance,
    'bures_wasserstein': geometry.bures_wasserstein_distance,
}
MAPS = [geometry.logm, geometry.expm, geometry.sqrtm, geometry.invsqrtm, geometry.cholesky]
VECTORS = [geometry.log_euclidean_vector, geometry.log_cholesky_vector]


def _spd(*batch, n=4, seed=0, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((*batch, n, 3 * n))
    return torch.tensor(x @ np.swapaxes(x, -1, -2) / (3 * n - 1), dtype=dtype)


def test_maps_equal_scipy():
    matrices = _spd(2, 3)
    expected = {
        geometry.logm: linalg.logm,
        geometry.expm: linalg.expm,
        geometry.sqrtm: linalg.sqrtm,
        geometry.invsqrtm: lambda m: np.linalg.inv(linalg.sqrtm(m)),
        geometry.cholesky: np.linalg.cholesky,
    }
    for ours, theirs in expected.items():
        batch = np.stack([[theirs(m) for m in row] for row in matrices.numpy()])
        np.testing.assert_allclose(ours(matrices).numpy(), batch, atol=1e-10, err_msg=ours.__name__)


def test_distances_equal_generalised_eigenvalue_formulas():
    a, b = _spd(seed=1), _spd(seed=2)
    generalised = linalg.eigvalsh(b.numpy(), a.numpy())
    assert DISTANCES['affine_invariant'](a, b).item() == pytest.approx(np.sqrt((np.log(generalised) ** 2).sum()))
    logs = linalg.logm(a.numpy()) - linalg.logm(b.numpy())
    assert DISTANCES['log_euclidean'](a, b).item() == pytest.approx(np.linalg.norm(logs))
    # a b has the eigenvalues of a^1/2 b a^1/2.
    cross = np.sqrt(linalg.eigvals(a.numpy() @ b.numpy()).real).sum()
    squared = np.trace(a.numpy()) + np.trace(b.numpy()) - 2 * cross
    assert DISTANCES['bures_wasserstein'](a, b, squared=True).item() == pytest.approx(squared)


@pytest.mark.parametrize(
    ('name', 'metric'),
    [
        ('affine_invariant', 'riemann'),
        ('log_euclidean', 'logeuclid'),
        ('bures_wasserstein', 'wasserstein'),
    ],
)
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
def test_distances_equal_pyriemann(name, metric, dtype):
    distance = pytest.importorskip('pyriemann.utils.distance')
    a, b = _spd(5, n=12, seed=3), _spd(5, n=12, seed=4)
    ours = DISTANCES[name](a.to(dtype)[:, None], b.to(dtype)[None])
    theirs = [[distance.distance(x, y, metric=metric) for y in b.numpy()] for x in a.numpy()]
    np.testing.assert_allclose(ours.double().numpy(), theirs, rtol=1e-5)


@pytest.mark.parametrize('function', MAPS + VECTORS, ids=lambda f: f.__name__)
@pytest.mark.parametrize('case', ['generic', 'equal', 'close', 'spread'])
def test_gradients_of_maps(function, case):
    basis = torch.linalg.qr(_spd(n=3, seed=5)).Q
    values = {
        'generic': [0.5, 1.0, 2.0],
        'equal': [0.7, 0.7, 0.7],
        'close': [1.0, 1.0 + 1e-5, 2.0],
        'spread': [1e-2, 1.0, 5.0],
    }[case]
    matrix = basis @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ basis.T
    assert torch.autograd.gradcheck(function, matrix.requires_grad_(), eps=1e-7, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('name', DISTANCES)
def test_gradients_of_distances(name):
    a, b = _spd(2, n=3, seed=6).requires_grad_(), _spd(2, n=3, seed=7).requires_grad_()
    identity = torch.eye(3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(DISTANCES[name], (a, b))
    assert torch.autograd.gradcheck(DISTANCES[name], (identity, b))


@pytest.mark.parametrize('name', DISTANCES)
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
def test_equal_and_singular_matrices_stay_finite(name, dtype):
    rank_one = torch.ones(4, 4, dtype=dtype)
    for a, b in [
        (rank_one, torch.eye(4, dtype=dtype)),
        (torch.eye(4, dtype=dtype), torch.eye(4, dtype=dtype)),
        (rank_one, rank_one),
        (torch.zeros(4, 4, dtype=dtype), torch.zeros(4, 4, dtype=dtype)),
    ]:
        a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
        distance = DISTANCES[name](a, b)
        distance.backward()
        assert torch.isfinite(distance) and torch.isfinite(a.grad).all() and torch.isfinite(b.grad).all()
    same = _spd(seed=8, dtype=dtype)
    # 0 up to the square root of a rounding error.
    assert DISTANCES[name](same, same.clone()).item() < 20 * torch.finfo(dtype).eps ** 0.5


@pytest.mark.parametrize('function', [*MAPS, *VECTORS], ids=lambda f: f.__name__)
def test_nearly_singular_maps_stay_finite(function):
    for dtype in (torch.float32, torch.float64):
        matrix = (torch.ones(5, 5, dtype=dtype) - 1e-9 * torch.eye(5, dtype=dtype)).requires_grad_()
        out = function(matrix)
        out.sum().backward()
        assert torch.isfinite(out).all() and torch.isfinite(matrix.grad).all()


def test_inverses_and_invariance():
    a, b, w = _spd(seed=9), _spd(seed=10), _spd(seed=11) + torch.triu(torch.ones(4, 4, dtype=torch.float64), 1)
    torch.testing.assert_close(geometry.expm(geometry.logm(a)), a)
    torch.testing.assert_close(geometry.sqrtm(a) @ geometry.sqrtm(a), a)
    torch.testing.assert_close(geometry.invsqrtm(a) @ a @ geometry.invsqrtm(a), torch.eye(4, dtype=torch.float64))
    moved = DISTANCES['affine_invariant'](w @ a @ w.T, w @ b @ w.T)
    torch.testing.assert_close(moved, DISTANCES['affine_invariant'](a, b))
    difference = geometry.log_euclidean_vector(a) - geometry.log_euclidean_vector(b)
    torch.testing.assert_close(difference.norm(), DISTANCES['log_euclidean'](a, b))
    factor = np.linalg.cholesky(a.numpy())
    expected = [np.log(factor[i, i]) if i == j else factor[i, j] for i in range(4) for j in range(i + 1)]
    np.testing.assert_allclose(geometry.log_cholesky_vector(a).numpy(), expected, atol=1e-12)


def test_bad_input():
    with pytest.raises(ValueError, match=r'square matrices.*\(2, 3\)'):
        geometry.logm(torch.ones(2, 3))
    with pytest.raises(ValueError, match='NaN or infinity'):
        geometry.sqrtm(torch.full((2, 2), float('nan')))
