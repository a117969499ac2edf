import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
torch.set_num_threads(1)  # tiny tensors: more threads only wait for each other


@pytest.fixture(autouse=True)
def _reproducible(tmp_path_factory, monkeypatch):
    torch.manual_seed(0)
    cache = tmp_path_factory.getbasetemp() / 'cache'  # not that of who runs the tests
    monkeypatch.setenv('XDG_CACHE_HOME', str(cache))
    yield
