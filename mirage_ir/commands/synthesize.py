"""Make a training or test set of pairs from a folder of clean photographs.

    mirage-basicsr synthesize cdd11 --source photographs --output datasets/CDD-11/train
    mirage-basicsr synthesize train5 --source photographs --output datasets/Train --copies 2
    mirage-basicsr synthesize paired --source photographs --output datasets/foggy --recipe recipe.yml
    mirage-basicsr synthesize paired --source photographs --output datasets/jpeg --degradation jpeg

Layouts: cdd11 (the eleven types of CDD11), train5 and test5 (the paper's five tasks), paired (lq and gt by a recipe).
A recipe is a YAML list, such as

    - {degradation: gaussian_noise, sigma: [5, 55], weight: 2}
    - {degradation: [haze, rain], rain: {density: [0.1, 0.4]}}

The same seed gives the same files. An interrupted run goes on when started again.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mirage_data.files import plain_yaml
from mirage_data.sets.synthesis import LAYOUTS, RECORDS_FILE, synthesize

from . import command_parser, existing, failed, print_json


def main(argv: list[str] | None = None) -> int:
    """Returns 0, 1 if photographs failed, 2 for settings that cannot work, 130 after Ctrl-C."""
    parser = command_parser('synthesize', __doc__, as_json='how many pairs were made and what was left out')
    parser.add_argument('layout', choices=list(LAYOUTS), help='folders to write')
    parser.add_argument(
        '--source', nargs='+', required=True, type=existing, metavar='DIR', help='folders of clean photographs'
    )
    parser.add_argument('--output', required=True, metavar='DIR')
    given = parser.add_mutually_exclusive_group()
    given.add_argument(
        '--recipe', type=existing, metavar='FILE', help='YAML file with a recipe, or an option file that holds one'
    )
    given.add_argument('--degradation', nargs='+', metavar='NAME', help='these together, with their usual ranges')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--copies', type=int, default=1, help='how often each photograph is degraded (default 1)')
    parser.add_argument('--limit', type=int, metavar='N', help='use only the first N photographs')
    parser.add_argument('--max-side', type=int, metavar='PIXELS', help='reduce larger photographs to this longest side')
    parser.add_argument('--jobs', type=int, metavar='N', help='processes (default: all cores), or actors of Ray')
    parser.add_argument('--ray', metavar='ADDRESS', help="work on a Ray cluster: 'auto' or its address")
    args = parser.parse_args(argv)
    try:
        recipe = [{'degradation': args.degradation}] if args.degradation else None
        if args.recipe:
            recipe = read_recipe(args.recipe)
        records, failures = synthesize(
            args.source,
            args.output,
            args.layout,
            recipe=recipe,
            seed=args.seed,
            copies=args.copies,
            limit=args.limit,
            max_side=args.max_side,
            jobs=args.jobs,
            ray=args.ray,
        )
    except ValueError as error:
        parser.error(str(error))
    except (OSError, RuntimeError) as error:
        return failed(error)
    except KeyboardInterrupt:
        print('\nmirage-basicsr synthesize: stopped; the same command goes on from here', file=sys.stderr)
        return 130
    made = Path(args.output, RECORDS_FILE)
    if args.json:
        print_json({'pairs': len(records), 'records': made, 'left_out': failures})
    else:
        print(f'{args.output}: {len(records)} pairs; every drawn parameter is in {made}')
        for failure in failures:
            print(f'left out: {failure}', file=sys.stderr)
    return 1 if failures else 0


def read_recipe(path: Path) -> list:
    """The recipe in a YAML file: the list itself, or the first ``recipe:`` of an option file's datasets.

    Raises:
        ValueError: There is none, or the file is not YAML.
    """
    content = plain_yaml.load_file(path)
    if isinstance(content, list):
        return content
    holders = [content, *((content.get('datasets') or {}).values() if isinstance(content, dict) else ())]
    for holder in holders:
        if isinstance(holder, dict) and holder.get('recipe'):
            return holder['recipe']
    raise ValueError(f'{path}: holds no recipe; needed is a list of degradations or a key recipe')
