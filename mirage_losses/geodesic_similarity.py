"""Similarity of covariance matrices by their geodesic distance, in place of the cosine of embeddings."""

import torch
from torch import Tensor

from mirage_losses.spd_geometry import (
    affine_invariant_distance,
    bures_wasserstein_distance,
    log_euclidean_distance,
    where_finite,
)

DISTANCES = {
    'affine_invariant': affine_invariant_distance,
    'log_euclidean': log_euclidean_distance,
    'bures_wasserstein': bures_wasserstein_distance,
}
SHRINKAGE = 0.1


def geodesic_similarity(rows: Tensor, columns: Tensor, distance: str, shrinkage: float = SHRINKAGE) -> Tensor:
    """Minus half the squared geodesic distance per dimension, of all pairs of normalised covariances.

    Of unit vectors, -|x - y|^2 / 2 is the cosine less 1, so that this is to matrices what the cosine is to vectors: 0
    at its best, and with a smooth gradient there, which the distance itself does not have. Division by n keeps its
    range, and with it the meaning of a temperature, independent of the size of the matrices.

    Args:
        rows: Covariances, (p, n, n).
        columns: Covariances, (q, n, n).
        distance: 'affine_invariant', 'log_euclidean' or 'bures_wasserstein'.
        shrinkage: See `normalised_covariance`.

    Returns:
        Similarities (p, q), all <= 0, in float32 or better; NaN where a matrix is not finite.

    Raises:
        ValueError: Another distance or shrinkage.
    """
    if distance not in DISTANCES:
        raise ValueError(f'distance is {distance!r}; allowed are {", ".join(DISTANCES)}')
    rows, columns = (normalised_covariance(matrix, shrinkage) for matrix in (rows, columns))
    square = where_finite(lambda a, b: DISTANCES[distance](a, b, squared=True), rows[:, None], columns[None])
    return -0.5 / rows.shape[-1] * square


def normalised_covariance(matrix: Tensor, shrinkage: float = SHRINKAGE) -> Tensor:
    """A covariance without its scale and pulled towards the identity: (1 - s) n C / tr C + s I, (..., n, n) -> same.

    Shallow and latent features differ in strength, which would outweigh all else in any of the distances; so the mean
    eigenvalue is made 1. Logarithms make most of the smallest eigenvalues, which few pixels or dependent channels
    leave to rounding; with a share s of the identity none is below s.

    Args:
        matrix: Covariances, symmetric.
        shrinkage: S, above 0 and below 1.

    Raises:
        ValueError: ``shrinkage`` lies outside.
    """
    check_shrinkage(shrinkage)
    matrix = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    # The smallest normal number only defines the quotient of a matrix of zeros.
    mean = matrix.diagonal(dim1=-2, dim2=-1).mean(-1).clamp(min=torch.finfo(matrix.dtype).tiny)
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return (1 - shrinkage) * matrix / mean[..., None, None] + shrinkage * identity


def check_shrinkage(shrinkage: float) -> None:
    """Raise ValueError unless 0 < ``shrinkage`` < 1."""
    if not 0 < shrinkage < 1:
        raise ValueError(f'shrinkage is {shrinkage}; it must be greater than 0 and less than 1')
