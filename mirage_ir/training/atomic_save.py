"""Writing a checkpoint so that a kill, a power failure or a full disk leaves the old file or the new one."""

import errno
import hashlib
import io
import os
import shutil
import time
from typing import Any

import torch
from basicsr.utils import get_root_logger

from mirage_data.files.write import write_file

from .ranks import RunError

_HOPELESS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR}


def atomic_torch_save(obj: Any, path: str, *, attempts: int = 3) -> str:
    """Save an object so that `path` holds either its old content or all of the new one, at every instant.

    Args:
        obj: What `torch.save` accepts.
        path: Target file; its folder is made if it is missing.
        attempts: How often to try when the error may pass (a network file system that is away for a second).

    Returns:
        The SHA-256 of the file, in hexadecimal.

    Raises:
        RunError: If the file cannot be written; names the file, the cause and the cure.
    """
    buffer = io.BytesIO()  # a file object, not a name: torch writes the name into the file, and bytes would differ
    torch.save(obj, buffer)
    data = buffer.getbuffer()
    for attempt in range(1, attempts + 1):
        try:
            write_file(path, data, durable=True)
            return hashlib.sha256(data).hexdigest()
        except OSError as error:
            if attempt == attempts or error.errno in _HOPELESS:
                raise RunError(_describe_failure(path, len(data), error)) from error
            get_root_logger().warning(f'Saving {path} failed ({error}); trying again.')
            time.sleep(1.0)


def _describe_failure(path: str, size: int, error: OSError) -> str:
    message = f'Cannot save {path}: {error.strerror or error}.'
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        folder = os.path.dirname(os.path.abspath(path))
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        free = shutil.disk_usage(folder).free
        message += (
            f' The file needs {size / 1e6:.1f} MB, {free / 1e6:.1f} MB are free. Free some space, save less often '
            '(logger: save_checkpoint_freq) or keep fewer (logger: keep_checkpoints).'
        )
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        message += ' The folder is read-only for this user: give it write permission.'
    return message + ' Everything saved before is intact: continue with the same command and --auto_resume.'
