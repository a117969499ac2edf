"""Every layout in circulation ends up in ours; what is not used has its reason."""

import zipfile
from pathlib import Path

import pytest

from mirage_data.degradations.cdd11 import TYPES as CDD11_TYPES
from mirage_data.sets.layouts import LAYOUTS
from mirage_data.sets.prepare_plan import plan, unpaired
from mirage_data.sets.source_tree import SourceError, read_source
from mirage_data.sets.table import all_data_sets, data_set


def lay_out(root: Path, *files: str) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.encode())
    return root


# set: (files of a download, the same files in our layout in the same order)
DOWNLOADS = {
    'bsd400 publisher': (
        'bsd400',
        ['BSR/BSDS500/data/images/train/100075.jpg', 'BSR/BSDS500/data/images/test/2018.jpg'],
        ['Train/Denoise/100075.jpg', 'Train/Denoise/2018.jpg'],
    ),
    'bsd400 beside WED': ('bsd400', ['data/Train/Denoise/12003.jpg'], ['Train/Denoise/12003.jpg']),
    'wed publisher': ('wed', ['exploration/pristine_images/00001.bmp'], ['Train/Denoise/00001.bmp']),
    'wed AdaIR': ('wed', ['data/Train/Denoise/04744.bmp'], ['Train/Denoise/04744.bmp']),
    'rain100l PromptIR': (
        'rain100l',
        [
            'Train/Derain/rainy/rain-1.png',
            'Train/Derain/gt/norain-1.png',
            'test/derain/Rain100L/input/1.png',
            'test/derain/Rain100L/target/1.png',
        ],
        [
            'Train/Derain/rainy/rain-1.png',
            'Train/Derain/gt/norain-1.png',
            'test/derain/Rain100L/input/1.png',
            'test/derain/Rain100L/target/1.png',
        ],
    ),
    'rain100l publisher': (
        'rain100l',
        ['RainTrainL/rain-7.png', 'RainTrainL/norain-7.png', 'Rain100L/rain-001.png', 'Rain100L/norain-001.png'],
        [
            'Train/Derain/rainy/rain-7.png',
            'Train/Derain/gt/norain-7.png',
            'test/derain/Rain100L/input/rain-001.png',
            'test/derain/Rain100L/target/norain-001.png',
        ],
    ),
    'rain100l publisher, second release': (
        'rain100l',
        [
            'rain_data_train_Light/rain/norain-3x2.png',
            'rain_data_train_Light/norain/norain-3.png',
            'rain_data_test_Light/rain/X2/norain-004x2.png',
            'rain_data_test_Light/norain/norain-004.png',
        ],
        [
            'Train/Derain/rainy/rain-3.png',
            'Train/Derain/gt/norain-3.png',
            'test/derain/Rain100L/input/rain-004.png',
            'test/derain/Rain100L/target/norain-004.png',
        ],
    ),
    'rain100l Restormer': (
        'rain100l',
        ['Datasets/test/Rain100L/input/1.png', 'Datasets/test/Rain100L/target/1.png'],
        ['test/derain/Rain100L/input/1.png', 'test/derain/Rain100L/target/1.png'],
    ),
    'ots AdaIR': (
        'ots',
        ['Train/Dehaze/synthetic/part1/0025_0.8_0.1.jpg', 'Train/Dehaze/original/0025.png'],
        ['Train/Dehaze/synthetic/part1/0025_0.8_0.1.jpg', 'Train/Dehaze/original/0025.png'],
    ),
    'ots publisher': (
        'ots',
        ['OTS_BETA/haze/part2/3068_0.8_0.12.jpg', 'OTS_BETA/clear/3068.jpg'],
        ['Train/Dehaze/synthetic/part2/3068_0.8_0.12.jpg', 'Train/Dehaze/original/3068.jpg'],
    ),
    'ots without parts': (
        'ots',
        ['OTS/0025_0.95_0.2.jpg', 'clear_images/0025.jpg'],
        ['Train/Dehaze/synthetic/0025_0.95_0.2.jpg', 'Train/Dehaze/original/0025.jpg'],
    ),
    'sots publisher': (
        'sots',
        ['SOTS/outdoor/hazy/0001_0.8_0.2.jpg', 'SOTS/outdoor/gt/0001.png'],
        ['test/dehaze/input/0001_0.8_0.2.jpg', 'test/dehaze/target/0001.png'],
    ),
    'gopro publisher': (
        'gopro',
        [
            'GOPRO_Large/train/GOPR0372_07_00/blur/000047.png',
            'GOPRO_Large/train/GOPR0372_07_00/sharp/000047.png',
            'GOPRO_Large/test/GOPR0384_11_00/blur/000001.png',
            'GOPRO_Large/test/GOPR0384_11_00/sharp/000001.png',
        ],
        [
            'Train/Deblur/blur/GOPR0372_07_00_000047.png',
            'Train/Deblur/sharp/GOPR0372_07_00_000047.png',
            'test/deblur/gopro/input/GOPR0384_11_00_000001.png',
            'test/deblur/gopro/target/GOPR0384_11_00_000001.png',
        ],
    ),
    'gopro BasicSR': (
        'gopro',
        ['GoPro/train/blur/a.png', 'GoPro/train/sharp/a.png', 'GoPro/test/input/b.png', 'GoPro/test/target/b.png'],
        [
            'Train/Deblur/blur/a.png',
            'Train/Deblur/sharp/a.png',
            'test/deblur/gopro/input/b.png',
            'test/deblur/gopro/target/b.png',
        ],
    ),
    'lol publisher': (
        'lol',
        [
            'LOLdataset/our485/low/2.png',
            'LOLdataset/our485/high/2.png',
            'LOLdataset/eval15/low/1.png',
            'LOLdataset/eval15/high/1.png',
        ],
        [
            'Train/Enhance/low/2.png',
            'Train/Enhance/gt/2.png',
            'test/enhance/lol/input/1.png',
            'test/enhance/lol/target/1.png',
        ],
    ),
    'cdd11 publisher': (
        'cdd11',
        [
            'CDD-11_train/clear/1.png',
            'CDD-11_train/low_haze/1.png',
            'CDD-11_test/clear/2.png',
            'CDD-11_test/rain/2.png',
        ],
        [
            'CDD-11/train/clear/1.png',
            'CDD-11/train/low_haze/1.png',
            'CDD-11/test/clear/2.png',
            'CDD-11/test/rain/2.png',
        ],
    ),
    'cdd11 ours': (
        'cdd11',
        ['CDD-11/test/clear/2.png', *(f'CDD-11/test/{kind}/2.png' for kind in CDD11_TYPES)],
        ['CDD-11/test/clear/2.png', *(f'CDD-11/test/{kind}/2.png' for kind in CDD11_TYPES)],
    ),
    'allweather TransWeather': (
        'allweather',
        ['allweather/input/im_1.png', 'allweather/gt/im_1.png', 'allweather/AllWeather.txt'],
        ['Train/AllWeather/input/im_1.png', 'Train/AllWeather/gt/im_1.png', 'Train/AllWeather/allweather.txt'],
    ),
    'snow100k publisher': (
        'snow100k',
        [
            'media/overlapping/test/Snow100K-S/synthetic/a.jpg',
            'media/overlapping/test/Snow100K-S/gt/a.jpg',
            'media/overlapping/test/Snow100K-L/synthetic/b.jpg',
            'media/overlapping/test/Snow100K-L/gt/b.jpg',
        ],
        [
            'test/weather/snow100k_s/input/a.jpg',
            'test/weather/snow100k_s/target/a.jpg',
            'test/weather/snow100k_l/input/b.jpg',
            'test/weather/snow100k_l/target/b.jpg',
        ],
    ),
    'outdoor_rain publisher': (
        'outdoor_rain',
        ['test1/input/im_0001_s80_a04.png', 'test1/gt/im_0001.png'],
        ['test/weather/outdoor_rain/input/im_0001_s80_a04.png', 'test/weather/outdoor_rain/target/im_0001.png'],
    ),
    'raindrop publisher': (
        'raindrop',
        ['test_b/data/0_rain.jpg', 'test_b/gt/0_clean.jpg'],
        ['test/weather/raindrop/input/0_rain.jpg', 'test/weather/raindrop/target/0_clean.jpg'],
    ),
    'uieb publisher': (
        'uieb',
        ['raw-890/raw-890/2_img_.png', 'reference-890/reference-890/2_img_.png'],
        ['test/underwater/uieb/input/2_img_.png', 'test/underwater/uieb/target/2_img_.png'],
    ),
    'toled publisher': (
        'toled',
        ['Toled/test/LQ/1.png', 'Toled/test/HQ/1.png'],
        ['test/display/toled/input/1.png', 'test/display/toled/target/1.png'],
    ),
    'poled elsewhere': (
        'poled',
        ['UDC/test/poled/input/1.png', 'UDC/test/poled/gt/1.png'],
        ['test/display/poled/input/1.png', 'test/display/poled/target/1.png'],
    ),
    'bsd68 publisher': ('bsd68', ['CBSD68-master/CBSD68/original_png/0000.png'], ['test/denoise/bsd68/0000.png']),
    'bsd68 PromptIR': ('bsd68', ['test/denoise/bsd68/3096.jpg'], ['test/denoise/bsd68/3096.jpg']),
    'urban100 publisher': (
        'urban100',
        ['Urban100/image_SRF_2/img_001_SRF_2_HR.png'],
        ['test/denoise/urban100/img_001.png'],
    ),
    'urban100 HR': ('urban100', ['Urban100/HR/img_002.png'], ['test/denoise/urban100/img_002.png']),
    'kodak24 publisher': ('kodak24', ['pcd0992/kodim01.png'], ['test/denoise/kodak24/kodim01.png']),
    'any folder of clean images': ('urban100', ['my pictures/a b.PNG'], ['test/denoise/urban100/a b.png']),
}


