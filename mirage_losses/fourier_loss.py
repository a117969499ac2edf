"""Fourier loss: L1 distance of the real and imaginary parts of the spectra (MIRAGE, Eq. B)."""

import torch
from torch import Tensor, nn

REDUCTIONS = ('mean', 'sum', 'none')


def fourier_loss(pred: Tensor, target: Tensor, reduction: str = 'mean') -> Tensor:
    """Absolute difference of two image batches in the frequency domain.

    The real and imaginary parts of `rfft2` are stacked before the reduction, as in the authors' training code, so
    'mean' averages over both: half of Eq. B read as a sum of two means.

    Args:
        pred: Restored images, (..., h, w). Half precision is raised to float32 first.
        target: Ground truth of the same shape.
        reduction: 'mean', 'sum', or 'none'.

    Returns:
        A scalar, or for 'none' the differences, (..., h, w // 2 + 1, 2) with the real part first.

    Raises:
        ValueError: The shapes differ or the reduction is unknown.

    Source: MIRAGE (ICLR 2026), appendix A.3, Eq. B.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction is '{reduction}'; allowed are {', '.join(REDUCTIONS)}")
    if pred.shape != target.shape:
        raise ValueError(f'pred {tuple(pred.shape)} and target {tuple(target.shape)} must have the same shape')
    # Autocast would not touch the transform, but its inputs may already be half precision, which FFTs lack on CPU.
    with torch.autocast(pred.device.type, enabled=False):
        dtype = torch.promote_types(torch.promote_types(pred.dtype, target.dtype), torch.float32)
        # The transform is linear: one of the difference costs half as much as two.
        difference = torch.view_as_real(torch.fft.rfft2(pred.to(dtype) - target.to(dtype))).abs()
    if reduction == 'none':
        return difference
    return difference.mean() if reduction == 'mean' else difference.sum()


class FourierLoss(nn.Module):
    """`fourier_loss` times a weight, as `train: fourier_opt` names it.

    Args:
        loss_weight: Factor of the loss; 0.1 in the paper and in the released code.
        reduction: See `fourier_loss`.
    """

    # what the signature cannot say; 'none' is for callers of their own, since training needs a number
    OPTIONS = {'reduction': {'choices': REDUCTIONS[:2]}}

    def __init__(self, loss_weight: float = 1.0, reduction: str = 'mean') -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ValueError(f"FourierLoss: reduction is '{reduction}'; allowed are {', '.join(REDUCTIONS)}")
        self.loss_weight = loss_weight
        self.reduction = reduction

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Weighted loss of restored images and ground truth, each (b, c, h, w)."""
        return self.loss_weight * fourier_loss(pred, target, self.reduction)
