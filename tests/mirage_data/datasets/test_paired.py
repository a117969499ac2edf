import logging
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up_images import random_image, write_png
from torch.utils.data import DataLoader

from mirage_data.datasets.paired import PairedTaskDataset
from mirage_data.datasets.sample import EpochSampler
from mirage_data.files.image import read_rgb
from mirage_data.files.lmdb import LmdbWriter
from mirage_data.files.store import open_store


def pixels(tensor):
    """float (3, h, w) in [0, 1] -> uint8 (h, w, 3), which is exact for images of 8 bits."""
    return (tensor * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def contains(image, part):
    """Whether `part` is one of the crops of `image`, in any of the eight orientations."""
    windows = np.lib.stride_tricks.sliding_window_view(image, part.shape)
    turned = [np.rot90(part, turns) for turns in range(4)]
    return any((windows == view).all((-1, -2, -3)).any() for part in turned for view in (part, part[:, ::-1]))


def test_training_pairs_are_the_same_crop_of_matching_files(rain_pairs):
    dataset = PairedTaskDataset({**rain_pairs, 'use_hflip': True, 'use_rot': True})
    assert len(dataset) == 6
    for position in range(6):
        sample = dataset[(0, position)]
        assert sample['task'] == 'derain'
        number = Path(sample['lq_path']).stem.split('-')[1]
        assert Path(sample['gt_path']).name == f'norain-{number}.png'
        for side in ('lq', 'gt'):
            assert sample[side].shape == (3, 16, 16) and sample[side].dtype == torch.float32
            assert contains(read_rgb(sample[f'{side}_path']), pixels(sample[side]))


def test_both_sides_get_the_same_window_and_flip(tmp_path, image_folder):
    names = [f'{number}.png' for number in range(4)]
    image_folder('a', names)
    image_folder('b', names)  # equal content, so that any difference is one of geometry
    dataset = PairedTaskDataset(
        {'dataroot_lq': str(tmp_path / 'a'), 'dataroot_gt': str(tmp_path / 'b'), 'gt_size': 16, 'augment': 'dihedral7'}
    )
    samples = [dataset[(epoch, position)] for epoch in range(10) for position in range(4)]
    assert all(torch.equal(sample['lq'], sample['gt']) for sample in samples)
    assert len({sample['lq'].numpy().tobytes() for sample in samples}) == 40


def test_validation_shows_the_centre_whole_and_in_order(rain_pairs):
    dataset = PairedTaskDataset({**rain_pairs, 'phase': 'val', 'crop_multiple': 20})
    sample = dataset[2]
    assert sample['lq_path'].endswith('rain-3.png')
    assert np.array_equal(pixels(sample['lq']), read_rgb(sample['lq_path'])[4:44, 2:62])
    assert torch.equal(dataset[2]['gt'], sample['gt'])


def test_photographs_without_ground_truth_can_be_restored(rain_pairs):
    options = {**rain_pairs, 'phase': 'test', 'dataroot_gt': None, 'crop_multiple': 1}
    dataset = PairedTaskDataset(options)
    assert len(dataset) == 6 and set(dataset[5]) == {'lq', 'lq_path', 'task'}
    assert np.array_equal(pixels(dataset[5]['lq']), read_rgb(Path(rain_pairs['dataroot_lq'], 'rain-6.png')))


def test_samples_are_a_function_of_seed_epoch_and_position(rain_pairs):
    def crops(seed):
        dataset = PairedTaskDataset({**rain_pairs, 'manual_seed': seed})
        return torch.stack([dataset[(epoch, position)]['lq'] for epoch in range(2) for position in range(6)])

    assert torch.equal(crops(1), crops(1))
    assert not torch.equal(crops(1), crops(2))


@pytest.mark.parametrize('workers, method', [(0, None), (1, 'fork'), (2, 'fork')])
def test_the_number_of_workers_changes_nothing(rain_pairs, workers, method):
    dataset = PairedTaskDataset({**rain_pairs, 'use_hflip': True, 'use_rot': True})
    sampler = EpochSampler(dataset, 1, 0, batch_size=2)
    loader = DataLoader(dataset, 2, sampler=sampler, num_workers=workers, multiprocessing_context=method)
    loaded = torch.cat([batch['lq'] for batch in loader])
    assert torch.equal(loaded, torch.stack([dataset[index]['lq'] for index in sampler]))


def test_plain_integers_draw_new_crops_from_torch_seed(rain_pairs):
    dataset = PairedTaskDataset(rain_pairs)

    def draw():
        torch.manual_seed(7)
        return torch.stack([dataset[0]['lq'] for _ in range(3)])

    first = draw()
    assert not torch.equal(first[0], first[1])
    torch.manual_seed(8)
    assert not torch.equal(dataset[0]['lq'], first[0])
    assert torch.equal(draw(), first)


def write_lmdbs(options, raw):
    made = dict(options, io_backend={'type': 'lmdb'})
    for side in ('dataroot_lq', 'dataroot_gt'):
        made[side] = options[side] + ('_raw.lmdb' if raw else '.lmdb')
        with LmdbWriter(made[side], raw=raw) as writer:
            for name in sorted(os.listdir(options[side])):
                writer.add_file(name, Path(options[side], name).read_bytes())
    return made


@pytest.mark.parametrize('raw', [False, True])
def test_lmdb_gives_the_samples_of_the_files(rain_pairs, raw):
    rain_pairs['use_rot'] = True
    from_files = PairedTaskDataset(rain_pairs)
    from_lmdb = PairedTaskDataset(write_lmdbs(rain_pairs, raw))
    for position in range(6):
        ours, theirs = from_lmdb[(1, position)], from_files[(1, position)]
        assert torch.equal(ours['lq'], theirs['lq']) and torch.equal(ours['gt'], theirs['gt'])
        assert ours['lq_path'] == Path(theirs['lq_path']).stem


@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_lmdb_can_be_shared_by_two_datasets_and_their_workers(rain_pairs, method):
    options = write_lmdbs(rain_pairs, raw=True)
    training, validation = PairedTaskDataset(options), PairedTaskDataset({**options, 'phase': 'val'})
    expected = torch.stack([training[(0, position)]['gt'] for position in range(6)])  # opened here, before the fork
    assert len(validation[0]['gt']) == 3
    indices = [(0, position) for position in range(6)]
    loader = DataLoader(training, 6, sampler=indices, num_workers=1, multiprocessing_context=method)
    assert torch.equal(next(iter(loader))['gt'], expected)


def test_many_hazy_images_share_one_clear(tmp_path, image_folder):
    hazy = [f'part{number % 3}/000{number % 2 + 1}_0.{number}_0.04.png' for number in range(6)]
    image_folder('hazy', hazy)
    image_folder('clear', ['0001.png', '0002.png'], seed=50)
    dataset = PairedTaskDataset(
        {'dataroot_lq': str(tmp_path / 'hazy'), 'dataroot_gt': str(tmp_path / 'clear'), 'pairing': 'ots', 'gt_size': 8}
    )
    assert len(dataset) == 6
    for sample in dataset:
        assert Path(sample['gt_path']).stem == Path(sample['lq_path']).stem.split('_')[0]


def test_files_without_partner_are_left_out_with_a_warning(rain_pairs, caplog):
    Path(rain_pairs['dataroot_lq'], 'rain-99.png').write_bytes(b'')
    Path(rain_pairs['dataroot_gt'], 'Thumbs.db').write_bytes(b'')
    os.remove(Path(rain_pairs['dataroot_lq'], 'rain-2.png'))
    with caplog.at_level(logging.WARNING):
        dataset = PairedTaskDataset(rain_pairs)
    assert len(dataset) == 5
    assert 'rain-99.png' in caplog.text and 'norain-2.png' in caplog.text


def test_no_pairs_at_all_is_an_error(rain_pairs):
    with pytest.raises(ValueError, match=r"rain-1\.png.*norain-1\.png.*'same_name'"):
        PairedTaskDataset({**rain_pairs, 'pairing': 'same_name'})


def test_pairs_of_different_size_are_refused_by_name(rain_pairs):
    write_png(Path(rain_pairs['dataroot_gt'], 'norain-1.png'), random_image(5, 40, 64))
    with pytest.raises(ValueError, match=r'rain-1\.png: 64x48 pixels.*norain-1\.png has 64x40'):
        PairedTaskDataset(rain_pairs)[(0, 0)]


BROKEN = {
    'truncated': lambda data: data[: len(data) // 2],
    'empty': lambda data: b'',
    'text': lambda data: b'<html>',
}


@pytest.mark.parametrize('damage', BROKEN)
def test_broken_files_raise_with_their_name(rain_pairs, damage):
    path = Path(rain_pairs['dataroot_lq'], 'rain-3.png')
    path.write_bytes(BROKEN[damage](path.read_bytes()))
    with pytest.raises(ValueError, match=r'rain-3\.png: '):
        PairedTaskDataset(rain_pairs)[(0, 2)]


@pytest.mark.parametrize('workers', [0, 2])
def test_skipping_counts_logs_and_replaces(rain_pairs, workers, caplog):
    path = Path(rain_pairs['dataroot_lq'], 'rain-3.png')
    path.write_bytes(path.read_bytes()[:100])
    dataset = PairedTaskDataset({**rain_pairs, 'on_error': 'skip'})
    loader = DataLoader(dataset, 6, sampler=EpochSampler(dataset, 1, 0, batch_size=6), num_workers=workers)
    with caplog.at_level(logging.WARNING):
        batch = next(iter(loader))
    assert batch['lq'].shape == (6, 3, 16, 16)
    assert all('rain-3' not in name for name in batch['lq_path'])
    assert dataset.skipped >= 1
    if not workers:
        assert 'skipped (1 so far)' in caplog.text and 'rain-3.png' in caplog.text
    assert torch.equal(next(iter(loader))['lq'], batch['lq'])  # the replacement, too, is a function of the sample


def test_a_set_of_broken_files_stops_even_with_skip(rain_pairs):
    for path in Path(rain_pairs['dataroot_lq']).iterdir():
        path.write_bytes(b'')
    with pytest.raises(ValueError, match='broken samples in a row'):
        PairedTaskDataset({**rain_pairs, 'on_error': 'skip'})[(0, 0)]


def test_crop_larger_than_the_image_is_named(rain_pairs):
    with pytest.raises(ValueError, match=r'rain-1\.png: the image has 64x48 pixels.*gt_size: 64'):
        PairedTaskDataset({**rain_pairs, 'gt_size': 64})[(0, 0)]


@pytest.mark.parametrize(
    'change, message',
    [
        ({'dataroot_lq': None}, 'dataroot_lq: missing'),
        ({'dataroot_gt': None}, 'dataroot_gt: missing'),
        ({'dataroot_gt': '/nowhere/gt'}, '/nowhere/gt'),
        ({'pairing': 'like'}, "'like'"),
        ({'gt_size': None}, 'gt_size: missing'),
        ({'gt_size': '128'}, "gt_size: '128'"),
        ({'crop_multiple': 'sixteen'}, "crop_multiple: 'sixteen'; allowed are whole numbers >= 1"),
        ({'manual_seed': -1}, 'manual_seed: -1'),
        ({'scale': 4}, 'scale: 4; degraded and clean images have one size'),
        ({'on_error': 'ignore'}, "on_error: 'ignore'; allowed: raise, skip"),
        ({'crop_multiple': 0}, 'crop_multiple: 0'),
        ({'io_backend': {'type': 'memcached'}}, "'memcached'; allowed: disk, lmdb"),
        ({'io_backend': {'type': 'lmdb'}}, r'NAME\.lmdb'),
        ({'meta_info_file': '/nowhere/list.txt'}, '/nowhere/list.txt'),
    ],
)
def test_wrong_options_are_refused(rain_pairs, change, message):
    with pytest.raises(ValueError, match=message):
        PairedTaskDataset({**rain_pairs, **change})


def test_an_empty_folder_is_named(rain_pairs, tmp_path):
    (tmp_path / 'nothing').mkdir()
    (tmp_path / 'nothing' / 'Thumbs.db').write_bytes(b'x')
    with pytest.raises(ValueError, match=r'nothing: no images in this folder \(and 1 other'):
        PairedTaskDataset({**rain_pairs, 'dataroot_gt': str(tmp_path / 'nothing')})


def test_a_root_that_ends_with_lmdb_is_one_whatever_io_backend_says(rain_pairs):
    options = write_lmdbs(rain_pairs, raw=False)
    by_file, one_side = PairedTaskDataset(rain_pairs), {**options, 'dataroot_gt': rain_pairs['dataroot_gt']}
    for made in (options, one_side):  # every shipped option file sets disk, which must not hinder
        dataset = PairedTaskDataset({**made, 'io_backend': {'type': 'disk'}})
        assert len(dataset) == len(by_file)
        assert torch.equal(dataset[(0, 1)]['gt'], by_file[(0, 1)]['gt'])


def test_a_database_under_another_name_is_explained(rain_pairs):
    options = write_lmdbs(rain_pairs, raw=False)
    renamed = options['dataroot_lq'].replace('.lmdb', '_db')
    os.rename(options['dataroot_lq'], renamed)
    with pytest.raises(ValueError, match=r'rainy_db: holds an LMDB; rename the folder to rainy_db\.lmdb'):
        PairedTaskDataset({**options, 'dataroot_lq': renamed, 'io_backend': {'type': 'disk'}})


def test_one_folder_for_both_sides_needs_a_rule(tmp_path, image_folder):
    both = {'task': 'denoise', 'dataroot_lq': str(tmp_path), 'dataroot_gt': str(tmp_path), 'phase': 'val'}
    for seed, name in enumerate(('a_real.png', 'a_mean.png')):
        write_png(tmp_path / name, random_image(seed))
    with pytest.raises(ValueError, match='are one folder'):
        PairedTaskDataset(both)
    dataset = PairedTaskDataset({**both, 'pairing': {'lq': '(.+)_real', 'gt': r'\1_mean'}})
    assert [(Path(i['lq_path']).name, Path(i['gt_path']).name) for i in dataset] == [('a_real.png', 'a_mean.png')]
    (tmp_path / 'list.txt').write_text('a_real.png a_real.png\n')
    with pytest.raises(ValueError, match='with itself'):
        PairedTaskDataset({**both, 'meta_info_file': str(tmp_path / 'list.txt')})


def test_options_are_not_changed_and_datasets_can_be_pickled(rain_pairs):
    before = dict(rain_pairs)
    dataset = PairedTaskDataset(rain_pairs)
    assert rain_pairs == before
    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy[(0, 1)]['lq'], dataset[(0, 1)]['lq'])


@pytest.mark.parametrize('folder', ['@eaDir/x', '#recycle', '$RECYCLE.BIN', 'System Volume Information'])
def test_pictures_in_folders_of_the_storage_system_are_passed_over(rain_pairs, folder, caplog):
    for side, name in (('dataroot_lq', 'rain-9.png'), ('dataroot_gt', 'norain-9.png')):
        write_png(Path(rain_pairs[side], folder, name), random_image(0))
    assert len(PairedTaskDataset(rain_pairs)) == 6
    assert 'folders of the storage system are passed over' in caplog.text


@pytest.mark.parametrize('phase', ['train', 'val'])
def test_pictures_that_cannot_be_used_are_told_in_one_line_and_other_files_counted(rain_pairs, phase, caplog):
    lq = Path(rain_pairs['dataroot_lq'])
    for name in ('e.avif', 'rain\t7.png', 'sub/x.JXL', 'Thumbs.db', '.DS_Store', '._e.avif', 'list.txt', 'scores.json'):
        (lq / name).parent.mkdir(exist_ok=True)
        (lq / name).touch()
    with caplog.at_level(logging.INFO):
        dataset = PairedTaskDataset({**rain_pairs, 'phase': phase})
    assert len(dataset) == 6
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert said == [
        ('INFO', f'{lq}: 5 files that are no pictures are ignored'),
        (
            'WARNING',
            f'pictures that cannot be used are passed over: {lq}: 3 (e.avif, rain\\x097.png, sub/x.JXL); allowed are '
            '.png .jpg .jpeg .bmp .webp .tif .tiff .ppm .pgm .gif, and names without control characters',
        ),
    ]


def test_of_many_passed_over_pictures_the_first_are_named(rain_pairs, caplog):
    for number in range(9):
        Path(rain_pairs['dataroot_gt'], f'{number}.heic').touch()
    PairedTaskDataset(rain_pairs)
    assert ': 9 (0.heic, 1.heic, 2.heic, 3.heic, 4.heic, ...); allowed' in caplog.text


def test_a_folder_that_is_opened_by_others_than_data_sets_tells_nothing(rain_pairs, caplog):
    Path(rain_pairs['dataroot_lq'], 'e.avif').touch()
    assert list(open_store(rain_pairs['dataroot_lq']).passed_over) == ['e.avif']
    with pytest.raises(ValueError, match='gt_size'):
        PairedTaskDataset({**rain_pairs, 'gt_size': None})
    assert not caplog.records
