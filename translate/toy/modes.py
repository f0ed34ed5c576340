"""Which modes a generator finds: the ring of 8 and the grid of 25 of Metz et al. 2017 and Gulrajani et al. 2017.

The same networks, rates and number of updates for every objective. Ten updates of the discriminator for each of the
generator keep it near its optimum: there plain objectives drop modes, and those that bound its slope do not.
"""

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from translate.adversarial import R1, GradientPenalty, Minimax, NonSaturating, Wasserstein
from translate.batches import Images
from translate.config.clock import Clock
from translate.config.run import Adam
from translate.data.toy import ToyConfig, ToySource
from translate.evaluation.modes import count_modes
from translate.nn import MLPDiscriminatorConfig, MLPGeneratorConfig
from translate.recipes.gan import GAN, GANConfig
from translate.toy import BLUE, GREEN, ORANGE, RED, WIDTH
from translate.toy.game import CPU, points
from translate.training.update import Update

STEPS, BATCH = 150, 64
# Wider Gaussians than the published ones, which take longer to hit.
DATA = ToyConfig(name="ring", sigma=0.05), ToyConfig(name="grid", sigma=0.05)
STRONG = GANConfig(
    generator=MLPGeneratorConfig(latent=2, width=64),
    discriminator=MLPDiscriminatorConfig(width=64),
    discriminator_updates=10,
)
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "minimax": (RED, {"objective": Minimax()}),
    "non-saturating": (ORANGE, {"objective": NonSaturating()}),
    "non-saturating + R1": (BLUE, {"objective": NonSaturating(), "penalties": (R1(weight=0.1, every=4),)}),
    "Wasserstein + penalty": (GREEN, {"objective": Wasserstein(), "penalties": (GradientPenalty(weight=0.1),)}),
}


def samples(data: ToySource, config: GANConfig, steps: int, seed: int, count: int = 2500) -> Tensor:
    """[N, 2] of a generator after so many of its updates."""
    rng, optimizer = np.random.default_rng(seed), Adam(lr=1.5e-3, betas=(0.5, 0.9))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        recipe = GAN(config, data.channels, (1, 1))
        updates = {name: Update(modules, optimizer, CPU) for name, modules in recipe.players().items()}
        for step in range(steps):
            for turn in recipe.step(lambda: Images(points(data, rng, BATCH)), Clock(step, 0, steps)):
                updates[turn.player](turn)
        with torch.no_grad():
            made: Tensor = recipe.generator(recipe.latent(count, torch.device("cpu")))
    return made.flatten(1)


def draw(steps: int, seed: int) -> Figure:
    figure = Figure(figsize=(WIDTH, 7.2))
    figure.suptitle("Same networks, same time, four objectives: which modes (circles) are covered")
    for row, source in zip(figure.subplots(2, len(CASES), sharex=True, sharey=True), DATA, strict=True):
        data = ToySource(source)
        assert data.modes is not None
        for axes, (name, (colour, changes)) in zip(row, CASES.items(), strict=True):
            found, (centres, sigma) = samples(data, STRONG.model_copy(update=changes), steps, seed), data.modes
            covered, good = count_modes(found, centres, sigma)
            axes.scatter(*found.T, s=3, color=colour, alpha=0.35, linewidths=0)
            axes.scatter(*centres.T, s=90, facecolors="none", edgecolors="black", linewidths=1)
            axes.set(xlim=(-2.2, 2.2), ylim=(-2.2, 2.2), xlabel="x₁", ylabel=f"{source.name}: x₂", aspect="equal")
            axes.set_title(f"{name}\n{covered} of {len(centres)} modes, {good:.0%} hit")
            axes.label_outer()
    return figure
