"""Progressive growing: Karras et al. 2018. Both networks start at 4 x 4 pixels, and finer layers are faded in."""

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from translate.adversarial import GradientPenalty, Objective, Penalty, Wasserstein
from translate.adversarial.penalties import Drift
from translate.batches import Images, Labelled
from translate.config.clock import Clock
from translate.config.spec import Kinded
from translate.errors import ConfigError
from translate.nn import ProgressiveDiscriminatorConfig, ProgressiveGeneratorConfig
from translate.nn.progressive import ProgressiveDiscriminator, ProgressiveGenerator
from translate.recipes.base import Turn
from translate.recipes.gan import GAN, GANConfig, with_label


class PGGANConfig(GANConfig):
    kind: Literal["pggan"] = "pggan"  # type: ignore[assignment]
    generator: ProgressiveGeneratorConfig = ProgressiveGeneratorConfig()
    discriminator: ProgressiveDiscriminatorConfig = ProgressiveDiscriminatorConfig()
    objective: Objective = Wasserstein()
    penalties: tuple[Penalty, ...] = (GradientPenalty(), Drift())
    # Images an update takes at 4 x 4, 8 x 8, …, the last goes on; empty: all of the data.batch_size that a step takes.
    batch_sizes: tuple[Annotated[int, Field(ge=1)], ...] = ()


class PGGAN(GAN, kind="pggan"):
    Config: ClassVar[type[Kinded]] = PGGANConfig

    def __init__(
        self,
        config: PGGANConfig,
        channels: Mapping[str, int],
        size: tuple[int, int] | None = None,
        classes: tuple[str, ...] = (),
    ) -> None:
        if config.discriminator_updates != 1:
            raise ConfigError("recipe.discriminator_updates: progressive growing alternates; leave it at 1")
        super().__init__(config, channels, size, classes)
        self.batch_sizes = config.batch_sizes
        self.growing = [m for m in self.modules() if isinstance(m, ProgressiveGenerator | ProgressiveDiscriminator)]
        self.last = self.growing[0].stage

    def step(self, draw: Callable[[], Images | Labelled], clock: Clock) -> Iterator[Turn]:
        """Where the schedule stands sets the resolution, then as usual; a batch may be several updates' worth."""
        self.stand(clock)
        stage, alpha = self.resolution(clock)
        images, labels = with_label(draw())  # [N, C, H, W], [N]
        images = faded(images, 4 << stage, alpha)
        size = self.batch_sizes[min(stage, len(self.batch_sizes) - 1)] if self.batch_sizes else len(images)
        for start in range(0, len(images), size):
            real = images[start : start + size]
            label = None if labels is None else labels[start : start + size]
            fake = self.generator(self.latent(len(real), real.device), label)
            yield Turn("discriminator", self.adversary.discriminator_losses(real, fake, clock, label))
            self.adversary.enforce()
            yield Turn("generator", self.generator_losses(len(real), label, clock))

    def resolution(self, clock: Clock) -> tuple[int, float]:
        """Stage (4·2^stage pixels) and alpha: 4 x 4 alone, then for each resolution a fade and as long without one.

        All phases see the same number of images: appendix A.1.
        """
        phase = min(clock.fraction, 1 - 1e-9) * (2 * self.last + 1)
        stage = int(phase + 1) // 2
        return stage, min(phase - (2 * stage - 1), 1.0) if stage else 1.0

    def stand(self, clock: Clock) -> None:
        stage, alpha = self.resolution(clock)
        for network in self.growing:
            network.stage, network.alpha = stage, alpha

    def preview(self, networks: Mapping[str, nn.Module], batch: Images | Labelled) -> dict[str, Tensor]:
        """At the resolution of the moment, real images too."""
        return super().preview(networks, self.at_moment(networks, batch))

    def imitate(self, networks: Mapping[str, nn.Module], batch: Images | Labelled) -> dict[str, tuple[Tensor, Tensor]]:
        return super().imitate(networks, self.at_moment(networks, batch))

    def at_moment(self, networks: Mapping[str, nn.Module], batch: Images | Labelled) -> Images | Labelled:
        generator = networks["generator"]
        assert isinstance(generator, ProgressiveGenerator)
        generator.stage, generator.alpha = self.growing[0].stage, self.growing[0].alpha
        return batch._replace(image=faded(batch.image, 4 << generator.stage, generator.alpha))


def faded(images: Tensor, side: int, alpha: float) -> Tensor:
    """Real images [N, C, H, W] at `side` pixels; below alpha 1 mixed with their halves, as the networks' output is."""
    images = F.avg_pool2d(images, images.shape[2] // side)
    if alpha == 1:
        return images
    coarse = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2.0, mode="nearest")
    return coarse.lerp(images, alpha)
