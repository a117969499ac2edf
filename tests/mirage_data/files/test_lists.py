import logging

import pytest

from mirage_data.datasets.denoise import GaussianDenoiseDataset
from mirage_data.datasets.paired import PairedTaskDataset


@pytest.fixture
def weather(tmp_path, image_folder):
    image_folder('input', ['a b.png', '0_rain.png', 'im_1.png', 'd, e.png'])
    image_folder('gt', ['a b.png', '0_clean.png', 'im_1.png', 'd, e.png'])

    def dataset(text, **options):
        (tmp_path / 'list.txt').write_text(text, encoding='utf-8')
        roots = {'dataroot_lq': str(tmp_path / 'input'), 'dataroot_gt': str(tmp_path / 'gt')}
        return PairedTaskDataset({**roots, 'gt_size': 8, 'meta_info_file': str(tmp_path / 'list.txt'), **options})

    return dataset


def names(dataset):
    return [tuple(sample[key].rsplit('/', 1)[1] for key in ('lq_path', 'gt_path')) for sample in dataset]


@pytest.mark.parametrize(
    'line, pair',
    [
        ('0_rain.png 0_clean.png', ('0_rain.png', '0_clean.png')),
        ('0_rain.png\t0_clean.png', ('0_rain.png', '0_clean.png')),
        ('0_rain.png, 0_clean.png', ('0_rain.png', '0_clean.png')),
        ('/input/0_rain.png gt/0_clean.png', ('0_rain.png', '0_clean.png')),
        ('./allweather/input/im_1.png', ('im_1.png', 'im_1.png')),
        ('a b.png', ('a b.png', 'a b.png')),
        ('a b.png a b.png', ('a b.png', 'a b.png')),
        ('d, e.png, d, e.png', ('d, e.png', 'd, e.png')),
        ('im_1.png (48,64,3) 1', ('im_1.png', 'im_1.png')),
        ('im_1', ('im_1.png', 'im_1.png')),
    ],
)
def test_lines_in_circulation_are_understood(weather, line, pair):
    assert names(weather(f'# AllWeather\n\n{line}\n')) == [pair]


def test_a_lone_name_finds_its_partner_by_the_rule(weather):
    assert names(weather('0_rain.png\nim_1.png\n', pairing='raindrop')) == [
        ('0_rain.png', '0_clean.png'),
        ('im_1.png', 'im_1.png'),
    ]


def test_absent_images_are_reported_and_left_out(weather, caplog):
    with caplog.at_level(logging.WARNING):
        assert names(weather('im_1.png\nghost.png\nim_1.png ghost.png\n')) == [('im_1.png', 'im_1.png')]
    assert '2 lines name images that are absent' in caplog.text and 'ghost.png' in caplog.text


def test_a_list_of_nothing_is_an_error(weather):
    with pytest.raises(ValueError, match=r"list\.txt: none of its 1 lines \(e\.g\. 'ghost\.png'\)"):
        weather('ghost.png\n')
    with pytest.raises(ValueError, match=r'list\.txt: none of its 0 lines'):
        weather('')


def test_lists_choose_photographs_for_denoising(tmp_path, image_folder):
    image_folder('BSDS500', ['test/1.jpg.png', 'test/2.png', 'train/3.png'])
    (tmp_path / 'leak_free.txt').write_text('train/3.png\ntest/2.png\n')
    dataset = GaussianDenoiseDataset(
        {
            'phase': 'val',
            'sigma': 5,
            'dataroot_gt': str(tmp_path / 'BSDS500'),
            'meta_info_file': str(tmp_path / 'leak_free.txt'),
        }
    )
    assert [sample['gt_path'].rsplit('/', 1)[1] for sample in dataset] == ['3.png', '2.png']
