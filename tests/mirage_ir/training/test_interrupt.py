import os
import signal
import time

import pytest

from mirage_ir.training import guards
from mirage_ir.training.guards import StopSignal


def test_a_signal_waits_for_the_loop_once_training_runs(monkeypatch, capfd):
    before = signal.getsignal(signal.SIGTERM)
    with StopSignal() as stop:
        stop.arm()
        assert stop.received() == 0
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)  # torchrun repeats a signal at once
        assert stop.received() == signal.SIGTERM
        monkeypatch.setattr(guards, 'IMPATIENCE_SECONDS', -1.0)
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


def _in_a_child(work):
    """Run something in a forked process; returns its exit code and the seconds that it took."""
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        work()
        os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), time.monotonic() - start


def _signalled_while_compiling(seconds):
    with StopSignal() as stop:
        stop.arm()
        stop.compiling(now=True)
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:  # as a step that waits for a compiler that is gone
            time.sleep(0.05)
        stop.compiling(now=False)
        time.sleep(0.3)
        assert stop.received() == signal.SIGTERM


def test_a_step_that_never_ends_compiling_does_not_keep_a_stopped_run(monkeypatch, capfd):
    monkeypatch.setattr(guards, 'COMPILING_SECONDS', 0.4)
    code, seconds = _in_a_child(lambda: _signalled_while_compiling(60))
    assert code == 128 + signal.SIGTERM and seconds < 30
    assert 'ended without saving' in capfd.readouterr().err


def test_a_step_that_ends_in_time_is_saved_as_ever(monkeypatch, capfd):
    monkeypatch.setattr(guards, 'COMPILING_SECONDS', 20.0)
    code, _ = _in_a_child(lambda: _signalled_while_compiling(0.2))
    assert code == 7 and 'ended without saving' not in capfd.readouterr().err
