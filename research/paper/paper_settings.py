"""The paper's experiments as data: what each setting trains on, for how long, what it is tested on, and the ablations.

Folders, pairing rules and sampling ratios come from `mirage_data.sets.table`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mirage_data.degradations.cdd11 import TYPES as CDD11_TYPES
from mirage_data.sets.table import SETTINGS, data_set

DATA = 'datasets'
BATCH = 32


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
    *(
        Setting(
            task,
            f'{task[:-1] if task.endswith("e") else task}ing alone',
            (table,),
            tests,
            train=mixed(*_SINGLE[task][0]),
            samples=_SINGLE[task][1],
            epochs=(120, 120),
        )
        for task, table, tests in (
            ('denoise', 'B(c)', NOISE),
            ('derain', 'B(b)', ('Rain100L',)),
            ('dehaze', 'B(a)', ('SOTS',)),
        )
    ),
    Setting('uieb', 'zero-shot underwater', ('5',), ('UIEB',), remarks=('Weights of the five degradations.',)),
    *(
        Setting(
            display.lower().replace('-', ''),
            f'zero-shot under-display ({display})',
            ('D',),
            (display.replace('-', ''),),
            metrics=('psnr', 'ssim', 'lpips'),
            remarks=('The paper does not name the weights: those of the five degradations are assumed.',),
        )
        for display in ('T-OLED', 'P-OLED')
    ),
)


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
        return ['name', *_keys(self.network, 'network_g'), *_keys(self.train, 'train')]


def _keys(section: dict, name: str) -> list[str]:
    paths = [_keys(v, f'{name}:{k}') if isinstance(v, dict) else [f'{name}:{k}'] for k, v in section.items()]
    return [path for group in paths for path in group]


def _geodesic(distance: str) -> Ablation:
    """Contrast of covariances by their distance along geodesics, which the paper leaves as future work."""
    return Ablation(
        f'geodesic_{distance}',
        f'{distance.replace("_", "-")} distance of covariances instead of cosines (our row)',
        None,
        {'geometry': 'covariance'},
        {'spd_opt': {'similarity': distance}},
    )


ABLATIONS = (
    Ablation('attention_only', 'attention in all channels', ('7', 'att-only'), {'branch_ratio': [1, 0, 0]}),
    Ablation('no_conv_branch', 'no convolution branch', ('7', 'w/o DynamicConv'), {'branch_ratio': [1, 0, 1]}),
    Ablation('static_conv', 'a learned kernel instead of the dynamic one (our row)', None, {'dynamic_conv': False}),
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
    Ablation(
        'contrast_log_euclidean', 'logarithms of covariances projected (our row)', None, {'geometry': 'log_euclidean'}
    ),
    Ablation('contrast_cholesky', 'log-Cholesky coordinates projected (our row)', None, {'geometry': 'cholesky'}),
    Ablation(
        'learned_ratio',
        'shares of the branches learned with the network (our row)',
        None,
        {
            'type': 'RatioSearchArch',
            'harden_at': Note(0.75, 'of the run: from here the shares are whole channels and stay'),
            'softness': Note(0.1, 'first width of the edges between branches, of the channels'),
            'ratio_gain': Note(10.0, 'speed of the shares'),
        },
    ),
    *(_geodesic(distance) for distance in ('affine_invariant', 'log_euclidean', 'bures_wasserstein')),
)
