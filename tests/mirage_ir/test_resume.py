"""A killed and resumed run must end bit for bit where an undisturbed one ends."""


import numpy as np
import pytest
from kill_trial import collect, prepare, run_and_kill, run_to_end
from small_run import fork


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    root = tmp_path_factory.mktemp('a folder') / 'undisturbed'
    prepare(root)
    run_to_end(root, start=fork)
    return root


@pytest.mark.parametrize('workers', [0, 2])
def test_kills_leave_no_trace(undisturbed, tmp_path, workers):
    prepare(tmp_path, datasets={'train': {'num_worker_per_gpu': workers}})
    rng = np.random.default_rng(workers)
    kills = [
        run_and_kill(tmp_path, moment, rng, span=3, startup=0.5, start=fork)
        for moment in ('training', 'writing', 'training')
    ]
    run_to_end(tmp_path, '--auto_resume', start=fork)
    assert len([kill for kill in kills if kill is not None]) >= 2
    assert collect(undisturbed).differences(collect(tmp_path)) == []
