"""Restoring on a GPU: memory that is foretold, memory that runs out, the command, and ONNX Runtime."""

import contextlib
import logging

import cv2
import numpy as np
import pytest
import torch
from gpu_setup import DEVICE, distance, lively, needs_cuda, on_device, somewhere

from mirage_arch.evaluation import DeviceEvaluator
from mirage_arch.fast_forward import prepare_fast
from mirage_arch.ieee import evaluation_kernels
from mirage_arch.mirage_arch import mirage_tiny
from mirage_restore.cli import main
from mirage_restore.restorer import Restorer

pytestmark = somewhere


def photograph(side, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 235, (side // 16 + 1, side // 16 + 1, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)


def steps_apart(a, b):
    """Largest difference of two images in steps of 8 bits."""
    return int(np.abs(a.astype(int) - b).max())


@pytest.mark.parametrize('size', [(1, 1), (61, 83), (150, 40)], ids=str)
def test_the_restorer_gives_what_it_gives_on_a_cpu(size):
    image = photograph(160)[: size[0], : size[1]]
    expected = Restorer(device='cpu')(image)
    assert steps_apart(Restorer(device=DEVICE)(image), expected) <= 1
    for precision in ('bf16', 'fp16'):
        assert np.abs(Restorer(device=DEVICE, precision=precision)(image).astype(int) - expected).mean() < 1


def test_the_choice_among_the_models_is_that_of_a_cpu():
    on_cpu, here = Restorer(device='cpu', model='auto'), Restorer(device=DEVICE, model='auto')
    for image in (photograph(160), photograph(160, 1) // 8, photograph(400, 2)):
        expected = on_cpu(image)
        assert steps_apart(here(image), expected) <= 1 and here.chosen == on_cpu.chosen


def test_tiles_on_request():
    image = photograph(96)
    assert np.abs(Restorer(device=DEVICE, tile=64)(image).astype(int) - Restorer(device=DEVICE)(image)).mean() < 8


def test_the_command_restores_a_folder(tmp_path):
    pytest.importorskip('pyvips', reason='pictures are read with libvips')
    for number in range(2):
        cv2.imwrite(str(tmp_path / f'{number}.png'), photograph(48, number)[..., ::-1])
    arguments = [str(tmp_path), '-o', str(tmp_path / 'out'), '--device', DEVICE.type, '--quiet']
    assert main(arguments) == 0
    expected = Restorer(device='cpu')
    for number in range(2):
        found = cv2.imread(str(tmp_path / 'out' / f'{number}.png'))[..., ::-1]
        assert steps_apart(found, expected(photograph(48, number))) <= 1


@needs_cuda
@torch.no_grad()
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('of', ['nano', 'tiny'])
def test_strips_take_no_more_memory_than_foretold_and_less_the_smaller_they_are(of, dtype):
    """Tiny at 1080p: what libraries need beside the maps is little there, so the formula itself has to hold."""
    net, h, w = (lively(spd_head=False), 1024, 1024) if of == 'nano' else (mirage_tiny(spd_head=False), 1080, 1920)
    fast, x, peaks = prepare_fast(on_device(net.eval()), dtype), torch.rand(1, 3, h, w, device=DEVICE), []
    for rows in (None, 64, 16):
        fast.strip_rows = rows
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        fast(x)
        peaks.append(torch.cuda.max_memory_allocated() - before)
        assert peaks[-1] < fast.peak_bytes(h, w, rows), rows
    assert peaks[0] > peaks[1] >= peaks[2]


@contextlib.contextmanager
def memory_limit(more):
    """Lets this process take only so many bytes beside those that it holds."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(DEVICE).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + more) / total, 0)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, 0)
        torch.cuda.empty_cache()


@needs_cuda
def test_short_of_memory_a_picture_is_restored_in_smaller_strips_with_the_same_result(caplog):
    restore, image = Restorer(device=DEVICE), photograph(1536)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    whole = restore(image)
    peak = torch.cuda.max_memory_allocated() - before
    with caplog.at_level(logging.WARNING), memory_limit(0.7 * peak):
        assert steps_apart(restore(image), whole) <= 1
    assert 'tiles' not in caplog.text


@needs_cuda
def test_far_too_little_memory_ends_in_tiles_and_says_so(caplog):
    restore, image = Restorer(device=DEVICE), photograph(2048)
    restore(image[:256, :256])
    with caplog.at_level(logging.WARNING), memory_limit(400e6):  # a map of the first level alone takes 200 MB
        restored = restore(image)
    assert restored.shape == image.shape and 'in tiles of' in caplog.text


@needs_cuda
@torch.no_grad()
def test_validation_goes_from_the_whole_image_to_strips_when_memory_runs_out():
    net, prepared = on_device(lively(spd_head=False)), []
    x = torch.rand(1, 3, 896, 896, device=DEVICE)

    def prepare():
        prepared.append(prepare_fast(net))
        return prepared[-1]

    evaluate = DeviceEvaluator(net, prepare)
    with evaluation_kernels():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        whole = evaluate(x)
        peak = torch.cuda.max_memory_allocated() - before
        assert not prepared
        with memory_limit(0.6 * peak):
            assert distance(evaluate(x), whole) < 1e-5
    assert prepared


def test_onnx_runtime_gives_the_networks_result(tmp_path):
    ort = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    provider = 'CUDAExecutionProvider' if DEVICE.type == 'cuda' else 'CPUExecutionProvider'
    if provider not in ort.get_available_providers():
        pytest.skip(f'this ONNX Runtime has no {provider} (the package onnxruntime-gpu has it)')
    from mirage_arch.exportable import export_onnx

    net, x = lively(spd_head=False, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1), torch.rand(2, 3, 40, 56)
    export_onnx(net, str(tmp_path / 'net.onnx'))
    options = {'use_tf32': 0} if DEVICE.type == 'cuda' else {}
    session = ort.InferenceSession(str(tmp_path / 'net.onnx'), providers=[(provider, options)])
    if session.get_providers()[0] != provider:
        pytest.skip(f'{provider} could not be loaded')
    found = torch.from_numpy(session.run(None, {'image': x.numpy()})[0])
    with torch.no_grad():
        assert distance(found, net(x)) < 1e-4
