"""Which channel ratios trainings of `RatioSearchArch` came to, e.g. one for each task.

    python research/ratios/report.py experiments/ablation_learned_ratio
    python research/ratios/report.py haze=experiments/ratio_dehaze rain=experiments/ratio_derain --export

prints a table and writes it as CSV, JSON and a picture. With --export, the ordinary network of each run's ratios is cut
out of its weights and written beside them; the lines printed with it go into `network_g` of its option file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mirage_arch.checkpoints import save_weights
from mirage_arch.ratio_search import RatioSearchArch, export
from mirage_ir.measuring import plotting
from research.ratios import runs as ratio_report


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('runs', nargs='+', metavar='[NAME=]PATH', help='experiment folders or weights files')
    parser.add_argument('--out', type=Path, default=Path('results/channel_ratios'), help='file name without ending')
    parser.add_argument('--formats', nargs='+', choices=plotting.FORMATS, default=['png'])
    parser.add_argument('--export', action='store_true', help='write OUT_NAME.pth, the ordinary network of each run')
    arguments = parser.parse_args(argv)
    try:
        found = [_read(text) for text in arguments.runs]
        runs = [ratios for ratios, _ in found]
        names = [run.name for run in runs]
        if len(set(names)) < len(names):
            raise ValueError(f'two runs have one name among {", ".join(names)}: name them, NAME=PATH')
        print(ratio_report.markdown(runs))
        files = ratio_report.write(runs, arguments.out)
        if arguments.export:
            files += [_export(run, net, arguments.out) for run, net in found]
        files += plotting.save(ratio_report.draw(runs), arguments.out, arguments.formats)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    for file in files:
        print(file)
    return 0


def _read(text: str) -> tuple[ratio_report.RunRatios, RatioSearchArch]:
    name, sign, path = text.partition('=')
    return ratio_report.read_ratios(path, name) if sign else ratio_report.read_ratios(text)


def _export(run: ratio_report.RunRatios, net: RatioSearchArch, out: Path) -> Path:
    path = out.with_name(f'{out.name}_{run.name}.pth')
    save_weights(export(net).state_dict(), path)
    note = '' if run.fixed else '  # not fixed yet: these weights are a start for fine-tuning'
    print(f'{run.name}:\n  type: MIRAGEArch\n  branch_ratio: {[list(level) for level in run.widths]}{note}')
    return path


if __name__ == '__main__':
    sys.exit(main())
