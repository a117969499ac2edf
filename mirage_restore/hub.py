"""Networks on the Hugging Face hub. Sharing them needs the extra ``[hub]``; a folder of the hub's kind does not.

from mirage_restore.hub import HubMIRAGE
HubMIRAGE(dim=24).push_to_hub('owner/name')
net = HubMIRAGE.from_pretrained('owner/name')
restore = Restorer('owner/name')
"""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ['HubMIRAGE', 'find_weights']  # noqa: F822  the first is imported when it is first used

_FILE = 'model.safetensors'  # as the hub names it
_WEIGHTS = {'.pth', '.pt', '.ckpt', '.safetensors', '.bin'}


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


def __getattr__(name: str) -> object:
    if name != 'HubMIRAGE':
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from ._hub_network import HubMIRAGE

    return HubMIRAGE
