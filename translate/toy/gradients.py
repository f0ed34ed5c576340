"""What a generator is told while its discriminator gets better and better: Arjovsky & Bottou 2017, figures 2 and 3.

Real points are N(1, 0.1²), generated ones θ + 0.1 z with θ = −1 at rest: their supports are as good as disjoint.
"""

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from translate.adversarial import R1, AdversarialConfig, Energy, GradientPenalty, Minimax, NonSaturating, Wasserstein
from translate.adversarial import adversary as play
from translate.adversarial.adversary import Member
from translate.config.run import Adam
from translate.nn import AutoencoderConfig, MLPDiscriminatorConfig
from translate.toy import BLACK, BLUE, GREEN, ORANGE, PINK, RED, SKY, WIDTH
from translate.toy.divergences import normal
from translate.toy.game import train

STEPS, BATCH, OFTEN = 600, 256, 10
SIGMA, LOWEST, HIGHEST = 0.1, 1e-10, 1e3
AUTOENCODER = AutoencoderConfig(width=64, layers=2)
MLP = MLPDiscriminatorConfig(width=64, layers=2, activation="leaky_relu")
_RISING = tuple(Member(capacity=1 / part) for part in (64, 8, 1))
CASES = {
    "saturating": (RED, AdversarialConfig(objective=Minimax())),
    "saturating + noise": (SKY, AdversarialConfig(objective=Minimax(), instance_noise=0.5)),
    "saturating + R1": (BLUE, AdversarialConfig(objective=Minimax(), penalties=(R1(weight=10.0),))),
    "saturating + ensemble": (BLACK, AdversarialConfig(objective=Minimax(), ensemble=_RISING)),
    "non-saturating": (ORANGE, AdversarialConfig(objective=NonSaturating())),
    "Wasserstein + penalty": (GREEN, AdversarialConfig(objective=Wasserstein(), penalties=(GradientPenalty(),))),
    "EBGAN": (PINK, AdversarialConfig(objective=Energy(margin=1.0))),
}


def slopes(config: AdversarialConfig, steps: int, seed: int) -> NDArray[np.float64]:
    """|∂L/∂θ| of the generator's loss before the discriminator's update 0, 10, 20, …, `steps`."""
    judge = AUTOENCODER if config.objective.kind == "energy" else MLP

    def near(place: Tensor | float, count: int = BATCH) -> Tensor:
        return place + SIGMA * torch.randn(count, 1, 1, 1)

    found, theta = [], torch.tensor(-1.0, requires_grad=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        game = play(config, judge, lambda spec: spec.build(1, 1))
        for clock in train(game, lambda: (near(1.0), near(theta)), Adam(lr=1e-3, betas=(0.5, 0.9)), steps):
            if clock.step % OFTEN == 0:
                loss = game.generator_loss(near(theta, 4 * BATCH), clock)
                found.append(torch.autograd.grad(loss, theta)[0].abs().item())
    return np.array(found)


def draw(steps: int, seed: int) -> Figure:
    figure = Figure(figsize=(WIDTH, 6.8))
    figure.suptitle("Disjoint supports: the saturating loss falls silent, every remedy keeps a gradient")
    left, right = figure.subplots(1, 2, width_ratios=[1, 3])
    x = np.linspace(-2, 2, 401)
    for name, mean, colour in (("generated", -1.0, RED), ("real", 1.0, BLUE)):
        left.fill_between(x, normal(x, mean, SIGMA), color=colour, alpha=0.5)
        left.text(mean, 4.1, name, color=colour, ha="center")
    left.set(xlabel="x", ylabel="density", ylim=(0, 4.6), xlim=(-2.4, 2.4))
    right.set(yscale="log", xlim=(0, steps), ylim=(LOWEST, HIGHEST), xlabel="updates of the discriminator")
    right.set_ylabel("|d loss of the generator / d its shift|, per unit of x")
    curves = {name: slopes(config, steps, seed).clip(LOWEST, HIGHEST) for name, (_, config) in CASES.items()}
    names = sorted(curves, key=lambda name: float(curves[name][-1]))
    heights = np.log([curves[name][-1] / LOWEST for name in names]) / np.log(HIGHEST / LOWEST)
    for _ in range(100):  # pushes names apart until none overlap
        push = np.maximum(0.055 - np.diff(heights), 0) / 2
        heights += np.append(0, push) - np.append(push, 0)
    for name, height in zip(names, heights, strict=True):
        right.plot(np.arange(len(curves[name])) * OFTEN, curves[name], color=CASES[name][0])
        right.text(1.01, height, name, color=CASES[name][0], transform=right.transAxes, va="center")
    return figure
