import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mirage_data.datasets.mixed import MixedDegradationDataset
from mirage_data.datasets.sample import EpochSampler


@pytest.fixture
def mixture(tmp_path, image_folder, rain_pairs):
    """Options of a mixture: 4 clean photographs at two sigmas, 6 rainy pairs."""
    image_folder('clean', ['a.png', 'b.png', 'c.png', 'd.png'])
    rain = {key: rain_pairs[key] for key in ('task', 'dataroot_lq', 'dataroot_gt', 'pairing')}
    return {
        'phase': 'train',
        'gt_size': 16,
        'use_hflip': True,
        'use_rot': True,
        'manual_seed': 3,
        'io_backend': {'type': 'disk'},
        'sources': [
            {'task': 'denoise', 'dataroot_gt': str(tmp_path / 'clean'), 'sigma': [15, 50], 'repeat': 3},
            {**rain, 'repeat': 5},
        ],
    }


def stream(dataset, epochs, **options):
    sampler = EpochSampler(dataset, 1, 0, batch_size=4)
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        yield from DataLoader(dataset, 4, sampler=sampler, **options)


def test_an_epoch_repeats_each_source_as_asked(mixture):
    dataset = MixedDegradationDataset(mixture)
    assert len(dataset) == 2 * 4 * 3 + 6 * 5
    samples = [dataset[(0, position)] for position in range(len(dataset))]
    seen = Counter((sample['task'], Path(sample['lq_path']).stem) for sample in samples)
    assert {seen[f'denoise_{sigma}', name] for sigma in (15, 50) for name in 'abcd'} == {3}
    assert {seen['derain', f'rain-{number}'] for number in range(1, 7)} == {5}
    assert len({sample['lq'].numpy().tobytes() for sample in samples}) == len(samples)  # each repetition is new


def test_the_log_says_what_an_epoch_is_made_of(mixture, caplog):
    with caplog.at_level(logging.INFO):
        dataset = MixedDegradationDataset(mixture)
    assert [(row['task'], row['images'], row['per_epoch']) for row in dataset.ratios()] == [
        ('denoise', 8, 24),
        ('derain', 6, 30),
    ]
    assert 'source derain: 6 samples, 30 an epoch, 55.6 %' in caplog.text


@pytest.fixture
def incomplete(tmp_path, image_folder):
    """Four photographs of BSD400 and WED, and two rainy pairs of Rain100L, where those sets belong."""
    image_folder('datasets/Train/Denoise', ['a.png', 'b.png', 'c.png', 'd.png'])
    image_folder('datasets/Train/Derain/rainy', ['rain-1.png', 'rain-2.png'], seed=10)
    image_folder('datasets/Train/Derain/gt', ['norain-1.png', 'norain-2.png'], seed=20)
    root = tmp_path / 'datasets' / 'Train'
    rain = {'dataroot_lq': str(root / 'Derain/rainy'), 'dataroot_gt': str(root / 'Derain/gt'), 'pairing': 'rain100l'}
    return {
        'phase': 'train',
        'gt_size': 16,
        'sources': [
            {'task': 'denoise_15', 'dataroot_gt': str(root / 'Denoise'), 'sigma': 15, 'repeat': 3},
            {'task': 'derain', **rain, 'repeat': 120},
        ],
    }


def test_incomplete_data_are_said_with_both_shares(incomplete, caplog):
    rows = MixedDegradationDataset(incomplete).ratios()
    # published: 3 x 5,144 and 120 x 200 samples; here 3 x 4 and 120 x 2
    assert [row['published'] for row in rows] == [5144, 200]
    assert [round(row['published_percent'], 1) for row in rows] == [39.1, 60.9]
    assert [round(row['percent'], 1) for row in rows] == [4.8, 95.2]
    assert 'derain has 2 of the 200 samples of Rain100L and makes 95.2 % of an epoch (published: 60.9 %)' in caplog.text
    assert 'denoise_15 has 4 of the 5,144 samples of BSD400 and WED' in caplog.text
    assert 'balance: published' in caplog.text


def test_the_published_balance_keeps_the_published_shares(incomplete, caplog):
    dataset = MixedDegradationDataset({**incomplete, 'balance': 'published'})
    assert dataset.counts.tolist() == [15432, 24000]
    drawn = Counter(dataset.source_index((0, position))[0] for position in range(len(dataset)))
    assert drawn == {0: 15432, 1: 24000}
    items = {inner for number, inner in map(dataset.source_index, [(0, n) for n in range(len(dataset))]) if number}
    assert len(items) == 24000  # each repetition is a pass of its own, so another crop
    assert 'to keep the published shares' not in caplog.text


