import os
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from mirage_arch.mirage_arch import MIRAGEArch
from mirage_ir.options import check
from mirage_ir.options import check_training as preflight_training
from mirage_ir.options.check import check_option_file, report, require_ok
from mirage_ir.options.file import OptionFile
from mirage_ir.training.selection import Selection

BASICSR_OPTIONS = sorted((Path(__file__).parent / 'basicsr_options').glob('*.yml'))

TINY = {'dim': 6, 'num_blocks': [1, 1, 1, 1], 'num_refinement_blocks': 1, 'heads': [1, 1, 1, 1]}

MIRAGE = """\
name: small
model_type: MIRAGEModel
scale: 1
num_gpu: 0
manual_seed: 0
datasets:
  train:
    name: mixture
    type: MixedDegradationDataset
    gt_size: 32
    use_hflip: true
    use_rot: true
    num_worker_per_gpu: 0
    batch_size_per_gpu: 2
    sources:
      - {task: denoise, dataroot_gt: photos, sigma: [15, 25], repeat: 2}
      - {task: derain, dataroot_lq: rain/lq, dataroot_gt: rain/gt, pairing: same_name}
  val_1:
    name: rain
    type: PairedTaskDataset
    task: derain
    dataroot_lq: rain/lq
    dataroot_gt: rain/gt
network_g:
  type: MIRAGEArch
  dim: 6
  num_blocks: [1, 1, 1, 1]
  num_refinement_blocks: 1
  heads: [1, 1, 1, 1]
path:
  pretrain_network_g: ~
  strict_load_g: true
  resume_state: ~
train:
  total_iter: 100
  warmup_iter: 10
  ema_decay: 0.99
  optim_g:
    type: AdamW
    lr: 2.0e-4
    weight_decay: 0.01
    betas: [0.9, 0.999]
  scheduler:
    type: CosineWithWarmup
  pixel_opt: {type: L1Loss, loss_weight: 1.0}
  fourier_opt: {type: FourierLoss, loss_weight: 0.1}
  spd_opt: {type: SPDContrastiveLoss, loss_weight: 0.01}
val:
  val_freq: 50
  save_img: false
  metrics:
    psnr: {type: psnr_float}
    ssim: {type: calculate_ssim, crop_border: 0}
logger:
  print_freq: 10
  save_checkpoint_freq: 50
  use_tb_logger: false
"""


PICTURE = cv2.imencode('.png', np.zeros((48, 48, 3), np.uint8))[1].tobytes()


