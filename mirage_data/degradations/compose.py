"""Recipes: which degradations a set is made of, how often each occurs, and with which parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mirage_data.files.image import to_float

from .depth import WHOLE
from .noise import to_uint8
from .parameters import Window, apply, check_range, draw, lookup, reach_of
from .table import GROUPS

OWN_KEYS = ('degradation', 'weight', 'probability', 'task', 'order')
ORDERS = ('physical', 'given')


@dataclass(frozen=True)
class Member:
    """One degradation of an entry, with the ranges asked for and the probability that it takes part."""

    name: str
    ranges: Mapping[str, Any] = field(default_factory=dict)
    probability: float = 1.0


@dataclass(frozen=True)
class Entry:
    """One line of a recipe: degradations applied one after the other."""

    members: tuple[Member, ...]
    weight: float
    task: str

    @property
    def margin(self) -> int:
        """Pixels around a crop that the result inside depends on."""
        return sum(reach_of(member.name, member.ranges) for member in self.members)

    @property
    def makes_scenes(self) -> bool:
        """Whether a member changes the clean side, too."""
        return any(lookup(member.name).scene for member in self.members)


@dataclass(frozen=True)
class Recipe:
    """A list of entries, one of which is drawn for each sample."""

    entries: tuple[Entry, ...]

    def pick(self, rng: np.random.Generator) -> Entry:
        """Draw an entry by weight; takes exactly one number of the generator."""
        weights = np.cumsum([entry.weight for entry in self.entries])
        place = int(np.searchsorted(weights, rng.random() * weights[-1], side='right'))
        return self.entries[min(place, len(self.entries) - 1)]


def _member(name: str, options: Mapping[str, Any], where: str) -> Member:
    lookup(name)
    if not isinstance(options, Mapping):
        raise ValueError(f'{where}: {name} must hold a mapping of parameters, found {options!r}')
    ranges = {key: value for key, value in options.items() if key != 'probability'}
    for key, value in ranges.items():
        check_range(name, key, value)
    probability = options.get('probability', 1.0)
    if isinstance(probability, bool) or not isinstance(probability, (int, float)) or not 0 <= probability <= 1:
        raise ValueError(f'{where}: probability of {name} must lie in [0, 1], found {probability!r}')
    return Member(name, ranges, float(probability))


def _entry(options: Any, where: str) -> Entry:
    if not isinstance(options, Mapping) or 'degradation' not in options:
        raise ValueError(f'{where}: expected a mapping with the key degradation, found {options!r}')
    named = options['degradation']
    names = [named] if isinstance(named, str) else list(named) if isinstance(named, Sequence) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f'{where}: degradation must be a name or a list of names, found {named!r}')
    groups = [name for name in names if name in GROUPS]
    if groups:
        raise ValueError(f'{where}: {groups[0]} stands for several rows and cannot be combined; name one of them')
    if len(set(names)) != len(names):
        raise ValueError(f'{where}: a degradation may occur once, found {names!r}')
    rest = {key: value for key, value in options.items() if key not in OWN_KEYS}
    if len(names) == 1 and not isinstance(rest.get(names[0]), Mapping):
        members = [_member(names[0], rest, where)]  # a single degradation has its ranges beside its name
    else:
        foreign = sorted(set(rest) - set(names))
        if foreign:
            raise ValueError(f'{where}: unknown key {foreign[0]!r}; allowed are {", ".join((*OWN_KEYS, *names))}')
        members = [_member(name, rest.get(name, {}), where) for name in names]

    order = options.get('order', 'physical')
    if order not in ORDERS:
        raise ValueError(f'{where}: order must be one of {", ".join(ORDERS)}, found {order!r}')
    if order == 'physical':
        members.sort(key=lambda member: lookup(member.name).stage)
    members.sort(key=lambda member: not lookup(member.name).scene)  # a scene is there before anything happens to it
    if 'weight' in options and 'probability' in options:
        raise ValueError(f'{where}: give weight or probability, not both')
    weight = options.get('weight', options.get('probability', 1.0))
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < float('inf'):
        raise ValueError(f'{where}: weight must be a number >= 0, found {weight!r}')
    faults = [member for member in members if not lookup(member.name).scene] or members
    tasks = dict.fromkeys(lookup(member.name).task for member in faults)
    return Entry(tuple(members), float(weight), str(options.get('task', '_'.join(tasks))))


def _expand(options: Any) -> list[Any]:
    """An item that names a group, as one item for each row of it; any other item as it is."""
    named = options.get('degradation') if isinstance(options, Mapping) else None
    if not isinstance(named, str) or named not in GROUPS:
        return [options]
    group = GROUPS[named]
    ranges = {key for name in group for key in lookup(name).parameters}
    weight = 'probability' if 'probability' in options else 'weight'
    whole = options.get(weight, 1)
    share = whole / len(group) if isinstance(whole, (int, float)) else whole  # what is no number is refused below
    return [
        {key: value for key, value in options.items() if key not in ranges or key in lookup(name).parameters}
        | {'degradation': name, weight: share}
        for name in group
    ]


def parse_recipe(recipe: Any) -> Recipe:
    """Check a recipe as it stands in an option file and turn it into a `Recipe`.

    Each item is a mapping with

    - ``degradation``: a name of the table, a list of names, or a group (``cdd11``: its eleven types equally often),
    - ``weight`` (or ``probability``): how often the item is drawn in relation to the others, 1 if absent,
    - ranges: for a single name directly (``sigma: [5, 55]``), for several under each name
      (``jpeg: {quality: [30, 60], probability: 0.5}``); such a ``probability`` makes a member optional,
    - ``order``: ``physical`` (scene, air, lens, exposure, sensor, file; the default) or ``given``,
    - ``task``: what samples of this item are called; the table's names of the tasks joined by ``_`` if absent.

    Raises:
        ValueError: Anything else, naming the item, what was found and what is allowed.
    """
    if isinstance(recipe, Recipe):
        return recipe
    items = [recipe] if isinstance(recipe, Mapping) else recipe
    if not isinstance(items, Sequence) or isinstance(items, str) or not items:
        raise ValueError(f'recipe must be a list of mappings with the key degradation, found {recipe!r}')
    entries = tuple(_entry(row, f'recipe[{i}]') for i, item in enumerate(items) for row in _expand(item))
    if sum(entry.weight for entry in entries) <= 0:
        raise ValueError('recipe: at least one weight must be above 0')
    return Recipe(entries)


def degrade_pair(
    image: np.ndarray, entry: Entry, rng: np.random.Generator, window: Window = WHOLE
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Apply one entry; beside what `degrade` returns the clean side, in the middle.

    The clean side is ``image`` itself unless a member makes another scene of it; such a scene has whole 8-bit steps.
    """
    steps, clean = [], image
    for member in entry.members:
        if member.probability < 1 and rng.random() >= member.probability:
            continue
        params = draw(member.name, rng, member.ranges)
        image = apply(member.name, image, params, rng, window)
        if lookup(member.name).scene:
            image = clean = to_float(to_uint8(image))
        steps.append({'degradation': member.name, **params})
    return np.clip(image, 0, 1), clean, {'task': entry.task, 'window': list(window), 'steps': steps}


def degrade(
    image: np.ndarray, recipe: Any, rng: np.random.Generator, window: Window = WHOLE
) -> tuple[np.ndarray, dict[str, Any]]:
    """Draw an entry of a recipe and apply it.

    Args:
        image: ``(h, w, 3)`` float32 RGB in [0, 1]; not changed.
        recipe: See `parse_recipe`, or its result.
        rng: Source of all randomness.
        window: Where in its photograph the image lies, as shares (top, bottom, left, right).

    Returns:
        the degraded image (float32, clipped to [0, 1]) and a record of plain Python values: ``task``, ``window`` and
        ``steps``, a list of ``{'degradation': name, <every parameter>}`` in the order of application.
    """
    lq, _, record = degrade_pair(image, parse_recipe(recipe).pick(rng), rng, window)
    return lq, record
