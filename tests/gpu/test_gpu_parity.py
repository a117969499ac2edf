"""Outputs and gradients on a GPU against float64 on the CPU."""

import copy
import functools

import pytest
import torch
from gpu_setup import DEVICE, distance, exact, lively, needs_cuda, on_device, psnr, somewhere

from mirage_arch import channel_norm as norm
from mirage_arch import dynamic_depthwise as depthwise
from mirage_arch import triton_kernels
from mirage_arch.checkpoints import load_network
from mirage_arch.fast_forward import prepare_fast
from mirage_arch.mirage_arch import ChannelNorm
from mirage_data.datasets.sample import bytes_to_float
from mirage_losses.fourier_loss import FourierLoss
from mirage_losses.spd_contrastive_loss import SPDContrastiveLoss
from mirage_restore.bundled import bundled_weights
from research.benchmarks.kernels import check_module

pytestmark = somewhere

SIZES = [(61, 83), (64, 64), (40, 8), (1, 9)]
HALVES = [torch.bfloat16, torch.float16]


@functools.cache
def networks():
    return {'bundled': load_network(bundled_weights(), spd_head=False).eval(), 'lively': lively(spd_head=False)}


@functools.cache
def case(name, size):
    """Network on the CPU, input, and output in float64."""
    net, x = networks()[name], torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(size[0]))
    with torch.no_grad():
        return net, x, copy.deepcopy(net).double()(x.double())


@torch.no_grad()
@pytest.mark.parametrize('size', SIZES, ids=str)
@pytest.mark.parametrize('name', ['bundled', 'lively'])
def test_outputs_in_every_precision_whole_and_in_strips(name, size):
    net, x, expected = case(name, size)
    net, x = on_device(net), x.to(DEVICE)
    with exact():
        plain = net(x)
        assert distance(plain, expected) < 2e-5
        assert distance(prepare_fast(net)(x), expected) < 2e-5
        if size[0] > 8:
            assert distance(prepare_fast(net, strip_rows=7)(x), expected) < 2e-5
    assert distance(net(x), expected) < 5e-3  # as PyTorch convolves float32 unless it is told otherwise: in TF32
    for dtype in HALVES:
        with torch.autocast(DEVICE.type, dtype):
            assert psnr(net(x).float(), expected) > 40, dtype
        assert psnr(prepare_fast(net, dtype)(x), expected) > 40, dtype


@torch.no_grad()
def test_a_batch_is_its_images_in_any_layout():
    net, x = on_device(networks()['lively']), torch.rand(3, 3, 48, 40, device=DEVICE)
    with exact():
        whole = net(x)
        assert distance(torch.cat([net(image[None]) for image in x]), whole) < 1e-5
        assert distance(net(x.contiguous(memory_format=torch.channels_last)), whole) < 1e-5


def losses(net, x, gt):
    restored, embeddings = net(x, return_embeddings=True)
    restored = restored.to(gt.dtype)
    contrast = SPDContrastiveLoss()(embeddings['shallow'], embeddings['latent'])
    return (restored - gt).abs().mean() + 0.1 * FourierLoss()(restored, gt) + 0.05 * contrast


def flat(net):
    return torch.cat([p.grad.double().cpu().flatten() for p in net.parameters()])


def relative(value, expected):
    return float((value - expected).norm() / expected.norm())


@pytest.mark.parametrize('geometry', ['vectorised', 'log_euclidean', 'cholesky'])
def test_gradients_of_all_losses(geometry):
    net = lively(drop_path_rate=0.0, geometry=geometry).train()
    x, gt = torch.rand(2, 2, 3, 40, 32, generator=torch.Generator().manual_seed(1))
    reference = copy.deepcopy(net).double()
    loss = losses(reference, x.double(), gt.double())
    loss.backward()
    expected, (x, gt) = flat(reference), (x.to(DEVICE), gt.to(DEVICE))
    single = on_device(net)
    with exact():
        found = losses(single, x, gt)
        found.backward()
    assert found.item() == pytest.approx(loss.item(), rel=1e-5)
    assert relative(flat(single), expected) < 2e-4
    for (name, a), b in zip(single.named_parameters(), reference.parameters()):
        # a gradient that is next to nothing is measured by the whole
        error = (a.grad.double().cpu() - b.grad).norm() / (b.grad.norm() + 1e-4 * expected.norm())
        assert error < 2e-2, name
    for (name, a), b in zip(single.named_buffers(), reference.buffers()):
        if 'running' in name:
            assert relative(a.double().cpu(), b) < 1e-4, name
    for dtype, scale, limit in ((torch.bfloat16, 1, 0.1), (torch.float16, 1024, 0.05)):
        half = on_device(net)
        with torch.autocast(DEVICE.type, dtype):
            restored, embeddings = half(x, return_embeddings=True)
        contrast = SPDContrastiveLoss()(embeddings['shallow'], embeddings['latent'])
        total = (restored.float() - gt).abs().mean() + 0.1 * FourierLoss()(restored.float(), gt) + 0.05 * contrast
        (scale * total).backward()
        assert relative(flat(half) / scale, expected) < limit, dtype


