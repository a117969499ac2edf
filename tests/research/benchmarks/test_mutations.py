"""A fixed sample of the damaged files of `research/benchmarks/mutations.py`: none ends in a traceback or silently."""

import logging

import pytest

from research.benchmarks.mutations import GOOD, READERS, damaged, report, run, try_batch

IN_PROCESS = [name for name, reader in READERS.items() if not reader.own_process]
EACH = -(-300 // len(IN_PROCESS))


@pytest.mark.parametrize('name', IN_PROCESS)
def test_damaged_files_end_well(name):
    logging.disable(logging.WARNING)  # what readers say about lines and files that they leave out
    records = []
    try:
        try_batch(name, range(1000, 1000 + EACH), records.append)
    finally:
        logging.disable(logging.NOTSET)
    ended = {record['number']: record['ended'] for record in records if 'ended' in record}
    assert len(ended) == EACH
    assert not {number: end for number, end in ended.items() if end not in GOOD}
    assert set(ended.values()) - {'same'}  # the damage is seen at all


def test_a_reader_that_fails_is_found(monkeypatch):
    import os
    from dataclasses import replace

    import numpy as np

    def spoilt(path):
        content = path.read_bytes()
        if len(content) > 30:  # the whole file
            return content
        number = int(np.frombuffer(content[:2], np.uint16)[0]) % 4
        if number == 0:
            os._exit(7)
        if number == 1:
            raise ValueError('without a name')
        raise KeyError('x') if number == 2 else ValueError(str(path))

    whole = {'a.bin': bytes(range(40))}
    monkeypatch.setitem(READERS, 'list', replace(READERS['list'], make=lambda: dict(whole), read=spoilt))
    monkeypatch.setattr('research.benchmarks.mutations.damaged', lambda data, rng: bytes([int(rng.integers(4)), 0]))
    records = run('list', 12, 5, 500)
    ended = {record['ended'].partition(':')[0] for record in records}
    assert len(records) == 12 and ended == {'crash', 'no name', 'traceback', 'refused'}
    assert '12 files' in report({'list': records})


def test_damage_changes_the_file():
    import numpy as np

    data = bytes(range(256)) * 4
    changed = [damaged(data, np.random.default_rng(seed)) != data for seed in range(60)]
    assert sum(changed) > 50
