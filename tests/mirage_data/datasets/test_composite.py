from collections import Counter

import pytest

from mirage_data.datasets.composite import CompositeDegradationDataset, chosen_types
from mirage_data.degradations.cdd11 import TYPES as CDD11_TYPES
from mirage_data.files.lmdb import LmdbWriter

NAMES = ['00001.png', '00002.png']


@pytest.fixture
def cdd(tmp_path, image_folder):
    """A CDD11 of two training and two test images."""
    images = {}
    for split in ('train', 'test'):
        for number, name in enumerate(('clear', *CDD11_TYPES)):
            images[split, name] = image_folder(f'CDD-11/{split}/{name}', NAMES, seed=10 * number, size=(40, 50))
    return tmp_path / 'CDD-11', images


def test_words_choose_types():
    assert [len(chosen_types(word)) for word in ('single', 'double', 'triple', 'all', 'low_haze')] == [4, 5, 2, 11, 1]
    assert chosen_types(['triple', 'rain', 'low_haze_rain']) == ('low_haze_rain', 'low_haze_snow', 'rain')
    with pytest.raises(ValueError, match="'fog'; allowed: all, single, double, triple, low"):
        chosen_types('fog')


def test_training_draws_types_uniformly_for_every_image(cdd):
    root, _ = cdd
    options = {'dataroot': str(root / 'train'), 'phase': 'train', 'gt_size': 16, 'repeat': 4}
    dataset = CompositeDegradationDataset(options)
    assert len(dataset) == 2 * 11 * 4  # CDD11: 1,183 * 11 * 4 = 52,052
    samples = [dataset[(epoch, position)] for epoch in range(4) for position in range(len(dataset))]
    assert all(f'/{sample["task"]}/' in sample['lq_path'] and '/clear/' in sample['gt_path'] for sample in samples)
    assert Counter(sample['gt_path'].rsplit('/', 1)[1] for sample in samples) == dict.fromkeys(NAMES, 4 * 44)
    times = Counter(sample['task'] for sample in samples)
    assert set(times) == set(CDD11_TYPES) and max(times.values()) < 3 * min(times.values())  # 32 each expected


def test_validation_lists_type_after_type_uncropped(cdd):
    root, images = cdd
    dataset = CompositeDegradationDataset({'dataroot': str(root), 'phase': 'val', 'types': 'double'})
    doubles = [name for name in CDD11_TYPES if name.count('_') == 1]
    assert [sample['task'] for sample in dataset] == [name for name in doubles for _ in NAMES]
    sample = dataset[3]
    assert sample['lq'].shape == (3, 40, 50)
    assert '/test/low_rain/00002.png' in sample['lq_path']
    assert (sample['lq'].permute(1, 2, 0).numpy() * 255).round().astype(int).tolist() == images['test', 'low_rain'][
        '00002.png'
    ].tolist()


def test_lmdbs_in_place_of_folders(cdd, tmp_path):
    _, images = cdd
    for name in ('clear', 'rain'):
        with LmdbWriter(tmp_path / 'lmdb' / f'{name}.lmdb') as writer:
            for file, image in images['train', name].items():
                writer.add_image(file, image)
    options = {'dataroot': str(tmp_path / 'lmdb'), 'types': 'rain', 'gt_size': 16, 'io_backend': {'type': 'lmdb'}}
    assert CompositeDegradationDataset(options)[(0, 1)]['lq_path'] == '00002'


def test_missing_folders_are_named(cdd):
    root, _ = cdd
    with pytest.raises(ValueError, match='has no folder clear'):
        CompositeDegradationDataset({'dataroot': str(root / 'train' / 'clear'), 'phase': 'val'})
    with pytest.raises(ValueError, match='dataroot: missing'):
        CompositeDegradationDataset({'phase': 'val'})
    (root / 'test' / 'snow').rename(root / 'test' / 'sleet')
    with pytest.raises(ValueError, match='test/snow'):
        CompositeDegradationDataset({'dataroot': str(root), 'phase': 'val'})


def test_a_folder_of_ones_own_is_a_type(cdd, image_folder):
    root, _ = cdd
    image_folder('CDD-11/train/blur_noise', NAMES, seed=990, size=(40, 50))
    options = {'dataroot': str(root), 'phase': 'train', 'gt_size': 16}
    assert CompositeDegradationDataset(options).types == CDD11_TYPES  # 'all' stays the published set
    dataset = CompositeDegradationDataset({**options, 'types': ['blur_noise', 'single']})
    assert dataset.types == ('blur_noise', 'low', 'haze', 'rain', 'snow')
    with pytest.raises(ValueError, match='low_haze_snow, blur_noise'):
        CompositeDegradationDataset({**options, 'types': 'blur'})