def put_images(folder: Path, count: int = 3) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f'{number}.png').write_bytes(PICTURE)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with small data sets, which is the current one; returns a function that checks options in it."""
    monkeypatch.chdir(tmp_path)
    for folder in ('photos', 'rain/lq', 'rain/gt'):
        put_images(tmp_path / folder)

    def check(text=MIRAGE, **arguments):
        Path('options.yml').write_text(text, encoding='utf-8')
        return check_option_file('options.yml', **arguments)

    return check


def prepare_for(options: dict) -> None:
    """Makes what an option file of BasicSR names: folders, list files and weights."""
    from basicsr.archs import build_network  # here, because BasicSR can be imported only after mirage_ir

    for dataset in options['datasets'].values():
        for key, value in dataset.items():
            if not key.startswith(('dataroot', 'meta_info')) or Path(value).exists():
                continue
            path = Path(value)
            path.parent.mkdir(parents=True, exist_ok=True)
            if key.startswith('meta_info'):
                path.write_text('0001.png (8,8,3)\n' * 40)
            elif path.suffix == '.lmdb':
                path.mkdir()
                (path / 'data.mdb').touch()
                (path / 'meta_info.txt').write_text('0001.png (8,8,3) 1\n' * 40)
            else:
                put_images(path, 40)
    weights = options['path'].get('pretrain_network_g')
    if weights:
        Path(weights).parent.mkdir(parents=True, exist_ok=True)
        torch.save({'params': build_network(options['network_g']).state_dict()}, weights)


@pytest.mark.parametrize('source', BASICSR_OPTIONS, ids=lambda path: path.stem)
def test_option_files_of_basicsr_raise_no_alarm(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepare_for(yaml.safe_load(source.read_text().replace('!!float ', '')))
    assert check_option_file(source) == []


@pytest.mark.parametrize('source', BASICSR_OPTIONS, ids=lambda path: path.stem)
def test_those_files_are_not_simply_waved_through(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = check_option_file(source)
    options = yaml.safe_load(source.read_text().replace('!!float ', ''))
    folders = [key for d in options['datasets'].values() for key in d if key.startswith('dataroot')]
    assert sum(p.message.startswith('no such folder') for p in found) == len(folders)


def test_a_good_file_has_no_problems(project):
    assert project() == []


FAULTS = {
    'misspelt key': ('  total_iter: 100', '  total_itr: 100', 'train:total_itr', 'total_iter'),
    'and what it leaves out': ('  total_iter: 100', '  total_itr: 100', 'train:total_iter', 'whole number'),
    'unknown key of a source': (
        'sigma: [15, 25], repeat',
        'sigma: [15, 25], repeats',
        'datasets:train:sources:0:repeats',
        '`repeat`',
    ),
    'another size of crops in a source': (
        'sigma: [15, 25], repeat',
        'gt_size: 16, sigma: [15, 25], repeat',
        'datasets:train:sources:0:gt_size',
        'found 16, that of the mixture is 32',
    ),
    'unknown key at the top': ('manual_seed: 0', 'manual_sed: 0', 'manual_sed', 'manual_seed'),
    'text for a number': ('lr: 2.0e-4', 'lr: 2e-4', 'train:optim_g:lr', '0.0002'),
    'quoted number': ('total_iter: 100', "total_iter: '100'", 'train:total_iter', 'without quotation marks'),
    'fraction for a count': ('print_freq: 10', 'print_freq: 0.5', 'logger:print_freq', 'whole number'),
    'out of range': ('ema_decay: 0.99', 'ema_decay: 9.9', 'train:ema_decay', 'below 1'),
    'number for a name': ('name: small', 'name: 0042', 'name', 'quotation marks'),
    'nothing for a number': ('ema_decay: 0.99', 'ema_decay: ~', 'train:ema_decay', 'a number'),
    'a number in sixties': ('total_iter: 100', 'total_iter: 1:40', 'train:total_iter', 'read as 100'),
    'an octal number': ('total_iter: 100', 'total_iter: 0144', 'train:total_iter', 'write 100'),
    'a seed that NumPy does not take': ('manual_seed: 0', 'manual_seed: 5000000000', 'manual_seed', 'at most 4e+09'),
    'no learning rate': ('lr: 2.0e-4', 'lr: 0', 'train:optim_g:lr', 'above 0'),
    'a beta that averages nothing': ('[0.9, 0.999]', '[0.9, 1.0]', 'train:optim_g:betas', 'below 1'),
    'a folder without states': ('resume_state: ~', 'resume_state: photos', 'path:resume_state', 'training_states'),
    'an average of nothing new': ('ema_decay: 0.99', 'ema_decay: 1', 'train:ema_decay', 'below 1'),
    'quoted flag of the network': ('  dim: 6', '  dim: 6\n  fusion: "no"', 'network_g:fusion', 'true or false'),
    'one number for four levels': ('heads: [1, 1, 1, 1]', 'heads: 1', 'network_g:heads', '4 of them'),
    'one share for three branches': ('  dim: 6', '  dim: 6\n  branch_ratio: 1', 'network_g:branch_ratio', 'three'),
    'quoted width': ('  dim: 6', '  dim: "6"', 'network_g:dim', 'without quotation marks'),
    'no expansion': ('  dim: 6', '  dim: 6\n  ffn_expansion_factor: 0', 'network_g:ffn_expansion_factor', 'above 0'),
    'quoted flag of a metric': (
        'psnr_float}',
        'psnr_float, gt_mean: "no"}',
        'val:metrics:psnr:gt_mean',
        'without quotation marks',
    ),
    "quoted flag of BasicSR's metric": (
        'crop_border: 0}',
        'crop_border: 0, test_y_channel: "no"}',
        'val:metrics:ssim:test_y_channel',
        'true or false',
    ),
    'misspelt window': (
        'type: calculate_ssim, crop_border: 0',
        'type: ssim_float, window: gausian',
        'val:metrics:ssim:window',
        'mean `gaussian`',
    ),
    'pictures smaller than the crop': (
        '  save_img: false',
        '  save_img: false\n  crop_multiple: 200',
        'datasets:val_1',
        'too few for crop_multiple: 200',
    ),
    'metric called like a column': ('    psnr: {', '    images: {', 'val:metrics:images', 'column'),
    'loss that is no number': (
        'type: L1Loss, loss_weight: 1.0',
        'type: L1Loss, reduction: none',
        'train:pixel_opt:reduction',
        'mean, sum',
    ),
    'Fourier loss that is no number': (
        'type: FourierLoss, ',
        'type: FourierLoss, reduction: none, ',
        'train:fourier_opt:reduction',
        'mean, sum',
    ),
    'equal names of losses': (
        '  pixel_opt:',
        '  losses: [{type: MSELoss}, {type: MSELoss}]\n  pixel_opt:',
        'train:losses:1',
        'of its own',
    ),
    'teacher without weights': (
        '  pixel_opt:',
        '  teachers: [{tasks: [derain]}]\n  pixel_opt:',
        'train:teachers:0:pretrain_network',
        'a text',
    ),
    'weights of a teacher that are not there': (
        '  pixel_opt:',
        '  teachers: [{pretrain_network: gone.pth}]\n  pixel_opt:',
        'train:teachers:0:pretrain_network',
        'weights file',
    ),
    'teacher that is no weights': (
        '  pixel_opt:',
        '  teachers: [{pretrain_network: photos/0.png}]\n  pixel_opt:',
        'train:teachers:0:pretrain_network',
        'weights of MIRAGE',
    ),
    'teacher of what no sample is': (
        '  pixel_opt:',
        '  teachers: [{pretrain_network: gone.pth, tasks: [derian]}]\n  pixel_opt:',
        'train:teachers:0:tasks',
        '`derain`',
    ),
    'teacher of a noise level that is not there': (
        '  pixel_opt:',
        '  teachers: [{pretrain_network: gone.pth, tasks: [derain, denoise_50, denoise, derian]}]\n  pixel_opt:',
        'train:teachers:0:tasks',
        "'denoise_50', 'derian'",
    ),
    'two teachers of one task': (
        '  pixel_opt:',
        '  teachers: [{pretrain_network: gone.pth}, {pretrain_network: gone.pth}]\n  pixel_opt:',
        'train:teachers:1:tasks',
        'one of them',
    ),
    'tasks of a teacher that are no texts': (
        '  pixel_opt:',
        '  teachers: [{pretrain_network: gone.pth, tasks: [1]}]\n  pixel_opt:',
        'train:teachers:0:tasks',
        '[denoise, derain]',
    ),
    'share of a teacher': (
        '  pixel_opt:',
        '  teachers: [{pretrain_network: gone.pth, share: 0}]\n  pixel_opt:',
        'train:teachers:0:share',
        'above 0',
    ),
    'misspelt key of a teacher': (
        '  pixel_opt:',
        '  teachers: [{pretrain_network: gone.pth, shares: 1}]\n  pixel_opt:',
        'train:teachers:0:shares',
        '`share`',
    ),
    'loss of one picture': (
        '  pixel_opt:',
        '  losses: [{type: WeightedTVLoss}]\n  pixel_opt:',
        'train:losses:0:type',
        'takes (pred, weight)',
    ),
    'loss of a discriminator': (
        'type: L1Loss, loss_weight: 1.0',
        'type: GANLoss, gan_type: vanilla',
        'train:pixel_opt:type',
        'discriminator',
    ),
    'schedule that ends before the run': (
        'type: CosineWithWarmup',
        'type: CosineWithWarmup\n    total_iter: 60',
        'train:scheduler:total_iter',
        'leave it out',
    ),
    'rate that rises': (
        'type: CosineWithWarmup',
        'type: CosineWithWarmup\n    eta_min: 1',
        'train:scheduler:eta_min',
        'above the rate',
    ),
    'one beta': ('[0.9, 0.999]', '[0.9]', 'train:optim_g:betas', '2 of them'),
    'list for a word': ('type: CosineWithWarmup', 'type: []', 'train:scheduler:type', 'a text'),
    'flag as a text': ('save_img: false', 'save_img: "no"', 'val:save_img', 'true or false'),
    'unknown model': ('model_type: MIRAGEModel', 'model_type: MirageModel', 'model_type', 'MIRAGEModel'),
    'unknown network': ('type: MIRAGEArch', 'type: MIRAGEArc', 'network_g:type', 'MIRAGEArch'),
    'unknown argument of the network': ('  dim: 6', '  dims: 6', 'network_g:dims', '`dim`'),
    'width that does not divide': ('  dim: 6', '  dim: 10', 'network_g:dim', 'fit together'),
    'heads that do not divide': ('heads: [1, 1, 1, 1]', 'heads: [1, 1, 1, 5]', 'network_g:heads', 'fit together'),
    'unknown data set': (
        'type: PairedTaskDataset',
        'type: PairedTaskDatasets',
        'datasets:val_1:type',
        'PairedTaskDataset',
    ),
    'unknown phase': ('  val_1:', '  vall:', 'datasets:vall', 'val'),
    'missing folder': ('dataroot_gt: photos', 'dataroot_gt: fotos', 'datasets:train:sources:0:dataroot_gt', 'path'),
    'unknown pairing': ('pairing: same_name', 'pairing: same_nam', 'datasets:train:sources:1:pairing', 'rules'),
    'unknown loss': ('type: FourierLoss', 'type: FourrierLoss', 'train:fourier_opt:type', 'FourierLoss'),
    'unknown argument of a loss': (
        '{type: FourierLoss, ',
        '{type: FourierLoss, weight: 1, ',
        'train:fourier_opt:weight',
        'loss_weight',
    ),
    'unknown metric': ('type: psnr_float', 'type: psnr_flaot', 'val:metrics:psnr:type', 'psnr_float'),
    'missing argument of a metric': (', crop_border: 0}', '}', 'val:metrics:ssim:crop_border', 'add'),
    'unknown optimizer': ('type: AdamW', 'type: Lion', 'train:optim_g:type', 'AdamW'),
    'unknown scheduler': ('type: CosineWithWarmup', 'type: CosineWarmup', 'train:scheduler:type', 'CosineWithWarmup'),
    'periods too short': (
        'type: CosineWithWarmup',
        'type: CosineAnnealingRestartLR\n    periods: [50, 40]\n    restart_weights: [1, 1]',
        'train:scheduler:periods',
        '[100]',
    ),
    'weights unlike periods': (
        'type: CosineWithWarmup',
        'type: CosineAnnealingRestartLR\n    periods: [50, 50]',
        'train:scheduler:restart_weights',
        'one value for each',
    ),
    'warm-up without end': ('warmup_iter: 10', 'warmup_iter: 100', 'train:warmup_iter', 'shorten'),
    'batch larger than the set': (
        'batch_size_per_gpu: 2',
        'batch_size_per_gpu: 16',
        'datasets:train:batch_size_per_gpu',
        'dataset_enlarge_ratio',
    ),
    'batch of one for the contrast': ('batch_size_per_gpu: 2', 'batch_size_per_gpu: 1', 'train:spd_opt', 'has one'),
    'parts of one for the contrast': (
        '  warmup_iter: 10',
        '  warmup_iter: 10\n  accumulate_grad: 2',
        'train:spd_opt',
        'one in each part',
    ),
    'crops of one pixel for the contrast': (
        'gt_size: 32',
        'gt_size: 8',
        'datasets:train:gt_size',
        'compares covariances',
    ),
    'on is no precision': ('  warmup_iter: 10', '  warmup_iter: 10\n  amp: on', 'train:amp', 'bf16'),
    'uneven parts of a batch': (
        '  warmup_iter: 10',
        '  warmup_iter: 10\n  accumulate_grad: 3',
        'train:accumulate_grad',
        'divisor',
    ),
    'validation without its interval': ('  val_freq: 50\n', '', 'val:val_freq', 'add'),
    'no section for logging': (
        'logger:\n  print_freq: 10\n  save_checkpoint_freq: 50\n  use_tb_logger: false\n',
        '',
        'logger',
        'print_freq',
    ),
    'statistics that nobody has measured': (
        '  warmup_iter: 10',
        '  warmup_iter: 10\n  freeze_bn: true',
        'train:freeze_bn',
        'path:pretrain_network_g',
    ),
    'absent weights': ('pretrain_network_g: ~', 'pretrain_network_g: w.pth', 'path:pretrain_network_g', 'weights'),
    'absent state': ('resume_state: ~', 'resume_state: 5.state', 'path:resume_state', 'training_states'),
    'contrast without embeddings': (
        MIRAGE[MIRAGE.index('  type: MIRAGEArch') : MIRAGE.index('path:')],
        '  type: EDSR\n  num_in_ch: 3\n  num_out_ch: 3\n',
        'train:spd_opt',
        'no embeddings',
    ),
    'contrast without heads': ('  dim: 6', '  dim: 6\n  spd_head: false', 'network_g:spd_head', 'or the loss'),
    'misspelt geometry': ('  dim: 6', '  dim: 6\n  geometry: cholesqy', 'network_g:geometry', 'mean `cholesky`'),
    'misspelt similarity': (
        'loss_weight: 0.01}',
        'loss_weight: 0.01, similarity: afine_invariant}',
        'train:spd_opt:similarity',
        'mean `affine_invariant`',
    ),
    'shrinkage out of range': (
        'loss_weight: 0.01}',
        'loss_weight: 0.01, shrinkage: 2}',
        'train:spd_opt:shrinkage',
        'at most 1',
    ),
    'distance of vectors': (
        'loss_weight: 0.01}',
        'loss_weight: 0.01, similarity: log_euclidean}',
        'train:spd_opt:similarity',
        'set network_g:geometry: covariance',
    ),
    'cosine of matrices': (
        '  dim: 6',
        '  dim: 6\n  geometry: covariance',
        'network_g:geometry',
        'set similarity to affine_invariant',
    ),
    'misspelt argument of a search': (
        '  type: MIRAGEArch',
        '  type: RatioSearchArch\n  hardn_at: 0.5',
        'network_g:hardn_at',
        'mean `harden_at`',
    ),
    'a share that cannot grow': (
        '  type: MIRAGEArch',
        '  type: RatioSearchArch\n  branch_ratio: [1, 0, 1]',
        'network_g:branch_ratio',
        'above 0',
    ),
    'too many GPUs': ('num_gpu: 0', 'num_gpu: 99', 'num_gpu', 'num_gpu'),
    'merged section': ('  pixel_opt:', '  <<: {}\n  pixel_opt:', 'train:<<', 'write the keys out'),
    'word where a section belongs': (
        '  fourier_opt: {type: FourierLoss, loss_weight: 0.1}',
        '  fourier_opt: on',
        'train:fourier_opt',
        'section',
    ),
}


@pytest.mark.parametrize('old, new, key, cure', FAULTS.values(), ids=FAULTS.keys())
def test_each_fault_is_found_with_key_line_and_cure(project, old, new, key, cure):
    text = MIRAGE.replace(old, new)
    assert text != MIRAGE
    found = [p for p in project(text) if p.key == key]
    assert len(found) == 1, project(text)
    assert cure in f'{found[0].message} {found[0].cure}'
    present = key.split(':')[-1]
    if found[0].line and f'{present}:' in new:
        assert f'{present}:' in text.splitlines()[found[0].line - 1]


def test_all_faults_are_listed_at_once_in_the_order_of_the_lines(project):
    found = project(
        MIRAGE.replace('ema_decay: 0.99', 'ema_decay: 9.9')
        .replace('dim: 6', 'dim: 7')
        .replace('psnr_float', 'psnr_flot')
    )
    assert [p.key for p in found] == ['network_g:dim', 'train:ema_decay', 'val:metrics:psnr:type']
    assert [p.line for p in found] == sorted(p.line for p in found)


def test_a_key_given_twice_is_named_with_both_lines(project):
    found = project(MIRAGE.replace('  total_iter: 100', '  total_iter: 100\n  total_iter: 200'))
    assert [p.key for p in found] == ['train:total_iter']
    assert 'line 36' in found[0].message and 'line 35' in found[0].cure


def test_missing_folder_of_a_known_data_set_says_what_belongs_there_and_offers_the_quickstart(
    project, tmp_path, monkeypatch
):
    found = project(MIRAGE.replace('rain/lq', 'datasets/Train/Derain/rainy'))
    assert 'mirage-basicsr prepare rain100l' in found[0].cure and '200' in found[0].cure
    assert found[1].cure == f'as for line {found[0].line}'
    quickstart = tmp_path / 'my project' / 'scripts' / 'quickstart.sh'
    quickstart.parent.mkdir(parents=True)
    quickstart.touch()
    monkeypatch.setattr(check, '__file__', str(tmp_path / 'my project' / 'mirage_ir' / 'options' / 'check.py'))
    assert shlex.split(report(found).splitlines()[-1])[-2:] == ['bash', str(quickstart)]


def test_an_empty_folder_is_a_problem(project):
    Path('empty').mkdir()
    found = project(MIRAGE.replace('dataroot_gt: photos', 'dataroot_gt: empty'))
    assert [p.message for p in found] == ['no image in the folder: empty']


def test_data_sets_of_ours_judge_their_files_themselves(project):
    for name in Path('rain/gt').iterdir():
        name.rename(name.with_stem('other' + name.stem))
    found = project()
    assert {p.key for p in found} == {'datasets:train', 'datasets:val_1'} and 'has a partner' in found[0].message


def test_sources_without_a_size_of_the_mixture_must_agree(project):
    own = MIRAGE.replace('    gt_size: 32\n', '').replace('{task: denoise,', '{task: denoise, gt_size: 32,')
    assert [p.key for p in project(own)] == ['datasets:train:gt_size']
    found = project(own.replace('{task: derain,', '{task: derain, gt_size: 16,'))
    assert [p.key for p in found] == ['datasets:train:gt_size', 'datasets:train:sources:1:gt_size']
    assert 'that of sources:0 is 32' in found[1].message


def test_an_image_listed_again_is_a_warning_with_its_line(project, caplog, monkeypatch):
    Path('list.txt').write_text('0.png\n1.png\n0.png\n')
    listed = MIRAGE.replace('\nnetwork_g:', '\n    meta_info_file: list.txt\nnetwork_g:')
    assert project(listed) == []
    (record,) = caplog.records
    line = 1 + listed.splitlines().index('    meta_info_file: list.txt')
    assert record.getMessage().startswith(f'options.yml:{line}: datasets:val_1: warning: ')
    assert 'list.txt: 1 lines name an image' in record.getMessage() and "'0.png' (lines 1 and 3)" in record.getMessage()
    monkeypatch.setenv('RANK', '1')
    assert project(listed) == [] and len(caplog.records) == 1
    monkeypatch.delenv('RANK')
    weighed = MIRAGE.replace('pairing: same_name}', 'pairing: same_name, meta_info_file: list.txt}')
    assert project(weighed) == [] and len(caplog.records) == 1


def test_what_a_folder_passes_over_is_left_to_the_run_that_builds_it(project, caplog):
    Path('photos/e.avif').touch()
    assert project() == [] and not caplog.records


def test_teachers_of_what_is_left_out_raise_no_alarm(project):
    torch.save({'params': MIRAGEArch(**TINY).state_dict()}, 'teacher.pth')
    text = MIRAGE.replace(
        '  pixel_opt:', '  teachers: [{pretrain_network: teacher.pth, tasks: [derain]}]\n  pixel_opt:'
    )
    assert project(text) == []
    assert project(text, selection=Selection(without=('derain',))) == []


def test_a_wrong_data_set_is_what_is_wrong_not_its_teachers(project):
    text = MIRAGE.replace(
        '  pixel_opt:', '  teachers: [{pretrain_network: teacher.pth, tasks: [dehaze]}]\n  pixel_opt:'
    )
    keys = {problem.key for problem in project(text.replace('[15, 25]', "['15', 25]"))}
    assert 'train:teachers:0:tasks' not in keys and any('sigma' in key for key in keys)


def test_weights_must_fit_the_network(project):
    torch.save({'params': MIRAGEArch(**TINY).state_dict()}, 'six.pth')
    named = MIRAGE.replace('pretrain_network_g: ~', 'pretrain_network_g: six.pth')
    assert project(named) == []
    found = project(named.replace('dim: 6', 'dim: 12'))
    assert [p.key for p in found] == ['path:pretrain_network_g'] and 'six.pth' in found[0].message
    plain = plain_model(named)
    assert project(plain) == []
    assert [p.key for p in project(plain.replace('dim: 6', 'dim: 12'))] == ['path:pretrain_network_g']


def test_a_resumed_run_does_not_need_its_first_weights(project):
    named = MIRAGE.replace('pretrain_network_g: ~', 'pretrain_network_g: gone.pth')
    assert project(named, resuming=True)  # no state yet: the run would start from the weights
    Path('experiments/small/training_states').mkdir(parents=True)
    Path('experiments/small/training_states/50.state').touch()
    assert project(named, resuming=True) == []


def test_disk_space_for_the_checkpoints(project, monkeypatch):
    values = sum(p.numel() for p in MIRAGEArch(**TINY).parameters())
    room = 3 * 4 * 4 * values  # three checkpoints: weights, their average and two moments, 4 bytes each
    usage = preflight_training.shutil.disk_usage('.')
    monkeypatch.setattr(preflight_training.shutil, 'disk_usage', lambda path: usage._replace(free=room))
    often = MIRAGE.replace('save_checkpoint_freq: 50', 'save_checkpoint_freq: 1')
    found = project(often)
    assert [p.key for p in found] == ['logger:save_checkpoint_freq'] and '101 checkpoints' in found[0].message
    assert project(often + '  keep_checkpoints: 1\n') == []


def test_values_of_the_command_line_are_checked_in_their_place(project):
    assert project(MIRAGE.replace('dim: 6', 'dim: 7'), force_yml=['network_g:dim=6']) == []
    found = project(force_yml=['train:ema_decay=7', 'nothing:here=1'])
    assert sorted((p.file, p.line, p.key) for p in found) == [
        ('--force_yml', 0, 'nothing:here'),
        ('--force_yml', 0, 'train:ema_decay'),
    ]


def test_relative_paths_are_also_looked_up_in_the_project(project, tmp_path, monkeypatch):
    project()
    elsewhere = tmp_path / 'else where'
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert check_option_file('../options.yml', root=tmp_path) == []
    assert check_option_file('../options.yml')


def plain_model(text):
    """The options for BasicSR's own model, which knows neither our losses nor our scheduler."""
    lines = [line for line in text.splitlines() if not any(word in line for word in ('fourier_opt', 'spd_opt', 'ema_'))]
    text = '\n'.join(lines).replace('MIRAGEModel', 'SRModel').replace('AdamW', 'Adam')
    return text.replace('CosineWithWarmup', 'MultiStepLR\n    milestones: [50]')


