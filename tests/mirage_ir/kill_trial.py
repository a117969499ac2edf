"""Killing a training run again and again, and comparing what comes out with the run that was left alone."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from small_run import Run, fingerprint, launch, link_launchers, logged_losses, write_options

MOMENTS = ('training', 'writing', 'training', 'starting', 'training', 'writing')
"""Kinds of instants, in turn: between and within iterations, while a checkpoint is written, before training began."""

_STARTED = re.compile(r'Start training from epoch: \d+, iter: (\d+)')
_FOLDERS = ('models', 'training_states')
LIMIT_SECONDS = 400


@dataclass
class Kill:
    """One kill.

    Args:
        moment: One of `MOMENTS`.
        seconds: Time from the launch to the kill.
        iteration: The last iteration that the log shows.
        states: Iterations of the states on disk afterwards.
        half_written: Files that the kill left unfinished.
    """

    moment: str
    seconds: float
    iteration: int
    states: list[int]
    half_written: list[str]


@dataclass
class Result:
    """Everything a bit-exact resume must reproduce: hashes of states, logged values, the table of validations."""

    hashes: dict[str, str]
    losses: dict[int, set[str]]
    validation: str
    kills: list[Kill] = field(default_factory=list)

    def differences(self, other: 'Result') -> list[str]:
        """Return the names of what is not the same in `other`."""
        found = [key for key in {**self.hashes, **other.hashes} if self.hashes.get(key) != other.hashes.get(key)]
        found += [f'log of iteration {i}' for i in self.losses if self.losses[i] != other.losses.get(i)]
        return found + (['validation.csv'] if self.validation != other.validation else [])


def prepare(root: Path, **changes) -> None:
    """Make a project folder with launchers, pictures and ``small.yml``."""
    root.mkdir(parents=True, exist_ok=True)
    link_launchers(root)
    write_options(root, **changes)


def collect(root: Path) -> Result:
    """Read the outcome of a finished run from its folder and those archived beside it."""
    experiment = root / 'experiments' / 'small'
    losses: dict[int, set[str]] = {}
    for folder in (root / 'experiments').glob('small*'):
        for iteration, texts in logged_losses(folder).items():
            losses.setdefault(iteration, set()).update(texts)
    return Result(fingerprint(experiment), losses, (experiment / 'validation.csv').read_text())


def run_to_end(root: Path, *arguments: str, start: Callable[..., Run] = launch) -> str:
    """Run the training and return what it printed.

    Raises:
        RuntimeError: If it fails.
    """
    run = start(root, '-opt', 'small.yml', *arguments)
    text = run.finish()
    if run.returncode:
        raise RuntimeError(f'training ended with {run.returncode}:\n{text[-4000:]}')
    return text


def run_and_kill(
    root: Path, moment: str, rng: np.random.Generator, *, span: int, startup: float, start: Callable[..., Run] = launch
) -> Kill | None:
    """Start or resume the run, and kill -9 it at a random instant.

    Args:
        root: Folder of `prepare`.
        moment: One of `MOMENTS`.
        rng: Draws the instant.
        span: Largest number of further iterations before a kill.
        startup: Longest time in seconds between the launch and a kill while starting.
        start: `launch` or `fork` of `small_run`.

    Returns:
        What was killed, or None if the run finished first.
    """
    begin = time.monotonic()
    run = start(root, '-opt', 'small.yml', '--auto_resume')
    experiment = root / 'experiments' / 'small'
    try:
        if moment == 'starting':
            time.sleep(rng.uniform(0, startup))
        else:
            _wait(run, lambda: _STARTED.search(run.text()))
            begun = _STARTED.search(run.text())
            first = int(begun[1]) if begun else 0
            goal = first + int(rng.integers(0, span + 1))
            _wait(run, lambda: _reached(run.text(), first) >= goal)
            if moment == 'writing':
                _wait(run, lambda: any(_parts(experiment / name) for name in _FOLDERS), pause=0)
            else:
                time.sleep(rng.uniform(0, 0.1))
    finally:
        finished = run.returncode is not None
        run.kill()
    seconds = time.monotonic() - begin
    text = run.text()
    if finished:
        if run.returncode:
            raise RuntimeError(f'training ended with {run.returncode}:\n{text[-4000:]}')
        return None
    states = sorted(int(path.stem) for path in experiment.glob('training_states/*.state'))
    left = [path.name for name in _FOLDERS for path in _parts(experiment / name)]
    begun = _STARTED.search(text)
    return Kill(moment, seconds, _reached(text, int(begun[1]) if begun else 0), states, left)


def _parts(folder: Path) -> list[Path]:
    return list(folder.glob('*.part'))


def _reached(text: str, first: int) -> int:
    """Return the last iteration of a log, or `first`, where it began."""
    found = re.findall(r'iter:\s*([\d,]+), lr:', text)
    return int(found[-1].replace(',', '')) if found else first


def _wait(run: Run, condition: Callable[[], object], pause: float = 0.005) -> None:
    """Wait until a condition holds or the run ends."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while run.returncode is None and not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f'nothing happened for {LIMIT_SECONDS} s:\n{run.text()[-4000:]}')
        time.sleep(pause)
