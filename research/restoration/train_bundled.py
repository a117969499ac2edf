"""The weights in the package from nothing: every stage of research/restoration/stages.yml, one after the other.

    python -m research.restoration.train_bundled --list
    python -m research.restoration.train_bundled
    python -m research.restoration.train_bundled --stages bundled_09 bundled_10 --set datasets:train:gt_size=128

Before, `research/restoration/collect.py photographs` collects what stages 1 to 7 read, and its `pairs` what later ones
do. Each stage's option file is written below ``--out`` and trained by ``basicsr/train.py --auto_resume``: a finished
stage is passed over, an interrupted one goes on. At the end ``--out`` has the averaged weights that the package ships,
without contrastive heads; each is a stage of its own or a mixture of two (`package` in stages.yml).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mirage_data.files import plain_yaml
from mirage_ir.measuring.tables import markdown_table
from research.common import ROOT, parser_of
from research.restoration import deepen, mix_weights
from research.small_scale.variants import changed

STAGES = Path(__file__).with_name('stages.yml')
BASE = ROOT / 'options' / 'train_mirage_bundled.yml'
WEIGHTS = 'mirage_{}.safetensors'


def option_files(stages: Mapping, base: Mapping, folder: Path) -> dict[str, dict]:
    """The options of every stage, by its name.

    Args:
        stages: As read from stages.yml.
        base: The option file that the stages change.
        folder: Where mixtures of weights are kept.

    Raises:
        ValueError: A stage whose numbers of weights or shares are not those of the recipes and sources, or which begins
            with a stage that does not come before it.
    """
    files: dict[str, dict] = {}
    for stage in stages['stages']:
        name = stage['name']
        changes = {**stages['always'], **(stages['made'] if 'weights' in stage else {}), **stage['set']}
        options = changed(base, {tuple(key.split(':')): value for key, value in changes.items()})
        train = options['datasets']['train']
        if 'weights' in stage:
            _put(name, 'weights', train['recipe'], 'weight', stage['weights'])
            train['recipe'] += deepcopy(stage.get('extra', []))
        else:
            _put(name, 'shares', train['sources'], 'share', stage['shares'])
            _put(name, 'sepia', train['sources'][-2:], 'sepia', stage.get('sepia', [0, 0]))
            for key, source in zip(('detail', 'scenes'), train['sources'][-2:], strict=True):
                _put(name, key, source['recipe'], 'weight', stage[key])
                source['recipe'] = [entry for entry in source['recipe'] if entry['weight']]
            train['sources'][-1]['recipe'] += deepcopy(stage.get('extra', []))
            train['sources'] = [source for source in train['sources'] if source['share']]
        options['name'] = name
        before = stage['from']
        for each in before[:2] if isinstance(before, list) else [before] if before else []:
            if each not in files:
                raise ValueError(f'stage {name}: from: {each!r} is no stage before it; there are {", ".join(files)}')
        if isinstance(before, list) or stage.get('deepened'):
            options['path'].update(pretrain_network_g=str(folder / f'before_{name}.safetensors'))
        elif before:
            options['path'].update(pretrain_network_g=str(trained(files[before])), param_key_g='params_ema')
        files[name] = options
    return files


def _put(stage: str, key: str, entries: Sequence[dict], field: str, values: Sequence[float]) -> None:
    if len(values) != len(entries):
        raise ValueError(f'stage {stage}: {key} has {len(values)} values, one for each of {len(entries)} is allowed')
    for entry, value in zip(entries, values, strict=True):
        entry[field] = value


def trained(options: Mapping) -> Path:
    """The weights that a finished stage leaves, relative to the checkout."""
    return Path('experiments') / options['name'] / 'models' / f'net_g_{options["train"]["total_iter"]}.pth'


def train(stage: Mapping, files: Mapping[str, Mapping], arguments: argparse.Namespace) -> int:
    """Train one stage unless it is finished; the exit code of the run."""
    name, before = stage['name'], stage['from']
    options = files[name]
    if (ROOT / trained(options)).is_file():
        print(f'{name}: finished, {trained(options)}')
        return 0
    if isinstance(before, list) or stage.get('deepened'):
        start = Path(options['path']['pretrain_network_g'])
        if _mix(before, files, start):
            return 1
        if stage.get('deepened'):
            deepen.deepen(start, start)
    path = arguments.out / f'{name}.yml'
    path.write_text(yaml.safe_dump(dict(options), sort_keys=False), encoding='utf-8')
    command = [sys.executable, str(ROOT / 'basicsr' / 'train.py'), '-opt', str(path), '--auto_resume']
    if arguments.set:
        command += ['--force_yml', *arguments.set]
    return subprocess.run(command, cwd=ROOT, check=False).returncode  # relative paths are the checkout's


def _mix(mixture: Sequence | str, files: Mapping[str, Mapping], out: Path | str) -> int:
    earlier, later, share = [mixture, mixture, 1] if isinstance(mixture, str) else mixture
    both = [str(ROOT / trained(files[each])) for each in (earlier, later)]
    return mix_weights.main([*both, '--share', str(share), '--out', str(out)])


def table(stages: Mapping, files: Mapping[str, Mapping]) -> str:
    """Markdown: what each stage begins with, its iterations, crops, batch, learning rate and average."""
    rows = []
    for stage in stages['stages']:
        options = files[stage['name']]
        data, training, before = options['datasets']['train'], options['train'], stage['from']
        if isinstance(before, list):
            before = f'{1 - before[2]:g} {before[0]} + {before[2]:g} {before[1]}'
        side = data['gt_size']
        rows.append(
            [
                stage['name'],
                before or 'nothing',
                f'{training["total_iter"]:,}',
                f'{side}x{side}',
                str(data['batch_size_per_gpu']),
                f'{training["optim_g"]["lr"]:g}',
                f'{training["ema_decay"]:g}',
            ]
        )
    return markdown_table(['stage', 'begins with', 'iterations', 'crops', 'batch', 'learning rate', 'EMA'], rows)


def main(argv: list[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument('--list', action='store_true', help='show the stages and train nothing')
    parser.add_argument('--stages', nargs='+', metavar='NAME', help='only these (default: all)')
    parser.add_argument(
        '--out',
        type=Path,
        default=ROOT / 'results' / 'bundled_training',
        help='folder of the option files, mixtures and the final weights',
    )
    parser.add_argument('--set', nargs='+', metavar='KEY=VALUE', help='as --force_yml, in every stage')
    arguments = parser.parse_args(argv)
    stages = plain_yaml.load_file(STAGES)
    arguments.out = arguments.out.resolve()
    files = option_files(stages, plain_yaml.load_file(BASE), arguments.out)
    wanted = arguments.stages or list(files)
    unknown = [name for name in wanted if name not in files]
    if unknown:
        print(f'error: --stages {unknown[0]}: there are {", ".join(files)}', file=sys.stderr)
        return 2
    if arguments.list:
        print(table(stages, files))
        return 0
    arguments.out.mkdir(parents=True, exist_ok=True)
    for stage in stages['stages']:
        name = stage['name']
        if name in wanted and train(stage, files, arguments):
            print(f'error: {name} did not come to its end; the same command goes on with it', file=sys.stderr)
            return 1
    for name, mixture in stages['package'].items():
        last = mixture if isinstance(mixture, str) else mixture[1]
        if last in wanted and _mix(mixture, files, arguments.out / WEIGHTS.format(name)):
            return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