def test_plain_srmodel_cannot_average_batch_norm(project):
    found = project(plain_model(MIRAGE).replace('total_iter: 100', 'total_iter: 100\n  ema_decay: 0.9'))
    assert [p.key for p in found] == ['train:ema_decay'] and 'MIRAGEModel' in found[0].cure


def test_plain_srmodel_in_distributed_training_needs_no_idle_heads(project):
    text = plain_model(MIRAGE)
    assert project(text) == []
    found = project(text, launcher='pytorch')
    assert [p.key for p in found] == ['network_g:spd_head']
    assert project(text.replace('  dim: 6', '  dim: 6\n  spd_head: false'), launcher='pytorch') == []


def test_a_model_derived_from_ours_is_treated_as_ours(project, monkeypatch):
    from basicsr.utils.registry import MODEL_REGISTRY

    derived = type('TheirModel', (MODEL_REGISTRY.get('MIRAGEModel'),), {'__module__': 'their_project'})
    monkeypatch.setitem(MODEL_REGISTRY._obj_map, 'TheirModel', derived)
    assert project(MIRAGE.replace('MIRAGEModel', 'TheirModel')) == []
    assert [p.key for p in project(MIRAGE.replace('MIRAGEModel', 'TheirModel').replace('ema_decay', 'ema_dekay'))] == [
        'train:ema_dekay'
    ]


