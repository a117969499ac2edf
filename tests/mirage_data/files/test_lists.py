import logging
import unicodedata

import pytest

from mirage_data.datasets.denoise import GaussianDenoiseDataset
from mirage_data.datasets.paired import PairedTaskDataset
from mirage_data.datasets.synthetic import SyntheticDegradationDataset
from mirage_data.files.lists import check_list
from mirage_data.files.pairing import PairingError, match_pairs


@pytest.fixture
def weather(tmp_path, image_folder):
    image_folder('input', ['a b.png', '0_rain.png', 'im_1.png', 'd, e.png'])
    image_folder('gt', ['a b.png', '0_clean.png', 'im_1.png', 'd, e.png'])

    def dataset(text, encoding='utf-8', **options):
        (tmp_path / 'list.txt').write_text(text, encoding=encoding)
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
        ('0_rain;0_clean', ('0_rain.png', '0_clean.png')),
        ('data/Train/input/im_1.png', ('im_1.png', 'im_1.png')),
        ('input/old/input/im_1 /copy/gt/im_1', ('im_1.png', 'im_1.png')),
        ('"a b.png","a b.png"', ('a b.png', 'a b.png')),
        ('D:\\sets\\input\\0_rain.png 0_clean.png', ('0_rain.png', '0_clean.png')),
    ],
)
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-16', 'utf-16-le'])
def test_lines_in_circulation_are_understood_by_data_sets_and_by_the_check(weather, tmp_path, line, pair, encoding):
    dataset = weather(f'# AllWeather\n\n{line}\n', encoding)
    assert names(dataset) == [pair]
    folders = {store.root: list(store.names) for store in (dataset.lq, dataset.gt)}
    found = check_list(tmp_path / 'list.txt', folders)
    assert (found.lines, found.absent, found.repeated) == (1, [], [])
    assert pair[0] not in found.unlisted and len(found.unlisted) == 3


def test_a_folder_is_known_by_its_whole_path_behind_a_link(weather, tmp_path):
    (tmp_path / 'linked').symlink_to(tmp_path / 'input')
    line = f'{tmp_path}/input/im_1.png'
    assert names(weather(line, dataroot_lq=str(tmp_path / 'linked'))) == [('im_1.png', 'im_1.png')]
    with pytest.raises(ValueError, match='none of its 1 lines'):
        weather(f'{tmp_path}/other/im_1.png')  # of another set that happens to have the name


def test_accents_in_one_piece_and_taken_apart_are_the_same(tmp_path, image_folder):
    apart, whole = (unicodedata.normalize(form, 'Caf\u00e9 1.png') for form in ('NFD', 'NFC'))
    assert apart != whole
    image_folder('lq', [apart])
    image_folder('gt', [whole, 'x.png'])
    (tmp_path / 'list.txt').write_text(f'{whole}\n', encoding='utf-8')
    roots = {'phase': 'val', 'dataroot_lq': str(tmp_path / 'lq'), 'dataroot_gt': str(tmp_path / 'gt')}
    for options in ({}, {'meta_info_file': str(tmp_path / 'list.txt')}):
        assert names(PairedTaskDataset({**roots, **options})) == [(apart, whole)]
    assert match_pairs([apart, whole], [whole, apart], 'same_name')[0] == [(apart, apart), (whole, whole)]
    with pytest.raises(PairingError, match='several clean images fit'):
        match_pairs([whole], [apart, apart.replace('.png', '.jpg')], 'same_name')


def test_a_list_in_no_known_letters_is_an_error_with_a_cure(weather, tmp_path):
    (tmp_path / 'bad.txt').write_bytes('Caf\u00e9.png'.encode('latin-1'))
    with pytest.raises(PairingError, match=r'bad\.txt: cannot be read as a list .* save it as UTF-8'):
        weather('', meta_info_file=str(tmp_path / 'bad.txt'))


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


AGAIN = '# chosen\nim_1.png\n\na b.png\ninput/im_1 gt/im_1\na b.png\nim_1\n'


def test_an_image_listed_again_is_warned_of_where_figures_are_made(weather, caplog):
    assert len(weather(AGAIN, phase='train')) == 5 and not caplog.records  # a way to weigh
    assert len(weather(AGAIN, phase='val')) == 5
    (record,) = caplog.records
    assert record.levelname == 'WARNING' and 'list.txt: 3 lines name an image that an earlier' in record.getMessage()
    for repeat in ("'input/im_1 gt/im_1' (lines 2 and 5)", "'a b.png' (lines 4 and 6)", "'im_1' (lines 2 and 7)"):
        assert repeat in record.getMessage()


def test_images_that_share_a_clean_one_are_no_repeats(tmp_path, image_folder, caplog):
    image_folder('hazy', ['1_0.8.png', '1_0.9.png'])
    image_folder('clear', ['1.png'])
    (tmp_path / 'list.txt').write_text('1_0.8.png 1.png\n1_0.9.png 1.png\n')
    roots = {'dataroot_lq': str(tmp_path / 'hazy'), 'dataroot_gt': str(tmp_path / 'clear')}
    assert len(PairedTaskDataset({**roots, 'phase': 'test', 'meta_info_file': str(tmp_path / 'list.txt')})) == 2
    assert not caplog.records


@pytest.mark.parametrize(
    'kind, options',
    [
        (PairedTaskDataset, {}),
        (GaussianDenoiseDataset, {'sigma': [15, 25]}),
        (SyntheticDegradationDataset, {'recipe': [{'degradation': 'rain'}]}),
    ],
)
def test_a_photograph_listed_again_is_warned_of_in_every_class(tmp_path, image_folder, kind, options, caplog):
    image_folder('photos', ['1.png', '2.png'])
    (tmp_path / 'list.txt').write_text('2.png\n1.png\n2.png\n')
    side = 'dataroot_lq' if kind is PairedTaskDataset else 'dataroot_gt'
    options = {**options, side: str(tmp_path / 'photos'), 'meta_info_file': str(tmp_path / 'list.txt'), 'gt_size': 8}
    kind({**options, 'phase': 'test'})
    assert [record.getMessage().count("'2.png' (lines 1 and 3)") for record in caplog.records] == [1]
    if kind is not PairedTaskDataset:
        kind({**options, 'phase': 'train'})
        assert len(caplog.records) == 1
