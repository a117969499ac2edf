"""Which model of the package a picture is restored with: `mirage-restore --model auto`, ``Restorer(model='auto')``.

Every model restores a few views of the picture. How far the results lie from it and from one another tells what is
wrong with it: where there is only noise the denoiser and the model for all tasks agree, where there is rain or haze
they do not. A linear map of these distances scores the models; `research/restoration/train_choice.py` trains it to lose
as little PSNR as possible against the best model for each picture.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mirage_arch.checkpoints import CheckpointError, read_safetensors

from .bundled import AUTO, WEIGHTS

__all__ = ['CHOICE', 'VIEW', 'Choice', 'Chooser', 'describe', 'read_choice', 'scores_of', 'views']

CHOICE = WEIGHTS / 'choice.safetensors'
VIEW = 192  # side of a view in pixels, as in training
_LARGEST = 4.0  # standard deviations that a number may lie off its mean
_WHOLE = 2 * VIEW * VIEW  # pixels up to which the picture itself is the only view
_BRIGHTENS = ('enhance',)
_LEVELS = (0.01, 0.05, 0.5, 0.95, 0.99)  # of brightness


@dataclass(frozen=True)
class Choice:
    """What a choice goes by.

    Args:
        models: Names, in the order of the scores.
        linear: `mean` and `scale` of the numbers that describe a view, `weight` and `bias`.
    """

    models: tuple[str, ...]
    linear: dict[str, Tensor]


def read_choice(file: Path = CHOICE) -> Choice:
    """What `research/restoration/train_choice.py` wrote.

    Raises:
        ValueError: The file is missing, damaged, or another one.
    """
    try:
        linear, about = read_safetensors(file)
    except CheckpointError as error:
        raise ValueError(f'{error} (model {AUTO!r} goes by it: install the package again, or name a model)') from error
    models = tuple(about.get('models', '').split())
    pictures = 1 + len(models)
    numbers = 5 * pictures * (pictures - 1) // 2 + len(_LEVELS)
    expected = {'mean': (numbers,), 'scale': (numbers,), 'weight': (len(models), numbers), 'bias': (len(models),)}
    if not models or {name: tuple(tensor.shape) for name, tensor in linear.items()} != expected:
        raise ValueError(f'{file}: is not what model {AUTO!r} goes by; install the package again, or name a model')
    return Choice(models, {name: tensor.clone() for name, tensor in linear.items()})  # not the file's own memory


class Chooser:
    """Scores models for a picture.

    Args:
        choice: What it goes by.
        restores: Each of its models as a function, (1, 3, h, w) -> the same, restored.
    """

    def __init__(self, choice: Choice, restores: Sequence[Callable[[Tensor], Tensor]]) -> None:
        self.models, self._linear, self._restores = choice.models, choice.linear, restores

    def scores(self, picture: Tensor) -> Tensor:
        """(1, 3, h, w) in [0, 1] -> a score for each of `models`."""
        total = torch.zeros(len(self.models))
        for share, view in views(picture):
            numbers = describe([view, *(restore(view) for restore in self._restores)])
            total += share * scores_of(numbers, self._linear)
        return total

    def __call__(self, pictures: Iterable[Tensor], keep_tone: bool = False) -> str | None:
        """The model with the highest score for a picture, or for frames of a video together.

        Args:
            pictures: Each (1, 3, h, w) in [0, 1].
            keep_tone: Take none that is there to change brightness.

        Returns:
            Its name; None where there is no picture.
        """
        scores = [self.scores(picture) for picture in pictures]
        if not scores:
            return None
        total = torch.stack(scores).sum(dim=0)
        allowed = [i for i, name in enumerate(self.models) if not (keep_tone and name in _BRIGHTENS)]
        return self.models[max(allowed, key=lambda i: float(total[i]))]


def views(picture: Tensor) -> list[tuple[float, Tensor]]:
    """What of a picture (1, 3, h, w) is looked at, with shares that sum to 1.

    A small picture is looked at as it is. Of a larger one a third is the whole scaled down, which shows haze and
    darkness, the rest four parts of it in full resolution, which show noise and rain.
    """
    h, w = picture.shape[-2:]
    if h * w <= _WHOLE:
        return [(1.0, picture)]
    scale = math.sqrt(VIEW * VIEW / (h * w))
    small = F.interpolate(picture, (max(1, round(scale * h)), max(1, round(scale * w))), mode='area')
    tall, wide = min(VIEW, h), min(VIEW, w)
    corners = itertools.product(((h - tall) // 4, 3 * (h - tall) // 4), ((w - wide) // 4, 3 * (w - wide) // 4))
    return [(1 / 3, small), *((1 / 6, picture[..., y : y + tall, x : x + wide]) for y, x in corners)]


def describe(pictures: Sequence[Tensor]) -> Tensor:
    """Numbers of a view and of what the models made of it, each (1, 3, h, w): distances, shifts, the view's levels."""
    view = pictures[0]
    numbers = []
    for one, other in itertools.combinations([picture.float().clamp(0, 1) for picture in pictures], 2):
        difference = one - other
        numbers += [_log(F.avg_pool2d(difference, side, ceil_mode=True).square().mean(), 1e-7) for side in (1, 2, 8)]
        numbers += [_log(difference.square().square().mean(), 1e-10), 4 * difference.mean()]
    flat = view.float().flatten()
    ranks = [flat.kthvalue(1 + round(level * (len(flat) - 1))).values for level in _LEVELS]
    return torch.stack([*numbers, *ranks]).cpu()


def scores_of(numbers: Tensor, linear: Mapping[str, Tensor]) -> Tensor:
    """(..., numbers) -> (..., models), by `mean` and `scale` of the numbers, `weight` and `bias`."""
    standard = ((numbers - linear['mean']) / linear['scale']).clamp(-_LARGEST, _LARGEST)
    return standard @ linear['weight'].T + linear['bias']


def _log(value: Tensor, floor: float) -> Tensor:
    return (value + floor).log10()
