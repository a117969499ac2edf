"""Loading through the real spandrel, and beside its further architectures, one of which is Restormer."""

import subprocess
import sys

import pytest
import torch

from mirage_arch import MIRAGEArch
from mirage_restore.bundled import bundled_weights

spandrel = pytest.importorskip('spandrel')
MINIATURE = {'dim': 6, 'num_blocks': (1, 2, 1, 1), 'num_refinement_blocks': 1, 'heads': (1, 1, 2, 2)}

_BOTH = """
import sys, torch, spandrel, spandrel_extra_arches
from mirage_restore.spandrel import install
steps = {'before': install, 'after': spandrel_extra_arches.install}
for name in (('before', 'after') if sys.argv[1] == 'before' else ('after', 'before')):
    steps[name]()
install()
model = spandrel.ModelLoader('cpu').load_from_file(sys.argv[2])
assert model.architecture.id == 'MIRAGE' and (model.scale, model.purpose) == (1, 'Restoration')
print(tuple(model(torch.rand(1, 3, 30, 45)).shape), model.input_channels)
"""


@pytest.fixture(scope='module')
def loader():
    from mirage_restore.spandrel import install

    install()
    return spandrel.ModelLoader('cpu')


@pytest.mark.parametrize('order', ['before', 'after'])
def test_the_weights_of_the_package_load_beside_restormer(order):
    pytest.importorskip('spandrel_extra_arches')
    done = subprocess.run(
        [sys.executable, '-c', _BOTH, order, str(bundled_weights())], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == '(1, 3, 30, 45) 3', done.stderr


@pytest.mark.parametrize(
    'wrap',
    [
        lambda state: {'params': state},
        lambda state: state,
        lambda state: {'state_dict': {f'net.{name}': t for name, t in state.items()}},
    ],
    ids=['BasicSR', 'flat', 'Lightning'],
)
def test_other_weights_of_the_network_load_and_give_the_same(loader, tmp_path, wrap):
    torch.manual_seed(0)
    net = MIRAGEArch(**MINIATURE).eval()
    torch.save(wrap(net.state_dict()), tmp_path / 'weights.pth')
    model = loader.load_from_file(tmp_path / 'weights.pth')
    image = torch.rand(1, 3, 17, 24)
    with torch.no_grad():
        assert torch.allclose(model(image), net(image).clamp(0, 1), atol=1e-6)


def test_weights_of_others_are_not_taken(loader):
    with pytest.raises(spandrel.UnsupportedModelError):
        loader.load_from_state_dict({'patch_embed.proj.weight': torch.zeros(3, 3, 3, 3)})
