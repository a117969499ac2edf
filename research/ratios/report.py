"""Which channel ratios trainings of `RatioSearchArch` came to, e.g. one for each task.

    python research/ratios/report.py experiments/ablation_learned_ratio
    python research/ratios/report.py haze=experiments/ratio_dehaze rain=experiments/ratio_derain --export

prints a table and writes it as CSV, JSON and a picture. With --export, the ordinary network of each run's ratios is cut
out of its weights and written beside them; the lines printed with it go into `network_g` of its option file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mirage_arch.checkpoints import CheckpointError, save_weights
from mirage_arch.mirage_arch import MIRAGEArch
from mirage_arch.ratio_search import RatioSearchArch, discrete_ratios, export, load_search
from mirage_ir.measuring import plotting
from mirage_ir.measuring.report import write_csv
from mirage_ir.measuring.tables import markdown_table
from research.common import ended, parser_of

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
    figure = plotting.new_figure(max(4.0, 1.2 + 2.0 * len(runs)), 3.2)
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
                    color=plotting.colour(index),
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
    write_csv(files[0], [COLUMNS, *(row.values() for row in rows(runs))])
    files[1].write_text(json.dumps([vars(run) for run in runs], indent=1) + '\n', encoding='utf-8')
    return files


def main(argv: list[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument('runs', nargs='+', metavar='[NAME=]PATH', help='experiment folders or weights files')
    parser.add_argument('--out', type=Path, default=Path('results/channel_ratios'), help='file name without ending')
    parser.add_argument('--formats', nargs='+', choices=plotting.FORMATS, default=['png'])
    parser.add_argument('--export', action='store_true', help='write OUT_NAME.pth, the ordinary network of each run')
    arguments = parser.parse_args(argv)
    return ended(lambda: report(arguments))


def report(arguments: argparse.Namespace) -> None:
    """Reads the runs, prints and writes their ratios."""
    found = [_read(text) for text in arguments.runs]
    runs = [ratios for ratios, _ in found]
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        raise ValueError(f'two runs have one name among {", ".join(names)}: name them, NAME=PATH')
    print(markdown(runs))
    files = write(runs, arguments.out)
    if arguments.export:
        files += [_export(run, net, arguments.out) for run, net in found]
    files += plotting.save(draw(runs), arguments.out, arguments.formats)
    print(*files, sep='\n')


def _read(text: str) -> tuple[RunRatios, RatioSearchArch]:
    name, sign, path = text.partition('=')
    return read_ratios(path, name) if sign else read_ratios(text)


def _export(run: RunRatios, net: RatioSearchArch, out: Path) -> Path:
    path = out.with_name(f'{out.name}_{run.name}.pth')
    save_weights(export(net).state_dict(), path)
    note = '' if run.fixed else '  # not fixed yet: these weights are a start for fine-tuning'
    print(f'{run.name}:\n  type: MIRAGEArch\n  branch_ratio: {[list(level) for level in run.widths]}{note}')
    return path


if __name__ == '__main__':
    sys.exit(main())
