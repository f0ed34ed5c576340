"""The refiner: simulated images made to look like data, changed so little that what is known of them stays true.

SimGAN (Shrivastava et al. 2017) with the Wasserstein critic of Erdmann et al. 2018 (arXiv 1802.03325).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from translate.adversarial import AdversarialConfig, GradientPenalty, Objective, Penalty, Wasserstein, adversary
from translate.batches import Unpaired, UnpairedEnergies
from translate.config.clock import Clock, Scheduled, at, peak
from translate.config.spec import Kinded, Spec
from translate.nn import CriticConfig, PatchGANConfig, RefinerConfig
from translate.nn.patchgan import PixelGANConfig
from translate.nn.precision import full_precision
from translate.nn.refiner import Refiner as RefinerNetwork
from translate.nn.refiner import compressed
from translate.processes import mean_over_processes
from translate.recipes.base import Comparison, Recipe, Turn, l1

CALIBRATION = 1 << 15  # events at most, of a process, in each of PASSES: electronics bend the answer to a gain
PASSES = 3


class Weights(Spec):
    """Where the refiner has `saturate` or `readout_noise`, what is kept is kept before them: energy that electronics do
    not show would else be put into the neighbours of a cell that is full."""

    adversarial: Scheduled = 1.0
    l1: Scheduled = 1.0  # of |R(x) − x|, in the units of the critic's input
    energy: Scheduled = 0.0  # of the sum over an image being kept; leave it at 0 where data have another gain
    layers: Scheduled = 0.0  # of the sum of each layer being kept but for a factor of the layer: gains are free
    centroid: Scheduled = 0.0  # of its centre being kept, in cells²


class RefinerRecipeConfig(AdversarialConfig, Kinded):
    kind: Literal["refiner"] = "refiner"
    generator: RefinerConfig = RefinerConfig()
    discriminator: Annotated[PatchGANConfig | PixelGANConfig | CriticConfig, Field(discriminator="kind")] = (
        PatchGANConfig(norm="none")
    )
    objective: Objective = Wasserstein()
    penalties: tuple[Penalty, ...] = (GradientPenalty(),)
    discriminator_updates: int = Field(default=5, ge=1)  # each on a batch of its own, for one of the refiner
    weights: Weights = Weights()
    pool_size: int = Field(default=50, ge=0)  # refined images kept: half of what the critic sees is of earlier refiners
    calibrate: bool = False  # after training, gains of layers: their mean energies, of the incident one, are the data's


class Refiner(Recipe, kind="refiner"):
    """Where the data tell incident energies, the critic sees them as one more layer: then it judges the response to an
    energy, which else is lost in the spectrum of energies. The refiner itself sees images alone."""

    Config = RefinerRecipeConfig
    batch_type = (Unpaired, UnpairedEnergies)

    def __init__(
        self,
        config: RefinerRecipeConfig,
        channels: Mapping[str, int],
        size: tuple[int, int] | None = None,
        classes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(config, channels, size, classes)
        self.weights, self.compress = config.weights, config.generator.compress
        self.draws = config.discriminator_updates
        self.calibrate = config.calibrate
        self.refiner = config.generator.build(channels["a"], channels["b"], size, config.calibrate)

        def critic(spec: PatchGANConfig | PixelGANConfig | CriticConfig) -> nn.Module:
            layers = channels["b"] + channels.get("energy", 0)
            return spec.build(layers, size, self.compress) if isinstance(spec, CriticConfig) else spec.build(layers)

        self.adversary = adversary(config, config.discriminator, critic, full_precision)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"refiner": [self.refiner], "discriminator": [self.adversary.discriminator]}

    def step(self, draw: Callable[[], Unpaired | UnpairedEnergies], clock: Clock) -> Iterator[Turn]:
        """Shrivastava et al. 2017, algorithm 1, with the critic first. It sees compressed images."""
        for _ in range(self.draws):
            simulated, data, *energies = draw()  # [N, C, H, W] each; [N, 1]
            of_simulated, of_data = energies or (None, None)
            with torch.no_grad():
                refined = self.refiner(simulated)
            losses = self.adversary.discriminator_losses(
                self.shown(data, of_data), self.shown(refined, of_simulated), clock
            )
            yield Turn("discriminator", losses)
            self.adversary.enforce()
        deposits = self.refiner(simulated, read_out=False)
        yield Turn("refiner", self.refiner_losses(simulated, deposits, of_simulated, clock))

    def refiner_losses(
        self, simulated: Tensor, deposits: Tensor, energy: Tensor | None, clock: Clock
    ) -> dict[str, Tensor]:
        refined = self.refiner.read_out(deposits)
        kept = deposits if self.refiner.config.limited else refined
        weights, before, after = self.weights, self.seen(simulated), self.seen(refined)
        verdict = self.adversary.generator_loss(self.shown(refined, energy), clock)
        losses = {"adversarial": at(weights.adversarial, clock) * verdict}
        if peak(weights.l1) > 0:
            losses["l1"] = at(weights.l1, clock) * l1(after, before)
        if peak(weights.energy) > 0:
            losses["energy"] = at(weights.energy, clock) * energy_change(simulated, kept)
        if peak(weights.layers) > 0:
            losses["layers"] = at(weights.layers, clock) * layer_changes(simulated, kept)
        if peak(weights.centroid) > 0:
            losses["centroid"] = at(weights.centroid, clock) * centroid_change(simulated, kept)
        return losses

    def seen(self, images: Tensor) -> Tensor:
        return compressed(images, self.compress)

    def shown(self, images: Tensor, energy: Tensor | None) -> Tensor:
        """What the critic gets: images, and a layer of the energy [N, 1] where it is known."""
        seen = self.seen(images)
        if energy is None:
            return seen
        return torch.cat([seen, energy[:, :, None, None].expand(-1, -1, *seen.shape[2:])], 1)

    def settle(
        self, networks: Mapping[str, nn.Module], draw: Callable[[], Unpaired | UnpairedEnergies], clock: Clock
    ) -> dict[str, float]:
        """Sets the gains of layers, which `l1` and `layers` have held back."""
        refiner = networks["refiner"]
        if not self.calibrate:
            return {}
        assert isinstance(refiner, RefinerNetwork)
        assert refiner.gain is not None
        with full_precision(refiner):
            for _ in range(PASSES):
                sums, events = torch.zeros(2, len(refiner.gain), device=refiner.gain.device), 0
                while events < min(clock.images_per_epoch, CALIBRATION):
                    simulated, data, *energies = draw()
                    of_simulated, of_data = energies or (None, None)
                    sums += torch.stack([responses(refiner(simulated), of_simulated), responses(data, of_data)])
                    events += len(data)
                refined, real = mean_over_processes(sums)
                factor = torch.where((refined > 0) & (real > 0), real / refined, 1.0)
                refiner.gain *= factor[:, None, None]
        return {f"gain/{layer}": gain for layer, gain in enumerate(refiner.gain.flatten().tolist())}

    def deployed(self) -> dict[str, nn.Module]:
        return {"refiner": self.refiner}

    def sides(self) -> dict[str, tuple[str, str]]:
        return {"refiner": ("a", "b")}

    def preview(self, networks: Mapping[str, nn.Module], batch: Unpaired | UnpairedEnergies) -> dict[str, Tensor]:
        refined = networks["refiner"](batch.a)
        return {"simulation": batch.a, "refined": refined, "change": refined - batch.a, "data": batch.b}

    def compare(self, networks: Mapping[str, nn.Module], batch: Unpaired | UnpairedEnergies) -> dict[str, Comparison]:
        return {"refiner": Comparison(batch.a, networks["refiner"](batch.a), batch.b)}


def responses(images: Tensor, energy: Tensor | None) -> Tensor:
    """Sums of layers over the incident energy, of all images together: [N, C, H, W] and, if it is known, [N, 1] → [C].
    The incident energy comes as its logarithm to the base 10."""
    sums = images.sum((2, 3))
    return (sums if energy is None else sums / 10**energy).sum(0)


def energy_change(before: Tensor, after: Tensor) -> Tensor:
    """Mean square of the change of Σx over an image, in units of the batch's mean Σ|x|."""
    change = (after - before).flatten(1).sum(1)
    return (change / before.abs().flatten(1).sum(1).mean().clamp_min(1e-12)).square().mean()


