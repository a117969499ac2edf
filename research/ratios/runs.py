"""What channel ratios trainings of `RatioSearchArch` came to: read, tabulated, drawn and cut out as networks."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mirage_arch.checkpoints import CheckpointError
from mirage_arch.mirage_arch import MIRAGEArch
from mirage_arch.ratio_search import RatioSearchArch, discrete_ratios, load_search
from mirage_ir.measuring.plotting import colour, new_figure
from mirage_ir.measuring.tables import markdown_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BRANCHES = ('attention', 'convolution', 'MLP')
COLUMNS = ('run', 'level', 'channels', *BRANCHES, *(f'{branch}_share' for branch in BRANCHES), 'fixed', 'progress')


@dataclass(frozen=True)
class RunRatios:
    """The ratios of one training.

    Attributes:
        name: What to call it.
        file: Weights that were read.
        widths: Whole channels of attention, convolution and MLP on the four levels.
        shares: The same as learned fractions of a level's channels.
        fixed: Whether the training has fixed the widths; otherwise they are where it stands.
        progress: Fraction of the run that was done.
        parameters: Of the ordinary network with these widths, without SPD heads.
        parameters_even: Of the same network with even shares; None where its channels cannot be shared so.
    """

    name: str
    file: str
    widths: tuple[tuple[int, int, int], ...]
    shares: tuple[tuple[float, float, float], ...]
    fixed: bool
    progress: float
    parameters: int
    parameters_even: int | None


def find_weights(path: str | Path) -> Path:
    """The file itself, or the last weights of an experiment's folder.

    Raises:
        ValueError: There is no such file or folder, or no weights in it.
    """
    path = Path(path)
    if not path.is_dir():
        if not path.exists():
            raise ValueError(f'{path}: no such weights file or experiment folder')
        return path
    folder = path / 'models' if (path / 'models').is_dir() else path
    latest = folder / 'net_g_latest.pth'
    if latest.is_file():
        return latest
    numbered = {
        int(p.stem.rpartition('_')[2]): p for p in folder.glob('net_g_*.pth') if p.stem.rpartition('_')[2].isdigit()
    }
    if not numbered:
        raise ValueError(f'{folder}: holds no weights net_g_*.pth')
    return numbered[max(numbered)]


def read_ratios(path: str | Path, name: str = '') -> tuple[RunRatios, RatioSearchArch]:
    """Ratios of one training, and its network.

    Args:
        path: Weights, or the folder of the experiment.
        name: What to call it; by default the folder of the experiment, or the file.

    Raises:
        ValueError: There is no such file, or it holds no learned ratios.
    """
    file = find_weights(path)
    net = load_search(file)
    if not torch.isfinite(net.ratio_logits).all():
        raise CheckpointError(f'{file}: the learned ratios are not finite')
    by_folder = file.parent.parent.name if file.parent.name == 'models' else file.stem
    widths = discrete_ratios(net)
    return RunRatios(
        name or by_folder,
        str(file),
        widths,
        tuple(tuple(level) for level in net.shares().tolist()),
        bool(net.ratio_widths.any()),
        round(net.ratio_progress.item(), 6),
        _parameters(net, widths),
        _parameters(net, (1, 1, 1)),
    ), net


def _parameters(net: RatioSearchArch, ratio: Sequence) -> int | None:
    try:
        with torch.device('meta'):
            ordinary = MIRAGEArch(**{**net.arguments, 'branch_ratio': ratio, 'spd_head': False})
    except ValueError:
        return None
    return sum(p.numel() for p in ordinary.parameters())


def rows(runs: Sequence[RunRatios]) -> list[dict]:
    """One row for each run and level, by `COLUMNS`."""
    table = []
    for run in runs:
        for level, (widths, shares) in enumerate(zip(run.widths, run.shares), 1):
            values = (run.name, level, sum(widths), *widths, *(round(s, 4) for s in shares), run.fixed, run.progress)
            table.append(dict(zip(COLUMNS, values)))
    return table


def markdown(runs: Sequence[RunRatios]) -> str:
    """Channels and their per cent by run and level, and what the networks weigh."""
    body = []
    for row in rows(runs):
        cells = [f'{row[branch]} ({row[branch] / row["channels"]:.0%})' for branch in BRANCHES]
        body.append([row['run'], str(row['level']), str(row['channels']), *cells])
    lines = [markdown_table(['run', 'level', 'channels', *BRANCHES], body, left=1), '']
    for run in runs:
        state = 'fixed' if run.fixed else f'not fixed yet, at {run.progress:.0%} of the run'
        even = 'not possible' if run.parameters_even is None else f'{run.parameters_even:,}'
        lines.append(f'- {run.name}: ratios {state}; {run.parameters:,} parameters, with even shares {even}')
    return '\n'.join(lines) + '\n'


def draw(runs: Sequence[RunRatios]) -> Figure:
    """Stacked bars of the shares, one group for each run."""
    figure = new_figure(max(4.0, 1.2 + 2.0 * len(runs)), 3.2)
    axis = figure.subplots()
    ticks = []
    for number, run in enumerate(runs):
        for level, widths in enumerate(run.widths):
            place, below = number * 5 + level, 0.0
            for index, width in enumerate(widths):
                height = width / sum(widths)
                axis.bar(
                    place,
                    height,
                    bottom=below,
                    color=colour(index),
                    width=0.85,
                    label=BRANCHES[index] if not ticks else None,
                )
                if height > 0.08:
                    axis.text(place, below + height / 2, str(width), ha='center', va='center', fontsize=7)
                below += height
            ticks.append((place, str(level + 1)))
        axis.text(number * 5 + 1.5, 1.02, run.name, ha='center', va='bottom', fontsize=8)
    axis.axhline(1 / 3, color='0.3', lw=0.8, ls=':')
    axis.axhline(2 / 3, color='0.3', lw=0.8, ls=':')
    axis.set(ylim=(0, 1.1), ylabel='share of the channels', xlabel='level (numbers in the bars: channels)')
    axis.set_xticks([place for place, _ in ticks], [label for _, label in ticks])
    figure.legend(loc='outside lower center', ncols=3, fontsize=8)
    return figure


def write(runs: Sequence[RunRatios], stem: Path) -> list[Path]:
    """Write ``stem``.csv and ``stem``.json; returns them."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    files = [stem.with_name(f'{stem.name}.{ending}') for ending in ('csv', 'json')]
    with open(files[0], 'w', newline='', encoding='utf-8') as out:
        writer = csv.DictWriter(out, COLUMNS)
        writer.writeheader()
        writer.writerows(rows(runs))
    files[1].write_text(json.dumps([vars(run) for run in runs], indent=1) + '\n', encoding='utf-8')
    return files
