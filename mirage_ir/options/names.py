"""Which keys a section may have: strictly what is declared for ours; for foreign classes what their source reads.

BasicSR's and other projects' classes declare nothing, so every word in their files counts as read there, and only a
misspelt one is complained about.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mirage_data.option import Option

from .file import KeyPath, OptionFile, nearest, nearest_hint
from .places import hint
from .rules import RETIRED

OWN_PACKAGES = ('mirage_arch', 'mirage_losses', 'mirage_data', 'mirage_ir')


def is_ours(thing: Any) -> bool:
    """Whether a class, an instance or a function is this project's or derives from what is."""
    kind = thing if inspect.isclass(thing) or inspect.isfunction(thing) else type(thing)
    bases = inspect.getmro(kind) if inspect.isclass(kind) else (kind,)
    return any(base.__module__.partition('.')[0] in OWN_PACKAGES for base in bases)


def registered(registry: Iterable[tuple[str, Any]], name: Any) -> Any:
    """What a BasicSR registry finds under ``name`` (it also tries ``NAME_basicsr``), or None."""
    entries = dict(iter(registry))
    return entries.get(name, entries.get(f'{name}_basicsr')) if isinstance(name, str) else None


def check_type(options: OptionFile, key: KeyPath, registry: Iterable[tuple[str, Any]], kind: str) -> Any:
    """The registered object that ``key``'s ``type`` names; complains and returns None if there is none."""
    name = options.section(*key).get('type')
    if name is None:
        options.add((*key, 'type'), 'missing', f'add `type:` with the name of a {kind}')
        return None
    found = registered(registry, name)
    if found is None:
        known = sorted(entry for entry, _ in registry)
        options.add(
            (*key, 'type'),
            f'no {kind} is called {name!r}',
            nearest_hint(name, known) or f'registered are: {", ".join(known)}',
        )
    return found


