"""Data sets of image restoration: reading, pairing, degrading, mixing. Needs torch, numpy, OpenCV and lmdb only.

Names are imported when they are first used, so that a script that copies files does not wait for torch.
"""

from importlib import import_module

_HOMES = {
    'CompositeDegradationDataset': 'composite_dataset',
    'EpochSampler': 'sampler',
    'GaussianDenoiseDataset': 'denoise_dataset',
    'ImageError': 'image_io',
    'LmdbError': 'lmdb_io',
    'LmdbReader': 'lmdb_io',
    'LmdbWriter': 'lmdb_io',
    'MixedDegradationDataset': 'mixed_dataset',
    'PairedTaskDataset': 'paired_dataset',
    'PairingError': 'pairing',
    'SyntheticDegradationDataset': 'synthetic_dataset',
    'TaskDataset': 'task_dataset',
    'decode_rgb': 'image_io',
    'list_images': 'image_io',
    'match_pairs': 'pairing',
    'open_lmdb': 'lmdb_io',
    'read_rgb': 'image_io',
    'sample_rng': 'sample',
    'to_float': 'image_io',
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
