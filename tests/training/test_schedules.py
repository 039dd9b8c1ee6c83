"""Learning rates by step."""

import pytest

from hpr.training.schedules import Steps, WarmUpCosine


def test_steps() -> None:
    schedule = Steps([0.005, 0.02, 0.002], [10, 20, 30])
    rates = [schedule(step, 0) for step in (0, 9, 10, 19, 20, 29, 1000)]
    assert rates == [0.005] * 2 + [0.02] * 2 + [0.002] * 3


def test_warm_up_and_cosine() -> None:
    schedule = WarmUpCosine(0.01, 5)
    rates = [schedule(step, 105) for step in range(105)]
    assert rates[:5] == pytest.approx([0.002, 0.004, 0.006, 0.008, 0.01])
    assert rates[55] == pytest.approx(0.005)
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] < 1e-5
