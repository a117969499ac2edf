"""Measure pictures made by any program with the paper's metrics.

    mirage-basicsr evaluate --restored DIR --gt DIR
    mirage-basicsr evaluate --restored DIR --gt DIR --metrics psnr ssim lpips niqe --channel y --json results/mine

    mirage-basicsr evaluate --restored DIR --gt DIR --protocol lol-gtmean
    mirage-basicsr evaluate --restored results/test_5deg/visualization/LOL --gt datasets/test/enhance/lol/target
    mirage-basicsr evaluate --restored DIR --gt DIR --pairing '(.+)_real_out=\\1_mean'

Pictures of test runs are found by their own names.
With --json FOLDER the figures also become a results.json that mirage-basicsr table reads beside those of test runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mirage_data.files.pairing import RULES, parse_rule
from mirage_ir.measuring import folders as evaluation
from mirage_ir.measuring import report as validation_report
from mirage_ir.measuring.metrics import CHANNELS, LPIPS_NETS, METRICS, WINDOWS
from mirage_ir.measuring.protocols import PROTOCOLS, described
from mirage_ir.options.check_data import name_fault

from . import command_parser, existing, failed, print_json


def main(argv: list[str] | None = None) -> int:
    parser = command_parser('evaluate', __doc__)
    parser.add_argument('--restored', required=True, type=existing, help='folder of restored pictures')
    parser.add_argument('--gt', type=existing, help='folder of the ground truth; not needed for niqe alone')
    parser.add_argument('--metrics', nargs='+', choices=evaluation.METRIC_NAMES, default=['psnr', 'ssim'])
    parser.add_argument('--channel', choices=CHANNELS, default='rgb', help='for psnr and ssim')
    parser.add_argument('--crop-multiple', type=int, default=16, help='centre crop; the paper: 16, for CDD11 1 (none)')
    parser.add_argument(
        '--protocol',
        choices=tuple(PROTOCOLS),
        help='a usual set of these for psnr and ssim: '
        + '; '.join(f'{name}: {row.meaning}' for name, row in PROTOCOLS.items()),
    )
    parser.add_argument('--crop-border', type=int, default=0, help='pixels left out along every edge')
    parser.add_argument('--eight-bit', action='store_true', help='round the pictures to 8 bits first')
    parser.add_argument('--gt-mean', action='store_true', help='scale pictures to the mean of their ground truth')
    parser.add_argument('--window', choices=tuple(WINDOWS), default='uniform', help='of ssim: 7x7, or 11x11 Gaussian')
    parser.add_argument('--lpips-net', choices=LPIPS_NETS, default='alex', help='network of lpips')
    rules = f'rule that pairs the names: {", ".join(RULES)}, or REGEX=NAME of your own (for restored names)'
    parser.add_argument('--pairing', default='same_name', type=parse_rule, help=rules)
    parser.add_argument('--suffix', default='', help='end of the restored names that the ground truth lacks')
    kept = 'also write results.json and images_*.csv there; - prints the figures as JSON instead'
    parser.add_argument('--json', type=Path, metavar='FOLDER', help=kept)
    parser.add_argument('--name', default='', help='name of the data set in the results (default: of the GT folder)')
    parser.add_argument('--task', default='restore', help='task in the results')
    arguments = parser.parse_args(argv)
    needy = [name for name in arguments.metrics if METRICS[name].needs_gt]
    if arguments.gt is None and needy:
        parser.error(f'{", ".join(needy)} need --gt; without it only niqe can be measured')
    if arguments.crop_multiple < 1:
        parser.error(f'--crop-multiple {arguments.crop_multiple}: at least 1, which crops nothing')
    if arguments.crop_border < 0:
        parser.error(f'--crop-border {arguments.crop_border}: at least 0, which leaves nothing out')
    for_programs = arguments.json == Path('-')
    name = arguments.name or Path(arguments.gt or arguments.restored).resolve().name
    if arguments.name and (fault := name_fault(arguments.name)):
        parser.error(f'--name: {fault[0]}; {fault[1]}')
    if arguments.json and not for_programs and arguments.json.exists() and not arguments.json.is_dir():
        parser.error(f'--json {arguments.json}: is a file; name a folder for results.json and images_*.csv')
    if arguments.json and not for_programs and _holds_a_test_run(arguments.json):
        parser.error(f'--json {arguments.json}: holds the results of a test run; choose another folder')
    try:
        result = evaluation.evaluate_folders(
            arguments.restored,
            arguments.gt,
            arguments.metrics,
            channel=arguments.channel,
            crop_multiple=arguments.crop_multiple,
            pairing=arguments.pairing,
            suffix=arguments.suffix,
            progress=not for_programs,
            protocol=arguments.protocol,
            conventions=_conventions(arguments),
        )
    except (ValueError, OSError) as error:
        return failed(error)
    if for_programs:
        print_json({'images': result.images, 'mean': result.mean, 'unpaired': result.unpaired, **result.protocol})
        return 0
    scores = [
        validation_report.ImageScore(index, image, arguments.task, values)
        for index, (image, values) in enumerate(result.images.items())
    ]
    for score in scores:
        print(f'{score.name}  ' + '  '.join(f'{key} {value:.4f}' for key, value in score.values.items()))
    rows = validation_report.rows_of(name, scores)
    print(validation_report.table(rows))
    print(described(result.protocol['metrics'], result.protocol['crop_multiple']))
    if result.unpaired:
        more = ', ...' if len(result.unpaired) > 5 else ''
        print(f'{len(result.unpaired)} without a partner, left out: {", ".join(result.unpaired[:5])}{more}')
    if arguments.json:
        label, protocol = arguments.json.resolve().name, dict(result.protocol)
        if result.unpaired:
            protocol['incomplete test sets'] = [f'{name}: {len(result.unpaired):,} pictures without a partner']
        try:
            validation_report.write_results(str(arguments.json), label, None, protocol, rows)
            validation_report.write_image_scores(str(arguments.json / f'images_{name}.csv'), scores)
        except OSError as error:
            return failed(error)
    return 0


def _holds_a_test_run(folder: Path) -> bool:
    try:
        return validation_report.load_result(folder).weights is not None
    except ValueError:
        return False


def _conventions(arguments: argparse.Namespace) -> dict[str, object]:
    """Those that differ from the paper's: what is usual need not stand below every table."""
    given = {
        'crop_border': arguments.crop_border,
        'eight_bit': arguments.eight_bit,
        'gt_mean': arguments.gt_mean,
        'window': arguments.window,
        'net': arguments.lpips_net,
    }
    usual = {'crop_border': 0, 'eight_bit': False, 'gt_mean': False, 'window': 'uniform', 'net': 'alex'}
    return {key: value for key, value in given.items() if value != usual[key]}
