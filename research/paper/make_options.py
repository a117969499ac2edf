"""Write every option file of the paper's experiments into options/.

BasicSR's YAML has no inheritance, so each file must be complete, and forty complete files drift apart when they are
edited by hand. They are described here once; change this file and run

    python research/paper/make_options.py

`--check` only says which files differ. The experiments themselves are in `paper_settings.py`, the expected figures in
`mirage_ir/measuring/published_results.yml`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from research.common import ROOT, parser_of
from research.paper.paper_settings import ABLATIONS, BATCH, SETTINGS_OF_PAPER, TESTS, Ablation, Note, Setting


def render(comment: list[str], options: dict) -> str:
    """The file: comment lines, then the options, a blank line before every section."""
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


VARIANTS = {'tiny': 'MIRAGE-T', 'small': 'MIRAGE-S'}
WIDTH = {'tiny': (24, 2), 'small': (30, 3)}  # dim, refinement blocks

METRICS = {
    'psnr': {'type': 'psnr_float'},
    'ssim': {'type': 'ssim_float'},
    'psnr_y': {'type': 'calculate_psnr', 'crop_border': 0, 'test_y_channel': True},
    'ssim_y': {'type': 'calculate_ssim', 'crop_border': 0, 'test_y_channel': True},
    'lpips': {'type': 'lpips', 'net': 'alex', 'better': 'lower'},
}


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


def changed(options: dict, changes: dict) -> dict:
    """Options with other values: None leaves a key out, a section changes or adds some of its keys."""
    merged = {k: changed(options.get(k, {}), v) if isinstance(v, dict) else v for k, v in changes.items()}
    return {k: v for k, v in {**options, **merged}.items() if k not in changes or v is not None}


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
            'pin_memory': True,
            'prefetch_mode': None,
        }
    }
    for number, key in enumerate(setting.watched or setting.tests, 1):
        data[f'val_{number:02d}'] = TESTS[key]
    train = changed(training(setting), changes.train if changes else {})
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
    published = yaml.safe_load((ROOT / 'mirage_ir' / 'measuring' / 'published_results.yml').read_text(encoding='utf-8'))
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


def main(argv: list[str] | None = None) -> int:
    parser = parser_of(__doc__)
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
