"""Data sets of image restoration: reading, pairing, degrading, mixing. Needs torch, numpy, OpenCV and lmdb only.

Names are imported when they are first used, so that a script that copies files does not wait for torch.
"""

from importlib import import_module

_HOMES = {
    'CompositeDegradationDataset': 'datasets.composite',
    'EpochSampler': 'datasets.sample',
    'GaussianDenoiseDataset': 'datasets.denoise',
    'ImageError': 'files.image',
    'LmdbError': 'files.lmdb',
    'LmdbReader': 'files.lmdb',
    'LmdbWriter': 'files.lmdb',
    'MixedDegradationDataset': 'datasets.mixed',
    'PairedTaskDataset': 'datasets.paired',
    'PairingError': 'files.pairing',
    'SyntheticDegradationDataset': 'datasets.synthetic',
    'TaskDataset': 'datasets.base',
    'decode_rgb': 'files.image',
    'list_images': 'files.image',
    'match_pairs': 'files.pairing',
    'open_lmdb': 'files.lmdb',
    'read_rgb': 'files.image',
    'sample_rng': 'datasets.sample',
    'to_float': 'files.image',
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(import_module(f'{__name__}.{_HOMES[name]}'), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
