"""docs/degradations.md says what the table of degradations says; the gallery shows degraded and restored pictures."""

import re

import cv2
import numpy as np
import yaml

from mirage_data.degradations import parse_recipe
from mirage_data.sets.synthesis import LAYOUTS
from research.figures import sheets

PAGE = sheets.PAGE.read_text(encoding='utf-8')


def test_the_table_of_parameters_is_current():
    assert sheets.parameter_table() in PAGE, 'run python research/figures/sheets.py degradations'


def test_the_sheet_is_there_with_a_tile_for_every_row():
    rows = -(-len(sheets.TABLE) // sheets.COLUMNS)
    shape = (rows * (sheets.HEIGHT + sheets.CAPTION), sheets.COLUMNS * sheets.WIDTH, 3)
    assert cv2.imread(str(sheets.SHEET)).shape == shape


def test_the_recipe_and_the_layouts_shown_exist():
    shown = yaml.safe_load(re.search(r'```yaml\n(.*?)```', PAGE, re.DOTALL).group(1))
    assert len(parse_recipe(shown['datasets']['train']['recipe']).entries) == 4 + 11
    assert all(f'| `{layout}` |' in PAGE for layout in LAYOUTS)


def test_the_gallery_has_the_degraded_picture_above_the_restored_one(tmp_path, monkeypatch, capsys):
    noise = {'degradation': 'gaussian_noise', 'sigma': 35}
    monkeypatch.setattr(sheets, 'SIDE', 64)
    monkeypatch.setattr(sheets, 'ROWS', [('coffee', 'noise', noise, 0)] * 3 + [('Own', 'mine', noise, 0)] * 2)
    words = ['gallery', '--packages', str(tmp_path), '--out', str(tmp_path / 'gallery.png')]
    assert sheets.main(words) == 2 and 'Own' in capsys.readouterr().err

    (tmp_path / 'below').mkdir()
    cv2.imwrite(str(tmp_path / 'below' / 'Own.png'), np.full((70, 90, 3), (0, 0, 255), np.uint8))
    assert sheets.main(words) == 0
    height, width, side = sheets.CAPTION + 2 * sheets.SHOWN + 8, sheets.SHOWN + 8, sheets.SHOWN
    found = cv2.imread(str(tmp_path / 'gallery.png')).astype(float)
    assert found.shape == (2 * height, 4 * width, 3)  # the fifth in a second row
    above, below = (found[sheets.CAPTION + half * side :][:side, 3 * width :][:, :side] for half in (0, 1))
    assert below.std(axis=(0, 1)).mean() < above.std(axis=(0, 1)).mean() / 2  # restored: without the noise
    assert below[..., 2].mean() > 200 > below[..., 0].mean()  # and red as it was
