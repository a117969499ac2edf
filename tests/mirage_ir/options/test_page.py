"""docs/options.md is what the declarations say."""

from pathlib import Path

from basicsr.utils.registry import DATASET_REGISTRY

from mirage_ir.options.places import page
from mirage_ir.training import switches

PAGE = Path(__file__).resolve().parents[3] / 'docs' / 'options.md'


def test_the_page_is_current():
    assert PAGE.read_text(encoding='utf-8') == page(), 'run python -m mirage_ir.options.places > docs/options.md'


def test_every_switch_and_data_set_is_on_it_with_a_meaning():
    text = page()
    for option in (*switches.TOP.values(), *switches.TRAIN.values(), *switches.VAL.values(), *switches.LOGGER.values()):
        assert option.meaning and option.meaning in text
    assert all(f'`type: {name}`' in text for name, kind in DATASET_REGISTRY if kind.__module__.startswith('mirage_'))
