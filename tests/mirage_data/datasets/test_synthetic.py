"""SyntheticDegradationDataset: pairs from clean photographs, the same ones for the same numbers."""

import json

import cv2
import numpy as np
import pytest
import torch
from made_up_images import write_png
from made_up_scene import scene
from torch.utils.data import DataLoader

from mirage_data.datasets.synthetic import SyntheticDegradationDataset, flipped, widened
from mirage_data.degradations import TABLE
from mirage_data.files.crops import Window, dihedral

RECIPE = [{'degradation': name} for name in TABLE]


@pytest.fixture
def photographs(tmp_path):
    for number in range(4):
        photograph = np.rint(np.roll(scene(), 9 * number, axis=1) * 255).astype(np.uint8)
        write_png(tmp_path / 'clean' / f'photo {number}.png', photograph)
    return str(tmp_path / 'clean')


def make(root, recipe=RECIPE, **options) -> SyntheticDegradationDataset:
    return SyntheticDegradationDataset({'dataroot_gt': root, 'recipe': recipe, 'gt_size': 32, **options})


def test_training_samples_depend_on_the_seed_the_epoch_and_the_position_alone(photographs):
    first, second = make(photographs, use_hflip=True, use_rot=True), make(photographs, use_hflip=True, use_rot=True)
    other_seed = make(photographs, use_hflip=True, use_rot=True, manual_seed=1)
    for index in [(0, 0), (3, 2), (7, 1)]:
        one, two = first[index], second[index]
        assert one['lq'].shape == one['gt'].shape == (3, 32, 32) and one['lq'].dtype == torch.float32
        assert torch.equal(one['lq'], two['lq']) and torch.equal(one['gt'], two['gt'])
        assert not torch.equal(one['gt'], first[index[0] + 1, index[1]]['gt'])
        assert not torch.equal(one['gt'], other_seed[index]['gt'])
        assert one['gt_path'].endswith(f'photo {index[1]}.png')


def test_the_clean_side_is_a_crop_of_the_photograph(photographs):
    sample = make(photographs, [{'degradation': 'clean'}], use_hflip=False, use_rot=False)[(0, 1)]
    photograph = cv2.imread(sample['gt_path'])[..., ::-1]
    crop = np.rint(sample['gt'].numpy() * 255).astype(np.uint8)
    places = np.lib.stride_tricks.sliding_window_view(photograph, (32, 32), axis=(0, 1))
    assert (places == crop).all(axis=(2, 3, 4)).sum() == 1 and torch.equal(sample['lq'], sample['gt'])


def test_margins_make_a_blurred_crop_equal_a_crop_of_the_blurred_photograph(photographs):
    fixed = [{'degradation': 'defocus_blur', 'radius': 4, 'gamma': 1}]
    whole = make(photographs, fixed, phase='val', crop_multiple=1, quantize=False)[2]['lq'].numpy()
    crops = make(photographs, fixed, quantize=False, use_hflip=True, use_rot=True)
    for epoch in range(6):
        sample = crops[(epoch, 2)]
        crop = sample['lq'].numpy().transpose(1, 2, 0)
        best = min(
            cv2.matchTemplate(whole.transpose(1, 2, 0), np.ascontiguousarray(dihedral(crop, mode)), cv2.TM_SQDIFF).min()
            for mode in range(8)
        )
        assert best < 1e-3, epoch


def test_flips_of_windows_agree_with_flips_of_images():
    image = np.arange(20 * 30).reshape(20, 30, 1)
    outer, inner = Window(0, 0, 20, 30), Window(3, 11, 8, 8)
    for mode in range(8):
        moved = flipped(inner, outer, mode).of(dihedral(image, mode))
        np.testing.assert_array_equal(moved, dihedral(inner.of(image), mode))
    assert widened(Window(2, 5, 8, 8), 4, 20, 14) == Window(0, 1, 14, 13)


def test_haze_keeps_the_ground_below(photographs):
    recipe = [{'degradation': 'haze', 'beta': 2.5, 'relief': 0, 'horizon': 0.3}]
    dataset = make(photographs, recipe, use_hflip=True, use_rot=True, return_record=True, gt_size=48)
    records = [json.loads(dataset[(epoch, 0)]['record']) for epoch in range(12)]
    for record in records:
        top, bottom, left, right = record['window']
        assert 0 <= top < bottom <= 1 and 0 <= left < right <= 1
        assert bottom - top == pytest.approx(48 / 72) and right - left == pytest.approx(48 / 96)
    assert len({record['window'][0] for record in records}) > 3


