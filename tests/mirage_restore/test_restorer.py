import logging

import numpy as np
import pytest
import torch
from PIL import Image

from mirage_arch import evaluation
from mirage_arch.checkpoints import save_weights
from mirage_arch.memory import is_out_of_memory
from mirage_arch.mirage_arch import MIRAGEArch
from mirage_restore import machine, restorer
from mirage_restore.restorer import Restorer


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp('weights') / 'miniature.safetensors'
    net = MIRAGEArch(dim=6, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1)
    with torch.no_grad():
        net.output.weight.mul_(0.2)  # an untrained network should not run out of [0, 1] everywhere
    save_weights(net.state_dict(), path)
    return path


@pytest.fixture(scope='module')
def restore(weights):
    return Restorer(weights, device='cpu')


def image(*shape, dtype=np.float32, seed=0):
    values = np.random.default_rng(seed).uniform(0.2, 0.8, shape)
    return values.astype(dtype) if np.issubdtype(dtype, np.floating) else (values * np.iinfo(dtype).max).astype(dtype)


def test_restorer_is_offered_by_both_packages():
    import mirage_ir
    import mirage_restore

    assert mirage_ir.Restorer is mirage_restore.Restorer is Restorer


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize('shape', [(9, 11), (9, 11, 1), (9, 11, 2), (9, 11, 3), (9, 11, 4), (1, 1, 3), (1, 30, 3)])
def test_shape_and_type_come_back(restore, shape, dtype):
    given = image(*shape, dtype=dtype)
    before = given.copy()
    restored = restore(given)
    assert (restored.shape, restored.dtype) == (given.shape, given.dtype)
    assert np.array_equal(given, before)
    assert np.array_equal(restored, given) == (shape[:2] == (1, 1))  # a picture of one colour stays


def test_what_a_film_is_resumed_with_is_known_by_content(weights, tmp_path):
    file = tmp_path / 'latest.safetensors'
    file.write_bytes(weights.read_bytes())
    first = Restorer(file, device='cpu').within(None).identity
    (tmp_path / 'elsewhere').mkdir()
    moved = file.rename(tmp_path / 'elsewhere' / file.name)
    assert Restorer(moved, device='cpu').within(None).identity == first
    torch.manual_seed(2)
    other = MIRAGEArch(dim=6, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1)
    save_weights(other.state_dict(), file)
    assert file.stat().st_size == moved.stat().st_size
    assert Restorer(file, device='cpu').within(None).identity != first


def test_result_is_the_networks(restore, weights):
    given = image(20, 28, 3)
    net = restorer.load_network(weights)
    with torch.no_grad():
        expected = net(torch.from_numpy(given.transpose(2, 0, 1))[None])[0].clamp(0, 1).permute(1, 2, 0).numpy()
    assert np.abs(restore(given) - expected).max() < 1e-5
    assert np.array_equal(restore((given * 255).astype(np.uint8)).shape, given.shape)


def test_alpha_passes_through_and_grey_is_the_mean_of_rgb(restore):
    given = image(12, 12, 4)
    restored = restore(given)
    assert np.array_equal(restored[..., 3], given[..., 3])
    assert np.array_equal(restored[..., :3], restore(given[..., :3]))
    grey = given[..., 0]
    assert np.allclose(restore(grey), restore(np.repeat(grey[..., None], 3, 2)).mean(2), atol=1e-6)


def test_sixteen_bits_are_kept(restore):
    fine = image(16, 16, 3, dtype=np.uint16)
    assert len(np.unique(restore(fine) % 257)) > 50  # 8-bit values would all be multiples of 257


def test_path_gives_pixels(restore, tmp_path):
    pixels = image(10, 14, 3, dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'a photo.png')
    assert np.array_equal(restore(tmp_path / 'a photo.png'), restore(pixels))


@pytest.mark.parametrize(
    ('bad', 'message'),
    [
        (np.full((4, 4, 3), np.nan, np.float32), 'NaN'),
        (np.full((4, 4, 3), np.inf, np.float32), 'infinite'),
        (np.full((4, 4, 3), 200.0), r'in \[0, 1\]'),
        (np.full((4, 4, 3), 1.5), r'in \[0, 1\]'),
        (np.zeros((4, 4, 5), np.uint8), 'shape|must be'),
        (np.zeros((0, 4, 3), np.uint8), 'not empty'),
        (np.zeros((2, 4, 4, 3), np.uint8), 'must be'),
        (np.zeros((4, 4, 3), np.int32), 'int32'),
        (np.zeros((4, 4, 3), bool), 'bool'),
    ],
)
def test_bad_arrays_are_refused(restore, bad, message):
    with pytest.raises(ValueError, match=message):
        restore(bad)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'precision': 'int8'}, 'precision'),
        ({'tile': 3}, 'tile'),
        ({'tile': 64, 'tile_overlap': 60}, 'tile_overlap'),
        ({'device': 'gpu'}, 'device'),
        ({'device': 'cuda:9'}, 'device'),
    ],
)
def test_bad_arguments_are_refused(weights, options, message):
    with pytest.raises(ValueError, match=message):
        Restorer(weights, **options)


