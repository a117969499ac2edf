"""SPD heads that use the geometry of covariance matrices, which the paper (appendix E) leaves as future work."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mirage_losses.spd_geometry import log_cholesky_vector, log_euclidean_vector, where_finite

from .mirage_arch import _EMBEDDING, _LATENT_CHANNELS, _SHALLOW_CHANNELS, channel_covariance

__all__ = ['GeometryHeads']

_VECTORS = {'log_euclidean': log_euclidean_vector, 'cholesky': log_cholesky_vector}


class GeometryHeads(nn.Module):
    """Shallow and latent head of `MIRAGEArch` for every ``geometry`` but 'vectorised'.

    Both reduce a feature with a 1x1 convolution and take its covariance over the pixels (Eq. 3). 'log_euclidean' and
    'cholesky' write it in coordinates in which straight lines are geodesics (of the log-Euclidean and of the
    log-Cholesky metric), project these n(n+1)/2 numbers linearly and normalise, as Eq. 4 does with the n^2 entries.
    'covariance' projects nothing: the matrices themselves, of one size, are compared by their geodesic distance.

    The tensors have names by geometry, so that weights of one are never taken for another's. Everything is computed
    in float32 or better. Covariances carry 1e-5 I, and `mirage_losses.spd_geometry` floors what rounding leaves of
    it, so a few pixels or constant features give finite values; a feature that is not finite gives NaN.

    Args:
        dim: Width of the shallow feature; the latent one has ``4 * dim`` channels.
        geometry: 'log_euclidean', 'cholesky' or 'covariance'.

    Raises:
        ValueError: Another geometry.
    """

    def __init__(self, dim: int, geometry: str) -> None:
        super().__init__()
        if geometry not in (*_VECTORS, 'covariance'):
            raise ValueError(f'geometry must be one of {", ".join(_VECTORS)}, covariance, got {geometry!r}')
        self.geometry = geometry
        sizes = {'shallow': _SHALLOW_CHANNELS, 'latent': _LATENT_CHANNELS}
        if geometry == 'covariance':
            sizes['latent'] = _SHALLOW_CHANNELS
        self.reduce_shallow = nn.Conv2d(dim, sizes['shallow'], 1)
        self.reduce_latent = nn.Conv2d(4 * dim, sizes['latent'], 1)
        if geometry in _VECTORS:
            for name, n in sizes.items():
                self.add_module(f'{geometry}_{name}', nn.Linear(n * (n + 1) // 2, _EMBEDDING))

    def forward(self, shallow: Tensor, latent: Tensor) -> dict[str, Tensor]:
        """Features (b, dim, h, w), (b, 4 dim, h/8, w/8) -> 'shallow' and 'latent', (b, 64) or (b, 12, 12) each.

        Raises:
            ValueError: A feature has one pixel only.
        """
        return {'shallow': self._embed('shallow', shallow), 'latent': self._embed('latent', latent)}

    def _embed(self, name: str, features: Tensor) -> Tensor:
        reduce = getattr(self, f'reduce_{name}')
        covariance = channel_covariance(reduce(features.to(reduce.weight.dtype)))
        if self.geometry == 'covariance':
            return covariance
        project = getattr(self, f'{self.geometry}_{name}')
        vector = where_finite(_VECTORS[self.geometry], covariance)
        return F.normalize(project(vector.to(project.weight.dtype)), dim=-1)
