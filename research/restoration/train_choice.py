"""Train which model of the package `mirage-restore --model auto` takes (mirage_restore/choice.py).

    python research/restoration/train_choice.py --folder results/choice

Crops of the training mixture (that of stage 12, pictures without a fault three times as often, and
more of what models for one task mistake for theirs: `MORE`) are restored by every model; a linear map of the numbers
that describe each crop is trained to lose as little PSNR as possible. What it gains over the model for all tasks is
measured on crops left out, in eight parts in turn. ``--folder`` keeps crops and results, so that an interrupted run
goes on; its table and the weights are written there, too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mirage_arch.checkpoints import load_network, to_safetensors
from mirage_arch.fast_forward import FastMIRAGE, prepare_fast
from mirage_data.datasets.mixed import MixedDegradationDataset
from mirage_data.files import plain_yaml
from mirage_ir.measuring.tables import markdown_table
from mirage_restore.bundled import DEFAULT_MODEL, LIGHT_MODEL, bundled_models, bundled_weights
from mirage_restore.choice import CHOICE, VIEW, describe, scores_of
from research.common import ended, parser_of
from research.restoration.train_bundled import BASE, STAGES, option_files

STAGE = 'bundled_12'
#: Beside the last recipe: dark and noisy pictures, as there are such by intent; snow, which looks like rain; mixtures.
MORE = {'cdd11_low': 8, 'snow': 5, 'cdd11_snow': 5, 'cdd11_low_haze': 2, 'cdd11_low_rain': 2, 'cdd11_low_snow': 2}
CHUNK = 50
FOLDS = 8
GAIN = (-20.0, 4.0)  # dB: beyond these a gain counts no more; harm counts for longer
STEPS, RATE, DECAY = 600, 0.01, 0.3


@dataclass(frozen=True)
class Samples:
    """What is known of `n` crops.

    Args:
        numbers: (n, m), of `describe`.
        psnr: (n, 1 + models), of the crop as it is and of each result.
        tasks: Of each crop.
    """

    numbers: torch.Tensor
    psnr: np.ndarray
    tasks: np.ndarray

    @property
    def gains(self) -> torch.Tensor:
        """(n, models): dB over the model for all tasks, which is the first."""
        return torch.from_numpy(np.clip(self.psnr[:, 1:] - self.psnr[:, 1:2], *GAIN)).float()


def models() -> list[str]:
    """Those of the package, the one for all tasks first; not the lighter one."""
    names = set(bundled_models()) - {LIGHT_MODEL}
    return sorted(names, key=lambda name: (name != DEFAULT_MODEL, name))


def recipe() -> dict:
    """The training mixture with more pictures that have no fault, and more dark ones."""
    stages = option_files(plain_yaml.load_file(STAGES), plain_yaml.load_file(BASE), Path())
    options = stages[STAGE]['datasets']['train']
    for source in options['sources'][-2:]:
        for entry in source['recipe']:
            entry['weight'] *= 3 if entry['degradation'] == 'clean' else 1
    options['sources'][-1]['recipe'] += [{'degradation': name, 'weight': weight} for name, weight in MORE.items()]
    return {**options, 'phase': 'train', 'gt_size': VIEW}


def mixture(count: int, seed: int) -> MixedDegradationDataset:
    """Pairs of `recipe`."""
    return MixedDegradationDataset({**recipe(), 'manual_seed': seed, 'epoch_length': count})


def claim(folder: Path, count: int) -> None:
    """Keep crops of one mixture and number in a folder.

    Raises:
        ValueError: It holds others.
    """
    about = {'count': count, 'mixture': hashlib.sha256(json.dumps(recipe(), sort_keys=True).encode()).hexdigest()}
    file = folder / 'crops.json'
    if not file.exists() and not any(folder.glob('crops_*.npz')):
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(about), encoding='utf-8')
    found = json.loads(file.read_text(encoding='utf-8')) if file.exists() else {}
    if found != about:
        what = f'{found.get("count")} for each seed' if found.get('count') != count else 'of another mixture'
        raise ValueError(f'{folder}: has crops already, {what}; name another --folder')


def make_crops(folder: Path, count: int, seed: int) -> None:
    """Write `count` pairs in chunks: `lq` and `gt` (n, 3, h, w) float16, `task` (n)."""
    missing = [start for start in range(0, count, CHUNK) if not _crops(folder, seed, start).exists()]
    if not missing:
        return
    dataset = mixture(count, seed)
    order = np.random.default_rng(seed).permutation(len(dataset))[:count]
    for start in tqdm(missing, desc='crops', unit='chunk'):
        samples = [dataset[int(i)] for i in order[start : start + CHUNK]]
        _save(
            _crops(folder, seed, start),
            lq=np.stack([sample['lq'].numpy() for sample in samples]).astype(np.float16),
            gt=np.stack([sample['gt'].numpy() for sample in samples]).astype(np.float16),
            task=np.array([sample['task'] for sample in samples]),
        )


@torch.no_grad()
def restore_crops(folder: Path, seeds: Sequence[int], model: str) -> None:
    """Write what a model makes of every chunk of crops, float16."""
    network = None
    for file in tqdm(_chunks(folder, seeds), desc=model, unit='chunk'):
        target = _results(folder, file, model)
        if not target.exists():
            network = network or _network(model)
            with np.load(file) as crops:
                restored = network(torch.from_numpy(crops['lq']).float()).clamp(0, 1)
            _save(target, restored=restored.numpy().astype(np.float16))


def measure(folder: Path, seeds: Sequence[int], names: Sequence[str]) -> Samples:
    """Describe all crops."""
    numbers, psnr, tasks = [], [], []
    for file in tqdm(_chunks(folder, seeds), desc='describing', unit='chunk'):
        with np.load(file) as crops:
            stack = [crops['lq'], *(np.load(_results(folder, file, name))['restored'] for name in names)]
            gt, task = torch.from_numpy(crops['gt']).float(), crops['task']
        for pictures, truth in zip(zip(*stack), gt):
            views = [torch.from_numpy(picture).float()[None] for picture in pictures]
            numbers.append(describe(views))
            errors = [float((view[0] - truth).square().mean()) for view in views]
            psnr.append([-10 * np.log10(error + 1e-7) for error in errors])
        tasks.append(task)
    return Samples(torch.stack(numbers), np.array(psnr), np.concatenate(tasks))


def fit(numbers: torch.Tensor, gains: torch.Tensor) -> dict[str, torch.Tensor]:
    """The linear map whose choice, drawn by softmax, gains most on average (full batches, AdamW)."""
    linear = {
        'mean': numbers.mean(dim=0),
        'scale': numbers.std(dim=0) + 1e-6,
        'weight': torch.zeros(gains.shape[1], numbers.shape[1], requires_grad=True),
        'bias': torch.zeros(gains.shape[1], requires_grad=True),
    }
    optimizer = torch.optim.AdamW([linear['weight'], linear['bias']], lr=RATE, weight_decay=DECAY)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = -(scores_of(numbers, linear).softmax(dim=1) * gains).sum(dim=1).mean()
        loss.backward()
        optimizer.step()
    return {name: tensor.detach() for name, tensor in linear.items()}


def cross_validated(samples: Samples) -> np.ndarray:
    """For each crop the model that a map trained without it takes."""
    fold = np.random.default_rng(0).integers(0, FOLDS, len(samples.psnr))
    taken = np.zeros(len(fold), int)
    for part in range(FOLDS):
        rest = torch.from_numpy(fold != part)
        fitted = fit(samples.numbers[rest], samples.gains[rest])
        taken[fold == part] = scores_of(samples.numbers[~rest], fitted).argmax(dim=1).numpy()
    return taken


def report(samples: Samples, taken: np.ndarray, names: Sequence[str]) -> str:
    """Markdown: for each task what the choice gives beside each model and the best one for each crop."""
    rows = []
    for task in [*sorted(set(samples.tasks)), 'all']:
        of_task = np.full(len(taken), True) if task == 'all' else samples.tasks == task
        psnr = samples.psnr[of_task]
        auto = psnr[np.arange(len(psnr)), 1 + taken[of_task]]
        figures = [*psnr.mean(axis=0), auto.mean(), psnr[:, 1:].max(axis=1).mean()]
        counts = '/'.join(map(str, np.bincount(taken[of_task], minlength=len(names))))
        rows.append([task, str(of_task.sum()), *(f'{figure:.2f}' for figure in figures), counts])
    return markdown_table(['task', 'crops', 'input', *names, 'auto', 'best of each', 'taken'], rows)


def _network(model: str) -> FastMIRAGE:
    return prepare_fast(load_network(bundled_weights(model), spd_head=False).eval())


def _crops(folder: Path, seed: int, start: int) -> Path:
    return folder / f'crops_{seed}_{start:05d}.npz'


def _chunks(folder: Path, seeds: Sequence[int]) -> list[Path]:
    return [file for seed in seeds for file in sorted(folder.glob(f'crops_{seed}_*.npz'))]


def _results(folder: Path, crops: Path, model: str) -> Path:
    return folder / f'{model}_{_digest(model)[:8]}_{crops.stem.removeprefix("crops_")}.npz'


def _digest(model: str) -> str:
    return hashlib.sha256(bundled_weights(model).read_bytes()).hexdigest()


def _save(file: Path, **arrays: np.ndarray) -> None:
    aside = file.with_suffix('.part')
    with open(aside, 'wb') as opened:
        np.savez(opened, **arrays)
    aside.replace(file)


def main(argv: list[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument('--folder', type=Path, default=Path('results/choice'), help='of crops, results and the table')
    parser.add_argument('--count', type=int, default=1000, help='crops of each seed (%(default)s)')
    parser.add_argument('--seeds', type=int, nargs='+', default=[2, 3], help='of so many crops each (2 3)')
    return ended(lambda: _run(parser.parse_args(argv)))


def _run(arguments: argparse.Namespace) -> None:
    folder, names = arguments.folder, models()
    claim(folder, arguments.count)
    for seed in arguments.seeds:
        make_crops(folder, arguments.count, seed)
    for name in names:
        restore_crops(folder, arguments.seeds, name)
    samples = measure(folder, arguments.seeds, names)
    table = report(samples, cross_validated(samples), names)
    print(table)
    (folder / 'choice.md').write_text(table, encoding='utf-8')
    metadata = {'models': ' '.join(names), 'sha256': json.dumps({name: _digest(name) for name in names})}
    (folder / CHOICE.name).write_bytes(to_safetensors(fit(samples.numbers, samples.gains), metadata))


if __name__ == '__main__':
    sys.exit(main())
