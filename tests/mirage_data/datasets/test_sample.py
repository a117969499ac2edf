import numpy as np
import pytest
import torch

from mirage_data.datasets.sample import (
    bytes_to_float,
    collate_samples,
    make_sample,
    process_rng,
    sample_rng,
    split_index,
    to_tensor,
)


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


def test_every_byte_becomes_the_same_float_on_either_way():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    sample = make_sample(image, image, 'a', 'b', 'x', keep_bytes=True)
    assert sample['lq'].dtype == torch.uint8
    assert torch.equal(bytes_to_float(sample['lq']), to_tensor(image))
    assert bytes_to_float(sample['lq'])[0, 15, 15] == 1


def test_a_batch_of_bytes_and_floats_is_one_of_floats():
    image = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    deep = image.astype(np.uint16) * 257
    samples = [make_sample(image, image, 'a', 'b', 'x', True), make_sample(deep, image, 'a', 'b', 'x', True)]
    batch = collate_samples(samples)
    assert batch['lq'].dtype == torch.float32 and batch['gt'].dtype == torch.uint8
    assert torch.equal(batch['lq'][0], batch['lq'][1]) and batch['lq_path'] == ['a', 'a']
    assert collate_samples(samples[:1])['lq'].dtype == torch.uint8
