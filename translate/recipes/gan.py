"""Generators of images from noise: the game of Goodfellow et al. 2014, whose later forms are configs of this recipe.

DCGAN, LSGAN, WGAN, WGAN-GP, SN-GAN, SAGAN, EBGAN, AC-GAN and class-conditional ones differ in networks, objective,
penalties and constraint, and in how often the discriminator moves.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from translate.adversarial import AdversarialConfig, NonSaturating, Objective, adversary, mode_seeking
from translate.batches import Images, Labelled
from translate.config.clock import Clock
from translate.config.spec import Kinded, Spec
from translate.errors import ConfigError
from translate.nn import DCGANDiscriminatorConfig, DCGANGeneratorConfig, ImageDiscriminator, LatentGenerator
from translate.nn.precision import full_precision
from translate.recipes.base import Recipe, Turn

COLUMNS = 8  # of generated images in a sample grid


class Weights(Spec):
    classes: float = Field(default=1.0, ge=0)  # of naming the classes, where the discriminator does: AC-GAN
    # A factor on that of generated images at the discriminator's turn: 1 in AC-GAN, 0 in Gulrajani et al.'s code for
    # CIFAR-10. Above 0 both networks can agree on signs for the classes, which only they see in a picture.
    fake_classes: float = Field(default=1.0, ge=0)
    pulling_away: float = Field(default=0.0, ge=0)  # EBGAN; needs a discriminator with features
    mode_seeking: float = Field(default=0.0, ge=0)


class GANConfig(AdversarialConfig, Kinded):
    kind: Literal["gan"] = "gan"
    generator: LatentGenerator = DCGANGeneratorConfig()
    discriminator: ImageDiscriminator = DCGANDiscriminatorConfig()
    objective: Objective = NonSaturating()
    discriminator_updates: int = Field(default=1, ge=1)  # each on a batch of its own, for one of the generator
    prior: Literal["normal", "uniform"] = "normal"  # of the latents: N(0, 1), or uniform in [-1, 1]
    weights: Weights = Weights()


class GAN(Recipe, kind="gan"):
    Config: ClassVar[type[Kinded]] = GANConfig
    batch_type = (Images, Labelled)

    def __init__(
        self,
        config: GANConfig,
        channels: Mapping[str, int],
        size: tuple[int, int] | None = None,
        classes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(config, channels, size, classes)
        if size is None or size[0] != size[1]:
            raise ConfigError("data: a generator makes square images of one size; use a data.preprocess with a crop")
        if config.pool_size and classes:
            raise ConfigError("recipe.pool_size: stored images lose their class; set it to 0, or data.labels to false")
        if config.weights.pulling_away and config.discriminator.kind != "autoencoder":
            raise ConfigError("recipe.weights.pulling_away: compares codes; use discriminator: {kind: autoencoder}")
        for name, part in (("generator", config.generator), ("discriminator", config.discriminator)):
            if getattr(part, "condition", "none") != "none" and not classes:
                raise ConfigError(f"recipe.{name}.condition: these data have no classes; set it to none")
        self.config, self.classes = config, classes
        self.draws = config.discriminator_updates
        image, count = channels["image"], len(classes)
        self.generator = config.generator.build(image, size[0], count)
        self.adversary = adversary(
            config,
            config.discriminator,
            lambda spec: spec.build(image, size[0], count),
            full_precision,
            class_weight=config.weights.classes,
            fake_class_weight=config.weights.fake_classes,
            repulsion=config.weights.pulling_away,
        )

    def players(self) -> dict[str, list[nn.Module]]:
        return {"generator": [self.generator], "discriminator": [self.adversary.discriminator]}

    def step(self, draw: Callable[[], Images | Labelled], clock: Clock) -> Iterator[Turn]:
        """Goodfellow et al. 2014, algorithm 1. The discriminator sees fakes of the same classes as its real images."""
        for _ in range(self.config.discriminator_updates):
            real, label = with_label(draw())  # [N, C, H, W], [N]
            with torch.no_grad():
                fake = self.generator(self.latent(len(real), real.device), label)
            yield Turn("discriminator", self.adversary.discriminator_losses(real, fake, clock, label))
            self.adversary.enforce()
        yield Turn("generator", self.generator_losses(len(real), label, clock))

    def generator_losses(self, count: int, label: Tensor | None, clock: Clock) -> dict[str, Tensor]:
        device = next(self.generator.parameters()).device
        label = None if label is None else torch.randint(len(self.classes), (count,), device=device)
        z = self.latent(count, device)
        fake = self.generator(z, label)
        losses = self.adversary.generator_losses(fake, clock, label)
        if self.config.weights.mode_seeking:
            other = self.latent(count, device)
            term = mode_seeking(fake, self.generator(other, label), z, other)
            losses["mode_seeking"] = self.config.weights.mode_seeking * term
        return losses

    def latent(self, count: int, device: torch.device) -> Tensor:
        """[N, Z] from the prior."""
        shape = (count, self.config.generator.latent)
        if self.config.prior == "normal":
            return torch.randn(shape, device=device)
        return torch.rand(shape, device=device) * 2 - 1

    def deployed(self) -> dict[str, nn.Module]:
        return {"generator": self.generator}

    def sides(self) -> dict[str, tuple[str | None, str]]:
        return {"generator": (None, "image")}

    def latents(self) -> int:
        return self.config.generator.latent

    def labels(self) -> tuple[str, ...]:
        return () if self.config.generator.condition == "none" else self.classes

    def preview(self, networks: Mapping[str, nn.Module], batch: Images | Labelled) -> dict[str, Tensor]:
        """The same latents each time; where there are classes, a row is of the class of its real image."""
        real, label = with_label(batch)
        made = (networks["generator"](self.latent(len(real), real.device), label) for _ in range(COLUMNS))
        return {"data": real} | {f"sample {number}": images for number, images in enumerate(made, 1)}

    def imitate(self, networks: Mapping[str, nn.Module], batch: Images | Labelled) -> dict[str, tuple[Tensor, Tensor]]:
        real, label = with_label(batch)
        return {"generator": (networks["generator"](self.latent(len(real), real.device), label), real)}


def with_label(batch: Images | Labelled) -> tuple[Tensor, Tensor | None]:
    return (batch.image, batch.label) if isinstance(batch, Labelled) else (batch.image, None)
