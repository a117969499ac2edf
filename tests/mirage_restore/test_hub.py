"""The Hugging Face hub and torch.hub, offline, by the real libraries."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mirage_restore import Restorer
from mirage_restore.bundled import bundled_weights, find_weights

ROOT = Path(__file__).resolve().parents[2]
MINIATURE = {'dim': 6, 'num_blocks': (1, 1, 1, 1), 'num_refinement_blocks': 1, 'heads': (1, 1, 1, 1), 'spd_head': False}

_FROM_CACHE = """
import sys, numpy as np
from mirage_restore import Restorer
image = np.arange(24 * 17 * 3, dtype=np.uint8).reshape(24, 17, 3)
np.save(sys.argv[1], Restorer('somebody/mirage-test', device='cpu')(image))
try:
    Restorer('somebody/else', device='cpu')
except ValueError as error:
    print(error)
"""


def test_a_network_goes_to_a_folder_of_the_hub_and_back_with_its_arguments(tmp_path):
    pytest.importorskip('huggingface_hub')
    from mirage_restore.hub import HubMIRAGE

    net = HubMIRAGE(**MINIATURE).eval()
    net.save_pretrained(tmp_path)
    assert json.loads((tmp_path / 'config.json').read_text())['dim'] == 6
    back = HubMIRAGE.from_pretrained(tmp_path)
    image = torch.rand(1, 3, 16, 17)
    with torch.no_grad():
        assert torch.equal(back(image), net(image))
    assert Restorer(tmp_path, device='cpu').weights == tmp_path / 'model.safetensors'


def test_a_model_of_the_hub_is_restored_with(tmp_path):
    pytest.importorskip('huggingface_hub')
    from mirage_restore.hub import HubMIRAGE

    torch.manual_seed(0)
    snapshot = tmp_path / 'models--somebody--mirage-test' / 'snapshots' / ('0' * 40)  # as a download leaves it
    HubMIRAGE(**MINIATURE).save_pretrained(snapshot)
    (snapshot.parents[1] / 'refs').mkdir()
    (snapshot.parents[1] / 'refs' / 'main').write_text('0' * 40)
    done = subprocess.run(
        [sys.executable, '-c', _FROM_CACHE, tmp_path / 'out.npy'],
        capture_output=True,
        text=True,
        env={**os.environ, 'HF_HUB_CACHE': str(tmp_path), 'HF_HUB_OFFLINE': '1'},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    image = np.arange(24 * 17 * 3, dtype=np.uint8).reshape(24, 17, 3)
    assert np.array_equal(np.load(tmp_path / 'out.npy'), Restorer(snapshot, device='cpu')(image))
    assert 'somebody/else: no such file, and no such model on the Hugging Face hub' in done.stdout


def test_paths_are_not_taken_for_models_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    for path in ('weights/net.pth', 'a/b/c', '../net', 'net.ckpt', tmp_path):
        assert find_weights(path) == Path(path)
    with pytest.raises(ValueError, match='pip install huggingface_hub'):
        find_weights('somebody/model')


@pytest.mark.parametrize(
    ('network', 'pretrained', 'model'),
    [('mirage_mini', True, 'mini'), ('mirage_nano', True, 'nano'), ('mirage_nano', 'denoise', 'denoise')],
)
def test_torch_hub_has_the_weights_of_the_package(network, pretrained, model):
    trained = torch.hub.load(str(ROOT), network, source='local', pretrained=pretrained)
    from mirage_arch.checkpoints import load_network

    assert not trained.training
    wanted = load_network(bundled_weights(model), spd_head=False).state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in trained.state_dict().items())


def test_torch_hub_has_the_networks():
    assert sum(p.numel() for p in torch.hub.load(str(ROOT), 'mirage_tiny', source='local').parameters()) == 6_207_412
    with pytest.raises(ValueError, match='takes no arguments'):
        torch.hub.load(str(ROOT), 'mirage_nano', source='local', pretrained=True, dim=24)
    with pytest.raises(ValueError, match="nano.*got 'large'"):
        torch.hub.load(str(ROOT), 'mirage_nano', source='local', pretrained='large')
    with pytest.raises(ValueError, match="'mini': these weights are not those of a mirage_nano"):
        torch.hub.load(str(ROOT), 'mirage_nano', source='local', pretrained='mini')
