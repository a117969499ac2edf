import cv2
import numpy as np
import pytest

from mirage_data.files.crops import Window
from mirage_ir.measuring import metrics, plotting
from research.figures import compare as figures


@pytest.fixture
def images():
    rng = np.random.default_rng(1)
    gt = rng.random((40, 60, 3), dtype=np.float32)
    return {'input': np.clip(gt + 0.1, 0, 1), 'ours': np.clip(gt + 0.01, 0, 1), 'ground truth': gt}


def test_the_crop_lies_where_methods_differ_and_detail_is():
    reference = np.zeros((64, 96, 3), np.float32)
    reference[8:24, 60:76:4] = 1  # detail in two places
    reference[40:56, 8:24:4] = 1
    other = reference.copy()
    other[40:56, 8:24] *= 0.5  # a difference in one of them
    first, second = figures.informative_crops([reference, other], reference, 2, 16)
    assert abs(first.top - 40) <= 3 and abs(first.left - 8) <= 4
    apart = abs(first.top - second.top) >= 16 or abs(first.left - second.left) >= 16
    assert apart, 'crops do not overlap'


def test_crops_where_there_is_nothing_to_choose():
    flat = np.full((30, 50, 3), 0.5, np.float32)
    assert figures.informative_crops([flat, flat], flat, 1, 10) == [Window(10, 20, 10, 10)]
    assert figures.informative_crops([flat], flat, 9, 200) == [Window(0, 10, 30, 30)], 'no larger than the image'
    with pytest.raises(ValueError, match='1 or more'):
        figures.informative_crops([flat], flat, 0)


def test_a_figure_has_frames_psnr_and_errors(images, tmp_path):
    crops = [Window(2, 3, 10, 12), Window(20, 30, 8, 8)]
    figure = figures.comparison(images, crops, gt='ground truth')
    assert len(figure.axes) == 3 * (1 + 2 + 1), 'pictures, two crops and errors of three columns'
    frames = figure.axes[0].patches
    assert [(f.get_x(), f.get_y(), f.get_width(), f.get_height()) for f in frames] == [
        (2.5, 1.5, 12, 10),
        (29.5, 19.5, 8, 8),
    ]
    labels = [axis.get_xlabel() for axis in figure.axes if axis.get_xlabel()]
    assert labels == [
        f'input\n{metrics.psnr(images["input"], images["ground truth"]):.2f} dB',
        f'ours\n{metrics.psnr(images["ours"], images["ground truth"]):.2f} dB',
        'ground truth',
    ]
    shown = figure.axes[9].images[0].get_array()
    np.testing.assert_allclose(shown, np.abs(images['input'] - images['ground truth']).mean(axis=2))
    np.testing.assert_array_equal(figure.axes[4].images[0].get_array(), images['ours'][2:12, 3:15])
    pdf, png = plotting.save(figure, tmp_path / 'a.b', ('pdf', 'png'), dpi=50)
    assert pdf.name == 'a.b.pdf' and pdf.read_bytes().startswith(b'%PDF')
    assert cv2.imread(str(png)).std() > 1


def test_figures_without_ground_truth_or_of_equal_images(images):
    del images['ground truth']
    figure = figures.comparison(images)
    assert len(figure.axes) == 2 and figure.axes[1].get_xlabel() == 'ours'
    same = {'input': images['ours'], 'gt': images['ours']}
    assert 'equal' in figures.comparison(same, gt='gt').axes[0].get_xlabel()


def test_what_cannot_be_drawn_is_named(images, tmp_path):
    with pytest.raises(ValueError, match='crop 55,0,8,8 .* image of 60x40'):
        figures.comparison(images, [Window(0, 55, 8, 8)])
    with pytest.raises(ValueError, match="'truth': the images are input"):
        figures.comparison(images, gt='truth')
    with pytest.raises(ValueError, match='one size'):
        figures.comparison({**images, 'small': images['ours'][:5]})
    with pytest.raises(ValueError, match='allowed are pdf, png, svg'):
        plotting.save(figures.comparison(images), tmp_path / 'a', ['bmp'])


def test_results_cropped_by_the_protocol_are_aligned(tmp_path):
    whole = np.random.default_rng(0).integers(0, 256, (41, 57, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'whole.png'), whole)
    cv2.imwrite(str(tmp_path / 'cropped.png'), whole[4:36, 4:52])  # as centre_window(41, 57, 16) takes it
    panels = figures.load_panels({'input': tmp_path / 'whole.png', 'ours': tmp_path / 'cropped.png'})
    np.testing.assert_array_equal(panels['input'], panels['ours'])
    cv2.imwrite(str(tmp_path / 'other.png'), whole[:20])
    with pytest.raises(ValueError, match=r'whole.png: 57x41 pixels, another .* 57x20'):
        figures.load_panels({'input': tmp_path / 'whole.png', 'ours': tmp_path / 'other.png'})
