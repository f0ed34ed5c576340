"""What the configs of all image-to-image generators share."""

from typing import Literal

from pydantic import Field
from torch import nn

from translate.config.spec import Spec
from translate.nn.blocks import BatchNorm, Dropout, NormKind, OutputKind, Upsampling, initialise


class GeneratorConfig(Spec):
    norm: NormKind = "batch"
    dropout: float = Field(default=0.5, ge=0, lt=1)
    upsampling: Upsampling = "transposed"
    output: OutputKind = "tanh"  # linear, relu: for images whose values have no limits
    # At test time the published implementation leaves dropout on and translates one picture at a time in training mode.
    dropout_at_test: bool = True
    batch_norm_at_test: Literal["image", "running"] = "image"

    def finish(self, network: nn.Module) -> None:
        """Initial weights, and how the network behaves in eval mode."""
        initialise(network)
        for layer in network.modules():
            if isinstance(layer, Dropout):
                layer.at_test = self.dropout_at_test
            elif isinstance(layer, BatchNorm):
                layer.statistics = self.batch_norm_at_test