@pytest.mark.parametrize('case', DOWNLOADS)
def test_layouts_in_circulation(tmp_path, case):
    name, files, expected = DOWNLOADS[case]
    source = lay_out(tmp_path / 'down loads' / 'train', *files)  # a misleading folder above must not matter
    result = plan(name, read_source(source))
    assert {target: entry.file.read_bytes().decode() for target, entry in result.files.items()} == dict(
        zip(expected, files, strict=True)
    )
    assert unpaired(result) == {}


@pytest.mark.parametrize('level', [0, 1, 2, 3])
def test_the_user_may_point_at_any_level(tmp_path, level):
    lay_out(tmp_path, 'a/GOPRO_Large/train/GOPR1/blur/1.png', 'a/GOPRO_Large/train/GOPR1/sharp/1.png')
    source = tmp_path.joinpath(*('a', 'GOPRO_Large', 'train', 'GOPR1')[: level + 1])
    assert sorted(plan('gopro', read_source(source)).files) == [
        'Train/Deblur/blur/GOPR1_1.png',
        'Train/Deblur/sharp/GOPR1_1.png',
    ]


def test_a_new_set_needs_no_layout_where_folders_are_named_after_their_sides(tmp_path, monkeypatch):
    monkeypatch.delitem(LAYOUTS, 'uieb')
    found = plan('uieb', read_source(lay_out(tmp_path, 'x/test/input/1.png', 'x/test/target/1.png')))
    assert sorted(found.files) == ['test/underwater/uieb/input/1.png', 'test/underwater/uieb/target/1.png']


