"""CycleGAN: Zhu et al. 2017, two translators that undo each other, learnt without pairs."""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from translate.adversarial import AdversarialConfig, LeastSquares, Objective, adversary
from translate.batches import Unpaired
from translate.config.clock import Clock, Scheduled, at, off, peak
from translate.config.spec import Kinded, Spec
from translate.errors import ConfigError
from translate.nn import Discriminator, Generator, PatchGANConfig, ResNetConfig
from translate.nn.precision import full_precision
from translate.recipes.base import Comparison, Recipe, Turn, halved, l1


class Weights(Spec):
    adversarial: Scheduled = 1.0
    cycle: Scheduled = 10.0
    identity: Scheduled = 0.5  # as a share of `cycle`


class CycleGANConfig(AdversarialConfig, Kinded):
    kind: Literal["cyclegan"] = "cyclegan"
    generator: Generator = ResNetConfig()
    discriminator: Discriminator = PatchGANConfig()
    objective: Objective = LeastSquares()
    weights: Weights = Weights()
    pool_size: int = Field(default=50, ge=0)


class CycleGAN(Recipe, kind="cyclegan"):
    Config = CycleGANConfig
    batch_type = Unpaired

    def __init__(
        self,
        config: CycleGANConfig,
        channels: Mapping[str, int],
        size: tuple[int, int] | None = None,
        classes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(config, channels, size, classes)
        a, b = channels["a"], channels["b"]
        if a != b and peak(config.weights.identity) > 0:
            raise ConfigError(
                f"recipe.weights.identity: a has {a} channels and b {b}, so neither can pass through the other's "
                "translator: set recipe.weights.identity to 0"
            )
        self.weights = config.weights
        self.a2b, self.b2a = config.generator.build(a, b), config.generator.build(b, a)
        self.adversary_a = adversary(config, config.discriminator, lambda spec: spec.build(a), full_precision)
        self.adversary_b = adversary(config, config.discriminator, lambda spec: spec.build(b), full_precision)

    @staticmethod
    def multiple(config: CycleGANConfig) -> int:
        return config.generator.multiple

    def players(self) -> dict[str, list[nn.Module]]:
        return {
            "generators": [self.a2b, self.b2a],
            "discriminators": [self.adversary_a.discriminator, self.adversary_b.discriminator],
        }

    def step(self, draw: Callable[[], Unpaired], clock: Clock) -> Iterator[Turn]:
        """Eq. 3 with the identity term of sec. 5.2; discriminator objectives × ½ (appendix 7.1)."""
        a, b = draw()  # [N, C, H, W] each
        fake_b, fake_a = self.a2b(a), self.b2a(b)
        adversarial, cycle = at(self.weights.adversarial, clock), at(self.weights.cycle, clock)
        losses = {
            "adversarial": adversarial
            * (self.adversary_b.generator_loss(fake_b, clock) + self.adversary_a.generator_loss(fake_a, clock)),
            "cycle": cycle * (l1(self.b2a(fake_b), a) + l1(self.a2b(fake_a), b)),
        }
        if not off(self.weights.identity, clock):
            losses["identity"] = cycle * at(self.weights.identity, clock) * (l1(self.a2b(b), b) + l1(self.b2a(a), a))
        yield Turn("generators", losses)
        yield Turn(
            "discriminators",
            {
                **halved(self.adversary_a.discriminator_losses(a, fake_a, clock), "_a"),
                **halved(self.adversary_b.discriminator_losses(b, fake_b, clock), "_b"),
            },
        )
        self.adversary_a.enforce()
        self.adversary_b.enforce()

    def deployed(self) -> dict[str, nn.Module]:
        return {"a2b": self.a2b, "b2a": self.b2a}

    def sides(self) -> dict[str, tuple[str, str]]:
        return {"a2b": ("a", "b"), "b2a": ("b", "a")}

    def preview(self, networks: Mapping[str, nn.Module], batch: Unpaired) -> dict[str, Tensor]:
        a2b, b2a = networks["a2b"], networks["b2a"]
        fake_b, fake_a = a2b(batch.a), b2a(batch.b)
        return {
            "a": batch.a,
            "a to b": fake_b,
            "back to a": b2a(fake_b),
            "b": batch.b,
            "b to a": fake_a,
            "back to b": a2b(fake_a),
        }

    def compare(self, networks: Mapping[str, nn.Module], batch: Unpaired) -> dict[str, Comparison]:
        return {
            "a2b": Comparison(batch.a, networks["a2b"](batch.a), batch.b),
            "b2a": Comparison(batch.b, networks["b2a"](batch.b), batch.a),
        }
