"""Making the names of this project known to another project, and taking them back.

The projects of this field find networks in a handful of ways: BasicSR and its plugins import every file of a folder,
its older forks do and look for a class by its name, others have registries of their own or import one name.
`link_files` has what each needs; `link` writes those files, edits none, and says which lines a person has to add where
files do not suffice.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from mirage_data.files.write import write_file

from .link_files import MARKER, Plan, is_edited, is_shim, linked_files, plan_for

__all__ = ['MARKER', 'LinkError', 'is_shim', 'link', 'plan_of', 'unlink']


class LinkError(ValueError):
    """A folder that cannot be linked or unlinked; nothing was changed in it."""


def plan_of(checkout: str | Path) -> Plan:
    """What `link` does in a project.

    Args:
        checkout: The project's folder, or the ``basicsr`` folder in it.

    Raises:
        LinkError: It is of no known kind, or an installed package, which is never edited, or cannot be read.
    """
    root = _root(checkout)
    if {'site-packages', 'dist-packages'} & set(root.resolve().parts):
        raise LinkError(
            f'{checkout} is an installed package, which is never edited. It needs no link: run '
            '`mirage-basicsr train` and `mirage-basicsr test`'
        )
    try:
        plan = plan_for(root)
    except OSError as error:
        raise LinkError(f'{error.filename} cannot be read ({error.strerror}); it tells what {checkout} is') from error
    if plan is None:
        found = 'is of no kind that is known' if root.is_dir() else 'is no folder'
        raise LinkError(
            f'{checkout} {found}. Known are BasicSR (basicsr/archs with a registry), its older forks '
            '(basicsr/models/archs), projects that call its pipeline, traiNNer-redux, neosr, KAIR, SwinIR, '
            'PromptIR and AdaIR. Elsewhere copy mirage_arch/mirage_arch.py to where the networks are'
        )
    return plan


def link(checkout: str | Path) -> Plan:
    """Writes the files of a project's plan, or writes them again.

    Args:
        checkout: See `plan_of`.

    Returns:
        The plan: what was written and what is left to do.

    Raises:
        LinkError: As `plan_of`, or a file of that name is there that this did not write or that was edited since, or
            the project cannot be written to.
    """
    plan = plan_of(checkout)
    _refuse_others(plan.files)
    for path, content in plan.files.items():
        try:
            write_file(path, content)
        except OSError as error:
            raise LinkError(
                f'{path} cannot be written ({error.strerror}). `mirage-basicsr unlink` removes what was before it'
            ) from error
    return plan


def unlink(checkout: str | Path) -> list[Path]:
    """Removes what `link` wrote, and nothing else.

    Args:
        checkout: See `plan_of`.

    Returns:
        The files removed; none if the project was not linked.

    Raises:
        LinkError: As `link`.
    """
    plan = plan_of(checkout)
    present = linked_files(_root(checkout), plan)
    _refuse_others({*plan.files, *present})
    for path in present:
        try:
            path.unlink()
        except OSError as error:
            raise LinkError(f'{path} cannot be removed ({error.strerror})') from error
    return present


def _root(checkout: str | Path) -> Path:
    root = Path(os.path.abspath(os.path.expanduser(checkout)))  # its name, also that of `.`; links are not followed
    return root.parent if root.name == 'basicsr' and (root / 'models').is_dir() else root


def _refuse_others(files: Iterable[Path]) -> None:
    present = sorted(path for path in files if os.path.lexists(path))
    if foreign := [str(path) for path in present if not is_shim(path)]:
        raise LinkError(f'{", ".join(foreign)}: not written by `mirage-basicsr link`, so left as it is; move it away')
    if edited := [str(path) for path in present if is_edited(path)]:
        raise LinkError(
            f'{", ".join(edited)}: changed since `mirage-basicsr link` wrote it, so left as it is. Copy elsewhere what '
            'you want to keep of it, then delete it and run this again'
        )
