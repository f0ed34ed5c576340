"""What the experiments share: points, and a discriminator that is trained against a generator at rest."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from translate.adversarial import Adversary, Ensemble
from translate.config.clock import Clock
from translate.config.run import Adam, RMSProp
from translate.data.toy import ToySource, ToySplit
from translate.recipes import Turn
from translate.training.devices import Placement
from translate.training.update import Update

CPU = Placement(torch.device("cpu"), None, torch.contiguous_format)


def points(data: ToySource, rng: np.random.Generator, count: int) -> Tensor:
    """[N, D, 1, 1] of a toy distribution."""
    assert isinstance(data.train, ToySplit)
    return data.train.batch(np.zeros(count, np.int64), rng.random((count, ToySplit.numbers)))[0]


def train(
    game: Adversary | Ensemble, draw: Callable[[], tuple[Tensor, Tensor]], optimizer: Adam | RMSProp, steps: int
) -> Iterator[Clock]:
    """Trains the discriminator alone on the real and fake points that `draw` gives. Yields before each update and at
    the end."""
    update = Update([game.discriminator], optimizer, CPU)
    for step in range(steps):
        yield Clock(step, 0, steps)
        update(Turn("discriminator", game.discriminator_losses(*draw(), Clock(step, 0, steps))))
        game.enforce()
    yield Clock(steps, 0, steps)
