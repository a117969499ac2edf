"""Geometry of symmetric positive definite (SPD) matrices: matrix functions, vector maps and distances.

Everything batches over leading dimensions and broadcasts, so `distance(a[:, None], b[None])` is the table of all
pairs. All matrix functions come from one eigendecomposition whose gradient uses divided differences in forms without
cancellation: it stays finite for equal eigenvalues, where differentiating the eigenvectors would divide by zero.
Eigenvalues below `n * eps * largest` (or `eps` squared) are rounding noise and are raised to that floor, so nearly
singular and slightly indefinite matrices have finite results; the gradient treats the floor as a constant.
Matrices that are not square or not finite raise ValueError; half precision is raised to float32.
"""

import math
from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor


def logm(matrix: Tensor) -> Tensor:
    """Matrix logarithm of SPD matrices, (..., n, n) -> (..., n, n) symmetric."""
    return _MatrixFunction.apply(_checked(matrix), torch.log, _slope_log, True)


def expm(matrix: Tensor) -> Tensor:
    """Matrix exponential of symmetric matrices, (..., n, n) -> (..., n, n) SPD: the inverse of `logm`."""
    return _MatrixFunction.apply(_checked(matrix), torch.exp, _slope_exp, False)


def sqrtm(matrix: Tensor) -> Tensor:
    """Principal square root of SPD matrices, (..., n, n) -> (..., n, n)."""
    return _MatrixFunction.apply(_checked(matrix), torch.sqrt, _slope_sqrt, True)


def invsqrtm(matrix: Tensor) -> Tensor:
    """Inverse of the principal square root of SPD matrices, (..., n, n) -> (..., n, n)."""
    return _MatrixFunction.apply(_checked(matrix), torch.rsqrt, _slope_invsqrt, True)


def cholesky(matrix: Tensor) -> Tensor:
    """Lower Cholesky factor of SPD matrices, (..., n, n) -> (..., n, n), defined for nearly singular ones too."""
    floored = _MatrixFunction.apply(_checked(matrix), lambda values: values, _slope_identity, True)
    return torch.linalg.cholesky(floored)


def log_euclidean_vector(matrix: Tensor) -> Tensor:
    """Coordinates in which Euclidean distance is the log-Euclidean one, (..., n, n) -> (..., n(n+1)/2)."""
    log = logm(matrix)
    rows, columns = torch.tril_indices(*log.shape[-2:], device=log.device)
    # An off-diagonal entry stands for two of the matrix.
    scale = torch.where(rows == columns, 1.0, math.sqrt(2)).to(log.dtype)
    return log[..., rows, columns] * scale


def log_cholesky_vector(matrix: Tensor) -> Tensor:
    """Log-Cholesky coordinates (Lin 2019), (..., n, n) -> (..., n(n+1)/2): the factor, its diagonal in logarithms."""
    factor = cholesky(matrix)
    rows, columns = torch.tril_indices(*factor.shape[-2:], device=factor.device)
    entries = factor[..., rows, columns]
    diagonal = rows == columns
    # The inner `where` keeps log's gradient away from entries that are not on the diagonal and may be 0.
    return torch.where(diagonal, torch.where(diagonal, entries, torch.ones_like(entries)).log(), entries)


def affine_invariant_distance(a: Tensor, b: Tensor, squared: bool = False) -> Tensor:
    """Geodesic distance ||log(a^-1/2 b a^-1/2)||_F of SPD matrices, (..., n, n) twice -> (...).

    Args:
        a: First matrices; broadcast against the second.
        b: Second matrices.
        squared: Return the squared distance, whose gradient is smooth at a = b.
    """
    root = invsqrtm(a)
    values = _eigenvalues(root @ _checked(b) @ root)
    return _distance(values.log().square().sum(-1), squared)


def log_euclidean_distance(a: Tensor, b: Tensor, squared: bool = False) -> Tensor:
    """||log a - log b||_F of SPD matrices, (..., n, n) twice -> (...); arguments as `affine_invariant_distance`."""
    return _distance((logm(a) - logm(b)).square().sum((-2, -1)), squared)


def bures_wasserstein_distance(a: Tensor, b: Tensor, squared: bool = False) -> Tensor:
    """(tr a + tr b - 2 tr (a^1/2 b a^1/2)^1/2)^1/2 of SPD matrices; arguments as `affine_invariant_distance`."""
    root = sqrtm(a)
    cross = _eigenvalues(root @ _checked(b) @ root).sqrt().sum(-1)
    traces = a.diagonal(dim1=-2, dim2=-1).sum(-1) + b.diagonal(dim1=-2, dim2=-1).sum(-1)
    return _distance((traces - 2 * cross).clamp(min=0), squared)


