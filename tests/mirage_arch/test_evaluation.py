import gc
import weakref

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mirage_arch import fast_block, fast_forward, mirage_nano
from mirage_arch.evaluation import DeviceEvaluator, restore_exactly
from mirage_arch.fast_forward import prepare_fast
from mirage_arch.fast_kernels import PlainKernels
from mirage_arch.ieee import evaluation_kernels
from mirage_arch.memory import is_out_of_memory, unless_out_of_memory

GPU = torch.device('cuda')
FULL = 'CUDA out of memory. Tried to allocate 2.00 GiB.'


@pytest.mark.parametrize(
    'error',
    [
        torch.cuda.OutOfMemoryError(FULL),
        MemoryError(),
        RuntimeError('CUDA error: out of memory'),
        RuntimeError('Triton Error [CUDA]: out of memory'),
        RuntimeError('CUDA driver error: CUDA_ERROR_OUT_OF_MEMORY'),
        RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`'),
        RuntimeError('CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`'),
        RuntimeError('cuDNN error: CUDNN_STATUS_ALLOC_FAILED'),
        RuntimeError('cuDNN error: CUDNN_STATUS_NOT_INITIALIZED'),
        RuntimeError('cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED'),
        RuntimeError('GET was unable to find an engine to execute this computation'),
        RuntimeError('FIND was unable to find an engine to execute this computation'),
        RuntimeError('cuFFT error: CUFFT_ALLOC_FAILED'),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError('DefaultCPUAllocator: not enough memory: you tried to allocate 12 bytes.'),
        RuntimeError('std::bad_alloc'),
    ],
)
def test_the_words_for_too_little_memory_are_known(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    'error',
    [
        RuntimeError('CUDA error: an illegal memory access was encountered'),
        RuntimeError('CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling cublasSgemm'),
        RuntimeError('cuDNN error: CUDNN_STATUS_EXECUTION_FAILED'),
        RuntimeError('The size of tensor a (3) must match the size of tensor b (4)'),
        ValueError('out of memory'),
    ],
)
def test_other_errors_are_not_taken_for_it(error):
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)):
        unless_out_of_memory(lambda: (_ for _ in ()).throw(error))


def test_a_failed_attempt_has_let_its_tensors_go_before_the_next():
    kept = []

    def attempt():
        large = torch.zeros(10)
        kept.append(weakref.ref(large))
        raise torch.cuda.OutOfMemoryError(FULL)

    gc.disable()  # what counts is what is free at once
    try:
        assert unless_out_of_memory(attempt) is None
        assert kept[0]() is None
    finally:
        gc.enable()


def test_evaluation_is_ieee_and_searches_for_no_kernels():
    flags = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [flags[0].allow_tf32, flags[1].allow_tf32, flags[0].benchmark]
    flags[0].allow_tf32 = flags[1].allow_tf32 = flags[0].benchmark = True
    try:
        with pytest.raises(KeyError), evaluation_kernels():
            assert not (flags[0].allow_tf32 or flags[1].allow_tf32 or flags[0].benchmark)
            raise KeyError
        assert flags[0].allow_tf32 and flags[1].allow_tf32 and flags[0].benchmark
    finally:
        flags[0].allow_tf32, flags[1].allow_tf32, flags[0].benchmark = before


def test_threads_share_the_setting_and_the_last_one_sets_it_back(monkeypatch):
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, 'benchmark', True)
    first, second = evaluation_kernels(), evaluation_kernels()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not cudnn.benchmark  # the second is still at work
    second.__exit__(None, None, None)
    assert cudnn.benchmark


class Tells(torch.nn.Conv2d):
    """A network without strips."""

    def forward(self, x):
        self.tf32 = torch.backends.cudnn.allow_tf32
        return x


def test_strips_are_ieee_however_they_are_called(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', True)
    seen, fast = [], prepare_fast(mirage_nano(spd_head=False).eval())
    monkeypatch.setattr(fast, '_restore', lambda x: seen.append(torch.backends.cudnn.allow_tf32) or x)
    whole = prepare_fast(Tells(3, 3, 1))
    for network in (fast, whole):
        network(torch.rand(1, 3, 8, 8))
    assert seen == [False] and whole._plain.tf32 is False and torch.backends.cudnn.allow_tf32


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, 'conv'), reason='this PyTorch has one setting for all of cuDNN')
def test_settings_made_by_their_newer_names_come_back():
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32
    try:
        cudnn.allow_tf32 = True
        cudnn.rnn.fp32_precision = 'ieee'  # now PyTorch refuses to say what cuDNN does
        with evaluation_kernels():
            assert cudnn.conv.fp32_precision == 'ieee' and not cudnn.benchmark
        assert (cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision) == ('tf32', 'ieee')
    finally:
        cudnn.allow_tf32 = before


