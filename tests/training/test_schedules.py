import pytest

from hpr.training.schedules import Steps, WarmUpCosine, steps_of


def test_steps() -> None:
    schedule = Steps([0.005, 0.02, 0.002], [10, 20, 30])
    rates = [schedule.rate(step, 0) for step in (0, 9, 10, 19, 20, 29, 1000)]
    assert rates == [0.005] * 2 + [0.02] * 2 + [0.002] * 3


def test_warm_up_and_cosine() -> None:
    schedule = WarmUpCosine(0.01, 5)
    rates = [schedule.rate(step, 105) for step in range(105)]
    assert rates[:5] == pytest.approx([0.002, 0.004, 0.006, 0.008, 0.01])
    assert rates[55] == pytest.approx(0.005)
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] < 1e-5


@pytest.mark.parametrize(
    ("epochs", "people", "batch_size", "steps"),
    [
        (1, 1, 64, 1),
        (0.001, 5, 64, 1),
        (1, 64, 64, 1),
        (1, 65, 64, 2),
        (2.5, 100, 10, 25),
        (140, 150_000, 128, 164_063),
    ],
)
def test_epochs(epochs: float, people: int, batch_size: int, steps: int) -> None:
    assert steps_of(epochs, people, batch_size) == steps
