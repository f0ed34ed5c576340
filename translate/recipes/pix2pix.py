"""pix2pix: Isola et al. 2017, a conditional GAN plus L1 to the paired target; dropout is the noise."""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from translate.adversarial import AdversarialConfig, NonSaturating, Objective, adversary
from translate.batches import Paired
from translate.config.clock import Clock, Scheduled, at, peak
from translate.config.spec import Kinded, Spec
from translate.nn import Discriminator, Generator, PatchGANConfig, UNetConfig
from translate.nn.precision import full_precision
from translate.recipes.base import Comparison, Recipe, Turn, halved, l1


class Weights(Spec):
    adversarial: Scheduled = 1.0  # 0: no discriminator at all, the L1 baseline of the paper's table 1
    l1: Scheduled = 100.0


class Pix2PixConfig(AdversarialConfig, Kinded):
    kind: Literal["pix2pix"] = "pix2pix"
    generator: Generator = UNetConfig()
    discriminator: Discriminator = PatchGANConfig(norm="batch")
    objective: Objective = NonSaturating()
    weights: Weights = Weights()


class Pix2Pix(Recipe, kind="pix2pix"):
    Config = Pix2PixConfig
    batch_type = Paired

    def __init__(
        self,
        config: Pix2PixConfig,
        channels: Mapping[str, int],
        size: tuple[int, int] | None = None,
        classes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(config, channels, size, classes)
        self.weights = config.weights
        self.generator = config.generator.build(channels["source"], channels["target"])
        judged = channels["source"] + channels["target"]
        self.adversary = adversary(config, config.discriminator, lambda spec: spec.build(judged), full_precision)

    @staticmethod
    def multiple(config: Pix2PixConfig) -> int:
        return config.generator.multiple

    def players(self) -> dict[str, list[nn.Module]]:
        players: dict[str, list[nn.Module]] = {"generator": [self.generator]}
        if peak(self.weights.adversarial) > 0:
            players["discriminator"] = [self.adversary.discriminator]
        return players

    def step(self, draw: Callable[[], Paired], clock: Clock) -> Iterator[Turn]:
        """Sec. 3.1, eq. 4; the discriminator first, its objective × ½ (sec. 3.3). It sees [source, image]."""
        source, target = draw()  # [N, C, H, W]
        fake = self.generator(source)
        weight = at(self.weights.adversarial, clock)
        losses = {}
        if weight > 0:
            real_pair, fake_pair = torch.cat([source, target], 1), torch.cat([source, fake], 1)
            yield Turn("discriminator", halved(self.adversary.discriminator_losses(real_pair, fake_pair, clock)))
            self.adversary.enforce()
            losses["adversarial"] = weight * self.adversary.generator_loss(fake_pair, clock)
        yield Turn("generator", losses | {"l1": at(self.weights.l1, clock) * l1(fake, target)})

    def deployed(self) -> dict[str, nn.Module]:
        return {"translator": self.generator}

    def sides(self) -> dict[str, tuple[str, str]]:
        return {"translator": ("source", "target")}

    def preview(self, networks: Mapping[str, nn.Module], batch: Paired) -> dict[str, Tensor]:
        return {"source": batch.source, "translated": networks["translator"](batch.source), "target": batch.target}

    def compare(self, networks: Mapping[str, nn.Module], batch: Paired) -> dict[str, Comparison]:
        return {"translator": Comparison(batch.source, networks["translator"](batch.source), batch.target)}