class LiveBytes(TorchDispatchMode):
    """Sums up after every operation what the storages that are alive take."""

    def __init__(self):
        super().__init__()
        self.alive, self.peak = {}, 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.alive = {key: entry for key, entry in self.alive.items() if not entry[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.alive.values()))
        return result


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(('tile_bytes', 'rows'), [(10**9, None), (400_000, None), (10**9, 16)])
def test_the_memory_that_strips_are_said_to_take_is_what_they_take(monkeypatch, dtype, tile_bytes, rows):
    monkeypatch.setattr(fast_forward, 'choose_kernels', lambda device, dtype: PlainKernels)
    monkeypatch.setattr(fast_block, '_DEVICE_BYTES', tile_bytes)
    monkeypatch.setattr(fast_forward, '_BYTES_BESIDES', 0)
    fast = prepare_fast(mirage_nano(spd_head=False).eval(), dtype, rows)
    shape = fast_forward.tile_shape
    monkeypatch.setattr(fast_forward, 'tile_shape', lambda h, w, row_bytes, device: shape(h, w, row_bytes, GPU))
    image, meter = torch.rand(1, 3, 1024, 48), LiveBytes()
    with meter:
        fast(image)
    assert 1 < fast.peak_bytes(1024, 48, rows) / meter.peak < 1.35


class Strips:
    """Stands for a prepared network on a GPU with memory for so many rows."""

    device, is_fast, strip_rows = GPU, True, None

    def __init__(self, rows):
        self.memory, self.tried = rows, []

    def peak_bytes(self, height, width, strip_rows=None):
        return strip_rows or height

    def __call__(self, images):
        self.tried.append(self.strip_rows)
        if (self.strip_rows or images.shape[-2]) > self.memory:
            raise torch.cuda.OutOfMemoryError(FULL)
        return images + 1


@pytest.mark.parametrize(('rows', 'tried'), [(4000, [None]), (100, [None, 64]), (20, [None, 64, 16])])
def test_strips_become_smaller_until_they_fit(rows, tried):
    strips, image = Strips(rows), torch.zeros(1, 1, 2000, 2)
    assert torch.equal(restore_exactly(strips, image), image + 1)
    assert strips.tried == tried and strips.strip_rows is None


@pytest.mark.parametrize(('free', 'tried'), [(3000, [None]), (1999, [64]), (40, [16]), (3, [16])])
def test_strips_that_will_not_fit_are_not_tried(free, tried):
    strips, image = Strips(4000), torch.zeros(1, 1, 2000, 2)
    assert torch.equal(restore_exactly(strips, image, free), image + 1)
    assert strips.tried == tried


def test_an_image_is_tried_whole_then_in_strips_and_then_refused():
    whole, strips = [], Strips(64)

    def net(images):
        whole.append(images.shape)
        if images.shape[-1] > 32:
            raise RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`')
        return images

    evaluate = DeviceEvaluator(net, lambda: strips)
    small, large, huge = (torch.zeros(1, 3, 8, 16), torch.zeros(1, 3, 200, 40), torch.zeros(1, 3, 2**10, 2**10 + 1))
    assert torch.equal(evaluate(small), small) and strips.tried == []
    assert torch.equal(evaluate(large), large + 1) and strips.tried == [None, 64]
    assert torch.equal(evaluate(huge), huge + 1) and len(whole) == 2  # above a megapixel at once in strips
    strips.memory = 0
    with pytest.raises(RuntimeError, match='out of memory: an image of 40x200 pixels .*even in strips'):
        evaluate(large)
    with pytest.raises(RuntimeError, match='out of memory: an image of 40x200 pixels'):
        DeviceEvaluator(net, None)(large)


def test_smaller_strips_of_a_network_give_the_same_result():
    fast = prepare_fast(mirage_nano(spd_head=False).eval())
    image = torch.rand(1, 3, 96, 40)
    expected = fast(image)
    fast.device, first = GPU, []  # on a CPU no smaller strips are tried

    def forward(images):
        if not first:
            first.append(1)
            raise RuntimeError('cuDNN error: CUDNN_STATUS_ALLOC_FAILED')
        fast.device = torch.device('cpu')
        return type(fast).forward(fast, images)

    fast.forward = forward
    torch.testing.assert_close(restore_exactly(fast, image), expected, rtol=1e-5, atol=1e-6)
