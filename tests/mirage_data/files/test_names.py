import pickle

import pytest

from mirage_data.files.image import NameList

NAMES = ['a.png', '', 'été 1.0.jpg', 'x/y/z.bmp', 'odd\udcff.png']  # the last: a file name that is not UTF-8


def test_it_is_a_sequence_of_the_names():
    names = NameList(NAMES)
    assert len(names) == 5 and list(names) == NAMES
    assert [names[index] for index in range(-5, 5)] == NAMES * 2
    assert 'x/y/z.bmp' in names and 'b.png' not in names
    with pytest.raises(IndexError):
        names[5]
    assert list(pickle.loads(pickle.dumps(names))) == NAMES
    assert list(NameList()) == []


def test_a_name_costs_its_letters_and_an_offset():
    names = [f'{number:020d}' for number in range(10_000)]
    assert len(pickle.dumps(NameList(names))) < 10_000 * (20 + 8) + 1000
