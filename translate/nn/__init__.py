"""Networks, as plain torch modules, each beside the Spec that builds it."""

from typing import Annotated

from pydantic import Field

from translate.nn.patchgan import PatchGANConfig, PixelGANConfig
from translate.nn.resnet import ResNetConfig
from translate.nn.unet import UNetConfig

Generator = Annotated[UNetConfig | ResNetConfig, Field(discriminator="kind")]
Discriminator = Annotated[PatchGANConfig | PixelGANConfig, Field(discriminator="kind")]

__all__ = ["Discriminator", "Generator", "PatchGANConfig", "PixelGANConfig", "ResNetConfig", "UNetConfig"]
