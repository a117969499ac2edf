"""What the commands here share: how they are called and how they end, and photographs that everybody has."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mirage_data.files.image import list_images, read_rgb, to_float

ROOT = Path(__file__).resolve().parents[1]
WITH_SCIKIT_IMAGE = ('astronaut', 'coffee', 'chelsea', 'rocket', 'retina', 'cat')


def parser_of(text: str | None) -> argparse.ArgumentParser:
    """The parser of a command, whose docstring is shown as it stands."""
    return argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)


def ended(work: Callable[[], int | None]) -> int:
    """Does the work of a command.

    Returns:
        The exit code: that of the work, 0 if it gives none; 2 after the message of an error that its caller can mend.
    """
    try:
        return work() or 0
    except (ValueError, OSError, ImportError) as error:  # ImportError: a package that only this needs
        print(f'error: {error}', file=sys.stderr)
        return 2


def photographs(folder: str | Path | None = None) -> list[np.ndarray]:
    """Photographs as uint8 RGB (h, w, 3): those of a folder and the ones below it, or those in scikit-image.

    Raises:
        ValueError: There is none in the folder.
    """
    if folder is None:
        from skimage import data

        return [np.ascontiguousarray(getattr(data, name)()[..., :3]) for name in WITH_SCIKIT_IMAGE]
    found = [np.uint8(np.round(255 * to_float(read_rgb(path)))) for path in list_images(folder, recursive=True)]
    if not found:
        raise ValueError(f'{folder}: no photographs in it')
    return found
