import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'mirage_ir'))  # small_run.py, model_setup.py

import mirage_ir  # noqa: F401  test modules may import BasicSR after it
