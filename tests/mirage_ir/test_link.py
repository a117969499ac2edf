"""Other people's checkouts: linked and unlinked, and the one file of the network dropped where it must work alone."""

import errno
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from fresh_process import ROOT, run_pieces

from mirage_data.files.write import write_file
from mirage_ir.cli import main
from mirage_ir.link import MARKER, LinkError, link, unlink

NETWORK = ROOT / 'mirage_arch' / 'mirage_arch.py'

_OPTIONS = """\
name: two_iterations
model_type: MIRAGEModel
scale: 1
num_gpu: 0
manual_seed: 0
datasets:
  train:
    name: made up
    type: MixedDegradationDataset
    gt_size: 32
    use_hflip: true
    use_rot: true
    num_worker_per_gpu: 0
    batch_size_per_gpu: 2
    sources:
      - {task: denoise, dataroot_gt: photos, sigma: 25}
network_g:
  type: MIRAGEArch
  dim: 6
  num_blocks: [1, 1, 1, 1]
  num_refinement_blocks: 1
  heads: [1, 1, 1, 1]
path: {}
train:
  total_iter: 2
  optim_g: {type: AdamW, lr: 2.0e-4}
  scheduler: {type: CosineWithWarmup}
  pixel_opt: {type: L1Loss}
  fourier_opt: {type: FourierLoss, loss_weight: 0.1}
  spd_opt: {type: SPDContrastiveLoss, loss_weight: 0.01}
logger: {print_freq: 1, save_checkpoint_freq: 2, use_tb_logger: false}
"""

# what `python basicsr/train.py` does, without importing torch once more: the script's folder comes first
_RUN_SCRIPT = """
import runpy, sys
sys.path[:] = [{folder!r}] + [p for p in sys.path if p != {root!r}]  # the project is not installed for it
sys.argv = [{folder!r} + '/train.py', '-opt', 'options.yml']
runpy.run_path(sys.argv[0], run_name='__main__')
import basicsr
assert basicsr.__file__.startswith({folder!r}), basicsr.__file__
"""

_PLAIN_MODEL = """
import sys, types
import torch
from torchvision.transforms import functional
sys.path.insert(0, {checkout!r})
sys.path.remove({root!r})
alias = types.ModuleType('torchvision.transforms.functional_tensor')
alias.rgb_to_grayscale = functional.rgb_to_grayscale
sys.modules[alias.__name__] = alias  # what people with a current torchvision patch by hand
from basicsr.models import build_model
from basicsr.archs.mirage_arch import MIRAGEArch
model = build_model({{
    'model_type': 'SRModel', 'num_gpu': 0, 'is_train': True, 'dist': False, 'rank': 0, 'path': {{}},
    'network_g': {{'type': 'MIRAGEArch', 'dim': 6, 'num_blocks': [1, 1, 1, 1], 'heads': [1, 1, 1, 1]}},
    'train': {{'ema_decay': 0.9, 'pixel_opt': {{'type': 'L1Loss'}}, 'optim_g': {{'type': 'Adam', 'lr': 1e-3}},
              'scheduler': {{'type': 'MultiStepLR', 'milestones': [1]}}}},
}})
assert type(model.net_g) is MIRAGEArch and 'mirage_ir' not in sys.modules
before = model.net_g.output.weight.detach().clone()
model.feed_data({{'lq': torch.rand(2, 3, 24, 40), 'gt': torch.rand(2, 3, 24, 40)}})
model.optimize_parameters(1)
assert not torch.equal(before, model.net_g.output.weight)
model.test()
assert model.output.shape == (2, 3, 24, 40)
"""

# as `python basicsr/train.py`: the folder of the script in front, and the installed BasicSR behind it
_OLD_FORK = """
import sys
import torch
sys.path[:] = [{checkout!r} + '/basicsr'] + [p for p in sys.path if p != {root!r}]
from basicsr.models.archs import define_network
network = define_network({{'type': 'MIRAGEArch', 'dim': 6, 'num_blocks': [1, 1, 1, 1], 'heads': [1, 1, 1, 1]}})
assert type(network).__module__ == 'basicsr.models.archs.mirage_arch' and 'mirage_arch' not in sys.modules
assert network.eval()(torch.rand(1, 3, 9, 17)).shape == (1, 3, 9, 17)
"""