def test_a_test_needs_a_data_set(project):
    found = project(MIRAGE[: MIRAGE.index('  train:')].replace('datasets:', 'datasets: {}'), is_train=False)
    assert ('datasets', 'no data set to test on') in [(p.key, p.message) for p in found]


def test_reading_a_file_never_runs_code_from_it(project):
    found = project('name: !!python/object/apply:os.mkdir [made]\n')
    assert 'run' in found[0].message and not Path('made').exists()


@pytest.mark.parametrize(
    'text, word',
    [
        ('', 'no options'),
        ('- a\n', 'top level'),
        ('name: [1\n', 'not valid YAML'),
        ('a:\n\tb: 1\n', 'tabs'),
        ('a: &x\n  b: *x\n', 'contains itself'),
        ('? [1, 2]\n: 3\n', 'stands where a key belongs'),
    ],
)
def test_what_is_no_option_file(project, text, word):
    found = project(text)
    assert word in f'{found[0].message} {found[0].cure}'


def test_a_pipe_is_no_option_file_and_keys_stay_in_their_line(project, tmp_path):
    os.mkfifo(tmp_path / 'pipe.yml')
    (found,) = check_option_file(tmp_path / 'pipe.yml')
    assert found.message == 'the option file is no ordinary file' and 'pipe.yml' not in found.cure
    (found,) = project(MIRAGE + '"a\\nerror: \\e[2J": 1\n')
    assert '\n' not in str(found).partition('\n   ->')[0] and '\x1b' not in str(found)


