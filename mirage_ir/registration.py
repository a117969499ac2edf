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

import mirage_losses
from mirage_data.datasets.mixed import SOURCE_TYPES

from .measuring.metrics import REGISTERED

_LOSSES = tuple(name for name in mirage_losses.__all__ if isinstance(getattr(mirage_losses, name), type))
_PROVIDED = (
    (ARCH_REGISTRY, 'mirage_arch.mirage_arch', ('MIRAGEArch',)),
    (ARCH_REGISTRY, 'mirage_arch.ratio_search', ('RatioSearchArch',)),
    (LOSS_REGISTRY, 'mirage_losses', _LOSSES),
    (DATASET_REGISTRY, 'mirage_data.datasets.mixed', ('MixedDegradationDataset', *SOURCE_TYPES)),
    (MODEL_REGISTRY, 'mirage_ir.training.model', ('MIRAGEModel',)),
    (METRIC_REGISTRY, 'mirage_ir.measuring.metrics', tuple(REGISTERED)),
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
