"""The weights in the package, by name."""

from __future__ import annotations

from pathlib import Path

__all__ = ['DEFAULT_MODEL', 'bundled_models', 'bundled_weights']

WEIGHTS = Path(__file__).parent / 'weights'
DEFAULT_MODEL = 'nano'
_PREFIX, _ENDING = 'mirage_', '.safetensors'


def bundled_models() -> list[str]:
    """Names of the weights that came with this installation, such as 'nano'."""
    return sorted(file.name[len(_PREFIX) : -len(_ENDING)] for file in WEIGHTS.glob(f'{_PREFIX}*{_ENDING}'))


def bundled_weights(name: str = DEFAULT_MODEL) -> Path:
    """The file of a bundled model.

    Raises:
        ValueError: There is none of this name.
    """
    file = WEIGHTS / f'{_PREFIX}{name}{_ENDING}'
    if name not in bundled_models():
        there = ', '.join(bundled_models())
        raise ValueError(
            f'model must be one of those in the package ({there or "none"}), got {name!r}; another weights file is '
            'given with -w FILE (weights=FILE)'
        )
    return file
