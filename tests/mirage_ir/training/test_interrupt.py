import os
import signal

import pytest

from mirage_ir.training import interrupt
from mirage_ir.training.interrupt import StopSignal


def test_a_signal_waits_for_the_loop_once_training_runs(monkeypatch, capfd):
    before = signal.getsignal(signal.SIGTERM)
    with StopSignal() as stop:
        stop.arm()
        assert stop.received() == 0
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)  # torchrun repeats a signal at once
        assert stop.received() == signal.SIGTERM
        monkeypatch.setattr(interrupt, 'IMPATIENCE_SECONDS', -1.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before
    assert capfd.readouterr().err.count('Stopping after this iteration') == 1


def test_a_run_that_is_still_being_set_up_ends_at_once():
    with StopSignal():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(SystemExit) as stopped:
            os.kill(os.getpid(), signal.SIGTERM)
    assert stopped.value.code == 128 + signal.SIGTERM
