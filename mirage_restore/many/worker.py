"""What a worker does: take one file, restore it, put the result in its place."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from mirage_data.crew import OF_THE_NODE, Outcome

from ..jobs import Job, Options
from .places import fetch, is_url, put, words_of

__all__ = ['Setup', 'Task', 'Worker']


@dataclass(frozen=True)
class Setup:
    """How every worker restores; the content of the weights travels along, since nodes need not share a disk.

    Attributes:
        weights: (name, content) of a weights file; None for a model of the package.
        model: Name of the weights in the package, or None.
        precision, tile, tile_overlap, allow_pickle, strength: As of `Restorer`.
        options: Naming and treatment of files.
        threads: Of PyTorch in each worker, whose number decides the last bits on a CPU; None leaves it as it is.
    """

    weights: tuple[str, bytes] | None = None
    model: str | None = None
    precision: str = 'fp32'
    tile: int | None = None
    tile_overlap: int | None = None
    allow_pickle: bool = False
    strength: float = 1.0
    options: Options = Options()
    threads: int | None = None


@dataclass(frozen=True)
class Task:
    """A file to restore: path or URL of the input, of the result, and of the comparison."""

    source: str
    target: str
    comparison: str | None = None


class Worker:
    """Holds the network; restores one file after another. The value of an outcome are notes of what was left out.

    Args:
        setup: How.
        device: As of `Restorer`.

    Raises:
        ValueError: The weights or the device cannot be used.
    """

    def __init__(self, setup: Setup, device: str) -> None:
        import torch

        from ..restorer import Restorer

        if setup.threads:
            torch.set_num_threads(setup.threads)
        self._setup = setup
        self._scratch = tempfile.TemporaryDirectory(prefix='mirage-restore-')
        weights = None
        if setup.weights is not None:
            name, content = setup.weights
            weights = Path(self._scratch.name) / name
            weights.write_bytes(content)
        self._restore = Restorer(
            weights,
            device,
            setup.precision,
            setup.tile,
            setup.tile_overlap,
            setup.allow_pickle,
            setup.model,
            setup.strength,
        )

    def work(self, task: Task) -> Outcome:
        """Restore a file; whatever is wrong with it is in the answer."""
        folder = ''
        try:
            with tempfile.TemporaryDirectory(dir=self._scratch.name) as folder:
                return Outcome(self._work(task, Path(folder)))
        except OSError as error:
            reason = f'{task.source}: {words_of(error)}'
            return Outcome(failure=reason.replace(folder, ''), elsewhere=error.errno in OF_THE_NODE)
        except (ValueError, RuntimeError, MemoryError) as error:
            words = str(error) or 'out of memory'
        except Exception as error:  # of a storage library: the next file may be fine
            words = f'{type(error).__name__}: {error}'
        for name in (os.path.join(folder, 'in', os.path.basename(task.source)), folder):
            words = words.replace(name, task.source) if folder else words
        return Outcome(failure=words if words.startswith(task.source) else f'{task.source}: {words}')

    def close(self) -> None:
        """Remove what was put aside."""
        self._scratch.cleanup()

    def _work(self, task: Task, folder: Path) -> tuple[str, ...]:
        from ..files import restore_job

        job = Job(
            self._local(task.source, folder / 'in'),
            self._local(task.target, folder / 'out'),
            self._local(task.comparison, folder / 'out') if task.comparison else None,
        )
        if is_url(task.source):
            job.source.parent.mkdir()
            fetch(task.source, job.source)
        notes = restore_job(self._restore, job, replace(self._setup.options, progress=False))
        for place, file in ((task.comparison, job.comparison), (task.target, job.target)):
            if place and is_url(place):
                put(file, place)
        return notes

    @staticmethod
    def _local(place: str, folder: Path) -> Path:
        return folder / os.path.basename(place) if is_url(place) else Path(place)
