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


OWN = {'lq': r'(.+)_real', 'gt': r'\1_mean'}


def test_a_rule_of_ones_own_pairs_only_names_that_match_it():
    both = ['a_mean.png', 'a_real.png', 'b_mean.png', 'b_real.png', 'readme_shot.png']
    pairs, left_lq, left_gt = match_pairs(both, both, OWN)  # an equal name is no partner, wherever it lies
    assert pairs == [('a_real.png', 'a_mean.png'), ('b_real.png', 'b_mean.png')]
    assert left_lq == ['a_mean.png', 'b_mean.png', 'readme_shot.png']
    assert left_gt == ['a_real.png', 'b_real.png', 'readme_shot.png']


def test_in_one_folder_the_files_of_the_other_side_are_not_missing(tmp_path):
    both = ['a_mean.png', 'a_real.png', 'c_real.png', 'shot.png']
    pairs, left_lq, left_gt = match_pairs(both, both, OWN, tmp_path, tmp_path)
    assert pairs == [('a_real.png', 'a_mean.png')]
    assert left_lq == ['c_real.png', 'shot.png'] == left_gt


@pytest.mark.parametrize('rule', ['same_name', 'rain100l', 'ots', {'lq': '(.+)', 'gt': r'\1'}])
def test_no_file_is_paired_with_itself(rule, tmp_path):
    assert match_pairs(['1.png', '2.png'], ['1.png', '2.png'], rule, tmp_path, tmp_path)[0] == []
    below = match_pairs(['1.png', 'gt/1.png'], ['1.png'], rule, tmp_path, tmp_path / 'gt')[0]
    assert ('gt/1.png', '1.png') not in below


def test_own_rules_may_name_folders_and_endings():
    names = ['s1/mean.png', 's1/real_2.png', 's2/mean.png', 's2/real_1.png']
    pairs = match_pairs(names, names, {'lq': r'(.+)/real_\d', 'gt': r'\1/mean'})[0]
    assert pairs == [('s1/real_2.png', 's1/mean.png'), ('s2/real_1.png', 's2/mean.png')]
    assert match_pairs(['a_in.jpg'], ['a_gt.png'], {'lq': r'(.+)_in\.jpg', 'gt': r'\1_gt.png'})[0] == [
        ('a_in.jpg', 'a_gt.png')
    ]


def test_of_equal_names_in_several_folders_the_one_in_the_same_folder_is_meant():
    lq, gt = ['x/1_real.png', 'y/1_real.png'], ['x/1_mean.png', 'y/1_mean.png']
    assert match_pairs(lq, gt, OWN)[0] == list(zip(lq, gt))
