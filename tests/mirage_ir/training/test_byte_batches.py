"""8-bit training images travel as bytes where the model divides them itself."""

import pytest
import torch
from basicsr.data import build_dataloader
from basicsr.utils.registry import MODEL_REGISTRY
from cv2 import imwrite
from model_setup import build, training_options
from numpy.random import default_rng

from mirage_data.datasets.denoise import GaussianDenoiseDataset
from mirage_data.datasets.mixed import MixedDegradationDataset
from mirage_ir.training.model import MIRAGEModel
from mirage_ir.training.run import TrainingRun


@pytest.fixture
def photographs(tmp_path):
    for number in range(4):
        imwrite(str(tmp_path / f'{number}.png'), default_rng(number).integers(0, 256, (40, 40, 3), dtype='uint8'))
    return str(tmp_path)


def batches(dataset, model_type, num_gpu=0, pin_memory=True):
    run = TrainingRun.__new__(TrainingRun)
    run.opt = {'model_type': model_type, 'num_gpu': num_gpu, 'rank': 1}  # rank 0 writes about the data
    run._basicsr, run._state = {'build_dataloader': build_dataloader}, None
    run._train_generator = torch.Generator()
    options = {'phase': 'train', 'batch_size_per_gpu': 2, 'num_worker_per_gpu': 0, 'pin_memory': pin_memory}
    loader = run._build_dataloader(dataset, options, num_gpu=num_gpu, sampler=[(0, n) for n in range(4)], seed=0)
    return loader


def noise(folder, **options):
    common = {'phase': 'train', 'gt_size': 16, 'sigma': 25, 'dataroot_gt': folder}
    if options.pop('mixed', False):
        return MixedDegradationDataset({'phase': 'train', 'gt_size': 16, 'sources': [{**common, 'task': 'denoise'}]})
    return GaussianDenoiseDataset({**common, **options})


@pytest.mark.parametrize('mixed', [False, True])
def test_our_model_sees_the_same_numbers_as_from_float_batches(photographs, tmp_path, mixed):
    plain = next(iter(batches(noise(photographs, mixed=mixed), 'SRModel')))
    packed = next(iter(batches(noise(photographs, mixed=mixed), 'MIRAGEModel')))
    assert plain['lq'].dtype == torch.float32 and packed['lq'].dtype == packed['gt'].dtype == torch.uint8
    model = build(training_options(tmp_path, channels_last=True))
    fed = []
    for batch in (plain, packed):
        model.feed_data(batch)
        fed.append((model.lq, model.gt, model.batch['lq']))
    for a, b in zip(*fed, strict=True):
        assert a.dtype == torch.float32 and torch.equal(a, b) and a.stride() == b.stride()


def test_a_model_with_a_way_of_its_own_to_take_data_gets_floats(photographs):
    class Careful(MIRAGEModel):
        def feed_data(self, data):
            super().feed_data({**data, 'lq': data['lq'] * 2 - 1})

    MODEL_REGISTRY._do_register('CarefulModel', Careful)
    try:
        assert next(iter(batches(noise(photographs), 'CarefulModel')))['lq'].dtype == torch.float32
    finally:
        del MODEL_REGISTRY._obj_map['CarefulModel']


def test_memory_is_page_locked_for_gpus_only(photographs):
    assert batches(noise(photographs), 'MIRAGEModel').pin_memory is False
    assert batches(noise(photographs), 'MIRAGEModel', num_gpu=1).pin_memory is True
    assert batches(noise(photographs), 'MIRAGEModel', num_gpu=1, pin_memory=False).pin_memory is False
