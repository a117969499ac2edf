"""Pillow images, tensors and arrays of every usual type, and the values that are refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from mirage_restore import Restorer
from mirage_restore.bundled import bundled_models, bundled_weights


@pytest.fixture(scope='module')
def restore():
    return Restorer(device='cpu')


def pixels(*shape):
    return np.random.default_rng(0).integers(30, 220, shape, np.uint8)


@pytest.mark.parametrize(
    ('mode', 'comes_back'),
    [
        ('RGB', 'RGB'),
        ('RGBA', 'RGBA'),
        ('L', 'L'),
        ('LA', 'LA'),
        ('I;16', 'I;16'),
        ('1', 'L'),
        ('P', 'RGB'),
        ('CMYK', 'RGB'),
        ('YCbCr', 'RGB'),
        ('HSV', 'RGB'),
        ('LAB', 'RGB'),
    ],
)
def test_pillow_images(restore, mode, comes_back):
    if mode == 'I;16':
        image = Image.fromarray(pixels(12, 16).astype(np.uint16) * 257)
    elif mode == 'LAB':
        image = Image.new('LAB', (16, 12), (120, 3, 5))
    else:
        image = Image.fromarray(pixels(12, 16, 3)).convert(mode)
    image.info['dpi'] = (300, 300)
    result = restore(image)
    assert (type(result), result.mode, result.size) == (Image.Image, comes_back, image.size)
    if mode == 'RGB':
        assert np.array_equal(np.array(result), restore(np.array(image)))
        assert result.info['dpi'] == (300, 300)


@pytest.mark.parametrize('mode', ['I', 'F'])
def test_pillow_images_without_a_range_are_refused(restore, mode):
    with pytest.raises(ValueError, match=mode):
        restore(Image.new(mode, (8, 8)))


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8])
@pytest.mark.parametrize('shape', [(3, 12, 16), (2, 3, 12, 16), (1, 12, 16), (4, 12, 16), (1, 1, 12, 16)])
def test_tensors(restore, dtype, shape):
    image = torch.rand(shape) * 0.6 + 0.2
    image = (image * 255).to(dtype) if dtype == torch.uint8 else image.to(dtype)
    result = restore(image)
    assert (result.shape, result.dtype, result.device) == (image.shape, image.dtype, image.device)
    assert not torch.equal(result, image)


def test_a_batch_is_its_images(restore):
    batch = torch.rand(2, 3, 12, 16)
    assert torch.equal(restore(batch)[1], restore(batch[1]))
    expected = restore(batch[0].permute(1, 2, 0).numpy())
    assert np.allclose(restore(batch)[0].permute(1, 2, 0).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    'bad',
    [
        torch.zeros(5, 8, 8),
        torch.zeros(8, 8),
        torch.zeros(1, 1, 3, 8, 8),
        torch.full((3, 8, 8), 1.5),
        torch.full((3, 8, 8), float('nan')),
        [[0.5]],
        None,
        3,
    ],
)
def test_what_is_no_image_is_refused(restore, bad):
    with pytest.raises(ValueError, match='must be|NaN'):
        restore(bad)


def test_rounding_beyond_the_range_is_clipped(restore):
    image = np.full((12, 16, 3), 0.5, np.float32)
    image[0, 0], image[1, 1] = 1.0000001, -1e-7
    assert np.array_equal(restore(image), restore(image.clip(0, 1)))
    image[0, 0] = 1.5
    with pytest.raises(ValueError, match=r'in \[0, 1\], got -1e-07 to 1.5'):
        restore(image)


def test_a_weight_that_is_not_finite_is_refused(tmp_path):
    from safetensors.torch import save_file

    from mirage_arch.checkpoints import load_weights

    state = load_weights(bundled_weights('nano'))
    name = next(name for name in state if name.endswith('qkv.weight'))
    state[name].view(-1)[3] = float('nan')
    save_file(state, tmp_path / 'broken.safetensors')  # ours writes no such file
    with pytest.raises(ValueError, match=rf'broken.safetensors: tensor {name} holds NaN'):
        Restorer(tmp_path / 'broken.safetensors', device='cpu')


def test_a_result_that_is_not_finite_is_refused(restore, monkeypatch):
    monkeypatch.setattr(restore, '_forward', lambda x: x * float('nan'))
    with pytest.raises(ValueError, match='gave NaN'):
        restore(pixels(12, 16, 3))


def test_models_are_found_by_name():
    assert {'mini', 'nano'} <= set(bundled_models())
    assert Restorer(device='cpu', model='nano').weights == bundled_weights('nano')
    assert Restorer(device='cpu', model='mini').weights == bundled_weights('mini') == Restorer(device='cpu').weights
    with pytest.raises(ValueError, match=r"model must be one of .*nano.*'giant'"):
        Restorer(device='cpu', model='giant')
    with pytest.raises(ValueError, match='not both'):
        Restorer(bundled_weights('nano'), device='cpu', model='nano')


@pytest.mark.parametrize('device', ['mps', 'xpu', 'gpu', 'cuda:7', 'meta'])
def test_devices_that_are_not_there_are_named_with_those_that_are(device):
    if device == 'mps' and torch.backends.mps.is_available():
        pytest.skip('it is there')
    with pytest.raises(ValueError, match=rf"device '{device}' is not there; there are 'auto', 'cpu'"):
        Restorer(device=device)


def test_progress_within_one_image_reaches_its_end(restore):
    seen = []
    restore.on_progress = seen.append
    try:
        restore(pixels(40, 50, 3))
        assert seen == sorted(seen) and len(seen) > 5 and seen[-1] == 1
        seen.clear()
        tiled = Restorer(device='cpu', tile=32)
        tiled.on_progress = seen.append
        tiled(pixels(40, 50, 3))
        assert seen == sorted(seen) and seen[-1] == pytest.approx(1)
    finally:
        restore.on_progress = None