def test_own_data_and_given_shares_have_no_published_balance(mixture, incomplete, caplog):
    own = MixedDegradationDataset({**mixture, 'balance': 'published'})
    assert own.counts.tolist() == [24, 30] and 'incomplete' not in caplog.text
    shares = [{**{k: v for k, v in source.items() if k != 'repeat'}, 'share': 1} for source in incomplete['sources']]
    MixedDegradationDataset({**incomplete, 'sources': shares})
    assert 'derain has 2 of the 200 samples of Rain100L and makes 50.0 % of an epoch' in caplog.text
    with pytest.raises(ValueError, match='balance: published is about repeat'):
        MixedDegradationDataset({**incomplete, 'sources': shares, 'balance': 'published'})


def test_the_authors_epoch_lengths():
    """Per-epoch samples of the released training code, from the published counts and our ratios."""
    noise, rain, haze, gopro, lol = 5144, 200, 72135, 2103, 485
    repeats = ((noise * 3, 3), (rain, 120), (haze, 1), (gopro, 5), (lol, 20))
    dataset = object.__new__(MixedDegradationDataset)
    dataset.sizes = np.array([size for size, _ in repeats])
    counts = dataset._counts([{'repeat': repeat} for _, repeat in repeats], None)
    assert counts[:3].sum() == 142_431 and counts.sum() == 162_646


@pytest.mark.parametrize('workers', [1, 2])
def test_workers_change_nothing(mixture, workers):
    dataset = MixedDegradationDataset(mixture)
    for alone, shared in zip(stream(dataset, 2), stream(dataset, 2, num_workers=workers), strict=True):
        assert torch.equal(alone['lq'], shared['lq']) and alone['task'] == shared['task']


def test_epochs_differ_and_seeds_differ(mixture):
    first, other = MixedDegradationDataset(mixture), MixedDegradationDataset({**mixture, 'manual_seed': 4})
    assert not torch.equal(first[(0, 0)]['lq'], first[(1, 0)]['lq'])
    assert not torch.equal(first[(0, 0)]['lq'], other[(0, 0)]['lq'])
    assert torch.equal(first[(1, 5)]['lq'], MixedDegradationDataset(mixture)[(1, 5)]['lq'])


def with_shares(mixture, *shares, **options):
    sources = [{key: value for key, value in source.items() if key != 'repeat'} for source in mixture['sources']]
    return {**mixture, **options, 'sources': [dict(source, share=share) for source, share in zip(sources, shares)]}


def test_shares_are_met_and_every_image_comes(mixture):
    dataset = MixedDegradationDataset(with_shares(mixture, 1, 3))  # 8 noise samples are a quarter: 32 in all
    assert dataset.counts.tolist() == [8, 24]
    samples = [dataset[(0, position)] for position in range(32)]
    assert len({(sample['task'], sample['lq_path']) for sample in samples}) == 8 + 6


@pytest.mark.parametrize('length', [10, 23, 100])
def test_an_epoch_of_any_length_keeps_the_shares_and_in_the_long_run_the_balance(mixture, length):
    dataset = MixedDegradationDataset(with_shares(mixture, 0.25, 0.75, epoch_length=length))
    assert len(dataset) == length
    assert abs(dataset.counts[1] - 0.75 * length) <= 1
    seen, asked = Counter(), set()
    for epoch in range(24):
        for position in range(length):
            number, inner = dataset.source_index((epoch, position))
            seen[number, inner[1]] += 1
            asked.add((number, inner))
    assert len(asked) == 24 * length  # no sample of a source is asked for twice
    for number, size in ((0, 8), (1, 6)):
        times = [seen[number, item] for item in range(size)]
        assert max(times) - min(times) <= 1


def test_plain_integers_work_under_a_foreign_sampler(mixture):
    dataset = MixedDegradationDataset(mixture)
    torch.manual_seed(1)
    batches = list(DataLoader(dataset, 9, shuffle=True, num_workers=2))
    assert sum(len(batch['task']) for batch in batches) == len(dataset)
    times = Counter(task for batch in batches for task in batch['task'])
    assert times == {'denoise_15': 12, 'denoise_50': 12, 'derain': 30}


