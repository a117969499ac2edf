from pathlib import Path

import numpy as np
import pytest
import torch

from mirage_losses import FourierLoss, fourier_loss

GOLDEN = Path(__file__).parents[1] / 'data'


@pytest.mark.parametrize('variant', ['tiny', 'small'])
def test_equals_the_authors_value(variant):
    golden = np.load(GOLDEN / f'golden_{variant}.npz')
    loss = fourier_loss(torch.from_numpy(golden['train_output']), torch.from_numpy(golden['train_gt']))
    assert loss.item() == pytest.approx(golden['train_fourier'].item(), rel=1e-5)


@pytest.mark.parametrize('shape', [(2, 3, 8, 10), (1, 1, 5, 7), (3, 1, 1)])
def test_equals_numpy(shape):
    rng = np.random.default_rng(0)
    pred, target = rng.random(shape), rng.random(shape)
    a, b = np.fft.rfft2(pred), np.fft.rfft2(target)
    expected = np.stack([np.abs(a.real - b.real), np.abs(a.imag - b.imag)], -1)
    values = [fourier_loss(torch.tensor(pred), torch.tensor(target), how) for how in ('mean', 'sum', 'none')]
    assert values[0].item() == pytest.approx(expected.mean())
    assert values[1].item() == pytest.approx(expected.sum())
    np.testing.assert_allclose(values[2].numpy(), expected, atol=1e-12)


def test_gradient():
    rng = torch.Generator().manual_seed(0)
    pred, target = (torch.rand(1, 2, 4, 5, dtype=torch.float64, generator=rng) for _ in range(2))
    assert torch.autograd.gradcheck(lambda x: fourier_loss(x, target), pred.requires_grad_())


def test_weight_is_applied_once_and_half_precision_is_raised():
    pred, target = torch.rand(2, 3, 8, 8, dtype=torch.bfloat16), torch.rand(2, 3, 8, 8)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = FourierLoss(0.1)(pred, target)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0.1 * fourier_loss(pred.float(), target).item(), rel=1e-6)


def test_bad_input():
    with pytest.raises(ValueError, match="reduction is 'avg'.*mean, sum, none"):
        FourierLoss(reduction='avg')
    with pytest.raises(ValueError, match=r'\(1, 3, 4, 4\).*\(1, 3, 4, 5\)'):
        fourier_loss(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 5))
