"""Which files a synthesised data set consists of: one function per folder layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mirage_data.degradations.cdd11 import TYPES as CDD11_TYPES
from mirage_data.degradations.compose import Recipe, parse_recipe


@dataclass(frozen=True)
class Pair:
    """One degraded file and its clean partner.

    Attributes:
        source: number of the photograph.
        clean: file of the clean image below the output folder; several pairs may share one.
        degraded: file of the degraded image, '' where only the clean one is stored (noise is added later). With
            ``named_by_parameters`` drawn values are filled in: ``12_{airlight:.2f}_{beta:.2f}.jpg``.
        recipe: how it is made.
        named_by_parameters: see there.
    """

    source: int
    clean: str
    degraded: str
    recipe: Recipe | None
    named_by_parameters: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What the pair is called in the records."""
        return self.clean, self.degraded


def paired(names: Sequence[str], recipe: Recipe, copies: int) -> list[Pair]:
    """``lq/`` and ``gt/`` with the same names; with several copies ``NAME_2.png``, each with a clean partner."""
    pairs = []
    for number, name in enumerate(names):
        for copy in range(copies):
            file = f'{name}.png' if copy == 0 else f'{name}_{copy + 1}.png'
            pairs.append(Pair(number, f'gt/{file}', f'lq/{file}', recipe))
    return pairs


def cdd11(names: Sequence[str], recipe: Recipe | None, copies: int) -> list[Pair]:
    """CDD11's twelve folders, the same names in each; to be written to ``datasets/CDD-11/train`` or ``.../test``.

    A recipe replaces the published one where it names a type (``task: low_haze``).

    Raises:
        ValueError: more than one copy, which the layout has no names for.
    """
    if copies != 1:
        raise ValueError(f'copies: {copies}; the layout cdd11 holds each photograph once')
    recipes = {kind: parse_recipe([{'degradation': f'cdd11_{kind}'}]) for kind in CDD11_TYPES}
    recipes.update(_by_task(recipe, CDD11_TYPES, 'cdd11'))
    return [
        Pair(number, f'clear/{name}.png', f'{kind}/{name}.png', recipes[kind])
        for number, name in enumerate(names)
        for kind in CDD11_TYPES
    ]


FIVE_TASKS = {
    'derain': [{'degradation': 'rain', 'angle': [-12, 12], 'density': [0.05, 0.4], 'veil': 0, 'blend': 0}],
    'dehaze': [{'degradation': 'haze'}],
    'deblur': [{'degradation': 'motion_blur'}],
    'enhance': [{'degradation': 'low_light'}],
}


def train5(names: Sequence[str], recipe: Recipe | None, copies: int) -> list[Pair]:
    """The authors' training folders of the five-degradation setting, to be written to ``datasets/Train``."""
    recipes = _five_recipes(recipe)
    pairs = [Pair(number, f'Denoise/{name}.png', '', None) for number, name in enumerate(names)]
    for number, name in enumerate(names):
        for copy in range(copies):
            n = number * copies + copy + 1
            again = f'{name}.png' if copy == 0 else f'{name}_{copy + 1}.png'
            clear = f'Dehaze/original/{number + 1:04d}.jpg'
            hazy = f'Dehaze/synthetic/part{copy + 1}/{number + 1:04d}_{{airlight:.2f}}_{{beta:.3f}}.jpg'
            pairs += [
                Pair(number, f'Derain/gt/norain-{n}.png', f'Derain/rainy/rain-{n}.png', recipes['derain']),
                Pair(number, clear, hazy, recipes['dehaze'], named_by_parameters=True),
                Pair(number, f'Deblur/sharp/{again}', f'Deblur/blur/{again}', recipes['deblur']),
                Pair(number, f'Enhance/gt/{again}', f'Enhance/low/{again}', recipes['enhance']),
            ]
    return pairs


def test5(names: Sequence[str], recipe: Recipe | None, copies: int) -> list[Pair]:
    """The test folders of the five-degradation setting, to be written to ``datasets/test``.

    Raises:
        ValueError: more than one copy.
    """
    if copies != 1:
        raise ValueError(f'copies: {copies}; the layout test5 holds each photograph once')
    recipes = _five_recipes(recipe)
    pairs = []
    for number, name in enumerate(names):
        n, rain = number + 1, 'derain/Rain100L'
        hazy = f'dehaze/input/{n:04d}_{{airlight:.2f}}_{{beta:.3f}}.png'
        pairs += [
            Pair(number, f'denoise/bsd68/{name}.png', '', None),
            Pair(number, f'{rain}/target/norain-{n}.png', f'{rain}/input/rain-{n}.png', recipes['derain']),
            Pair(number, f'dehaze/target/{n:04d}.png', hazy, recipes['dehaze'], named_by_parameters=True),
            Pair(number, f'deblur/gopro/target/{name}.png', f'deblur/gopro/input/{name}.png', recipes['deblur']),
            Pair(number, f'enhance/lol/target/{name}.png', f'enhance/lol/input/{name}.png', recipes['enhance']),
        ]
    return pairs


def _five_recipes(recipe: Recipe | None) -> dict[str, Recipe]:
    own = _by_task(recipe, tuple(FIVE_TASKS), 'train5 and test5')
    return {task: own.get(task) or parse_recipe(items) for task, items in FIVE_TASKS.items()}


def _by_task(recipe: Recipe | None, tasks: Sequence[str], layout: str) -> dict[str, Recipe]:
    """The entries of a recipe, gathered by their task."""
    found: dict[str, list] = {}
    for entry in recipe.entries if recipe else ():
        if entry.task not in tasks:
            raise ValueError(
                f'recipe: task {entry.task!r} has no place in the layout {layout}; it has {", ".join(tasks)}'
            )
        found.setdefault(entry.task, []).append(entry)
    return {task: Recipe(tuple(entries)) for task, entries in found.items()}


LAYOUTS: dict[str, Callable[[Sequence[str], Recipe | None, int], list[Pair]]] = {
    'paired': paired,
    'cdd11': cdd11,
    'train5': train5,
    'test5': test5,
}
