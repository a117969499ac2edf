"""Pictures of a validation: where they go."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

_ROOTS = ('dataroot_lq', 'dataroot_gt', 'dataroot')


class PictureNames:
    """Distinct names for the pictures of one data set, whatever its folders look like.

    A picture is named after its file's place below the data set's folder, so equal names in different folders stay
    apart; the file ending is added where two files differ by nothing else; and the sample's number where the file
    lies in none of the data set's folders (an LMDB key, say) or the name of a file serves for several samples.

    Args:
        dataset_opt: Options of the data set; its ``dataroot_lq``, ``dataroot_gt`` or ``dataroot`` are the folders.
    """

    def __init__(self, dataset_opt: Mapping) -> None:
        # links stay: `prepare` links the files of a download, and their names here are the ones that count
        self._roots = [Path(os.path.abspath(dataset_opt[key])) for key in _ROOTS if dataset_opt.get(key)]

    def __call__(self, lq_path: str, index: int) -> str:
        """Name without ending, with ``/`` between folders.

        Args:
            lq_path: File or key of the degraded image.
            index: Number of the sample in its data set.
        """
        path = Path(lq_path)
        absolute = Path(os.path.abspath(lq_path))
        for root in self._roots:
            if root in absolute.parents:
                relative = absolute.relative_to(root)
                twins = _stems(str(absolute.parent)).count(path.stem) > 1
                named = relative.with_name(path.name.replace('.', '_')) if twins else relative.with_suffix('')
                return named.as_posix()
        return f'{index:05d}_{path.stem}'


@lru_cache(maxsize=64)
def _stems(folder: str) -> tuple[str, ...]:
    try:
        return tuple(os.path.splitext(name)[0] for name in os.listdir(folder))
    except OSError:
        return ()
