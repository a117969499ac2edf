"""The prefetcher for GPUs on streams that only write down what they are asked for."""

import contextlib
import logging

import pytest
import torch

from mirage_ir.training.precision import CUDAPrefetcher
from mirage_ir.training.run import TrainingRun


class FakeStream:
    def __init__(self, name, diary):
        self.name, self.diary = name, diary

    def wait_stream(self, other):
        self.diary.append(f'{self.name} waits for {other.name}')


class Loader:
    """Batches of one number; counts how often it was started."""

    def __init__(self, diary, length, broken=None):
        self.diary, self.length, self.broken, self.started = diary, length, broken, 0

    def __iter__(self):
        self.started += 1
        return self._batches()

    def _batches(self):
        for number in range(self.length):
            if number == self.broken:
                raise ValueError('broken sample')
            self.diary.append(f'loaded {number}')
            yield {'lq': Image(number, self.diary), 'lq_path': [str(number)]}


class Image(torch.Tensor):
    """A tensor that writes down by which stream it is copied."""

    def __new__(cls, number, diary):
        return torch.full((1,), float(number)).as_subclass(cls)

    def __init__(self, number, diary):
        self.number, self.diary = number, diary

    def to(self, device, non_blocking):
        assert non_blocking
        self.diary.append(f'{CURRENT[-1].name} copies {self.number}')
        return torch.full((1,), float(self.number))


CURRENT: list = []


@pytest.fixture
def diary(monkeypatch):
    entries: list = []
    CURRENT[:] = [FakeStream('consumer', entries)]

    @contextlib.contextmanager
    def on(stream):
        CURRENT.append(stream)
        yield
        CURRENT.pop()

    monkeypatch.setattr(torch.cuda, 'Stream', lambda device: FakeStream('copier', entries))
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda device: CURRENT[-1])
    monkeypatch.setattr(torch.cuda, 'stream', on)
    return entries


def test_workers_start_once_an_epoch_and_each_stream_waits_for_the_other(diary):
    loader = Loader(diary, 2)
    prefetcher = CUDAPrefetcher(loader, torch.device('cuda', 0))
    assert loader.started == 0 and diary == []
    prefetcher.reset()
    first = ['loaded 0', 'copier waits for consumer', 'copier copies 0']
    assert loader.started == 1 and diary == first
    batch = prefetcher.next()
    assert batch['lq'].item() == 0 and batch['lq_path'] == ['0']
    # The batch is complete before it is handed out, and the next copy begins behind what the consumer has queued.
    second = ['consumer waits for copier', 'loaded 1', 'copier waits for consumer', 'copier copies 1']
    assert diary == first + second
    assert prefetcher.next()['lq'].item() == 1
    assert prefetcher.next() is None and prefetcher.next() is None
    prefetcher.reset()
    assert loader.started == 2 and prefetcher.next()['lq'].item() == 0


def test_a_broken_sample_ends_the_run_when_its_turn_has_come(diary):
    prefetcher = CUDAPrefetcher(Loader(diary, 3, broken=1), torch.device('cuda', 0))
    prefetcher.reset()
    assert prefetcher.next()['lq'].item() == 0
    with pytest.raises(ValueError, match='broken sample'):
        prefetcher.next()


def test_without_a_gpu_the_option_means_plain_loading(caplog):
    run = TrainingRun.__new__(TrainingRun)
    run._CPUPrefetcher = lambda loader: ('plain', loader)
    with caplog.at_level(logging.INFO, logger='basicsr'):
        assert run._CUDAPrefetcher('loader', {'num_gpu': 0}) == ('plain', 'loader')
