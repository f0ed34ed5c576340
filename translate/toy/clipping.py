"""Weight clipping against the gradient penalty: Gulrajani et al. 2017, sec. 3 and figure 1.

As there, the generator is held fixed at the real distribution, the ring of 8, plus Gaussian noise of unit variance.
"""

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from translate.adversarial import AdversarialConfig, Adversary, GradientPenalty, Wasserstein, WeightClip
from translate.adversarial.penalties import squared_slope
from translate.config.run import Adam, RMSProp
from translate.data.toy import ToyConfig, ToySource
from translate.nn import MLPDiscriminatorConfig
from translate.toy import BLUE, RED, WIDTH
from translate.toy.game import points, train

STEPS, BATCH = 2000, 256
LIMIT, EDGE, SIDE = 0.1, 2.0, 121
DATA = ToyConfig(name="ring")
CLIPPED = AdversarialConfig(objective=Wasserstein(), constraint=WeightClip(limit=LIMIT)), RMSProp(lr=5e-4)
PENALTY = AdversarialConfig(objective=Wasserstein(), penalties=(GradientPenalty(),)), Adam(lr=2e-3, betas=(0.5, 0.9))


def critic(settings: tuple[AdversarialConfig, Adam | RMSProp], steps: int, seed: int) -> Adversary:
    config, optimizer = settings
    data, rng = ToySource(DATA), np.random.default_rng(seed)

    def pair() -> tuple[Tensor, Tensor]:
        return points(data, rng, BATCH), points(data, rng, BATCH) + torch.randn(BATCH, 2, 1, 1)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        game = Adversary(MLPDiscriminatorConfig(width=128, layers=3).build(2, 1), config)
        for _ in train(game, pair, optimizer, steps):
            pass
    return game


def slopes(game: Adversary, places: Tensor) -> Tensor:
    """|gradient| of the critic at places [N, 2, 1, 1], [N]."""
    return squared_slope(lambda images: game.judge(images).logits, places).detach().sqrt()


def weights(game: Adversary) -> Tensor:
    """Of all matrices, [K]."""
    return torch.cat([parameter.detach().flatten() for parameter in game.parameters() if parameter.dim() == 2])


def draw(steps: int, seed: int) -> Figure:
    figure = Figure(figsize=(WIDTH, 9.8))
    title = "Clipping drives the weights to their limits, and the critic misses the shape of the data"
    figure.suptitle(f"{title}\n(dots: real data; lines: levels of the critic)")
    line = torch.linspace(-EDGE, EDGE, SIDE)
    square = torch.cartesian_prod(line, line).flip(1)[..., None, None]  # [SIDE², 2, 1, 1], rows of equal x₂
    real = points(ToySource(DATA), np.random.default_rng(seed), 400)[..., 0, 0]
    panels = figure.subplots(2, 2, height_ratios=[2, 1])
    games = {
        f"weights clipped to ±{LIMIT:g}": critic(CLIPPED, steps, seed),
        "gradient penalty": critic(PENALTY, steps, seed),
    }
    for top, bottom, colour, (name, game) in zip(*panels, (RED, BLUE), games.items(), strict=True):
        levels, found = game.judge(square).logits.detach().view(SIDE, SIDE), weights(game).numpy()
        top.contour(line, line, levels, 22, cmap="cividis", linewidths=1.6)
        top.scatter(*real.T, s=12, color=colour, zorder=3)
        top.set(title=f"{name}: mean slope {slopes(game, square).mean():.2g}", xlabel="x₁", ylabel="x₂", aspect="equal")
        bottom.hist(found, bins=80, weights=np.full(len(found), 100 / len(found)), color=colour)
        bottom.set(xlabel="weight of the critic", ylabel="share of weights in %")
    return figure