def test_recomputed_blocks_give_the_same_gradients_with_drop_path():
    x, gt = torch.rand(2, 2, 3, 40, 32, device=DEVICE)
    found = []
    for recompute in (False, True):
        net = on_device(lively(drop_path_rate=0.3, checkpoint_blocks=recompute)).train()
        torch.manual_seed(5)
        with exact():
            losses(net, x, gt).backward()
        found.append(flat(net))
    assert relative(found[1], found[0]) < 1e-5


@pytest.mark.parametrize('shape', [(2, 4, 61, 83), (3, 20, 16, 16), (1, 5, 1, 9), (2, 8, 64, 64)], ids=str)
@pytest.mark.parametrize('dtype, limit', [(torch.float32, 1e-6), (torch.bfloat16, 4e-3), (torch.float16, 5e-4)])
def test_the_dynamic_convolution_and_its_gradients(shape, dtype, limit):
    x = torch.randn(shape).to(dtype)
    weight, gradient = torch.randn(*shape[:2], 7, 7).to(dtype), torch.randn(shape).to(dtype)
    expected, found = [], []
    for values, function, to in (
        (expected, depthwise.plain, {'dtype': torch.float64}),
        (found, depthwise.dynamic_depthwise, {'device': DEVICE}),
    ):
        a, b = (t.to(**to).requires_grad_() for t in (x, weight))
        with exact():
            y = function(a, b)
            values += [y, *torch.autograd.grad(y, (a, b), gradient.to(**to))]
    for a, b in zip(found, expected):
        error = relative(a.detach().double().cpu(), b.detach())
        assert error < limit


@needs_cuda
def test_compiled_under_autocast_and_recomputed_it_gives_what_the_plain_path_gives():
    if not depthwise.applies(torch.empty(0, device=DEVICE)):
        pytest.skip('no Triton here, or switched off')
    with exact():
        rows = check_module(str(DEVICE), 33, 'inductor')
    assert len(rows) == 8 and [row for row in rows if not row['passed']] == []


def test_bytes_become_the_numbers_that_a_cpu_makes_of_them():
    """A GPU that multiplied by 1/255 would round 126 of the 256 otherwise."""
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    expected = (values.double() / 255).float()
    assert int((values.float() * (1 / torch.tensor(255.0)) != expected).sum()) > 0
    assert torch.equal(bytes_to_float(values.to(DEVICE)).cpu(), expected)


@needs_cuda
def test_triton_makes_the_dynamic_convolution_the_same_each_time():
    x, weight = torch.randn(2, 8, 61, 83, device=DEVICE), torch.randn(2, 8, 7, 7, device=DEVICE, requires_grad=True)
    if not depthwise.applies(x):
        pytest.skip('no Triton here, or switched off')
    results = []
    for _ in range(2):
        y = depthwise.dynamic_depthwise(x, weight)
        results.append((y, *torch.autograd.grad(y.square().sum(), weight)))
    assert not depthwise.kernels.failed, 'the kernel could not be built and PyTorch convolved'
    assert all(torch.equal(a, b) for a, b in zip(*results))


def norm_of(c, dtype=torch.float32):
    """A norm with lively weights in ``dtype``, and the same in float64 on the CPU."""
    module = ChannelNorm(c)
    torch.nn.init.uniform_(module.body.weight, 0.5, 1.5)
    torch.nn.init.normal_(module.body.bias)
    module = module.to(dtype)
    return module.to(DEVICE), copy.deepcopy(module).cpu().double()


def norm_values(module, x, gradient, autocast=False):
    x = x.detach().requires_grad_()
    with torch.autocast(x.device.type, torch.bfloat16, enabled=autocast):
        y = module(x)
    return y.detach(), *torch.autograd.grad(y, (x, *module.parameters()), gradient)


def need_the_norms_kernel(module, x):
    if not triton_kernels.applies(x):
        pytest.skip('no Triton here, or switched off')
    assert norm.applies(x, module.body), 'PyTorch normalises'


