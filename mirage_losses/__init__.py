"""Losses of MIRAGE as pure functions and modules; they need torch and nothing else."""

from mirage_losses.fourier_loss import FourierLoss, fourier_loss
from mirage_losses.geodesic_similarity import geodesic_similarity
from mirage_losses.spd_contrastive_loss import SPDContrastiveLoss, info_nce

__all__ = ['FourierLoss', 'SPDContrastiveLoss', 'fourier_loss', 'geodesic_similarity', 'info_nce']