def test_an_absent_file_names_its_neighbour(project):
    project()
    found = check_option_file('option.yml')
    assert [p.message for p in found] == ['the option file does not exist'] and 'options.yml' in found[0].cure


def test_require_ok_lists_everything_and_ends_with_2(project, capsys):
    Path('bad.yml').write_text(MIRAGE.replace('dim: 6', 'dim: 7').replace('print_freq: 10', 'print_freq: 0'))
    with pytest.raises(SystemExit) as ended:
        require_ok('bad.yml', is_train=True)
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert '2 problems' in printed and 'network_g:dim' in printed and 'logger:print_freq' in printed
    assert sorted(p.name for p in Path.cwd().iterdir()) == ['bad.yml', 'photos', 'rain']


def test_lines_are_those_of_the_file(tmp_path):
    path = tmp_path / 'o.yml'
    path.write_text('# head\na:\n  - {b: 1}\n  - c: 2e3\n')
    options = OptionFile(path)
    assert options.line(('a',)) == 2 and options.line(('a', 1, 'c')) == 4 and options.line(('a', 1, 'd')) == 4
    assert options.unquoted == {('a', 1, 'c'): '2e3'}


@pytest.mark.parametrize(
    ('num_gpu', 'launcher', 'refused'),
    [
        ('auto', 'none', True),
        ('2', 'none', True),
        ('1', 'none', False),
        ('2', 'pytorch', False),
        ('0', 'none', False),
    ],
)
def test_compiling_for_several_gpus_in_one_process_is_refused(project, monkeypatch, num_gpu, launcher, refused):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    text = MIRAGE.replace('num_gpu: 0', f'num_gpu: {num_gpu}')
    text = text.replace('  warmup_iter: 10', '  warmup_iter: 10\n  compile: true')
    problems = [str(problem) for problem in project(text, launcher=launcher) if 'compile' in str(problem)]
    assert len(problems) == refused and all('torchrun' in problem for problem in problems)


@pytest.mark.parametrize(
    ('text', 'line'),
    [
        ('scale: !!int x', 2),
        ('d: !!timestamp 2020-99-99', 2),
        ('a: !foo', 2),
        ('a: !!omap [a]', 2),
        ('? [a]\n: 1', 2),
        ('a: ' + '[' * 5000, 2),
        ('n: ' + '7' * 5000, 2),
        ('a: &a [*a]', 2),
        (
            'a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b]\n'
            'd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d]\n'
            'f: [*e, *e, *e, *e, *e, *e]',
            7,
        ),
        ('a: !!binary "\u00e9"', 2),
    ],
)
def test_values_that_cannot_be_read_are_problems_with_their_line(project, text, line):
    problems = project(f'name: x\n{text}\n')
    assert problems and problems[0].line == line, report(problems)


@pytest.mark.parametrize('name', ['../../precious', '', '.', '..', 'x' * 300, 'a\x1b[31mb', 'a\nb', 'sub/x', 'a\\b'])
def test_names_that_are_no_plain_folder_name_are_refused(project, name):
    for forced in ('name', 'datasets:val_1:name', 'datasets:train:name'):
        problems = project(force_yml=[f'{forced}={name}'])
        assert forced in [problem.key for problem in problems]
