"""Show what the quickstart's test gave: a table of every task beside its input, and a before/after sheet.

python scripts/quickstart_report.py results/quickstart_5deg_test
"""

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np

HEIGHT = 200  # of a row of the sheet
CAPTION = 24


def print_table(results: dict) -> None:
    heads = ('images', 8), ('input PSNR', 12), ('result PSNR', 13), ('gain', 8), ('input SSIM', 12), ('result SSIM', 13)
    print('task        ' + ''.join(head.rjust(width) for head, width in heads))
    for row in [*results['rows'], {'task': 'average', 'images': '', **results['average']}]:
        gain = row['psnr'] - row['input_psnr']
        print(
            f'{row["task"]:12}{row["images"]:>8}{row["input_psnr"]:12.2f}{row["psnr"]:13.2f}{gain:+8.2f}'
            f'{row["input_ssim"]:12.3f}{row["ssim"]:13.3f}' + ('' if gain > 0 else '   not better than its input')
        )


def caption(text: str, width: int) -> np.ndarray:
    band = np.full((CAPTION, width, 3), 255, np.uint8)
    cv2.putText(band, text, (4, CAPTION - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return band


def build_sheet(folder: Path, rows: list[dict]) -> np.ndarray:
    """One row a task: the first two of its side-by-side pictures, under a caption with the figures.

    Raises:
        FileNotFoundError: The test left no pictures of a task.
    """
    bands = []
    for row in rows:
        found = sorted((folder / 'visualization' / 'side_by_side' / row['dataset']).rglob('*.png'))
        if not found:
            raise FileNotFoundError(f'{folder}: no side-by-side pictures of {row["dataset"]}')
        pictures = [cv2.imread(str(path)) for path in (found[0], found[-1])]
        pictures = [
            cv2.resize(p, (round(p.shape[1] * HEIGHT / p.shape[0]), HEIGHT), interpolation=cv2.INTER_AREA)
            for p in pictures
        ]
        line = np.hstack([np.pad(p, ((0, 0), (0, 12), (0, 0)), constant_values=255) for p in pictures])
        text = f'{row["task"]}: input, restored, ground truth   PSNR {row["input_psnr"]:.2f} -> {row["psnr"]:.2f} dB'
        bands.append(np.vstack([caption(text, line.shape[1]), line]))
    width = max(band.shape[1] for band in bands)
    return np.vstack([np.pad(b, ((0, 6), (0, width - b.shape[1]), (0, 0)), constant_values=255) for b in bands])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('results', type=Path, help='folder of a test run')
    args = parser.parse_args()
    try:
        results = json.loads((args.results / 'results.json').read_text(encoding='utf-8'))
        sheet = build_sheet(args.results, results['rows'])
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    print_table(results)
    target = args.results / 'before_after.png'
    cv2.imwrite(str(target), sheet)
    print(f'\nBefore and after: {target}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
