"""What the tests on a GPU share: where they run, networks whose every weight matters, and distances."""

from __future__ import annotations

import copy
import os
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

sys.path.append(str(Path(__file__).resolve().parents[1] / 'mirage_ir'))  # model_setup, small_run, kill_trial

from mirage_arch import channel_norm
from mirage_arch.ieee import evaluation_kernels
from mirage_arch.mirage_arch import MIRAGEArch

__all__ = ['DEVICE', 'distance', 'exact', 'lively', 'needs_cuda', 'on_device', 'psnr', 'somewhere']

_WANTED = os.environ.get('MIRAGE_GPU_TESTS')
if _WANTED not in (None, 'cpu', 'cuda'):
    raise ValueError(f'MIRAGE_GPU_TESTS is {_WANTED!r}; allowed are cpu and cuda')
DEVICE = torch.device(_WANTED or ('cuda' if torch.cuda.is_available() else 'cpu'))

channel_norm.least_pixels = 0  # the kernel is to be tested, on small maps too

#: For a whole file: on a GPU, or where a CPU is asked to stand in for it.
somewhere = pytest.mark.skipif(
    DEVICE.type == 'cpu' and _WANTED is None,
    reason='PyTorch finds no CUDA GPU here; MIRAGE_GPU_TESTS=cpu lets a CPU go through the same tests',
)
#: For what a CPU has no counterpart of.
needs_cuda = pytest.mark.skipif(DEVICE.type != 'cuda', reason='a CPU has nothing that corresponds')
#: float32 that is float32.
exact = evaluation_kernels


def on_device(net: nn.Module) -> nn.Module:
    """A copy on the device under test."""
    return copy.deepcopy(net).to(DEVICE)


def lively(seed: int = 0, **arguments) -> MIRAGEArch:
    """The network of the bundled weights' width, with no norm, temperature, alpha or statistic at a trivial value."""
    arguments = {'dim': 12, 'num_blocks': (1, 2, 2, 3), 'num_refinement_blocks': 1, **arguments}
    torch.manual_seed(seed)
    net = MIRAGEArch(**arguments).eval()
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if name.endswith('running_var'):
                tensor.uniform_(0.3, 2)
            elif tensor.is_floating_point() and (tensor.dim() == 1 or 'alpha' in name or 'temperature' in name):
                tensor.add_(0.3 * torch.randn_like(tensor))
    return net


def distance(value: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest value, computed in float64 on the CPU; NaN where one is there."""
    value, expected = value.detach().double().cpu(), expected.detach().double().cpu()
    assert value.shape == expected.shape
    return float((value - expected).abs().max() / expected.abs().max())


def psnr(value: Tensor, expected: Tensor) -> float:
    """dB over values in [0, 1]."""
    error = (value.detach().double().cpu() - expected.detach().double().cpu()).square().mean()
    return float(-10 * torch.log10(error + 1e-20))
