"""Where training stands. Every schedule is a pure function of this."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from translate.config.spec import Spec


@dataclass(frozen=True)
class Clock:
    step: int  # steps done
    images: int  # real images seen, over all processes
    total: int  # steps planned
    images_per_epoch: int = 1

    @property
    def fraction(self) -> float:
        """Training progress in [0, 1]."""
        return min(self.step / self.total, 1.0) if self.total else 1.0

    @property
    def epoch(self) -> int:
        """1-based, as in the published learning-rate schedules."""
        return self.images // self.images_per_epoch + 1

    @property
    def first(self) -> bool:
        """Whether no step was done yet."""
        return self.step == 0

    # Recipes ask for ramps through `at` and `off` below, so that a clock can answer with something else than a number
    # of this step: see translate.training.graph.
    def at(self, ramp: "Ramp") -> float:
        return ramp.at(self)

    def off(self, ramp: "Ramp") -> bool:
        return ramp.at(self) <= 0


class Ramp(Spec):
    """A value that goes from `start` to `end` while training progress goes from `begin` to `finish`.

    `shape: logistic` is 2/(1 + e^(−10p)) − 1 of the way at the share p of it: λ of Ganin et al. 2016, sec. 5.2.2.
    """

    start: float
    end: float
    begin: float = Field(default=0.0, ge=0, le=1)
    finish: float = Field(default=1.0, gt=0, le=1)
    shape: Literal["linear", "cosine", "logistic"] = "linear"

    def at(self, clock: Clock) -> float:
        span = max(self.finish - self.begin, 1e-12)
        progress = min(max((clock.fraction - self.begin) / span, 0.0), 1.0)
        if self.shape == "cosine":
            progress = (1 - math.cos(math.pi * progress)) / 2
        elif self.shape == "logistic":
            progress = 2 / (1 + math.exp(-10 * progress)) - 1
        return self.start + (self.end - self.start) * progress


def _tag(value: Any) -> str:
    return "ramp" if isinstance(value, dict | Ramp) else "number"


# A number, or {start, end, …}: what a config may write wherever a strength can change during training.
Scheduled = Annotated[Annotated[float, Tag("number")] | Annotated[Ramp, Tag("ramp")], Discriminator(_tag)]


def at(value: "float | Ramp", clock: Clock) -> float:
    return clock.at(value) if isinstance(value, Ramp) else value


def off(value: "float | Ramp", clock: Clock) -> bool:
    """Whether it is 0 now."""
    return clock.off(value) if isinstance(value, Ramp) else value <= 0


def peak(value: "float | Ramp") -> float:
    """The largest value that will ever be taken: 0 means that the feature is off."""
    return max(value.start, value.end) if isinstance(value, Ramp) else value