def test_validation_is_whole_and_depends_on_the_name_alone(photographs, tmp_path):
    dataset = make(photographs, phase='val', return_record=True)
    alone = tmp_path / 'one of them'
    write_png(alone / 'photo 2.png', cv2.imread(f'{photographs}/photo 2.png')[..., ::-1])
    one, same = dataset[2], make(str(alone), phase='val', return_record=True)[0]
    assert one['lq'].shape == (3, 64, 96) and one['record'] == same['record']
    assert torch.equal(one['lq'], same['lq']) and torch.equal(dataset[2]['lq'], one['lq'])
    records = [json.loads(dataset[i]['record'])['steps'] for i in range(4)]
    assert any(record != records[0] for record in records[1:])


def test_degraded_images_are_whole_8_bit_steps_unless_asked_otherwise(photographs):
    recipe = [{'degradation': 'haze'}]
    steps = make(photographs, recipe)[(0, 0)]['lq'] * 255
    assert torch.allclose(steps, steps.round(), atol=1e-4)
    free = make(photographs, recipe, quantize=False)[(0, 0)]['lq'] * 255
    assert (free - free.round()).abs().max() > 0.1
    bright = [{'degradation': 'cdd11_rain', 'rain_brightness': 1}]
    assert make(photographs, bright, quantize=False)[(0, 0)]['lq'].max() == 1


def test_records_hold_every_parameter_and_pass_through_a_loader(photographs):
    dataset = make(photographs, [{'degradation': ['rain', 'jpeg'], 'task': 'wet'}], return_record=True)
    sampler = [(0, 1), (0, 3), (1, 0), (1, 1)]
    batch = next(iter(DataLoader(dataset, batch_size=4, sampler=sampler, num_workers=1)))
    assert batch['task'] == ['wet'] * 4 and batch['lq'].shape == (4, 3, 32, 32)
    for index, text in zip(sampler, batch['record']):
        steps = json.loads(text)['steps']
        assert [step['degradation'] for step in steps] == ['rain', 'jpeg']
        assert {*steps[0]} == {'degradation', *TABLE['rain'].parameters}
        assert json.loads(dataset[index]['record'])['steps'] == steps


def test_several_roots_and_lists(photographs, tmp_path):
    write_png(tmp_path / 'more' / 'a.png', np.full((40, 40, 3), 90, np.uint8))
    (tmp_path / 'list.txt').write_text('photo 1.png\nphoto 3.png (72,96,3) 1\n')
    roots = [photographs, str(tmp_path / 'more')]
    assert len(make(roots)) == 5
    some = make(roots, meta_info_file=[str(tmp_path / 'list.txt'), None])
    assert [some[(0, i)]['gt_path'].rsplit('/', 1)[1] for i in range(3)] == ['photo 1.png', 'photo 3.png', 'a.png']
    with pytest.raises(ValueError, match='meta_info_file: 1 for 2 dataroot_gt'):
        make(roots, meta_info_file=str(tmp_path / 'list.txt'))


def test_clear_errors(photographs, tmp_path):
    with pytest.raises(ValueError, match='recipe: missing'):
        make(photographs, None)
    with pytest.raises(ValueError, match=r'recipe\[0\]|unknown degradation'):
        make(photographs, [{'degradation': 'mist'}])
    with pytest.raises(ValueError, match='photo 0.png.*too few for gt_size: 200'):
        make(photographs, gt_size=200)[(0, 0)]
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='empty'):
        make(str(tmp_path / 'empty'))


def test_broken_files_are_skipped_when_asked(photographs):
    with open(f'{photographs}/broken.png', 'wb') as file:
        file.write(b'\x89PNG\r\n\x1a\n')
    with pytest.raises(ValueError, match='broken.png'):
        make(photographs)[(0, 0)]
    patient = make(photographs, on_error='skip')
    assert patient[(0, 0)]['lq'].shape == (3, 32, 32) and patient.skipped == 1
