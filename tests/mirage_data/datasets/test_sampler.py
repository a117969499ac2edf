from collections import Counter

import numpy as np
import pytest

from mirage_data.datasets.sample import EpochSampler


class Numbers:
    samples_by_epoch = True

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length


class ForeignNumbers(Numbers):
    samples_by_epoch = False


def stream(sampler, epochs):
    out = []
    for epoch in epochs:
        sampler.set_epoch(epoch)
        out += list(sampler)
    return out


def test_every_sample_comes_once_in_each_pass_and_no_two_passes_are_alike():
    # 33 samples at batch 8: BasicSR counts ceil(33 / 8) = 5 iterations, so 33 of its epochs are 40 passes
    numbers = stream(EpochSampler(Numbers(33), 1, 0, seed=5, batch_size=8), range(33))
    assert len(numbers) == 33 * 40
    assert Counter(numbers) == Counter((epoch, position) for epoch in range(40) for position in range(33))
    orders = [tuple(position for epoch, position in numbers if epoch == wanted) for wanted in range(40)]
    assert len(set(orders)) == 40


def test_ranks_share_the_batches_of_one_process():
    one = stream(EpochSampler(Numbers(33), 1, 0, seed=1, batch_size=8), range(3))
    ranks = [stream(EpochSampler(Numbers(33), 2, rank, seed=1, batch_size=4), range(3)) for rank in (0, 1)]
    joined = [number for batch in range(15) for rank in ranks for number in rank[4 * batch : 4 * batch + 4]]
    assert joined == one


def test_ratio_lengthens_the_epoch_and_counts_agree_with_basicsr():
    sampler = EpochSampler(Numbers(10), 2, 0, ratio=3, batch_size=4)
    assert sampler.total_size == 32  # ceil(10 * 3 / 8) iterations of 8
    assert sampler.num_samples == len(sampler) == len(list(sampler)) == 16


@pytest.mark.parametrize('start_iteration', [1, 4, 5, 7])
def test_resumed_stream_goes_on_where_it_stopped(start_iteration):
    whole = stream(EpochSampler(Numbers(33), 1, 0, seed=2, batch_size=8), range(4))
    resumed = EpochSampler(Numbers(33), 1, 0, seed=2, batch_size=8, start_sample=8 * start_iteration)
    epoch = (start_iteration - 1) // 5  # as saved by BasicSR in that iteration
    resumed.set_epoch(epoch)
    assert len(resumed) == 40 * (epoch + 1) - 8 * start_iteration
    assert list(resumed) == list(resumed)  # asking twice changes nothing
    assert stream(resumed, range(epoch, 4)) == whole[8 * start_iteration :]


def test_offset_lets_a_run_go_on_with_another_batch_size():
    whole = stream(EpochSampler(Numbers(33), 1, 0, batch_size=8), range(4))
    changed = EpochSampler(Numbers(33), 1, 0, batch_size=6, offset=16, start_sample=16)
    assert stream(changed, range(2)) == whole[16 : 16 + 2 * 36]


def test_foreign_datasets_get_plain_integers():
    numbers = list(EpochSampler(ForeignNumbers(6), 1, 0, batch_size=3))
    assert sorted(numbers) == list(range(6))
    assert all(type(number) is int for number in numbers)


def test_seed_changes_the_order():
    first, second = (stream(EpochSampler(Numbers(50), 1, 0, seed=seed), [0]) for seed in (0, 1))
    assert first != second
    assert abs(np.corrcoef([p for _, p in first], [p for _, p in second])[0, 1]) < 0.5


@pytest.mark.parametrize(
    'arguments, message',
    [
        ({'length': 0}, 'no samples'),
        ({'rank': 2}, 'rank 2 of 2'),
        ({'batch_size': 0}, 'batch_size 0'),
        ({'ratio': 0}, 'dataset_enlarge_ratio is 0'),
        ({'start_sample': 5}, 'sample 5'),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    arguments = {'length': 8, 'rank': 0, 'batch_size': 2, 'ratio': 1, 'start_sample': 0, **arguments}
    dataset = Numbers(arguments.pop('length'))
    with pytest.raises(ValueError, match=message):
        EpochSampler(dataset, 2, **arguments)
