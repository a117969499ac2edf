"""The benchmark of data sets on a few crops, its processes as threads of this one."""

import json
import multiprocessing
import threading
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from research.benchmarks import data


class Threads:
    """What the benchmark takes of multiprocessing's context."""

    @staticmethod
    def Pipe():  # noqa: N802
        ours, theirs = multiprocessing.Pipe()  # both ends are this process's: closing one would end it for the thread
        return ours, SimpleNamespace(send=theirs.send, recv=theirs.recv, close=lambda: None)

    @staticmethod
    def Process(target, args, daemon):  # noqa: N802
        return threading.Thread(target=target, args=args, daemon=daemon)


@pytest.fixture
def found(tmp_path, monkeypatch, capsys):
    """What a run wrote and printed."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    monkeypatch.setattr(data.multiprocessing, 'get_context', lambda method: Threads)
    monkeypatch.setattr(data, 'OTS_PAIRS', 40)
    monkeypatch.setattr(data, 'OTS_CLEAR', 8)
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
    data.main(list(map(str, words)))
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])
    return json.loads((tmp_path / 'f.json').read_text()), capsys.readouterr().out


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