# how forks from before the registries find a network: by the name of a class in any file that ends in _arch.py
_OLD_SCAN = """
import importlib
from pathlib import Path

_files = sorted(Path(__file__).parent.glob('*_arch.py'))
_modules = [importlib.import_module('basicsr.models.archs.' + file.stem) for file in _files]


def define_network(opt):
    name = opt.pop('type')
    return next(getattr(module, name) for module in _modules if hasattr(module, name))(**opt)
"""


@pytest.fixture
def checkout(tmp_path):
    """A copy of BasicSR as a clone of its repository has it, in a folder with a space in its name."""
    return copy_of_basicsr(tmp_path / 'their project')


def copy_of_basicsr(folder: Path) -> Path:
    installed = Path(importlib.util.find_spec('basicsr').origin).parent
    shutil.copytree(installed, folder / 'basicsr')
    return folder


def old_fork(folder: Path) -> Path:
    archs = folder / 'basicsr' / 'models' / 'archs'
    archs.mkdir(parents=True)  # without a basicsr/__init__.py, as NAFNet and Restormer are
    (folder / 'basicsr' / 'models' / '__init__.py').touch()
    (archs / '__init__.py').write_text(_OLD_SCAN)
    return folder


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file() and path.suffix != '.pyc'}


@pytest.fixture(scope='module')
def answers(tmp_path_factory):
    folder = tmp_path_factory.mktemp('other people')
    linked = copy_of_basicsr(folder / 'linked')
    link(linked)
    (linked / 'options.yml').write_text(_OPTIONS)
    (linked / 'photos').mkdir()
    for number in range(4):
        image = np.random.default_rng(number).integers(0, 256, (48, 40, 3), dtype=np.uint8)
        cv2.imwrite(str(linked / 'photos' / f'{number}.png'), image)
    dropped = copy_of_basicsr(folder / 'dropped')
    shutil.copy(NETWORK, dropped / 'basicsr' / 'archs')
    fork = old_fork(folder / 'fork')
    link(fork)
    root = str(ROOT)
    return run_pieces(
        {
            'linked': f'import os\nos.chdir({str(linked)!r})\n'
            + _RUN_SCRIPT.format(folder=str(linked / 'basicsr'), root=root),
            'dropped': _PLAIN_MODEL.format(checkout=str(dropped), root=root),
            'fork': _OLD_FORK.format(checkout=str(fork), root=root),
        },
        folder,
    ), linked


def test_a_linked_checkout_trains_our_network_with_our_model_by_its_own_script(answers):
    (code, text), folder = answers[0]['linked'], answers[1]
    assert code == 0, text
    assert 'l_spd' in text and 'Model [MIRAGEModel] is created' in text
    assert (folder / 'experiments' / 'two_iterations' / 'models' / 'net_g_2.pth').is_file()


def test_the_network_file_alone_trains_under_plain_srmodel(answers):
    code, text = answers[0]['dropped']
    assert code == 0, text


def test_the_network_file_works_in_a_fork_without_registry(answers):
    code, text = answers[0]['fork']
    assert code == 0, text


def test_unlink_leaves_a_checkout_as_it_was(checkout):
    before = files_of(checkout)
    written = list(link(checkout).files)
    assert set(files_of(checkout)) - set(before) == set(written)
    assert all(path.read_text().startswith(MARKER) for path in written)
    assert list(link(checkout / 'basicsr').files) == written  # again, by its other name
    assert sorted(unlink(checkout)) == sorted(written)
    assert files_of(checkout) == before
    assert unlink(checkout) == []


def test_unlink_leaves_a_fork_as_it_was(tmp_path):
    fork = old_fork(tmp_path)
    before = files_of(fork)
    assert list(link(fork).files) == [
        fork / 'basicsr' / 'basicsr.py',
        fork / 'basicsr' / 'models' / 'archs' / 'mirage_arch.py',
    ]
    unlink(fork)
    assert files_of(fork) == before


@pytest.mark.parametrize('act', [link, unlink])
def test_a_file_of_somebody_else_is_never_touched(checkout, act):
    own = checkout / 'basicsr' / 'models' / 'mirage_model.py'
    own.write_text('# mine\n')
    before = files_of(checkout)
    with pytest.raises(LinkError, match='mirage_model.py'):
        act(checkout)
    assert files_of(checkout) == before


@pytest.mark.parametrize('act', [link, unlink])
def test_a_file_that_was_edited_since_is_kept(tmp_path, act):
    fork = old_fork(tmp_path / 'a fork')
    network = fork / 'basicsr' / 'models' / 'archs' / 'mirage_arch.py'
    link(fork)
    network.write_text(network.read_text() + '\n# mine\n')
    before = files_of(fork)
    with pytest.raises(LinkError, match='mirage_arch.py: changed since'):
        act(fork)
    assert files_of(fork) == before
    network.write_text(f'{MARKER}\n"""Of a version that noted no sum."""\n')
    act(fork)
    assert network.exists() == (act is link)


