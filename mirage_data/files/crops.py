"""Windows and flips as sizes and views, so that nothing is copied before the final crop; pictures side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

AUGMENTATIONS = ('none', 'hflip', 'rot', 'flips', 'dihedral7')


class Window(NamedTuple):
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, image: np.ndarray) -> np.ndarray:
        """The view of (h, w[, c]) `image` inside this window."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


def centre_window(height: int, width: int, multiple: int, name: str) -> Window:
    """The central part whose sides are the largest multiples of `multiple`, as the authors' evaluation crops it.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        multiple: 16 in the paper's protocol; 1 leaves the image whole.
        name: The image's file, for the error.

    Raises:
        ValueError: If a side is shorter than `multiple`.
    """
    if min(height, width) < multiple:
        raise ValueError(
            f'{name}: the image has {width}x{height} pixels, too few for crop_multiple: {multiple}; '
            'leave it out or set crop_multiple: 1'
        )
    return middle(height, width, height - height % multiple, width - width % multiple)


def middle(height: int, width: int, rows: int, columns: int) -> Window:
    """The window of `rows` x `columns` pixels in the middle of an image."""
    return Window((height - rows) // 2, (width - columns) // 2, rows, columns)


def random_window(height: int, width: int, size: int, multiple: int, rng: np.random.Generator, name: str) -> Window:
    """A random square crop of the centre that `centre_window` leaves.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        size: Side of the crop (`gt_size`).
        multiple: See `centre_window`.
        rng: Two numbers are drawn from it, the row first.
        name: The image's file, for the error.

    Raises:
        ValueError: If the centre is smaller than the crop.
    """
    top, left, height_in, width_in = centre_window(height, width, min(multiple, height, width), name)
    if min(height_in, width_in) < size:
        raise ValueError(
            f'{name}: the image has {width}x{height} pixels ({width_in}x{height_in} after the crop to a multiple of '
            f'{multiple}), too few for gt_size: {size}; leave it out or choose a smaller gt_size'
        )
    top += int(rng.integers(height_in - size + 1))
    left += int(rng.integers(width_in - size + 1))
    return Window(top, left, size, size)


def dihedral(image: np.ndarray, mode: int) -> np.ndarray:
    """One of the eight flips and rotations of an (h, w, c) image, as a view.

    Args:
        image: Any (h, w, c) array.
        mode: Bit 0 flips left-right, bit 1 flips up-down, bit 2 then transposes; 0 is the identity.
    """
    if mode & 1:
        image = image[:, ::-1]
    if mode & 2:
        image = image[::-1]
    return image.transpose(1, 0, 2) if mode & 4 else image


def draw_dihedral(augmentation: str, rng: np.random.Generator) -> int:
    """Draws a mode of `dihedral`.

    Args:
        augmentation: 'none'; 'hflip'; 'rot' (up-down and transposition, BasicSR's `use_rot`); 'flips' (left-right and
            up-down, the paper's text); 'dihedral7' (one of the seven that change the image, the authors' code).
        rng: One number is drawn from it, none for 'none'.
    """
    if augmentation == 'none':
        return 0
    if augmentation == 'dihedral7':
        return int(rng.integers(1, 8))
    modes = {'hflip': (0, 1), 'rot': (0, 2, 4, 6), 'flips': (0, 1, 2, 3)}[augmentation]
    return modes[int(rng.integers(len(modes)))]


def augmentation_from_options(opt: dict) -> str:
    """Reads `augment`, or BasicSR's `use_hflip` and `use_rot`.

    Both of BasicSR's together mean 'dihedral7', one alone its own part; `augment` wins over them, but only where at
    least one of the two is not switched off.

    Raises:
        ValueError: For an unknown name.
    """
    hflip, rot = opt.get('use_hflip'), opt.get('use_rot')
    named = opt.get('augment')
    if named is not None and named not in AUGMENTATIONS:
        raise ValueError(f'augment: {named!r}; allowed: {", ".join(AUGMENTATIONS)}')
    if named is not None and not (hflip is False and rot is False):
        return named
    return {(False, False): 'none', (True, False): 'hflip', (False, True): 'rot', (True, True): 'dihedral7'}[
        bool(hflip), bool(rot)
    ]


_GAP = 4  # white columns between the images of a sheet


def side_by_side(images: Sequence[np.ndarray], height: int | None = None) -> np.ndarray:
    """One sheet of images next to each other on white.

    Args:
        images: Arrays (h, w, 3) of one type and any sizes.
        height: Shrink images that are higher than this; the width follows.

    Returns:
        Array (max h, sum of widths and gaps, 3).
    """
    images = [_shrunk(image, height) if height else image for image in images]
    tallest = max(image.shape[0] for image in images)
    white = np.iinfo(images[0].dtype).max if np.issubdtype(images[0].dtype, np.integer) else 1
    columns: list[np.ndarray] = []
    for image in images:
        if columns:
            columns.append(np.full((tallest, _GAP, 3), white, image.dtype))
        below = ((0, tallest - image.shape[0]), (0, 0), (0, 0))
        columns.append(np.pad(image, below, constant_values=white))
    return np.concatenate(columns, axis=1)


def _shrunk(image: np.ndarray, height: int) -> np.ndarray:
    if image.shape[0] <= height:
        return image
    import cv2  # most sheets are not shrunk

    width = max(1, round(image.shape[1] * height / image.shape[0]))
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
