"""Write every option file of the paper's experiments into options/.

BasicSR's YAML has no inheritance, so each file must be complete, and forty complete files drift apart when they are
edited by hand. They are described here once; change this file and run

    python scripts/make_options.py

`--check` only says which files differ. Folders, pairing rules and sampling ratios come from `mirage_data.tasks`,
expected figures from `mirage_ir/published_results.yml`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mirage_data.data_sets import CDD11_TYPES  # noqa: E402
from mirage_data.tasks import SETTINGS, data_set  # noqa: E402

DATA = 'datasets'
BATCH = 32
VARIANTS = {'tiny': 'MIRAGE-T', 'small': 'MIRAGE-S'}
WIDTH = {'tiny': (24, 2), 'small': (30, 3)}  # dim, refinement blocks


@dataclass(frozen=True)
class Note:
    """A value with the comment that stands behind it in the file."""

    value: Any
    comment: str


@dataclass(frozen=True)
class Setting:
    """One setting of the paper: what it trains on, for how long, and what it is tested on."""

    key: str
    title: str
    tables: tuple[str, ...]
    tests: tuple[str, ...]
    train: dict | None = None
    samples: int = 0  # per epoch
    epochs: tuple[int, int] = (0, 0)  # of the released code, of the paper
    iterations: int = 0
    watched: tuple[str, ...] = ()  # data sets validated while training, where not all of `tests`
    crop_multiple: int = 16
    metrics: tuple[str, ...] = ('psnr', 'ssim')
    remarks: tuple[str, ...] = ()

    @property
    def total_iter(self) -> int:
        return self.iterations or self.samples // BATCH * self.epochs[0]

    @property
    def length_comment(self) -> str:
        if self.iterations:
            return 'the paper'
        per_epoch = self.samples // BATCH
        released, paper = self.epochs
        comment = f'{released} epochs of {per_epoch:,} iterations ({self.samples:,} samples)'
        return comment if released == paper else f'{comment}; the paper: {paper} epochs'


def mixed(*sources: dict) -> dict:
    return {'type': 'MixedDegradationDataset', 'sources': list(sources)}


def sources_of(setting: str, tasks: tuple[str, ...] = ()) -> tuple[list[dict], int]:
    """Sources of a training setting, and its samples per epoch."""
    chosen = [s for s in SETTINGS[setting] if not tasks or s.task.split('_')[0] in tasks]
    return [_source(s) for s in chosen], sum(s.samples for s in chosen)


def _source(source) -> dict:
    part = data_set(source.datasets[0]).parts_of('train')[0]
    entry = {'task': source.task, 'dataroot_gt': f'{DATA}/{part.gt}'}
    if part.lq is not None:
        entry['dataroot_lq'] = f'{DATA}/{part.lq}'
        entry['pairing'] = part.pairing
    if source.sigma is not None:
        entry['sigma'] = source.sigma
    count = sum(
        p.gt_count if p.lq is None else p.lq_count for name in source.datasets for p in data_set(name).parts_of('train')
    )
    entry['repeat'] = Note(source.repeat, f'{source.repeat * count:,} samples an epoch')
    return entry


def paired(name: str, title: str, task: str, degradation: str = '') -> dict:
    part = next(p for p in data_set(name).parts_of('test') if not degradation or p.degradation == degradation)
    return {
        'name': title,
        'type': 'PairedTaskDataset',
        'task': task,
        'dataroot_gt': f'{DATA}/{part.gt}',
        'dataroot_lq': f'{DATA}/{part.lq}',
        'pairing': part.pairing,
        'io_backend': {'type': 'disk'},
    }


def noisy(name: str, title: str, sigma: int) -> dict:
    part = data_set(name).parts_of('test')[0]
    return {
        'name': f'{title}_{sigma}',
        'type': 'GaussianDenoiseDataset',
        'task': f'denoise_{sigma}',
        'dataroot_gt': f'{DATA}/{part.gt}',
        'sigma': sigma,
        'crop_multiple': Note(16, 'before the noise is drawn'),
        'noise_order': Note('per_file', "authors: the released code's single stream over all files and sigmas"),
        'io_backend': {'type': 'disk'},
    }


def composite(degradation: str) -> dict:
    return {
        'name': f'CDD11_{degradation}',
        'type': 'CompositeDegradationDataset',
        'dataroot': f'{DATA}/CDD-11/test',
        'types': degradation,
        'io_backend': {'type': 'disk'},
    }


TESTS = {
    'SOTS': paired('sots', 'SOTS', 'dehaze'),
    'Rain100L': paired('rain100l', 'Rain100L', 'derain'),
    'GoPro': paired('gopro', 'GoPro', 'deblur'),
    'LOL': paired('lol', 'LOL', 'enhance'),
    'Snow100K-S': paired('snow100k', 'Snow100K-S', 'desnow', 'snow100k_s'),
    'Snow100K-L': paired('snow100k', 'Snow100K-L', 'desnow', 'snow100k_l'),
    'Outdoor-Rain': paired('outdoor_rain', 'Outdoor-Rain', 'derain'),
    'RainDrop': paired('raindrop', 'RainDrop', 'raindrop'),
    'UIEB': paired('uieb', 'UIEB', 'underwater'),
    'TOLED': paired('toled', 'TOLED', 'display'),
    'POLED': paired('poled', 'POLED', 'display'),
    **{f'{t}_{s}': noisy(n, t, s) for n, t in (('bsd68', 'BSD68'), ('urban100', 'Urban100')) for s in (15, 25, 50)},
    **{f'CDD11_{t}': composite(t) for t in CDD11_TYPES},
}
NOISE = tuple(f'{name}_{sigma}' for name in ('BSD68', 'Urban100') for sigma in (15, 25, 50))

_SOURCES = {key: sources_of(key) for key in SETTINGS}
_SINGLE = {task: sources_of('3deg', (task,)) for task in ('denoise', 'derain', 'dehaze')}
_ALLWEATHER = data_set('allweather').parts_of('train')[0]
_CLEAR = data_set('cdd11').parts_of('train')[0].gt_count

SETTINGS_OF_PAPER = (
    Setting(
        '3deg',
        'three degradations',
        ('1',),
        ('SOTS', 'Rain100L', 'BSD68_15', 'BSD68_25', 'BSD68_50'),
        train=mixed(*_SOURCES['3deg'][0]),
        samples=_SOURCES['3deg'][1],
        epochs=(130, 120),
    ),
    Setting(
        '5deg',
        'five degradations',
        ('2',),
        ('SOTS', 'Rain100L', 'BSD68_25', 'GoPro', 'LOL'),
        train=mixed(*_SOURCES['5deg'][0]),
        samples=_SOURCES['5deg'][1],
        epochs=(150, 130),
    ),
    Setting(
        'cdd11',
        'composite degradations',
        ('3',),
        tuple(f'CDD11_{t}' for t in CDD11_TYPES),
        train={
            'type': 'CompositeDegradationDataset',
            'dataroot': f'{DATA}/CDD-11/train',
            'types': 'all',
            'repeat': Note(4, f'{4 * 11 * _CLEAR:,} samples an epoch, types drawn uniformly'),
        },
        samples=4 * 11 * _CLEAR,
        epochs=(170, 170),
        crop_multiple=0,
        remarks=('Test images are not cropped in this setting.',),
    ),
    Setting(
        'weather',
        'adverse weather',
        ('4',),
        ('Snow100K-S', 'Snow100K-L', 'Outdoor-Rain', 'RainDrop'),
        train=mixed(
            {
                'task': 'weather',
                'dataroot_gt': f'{DATA}/{_ALLWEATHER.gt}',
                'dataroot_lq': f'{DATA}/{_ALLWEATHER.lq}',
                'pairing': _ALLWEATHER.pairing,
                'repeat': 1,
            }
        ),
        iterations=300_000,
        watched=('Outdoor-Rain', 'RainDrop'),
        metrics=('psnr', 'ssim', 'psnr_y', 'ssim_y'),
        remarks=(
            'Peers measure on the Y channel of 8-bit images: psnr_y and ssim_y. The paper does not say which it shows.',
        ),
    ),
    Setting(
        'denoise',
        'denoising alone',
        ('B(c)',),
        NOISE,
        train=mixed(*_SINGLE['denoise'][0]),
        samples=_SINGLE['denoise'][1],
        epochs=(120, 120),
    ),
    Setting(
        'derain',
        'deraining alone',
        ('B(b)',),
        ('Rain100L',),
        train=mixed(*_SINGLE['derain'][0]),
        samples=_SINGLE['derain'][1],
        epochs=(120, 120),
    ),
    Setting(
        'dehaze',
        'dehazing alone',
        ('B(a)',),
        ('SOTS',),
        train=mixed(*_SINGLE['dehaze'][0]),
        samples=_SINGLE['dehaze'][1],
        epochs=(120, 120),
    ),
    Setting('uieb', 'zero-shot underwater', ('5',), ('UIEB',), remarks=('Weights of the five degradations.',)),
    Setting(
        'toled',
        'zero-shot under-display (T-OLED)',
        ('D',),
        ('TOLED',),
        metrics=('psnr', 'ssim', 'lpips'),
        remarks=('The paper does not name the weights: those of the five degradations are assumed.',),
    ),
    Setting(
        'poled',
        'zero-shot under-display (P-OLED)',
        ('D',),
        ('POLED',),
        metrics=('psnr', 'ssim', 'lpips'),
        remarks=('The paper does not name the weights: those of the five degradations are assumed.',),
    ),
)

METRICS = {
    'psnr': {'type': 'psnr_float'},
    'ssim': {'type': 'ssim_float'},
    'psnr_y': {'type': 'calculate_psnr', 'crop_border': 0, 'test_y_channel': True},
    'ssim_y': {'type': 'calculate_ssim', 'crop_border': 0, 'test_y_channel': True},
    'lpips': {'type': 'lpips', 'net': 'alex', 'better': 'lower'},
}


@dataclass(frozen=True)
class Ablation:
    """A row of Tables 7 and C: the base file with some keys changed (a value) or left out (None)."""

    key: str
    title: str
    row: tuple[str, str] | None  # table, method
    network: dict = field(default_factory=dict)
    train: dict = field(default_factory=dict)

    @property
    def changes(self) -> list[str]:
        """The keys in which the file differs from its base, as `section:key`."""
        return ['name', *(f'network_g:{key}' for key in self.network), *(f'train:{key}' for key in self.train)]


ABLATIONS = (
    Ablation('attention_only', 'attention in all channels', ('7', 'att-only'), {'branch_ratio': [1, 0, 0]}),
    Ablation('no_conv_branch', 'no convolution branch', ('7', 'w/o DynamicConv'), {'branch_ratio': [1, 0, 1]}),
    Ablation(
        'static_conv', 'a learned kernel instead of the dynamic one (our row)', None, {'dynamic_conv': False}
    ),
    Ablation('no_channel_mlp', 'no MLP branch', ('7', 'w/o C-MLP'), {'branch_ratio': [1, 1, 0]}),
    Ablation('no_fusion', 'branches concatenated', ('7', 'w/o Fusion (i.e. Cat()-Only)'), {'fusion': False}),
    Ablation(
        'no_contrast', 'no contrastive loss, no heads', ('7', 'w/o CL & SPD'), {'spd_head': False}, {'spd_opt': None}
    ),
    Ablation(
        'euclidean_contrast',
        'contrastive loss on pooled features instead of covariances',
        ('7', 'w/o SPD (CL Euclidean)'),
        {'contrast': 'euclidean'},
    ),
    Ablation('no_fourier', 'no Fourier loss', ('C', 'w/o Fourier Loss'), train={'fourier_opt': None}),
    Ablation('spd_tap_patch_embed', 'shallow feature of Algorithm B (our row)', None, {'spd_tap': 'patch_embed'}),
)


def network(variant: str, changes: dict | None = None) -> dict:
    dim, refinement = WIDTH[variant]
    options = {
        'type': 'MIRAGEArch',
        'inp_channels': 3,
        'out_channels': 3,
        'dim': dim,
        'num_blocks': [3, 5, 5, 7],
        'num_refinement_blocks': refinement,
        'heads': [1, 2, 4, 8],
        'ffn_expansion_factor': 2.0,
        'bias': False,
        'drop_path_rate': 0.1,
        'branch_ratio': Note([1, 1, 1], 'attention, convolution, MLP'),
        'fusion': True,
        'dynamic_conv': True,
        'spd_head': True,
        'contrast': 'spd',
        'spd_tap': Note('level1', 'as released; Algorithm B: patch_embed'),
    }
    return {**options, **(changes or {})}


def training(setting: Setting) -> dict:
    total = setting.total_iter
    return {
        'total_iter': Note(total, setting.length_comment),
        'warmup_iter': Note(total // 10, 'the first 10 %; the paper: none'),
        'optim_g': {
            'type': Note('AdamW', 'the paper: Adam, without weight decay'),
            'lr': 0.0002,
            'weight_decay': 0.01,
            'betas': [0.9, 0.999],
        },
        'scheduler': {'type': 'CosineWithWarmup', 'eta_min': 0},
        'ema_decay': 0,
        'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
        'fourier_opt': {'type': 'FourierLoss', 'loss_weight': 0.1, 'reduction': 'mean'},
        'spd_opt': {
            'type': 'SPDContrastiveLoss',
            'loss_weight': Note(0.01, 'the paper: 0.05'),
            'temperature': 0.1,
            'symmetric': False,
        },
        'amp': Note('off', 'bf16 is faster on a GPU; the released weights were trained in fp32'),
        'channels_last': True,
    }


def round_down(value: float) -> int:
    """To two significant digits, at least 1."""
    step = 10 ** max(len(str(int(value))) - 2, 0)
    return max(int(value) // step * step, 1)


def validation(setting: Setting, names: tuple[str, ...], testing: bool) -> dict:
    metrics = {name: METRICS[name] for name in names}
    crop = Note(setting.crop_multiple, 'centre crop; 0: none')
    if testing:
        return {'save_img': True, 'suffix': None, 'crop_multiple': crop, 'pbar': True, 'metrics': metrics}
    return {
        'val_freq': round_down(setting.total_iter / 30),
        'save_img': False,
        'suffix': None,
        'crop_multiple': crop,
        'metrics': metrics,
    }


def train_file(setting: Setting, variant: str, name: str, changes: Ablation | None = None) -> dict:
    data = {
        'train': {
            'name': f'{setting.key}_train',
            **setting.train,
            'gt_size': 128,
            'use_hflip': True,
            'use_rot': True,
            'augment': Note('dihedral7', 'one of the seven flips and turns; the paper: flips'),
            'crop_multiple': 16,
            'on_error': 'raise',
            'io_backend': {'type': 'disk'},
            'num_worker_per_gpu': 16,
            'batch_size_per_gpu': Note(BATCH, 'on one GPU; the learning rate belongs to this total'),
            'prefetch_mode': None,
        }
    }
    for number, key in enumerate(setting.watched or setting.tests, 1):
        data[f'val_{number:02d}'] = TESTS[key]
    train = training(setting)
    if changes:
        train = {k: changes.train.get(k, v) for k, v in train.items() if changes.train.get(k, v) is not None}
    return {
        'name': name,
        'model_type': 'MIRAGEModel',
        'num_gpu': 'auto',
        'manual_seed': 0,
        'datasets': data,
        'network_g': network(variant, changes.network if changes else None),
        'path': {'pretrain_network_g': None, 'strict_load_g': True, 'resume_state': None},
        'train': train,
        'val': validation(setting, tuple(m for m in setting.metrics if m != 'lpips'), testing=False),
        'logger': {
            'print_freq': 100,
            'save_checkpoint_freq': 5000,
            'keep_checkpoints': 10,
            'use_tb_logger': True,
            'wandb': {'project': None, 'resume_id': None},
        },
        'dist_params': {'backend': 'nccl', 'port': 29500},
    }


def test_file(setting: Setting, variant: str, name: str, weights: str) -> dict:
    return {
        'name': name,
        'model_type': 'MIRAGEModel',
        'num_gpu': 'auto',
        'manual_seed': 0,
        'datasets': {f'test_{number:02d}': TESTS[key] for number, key in enumerate(setting.tests, 1)},
        'network_g': network(variant),
        'path': {
            'pretrain_network_g': Note(weights, "or the authors' checkpoint, as it is"),
            'param_key_g': 'params',
            'strict_load_g': True,
        },
        'val': validation(setting, setting.metrics, testing=True),
    }


def expected(table: str, method: str, columns: tuple[str, ...] = ()) -> list[str]:
    """The published figures of one row, `column psnr / ssim [/ lpips]`, or that there are none."""
    published = yaml.safe_load((ROOT / 'mirage_ir' / 'published_results.yml').read_text(encoding='utf-8'))
    entry = next(t for t in published if t['table'] == table)
    row = next((r for r in entry['rows'] if r['method'] == method), None)
    if row is None:
        return [f'not published for {method}']
    cells = []
    for column, scores in zip(entry['columns'], row['scores'], strict=True):
        if not columns or column in columns or column == 'average':
            digits = [f'{s:.2f}' if i == 0 else f'{s:.3f}' for i, s in enumerate(scores)]
            cells.append(f'{column} ' + ' / '.join(digits))
    return cells


def head(script: str, path: str, table: str, row: str, cells: list[str], remarks: tuple[str, ...] = ()) -> list[str]:
    """The comment at the top of a file: command, table, expected figure, remarks."""
    lines = [f'python basicsr/{script}.py -opt {path}', f'Table {table}: {row}']
    scores = 'PSNR / SSIM / LPIPS' if table == 'D' else 'PSNR / SSIM'
    text = f'Expected ({scores}): {cells[0]}'
    for cell in cells[1:]:
        if len(text) + len(cell) > 108:
            lines.append(text + ',')
            text = '  ' + cell
        else:
            text += ', ' + cell
    return ['# ' + line for line in [*lines, text, *remarks]]


def option_files() -> dict[str, str]:
    """Path below options/ -> text of every file."""
    files = {}
    for setting in SETTINGS_OF_PAPER:
        for variant, method in VARIANTS.items():
            ending = '' if variant == 'tiny' else '_small'
            table = setting.tables[0]
            cells = expected(table, method, setting.tests)
            row = f'{setting.title}, {method}'
            trained = setting.key if setting.train else '5deg'
            if setting.train:
                path = f'train_mirage_{setting.key}{ending}.yml'
                comment = head('train', f'options/{path}', table, row, cells, setting.remarks)
                files[path] = render(comment, train_file(setting, variant, f'train_mirage_{setting.key}{ending}'))
            path = f'test_{setting.key}{ending}.yml'
            weights = f'experiments/train_mirage_{trained}{ending}/models/net_g_latest.pth'
            comment = head('test', f'options/{path}', table, row, cells, setting.remarks)
            files[path] = render(comment, test_file(setting, variant, f'test_{setting.key}{ending}', weights))
    base = SETTINGS_OF_PAPER[0]
    for ablation in ABLATIONS:
        path = f'ablation/{ablation.key}.yml'
        table, method = ablation.row or ('7', 'none of the paper')
        cells = expected(table, method) if ablation.row else ['not published']
        difference = f'Differs from options/train_mirage_3deg.yml in: {", ".join(ablation.changes)}'
        comment = head('train', f'options/{path}', table, f'{ablation.title}, MIRAGE-T', cells, (difference,))
        files[path] = render(comment, train_file(base, 'tiny', f'ablation_{ablation.key}', ablation))
    return files


def render(comment: list[str], options: dict) -> str:
    lines = [*comment, '']
    for key, value in options.items():
        if isinstance(value, dict):
            lines.append('')
        lines += _entry(key, value, 0)
    return '\n'.join(lines) + '\n'


def _entry(key: str, value: Any, indent: int) -> list[str]:
    space, comment = ' ' * indent, ''
    if isinstance(value, Note):
        value, comment = value.value, f'  # {value.comment}'
    if isinstance(value, dict):
        inner = [line for k, v in value.items() for line in _entry(k, v, indent + 2)]
        flat = all(not isinstance(v, dict | list | Note) for v in value.values()) and len(value) == 1
        if flat:
            return [f'{space}{key}: {{{inner[0].strip()}}}']
        blank = [''] if key.startswith(('val_', 'test_')) and indent == 2 and not key.endswith('_channel') else []
        return [*blank, f'{space}{key}:', *inner]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        lines = [f'{space}{key}:']
        for item in value:
            inner = [line for k, v in item.items() for line in _entry(k, v, indent + 4)]
            lines += [f'{space}  - {inner[0].strip()}', *inner[1:]]
        return lines
    return [f'{space}{key}: {_scalar(value)}{comment}']


def _scalar(value: Any) -> str:
    if value is None:
        return '~'
    if isinstance(value, str):
        # Words that YAML 1.1 reads as true or false need quotation marks.
        return value if yaml.safe_load(value) == value else f"'{value}'"
    return yaml.safe_dump(value, default_flow_style=True).strip().removesuffix('...').strip()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--check', action='store_true', help='write nothing; exit 1 if a file differs')
    arguments = parser.parse_args(argv)
    files = option_files()
    folder = ROOT / 'options'
    different = [p for p, t in files.items() if not (folder / p).is_file() or (folder / p).read_text('utf-8') != t]
    for path in different:
        print(f'{"differs" if arguments.check else "writing"}: options/{path}')
        if not arguments.check:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(files[path], encoding='utf-8')
    print(f'{len(files)} files described, {len(different)} {"differ" if arguments.check else "written"}')
    return int(arguments.check and bool(different))


if __name__ == '__main__':
    sys.exit(main())
