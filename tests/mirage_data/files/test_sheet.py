import numpy as np
import pytest

from mirage_data.files.crops import side_by_side


def test_sheet_holds_every_image_unchanged():
    images = [np.full((h, w, 3), v, np.uint8) for h, w, v in ((5, 4, 10), (7, 3, 20), (7, 6, 30))]
    sheet = side_by_side(images)
    assert sheet.shape == (7, 4 + 3 + 6 + 2 * 4, 3)
    assert (sheet[:5, :4] == 10).all() and (sheet[5:, :4] == 255).all()
    assert (sheet[:, 8:11] == 20).all() and (sheet[:, 11:15] == 255).all() and (sheet[:, 15:] == 30).all()


@pytest.mark.parametrize(('size', 'expected'), [((100, 50), (20, 10)), ((10, 50), (10, 50))])
def test_sheet_shrinks_what_is_too_high(size, expected):
    assert side_by_side([np.zeros((*size, 3), np.uint8)], height=20).shape[:2] == expected
