"""The weights that a user names: those in the package, a file, or a model of the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ['AUTO', 'DEFAULT_MODEL', 'LIGHT_MODEL', 'bundled_models', 'bundled_weights', 'find_weights']

WEIGHTS = Path(__file__).parent / 'weights'
DEFAULT_MODEL = 'mini'
LIGHT_MODEL = 'nano'  # for the same tasks in half the time
AUTO = 'auto'  # whichever of them suits the picture: `choice`
_PREFIX, _ENDING = 'mirage_', '.safetensors'
_FILE = 'model.safetensors'  # as the hub names it
_WEIGHTS = {'.pth', '.pt', '.ckpt', '.safetensors', '.bin'}


def bundled_models() -> list[str]:
    """Names of the weights that came with this installation, such as 'mini'."""
    return sorted(file.name[len(_PREFIX) : -len(_ENDING)] for file in WEIGHTS.glob(f'{_PREFIX}*{_ENDING}'))


def bundled_weights(name: str = DEFAULT_MODEL) -> Path:
    """The file of a bundled model.

    Raises:
        ValueError: There is none of this name.
    """
    file = WEIGHTS / f'{_PREFIX}{name}{_ENDING}'
    if name not in bundled_models():
        there = ', '.join(bundled_models()) or 'none'
        if name == AUTO:
            raise ValueError(f'{AUTO!r} restores with whichever model suits a picture; here name one of: {there}')
        raise ValueError(
            f'model must be one of those in the package ({there}; {AUTO!r} restores with whichever suits the picture), '
            f'got {name!r}; another weights file is given with -w FILE (weights=FILE)'
        )
    return file


def find_weights(source: str | Path) -> Path:
    """The weights file that a user means.

    Args:
        source: A file, a folder with a `model.safetensors`, or ``owner/name`` on the hub, if there is no such path.

    Returns:
        A file; a path that does not exist is returned as it is, for the reader to refuse.

    Raises:
        ValueError: A model of the hub that cannot be had.
    """
    path = Path(source)
    if path.is_dir() and (path / _FILE).is_file():
        return path / _FILE
    if path.exists() or not re.fullmatch(r'[\w-][\w.-]*/[\w-][\w.-]*', str(source)) or path.suffix in _WEIGHTS:
        return path
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise ValueError(
            f'{source}: no such file. If it is a model of the Hugging Face hub: pip install huggingface_hub'
        ) from error
    try:
        return Path(hf_hub_download(str(source), _FILE))
    except Exception as error:  # no connection, no such model, no such file: each has a class of its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f'{source}: no such file, and no such model on the Hugging Face hub ({reason})') from error