@pytest.mark.parametrize('act', [link, unlink])
@pytest.mark.parametrize('whose', ['link to nothing', 'link to one of ours', 'in another encoding'])
def test_what_somebody_put_in_the_place_of_a_file_is_kept(tmp_path, act, whose):
    fork = old_fork(tmp_path / 'a fork')
    network = fork / 'basicsr' / 'models' / 'archs' / 'mirage_arch.py'
    link(fork)
    written = network.rename(tmp_path / 'elsewhere.py')
    if whose == 'in another encoding':
        network.write_bytes(written.read_bytes() + '# für mich\n'.encode('latin-1'))
    else:
        network.symlink_to(written if 'ours' in whose else tmp_path / 'nothing')
    before = files_of(fork)
    with pytest.raises(LinkError, match='mirage_arch.py: (not written by|changed since)'):
        act(fork)
    assert files_of(fork) == before and network.is_symlink() == whose.startswith('link')


def test_a_project_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / 'theirs' / 'train.py').mkdir(parents=True)
    for act in (link, unlink):
        with pytest.raises(LinkError, match='train.py cannot be read .Is a directory'):
            act(tmp_path)


def test_a_project_that_cannot_be_written_to_is_named_and_can_be_cleaned(tmp_path, monkeypatch):
    fork = old_fork(tmp_path)
    before = files_of(fork)

    def full(path, content):
        if path.name == 'mirage_arch.py':
            raise OSError(errno.EROFS, 'Read-only file system')
        write_file(path, content)

    monkeypatch.setattr('mirage_ir.link.write_file', full)
    with pytest.raises(LinkError, match='mirage_arch.py cannot be written .Read-only file system'):
        link(fork)
    assert [path.name for path in unlink(fork)] == ['basicsr.py'] and files_of(fork) == before


def test_a_project_is_linked_by_any_of_its_names(tmp_path, monkeypatch):
    fork = old_fork(tmp_path / 'a fork')
    (tmp_path / 'by a link').symlink_to(fork, target_is_directory=True)
    monkeypatch.chdir(tmp_path / 'by a link' / 'basicsr')
    link('.')
    left = fork / 'basicsr' / 'archs' / 'mirage_arch.py'  # of a version of the project that had it elsewhere
    left.parent.mkdir()
    left.write_text(f'{MARKER}\n')
    assert len(unlink(tmp_path / 'by a link')) == 3 and not left.exists()


def test_what_cannot_be_linked(tmp_path):
    with pytest.raises(LinkError, match='is no folder'):
        link(tmp_path / 'nowhere')
    with pytest.raises(LinkError, match='of no kind that is known.*copy mirage_arch/mirage_arch.py'):
        link(tmp_path)
    installed = Path(importlib.util.find_spec('basicsr').origin).parent
    with pytest.raises(LinkError, match='never edited'):
        link(installed)


def test_the_console_command_links_and_says_how_to_undo_it(checkout, capsys):
    assert main(['link', str(checkout)]) == 0
    printed = capsys.readouterr().out
    assert 'mirage_model.py' in printed and f"unlink '{checkout}'" in printed
    assert main(['unlink', str(checkout)]) == 0
    assert main(['unlink', str(checkout)]) == 0
    assert 'was not linked' in capsys.readouterr().out
    assert main(['link', str(checkout / 'basicsr' / 'archs')]) == 1
    for wrong in ('', '~nobody here', 'x' * 300):
        with pytest.raises(SystemExit) as end:
            main(['link', wrong])
        assert end.value.code == 2


def test_the_command_uses_the_linked_checkout_it_stands_in(checkout):
    link(checkout)
    (checkout / 'basicsr' / 'archs' / 'own_arch.py').write_text("print('their own network')\n")
    (checkout / 'options.yml').write_text(_OPTIONS)
    done = subprocess.run(
        [sys.executable, '-m', 'mirage_ir', 'test', '-opt', 'options.yml'],
        cwd=checkout,
        text=True,
        capture_output=True,
        check=False,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    assert 'Using the linked checkout' in done.stdout and 'their own network' in done.stdout
    assert done.returncode == 2 and 'datasets' in done.stderr  # an option file for training, and no loop
