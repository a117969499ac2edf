import cv2
import numpy as np
from PIL import Image

from mirage_data import CompositeDegradationDataset, GaussianDenoiseDataset, PairedTaskDataset
from mirage_ir.options.check import check_option_file
from mirage_ir.options.check_sizes import different_sizes


def _picture(path, width, height):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((height, width, 3), np.uint8))


def _set(root, gt='gt'):
    return PairedTaskDataset({'phase': 'val', 'dataroot_lq': str(root / 'lq'), 'dataroot_gt': str(root / gt)})


def test_pairs_of_different_size_are_named(tmp_path):
    for number, width in enumerate((20, 30, 20)):
        _picture(tmp_path / 'lq' / f'{number}.png', 20, 16)
        _picture(tmp_path / 'gt' / f'{number}.png', width, 16)
    (found,) = different_sizes(_set(tmp_path))
    assert '1.png is 20x16, its ground truth' in found and found.endswith('30x16')
    for folder, width in (('clear', 20), ('low', 24), ('haze', 20)):
        _picture(tmp_path / 'cdd' / folder / '1.png', width, 16)
    options = {'phase': 'test', 'dataroot': str(tmp_path / 'cdd'), 'types': ['low', 'haze']}
    composite = CompositeDegradationDataset(options)
    assert len(different_sizes(composite)) == 1
    noise = GaussianDenoiseDataset({'phase': 'val', 'sigma': 25, 'dataroot_gt': str(tmp_path / 'gt')})
    assert different_sizes(noise) == []


def test_a_turned_jpeg_has_the_size_that_the_reader_sees(tmp_path):
    (tmp_path / 'lq').mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (16, 20)).save(tmp_path / 'lq' / '1.jpg', exif=exif)
    _picture(tmp_path / 'gt' / '1.png', 20, 16)
    assert different_sizes(_set(tmp_path)) == []
    assert _set(tmp_path)[0]['lq'].shape == _set(tmp_path)[0]['gt'].shape
    _picture(tmp_path / 'as_stored' / '1.png', 16, 20)
    assert len(different_sizes(_set(tmp_path, 'as_stored'))) == 1


def test_the_check_before_a_run_says_so(tmp_path):
    _picture(tmp_path / 'lq' / '1.png', 32, 16)
    _picture(tmp_path / 'gt' / '1.png', 16, 32)
    (tmp_path / 'a.yml').write_text(
        'name: a\nmodel_type: MIRAGEModel\nnum_gpu: 0\nnetwork_g: {type: MIRAGEArch}\n'
        'datasets: {test: {name: t, type: PairedTaskDataset, '
        f'dataroot_lq: {tmp_path}/lq, dataroot_gt: {tmp_path}/gt}}}}\n'
        'path: {}\nval: {save_img: false, metrics: {psnr: {type: psnr_float}}}\n'
    )
    problems = [problem for problem in check_option_file(tmp_path / 'a.yml') if problem.key == 'datasets:test']
    assert len(problems) == 1 and 'lq/1.png is 32x16, its ground truth' in problems[0].message