def test_every_set_has_layouts_for_every_part_and_recognises_its_own(tmp_path):
    assert set(LAYOUTS) == set(all_data_sets())
    example = {'ots': '0025_0.8_0.1', 'wed': '00001', 'rain100l': 'rain-1', 'kodak24': 'kodim01'}
    clean = {'ots': '0025', 'rain100l': 'norain-1'}
    for row in all_data_sets().values():
        files = []
        for part in row.parts:
            if part.lq:
                files.append(f'{part.lq}/{example.get(row.name, "1")}.png')
            files.append(f'{part.gt}/{clean.get(row.name, example.get(row.name, "1"))}.png')
        source = lay_out(tmp_path / row.name / 'datasets', *files)
        assert set(plan(row.name, read_source(source)).files) == set(files), row.name


def test_what_is_left_out_has_its_reason(tmp_path):
    source = lay_out(
        tmp_path / 'GOPRO_Large',
        'train/GOPR1/blur/1.png',
        'train/GOPR1/sharp/1.png',
        'train/GOPR1/blur_gamma/1.png',
        'train/GOPR1/Thumbs.db',
        '__MACOSX/train/GOPR1/blur/._1.png',
        'readme.txt',
        'else/where.png',
    )
    result = plan('gopro', read_source(source))
    reasons = {Path(path).as_posix(): why for why, paths in result.skipped.items() for path in paths}
    assert reasons == {
        'GOPRO_Large/train/GOPR1/blur_gamma/1.png': 'gamma-corrected copies',
        'GOPRO_Large/train/GOPR1/Thumbs.db': 'left by the operating system',
        'GOPRO_Large/__MACOSX/train/GOPR1/blur/._1.png': 'left by the operating system',
        'GOPRO_Large/readme.txt': 'not an image',
        'GOPRO_Large/else/where.png': 'not part of GoPro as it is used here',
    }
    assert len(result.files) == 2


def test_validation_photographs_of_bsds500_are_not_taken(tmp_path):
    source = lay_out(tmp_path / 'BSR', 'images/train/1.jpg', 'images/val/3096.jpg')
    result = plan('bsd400', read_source(source))
    assert list(result.files) == ['Train/Denoise/1.jpg']
    assert 'validation photographs: CBSD68 is among them' in result.skipped


