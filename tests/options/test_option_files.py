"""Every option file: its head, its network, its data sets in the published layout, one step of what it describes."""

import importlib.util
import json
import math
import re
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml
from made_up_data import make_all

import mirage_ir  # noqa: F401  repairs BasicSR and registers everything
from mirage_arch.mirage_arch import MIRAGEArch
from mirage_ir.measuring import tables
from mirage_ir.measuring.metrics import MetricUnavailableError, require_available
from mirage_ir.options.check import check_option_file
from mirage_ir.training.model import MIRAGEModel

ROOT = Path(__file__).resolve().parents[2]
BASE = 'train_mirage_3deg.yml'
SHRUNKEN = {'dim': 6, 'num_blocks': [1, 1, 1, 1], 'num_refinement_blocks': 1}


def _generator():
    spec = importlib.util.spec_from_file_location('make_options', ROOT / 'research' / 'paper' / 'make_options.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATED = _generator().option_files()
TRAIN = [path for path in GENERATED if not Path(path).name.startswith('test_')]
TEST = [path for path in GENERATED if Path(path).name.startswith('test_')]
ABLATIONS = [path for path in TRAIN if path.startswith('ablation/')]


def _load(path):
    return yaml.safe_load((ROOT / 'options' / path).read_text(encoding='utf-8'))


@cache
def _parameters(network):
    from basicsr.archs import build_network  # here, because BasicSR can be imported only after mirage_ir

    with torch.device('meta'):
        return sum(p.numel() for p in build_network(json.loads(network)).parameters())


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    """A folder with a space in its name and all data sets in it."""
    root = tmp_path_factory.mktemp('my project')
    make_all(root)
    return root


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny tensors: more threads only wait for each other
    yield
    torch.set_num_threads(threads)


def _shrunken(path, root):
    """The options as BasicSR's parser leaves them, the network small; and whether LPIPS had to be left out."""
    opt = _load(path)
    train = 'train' in opt
    opt['network_g'].update(deepcopy(SHRUNKEN))
    if train:
        opt['train']['warmup_iter'] = 1  # the first step at the full rate, or float32 would not show it
    opt.update(num_gpu=0, dist=False, rank=0, world_size=1, is_train=train)
    for phase, dataset in opt['datasets'].items():
        dataset['phase'] = phase.split('_')[0]
        dataset['manual_seed'] = opt['manual_seed']
        if phase == 'train':
            dataset['gt_size'] = 32
    results = str(root / ('experiments' if train else 'results') / opt['name'])
    opt['path'].update({key: f'{results}/{key}' for key in ('models', 'training_states', 'visualization')})
    opt['path']['experiments_root' if train else 'results_root'] = results
    try:
        if 'lpips' in opt['val']['metrics']:
            require_available('lpips')
    except MetricUnavailableError:
        del opt['val']['metrics']['lpips']
    return opt


def _validate(model, opt):
    from basicsr.data import build_dataset
    from torch.utils.data import DataLoader

    for phase, dataset_opt in sorted(opt['datasets'].items()):
        if phase != 'train':
            model.validation(DataLoader(build_dataset(dataset_opt)), 1, None, save_img=False)


def test_files_are_what_the_generator_describes():
    folder = ROOT / 'options'
    found = {str(p.relative_to(folder).as_posix()) for p in folder.rglob('*.yml')}
    assert set(GENERATED) <= found
    assert {path for path in found if path.startswith(('test_', 'ablation/'))} <= set(GENERATED)
    for path, text in GENERATED.items():
        assert (folder / path).read_text(encoding='utf-8') == text, f'{path}: run python research/paper/make_options.py'


@pytest.mark.parametrize('path', GENERATED)
def test_head_and_size_of_the_network(path):
    """First lines: command, table, expected figure. The full network has the published number of parameters."""
    command, table, expected = (ROOT / 'options' / path).read_text(encoding='utf-8').splitlines()[:3]
    script = 'train' if path in TRAIN else 'test'
    assert command == f'# python basicsr/{script}.py -opt options/{path}'
    number = re.fullmatch(r'# Table (\S+): .+', table)[1]
    entry = tables.published_table(number)
    figures = re.findall(r'(\S+) (\d+\.\d+) / (0\.\d+)', expected)
    for column, psnr, ssim in figures:
        rows = [row.scores[column] for row in entry.rows if row.method.startswith(('MIRAGE', 'w/o', 'att-only'))]
        assert (float(psnr), float(ssim)) in [(scores['psnr'], scores['ssim']) for scores in rows]
    assert figures or 'not published' in expected
    opt = _load(path)
    assert opt['network_g']['type'] == ('RatioSearchArch' if 'learned_ratio' in path else 'MIRAGEArch')
    count = _parameters(json.dumps(opt['network_g']))
    if path not in ABLATIONS:
        assert count == (9_678_983 if 'small' in path else 6_207_412)
    elif opt['network_g'] != _load(BASE)['network_g'] and not path.endswith('spd_tap_patch_embed.yml'):
        assert count != 6_207_412  # the change changes what is built
    assert opt['name'] == (Path(path).stem if path not in ABLATIONS else f'ablation_{Path(path).stem}')


@pytest.mark.parametrize('path', GENERATED)
def test_preflight_finds_nothing(path, project, monkeypatch):
    """Beyond what cannot be there on this machine: weights that a training run would have left, LPIPS."""
    monkeypatch.chdir(project)
    # the made-up sets and pictures are small
    few = ['datasets:train:batch_size_per_gpu=2', 'datasets:train:gt_size=32'] if path in TRAIN else None
    problems = check_option_file(ROOT / 'options' / path, root=project, force_yml=few)
    absent = [p for p in problems if 'pretrain_network_g' in p.key or 'lpips' in p.key]
    assert [str(p) for p in problems if p not in absent] == []
    assert len(absent) <= (2 if path in TEST else 0)


@pytest.mark.parametrize('path', TRAIN)
def test_one_step_and_one_validation(path, project, monkeypatch):
    from basicsr.data import build_dataset
    from torch.utils.data import default_collate

    monkeypatch.chdir(project)
    opt = _shrunken(path, project)
    dataset = build_dataset(opt['datasets']['train'])
    sources = opt['datasets']['train'].get('sources')
    if sources and 'repeat' in sources[0]:
        # Two pictures per folder here, but two folders share one where clean images are collected.
        sizes = [4 if 'sigma' in source else 2 for source in sources]
        assert len(dataset) == sum(n * source['repeat'] for n, source in zip(sizes, sources, strict=True))
    last = len(dataset) - 1
    model = MIRAGEModel(opt)
    before = deepcopy(model.net_g.state_dict())
    model.update_learning_rate(1, warmup_iter=1)
    model.feed_data(default_collate([dataset[(0, position)] for position in (0, last // 2, last)]))
    model.optimize_parameters(1)
    log = model.get_current_log()
    losses = {name for name in ('pix', 'fourier', 'spd') if f'{"pixel" if name == "pix" else name}_opt' in opt['train']}
    assert {name.removeprefix('l_') for name in log if name.startswith('l_')} == losses
    assert all(math.isfinite(value) for value in log.values())
    after = model.net_g.state_dict()
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert len(moved) > 0.9 * len(before), set(before) - set(moved)
    _validate(model, opt)
    assert set(model.metric_results) == set(opt['val']['metrics'])


@pytest.mark.parametrize('path', TEST)
def test_a_test_run_fills_its_table(path, project, monkeypatch):
    """The released kind of weights (heads included) go in; the columns of the paper's table come out."""
    monkeypatch.chdir(project)
    opt = _shrunken(path, project)
    weights = project / opt['path']['pretrain_network_g']
    weights.parent.mkdir(parents=True, exist_ok=True)
    network = {key: value for key, value in opt['network_g'].items() if key != 'type'}
    torch.save({'params': MIRAGEArch(**network).state_dict()}, weights)
    _validate(MIRAGEModel(opt), opt)
    content = json.loads((project / 'results' / opt['name'] / 'results.json').read_text())
    number = re.search(r'# Table (\S+):', GENERATED[path])[1]
    measured = {row['dataset'] for row in content['rows']}
    of_table = set(tables.published_table(number).data_sets)
    assert of_table <= measured or measured <= of_table  # Table D in two files; Urban100 beside Table B
    assert all(math.isfinite(row[metric]) for row in content['rows'] for metric in opt['val']['metrics'])


def _flat(options, prefix=''):
    if not isinstance(options, dict):
        return {prefix: options}
    return {k: v for name, value in options.items() for k, v in _flat(value, f'{prefix}:{name}'.strip(':')).items()}


@pytest.mark.parametrize('path', ABLATIONS)
def test_an_ablation_differs_only_in_the_keys_it_names(path):
    base, changed = _flat(_load(BASE)), _flat(_load(path))
    different = {key for key in base.keys() | changed.keys() if base.get(key) != changed.get(key)}
    line = next(line for line in GENERATED[path].splitlines() if 'Differs from' in line)
    named = line.partition(f'options/{BASE} in: ')[2].split(', ')
    assert len(named) >= 2
    for key in named:
        assert any(found == key or found.startswith(f'{key}:') for found in different), f'{key} is not different'
    for found in different:
        assert any(found == key or found.startswith(f'{key}:') for key in named), f'{found} is not named'


@pytest.mark.parametrize(
    ('path', 'iterations', 'paper'),
    [
        ('train_mirage_3deg.yml', 130 * 4450, 120),
        ('train_mirage_5deg.yml', 150 * 5082, 130),
        ('train_mirage_cdd11.yml', 170 * (52_052 // 32), None),
        ('train_mirage_weather_small.yml', 300_000, None),
    ],
)
def test_epochs_became_iterations(path, iterations, paper):
    opt = _load(path)['train']
    assert opt['total_iter'] == iterations
    assert opt['warmup_iter'] == iterations // 10
    line = next(line for line in GENERATED[path].splitlines() if 'total_iter' in line)
    assert paper is None or f'the paper: {paper} epochs' in line
    assert opt['optim_g'] == {'type': 'AdamW', 'lr': 2e-4, 'weight_decay': 0.01, 'betas': [0.9, 0.999]}
    assert (opt['fourier_opt']['loss_weight'], opt['spd_opt']['loss_weight']) == (0.1, 0.01)
