"""Showers generated for a given energy and particle type: WGAN-GP as in Erdmann et al. 2018 (arXiv 1807.01954)."""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from translate.adversarial import AdversarialConfig, GradientPenalty, Objective, Penalty, Wasserstein, adversary
from translate.batches import Conditioned
from translate.config.clock import Clock, Scheduled, at, peak
from translate.config.spec import Kinded, Spec
from translate.errors import ConfigError
from translate.nn import CriticConfig, ShowerGeneratorConfig
from translate.nn.precision import full_precision
from translate.nn.refiner import compressed
from translate.recipes.base import Recipe, Turn

COLUMNS = 4  # of generated showers in a sample grid


class Weights(Spec):
    energy: Scheduled = 1.0  # of the moments of the deposited energy


class ShowerGANConfig(AdversarialConfig, Kinded):
    kind: Literal["shower_gan"] = "shower_gan"
    generator: ShowerGeneratorConfig = ShowerGeneratorConfig()
    discriminator: CriticConfig = CriticConfig()
    objective: Objective = Wasserstein()
    penalties: tuple[Penalty, ...] = (GradientPenalty(),)
    discriminator_updates: int = Field(default=5, ge=1)  # each on a batch of its own, for one of the generator
    weights: Weights = Weights()


class ShowerGAN(Recipe, kind="shower_gan"):
    """The deployed generator takes latents [N, Z + 1] whose last number is the condition, and the class [N]."""

    Config = ShowerGANConfig
    batch_type = Conditioned
    conditions = 1

    def __init__(
        self,
        config: ShowerGANConfig,
        channels: Mapping[str, int],
        size: tuple[int, int] | None = None,
        classes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(config, channels, size, classes)
        if size is None:
            raise ConfigError("data.crop: a generator makes images of one size; set crop to that of the files")
        if config.pool_size:
            raise ConfigError("recipe.pool_size: stored showers lose what is known of them; set it to 0")
        self.config, self.classes, self.draws = config, classes, config.discriminator_updates
        layers, told = channels["image"], self.conditions + len(classes)
        self.generator = config.generator.build(layers, size, self.conditions, len(classes))
        self.adversary = adversary(
            config,
            config.discriminator,
            lambda spec: spec.build(layers, size, config.generator.compress, told),
            full_precision,
        )

    def players(self) -> dict[str, list[nn.Module]]:
        return {"generator": [self.generator], "discriminator": [self.adversary.discriminator]}

    def step(self, draw: Callable[[], Conditioned], clock: Clock) -> Iterator[Turn]:
        """Gulrajani et al. 2017, algorithm 1. Real and generated showers have the same energies and types."""
        for _ in range(self.draws):
            real, label, condition = draw()  # [N, C, H, W], [N], [N, 1]
            with torch.no_grad():
                fake = self.generator(self.latent(condition), label)
            losses = self.adversary.discriminator_losses(
                self.seen(real), self.seen(fake), clock, self.told(label, condition)
            )
            yield Turn("discriminator", losses)
            self.adversary.enforce()
        fake = self.generator(self.latent(condition), label)
        told = self.told(label, condition)
        losses = self.adversary.generator_losses(self.seen(fake), clock, told)
        if peak(self.config.weights.energy) > 0:
            apart = moments_apart(self.deposited(fake), self.deposited(real), told)
            losses["energy"] = at(self.config.weights.energy, clock) * apart
        yield Turn("generator", losses)

    def latent(self, condition: Tensor) -> Tensor:
        """[N, Z + 1]: noise, and the condition."""
        noise = torch.randn(len(condition), self.config.generator.latent, device=condition.device)
        return torch.cat([noise, condition], 1)

    def told(self, label: Tensor, condition: Tensor) -> Tensor:
        return torch.cat([condition, F.one_hot(label, len(self.classes)).to(condition.dtype)], 1)

    def seen(self, showers: Tensor) -> Tensor:
        return compressed(showers, self.config.generator.compress)

    def deposited(self, showers: Tensor) -> Tensor:
        """The sum of all cells, [N], in units of the data; signed layers are no energies."""
        energies = [layer for layer in range(showers.shape[1]) if layer not in self.config.generator.signed]
        return showers[:, energies].flatten(1).sum(1)

    def deployed(self) -> dict[str, nn.Module]:
        return {"generator": self.generator}

    def sides(self) -> dict[str, tuple[str | None, str]]:
        return {"generator": (None, "image")}

    def latents(self) -> int:
        return self.config.generator.latent + self.conditions

    def labels(self) -> tuple[str, ...]:
        return self.classes

    def preview(self, networks: Mapping[str, nn.Module], batch: Conditioned) -> dict[str, Tensor]:
        """A row: a real shower, and generated ones of its energy and type."""
        made = (networks["generator"](self.latent(batch.condition), batch.label) for _ in range(COLUMNS))
        return {"data": batch.image} | {f"sample {number}": showers for number, showers in enumerate(made, 1)}


def moments_apart(fake: Tensor, real: Tensor, told: Tensor) -> Tensor:
    """How far the deposited energies [N] of generated and real showers, of which the same is told [N, K], are apart:
    absolute differences of mean, of mean times what is told (the slope of the response, the mean of a class) and of
    standard deviation (the resolution), relative to the real mean.
    """
    scale = real.abs().mean().clamp_min(1e-12)
    fake, real = fake / scale, real / scale
    change = fake - real
    slope = (change[:, None] * told).mean(0).abs().sum()
    return change.mean().abs() + slope + (fake.std(correction=0) - real.std(correction=0)).abs()
