"""One training run per name at a time."""

import os
import socket
import time

from .ranks import RunError

try:
    import fcntl
except ImportError:  # Windows has no flock: there the second run is not noticed
    fcntl = None

GRACE_SECONDS = 5.0
"""A killed run may take this long to disappear; its successor waits instead of giving up."""


class RunLock:
    """An exclusive lock on an experiment folder, given back by the kernel however the process ends.

    The file stands beside the folder, which may be renamed while the run starts. Forked DataLoader workers close it,
    or they would hold the lock after their parent was killed.

    Args:
        folder: The experiment folder; only its parent has to exist when `acquire` is called.
    """

    def __init__(self, folder: str):
        parent, name = os.path.split(os.path.abspath(folder))
        self.folder = folder
        self.path = os.path.join(parent, f'.{name}.lock')
        self._descriptor: int | None = None
        if hasattr(os, 'register_at_fork'):
            os.register_at_fork(after_in_child=self.release)

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            RunError: If another process holds it, or the file cannot be written.
        """
        if fcntl is None:
            return
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunError(
                f'Cannot write to {os.path.dirname(self.path)}: {error.strerror}. Experiments are kept there: '
                'give the folder write permission, or start the run from a project folder that has it.'
            ) from error
        deadline = time.monotonic() + GRACE_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    holder = os.read(descriptor, 200).decode(errors='replace').strip()
                    os.close(descriptor)
                    raise RunError(
                        f'{self.folder} is in use by another run ({holder or "unknown process"}). Wait for it, stop '
                        'it, or give this run another name (`name:` in the option file).'
                    ) from None
                time.sleep(0.1)
            except OSError:  # a file system without locks, such as some Lustre mounts: go on unprotected
                os.close(descriptor)
                return
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f'process {os.getpid()} on {socket.gethostname()}, since {time.ctime()}\n'.encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Close the lock file; in a forked child this leaves the parent's lock as it is."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