def test_missing_and_foreign_weights_are_named(tmp_path):
    with pytest.raises(ValueError, match=r'none\.pth'):
        Restorer(tmp_path / 'none.pth')
    torch.save({'conv.weight': torch.zeros(1)}, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=r'other\.pth'):
        Restorer(tmp_path / 'other.pth')


def test_half_precision_stays_close(restore, weights):
    given = image(24, 24, 3)
    error = np.square(Restorer(weights, device='cpu', precision='bf16')(given) - restore(given)).mean()
    assert -10 * np.log10(error) > 40


@pytest.mark.parametrize(
    ('length', 'tile', 'overlap'), [(100, 32, 8), (33, 32, 8), (32, 32, 8), (5, 32, 8), (97, 16, 0)]
)
def test_tiles_cover_everything_and_overlap(length, tile, overlap):
    starts = restorer.tile_starts(length, tile, overlap)
    covered = np.zeros(length, bool)
    for start in starts:
        covered[start : start + tile] = True
    assert covered.all()
    assert all(b - a <= tile - overlap for a, b in zip(starts, starts[1:]))
    assert starts[-1] + min(tile, length) == length


def test_blending_tiles_of_an_identity_changes_nothing():
    x = torch.rand(1, 3, 50, 70)
    assert torch.allclose(restorer.restore_in_tiles(lambda t: t, x, 24, 6), x, atol=1e-6)


def test_seams_are_smooth():
    """Tiles that disagree by a constant must blend without a jump larger than a step of the ramp."""
    count = iter(range(1000))
    out = restorer.restore_in_tiles(lambda t: torch.full_like(t, next(count) % 2), torch.zeros(1, 1, 16, 64), 16, 8)
    assert (out[0, 0, 0, 1:] - out[0, 0, 0, :-1]).abs().max() <= 1 / 8 + 1e-5


def test_tiles_on_request(weights, restore):
    given = image(40, 40, 3)
    tiled = Restorer(weights, device='cpu', tile=32)(given)
    assert tiled.shape == given.shape
    assert not np.array_equal(tiled, restore(given))


def test_short_memory_means_tiles_and_says_so(weights, monkeypatch, caplog):
    net = Restorer(weights, device='cpu')
    monkeypatch.setattr(restorer, 'available_bytes', lambda device: 1_000_000.0)
    monkeypatch.setattr(restorer, '_SMALLEST_TILE', 32)
    with caplog.at_level(logging.WARNING):
        assert net(image(70, 90, 3)).shape == (70, 90, 3)
    assert 'in tiles of' in caplog.text


def test_running_out_of_memory_falls_back_to_smaller_tiles(weights, monkeypatch, caplog):
    net = Restorer(weights, device='cpu')
    forward = net._forward

    def limited(x):
        if x.shape[-1] > 40:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return forward(x)

    monkeypatch.setattr(net, '_forward', limited)
    monkeypatch.setattr(restorer, '_SMALLEST_TILE', 32)
    with caplog.at_level(logging.WARNING):
        assert net(image(64, 100, 3)).shape == (64, 100, 3)
    assert 'memory ran out' in caplog.text


def test_a_gpu_with_little_memory_takes_exact_strips_before_tiles(weights, monkeypatch, caplog):
    net = Restorer(weights, device='cpu')
    given = image(70, 90, 3)
    expected = net(given)
    network, tried = net._network, []

    def limited(x):
        tried.append(network.strip_rows)
        if network.strip_rows != 16:
            raise RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`')
        return type(network).forward(network, x)

    monkeypatch.setattr(network, 'forward', limited)
    monkeypatch.setattr(restorer, 'available_bytes', lambda device: 1e9)
    monkeypatch.setattr(evaluation, 'strip_sizes', lambda fast: [None, 64, 16])  # as on a GPU
    with caplog.at_level(logging.WARNING):
        assert np.abs(net(given) - expected).max() < 1e-5
    assert tried == [None, 64, 16] and 'tiles' not in caplog.text
    monkeypatch.setattr(restorer, 'available_bytes', lambda device: 1.0)
    monkeypatch.setattr(net, '_fits', lambda x: True)
    assert np.abs(net(given) - expected).max() < 1e-5
    assert tried[3:] == [16]  # what will not fit is not tried


def test_no_memory_at_all_is_an_error_with_a_cure(weights, monkeypatch):
    net = Restorer(weights, device='cpu')
    monkeypatch.setattr(restorer, '_SMALLEST_TILE', 32)

    def full(x):
        raise torch.cuda.OutOfMemoryError('CUDA out of memory.')

    monkeypatch.setattr(net._network, 'forward', full)
    with pytest.raises(RuntimeError, match='out of memory: an image of 100x64 .* in tiles of 32 pixels') as caught:
        net(image(64, 100, 3))
    assert is_out_of_memory(caught.value)


def test_other_errors_are_not_taken_for_short_memory(weights, monkeypatch):
    net = Restorer(weights, device='cpu')

    def broken(x):
        raise RuntimeError('something else')

    monkeypatch.setattr(net, '_forward', broken)
    with pytest.raises(RuntimeError, match='something else'):
        net(image(64, 64, 3))
    assert is_out_of_memory(MemoryError())


def test_available_memory_is_positive():
    assert machine.available_bytes(torch.device('cpu')) > 0
