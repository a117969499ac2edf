"""The table of data sets: counts the paper gives, ratios of the released code, messages that name folder and cure."""

from pathlib import Path

import pytest

from mirage_data.sets import table as tasks


def test_settings_have_the_released_number_of_samples():
    totals = {name: sum(source.samples for source in sources) for name, sources in tasks.SETTINGS.items()}
    assert totals == {'3deg': 142_431, '5deg': 162_646}
    shares = {source.task: source.samples / totals['5deg'] for source in tasks.SETTINGS['5deg']}
    noise = sum(share for task, share in shares.items() if task.startswith('denoise'))
    assert round(shares['dehaze'], 3) == 0.444
    assert round(noise, 3) == 0.285
    assert [round(shares[task], 3) for task in ('derain', 'deblur', 'enhance')] == [0.148, 0.065, 0.060]


def test_denoising_trains_on_5144_clean_images():
    counts = [part.gt_count for name in ('bsd400', 'wed') for part in tasks.data_set(name).parts_of('train')]
    assert sum(counts) == 5144


@pytest.mark.parametrize(
    ('file', 'owner'),
    [('00001.bmp', 'wed'), ('04744.bmp', 'wed'), ('12003.jpg', 'bsd400'), ('2018.jpg', 'bsd400')],
)
def test_files_of_the_shared_folder_have_one_owner(file, owner):
    owners = [name for name in ('bsd400', 'wed') for part in tasks.data_set(name).parts if part.owns_clean_file(file)]
    assert owners == [owner]


def test_every_row_is_complete_and_no_two_parts_share_a_degraded_folder():
    seen = set()
    for name, row in tasks.all_data_sets().items():
        assert row.name == name
        assert row.published and row.licence and row.paper and row.parts
        for part in row.parts:
            assert part.split in ('train', 'test') and part.gt_count > 0 and part.content
            assert (part.lq is None) == (part.lq_count == 0)
            if part.lq is not None:
                assert part.lq not in seen
                seen.add(part.lq)


def test_cdd11_has_eleven_types_in_each_split():
    for split in ('train', 'test'):
        parts = tasks.data_set('cdd11').parts_of(split)
        assert len({part.degradation for part in parts}) == 11
        assert {part.gt for part in parts} == {f'CDD-11/{split}/clear'}


@pytest.mark.parametrize(
    ('path', 'names'),
    [
        ('datasets/Train/Denoise', ['bsd400', 'wed']),
        ('/elsewhere/train/derain/RAINY/', ['rain100l']),
        ('datasets/Train/Dehaze', ['ots']),
        ('datasets/CDD-11', ['cdd11']),
        ('datasets/CDD-11/test/low_haze', ['cdd11']),
        ('datasets/test', []),
        ('holiday/photos', []),
    ],
)
def test_folders_are_recognised_by_the_end_of_their_path(path, names):
    assert [row.name for row in tasks.data_sets_for_folder(path)] == names
    text = tasks.describe_folder(path)
    assert (text is None) == (not names)
    for name in names:
        assert f'mirage-basicsr prepare {name} ' in text


def test_unknown_set_names_the_known_ones():
    with pytest.raises(ValueError, match="'bsd500'.*bsd400.*kodak24"):
        tasks.data_set('bsd500')


def test_the_documentation_has_every_set_with_its_counts():
    lines = (Path(__file__).resolve().parents[3] / 'docs' / 'data.md').read_text(encoding='utf-8').splitlines()
    for name, row in tasks.all_data_sets().items():
        (line,) = [line for line in lines if line.startswith('|') and f'`{name}`' in line.split('|')[1]]
        for part in row.parts:
            assert f'{part.lq_count or part.gt_count:,}' in line, (name, part.split)
        assert any(page.split(' ')[0] in line for page in row.published), name
