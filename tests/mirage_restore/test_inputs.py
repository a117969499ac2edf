"""Pillow images, tensors and arrays of every usual type, and the values that are refused."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from mirage_restore import Restorer
from mirage_restore.bundled import bundled_models, bundled_weights
from mirage_restore.inputs import restore_pillow


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
        ('La', 'LA'),
        ('RGBa', 'RGBA'),
        ('PA', 'RGBA'),
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
    elif mode in ('La', 'RGBa', 'PA'):
        between = {'La': 'LA', 'RGBa': 'RGBA', 'PA': 'P'}[mode]
        image = Image.fromarray(pixels(12, 16, 3)).convert(between).convert(mode)
    else:
        image = Image.fromarray(pixels(12, 16, 3)).convert(mode)
    image.info['dpi'] = (300, 300)
    result = restore(image)
    assert (type(result), result.mode, result.size) == (Image.Image, comes_back, image.size)
    assert result.info['dpi'] == (300, 300)
    if mode == 'RGB':
        assert np.array_equal(np.array(result), restore(np.array(image)))


@pytest.mark.parametrize('mode', ['RGB', 'L', '1', 'P', 'palette of RGBA'])
def test_transparency_of_a_pillow_image_becomes_alpha(restore, mode):
    image = Image.fromarray(pixels(12, 16, 3))
    if mode == 'palette of RGBA':
        image = image.quantize(16)
        colours = np.array(image.getpalette()[:48], np.uint8).reshape(16, 3)
        image.putpalette(np.insert(colours, 3, np.arange(16) * 17, axis=1).tobytes(), 'RGBA')
    else:
        image = image.convert(mode)
        image.info['transparency'] = image.getpixel((3, 5))
    expected = np.array(image.convert('RGBA'))[..., 3]
    assert 0 in expected
    result = restore(image)
    assert result.mode == ('LA' if mode in ('L', '1') else 'RGBA')
    assert np.array_equal(np.array(result)[..., -1], expected)
    assert 'transparency' not in result.info
    result.save(io.BytesIO(), 'PNG')


def test_a_colour_key_of_16_bits_is_not_kept_for_other_values(restore):
    image = Image.fromarray(pixels(12, 16).astype(np.uint16) * 257)
    image.info |= {'transparency': 30000, 'icc_profile': b'x'}
    assert restore(image).info == {'icc_profile': b'x'}


def test_a_profile_for_other_pixels_does_not_come_back(restore):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile('LAB')).tobytes()
    image = Image.fromarray(pixels(12, 16, 3))
    for mode, profile, kept in (
        ('RGB', srgb, True),
        ('P', srgb, True),
        ('CMYK', srgb[:16] + b'CMYK' + srgb[20:], False),
        ('CMYK', b'damaged', False),
        ('CMYK', srgb, False),
    ):
        given = image.convert(mode)
        given.info['icc_profile'] = profile
        result = restore(given)
        assert (result.mode, 'icc_profile' in result.info) == ('RGB', kept), (mode, profile[:20])
    given = Image.new('LAB', (16, 12), (120, 3, 5))
    given.info['icc_profile'] = lab
    assert 'icc_profile' not in restore(given).info


def test_cmyk_of_pillow_goes_through_its_profile_as_in_files(tmp_path):
    from mirage_restore.photo import read_photo

    pyvips = pytest.importorskip('pyvips')
    smooth = np.linspace(30, 220, 12 * 16 * 3).astype(np.uint8).reshape(12, 16, 3)
    inks = pyvips.Image.new_from_array(smooth, interpretation='srgb').icc_export(output_profile='cmyk')
    inks.tiffsave(str(tmp_path / 'a.tif'))
    expected = read_photo(tmp_path / 'a.tif')
    assert 'by its profile' in expected.notes[0]
    with Image.open(tmp_path / 'a.tif') as image:
        assert image.mode == 'CMYK' and image.info['icc_profile'][16:20] == b'CMYK'
        result = restore_pillow(lambda colour: colour, image)
    assert 'icc_profile' not in result.info
    assert np.abs(np.array(result).astype(int) - expected.pixels).max() <= 2


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
