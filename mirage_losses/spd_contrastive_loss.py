"""Contrastive alignment of shallow and latent embeddings (MIRAGE, Eq. 5), by cosines or geodesic distances."""

from collections.abc import Callable
from functools import partial

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from mirage_losses.geodesic_similarity import DISTANCES, SHRINKAGE, check_shrinkage, geodesic_similarity

SIMILARITIES = ('cosine', *DISTANCES)


def info_nce(
    z_shallow: Tensor,
    z_latent: Tensor,
    temperature: float = 0.1,
    symmetric: bool = False,
    similarity: str = 'cosine',
    shrinkage: float = SHRINKAGE,
) -> Tensor:
    """InfoNCE between two views of a batch: the own sample is the positive, the other samples are the negatives.

    Args:
        z_shallow: Embeddings of the shallow features, (b, d), b >= 2. Only their direction counts. For a geodesic
            similarity their covariances, (b, n, n).
        z_latent: The same of the latent features, in the same shape and order of samples.
        temperature: Divides the similarities; positive.
        symmetric: Average the shallow -> latent loss with latent -> shallow. The paper uses the first alone.
        similarity: 'cosine' (the paper), or a distance of `geodesic_similarity`: 'affine_invariant', 'log_euclidean'
            or 'bures_wasserstein'.
        shrinkage: Of the covariances, see `geodesic_similarity`.

    Returns:
        The scalar loss, in float32 or better.

    Raises:
        ValueError: Shapes do not match each other or the similarity, the batch has one sample, the similarity is
            unknown, or a number is out of its range.

    Source: MIRAGE (ICLR 2026), Sec. 4.2, Eq. 5; geodesic contrast is what its appendix E leaves as future work.
    """
    _check_settings(temperature, similarity, shrinkage)
    _check_samples(z_shallow, z_latent, similarity)
    compare = partial(pair_similarity, similarity=similarity, shrinkage=shrinkage)
    return _info_nce(z_shallow, z_latent, z_shallow, z_latent, 0, compare, temperature, symmetric)


def pair_similarity(rows: Tensor, columns: Tensor, similarity: str = 'cosine', shrinkage: float = SHRINKAGE) -> Tensor:
    """Similarity of every row to every column: (p, d) and (q, d), or (p, n, n) and (q, n, n) -> (p, q).

    Arguments and errors are those of `info_nce`; the result is float32 or better.
    """
    if similarity != 'cosine':
        return geodesic_similarity(rows, columns, similarity, shrinkage)
    dtype = torch.promote_types(torch.promote_types(rows.dtype, columns.dtype), torch.float32)
    return F.normalize(rows.to(dtype), dim=-1) @ F.normalize(columns.to(dtype), dim=-1).T


class SPDContrastiveLoss(nn.Module):
    """`info_nce` times a weight; in distributed training the negatives come from all ranks.

    Every rank scores its own samples against the gathered embeddings of all of them, with gradients flowing back to
    the ranks they came from, so that the mean over ranks that DistributedDataParallel takes is the loss of the whole
    batch. It follows that batch 1 per rank is fine with two ranks or more.

    Args:
        loss_weight: Factor of the loss; 0.01 in the released code, 0.05 in the paper.
        temperature: See `info_nce`.
        symmetric: See `info_nce`.
        similarity: See `info_nce`; all but 'cosine' need a network with ``geometry: covariance``.
        shrinkage: See `info_nce`.
    """

    COMPARES = 'embeddings'  # of two depths, not images
    OPTIONS = {  # what the signature cannot say, as arguments of `mirage_data.option.Option`
        'temperature': {'low': 0, 'open_low': True},
        'similarity': {'choices': SIMILARITIES},
        'shrinkage': {'low': 0, 'high': 1, 'open_low': True},
    }

    def __init__(
        self,
        loss_weight: float = 1.0,
        temperature: float = 0.1,
        symmetric: bool = False,
        similarity: str = 'cosine',
        shrinkage: float = SHRINKAGE,
    ) -> None:
        super().__init__()
        _check_settings(temperature, similarity, shrinkage)
        self.loss_weight = loss_weight
        self.temperature = temperature
        self.symmetric = symmetric
        self.similarity = similarity
        self.shrinkage = shrinkage

    def compare(self, rows: Tensor, columns: Tensor) -> Tensor:
        """`pair_similarity` as this loss has it, before the temperature."""
        return pair_similarity(rows, columns, self.similarity, self.shrinkage)

    def forward(self, z_shallow: Tensor, z_latent: Tensor) -> Tensor:
        """Weighted loss of two (b, d) embeddings or two (b, n, n) covariances; raises like `info_nce`."""
        shared = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        _check_samples(z_shallow, z_latent, self.similarity, least=1 if shared else 2)
        queries, keys, first = z_shallow, z_latent, 0
        if shared:
            keys = _gather(z_latent)
            queries = _gather(z_shallow) if self.symmetric else z_shallow
            first = dist.get_rank() * len(z_shallow)
        loss = _info_nce(z_shallow, z_latent, queries, keys, first, self.compare, self.temperature, self.symmetric)
        return self.loss_weight * loss


def _info_nce(
    z_shallow: Tensor,
    z_latent: Tensor,
    all_shallow: Tensor,
    all_latent: Tensor,
    first: int,
    compare: Callable[[Tensor, Tensor], Tensor],
    temperature: float,
    symmetric: bool,
) -> Tensor:
    """The loss of b samples against n >= b candidates, of which number `first` + i belongs to sample i."""
    target = torch.arange(first, first + len(z_shallow), device=z_shallow.device)
    with torch.autocast(z_shallow.device.type, enabled=False):
        loss = F.cross_entropy(compare(z_shallow, all_latent) / temperature, target)
        if symmetric:
            loss = 0.5 * (loss + F.cross_entropy(compare(z_latent, all_shallow) / temperature, target))
    return loss


def _gather(z: Tensor) -> Tensor:
    """Rows of all ranks in rank order, differentiable; every rank holds the same number of rows."""
    # Imported here: the module does not exist in builds of torch without distributed support.
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(z.float().contiguous()))


def _check_samples(z_shallow: Tensor, z_latent: Tensor, similarity: str, least: int = 2) -> None:
    shape = z_shallow.shape
    cosine = similarity == 'cosine'
    fits = len(shape) == 2 if cosine else len(shape) == 3 and shape[1] == shape[2]
    if not fits or shape != z_latent.shape:
        raise ValueError(
            f'similarity {similarity} compares two {"(b, d)" if cosine else "(b, n, n)"} arrays of one shape, got '
            f'{tuple(shape)} and {tuple(z_latent.shape)}; a network gives covariances (b, n, n) with geometry: '
            'covariance, embeddings (b, d) with any other'
        )
    if len(z_shallow) < least:
        raise ValueError(
            f'the contrastive loss needs at least {least} samples, got {len(z_shallow)}: its negatives are the other '
            'samples of the batch, and without any it is 0 whatever the network does. Raise batch_size_per_gpu or '
            'remove spd_opt.'
        )


def _check_settings(temperature: float, similarity: str, shrinkage: float) -> None:
    if not temperature > 0:
        raise ValueError(f'temperature is {temperature}; it must be greater than 0 (the paper: 0.1)')
    if similarity not in SIMILARITIES:
        raise ValueError(f'similarity is {similarity!r}; allowed are {", ".join(SIMILARITIES)}')
    check_shrinkage(shrinkage)
