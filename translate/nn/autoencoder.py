"""A discriminator that is an autoencoder, whose error is an energy: EBGAN, Zhao et al. 2017, sec. 2.3 and appendix."""

from itertools import pairwise
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from translate.batches import DiscriminatorOutput
from translate.config.spec import Spec
from translate.errors import ConfigError
from translate.nn.blocks import Conv2d, ConvTranspose2d, NormKind, initialise, needs_bias, norm
from translate.nn.latent import wide
from translate.nn.mlp import hidden


class AutoencoderConfig(Spec):
    """The defaults are theirs for LSUN and CelebA: (64)4c2s-(128)4c2s-(256)4c2s-(128)4c2s-(64)4c2s-(3)4c2s.

    Of points [N, n, 1, 1] it is fully connected instead: `layers` hidden ones of `width` on either side, no norm.
    """

    kind: Literal["autoencoder"] = "autoencoder"
    width: int = Field(default=64, ge=1)
    layers: int = Field(default=3, ge=1)  # halvings up to the code, each with twice the channels
    norm: NormKind = "batch"

    def build(self, channels: int, size: int, classes: int = 0) -> "Autoencoder":
        if size == 1:
            encoder = [nn.Flatten(), *hidden(channels, self.width, self.layers, "leaky_relu")]
            decoder = hidden(self.width, self.width, self.layers - 1, "leaky_relu")
            decoder += [nn.Linear(self.width, channels), nn.Unflatten(1, (channels, 1, 1))]
            return Autoencoder(nn.Sequential(*encoder), nn.Sequential(*decoder))
        if size % (1 << self.layers):
            raise ConfigError(f"recipe.discriminator.layers: {size} pixels a side cannot be halved {self.layers} times")
        widths, bias = [self.width << level for level in range(self.layers)], needs_bias(self.norm)
        encoder, decoder = [Conv2d(channels, self.width, 4, 2, 1), nn.LeakyReLU(0.2)], []
        for a, b in pairwise(widths):
            encoder += [Conv2d(a, b, 4, 2, 1, bias=bias), norm(self.norm, b), nn.LeakyReLU(0.2)]
        for b, a in pairwise(reversed(widths)):
            decoder += [ConvTranspose2d(b, a, 4, 2, 1, bias=bias), norm(self.norm, a), nn.LeakyReLU(0.2)]
        decoder.append(ConvTranspose2d(self.width, channels, 4, 2, 1))
        network = Autoencoder(nn.Sequential(*encoder), nn.Sequential(*decoder))
        initialise(network)
        return network


class Autoencoder(nn.Module):
    """[N, C, H, W] → the energy [N], high for what looks fake, as `logits`; the code [N, D] as `features`; float32.

    The energy is the mean squared error over an image's pixels and channels, in units of [−1, 1]: margins are of the
    order of 1, not of the number of pixels as in the paper. Labels are not looked at.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, images: Tensor, label: Tensor | None = None) -> DiscriminatorOutput:
        code = self.encoder(images)
        error = wide(self.decoder(code)) - wide(images)
        return DiscriminatorOutput(error.square().flatten(1).mean(1), wide(code).flatten(1))
