"""What a network's features look like: the measures behind Fig. 3 to 6 and B of the paper, as arrays.

The paper leaves some definitions open. Ours, which every function names again:

* Observations are pixels, variables are channels. Pixels of all images are pooled, so each pixel weighs the same.
* PCA centres each channel on its mean over those pixels; singular spectra and channel similarities take the features
  as they are, unless ``centre=True``.
* Features that do not vary or are zero have defined values (0 components, zero spectrum, similarity 0 to all others).

Features with a NaN or an infinity are refused, so no figure has one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Places by name: outputs of the four encoder levels (Fig. 3, scales 1-4) and of the projection behind the fourth.
PLACES = {
    'scale1': 'encoder_level1',
    'scale2': 'encoder_level2',
    'scale3': 'encoder_level3',
    'scale4': 'latent',
    'latent': 'reduce_dim_level3',
}
COMPARISONS = ('embedding', 'energy', 'pooled')
_ENERGY_GRID = 8  # cells a side of the maps that `energy` compares


class _EncoderDoneError(Exception):
    """Ends a forward pass behind the last place, since the decoder adds nothing to the captured features."""


def capture_features(net: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Features of a batch at the places of `PLACES` and at ``patch_embed``, through forward hooks.

    Args:
        net: A `MIRAGEArch` or a network with modules of the same names; it is evaluated in ``eval`` mode.
        images: (b, 3, h, w) in [0, 1].

    Returns:
        Tensors (b, c, h', w') by place, on the device of the network. Images whose sides are no multiples of 8 are
        padded inside the network, and their features have the padded size.

    Raises:
        ValueError: A module is absent (named), or features are not finite.
    """
    wanted = {'patch_embed': 'patch_embed', **PLACES}
    modules = dict(net.named_modules())
    absent = [name for name in wanted.values() if name not in modules]
    if absent:
        raise ValueError(f'{type(net).__name__} has no module {", ".join(absent)}: it is not a MIRAGE network')
    features: dict[str, Tensor] = {}

    def keep(place: str):
        def hook(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            features[place] = output
            if len(features) == len(wanted):
                raise _EncoderDoneError

        return hook

    handles = [modules[name].register_forward_hook(keep(place)) for place, name in wanted.items()]
    training = net.training
    try:
        with torch.no_grad():
            net.eval()(images)
    except _EncoderDoneError:
        pass
    finally:
        net.train(training)
        for handle in handles:
            handle.remove()
    for place, value in features.items():
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f'features at {place} are not finite (NaN or infinity): check weights and image')
    return features


@dataclass(frozen=True)
class ChannelMoments:
    """First and second moments of channels over pixels; sums of them pool the pixels of several images.

    Args:
        pixels: Number of pixels.
        total: Sum over the pixels, (c,) float64.
        products: Sum of the outer products, (c, c) float64.
    """

    pixels: int
    total: np.ndarray
    products: np.ndarray

    @classmethod
    def of(cls, features: Tensor | np.ndarray) -> ChannelMoments:
        """Moments of features (c, h, w) or (b, c, h, w) over all their pixels."""
        x = torch.as_tensor(features).detach().to('cpu', torch.float64)
        if x.dim() not in (3, 4) or not x.numel():
            raise ValueError(f'features must be (c, h, w) or (b, c, h, w) and not empty, got {tuple(x.shape)}')
        if not bool(torch.isfinite(x).all()):
            raise ValueError('features are not finite (NaN or infinity)')
        x = x.movedim(-3, 0).flatten(1)
        return cls(x.shape[1], x.sum(dim=1).numpy(), (x @ x.T).numpy())

    def __add__(self, other: ChannelMoments) -> ChannelMoments:
        if self.total.shape != other.total.shape:
            raise ValueError(f'moments of {len(self.total)} and of {len(other.total)} channels cannot be pooled')
        return ChannelMoments(self.pixels + other.pixels, self.total + other.total, self.products + other.products)

    def second(self, centre: bool) -> np.ndarray:
        """Mean outer product (c, c) of the channels: their covariance (divided by n) where ``centre``."""
        gram = self.products / self.pixels
        if not centre:
            return gram
        mean = self.total / self.pixels
        # A constant channel would keep a rounding residue of the subtraction, which normalising would blow up.
        variance = np.diag(gram) - mean**2
        varies = variance > 1e-12 * np.diag(gram)
        return (gram - np.outer(mean, mean)) * np.outer(varies, varies)


