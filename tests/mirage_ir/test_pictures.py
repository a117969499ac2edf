import numpy as np
import pytest

from mirage_ir.pictures import PictureNames, side_by_side


def test_names_tell_folders_and_endings_apart(tmp_path):
    for name in ('a/1.png', 'b/1.png', 'b/2.png', 'b/2.jpg'):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    names = PictureNames({'dataroot_lq': str(tmp_path)})
    paths = ['a/1.png', 'b/1.png', 'b/2.png', 'b/2.jpg']
    assert [names(str(tmp_path / p), i) for i, p in enumerate(paths)] == ['a/1', 'b/1', 'b/2_png', 'b/2_jpg']


def test_a_file_outside_the_folders_is_named_by_its_number():
    names = PictureNames({'dataroot_gt': '/data/set.lmdb'})
    assert [names('key.v1', 0), names('/elsewhere/key.png', 12)] == ['00000_key', '00012_key']


def test_sheet_holds_every_image_unchanged():
    images = [np.full((h, w, 3), v, np.uint8) for h, w, v in ((5, 4, 10), (7, 3, 20), (7, 6, 30))]
    sheet = side_by_side(images)
    assert sheet.shape == (7, 4 + 3 + 6 + 2 * 4, 3)
    assert (sheet[:5, :4] == 10).all() and (sheet[5:, :4] == 255).all()
    assert (sheet[:, 8:11] == 20).all() and (sheet[:, 11:15] == 255).all() and (sheet[:, 15:] == 30).all()


@pytest.mark.parametrize(('size', 'expected'), [((100, 50), (20, 10)), ((10, 50), (10, 50))])
def test_sheet_shrinks_what_is_too_high(size, expected):
    assert side_by_side([np.zeros((*size, 3), np.uint8)], height=20).shape[:2] == expected
