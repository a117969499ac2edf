import cv2
import numpy as np
import pytest
from PIL import Image

from mirage_data import CompositeDegradationDataset, GaussianDenoiseDataset, MixedDegradationDataset, PairedTaskDataset
from mirage_data.files.image import read_rgb
from mirage_data.files.image_headers import harmless
from mirage_data.files.lmdb import LmdbWriter
from mirage_ir.options import check_sizes
from mirage_ir.options.check import check_option_file
from mirage_ir.options.check_sizes import pictures_at_fault
from mirage_ir.options.file import FURTHER, Problem


def _picture(path, width, height):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((height, width, 3), np.uint8))


def _set(root, gt='gt'):
    return PairedTaskDataset({'phase': 'val', 'dataroot_lq': str(root / 'lq'), 'dataroot_gt': str(root / gt)})


def test_pairs_of_different_size_are_named(tmp_path):
    for number, width in enumerate((20, 30, 20)):
        _picture(tmp_path / 'lq' / f'{number}.png', 20, 16)
        _picture(tmp_path / 'gt' / f'{number}.png', width, 16)
    (found,) = pictures_at_fault(_set(tmp_path))
    assert '1.png is 20x16, its ground truth' in found and found.endswith('30x16')
    for folder, width in (('clear', 20), ('low', 24), ('haze', 20)):
        _picture(tmp_path / 'cdd' / folder / '1.png', width, 16)
    options = {'phase': 'test', 'dataroot': str(tmp_path / 'cdd'), 'types': ['low', 'haze']}
    composite = CompositeDegradationDataset(options)
    assert len(pictures_at_fault(composite)) == 1
    noise = GaussianDenoiseDataset({'phase': 'val', 'sigma': 25, 'dataroot_gt': str(tmp_path / 'gt')})
    mixture = {'dataroot_lq': str(tmp_path / 'lq'), 'dataroot_gt': str(tmp_path / 'gt')}
    training = {'gt_size': 16, 'sources': [mixture]}
    assert pictures_at_fault(MixedDegradationDataset(training)) == [found]
    assert pictures_at_fault(MixedDegradationDataset({**training, 'on_error': 'skip'})) == []
    assert pictures_at_fault(noise) == []


@pytest.mark.parametrize('kind', ['jpg', 'png', 'webp', 'tif'])
def test_pictures_that_lie_are_judged_as_they_are_read(tmp_path, kind):
    turned = Image.Exif()
    turned[0x0112] = 6
    for side in ('lq', 'gt', 'unturned'):
        (tmp_path / side).mkdir()
    Image.new('RGB', (20, 16)).save(tmp_path / 'lq' / f'a.{kind}', exif=turned)
    Image.new('RGB', (16, 20)).save(tmp_path / 'gt' / 'a.png')
    Image.new('RGB', (20, 16)).save(tmp_path / 'unturned' / 'a.png')
    read = read_rgb(tmp_path / 'lq' / f'a.{kind}').shape[:2]
    right, wrong = ('gt', 'unturned') if read == (20, 16) else ('unturned', 'gt')
    assert pictures_at_fault(_set(tmp_path, right)) == []
    assert len(pictures_at_fault(_set(tmp_path, wrong))) == 1


def test_pictures_smaller_than_the_crop_and_of_refused_kinds_are_found_from_files_and_databases(tmp_path):
    for number, size in enumerate([(48, 32), (33, 47), *[(48, 48)] * 60]):
        _picture(tmp_path / 'gt' / f'{number}.png', *size)
    options = {'gt_size': 48, 'crop_multiple': 16, 'sources': [{'dataroot_gt': str(tmp_path / 'gt'), 'sigma': 25}]}
    found = pictures_at_fault(MixedDegradationDataset(options))
    assert [text.split(', ')[0].rpartition('/')[2] for text in found] == [
        '0.png: the image has 48x32 pixels (48x32 after the crop to a multiple of 16)',
        '1.png: the image has 33x47 pixels (32x32 after the crop to a multiple of 16)',
    ]
    for raw in (False, True):
        with LmdbWriter(tmp_path / f'{raw}.lmdb', raw=raw) as writer:
            for path in (tmp_path / 'gt').iterdir():
                writer.add_file(path.name, path.read_bytes())
        options['sources'][0]['dataroot_gt'] = str(tmp_path / f'{raw}.lmdb')
        assert len(pictures_at_fault(MixedDegradationDataset(options))) == 2
    options['sources'][0]['dataroot_gt'] = str(tmp_path / 'gt')
    tifffile = pytest.importorskip('tifffile')
    tifffile.imwrite(tmp_path / 'gt' / '2.tif', np.zeros((48, 48, 3), np.float32))
    Image.new('RGBA', (48, 48), (9, 9, 9, 99)).save(tmp_path / 'gt' / '3.png')
    (tmp_path / 'gt' / '4.png').write_bytes(b'no picture')
    found = pictures_at_fault(MixedDegradationDataset(options), limit=9)
    assert len(found) == 5
    for text in ('2.tif: pixels are float32', '3.png: has transparent pixels', '4.png: not an image'):
        assert any(text in sentence for sentence in found)
    assert pictures_at_fault(MixedDegradationDataset(options), limit=2)[-1] == '... and 3 more like the one before'


def test_of_many_pictures_some_are_looked_at_and_the_smallest_files(tmp_path, monkeypatch):
    monkeypatch.setattr(check_sizes, 'LOOKED_AT', 50)
    for number in range(300):
        _picture(tmp_path / f'{number:03}.png', *((8, 8) if number == 77 else (64, 64)))
    noise = GaussianDenoiseDataset({'phase': 'val', 'sigma': 25, 'dataroot_gt': str(tmp_path), 'crop_multiple': 16})
    opened = []
    monkeypatch.setattr(check_sizes.Image, 'open', lambda path, real=Image.open: opened.append(path) or real(path))
    (found,) = pictures_at_fault(noise)
    assert '077.png' in found and 50 < len(opened) <= 70


def test_a_turned_jpeg_has_the_size_that_the_reader_sees(tmp_path):
    (tmp_path / 'lq').mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (16, 20)).save(tmp_path / 'lq' / '1.jpg', exif=exif)
    _picture(tmp_path / 'gt' / '1.png', 20, 16)
    assert pictures_at_fault(_set(tmp_path)) == []
    assert _set(tmp_path)[0]['lq'].shape == _set(tmp_path)[0]['gt'].shape
    _picture(tmp_path / 'as_stored' / '1.png', 16, 20)
    assert len(pictures_at_fault(_set(tmp_path, 'as_stored'))) == 1


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


def test_each_picture_at_fault_has_a_line_whatever_its_name_is():
    faults = ['a.png: small', 'b\n\x1b[2J.png: small']
    problem = Problem('o.yml', 6, 'datasets:train', FURTHER.join(map(harmless, faults)), 'correct them')
    assert str(problem).splitlines() == [
        'o.yml:6: datasets:train: a.png: small',
        '      b\\x0a\\x1b[2J.png: small',
        '   -> correct them',
    ]
