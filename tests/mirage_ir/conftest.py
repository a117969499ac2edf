import pytest
from kill_trial import prepare, run_to_end
from small_run import fork

import mirage_ir  # noqa: F401  test modules may import BasicSR after it


@pytest.fixture(scope='session')
def undisturbed(tmp_path_factory):
    """Project folder in which one small run has been trained to its end; do not change it."""
    root = tmp_path_factory.mktemp('a folder') / 'undisturbed'
    prepare(root)
    run_to_end(root, start=fork)
    return root
