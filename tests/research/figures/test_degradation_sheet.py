"""docs/degradations.md says what the table of degradations says."""

import importlib
import re
from pathlib import Path

import cv2
import yaml

from mirage_data.degradations import parse_recipe
from mirage_data.sets.synthesis import LAYOUTS

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / 'docs' / 'degradations.md').read_text(encoding='utf-8')


def script():
    return importlib.import_module('research.figures.degradation_sheet')


def test_the_table_of_parameters_is_current():
    assert script().parameter_table() in PAGE, 'run python research/figures/degradation_sheet.py'


def test_the_sheet_is_there_with_a_tile_for_every_row():
    sheet = script()
    rows = -(-len(sheet.TABLE) // sheet.COLUMNS)
    assert cv2.imread(str(sheet.SHEET)).shape == (rows * (sheet.HEIGHT + sheet.CAPTION), sheet.COLUMNS * sheet.WIDTH, 3)


def test_the_recipe_and_the_layouts_shown_exist():
    shown = yaml.safe_load(re.search(r'```yaml\n(.*?)```', PAGE, re.DOTALL).group(1))
    assert len(parse_recipe(shown['datasets']['train']['recipe']).entries) == 4 + 11
    assert all(f'| `{layout}` |' in PAGE for layout in LAYOUTS)
