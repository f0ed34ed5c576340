"""Ganin et al. 2016, sec. 5.2.2: λ(p) and the learning rate, at the values of their formulas."""

import pytest

from translate.config.clock import Clock, Ramp
from translate.config.run import Inverse

PROGRESS = [0.0, 0.1, 0.2, 0.5, 1.0]


@pytest.mark.parametrize(("p", "expected"), list(zip(PROGRESS, [0, 0.4621, 0.7616, 0.9866, 0.99991], strict=True)))
def test_lambda(p: float, expected: float) -> None:
    clock = Clock(round(100 * p), 0, 100)
    assert Ramp(start=0, end=1, shape="logistic").at(clock) == pytest.approx(expected, abs=5e-5)
    assert Ramp(start=1, end=3, shape="logistic").at(clock) == pytest.approx(1 + 2 * expected, abs=1e-4)


@pytest.mark.parametrize(
    ("p", "expected"), list(zip(PROGRESS, [0.01, 0.00595, 0.00439, 0.00261, 0.00166], strict=True))
)
def test_learning_rate(p: float, expected: float) -> None:
    assert 0.01 * Inverse().factor(Clock(round(100 * p), 0, 100)) == pytest.approx(expected, abs=5e-6)
