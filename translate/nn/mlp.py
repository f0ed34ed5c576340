"""Fully connected networks, for points: data of n dimensions are "images" [N, n, 1, 1].

The toy experiments of Gulrajani et al. 2017, sec. 4 and figure 1. Pictures are taken too, as in Goodfellow et al. 2014.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from translate.config.spec import Spec
from translate.nn.blocks import Tanh
from translate.nn.heads import Judge, JudgeConfig
from translate.nn.latent import LabelledLatent, LatentCondition

Activation = Literal["relu", "leaky_relu", "elu", "tanh"]


def hidden(inputs: int, width: int, layers: int, activation: Activation) -> list[nn.Module]:
    """Hidden layers, each with its activation: [N, inputs] → [N, width]."""
    kinds = {"relu": nn.ReLU(), "leaky_relu": nn.LeakyReLU(0.2), "elu": nn.ELU(), "tanh": nn.Tanh()}
    return [
        module
        for level in range(layers)
        for module in (nn.Linear(width if level else inputs, width), kinds[activation])
    ]


class MLPGeneratorConfig(Spec):
    kind: Literal["mlp"] = "mlp"
    latent: int = Field(default=2, ge=1)
    width: int = Field(default=128, ge=1)
    layers: int = Field(default=3, ge=1)  # hidden ones
    activation: Activation = "relu"
    condition: LatentCondition = "none"

    def build(self, channels: int, size: int, classes: int = 0) -> "MLPGenerator":
        return MLPGenerator(self, channels, size, classes)


class MLPGenerator(nn.Module):
    """z [N, Z], label [N] → [N, C, S, S]: unbounded points if S = 1, else pictures in [−1, 1]."""

    def __init__(self, config: MLPGeneratorConfig, channels: int, size: int, classes: int) -> None:
        super().__init__()
        self.latent = LabelledLatent(config.condition, config.latent, classes)
        self.model = nn.Sequential(
            *hidden(self.latent.width, config.width, config.layers, config.activation),
            nn.Linear(config.width, channels * size * size),
            nn.Unflatten(1, (channels, size, size)),
            nn.Identity() if size == 1 else Tanh(),
        )

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        out: Tensor = self.model(self.latent(latent, label))
        return out


class MLPDiscriminatorConfig(JudgeConfig):
    kind: Literal["mlp"] = "mlp"
    width: int = Field(default=128, ge=1)
    layers: int = Field(default=3, ge=1)  # hidden ones
    activation: Activation = "relu"

    def build(self, channels: int, size: int, classes: int = 0) -> Judge:
        inputs = self.inputs(channels, classes) * size * size
        trunk = nn.Sequential(nn.Flatten(), *hidden(inputs, self.width, self.layers, self.activation))
        return self.judge(trunk, self.width, 1, classes)
