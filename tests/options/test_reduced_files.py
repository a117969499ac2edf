"""The option files of reduced networks: they pass the check, and train and test file describe one network."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from made_up_data import make_all

import mirage_ir  # noqa: F401
from mirage_arch import MIRAGEArch, mirage_nano
from mirage_ir.options.check import check_option_file

ROOT = Path(__file__).resolve().parents[2]
TRAIN, TEST, SMALL = 'train_denoise_bsd400_nano.yml', 'denoise_bsd400_nano_test.yml', 'small_scale/base.yml'
BUNDLED = 'train_mirage_bundled.yml'
NANOS = ('train_derain_nano.yml', 'train_lol_nano.yml', 'train_4deg_nano.yml')
PAIRS = ('rain100l', 'rain800', 'lol', 'sots_indoor', 'polyu')


def _load(path):
    return yaml.safe_load((ROOT / 'options' / path).read_text(encoding='utf-8'))


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp('my project')
    make_all(root)
    pairs = [f'pairs/{name}/{side}' for name in PAIRS for side in ('input', 'target')]
    made = [f'Bundled/{split}/bsds500' for split in ('train', 'heldout')]
    parts = ('train/bsds500', 'train/photographs', 'heldout/bsds500', *pairs)
    for split in (*made, *(f'BundledPairs/{part}' for part in parts)):
        folder = root / 'datasets' / split
        folder.mkdir(parents=True)
        for number in range(6):
            picture = np.random.default_rng(number).integers(0, 256, (48, 64, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / f'{number}.png'), picture)
    return root


@pytest.mark.parametrize('path', [TRAIN, TEST, SMALL, BUNDLED, *NANOS])
def test_preflight_finds_nothing(path, project, monkeypatch):
    monkeypatch.chdir(project)
    few = ['datasets:train:batch_size_per_gpu=2', 'datasets:train:gt_size=32'] if path != TEST else None
    found = check_option_file(ROOT / 'options' / path, root=project, force_yml=few)
    expected = ['path:pretrain_network_g'] if path == TEST else []  # of a training not made here
    assert [problem.key for problem in found] == expected, [str(problem) for problem in found]
    command = (ROOT / 'options' / path).read_text(encoding='utf-8').splitlines()[0]
    assert command.startswith(f'# python basicsr/{"test" if path == TEST else "train"}.py -opt options/{path}')


@pytest.mark.parametrize('path', NANOS)
def test_the_reduced_experiments_differ_in_data_alone(path):
    denoiser, options = _load(TRAIN), _load(path)
    for section in ('network_g', 'path'):
        assert options[section] == denoiser[section]
    free = {'total_iter', 'spd_opt'}  # one task has nothing to contrast
    trains = ({key: value for key, value in each['train'].items() if key not in free} for each in (options, denoiser))
    assert next(trains) == next(trains)
    assert ('spd_opt' in options['train']) == (path == 'train_4deg_nano.yml')


def test_the_denoiser_is_nano_and_its_test_file_the_same():
    train, test = _load(TRAIN), _load(TEST)
    assert train['network_g'] == test['network_g']
    arguments = {key: value for key, value in train['network_g'].items() if key != 'type'}
    shapes = {name: tensor.shape for name, tensor in MIRAGEArch(**arguments).state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in mirage_nano().state_dict().items()}
    assert [d['name'] for d in test['datasets'].values()] == ['BSD68_15', 'BSD68_25', 'BSD68_50']
    watched = [d for phase, d in train['datasets'].items() if phase != 'train']
    assert watched == list(test['datasets'].values())
    assert train['path']['pretrain_network_g'] is None
    assert f'experiments/{train["name"]}/' in test['path']['pretrain_network_g']
