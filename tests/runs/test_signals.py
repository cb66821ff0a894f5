"""The first signal ends the command, or is recorded while a run trains; a second Ctrl-C ends the process at once."""

import os
import signal
import subprocess
import sys

import pytest

from tinv.errors import RunInterrupted
from tinv.runs import signals

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
NUMBERS = (signal.SIGINT, signal.SIGTERM)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_raises_and_the_handlers_are_restored(number):
    before = [signal.getsignal(number) for number in NUMBERS]
    with pytest.raises(RunInterrupted) as error, signals.handle_signals():
        signal.raise_signal(number)
    assert (error.value.code, str(error.value)) == (128 + number, f"interrupted by {number.name}")
    assert [signal.getsignal(number) for number in NUMBERS] == before and not signals.is_handling()


@pytest.mark.parametrize("number", NUMBERS)
def test_a_deferred_signal_is_only_recorded(number):
    with signals.handle_signals():
        signals.defer(True)
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGTERM)
        assert signals.received_signal() == number
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    assert signals.received_signal() is None


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals.handle_signals():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_a_slurm_job_sigterm_is_not_handled(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("ENVIRONMENT", "BATCH")
    before = signal.getsignal(signal.SIGTERM)
    with signals.handle_signals():
        assert signal.getsignal(signal.SIGTERM) == before != signal.getsignal(signal.SIGINT)


def test_a_second_interrupt_ends_the_process_inside_of_c_code_as_well():
    code = """if True:
        import signal, time
        from tinv.runs import signals
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with signals.handle_signals():
            signals.defer(True)
            print("ready", flush=True)
            while True:
                sorted(range(10**8))"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert b"saved and ends after this step" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == -signal.SIGINT
