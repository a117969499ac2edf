"""Data sets of image restoration: reading, pairing, degrading, mixing. Needs torch, numpy, OpenCV and lmdb only."""

from mirage_data.composite_dataset import CompositeDegradationDataset
from mirage_data.denoise_dataset import GaussianDenoiseDataset
from mirage_data.image_io import ImageError, decode_rgb, list_images, read_rgb, to_float
from mirage_data.lmdb_io import LmdbError, LmdbReader, LmdbWriter, open_lmdb
from mirage_data.mixed_dataset import MixedDegradationDataset
from mirage_data.paired_dataset import PairedTaskDataset
from mirage_data.pairing import PairingError, match_pairs
from mirage_data.sample import sample_rng
from mirage_data.sampler import EpochSampler

__all__ = [
    'CompositeDegradationDataset',
    'EpochSampler',
    'GaussianDenoiseDataset',
    'ImageError',
    'LmdbError',
    'LmdbReader',
    'LmdbWriter',
    'MixedDegradationDataset',
    'PairedTaskDataset',
    'PairingError',
    'SyntheticDegradationDataset',
    'decode_rgb',
    'list_images',
    'match_pairs',
    'open_lmdb',
    'read_rgb',
    'sample_rng',
    'to_float',
]


def __getattr__(name: str) -> object:
    if name == 'SyntheticDegradationDataset':  # only when asked for: it brings all degradations along
        from mirage_data.synthetic_dataset import SyntheticDegradationDataset

        return SyntheticDegradationDataset
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
