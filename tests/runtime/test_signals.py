"""Ctrl-C and SIGTERM."""

import signal

import pytest

from hpr.runtime.signals import stop_signals

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("finish_step", [False, True])
def test_a_signal_interrupts(finish_step: bool, number: int) -> None:
    """The first signal, or the second one if a step has to be finished."""
    before = [signal.getsignal(own) for own in SIGNALS]
    with stop_signals(finish_step) as is_stopped:
        assert not is_stopped()
        if finish_step:
            signal.raise_signal(number)
            assert is_stopped()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert is_stopped()
    assert [signal.getsignal(own) for own in SIGNALS] == before