def check_arguments(
    options: OptionFile,
    key: KeyPath,
    function: Callable,
    *,
    given: Collection[str] = (),
    filled: Collection[str] = (),
    beside: Collection[str] = ('type',),
    here: str = '',
) -> bool:
    """Compares the keys of a section with the arguments of what it will be passed to.

    Args:
        options: The option file.
        key: The section.
        function: A class or function.
        given: Arguments that the caller always supplies itself.
        filled: Arguments that the caller supplies where the section does not.
        beside: Keys of the section that are not passed on.
        here: The section in words, as `places.places_of` has it.

    Returns:
        Whether a call with these keys is possible.
    """
    parameters = inspect.signature(function).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {name for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    allowed = named - set(given)
    section = options.section(*key)
    label = getattr(function, '__name__', str(function))
    good = True
    for name in section:
        if name in allowed or name in beside or (takes_any and not _misspells(name, allowed - set(section))):
            continue
        good = False
        options.add(
            (*key, name),
            f'{label} has no argument {name!r}',
            hint(name, here, sorted(allowed), section) or f'it takes {", ".join(sorted(allowed)) or "none"}',
        )
    for name in sorted(allowed - set(section) - set(filled)):
        if parameters[name].default is inspect.Parameter.empty:
            good = False
            options.add((*key, name), f'{label} needs this key', f'add `{name}:` to this section')
    return good


def check_rules(options: OptionFile, key: KeyPath, rules: Mapping[str, Option], training: bool = True) -> bool:
    """Checks kinds, ranges and required keys of a section; True if all are right."""
    section = options.section(*key)
    good = True
    for name, rule in rules.items():
        if name not in section:
            needed = rule.required is True or (training and rule.required == 'train')
            if needed:
                options.add((*key, name), 'missing', f'add `{name}:` with {rule.allowed()}')
            good &= not needed
            continue
        fault = rule.fault(section[name])
        if fault:
            good = False
            options.add((*key, name), fault, cure(section[name], rule))
    return good


def check_section(
    options: OptionFile,
    key: KeyPath,
    declared: Mapping[str, Option],
    here: str,
    *,
    training: bool = True,
    also: Collection[str] = (),
) -> None:
    """Checks a section of which all keys are declared: kinds and ranges, and that nothing else stands in it.

    Args:
        options: The option file.
        key: The section.
        declared: Its options.
        here: The section in words, as `places.places_of` has it.
        training: Whether what only training requires is required.
        also: Further allowed keys.
    """
    check_rules(options, key, declared, training)
    section = options.section(*key)
    for name in section:
        if name in declared or name in also or str(name).startswith(('_', 'x-')):
            continue
        options.add(
            (*key, name),
            'nothing reads this key here',
            hint(name, here, declared, section) or f'allowed are {", ".join(sorted(map(str, declared)))}',
        )


def check_unknown(options: OptionFile, key: KeyPath, known: Collection[str], readers: Iterable[Any]) -> None:
    """Complains about keys of foreign classes that resemble one that is read.

    Other keys that nothing reads pass: published files of other projects carry keys of older versions along.

    Args:
        options: The option file.
        key: The section.
        known: Names from the tables.
        readers: Classes and functions whose source is searched for the rest.
    """
    section = options.section(*key)
    doubtful = [name for name in section if name not in known and not str(name).startswith(('_', 'x-'))]
    if not doubtful:
        return
    read = set().union(*(names_read_by(reader) for reader in readers if reader is not None))
    candidates = (set(known) | read) - set(section)
    for name in doubtful:
        if name not in read and name not in RETIRED and _misspells(name, candidates):
            options.add(
                (*key, name),
                'nothing reads this key',
                nearest_hint(name, set(known) - set(section)) or nearest_hint(name, candidates),
            )


def names_read_by(thing: Any, beside: Collection[str] = ('torch',)) -> frozenset[str]:
    """Every word that stands as a text in the files of a class and its bases.

    Args:
        thing: A class or function that declares nothing.
        beside: Packages that are left out.
    """
    bases = inspect.getmro(thing) if inspect.isclass(thing) else (thing,)
    modules = {base.__module__ for base in bases if base.__module__.partition('.')[0] not in beside}
    files = {getattr(sys.modules.get(module), '__file__', None) for module in modules}
    return frozenset().union(*(_words(Path(file)) for file in files if file))


def words_of_derived(kind: Any) -> frozenset[str]:
    """What a class of another project reads that derives from one of ours, beside what ours declares."""
    return names_read_by(kind, (*OWN_PACKAGES, 'basicsr', 'torch', 'builtins'))


@cache
def _words(file: Path) -> frozenset[str]:
    if file.suffix != '.py':  # a compiled module shows no source
        return frozenset()
    tree = ast.parse(file.read_bytes())
    return frozenset(
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier()
    )


def _misspells(name: Any, candidates: Collection[str]) -> bool:
    return nearest(name, candidates, cutoff=0.85) is not None


def cure(value: Any, rule: Option) -> str:
    """What to write in place of ``value``."""
    allowed = f'allowed is {rule.allowed()}'
    if rule.kind == 'text' and not rule.choices and isinstance(value, (int, float)):
        return f'{allowed}: put it in quotation marks'
    if not isinstance(value, str):
        return allowed
    if rule.kind in ('count', 'number'):
        try:
            number = float(value)
        except ValueError:
            return allowed
        return f'{allowed}: write {spelled(number)} without quotation marks'
    if rule.kind == 'flag' and value.lower() in ('true', 'false', 'yes', 'no'):
        return f'{allowed}, without quotation marks'
    return nearest_hint(value, map(str, rule.choices)) or allowed


def spelled(number: float) -> str:
    """A number as YAML 1.1 reads it: with a point in front of the exponent, and a sign in it."""
    text = f'{number:g}'
    mantissa, e, exponent = text.partition('e')
    return f'{mantissa if "." in mantissa else mantissa + ".0"}e{exponent}' if e else text
