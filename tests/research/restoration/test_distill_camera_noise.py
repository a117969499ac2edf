"""The table of camera noise, distilled from made-up measurements whose quantiles are known."""

import json

import numpy as np
import pytest

from research.restoration import distill_camera_noise


def test_quantiles_of_the_measurements(tmp_path, capsys):
    profiles = []
    for stop in distill_camera_noise.STOPS:
        for level in np.linspace(0, 1, 101):
            shot = 1e-5 * 2**stop * (1 + level)
            profiles.append(
                {'iso': 100 * 2**stop, 'a': [2 * shot, shot, shot / 2], 'b': [0, (1e-4 * 2**stop) ** 2, 0], 'name': ''}
            )
    profiles.append({'a': [1, 1, 1], 'b': [1, 1, 1]})  # a generic one without ISO does not count
    content = {'noiseprofiles': [{'maker': 'A', 'models': [{'model': 'B', 'profiles': profiles}]}]}
    (tmp_path / 'profiles.json').write_text(json.dumps(content))
    out = tmp_path / 'table.json'
    assert distill_camera_noise.main([str(tmp_path / 'profiles.json'), '--output', str(out)]) == 0
    table = json.loads(out.read_text())
    assert set(table) == set(json.loads(distill_camera_noise.TABLE.read_text()))  # what `raw_noise` reads
    assert table['profiles'] == 1010 and '1010' in capsys.readouterr().out
    assert table['iso'][3] == 800
    assert table['shot'][3] == pytest.approx([8e-5 * (1 + level) for level in table['shot_levels']], rel=0.01)
    assert np.shape(table['read']) == (10, 7, 5) and table['read'][3][2] == pytest.approx([8e-4] * 5, rel=0.01)
    assert table['red'] == pytest.approx([2] * 5) and table['blue'] == pytest.approx([0.5] * 5)