def layer_changes(before: Tensor, after: Tensor) -> Tensor:
    """Mean square of Σ after − κ Σ before of the layers of an image, κ of a layer being what makes it least; over
    all layers together, in units of the batch's mean Σ|x| over an image."""
    scale = before.abs().flatten(1).sum(1).mean().clamp_min(1e-12)
    x, y = before.flatten(2).sum(2) / scale, after.flatten(2).sum(2) / scale  # [N, C]
    factor = (x * y).sum(0) / x.square().sum(0).clamp_min(1e-12)
    return (y - factor * x).square().sum(1).mean()


def centroid_change(before: Tensor, after: Tensor) -> Tensor:
    """Mean squared distance between the centres of |x|, over layers, rows and columns, in cells²."""
    return (centroid(after) - centroid(before)).square().sum(1).mean()


def centroid(images: Tensor) -> Tensor:
    """[N, C, H, W] → [N, 3]: layer, row and column; 0 for an empty image."""
    weight = images.abs()
    total = weight.flatten(1).sum(1)
    places = [
        (weight.sum([d for d in (1, 2, 3) if d != axis]) * torch.arange(images.shape[axis], device=images.device)).sum(
            1
        )
        for axis in (1, 2, 3)
    ]
    return torch.stack(places, 1) / total.clamp_min(1e-12)[:, None]