NORMS = [(2, 24, 61, 83), (3, 192, 16, 16), (1, 30, 1, 9), (2, 12, 64, 64), (1, 6, 1, 1), (40, 48, 64, 64)]


@pytest.mark.parametrize('shape', NORMS, ids=str)
@pytest.mark.parametrize('dtype, limit', [(torch.float32, 1e-6), (torch.bfloat16, 4e-3), (torch.float16, 1e-3)])
def test_the_norm_and_its_gradients(shape, dtype, limit):
    if DEVICE.type == 'cpu':  # PyTorch's adds up the pixels in the type itself
        if shape is NORMS[-1]:
            pytest.skip('too many pixels for that')
        limit *= 100
    torch.manual_seed(0)
    module, reference = norm_of(shape[1], dtype)
    x, gradient = torch.randn(shape[0], shape[1] + 8, *shape[2:]).add(1).to(dtype), torch.randn(shape).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last)[:, 8:]
    expected = norm_values(reference, x.double(), gradient.double())
    found = norm_values(module, x.to(DEVICE), gradient.to(DEVICE))
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    for name, a, b in zip(('out', 'x', 'weight', 'bias'), found, expected):
        assert a.dtype is dtype and relative(a.double().cpu(), b) < limit, name
    assert not norm.kernels.failed, 'the kernel could not be built and PyTorch normalised'


@needs_cuda
def test_the_norm_under_autocast_reads_bfloat16_and_gives_float32():
    module, reference = norm_of(24)
    x, gradient = torch.randn(2, 24, 61, 83).bfloat16(), torch.randn(2, 24, 61, 83)
    expected = norm_values(reference, x.double(), gradient.double())
    found = norm_values(module, x.to(DEVICE), gradient.to(DEVICE), autocast=True)
    assert [t.dtype for t in found] == [torch.float32, torch.bfloat16, torch.float32, torch.float32]
    errors = [relative(a.double().cpu(), b) for a, b in zip(found, expected)]
    assert max(errors[0], errors[2], errors[3]) < 1e-6 and errors[1] < 4e-3


@needs_cuda
def test_triton_makes_the_norm_the_same_each_time():
    module, _ = norm_of(48)
    x, gradient = torch.randn(2, 4, 48, 123, 77, device=DEVICE)
    need_the_norms_kernel(module, x)
    results = [norm_values(module, x, gradient) for _ in range(2)]
    assert not norm.kernels.failed, 'the kernel could not be built and PyTorch normalised'
    assert all(torch.equal(a, b) for a, b in zip(*results))


@needs_cuda
def test_the_norm_and_its_gradients_in_a_recorded_graph():
    module, _ = norm_of(24)
    x, gradient = torch.randn(2, 2, 24, 40, 56, device=DEVICE)
    need_the_norms_kernel(module, x)
    norm_values(module, x, gradient)
    given = torch.zeros_like(x)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = norm_values(module, given, gradient)
    given.copy_(x)
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(recorded, norm_values(module, x, gradient)))


@needs_cuda
def test_the_norm_of_pixels_that_lie_far_apart():
    """Beyond what 32 bits count, as in a picture of 8K."""
    module, _ = norm_of(8)
    step = 2**30 + 8
    if torch.cuda.mem_get_info()[0] < 3 * 2 * step:
        pytest.skip('needs 6 GiB')
    pixels = torch.empty(2 * step + 8, dtype=torch.bfloat16, device=DEVICE)
    x = pixels.as_strided((1, 8, 1, 3), (0, 1, 0, step))
    x.copy_(torch.randn(x.shape))
    gradient = torch.randn(x.shape, device=DEVICE)
    with torch.autocast('cuda', torch.bfloat16):
        need_the_norms_kernel(module, x)
    far, near = (norm_values(module, t, gradient, autocast=True) for t in (x, x.clone()))
    assert not norm.kernels.failed and all(torch.equal(a, b) for a, b in zip(far, near))


@needs_cuda
def test_a_network_with_the_kernels_is_the_network_without(monkeypatch):
    net, x = on_device(networks()['lively']), torch.rand(2, 3, 48, 40, device=DEVICE)
    found = []
    for switch in (True, False):
        monkeypatch.setattr(triton_kernels, 'enabled', triton_kernels.enabled and switch)
        with exact():
            y = net(x)
            found.append((y.detach(), *torch.autograd.grad(y.square().sum(), tuple(net.parameters()))))
    assert distance(found[0][0], found[1][0]) < 1e-5
    on, off = (torch.cat([g.flatten() for g in values[1:]]) for values in found)
    assert relative(on, off) < 1e-4
