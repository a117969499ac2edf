"""Redundancy of channels, and similarity of shallow and latent features, of any MIRAGE weights (Fig. 3 to 6, B).

    python research/features/analyze.py --weights net_g_latest.pth --images datasets/test_lq --out results/analysis
    python research/features/analyze.py --weights full=a.pth attention=b.pth --images derain=DIR1 dehaze=DIR2
    python research/features/analyze.py --opt options/train_mirage_5deg.yml --weights a.pth --images DIR

A folder of --images whose folders hold images is read as one task for each. Tables (CSV), matrices (npz) and pictures
(PNG, other formats by --formats) go to --out. docs/analysis.md says how every figure is defined.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import nn

from mirage_arch.checkpoints import load_into, load_network, load_weights
from mirage_ir.measuring import cost as complexity
from mirage_ir.measuring import plotting
from research.features import analysis, analysis_plots, analysis_run


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--opt', help='option file whose network_g is built; without it the weights tell the network')
    parser.add_argument(
        '--weights',
        nargs='+',
        default=[],
        metavar='[NAME=]FILE',
        help='one or several to compare; with --opt alone, an untrained network (seed 0) is analysed',
    )
    parser.add_argument('--images', nargs='+', required=True, metavar='[TASK=]DIR', help='degraded images')
    parser.add_argument('--out', type=Path, default=Path('results/analysis'))
    parser.add_argument(
        '--compare',
        nargs='+',
        choices=analysis.COMPARISONS,
        help='how shallow and latent features '
        'are compared (default: energy and pooled, and embedding where all networks have heads)',
    )
    parser.add_argument('--limit', type=int, help='most images of a task')
    parser.add_argument('--crop', type=int, help='analyse at most this many pixels of the centre, per side')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--formats', nargs='+', choices=plotting.FORMATS, default=['png'])
    parser.add_argument('--no-figures', action='store_true', help='tables alone, which need no matplotlib')
    arguments = parser.parse_args(argv)
    try:
        for file in run(arguments):
            print(file)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


def run(arguments: argparse.Namespace) -> list[Path]:
    """Analyse all networks and write tables and pictures; returns the files."""
    if not arguments.no_figures:
        plotting.new_figure(1, 1)  # a missing matplotlib is told before the work, not after it
    if arguments.limit is not None and arguments.limit < 1:
        raise ValueError(f'--limit {arguments.limit}: must be 1 or more')
    tasks = analysis_run.find_tasks(arguments.images, arguments.limit)
    nets = networks(arguments.opt, arguments.weights)
    heads = all(getattr(net, 'has_spd_head', False) for net in nets.values())
    compare = arguments.compare or [how for how in analysis.COMPARISONS if how != 'embedding' or heads]
    found = {}
    for name, net in nets.items():
        print(f'{name}: {sum(map(len, tasks.values()))} images, tasks {", ".join(tasks)}')
        found[name] = analysis_run.analyse(net.to(arguments.device), tasks, compare, crop=arguments.crop, progress=True)
        net.cpu()
    files = analysis_run.write_tables(arguments.out, found)
    if arguments.no_figures:
        return files
    figures = {'spectra': analysis_plots.spectra(found)}
    figures |= {f'channels_{name}': analysis_plots.channels(by_task, name) for name, by_task in found.items()}
    for how in compare:
        figures[f'shallow_latent_{how}'] = analysis_plots.by_task(found, how)
        figures[f'samples_{how}'] = analysis_plots.samples(found, how)
    for name, figure in figures.items():
        files += plotting.save(figure, arguments.out / name.replace('/', '_'), arguments.formats)
    return files


def networks(opt: str | None, weights: list[str]) -> dict[str, nn.Module]:
    """Networks by name, in evaluation mode."""
    if not weights and opt is None:
        raise ValueError('name --weights, --opt or both')
    if not weights:
        torch.manual_seed(0)
        return {f'{Path(opt).stem} (untrained)': complexity.build(complexity.network_options(opt)).eval()}
    nets: dict[str, nn.Module] = {}
    for text in weights:
        name, sign, path = text.partition('=')
        name, path = (name, path) if sign else (Path(text).stem, text)
        if name in nets:
            raise ValueError(f'--weights {text}: the name {name!r} is taken; give another as NAME=FILE')
        if opt is None:
            nets[name] = load_network(path)
        else:
            nets[name] = complexity.build(complexity.network_options(opt)).eval()
            load_into(nets[name], load_weights(path), path)
    return nets


if __name__ == '__main__':
    sys.exit(main())
