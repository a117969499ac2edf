"""Ablations at a size that a CPU trains in minutes: one budget for all, several seeds, differences beside spreads.

    python research/small_scale/run.py --variants no_fusion static_conv no_contrast --seeds 0 1
    python research/small_scale/run.py --variants no_fusion static_conv no_contrast --seeds 0 1 2
    python research/small_scale/run.py --variants no_fusion --seeds 0 1 --table-only

A variant is a file of options/ablation; the keys in which it differs from options/train_mirage_3deg.yml are put into
the reduced experiment of options/small_scale/base.yml, which always takes part. Finished runs are kept and interrupted
ones go on, so a further seed or variant costs its own runs only. After each run --out has the table (Markdown, CSV,
JSON) of what there is so far, and its picture.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from mirage_ir.measuring import plotting  # noqa: E402
from research.small_scale import table as small_scale_table  # noqa: E402
from research.small_scale import variants as small_scale  # noqa: E402


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--variants', nargs='+', required=True, help='names of files in --ablations, without ending')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1], help='default: 0 1')
    parser.add_argument('--out', type=Path, default=Path('results/small_ablation'), help='folder for runs and tables')
    parser.add_argument('--base', type=Path, default=ROOT / 'options/small_scale/base.yml')
    parser.add_argument('--ablations', type=Path, default=ROOT / 'options/ablation')
    parser.add_argument(
        '--compared-with',
        type=Path,
        default=ROOT / 'options/train_mirage_3deg.yml',
        help='the option file that the ablations were derived from',
    )
    parser.add_argument('--name', default='ablation', help='name of the table and its picture')
    parser.add_argument('--metric', default='psnr', help='of the validation; higher is better')
    parser.add_argument('--threads', type=int, help='of PyTorch')
    parser.add_argument('--table-only', action='store_true', help='train nothing')
    arguments = parser.parse_args(argv)
    try:
        names = dict.fromkeys([small_scale.BASE, *arguments.variants])
        variants = {name: small_scale.changes_of(name, arguments.ablations, arguments.compared_with) for name in names}
        runs = small_scale.plan(small_scale.read_options(arguments.base), variants, arguments.seeds, ROOT)
        failures = [] if arguments.table_only else train(runs, arguments)
        files = report(runs, arguments)
    except ValueError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    for text in [*map(str, files), *failures]:
        print(text)
    return int(bool(failures))


def train(runs: Sequence[small_scale.SmallRun], arguments: argparse.Namespace) -> list[str]:
    """Make the runs that are not finished; returns what went wrong, since one failure need not stop the others."""
    failures = []
    bar = tqdm(runs, unit='run')
    for run in bar:
        bar.set_description(run.name)
        if small_scale.scores_of(run, arguments.out) is not None:
            continue
        try:
            small_scale.carry_out(run, arguments.out, arguments.threads)
        except RuntimeError as error:
            failures.append(str(error))
            tqdm.write(f'failed: {error}')
            continue
        report(runs, arguments)
    return failures


def report(runs: Sequence[small_scale.SmallRun], arguments: argparse.Namespace) -> list[Path]:
    """Tables and picture of the finished runs; none before the base has one."""
    scores: dict[str, dict[int, dict[str, float]]] = {}
    of_input: dict[str, float] = {}
    for run in runs:
        found = small_scale.scores_of(run, arguments.out)
        if found is None:
            continue
        values = {dataset: value for (dataset, metric), value in found.items() if metric == arguments.metric}
        if not values:
            known = ', '.join(dict.fromkeys(metric for _, metric in found))
            raise ValueError(f'metric {arguments.metric!r}: {run.name} was validated with {known}')
        scores.setdefault(run.variant, {})[run.seed] = values
        of_input = {d: v for (d, metric), v in found.items() if metric == f'input_{arguments.metric}'}
    if small_scale.BASE not in scores:
        return []
    of_base = scores[small_scale.BASE]
    scores = {name: found for name, found in scores.items() if set(found) & set(of_base)}
    cells = small_scale_table.summarise(scores)
    iterations = runs[0].options['train']['total_iter']
    text = small_scale_table.markdown(cells, arguments.metric.upper(), iterations, of_input)
    files = small_scale_table.write(
        arguments.out,
        arguments.name,
        cells,
        scores,
        text,
        metric=arguments.metric,
        iterations=iterations,
        input=of_input,
    )
    figure = small_scale_table.draw(scores, arguments.metric.upper())
    return [*files, *plotting.save(figure, arguments.out / arguments.name)]


if __name__ == '__main__':
    sys.exit(main())
