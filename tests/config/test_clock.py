import json
import math
from pathlib import Path

import pytest

from translate.config.clock import Clock, Ramp, at, peak
from translate.config.run import Constant, Cosine, Linear

LOSSES = Path(__file__).parents[3] / "shared" / "golden" / "losses.json"


def clock(fraction: float) -> Clock:
    return Clock(step=round(fraction * 1000), images=0, total=1000)


def test_epochs_count_from_one() -> None:
    epochs = [Clock(0, images, 100, images_per_epoch=10).epoch for images in (0, 9, 10, 25)]
    assert epochs == [1, 1, 2, 3]


def test_linear_schedule_is_the_published_one() -> None:
    if not LOSSES.exists():
        pytest.skip(f"{LOSSES} is missing")
    golden = json.loads(LOSSES.read_text())["lr_linear_100_100"]
    schedule = Linear(epochs=200, decay_from=100)
    for epoch, rate in golden.items():
        assert 2e-4 * schedule.factor(Clock(0, int(epoch) - 1, 200, 1)) == pytest.approx(rate, rel=1e-12)


def test_cosine_and_constant() -> None:
    assert [Cosine(epochs=1).factor(clock(p)) for p in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    assert Cosine(epochs=1, final=0.1).factor(clock(1)) == pytest.approx(0.1)
    assert Constant().factor(clock(0.7)) == 1


def test_a_ramp_waits_moves_and_stays() -> None:
    ramp = Ramp(start=10, end=2, begin=0.25, finish=0.75)
    assert [ramp.at(clock(p)) for p in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx([10, 10, 6, 2, 2])
    smooth = Ramp(start=0, end=1, shape="cosine")
    assert smooth.at(clock(0.25)) == pytest.approx((1 - math.cos(math.pi / 4)) / 2)
    assert (at(3.0, clock(0)), at(ramp, clock(1)), peak(ramp), peak(0.0)) == (3.0, 2, 10, 0.0)
