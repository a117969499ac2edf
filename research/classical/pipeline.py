"""Classical methods by name, chains of them, and the chain that tuning chose for each task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mirage_data.files import plain_yaml
from research.classical import deblur, denoise, light, smooth

TUNED = Path(__file__).with_name('tuned.yml')

Step = Mapping[str, Mapping[str, Any]]
"""`{name: parameters}`, with one name of `STEPS`."""

#: Pure functions of an image (h, w, 3), float32 RGB in [0, 1], and their parameters.
STEPS: dict[str, Callable[..., np.ndarray]] = {
    'nlm': denoise.non_local_means,
    'opencv_nlm': denoise.opencv_non_local_means,
    'bm3d': denoise.bm3d,
    'guided': smooth.guided,
    'median': smooth.median,
    'bright_median': smooth.bright_median,
    'bilateral': smooth.bilateral,
    'unsharp': smooth.unsharp,
    'gain': light.gain,
    'gamma': light.gamma,
    'clahe': light.clahe,
    'dark_channel_prior': light.dark_channel_prior,
    'wiener': deblur.wiener,
    'richardson_lucy': deblur.richardson_lucy,
}
#: Steps that are told what a camera would not know.
ORACLES = ('wiener', 'richardson_lucy')


@dataclass(frozen=True)
class Tuned:
    """What tuning chose for a task.

    Args:
        steps: the chain.
        input_psnr: of the degraded crops of training photographs, in dB.
        psnr: of the same crops after the chain.
        tried: how many chains were compared.
    """

    steps: tuple[Step, ...]
    input_psnr: float
    psnr: float
    tried: int


def apply_steps(image: np.ndarray, steps: Sequence[Step], known: Mapping[str, Any] | None = None) -> np.ndarray:
    """Apply a chain of classical methods.

    Args:
        image: (h, w, 3) float32 RGB in [0, 1]; not changed.
        steps: of `STEPS`, each with its parameters.
        known: `kernel` and `gamma`, for the steps of `ORACLES`.

    Returns:
        (h, w, 3) float32 in [0, 1].

    Raises:
        ValueError: a step that is not in `STEPS`, or an oracle without the kernel.
        PackageMissingError: a step whose package is not installed.
    """
    for step in steps:
        ((name, parameters),) = step.items()
        if name not in STEPS:
            raise ValueError(f'unknown classical method {name!r}; there are {", ".join(STEPS)}')
        if name in ORACLES and not known:
            raise ValueError(f'{name}: needs the blur kernel, and none is known')
        image = STEPS[name](image, **parameters, **(known if name in ORACLES else {}))
    return image


def described(steps: Sequence[Step]) -> str:
    """A chain in words, such as `gamma(target 0.4), median(size 3)`."""
    return ', '.join(
        f'{name}({", ".join(f"{key} {value:g}" for key, value in parameters.items())})'
        for step in steps
        for name, parameters in step.items()
    )


@lru_cache
def tuned(path: Path = TUNED) -> Mapping[str, Tuned]:
    """The chains of `tuned.yml` by task; empty where the file is absent."""
    if not path.is_file():
        return {}
    content = plain_yaml.load_file(path)
    return {
        task: Tuned(tuple(row['steps']), row['input_psnr'], row['psnr'], row['tried'])
        for task, row in content['tasks'].items()
    }
