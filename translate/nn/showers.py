"""Networks for showers: a generator and a critic that are told what a shower is to be, its energy and particle type.

After the networks of Erdmann et al. 2018 (arXiv 1807.01954) and 2018b (arXiv 1802.03325) for WGAN-GP. Shapes: N
showers, Z numbers of noise, K numbers that are told, C layers, H x W cells.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from translate.batches import DiscriminatorOutput
from translate.config.spec import Spec
from translate.errors import ConfigError
from translate.nn.blocks import BatchNorm, Conv2d
from translate.nn.refiner import compressed, expanded, rectified
from translate.nn.residual import double

Size = tuple[int, int]  # H, W

LARGEST = 12.0  # of logarithms: e¹² thresholds, not the exponential of whatever training comes to


class ShowerGeneratorConfig(Spec):
    """`compress`: see `RefinerConfig`; the last layer then makes logarithms of shares. `signed` layers, as arrival
    times, may be negative, and are 0 where all other layers are."""

    latent: int = Field(default=64, ge=1)
    width: int = Field(default=128, ge=1)  # channels of the coarsest maps; half as many at full size
    compress: float | None = Field(default=None, gt=0)
    signed: tuple[int, ...] = ()
    # In use, not in training, energies below this are 0, where the layer has others.
    suppress: float = Field(default=0.0, ge=0)

    def build(self, channels: int, size: Size, conditions: int, classes: int) -> "ShowerGenerator":
        return ShowerGenerator(self, channels, size, conditions, classes)


class ShowerGenerator(nn.Module):
    """z and condition side by side [N, Z + K], label [N] → energies [N, C, H, W], not negative, float32.

    `energies` makes the energy of each layer; the convolutions, which see it, make only how it is spread, and their
    gradient ends there: a critic of a thousand cells would leave their sum to chance.
    """

    def __init__(self, config: ShowerGeneratorConfig, channels: int, size: Size, conditions: int, classes: int) -> None:
        super().__init__()
        self.config, self.size, self.classes = config, size, classes
        if any(not 0 <= layer < channels for layer in config.signed) or len(set(config.signed)) == channels:
            raise ConfigError(
                f"recipe.generator.signed: of layers 0 to {channels - 1}, and not all, got {config.signed}"
            )
        self.unsigned: Tensor
        unsigned = torch.tensor([layer not in config.signed for layer in range(channels)])
        self.register_buffer("unsigned", unsigned.float().view(1, -1, 1, 1))
        w, told = config.width, conditions + classes
        self.coarse = tuple(math.ceil(side / 4) for side in size)
        self.energies = LayerEnergies(config.latent, told, unsigned, 2 * w)
        self.start = nn.Linear(config.latent + told + channels, w * math.prod(self.coarse))
        self.blocks = nn.ModuleList(
            nn.Sequential(Conv2d(a, b, 3, padding=1, bias=False), BatchNorm(b), nn.ReLU())
            for a, b in ((w, w), (w, w // 2), (w // 2, w // 2))
        )
        self.last = Conv2d(w // 2, channels, 3, padding=1)

    def told(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        """z, condition, and class one hot, [N, Z + K + classes]."""
        return latent if label is None else torch.cat([latent, F.one_hot(label, self.classes).to(latent.dtype)], 1)

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        told = self.told(latent, label)
        energies = self.energies(told).detach()
        x = torch.cat([told, compressed(energies, self.config.compress)], 1)
        x = F.relu(self.start(x)).unflatten(1, (-1, *self.coarse))
        for level, block in enumerate(self.blocks):
            x = block(double(x) if level < 2 else x)
        height, width = self.size
        y = self.last(x)[:, :, :height, :width].float()
        energy = self.spread(y, energies[:, :, None, None])
        if not self.config.signed:
            return energy
        if self.config.compress is not None:
            y = LARGEST * torch.tanh(y / LARGEST)
        return energy + expanded(y, self.config.compress) * (1 - self.unsigned) * (energy.sum(1, keepdim=True) > 0)

    def spread(self, y: Tensor, energies: Tensor) -> Tensor:
        """Cells [N, C, H, W] whose sums are the energies of layers [N, C, 1, 1].

        With a threshold y are logarithms of the shares of cells, and cells of less than about the threshold are 0.
        """
        if self.config.compress is not None:
            y = y.flatten(2).log_softmax(2).view_as(y) + compressed(energies, self.config.compress)
        y = y + F.relu(0.1 - y.amax((2, 3), keepdim=True))  # one cell at least, or the energy would be lost
        cells = expanded(rectified(y), self.config.compress)
        cells = cells * energies / cells.sum((2, 3), keepdim=True)
        if self.training or not self.config.suppress:
            return cells
        cells = cells * (cells >= cells.amax((2, 3), keepdim=True).clamp_max(self.config.suppress))
        return cells * energies / cells.sum((2, 3), keepdim=True).clamp_min(1e-12)


class LayerEnergies(nn.Module):
    """z and what is told of a shower [N, Z + K] → the energy of each layer [N, C], 0 for those that are none.

    That of all layers is s² (1 + a)², with softplus in place of a corner at 0, and each has a share of it. a and the
    logits of the shares are m + σ d, where m and σ are of what is told alone: a narrow response does not have to wait
    until the noise in d cancels. s² is the mean energy of the first batch, `scale_to`; the root makes a resolution of
    about 1/√E one of constant width.
    """

    def __init__(self, latent: int, told: int, energies: Tensor, width: int) -> None:
        super().__init__()
        self.latent, outputs = latent, 1 + len(energies)
        self.scale: Tensor
        self.missing: Tensor
        self.register_buffer("scale", torch.ones(()))  # s
        self.register_buffer("missing", ~energies)
        known, drawn = nn.Linear(width, 2 * outputs), nn.Linear(width, outputs)
        nn.init.constant_(known.bias[outputs:], -1.0)  # ln σ
        self.known = nn.Sequential(nn.Linear(told, width), nn.ReLU(), known)
        self.drawn = nn.Sequential(
            nn.Linear(latent + told, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), drawn
        )

    def scale_to(self, energies: Tensor) -> None:
        """From now on the energies of layers are about as large as these, [C]."""
        self.scale.copy_(energies.sum().clamp_min(1e-12).sqrt())

    def forward(self, told: Tensor) -> Tensor:
        mean, log = self.known(told[:, self.latent :]).float().chunk(2, 1)
        whole, shares = (mean + log.exp() * self.drawn(told)).split([1, len(self.missing)], 1)
        root = self.scale * F.softplus(1 + whole, beta=30)  # nearly linear, and above 0
        energies: Tensor = root.square() * shares.masked_fill(self.missing, -math.inf).softmax(1)
        return energies


class CriticConfig(Spec):
    """Judges whole showers: five convolutions without norm, the third and fifth halving the side, and two full layers.

    The last one also sees the sum of each layer and what it is told, as CaloGAN's (Paganini et al. 2018, sec. III).
    """

    kind: Literal["shower"] = "shower"
    width: int = Field(default=64, ge=1)
    each_cell: bool = False  # the first full layer sees the cells, too, which a stride blurs: one dead or hot cell

    def build(self, channels: int, size: Size | None, compress: float | None = None, told: int = 0) -> "Critic":
        if size is None:
            raise ConfigError("recipe.discriminator: a shower critic needs images of one size: set data.crop")
        return Critic(self, channels, size, compress, told)


class Critic(nn.Module):
    """Showers [N, C, H, W], compressed, and what is told of them [N, K] → logits [N, 1], float32."""

    def __init__(self, config: CriticConfig, channels: int, size: Size, compress: float | None, told: int) -> None:
        super().__init__()
        self.compress, self.each_cell, w = compress, config.each_cell, config.width
        layers: list[nn.Module] = []
        before = channels + told
        for width, stride in ((w, 1), (2 * w, 1), (2 * w, 2), (4 * w, 1), (4 * w, 2)):
            layers += [Conv2d(before, width, 3, stride, 1), nn.LeakyReLU(0.2)]
            before = width
        self.trunk = nn.Sequential(*layers, nn.Flatten())
        seen = 4 * w * math.prod(math.ceil(side / 4) for side in size)
        self.features = nn.Linear(seen + (channels * math.prod(size) if config.each_cell else 0), 2 * w)
        self.logit = nn.Sequential(nn.Linear(2 * w + channels + told, 2 * w), nn.LeakyReLU(0.2), nn.Linear(2 * w, 1))

    def forward(self, showers: Tensor, told: Tensor | None = None) -> DiscriminatorOutput:
        sums = compressed(expanded(showers, self.compress).sum((2, 3)), self.compress)  # [N, C]
        if self.compress is None:
            sums = sums / math.sqrt(showers[0, 0].numel())  # as steep as a cell
        beside, cells = [sums], showers.flatten(1)
        if told is not None:
            beside.append(told)
            showers = torch.cat([showers, told[:, :, None, None].expand(-1, -1, *showers.shape[2:])], 1)
        seen = self.trunk(showers).float()
        features = F.leaky_relu(self.features(torch.cat([seen, cells], 1) if self.each_cell else seen), 0.2)
        return DiscriminatorOutput(self.logit(torch.cat([features, *beside], 1)), features)
