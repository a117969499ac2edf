"""Contrastive alignment of shallow and latent embeddings (MIRAGE, Eq. 5)."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


def info_nce(z_shallow: Tensor, z_latent: Tensor, temperature: float = 0.1, symmetric: bool = False) -> Tensor:
    """InfoNCE between two views of a batch: the own sample is the positive, the other samples are the negatives.

    Args:
        z_shallow: Embeddings of the shallow features, (b, d), b >= 2. Only their direction counts.
        z_latent: Embeddings of the latent features, (b, d), same order of samples.
        temperature: Divides the cosine similarities; positive.
        symmetric: Average the shallow -> latent loss with latent -> shallow. The paper uses the first alone.

    Returns:
        The scalar loss, in float32 or better.

    Raises:
        ValueError: Shapes do not match, the batch has one sample, or the temperature is not positive.

    Source: MIRAGE (ICLR 2026), Sec. 4.2, Eq. 5.
    """
    _check(z_shallow, z_latent, temperature)
    return _info_nce(z_shallow, z_latent, z_shallow, z_latent, 0, temperature, symmetric)


class SPDContrastiveLoss(nn.Module):
    """`info_nce` times a weight; in distributed training the negatives come from all ranks.

    Every rank scores its own samples against the gathered embeddings of all of them, with gradients flowing back to
    the ranks they came from, so that the mean over ranks that DistributedDataParallel takes is the loss of the whole
    batch. It follows that batch 1 per rank is fine with two ranks or more.

    Args:
        loss_weight: Factor of the loss; 0.01 in the released code, 0.05 in the paper.
        temperature: See `info_nce`.
        symmetric: See `info_nce`.
    """

    def __init__(self, loss_weight: float = 1.0, temperature: float = 0.1, symmetric: bool = False) -> None:
        super().__init__()
        _check_temperature(temperature)
        self.loss_weight = loss_weight
        self.temperature = temperature
        self.symmetric = symmetric

    def forward(self, z_shallow: Tensor, z_latent: Tensor) -> Tensor:
        """Weighted loss of embeddings (b, d) and (b, d); raises like `info_nce`."""
        if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return self.loss_weight * info_nce(z_shallow, z_latent, self.temperature, self.symmetric)
        _check(z_shallow, z_latent, self.temperature, least=1)
        keys = _gather(z_latent)
        queries = _gather(z_shallow) if self.symmetric else z_shallow
        first = dist.get_rank() * len(z_shallow)
        loss = _info_nce(z_shallow, z_latent, queries, keys, first, self.temperature, self.symmetric)
        return self.loss_weight * loss


def _info_nce(
    z_shallow: Tensor,
    z_latent: Tensor,
    all_shallow: Tensor,
    all_latent: Tensor,
    first: int,
    temperature: float,
    symmetric: bool,
) -> Tensor:
    """The loss of b samples against n >= b candidates, of which number `first` + i belongs to sample i."""
    target = torch.arange(first, first + len(z_shallow), device=z_shallow.device)
    with torch.autocast(z_shallow.device.type, enabled=False):
        loss = F.cross_entropy(_cosine(z_shallow, all_latent) / temperature, target)
        if symmetric:
            loss = 0.5 * (loss + F.cross_entropy(_cosine(z_latent, all_shallow) / temperature, target))
    return loss


def _cosine(rows: Tensor, columns: Tensor) -> Tensor:
    dtype = torch.promote_types(torch.promote_types(rows.dtype, columns.dtype), torch.float32)
    return F.normalize(rows.to(dtype), dim=-1) @ F.normalize(columns.to(dtype), dim=-1).T


def _gather(z: Tensor) -> Tensor:
    """Rows of all ranks in rank order, differentiable; every rank holds the same number of rows."""
    # Imported here: the module does not exist in builds of torch without distributed support.
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(z.float().contiguous()))


def _check(z_shallow: Tensor, z_latent: Tensor, temperature: float, least: int = 2) -> None:
    _check_temperature(temperature)
    if z_shallow.ndim != 2 or z_shallow.shape != z_latent.shape:
        raise ValueError(
            f'embeddings must be two (b, d) arrays of one shape, got {tuple(z_shallow.shape)} and '
            f'{tuple(z_latent.shape)}'
        )
    if len(z_shallow) < least:
        raise ValueError(
            f'the contrastive loss needs at least {least} samples, got {len(z_shallow)}: its negatives are the other '
            'samples of the batch, and without any it is 0 whatever the network does. Raise batch_size_per_gpu or '
            'remove spd_opt.'
        )


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f'temperature is {temperature}; it must be greater than 0 (the paper: 0.1)')
