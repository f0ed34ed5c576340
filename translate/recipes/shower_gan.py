"""Showers generated for a given energy and particle type: WGAN-GP as in Erdmann et al. 2018 (arXiv 1807.01954)."""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from translate.adversarial import AdversarialConfig, GradientPenalty, Objective, Penalty, Wasserstein, adversary
from translate.batches import Conditioned
from translate.config.clock import Clock
from translate.config.spec import Kinded
from translate.errors import ConfigError
from translate.nn import CriticConfig, ShowerGeneratorConfig
from translate.nn.precision import full_precision
from translate.nn.refiner import compressed
from translate.processes import mean_over_processes
from translate.recipes.base import Recipe, Turn

COLUMNS = 4  # of generated showers in a sample grid


class ShowerGANConfig(AdversarialConfig, Kinded):
    kind: Literal["shower_gan"] = "shower_gan"
    generator: ShowerGeneratorConfig = ShowerGeneratorConfig()
    discriminator: CriticConfig = CriticConfig()
    objective: Objective = Wasserstein()
    penalties: tuple[Penalty, ...] = (GradientPenalty(),)
    discriminator_updates: int = Field(default=5, ge=1)  # each on a batch of its own, for one of the generator


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
        spread = [self.generator.start, self.generator.blocks, self.generator.last]
        return {
            "generator": spread,
            "energies": [self.generator.energies],
            "discriminator": [self.adversary.discriminator],
        }

    def step(self, draw: Callable[[], Conditioned], clock: Clock) -> Iterator[Turn]:
        """Gulrajani et al. 2017, algorithm 1. Real and generated showers have the same energies and types.

        What makes the energies of layers has no adversary: it learns by a score, on each of the batches."""
        for number in range(self.draws):
            real, label, condition = draw()  # [N, C, H, W], [N], [N, 1]
            if clock.first and number == 0:
                self.scale_to(real)
            yield Turn("energies", {"score": self.energy_score(real, label, condition)})
            with torch.no_grad():
                fake = self.generator(self.latent(condition), label)
            losses = self.adversary.discriminator_losses(
                self.seen(real), self.seen(fake), clock, self.told(label, condition)
            )
            yield Turn("discriminator", losses)
            self.adversary.enforce()
        fake = self.generator(self.latent(condition), label)
        yield Turn("generator", self.adversary.generator_losses(self.seen(fake), clock, self.told(label, condition)))

    def latent(self, condition: Tensor) -> Tensor:
        """[N, Z + 1]: noise, and the condition."""
        noise = torch.randn(len(condition), self.config.generator.latent, device=condition.device)
        return torch.cat([noise, condition], 1)

    def told(self, label: Tensor, condition: Tensor) -> Tensor:
        return torch.cat([condition, F.one_hot(label, len(self.classes)).to(condition.dtype)], 1)

    def seen(self, showers: Tensor) -> Tensor:
        return compressed(showers, self.config.generator.compress)

    def sums(self, showers: Tensor) -> Tensor:
        """Of each layer that is energies, [N, C], 0 for the others."""
        unsigned = self.generator.unsigned.flatten(1)
        return showers.flatten(2).sum(2).clamp_min(0) * unsigned

    def scale_to(self, real: Tensor) -> None:
        """Before the first update: the energies of layers are to be about as large as these, of all processes."""
        self.generator.energies.scale_to(mean_over_processes(self.sums(real).mean(0)))

    def energy_score(self, real: Tensor, label: Tensor, condition: Tensor) -> Tensor:
        """Of the roots of the energies of layers and of that of all: each shower of the data is what came out for its
        energy and type, and two are made for the same."""
        made = (self.generator.energies(self.generator.told(self.latent(condition), label)) for _ in range(2))
        layers = [sums / self.generator.energies.scale.square() for sums in (*made, self.sums(real))]
        whole = [sums.sum(1, keepdim=True) for sums in layers]
        return score(*((x + 1e-6).sqrt() for x in layers)) + score(*((x + 1e-6).sqrt() for x in whole))

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


def score(one: Tensor, other: Tensor, truth: Tensor) -> Tensor:
    """The energy score of two draws X, X' against what came out, y, all [N, D]: E ‖X − y‖ − ½ E ‖X − X'‖.

    Gneiting & Raftery 2007, sec. 4.3. In the mean it is least for draws of the distribution that y is of.
    """

    def distance(x: Tensor, y: Tensor) -> Tensor:
        return ((x - y).square().sum(1) + 1e-12).sqrt()  # the gradient at 0 stays finite

    return (distance(one, truth) + distance(other, truth) - distance(one, other)).mean() / 2
