"""Networks, as plain torch modules, each beside the Spec that builds it.

`Generator` and `Discriminator` are of image translators; `LatentGenerator` makes images of noise, `ImageDiscriminator`
judges whole images.
"""

from typing import Annotated

from pydantic import Field

from translate.nn.autoencoder import AutoencoderConfig
from translate.nn.dcgan import DCGANDiscriminatorConfig, DCGANGeneratorConfig
from translate.nn.mlp import MLPDiscriminatorConfig, MLPGeneratorConfig
from translate.nn.patchgan import PatchGANConfig, PixelGANConfig
from translate.nn.progressive import ProgressiveDiscriminatorConfig, ProgressiveGeneratorConfig
from translate.nn.refiner import RefinerConfig
from translate.nn.residual import ResidualDiscriminatorConfig, ResidualGeneratorConfig
from translate.nn.resnet import ResNetConfig
from translate.nn.showers import CriticConfig, ShowerGeneratorConfig
from translate.nn.unet import UNetConfig

Generator = Annotated[UNetConfig | ResNetConfig | RefinerConfig, Field(discriminator="kind")]
Discriminator = Annotated[PatchGANConfig | PixelGANConfig, Field(discriminator="kind")]
LatentGenerator = Annotated[
    DCGANGeneratorConfig | ResidualGeneratorConfig | ProgressiveGeneratorConfig | MLPGeneratorConfig,
    Field(discriminator="kind"),
]
ImageDiscriminator = Annotated[
    DCGANDiscriminatorConfig
    | ResidualDiscriminatorConfig
    | ProgressiveDiscriminatorConfig
    | AutoencoderConfig
    | MLPDiscriminatorConfig,
    Field(discriminator="kind"),
]

__all__ = [
    "AutoencoderConfig",
    "CriticConfig",
    "DCGANDiscriminatorConfig",
    "DCGANGeneratorConfig",
    "Discriminator",
    "Generator",
    "ImageDiscriminator",
    "LatentGenerator",
    "MLPDiscriminatorConfig",
    "MLPGeneratorConfig",
    "PatchGANConfig",
    "PixelGANConfig",
    "ProgressiveDiscriminatorConfig",
    "ProgressiveGeneratorConfig",
    "RefinerConfig",
    "ResNetConfig",
    "ResidualDiscriminatorConfig",
    "ResidualGeneratorConfig",
    "ShowerGeneratorConfig",
    "UNetConfig",
]