def test_any_dataset_class_may_be_a_source(mixture, tmp_path, image_folder):
    for name in ('clear', 'haze', 'low_rain'):
        image_folder(f'cdd/{name}', ['1.png', '2.png'], seed=len(name))
    mixture['sources'] += [
        {
            'type': 'CompositeDegradationDataset',
            'dataroot': str(tmp_path / 'cdd'),
            'types': ['haze', 'low_rain'],
            'repeat': 2,
        },
        {
            'type': 'SyntheticDegradationDataset',
            'dataroot_gt': str(tmp_path / 'clean'),
            'recipe': [{'degradation': 'rain', 'task': 'made_rain'}],
        },
    ]
    dataset = MixedDegradationDataset(mixture)
    assert len(dataset) == 24 + 30 + 2 * 4 + 4
    samples = [dataset[(0, position)] for position in range(54, 66)]
    assert {sample['task'] for sample in samples[:8]} == {'haze', 'low_rain'}
    assert {sample['task'] for sample in samples[8:]} == {'made_rain'}
    assert all(sample['lq'].shape == sample['gt'].shape == (3, 16, 16) for sample in samples)


def test_broken_images_of_a_source_are_skipped_and_counted(mixture):
    Path(mixture['sources'][1]['dataroot_lq'], 'rain-1.png').write_bytes(b'')
    with pytest.raises(ValueError, match=r'rain-1\.png: the file is empty'):
        list(stream(MixedDegradationDataset(mixture), 1))
    patient = MixedDegradationDataset({**mixture, 'on_error': 'skip'})
    assert sum(1 for _ in stream(patient, 1)) == 14
    assert patient.skipped >= 5


@pytest.mark.parametrize(
    'sources, message',
    [
        (None, 'sources: None'),
        ([], r'sources: \[\]'),
        (['datasets/Train'], r"sources: \['datasets/Train'\]"),
        ([{'type': 'ImageNet'}], r"sources\[0\] \(ImageNet\): type: 'ImageNet'; allowed: PairedTaskDataset"),
        ([{'task': 'dehaze', 'dataroot_lq': '/no/hazy', 'dataroot_gt': '/no'}], r'sources\[0\] \(dehaze\): /no/hazy'),
    ],
)
def test_unusable_sources_are_named(mixture, sources, message):
    with pytest.raises(ValueError, match=message):
        MixedDegradationDataset({**mixture, 'sources': sources})


def test_crops_of_all_sources_have_the_size_of_the_mixture(mixture):
    noise, rain = mixture['sources']
    own = {**mixture, 'sources': [noise, {**rain, 'gt_size': 8}]}
    with pytest.raises(ValueError, match=r'sources\[1\] \(derain\): gt_size: 8; allowed is 16, that of the mixture'):
        MixedDegradationDataset(own)
    same = MixedDegradationDataset({**mixture, 'sources': [noise, {**rain, 'gt_size': 16}]})
    assert {batch['lq'].shape[2:] for batch in stream(same, 1)} == {(16, 16)}
    assert len(MixedDegradationDataset({**own, 'phase': 'val'})) == 54  # nothing is cropped to it there


def test_pictures_that_all_sources_pass_over_are_told_once(mixture, tmp_path, image_folder, caplog):
    noise, rain = mixture['sources']
    (tmp_path / 'clean' / 'e.avif').touch()
    Path(rain['dataroot_lq'], 'rain-7.HEIC').touch()
    for name in ('clear', 'haze', 'rain'):
        image_folder(f'cdd/{name}', ['1.png'], seed=len(name))
        (tmp_path / 'cdd' / name / '2.jxl').touch()
    cdd = {'type': 'CompositeDegradationDataset', 'dataroot': str(tmp_path / 'cdd'), 'types': ['haze', 'rain']}
    made = {
        'type': 'SyntheticDegradationDataset',
        'dataroot_gt': noise['dataroot_gt'],
        'recipe': [{'degradation': 'rain'}],
    }
    with caplog.at_level(logging.WARNING):
        dataset = MixedDegradationDataset({**mixture, 'sources': [{**noise, 'sigma': 15}, noise, rain, cdd, made]})
        list(stream(dataset, 1, num_workers=1))
    (line,) = [record.getMessage() for record in caplog.records if 'passed over' in record.getMessage()]
    assert [line.count(name) for name in ('clean: 1 (e.avif)', 'rainy: 1 (rain-7.HEIC)', ': 1 (2.jxl)')] == [1, 1, 3]


def test_unusable_ratios_are_named(mixture):
    noise, rain = mixture['sources']
    with pytest.raises(ValueError, match=r'repeat: \[3, 0\]'):
        MixedDegradationDataset({**mixture, 'sources': [noise, {**rain, 'repeat': 0}]})
    with pytest.raises(ValueError, match=r'share: \[None, 0\.5\]'):
        MixedDegradationDataset({**mixture, 'sources': [noise, {**rain, 'share': 0.5}]})
    with pytest.raises(ValueError, match='epoch_length: 1'):
        MixedDegradationDataset(with_shares(mixture, 1, 1, epoch_length=1))
    with pytest.raises(ValueError, match='epoch_length: needs'):
        MixedDegradationDataset({**mixture, 'epoch_length': 50})
