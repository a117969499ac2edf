"""Stopping a run in an orderly way: Ctrl-C, or the SIGTERM that a cluster sends before it takes the machine away."""

import os
import signal
import threading
import time
from types import FrameType

from .ranks import largest_of_all_ranks

IMPATIENCE_SECONDS = 2.0
"""A second Ctrl-C later than this ends the run at once; torchrun repeats the first one sooner."""

COMPILING_SECONDS = 8.0
"""A stop signal that arrives while the network is compiled, and that is not heeded for so long, ends the process.

The compiler's own processes are mostly signalled with it, die of it, and leave the trainer waiting for them for ever.
"""


class StopSignal:
    """Remembers a signal until the training loop asks for it, between two iterations.

    Before `arm` is called, while a run is still being set up, there is nothing to save and a signal ends it at once.
    Forked DataLoader workers inherit the handlers; `mirage_ir.compat.worker_init_fn` puts theirs back.
    """

    def __init__(self) -> None:
        self._received = 0
        self._since = 0.0
        self._armed = False
        self._compiling = False
        self._previous: dict[int, object] = {}

    def arm(self) -> None:
        """Remember signals from now on."""
        self._armed = True

    def compiling(self, *, now: bool) -> None:
        """Tell whether a step is under way that may compile the network.

        If a signal has arrived meanwhile, `received` answers it as ever.
        """
        self._compiling = now

    def _leave_if_stuck(self, number: int) -> None:
        deadline = time.monotonic() + COMPILING_SECONDS
        while time.monotonic() < deadline:
            if not self._compiling:
                return
            time.sleep(0.1)
        os.write(
            2,
            b'The network was being compiled, and what compiles it was stopped, too: ended without saving. '
            b'To go on from the last state, give the same command with --auto_resume.\n',
        )
        os._exit(128 + number)

    def __enter__(self) -> 'StopSignal':
        if threading.current_thread() is not threading.main_thread():
            return self  # python hands signals to the main thread only
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if not self._armed:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        impatient = time.monotonic() - self._since > IMPATIENCE_SECONDS
        if self._received and number == signal.SIGINT and impatient:
            raise KeyboardInterrupt
        if not self._received:
            self._received, self._since = number, time.monotonic()
            # os.write, because a print that was interrupted must not be entered again
            if self._compiling:
                threading.Thread(target=self._leave_if_stuck, args=(number,), daemon=True).start()
            os.write(2, b'\nStopping after this iteration or validation; Ctrl-C again stops at once, without saving.\n')

    def received(self) -> int:
        """Return the number of the signal that any rank has received, or 0; every rank must ask."""
        return largest_of_all_ranks(self._received)
