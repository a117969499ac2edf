"""The quickstart's own parts: a small five-task data set from photographs of packages, and what the test gave.

    python scripts/quickstart.py data [--out datasets/quickstart]
    python scripts/quickstart.py report results/quickstart_5deg_test

The data set has the layout of the large one. Clean photographs: scikit-image's astronaut (NASA), coffee, rocket,
camera, grass and gravel (CC0) and scikit-learn's china (CC BY 2.0, danielbuechele) for training; scikit-image's chelsea
(CC0) and scikit-learn's flower (CC BY 2.0, vultilion) for testing. Their degraded sides are made with
`mirage_data.degradations`, in several strengths, from one seed. The report is a table of every task beside its input,
and a before/after sheet.
"""

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import skimage
import sklearn.datasets
from tqdm import tqdm

from mirage_data.degradations import degrade

SKIMAGE = Path(skimage.__file__).parent / 'data'
SKLEARN = Path(sklearn.datasets.__file__).parent / 'images'
TRAIN = (
    *(
        SKIMAGE / name
        for name in ('astronaut.png', 'coffee.png', 'rocket.jpg', 'camera.png', 'grass.png', 'gravel.png')
    ),
    SKLEARN / 'china.jpg',
)
TEST = (SKIMAGE / 'chelsea.png', SKLEARN / 'flower.jpg')
SIDE = 448  # photographs are scaled down to this long side
SEED = 20
VERSIONS = {'train': 6, 'test': 3}

# Without colour casts: a few minutes of training learn to judge one photograph's brightness, not its white balance too.
# Within these ranges every version of a photograph draws its own strengths.
RECIPES = {
    'derain': {'degradation': 'rain', 'density': [0.2, 0.6], 'brightness': [0.3, 0.7], 'veil': 0},
    'dehaze': {'degradation': 'haze', 'beta': [0.6, 1.4], 'airlight': [0.8, 0.95], 'tint': 0},
    'deblur': {'degradation': 'motion_blur', 'length': [20, 40]},
    'enhance': {'degradation': 'low_light', 'exposure': [0.06, 0.2], 'cast': 0},
}


def load_photograph(path: Path) -> np.ndarray:
    """Read a photograph as RGB float32 in [0, 1], scaled to `SIDE` and cropped to even sides."""
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    scale = SIDE / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    h, w = image.shape[:2]
    return image[: h // 2 * 2, : w // 2 * 2].astype(np.float32) / 255


def write(path: Path, image: np.ndarray) -> None:
    """Write an RGB float image in [0, 1] as 8-bit file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    parameters = [cv2.IMWRITE_JPEG_QUALITY, 98] if path.suffix == '.jpg' else []
    if not cv2.imwrite(str(path), cv2.cvtColor(values, cv2.COLOR_RGB2BGR), parameters):
        raise OSError(f'{path}: could not be written')


def pair_paths(root: Path, part: str, task: str, photograph: int, number: int, record: dict) -> tuple[Path, Path]:
    """Paths of the degraded and the clean side in the layout of the large data set (docs/data.md)."""
    step = record['steps'][0]
    train = part == 'train'
    if task == 'derain':
        base = root / ('Train/Derain' if train else 'test/derain/Rain100L')
        lq, gt = ('rainy', 'gt') if train else ('input', 'target')
        return base / lq / f'rain-{number}.png', base / gt / f'norain-{number}.png'
    if task == 'dehaze':
        name = f'{photograph:04d}_{step["airlight"]:.3g}_{step["beta"]:.3g}'
        if train:
            base = root / 'Train/Dehaze'
            return base / 'synthetic' / 'part1' / f'{name}.jpg', base / 'original' / f'{photograph:04d}.jpg'
        base = root / 'test/dehaze'
        return base / 'input' / f'{name}.png', base / 'target' / f'{photograph:04d}.png'
    folder, lq, gt = {
        ('deblur', True): ('Train/Deblur', 'blur', 'sharp'),
        ('deblur', False): ('test/deblur/gopro', 'input', 'target'),
        ('enhance', True): ('Train/Enhance', 'low', 'gt'),
        ('enhance', False): ('test/enhance/lol', 'input', 'target'),
    }[task, train]
    return root / folder / lq / f'{number:04d}.png', root / folder / gt / f'{number:04d}.png'


def make_data(args: argparse.Namespace) -> None:
    """Writes all pictures."""
    rng = np.random.default_rng(SEED)
    jobs = [('train', path) for path in TRAIN] + [('test', path) for path in TEST]
    number = 0
    for photograph, (part, path) in enumerate(tqdm(jobs, desc='quickstart data', unit='photograph'), 1):
        clean = load_photograph(path)
        write(args.out / ('Train/Denoise' if part == 'train' else 'test/denoise/bsd68') / f'{path.stem}.png', clean)
        for _ in range(VERSIONS[part]):
            number += 1
            for task, recipe in RECIPES.items():
                degraded, record = degrade(clean, [recipe], rng)
                lq, gt = pair_paths(args.out, part, task, photograph, number, record)
                write(lq, degraded)
                write(gt, clean)
    print(f'{args.out}: {len(TRAIN)} photographs to train on, {len(TEST)} others to test on, five tasks')


# ---- report ---------------------------------------------------------------------------------------------------------
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


def report(args: argparse.Namespace) -> None:
    """Prints the table and writes the sheet."""
    results = json.loads((args.results / 'results.json').read_text(encoding='utf-8'))
    sheet = build_sheet(args.results, results['rows'])
    print_table(results)
    target = args.results / 'before_after.png'
    cv2.imwrite(str(target), sheet)
    print(f'\nBefore and after: {target}')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    data = kinds.add_parser('data', help='build the data set')
    data.add_argument('--out', type=Path, default=Path('datasets/quickstart'))
    data.set_defaults(work=make_data)
    shown = kinds.add_parser('report', help='show what the test gave')
    shown.add_argument('results', type=Path, help='folder of a test run')
    shown.set_defaults(work=report)
    args = parser.parse_args()
    try:
        args.work(args)
    except OSError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
