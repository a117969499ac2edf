"""Checked against pyRiemann's distances, which share no code with ours."""

import numpy as np
import pytest
import torch
from pyriemann.geometry import distance as pyriemann_distance

from mirage_losses.geodesic_similarity import DISTANCES, geodesic_similarity, normalised_covariance

THEIRS = {
    'affine_invariant': pyriemann_distance.distance_riemann,
    'log_euclidean': pyriemann_distance.distance_logeuclid,
    'bures_wasserstein': pyriemann_distance.distance_wasserstein,
}


def _covariances(count, n=4, samples=12, seed=0, dtype=torch.float64):
    x = np.random.default_rng(seed).standard_normal((count, n, samples))
    return torch.tensor(x @ np.swapaxes(x, -1, -2) / (samples - 1), dtype=dtype)


def _normalised(matrix, shrinkage):
    n = len(matrix)
    return (1 - shrinkage) * matrix * n / np.trace(matrix) + shrinkage * np.eye(n)


@pytest.mark.parametrize('shrinkage', [0.01, 0.1])
@pytest.mark.parametrize('distance', DISTANCES)
def test_equals_pyriemann(distance, shrinkage):
    a, b = _covariances(3), _covariances(2, seed=1)
    expected = [
        [-(THEIRS[distance](_normalised(x, shrinkage), _normalised(y, shrinkage)) ** 2) / (2 * 4) for y in b.numpy()]
        for x in a.numpy()
    ]
    np.testing.assert_allclose(geodesic_similarity(a, b, distance, shrinkage).numpy(), expected, atol=1e-5)
    single = geodesic_similarity(a.float(), b.float(), distance, shrinkage)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize('distance', DISTANCES)
def test_gradient(distance):
    inputs = _covariances(2, n=3).requires_grad_(), _covariances(2, n=3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a, b: geodesic_similarity((a + a.mT) / 2, (b + b.mT) / 2, distance), inputs, atol=1e-6
    )


@pytest.mark.parametrize('distance', DISTANCES)
def test_scale_does_not_count_and_equal_matrices_are_the_best(distance):
    a = _covariances(3)
    similarity = geodesic_similarity(a, 1e-4 * a, distance)
    torch.testing.assert_close(similarity.diagonal(), torch.zeros(3, dtype=torch.float64), atol=1e-7, rtol=0)
    assert (similarity + torch.eye(3) < 1e-3).logical_or(torch.eye(3).bool()).all() and (similarity < 1e-12).all()


@pytest.mark.parametrize('distance', DISTANCES)
@pytest.mark.parametrize('kind', ['zero', 'one direction', 'identity', 'equal'])
def test_singular_and_equal_matrices_have_finite_gradients(distance, kind):
    line = torch.outer(torch.arange(4.0), torch.arange(4.0))
    matrix = {'zero': torch.zeros(4, 4), 'one direction': line, 'identity': torch.eye(4), 'equal': line + torch.eye(4)}
    a = matrix[kind].expand(2, 4, 4).clone().requires_grad_()
    b = a.detach().clone().requires_grad_()
    similarity = geodesic_similarity(a, b, distance)
    similarity.sum().backward()
    assert all(t.isfinite().all() for t in (similarity, a.grad, b.grad))


def test_a_matrix_that_is_not_finite_spoils_its_own_pairs_only():
    a = _covariances(3)
    a[1, 0, 0] = torch.nan
    similarity = geodesic_similarity(a, _covariances(2, seed=1), 'affine_invariant')
    assert similarity.isnan().all(dim=1).tolist() == [False, True, False]
    assert similarity[[0, 2]].isfinite().all()


def test_smallest_eigenvalue_is_bounded_by_the_shrinkage():
    line = torch.outer(torch.arange(4.0), torch.arange(4.0))
    values = torch.linalg.eigvalsh(normalised_covariance(line, 0.2))
    assert values[0].item() == pytest.approx(0.2, abs=1e-6)
    assert values.mean().item() == pytest.approx(1, abs=1e-6)


def test_bad_input():
    a = _covariances(2)
    with pytest.raises(ValueError, match="'euclidean'; allowed are affine_invariant, log_euclidean, bures_wasserstein"):
        geodesic_similarity(a, a, 'euclidean')
    for shrinkage in (0, 1, -0.1):
        with pytest.raises(ValueError, match=f'shrinkage is {shrinkage}'):
            geodesic_similarity(a, a, 'log_euclidean', shrinkage)
