"""Ctrl-C and SIGTERM."""

import signal

import pytest

from hpr.runtime.signals import stop_signals

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_interrupts(number: int) -> None:
    before = [signal.getsignal(own) for own in SIGNALS]
    with pytest.raises(KeyboardInterrupt), stop_signals() as is_stopped:
        assert not is_stopped()
        signal.raise_signal(number)
    assert is_stopped()
    assert [signal.getsignal(own) for own in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_step_is_finished_first(number: int) -> None:
    with pytest.raises(KeyboardInterrupt), stop_signals(finish_step=True) as is_stopped:
        signal.raise_signal(number)
        assert is_stopped()
        signal.raise_signal(number)
