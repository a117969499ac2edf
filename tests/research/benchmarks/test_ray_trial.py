"""A real Ray cluster of two nodes; what dies in the middle changes no byte."""

import pytest

pytest.importorskip('ray.cluster_utils', reason='needs the extra ray')

from research.benchmarks.ray_trial import Trial, two_nodes


def test_a_worker_and_a_node_that_are_killed_change_nothing(tmp_path):
    with two_nodes() as cluster:
        told = Trial(tmp_path, 6, 32, cluster).run(['check-data', 'synthesize', 'node killed'])
    assert told['check-data']['report of one process'] and told['check-data']['bytes'] > 500
    made = told['synthesize']
    assert made['killed'].startswith('one of ') and made['bytes of one process'] and made['pairs'] == 24
    restored = told['node killed']
    assert restored['killed'].startswith('the second of two nodes')
    assert (restored['restored'], restored['failures'], restored['bytes of one process']) == (6, [], True)
    assert restored['second run'] == {'restored': 0, 'skipped': 6}
