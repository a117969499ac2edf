"""What this project adds to BasicSR's registries."""
from __future__ import annotations

from importlib import import_module

from basicsr.utils.registry import (
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    METRIC_REGISTRY,
    MODEL_REGISTRY,
)

_PROVIDED = (
    (ARCH_REGISTRY, 'mirage_arch.mirage_arch', ('MIRAGEArch',)),
    (ARCH_REGISTRY, 'mirage_arch.ratio_search', ('RatioSearchArch',)),
    (LOSS_REGISTRY, 'mirage_losses', ('FourierLoss', 'SPDContrastiveLoss')),
    (DATASET_REGISTRY, 'mirage_data', ('MixedDegradationDataset', 'PairedTaskDataset', 'GaussianDenoiseDataset',
                                       'CompositeDegradationDataset', 'SyntheticDegradationDataset')),
    (MODEL_REGISTRY, 'mirage_ir.training.model', ('MIRAGEModel',)),
    (METRIC_REGISTRY, 'mirage_ir.measuring.metrics', ('psnr_float', 'ssim_float', 'lpips')),
)


def register_all() -> None:
    """Register every name that is not registered yet; calling it again changes nothing.

    Architectures register themselves when their file is imported after BasicSR, hence the check.
    """
    for registry, module, names in _PROVIDED:
        for name in names:
            provided = getattr(import_module(module), name)
            if name not in registry:
                registry.register(provided)
