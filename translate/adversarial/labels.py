"""What the discriminator is told of its samples: smoothed, noisy and flipped labels, and noise on the samples.

All of it weakens a discriminator that is too sure of itself. Nothing here costs anything when it is off.
Random numbers come from the generator of the tensors' own device: no transfer, no synchronisation.
"""

from collections.abc import Callable
from typing import Annotated, Any, Self

import torch
from pydantic import AfterValidator, Discriminator, Tag, model_validator
from torch import Tensor

from translate.config.clock import Clock, Ramp, Scheduled, at, off
from translate.config.spec import Spec


def _tag(value: Any) -> str:
    return "range" if isinstance(value, list | tuple) else "number"


# A number, or [low, high] from which each sample draws its own.
Label = Annotated[
    Annotated[float, Tag("number")] | Annotated[tuple[float, float], Tag("range")],
    Discriminator(_tag),
]


def _within(low: float, high: float, rule: str) -> Callable[[float | Ramp], float | Ramp]:
    def check(value: float | Ramp) -> float | Ramp:
        ends = (value.start, value.end) if isinstance(value, Ramp) else (value,)
        if not all(low <= end <= high for end in ends):
            raise ValueError(f"{rule} (got {' to '.join(f'{end:g}' for end in ends)})")
        return value

    return check


FlipRate = Annotated[
    Scheduled, AfterValidator(_within(0.0, 0.5, "must lie in [0, 0.5]: at 0.5 labels say nothing, beyond it they lie"))
]
NoiseLevel = Annotated[Scheduled, AfterValidator(_within(0.0, float("inf"), "a standard deviation is not negative"))]


def span(label: float | tuple[float, float]) -> tuple[float, float]:
    """The least and the greatest value of a label."""
    return label if isinstance(label, tuple) else (label, label)


class Labels(Spec):
    """Targets of the discriminator, one a sample.

    `real: 0.9` is one-sided smoothing (Salimans et al. 2016, sec. 3.4, who say why `fake` should stay 0),
    `real: [0.7, 1.2]` draws noisy labels uniformly, `flip: 0.05` gives that share of the samples, real and fake, the
    label of the other side, drawn as that side draws it; a ramp anneals it.
    """

    real: Label = 1.0
    fake: Label = 0.0
    flip: FlipRate = 0.0

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for name, (low, high) in (("real", span(self.real)), ("fake", span(self.fake))):
            if low > high:
                raise ValueError(f"{name}: [{low:g}, {high:g}] is empty; write [{high:g}, {low:g}]")
        if span(self.real)[0] <= span(self.fake)[1]:
            raise ValueError(
                f"real labels (from {span(self.real)[0]:g}) must lie above fake ones (to {span(self.fake)[1]:g})"
            )
        return self

    @property
    def soft(self) -> bool:
        """Whether any label is something else than 1 for real and 0 for fake."""
        return span(self.real) != (1.0, 1.0) or span(self.fake) != (0.0, 0.0)

    def for_real(self, count: int, clock: Clock, device: torch.device) -> Tensor | None:
        """Targets [count] of real samples; None means that all are 1."""
        return self._draw(self.real, self.fake, 1.0, count, clock, device)

    def for_fake(self, count: int, clock: Clock, device: torch.device) -> Tensor | None:
        """Targets [count] of fake samples; None means that all are 0."""
        return self._draw(self.fake, self.real, 0.0, count, clock, device)

    def _draw(
        self,
        own: float | tuple[float, float],
        other: float | tuple[float, float],
        hard: float,
        count: int,
        clock: Clock,
        device: torch.device,
    ) -> Tensor | None:
        if off(self.flip, clock):
            return None if span(own) == (hard, hard) else _uniform(own, count, device)
        flipped = torch.rand(count, device=device) < at(self.flip, clock)
        return torch.where(flipped, _uniform(other, count, device), _uniform(own, count, device))


def _uniform(label: float | tuple[float, float], count: int, device: torch.device) -> Tensor:
    low, high = span(label)
    if low == high:
        return torch.full((count,), low, device=device)
    return torch.rand(count, device=device).mul_(high - low).add_(low)


def add_noise(images: Tensor, level: float | Ramp, clock: Clock, times: float = 1.0) -> Tensor:
    """Instance noise: Gaussian noise on every sample that the discriminator sees, real and fake, in both turns.

    It makes the two distributions overlap, without which the optimal discriminator is perfect and its gradient is zero
    (Arjovsky & Bottou 2017, sec. 3; Sønderby et al. 2017). Anneal `level` to 0, in units of the images. Its standard
    deviation is `times` as much.
    """
    if times <= 0 or off(level, clock):
        return images
    return torch.randn_like(images).mul_(times * at(level, clock)).add_(images)