def where_finite(function: Callable[..., Tensor], *matrices: Tensor) -> Tensor:
    """`function` of matrices (..., n, n), NaN instead of an error where one of them is not finite.

    For training, where NaN must reach the loss: the run then stops in good order on all ranks.
    """
    finite = [matrix.isfinite().all(-1).all(-1) for matrix in matrices]
    identity = torch.eye(matrices[0].shape[-1], dtype=matrices[0].dtype, device=matrices[0].device)
    result = function(*(torch.where(good[..., None, None], m, identity) for m, good in zip(matrices, finite)))
    good = reduce(torch.logical_and, finite)
    return torch.where(good.reshape(*good.shape, *(1,) * (result.ndim - good.ndim)), result, torch.nan)


class _MatrixFunction(torch.autograd.Function):
    """V f(max(values, floor)) V^T with the Daleckii-Krein gradient V (slopes * V^T G V) V^T."""

    @staticmethod
    def forward(ctx, matrix: Tensor, function: Callable, slope: Callable, positive: bool) -> Tensor:
        values, vectors = torch.linalg.eigh(matrix)
        raised = values.maximum(_floor(values)) if positive else values
        ctx.save_for_backward(values, raised, vectors)
        ctx.slope = slope
        return (vectors * function(raised).unsqueeze(-2)) @ vectors.mT

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, raised, vectors = ctx.saved_tensors
        slopes = ctx.slope(raised.unsqueeze(-1), raised.unsqueeze(-2)) * _slope_floor(values, raised)
        inner = vectors.mT @ _symmetric(gradient) @ vectors
        return _symmetric(vectors @ (slopes * inner) @ vectors.mT), None, None, None


# Divided differences (f(a) - f(b)) / (a - b), each in a form that is exact at a = b.


def _slope_log(a: Tensor, b: Tensor) -> Tensor:
    ratio = (a - b) / (a + b)
    small = ratio.abs() < 0.5
    inner = torch.where(small, ratio, torch.zeros_like(ratio))
    square = inner.square()
    series = 1 + square * (1 / 3 + square / 5)
    near = torch.where(inner.abs() < 1e-3, series, torch.atanh(inner) / torch.where(inner == 0, 1, inner))
    far = (a.log() - b.log()) / torch.where(small, torch.ones_like(ratio), a - b)
    return torch.where(small, 2 * near / (a + b), far)


def _slope_exp(a: Tensor, b: Tensor) -> Tensor:
    half = (a - b) / 2
    small = half.abs() < 1e-3
    square = half.square()
    sinc = torch.where(small, 1 + square * (1 / 6 + square / 120), torch.sinh(half) / torch.where(small, 1, half))
    return torch.exp((a + b) / 2) * sinc


def _slope_sqrt(a: Tensor, b: Tensor) -> Tensor:
    return 1 / (a.sqrt() + b.sqrt())


def _slope_invsqrt(a: Tensor, b: Tensor) -> Tensor:
    return -1 / (a.sqrt() * b.sqrt() * (a.sqrt() + b.sqrt()))


def _slope_identity(a: Tensor, b: Tensor) -> Tensor:
    return torch.ones_like(a + b)


def _slope_floor(values: Tensor, raised: Tensor) -> Tensor:
    """Divided differences of max(value, floor): 1 between kept eigenvalues, 0 between raised ones."""
    before = values.unsqueeze(-1) - values.unsqueeze(-2)
    after = raised.unsqueeze(-1) - raised.unsqueeze(-2)
    kept = (raised == values).to(values.dtype)
    both = kept.unsqueeze(-1) * kept.unsqueeze(-2)
    neither = (1 - kept).unsqueeze(-1) * (1 - kept).unsqueeze(-2)
    mixed = (both + neither) == 0
    return torch.where(mixed, after / torch.where(mixed, before, torch.ones_like(before)), both)


def _floor(values: Tensor) -> Tensor:
    eps = torch.finfo(values.dtype).eps
    largest = values.detach().abs().amax(-1, keepdim=True)
    # The absolute part is for a matrix of zeros: small, yet the slope of its inverse root still fits the type.
    return (largest * values.shape[-1] * eps).clamp(min=eps**2)


def _eigenvalues(matrix: Tensor) -> Tensor:
    """Positive eigenvalues; the gradient of eigenvalues alone needs no divided differences."""
    values = torch.linalg.eigvalsh(_symmetric(matrix))
    return values.maximum(_floor(values))


def _distance(square: Tensor, squared: bool) -> Tensor:
    if squared:
        return square
    # The root has no gradient at 0; 0 is the subgradient that leaves equal matrices where they are.
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, torch.ones_like(square)).sqrt(), square)


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.mT) / 2


def _checked(matrix: Tensor) -> Tensor:
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(f'expected square matrices (..., n, n), got {tuple(matrix.shape)}')
    if not torch.isfinite(matrix).all():
        raise ValueError('the matrices hold NaN or infinity: their geometry is undefined')
    # Half precision has no eigendecomposition.
    return _symmetric(matrix.to(torch.promote_types(matrix.dtype, torch.float32)))
