"""How long a thread that waits for the others keeps its core busy. To be set before PyTorch is loaded."""

import os
import sys

#: Turns of a waiting thread's loop, a fraction of a millisecond: longer than from one operation to the next, short
#: beside what another program that wants the core gets at a time. Left alone, GNU's OpenMP turns for milliseconds at
#: every barrier.
SPIN_TURNS = 5000


def bound_spinning() -> None:
    """Lets OpenMP's threads spin briefly and then sleep, unless the environment says how they shall wait.

    Called by the commands and launchers before anything imports torch; afterwards it would have no effect, and nothing
    is changed. ``OMP_WAIT_POLICY``, ``GOMP_SPINCOUNT`` and ``KMP_BLOCKTIME`` of the environment stay as they are.
    """
    if 'torch' in sys.modules or 'OMP_WAIT_POLICY' in os.environ:
        return
    os.environ.setdefault('GOMP_SPINCOUNT', str(SPIN_TURNS))  # GNU's: PyTorch for Linux
    os.environ.setdefault('KMP_BLOCKTIME', '1')  # LLVM's and Intel's, in milliseconds (200 by themselves): the others
