from pathlib import Path

import pytest

from mirage_data.files.pairing import PairingError, match_pairs


@pytest.mark.parametrize(
    'rule, lq, gt',
    [
        ('same_name', ['a b.png', 'c.d.png', 'é.png'], ['a b.jpg', 'c.d.png', 'é.bmp']),
        ('same_name', ['x/1.png', 'y/1.png'], ['x/1.png', 'y/1.png']),
        ('rain100l', ['rain-1.png', 'rain-10.png'], ['norain-1.png', 'norain-10.png']),
        ('rain100l', ['1.png', '10.png'], ['1.png', '10.png']),
        ('rain100l', ['rain-1.png', 'rain-10.png'], ['rain-1.png', 'rain-10.png']),
        ('rain100l', ['rain-1.png', '10.png'], ['1.png', 'norain-10.png']),
        ('ots', ['part1/0001_0.8_0.04.jpg', 'part4/2061_1_0.2.jpg'], ['0001.jpg', '2061.jpg']),
        ('sots', ['0001_0.8_0.2.jpg', '0002.png'], ['0001.png', '0002.png']),
        ('raindrop', ['0_rain.png', '1_rain.jpg', '2.png'], ['0_clean.png', '1_rain.png', '2.png']),
        ('outdoor_rain', ['im_0001_s80_a04.png', 'im_0002_s95_a06.png'], ['im_0001.png', 'im_0002_s95_a06.png']),
        ({'lq': r'(.+)_hazy', 'gt': r'\1_GT'}, ['01_hazy.png'], ['01_GT.png']),
    ],
)
def test_rules_pair_the_names_in_circulation(rule, lq, gt):
    pairs, leftover_lq, leftover_gt = match_pairs(lq, gt[::-1], rule)
    assert pairs == list(zip(lq, gt))
    assert leftover_lq == leftover_gt == []


def test_leftovers_of_both_sides_come_back_as_given():
    lq, gt = [Path('1_a.png'), Path('9_a.png'), Path('1_b.png')], [Path('1.png'), Path('5.png')]
    pairs, leftover_lq, leftover_gt = match_pairs(lq, gt, 'ots')
    assert pairs == [(lq[0], gt[0]), (lq[2], gt[0])]  # several hazy images share a clear one
    assert leftover_lq == [lq[1]] and leftover_gt == [gt[1]]


def test_rain_number_one_is_not_number_ten():
    pairs, leftover_lq, _ = match_pairs(['rain-1.png'], ['norain-10.png', 'norain-11.png'], 'rain100l')
    assert pairs == [] and leftover_lq == ['rain-1.png']


def test_two_clean_images_of_one_name_are_ambiguous():
    with pytest.raises(PairingError, match=r'1\.png: several clean images.*1\.jpg and 1\.png'):
        match_pairs(['1.png'], ['1.jpg', '1.png'], 'same_name')


@pytest.mark.parametrize(
    'rule, message',
    [
        ('like', "'like'; allowed: same_name, rain100l"),
        ({'lq': 'x'}, 'exactly the keys lq and gt'),
        ({'lq': '(.+', 'gt': r'\1'}, 'unterminated'),
        ({'lq': '.+', 'gt': r'\1'}, 'invalid group reference'),
    ],
)
def test_unusable_rules_are_refused(rule, message):
    with pytest.raises(PairingError, match=message):
        match_pairs(['a.png'], ['a.png'], rule)