def explained_variance(moments: ChannelMoments) -> np.ndarray:
    """Cumulative share of variance that the first k principal components of the channels explain (Fig. 3a).

    Centred on each channel's mean over all pooled pixels.

    Returns:
        (c,) rising to 1. All ones where nothing varies (one pixel, constant features): nothing is left to explain.
    """
    values = _eigenvalues(moments.second(centre=True))
    if not values[0] > 0:
        return np.ones(len(values))
    return np.minimum(np.cumsum(values) / values.sum(), 1)


def singular_spectrum(moments: ChannelMoments, centre: bool = False) -> np.ndarray:
    """Singular values of the channels-by-pixels matrix over the largest of them (Fig. 3b).

    Args:
        moments: Of the features.
        centre: Subtract each channel's mean over the pixels first; the paper does not say, and we do not.

    Returns:
        (c,) falling from 1; all zero for features that are zero. Below about 1e-7 they are rounding.
    """
    values = _eigenvalues(moments.second(centre))
    return np.sqrt(values / values[0]) if values[0] > 0 else np.zeros(len(values))


def components_for(moments: ChannelMoments, share: float = 0.9) -> int:
    """Fewest principal components that explain at least ``share`` of the variance; 0 where nothing varies.

    Raises:
        ValueError: ``share`` is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f'share must be in (0, 1], got {share}')
    if not _eigenvalues(moments.second(centre=True))[0] > 0:
        return 0
    return int(np.argmax(explained_variance(moments) >= share - 1e-12)) + 1


def effective_rank_ratio(moments: ChannelMoments, share: float = 0.9) -> float:
    """`components_for` over the number of channels, in [0, 1] (the paper: 1/24 at scale 1, 35/96 of the latent)."""
    return components_for(moments, share) / len(moments.total)


def channel_similarity(moments: ChannelMoments, centre: bool = False) -> np.ndarray:
    """Cosine between the maps of every two channels over all pooled pixels (Fig. 4, B).

    Args:
        moments: Of the features.
        centre: Subtract each channel's mean first, which makes it Pearson's correlation.

    Returns:
        (c, c) in [-1, 1] with ones on the diagonal. A channel that is zero (with ``centre``: constant) has 0 to others.
    """
    gram = moments.second(centre)
    norm = np.sqrt(np.diag(gram).clip(min=0))
    scale = np.divide(1, norm, out=np.zeros_like(norm), where=norm > 0)
    similarity = np.clip(gram * np.outer(scale, scale), -1, 1)
    np.fill_diagonal(similarity, 1)
    return similarity


def mean_off_diagonal(matrix: np.ndarray, magnitude: bool = False) -> float:
    """Mean of a square matrix off its diagonal; ``magnitude`` takes absolute values first.

    Raises:
        ValueError: Not square, or smaller than 2x2.
    """
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        raise ValueError(f'a mean off the diagonal needs a square matrix of 2 or more rows, got {matrix.shape}')
    values = matrix[~np.eye(len(matrix), dtype=bool)]
    return float(np.mean(np.abs(values) if magnitude else values))


def off_diagonal_ratio(matrix: np.ndarray, magnitude: bool = False) -> float:
    """Mean off the diagonal over mean on it (Fig. 6): 1 is collapse, 0 perfect discrimination.

    ``magnitude`` averages absolute values. Where the diagonal's mean is 0 it is 1 if the other is 0 too, else infinite.
    """
    off = mean_off_diagonal(matrix, magnitude)
    diagonal = np.diag(matrix)
    on = float(np.mean(np.abs(diagonal) if magnitude else diagonal))
    if on == 0:
        return 1.0 if off == 0 else float(np.copysign(np.inf, off))
    return off / on


def shallow_latent_vectors(net: nn.Module, features: dict[str, Tensor], how: str) -> tuple[Tensor, Tensor]:
    """Vectors of equal length that stand for the shallow and the latent features of each image.

    Args:
        net: The network of the features.
        features: From `capture_features`.
        how: ``embedding``: outputs of the network's SPD (or Euclidean) heads, tapped where the network taps them;
            covariances (``geometry='covariance'``) as vectors of their entries.
            ``energy``: root mean square over the channels of every pixel of scale 1 and of the latent, averaged over
            8x8 cells of the image and centred, so where features are strong, whatever their widths.
            ``pooled``: mean over the pixels of each channel, neighbouring channels of the wider feature averaged
            down to the width of the narrower one.

    Returns:
        Shallow and latent (b, d), float64 on the CPU, not normalised.

    Raises:
        ValueError: ``how`` is unknown, the network has no heads, or an image is too small for them.
    """
    if how not in COMPARISONS:
        raise ValueError(f'comparison {how!r}: allowed are {", ".join(COMPARISONS)}')
    shallow, latent = features['scale1'], features['latent']
    if how == 'embedding':
        if not getattr(net, 'has_spd_head', False):
            raise ValueError(
                'embedding compares the outputs of contrastive heads, and this network has none: use energy or pooled'
            )
        tapped = features['patch_embed'] if net.spd_tap == 'patch_embed' else shallow
        with torch.no_grad():
            vectors = net.embed(tapped, latent)
        return tuple(vectors[name].flatten(1).double().cpu() for name in ('shallow', 'latent'))
    shallow, latent = shallow.double().cpu(), latent.double().cpu()
    if how == 'energy':
        return _energy_map(shallow), _energy_map(latent)
    means = [x.mean(dim=(-2, -1)) for x in (shallow, latent)]
    width = min(m.shape[1] for m in means)
    return tuple(F.adaptive_avg_pool1d(m.unsqueeze(1), width).squeeze(1) for m in means)


def _energy_map(features: Tensor) -> Tensor:
    strength = features.square().mean(dim=1).sqrt()
    cells = F.adaptive_avg_pool2d(strength, _ENERGY_GRID).flatten(1)
    centred = cells - cells.mean(dim=1, keepdim=True)
    # Rounding of a constant map must not pass for a pattern.
    return torch.where(centred.abs() > 1e-9 * cells.amax(dim=1, keepdim=True), centred, 0.0)


def similarity_matrix(shallow: Tensor | np.ndarray, latent: Tensor | np.ndarray) -> np.ndarray:
    """Cosine between the shallow vector of sample i and the latent vector of sample j, (n, d), (n, d) -> (n, n).

    The diagonal is the shallow-latent similarity of Fig. 5. A zero vector has similarity 0 to everything.

    Raises:
        ValueError: Shapes that differ, or values that are not finite.
    """
    a, b = np.asarray(shallow, np.float64), np.asarray(latent, np.float64)
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(f'expected two arrays (samples, length) of one shape, got {a.shape} and {b.shape}')
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError('vectors are not finite (NaN or infinity)')
    norms = [np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b)]
    a, b = (np.divide(x, n, out=np.zeros_like(x), where=n > 0) for x, n in zip((a, b), norms))
    return np.clip(a @ b.T, -1, 1)


def _eigenvalues(matrix: np.ndarray) -> np.ndarray:
    """Of a symmetric matrix that has no negative ones but for rounding, falling."""
    return np.linalg.eigvalsh(matrix)[::-1].clip(min=0)