def test_training_halves_are_not_taken_for_tests(tmp_path):
    source = lay_out(
        tmp_path,
        'train/input/im_0001_s80_a04.png',
        'train/gt/im_0001.png',
        'test1/input/im_0002_s80_a04.png',
        'test1/gt/im_0002.png',
    )
    files = plan('outdoor_rain', read_source(source)).files
    assert sorted(Path(file).name for file in files) == ['im_0002.png', 'im_0002_s80_a04.png']
    source = lay_out(tmp_path / 'raindrop', *(f'{part}/data/0_rain.png' for part in ('train', 'test_a', 'test_b')))
    (entry,) = plan('raindrop', read_source(source)).files.values()
    assert entry.path.endswith('test_b/data/0_rain.png')


@pytest.mark.parametrize(
    ('name', 'files', 'other'),
    [
        ('sots', ['SOTS-indoor/hazy/1400_1.png', 'SOTS-indoor/clear/1400.png'], 'sots_indoor'),
        ('sots_indoor', ['SOTS-outdoor/hazy/0001_0.8_0.2.jpg', 'SOTS-outdoor/clear/0001.png'], 'sots'),
        ('rain100h', ['Rain100L/test/input/1.png', 'Rain100L/test/target/1.png'], 'rain100l'),
        ('uieb', ['eval15/low/1.png', 'eval15/high/1.png'], 'lol'),
    ],
)
def test_folders_of_another_set_are_refused_though_their_sides_are_named_alike(tmp_path, name, files, other):
    with pytest.raises(SourceError, match=f'mirage-basicsr prepare {other};'):
        plan(name, read_source(lay_out(tmp_path / 'down', *files)))
    lq, gt = (file.rpartition('/')[0] for file in files)
    assert len(plan(name, read_source(tmp_path / 'down'), (f'down/{lq}', f'down/{gt}'), 'test').files) == 2


def test_files_without_a_partner_are_named(tmp_path):
    source = lay_out(tmp_path, 'our485/low/1.png', 'our485/low/2.png', 'our485/high/1.png')
    assert unpaired(plan('lol', read_source(source))) == {'Train/Enhance/low': ['2.png']}


def test_nothing_recognised_says_what_is_there_and_what_would_be(tmp_path):
    lay_out(tmp_path / 'stuff', 'one/a.png', 'one/b.png', 'two/c.png', 'x.rar')
    with pytest.raises(SourceError) as caught:
        plan('lol', read_source(tmp_path / 'stuff'))
    text = str(caught.value)
    for piece in ('stuff/one/ (2 images)', 'our485/low/NAME with our485/high/NAME', '--lq FOLDER', 'unrar x'):
        assert piece in text
    assert '(?' not in text


def test_folders_may_be_named_by_hand(tmp_path):
    source = lay_out(tmp_path, 'one/a.png', 'two/a.png')
    result = plan('lol', read_source(source), ('one', 'two'), 'test')
    assert sorted(result.files) == ['test/enhance/lol/input/a.png', 'test/enhance/lol/target/a.png']


def test_two_different_files_for_one_place_are_reported(tmp_path):
    source = lay_out(tmp_path, 'a/pristine_images/00001.bmp', 'bcd/pristine_images/00001.bmp')
    result = plan('wed', read_source(source))
    assert len(result.files) == 1
    assert list(result.skipped) == ['another file is already Train/Denoise/00001.bmp']


def test_words_for_patterns_have_no_regular_expressions_left():
    for name, layouts in LAYOUTS.items():
        assert data_set(name)
        for layout in layouts:
            assert not set('()[]?*+\\^$') & set(layout.in_words().replace('*', '')), layout.in_words()


def test_an_archive_within_an_archive_is_named_with_its_cure(tmp_path):
    with zipfile.ZipFile(tmp_path / 'inner.zip', 'w') as inner:
        inner.writestr('our485/low/1.png', b'x')
    with zipfile.ZipFile(tmp_path / 'outer.zip', 'w') as outer:
        outer.write(tmp_path / 'inner.zip', 'LOL/inner.zip')
        outer.writestr('1.png', b'x')
    tree = read_source(tmp_path / 'outer.zip')
    assert [entry.member for entry in tree.entries] == ['1.png']
    assert tree.refused == [
        ('outer.zip: LOL/inner.zip', 'an archive within an archive: unpack the outer one and give its folder')
    ]
