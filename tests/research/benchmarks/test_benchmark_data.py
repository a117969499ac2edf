"""The benchmark of data sets on a few crops, in the two processes that it starts."""

import contextlib
import io
import json

import cv2
import numpy as np
import pytest

from research.benchmarks import data


@pytest.fixture(scope='module')
def found(tmp_path_factory):
    """What a run wrote and printed."""
    tmp_path = tmp_path_factory.mktemp('benchmark')
    (tmp_path / 'pictures').mkdir()
    cv2.imwrite(str(tmp_path / 'pictures' / 'a.png'), np.random.default_rng(0).integers(0, 256, (90, 130, 3), np.uint8))
    words = [
        '--images',
        tmp_path / 'pictures',
        '--pairs',
        3,
        '--rounds',
        1,
        '--samples',
        2,
        '--json',
        tmp_path / 'f.json',
    ]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(data, 'OTS_PAIRS', 40)
        patch.setattr(data, 'OTS_CLEAR', 8)
        data.main(list(map(str, words)))
    return json.loads((tmp_path / 'f.json').read_text()), printed.getvalue()


def test_every_case_is_measured_beside_basicsr(found):
    rows, printed = {row['case']: row for row in found[0]['cases']}, found[1]
    assert list(rows) == [*data.CASES, data.COMPOSITE]
    for name in data.CASES:
        beside = rows['PNG LMDB' if 'raw' in name else name]['basicsr']
        assert rows[name]['basicsr'] == beside
        assert rows[name]['ratio'] == pytest.approx(rows[name]['mirage'] / beside)
        assert rows[name]['reached'] == (rows[name]['ratio'] >= rows[name]['target'])
        assert f'{name:38}{beside:9.0f}{rows[name]["mirage"]:9.0f}' in printed
    assert rows[data.COMPOSITE]['basicsr'] is None and rows[data.COMPOSITE]['mirage'] > 0
    assert ('not reached' in printed) == any(not row['reached'] for row in rows.values())


def test_the_index_has_all_pairs(found):
    index = found[0]['index']
    if index is not None:  # systems without /proc
        assert index['pairs'] == 40 and index['index_seconds'] > 0
        assert 'index of 40 pairs' in found[1]
