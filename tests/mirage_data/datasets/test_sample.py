import numpy as np
import pytest
import torch

from mirage_data.datasets.sample import process_rng, sample_rng, split_index, to_tensor


def test_each_of_the_three_numbers_changes_the_draws():
    draws = {tuple(sample_rng(*key).integers(0, 2**40, 4)) for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))}
    assert len(draws) == 4
    assert np.array_equal(sample_rng(3, 4, 5).random(9), sample_rng(3, 4, 5).random(9))


def test_plain_integers_follow_torch_seed():
    torch.manual_seed(11)
    first = process_rng().random(3)
    assert not np.array_equal(process_rng().random(3), first)  # the stream goes on
    torch.manual_seed(12)
    assert not np.array_equal(process_rng().random(3), first)
    torch.manual_seed(11)
    assert np.array_equal(process_rng().random(3), first)


def test_split_index():
    assert split_index((2, 3), 5) == (2, 3)
    assert split_index(np.int64(3), 5) == (None, 3)
    assert split_index(-1, 5) == (None, 4)
    with pytest.raises(IndexError):
        split_index((0, 5), 5)


@pytest.mark.parametrize('kind, top', [(np.uint8, 255), (np.uint16, 65535)])
def test_to_tensor_is_the_quotient_of_any_view(kind, top):
    image = np.random.default_rng(0).integers(0, top + 1, (7, 5, 3)).astype(kind)
    view = image[::-1, 1:4].transpose(1, 0, 2)
    tensor = to_tensor(view)
    assert tensor.dtype == torch.float32 and tensor.is_contiguous()
    assert np.array_equal(tensor.numpy(), view.transpose(2, 0, 1).astype(np.float32) / np.float32(top))
