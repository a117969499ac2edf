"""Where relative paths of an option file point to."""

import os
from collections.abc import MutableMapping

PATH_KEYS = ('dataroot', 'meta_info', 'pretrain_network', 'resume_state')
"""An option whose name begins with one of these holds a path (or a list of paths) that is read."""


def resolve(value: str, root: str) -> str:
    """Find a file or folder named in an option file, whatever directory the run was started from.

    Args:
        value: The path as written; ``~`` stands for the home directory.
        root: The project's root folder.

    Returns:
        `value` as it is where it is absolute or exists from the current directory, as in BasicSR; otherwise the
        absolute path below `root` if that exists; otherwise `value`.
    """
    value = os.path.expanduser(value)
    if os.path.isabs(value) or os.path.exists(value):
        return value
    below_root = os.path.join(os.path.abspath(root), value)
    return below_root if os.path.exists(below_root) else value


def resolve_all(options: MutableMapping, root: str) -> None:
    """Apply `resolve` in place to every path in `options`, at any depth.

    Args:
        options: Options as read from YAML.
        root: The project's root folder.
    """
    for key, value in options.items():
        if isinstance(value, MutableMapping):
            resolve_all(value, root)
        elif isinstance(value, list):
            for part in value:
                if isinstance(part, MutableMapping):
                    resolve_all(part, root)
            if str(key).startswith(PATH_KEYS):
                options[key] = [resolve(part, root) if isinstance(part, str) else part for part in value]
        elif isinstance(value, str) and str(key).startswith(PATH_KEYS):
            options[key] = resolve(value, root)
