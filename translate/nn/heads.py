"""What a discriminator concludes from its features: how real, of which class, and how alike the batch is.

Shapes: N images, C channels, K classes, D features.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from translate.batches import DiscriminatorOutput
from translate.config.spec import Spec
from translate.nn.latent import check_classes, wide


class JudgeConfig(Spec):
    """The keys of discriminators that are a trunk and heads.

    `condition`: the label as K further maps of the input, each 0 or 1 (`concatenate`: Mirza & Osindero 2014);
    v(label)·features added to the logit (`projection`: Miyato & Koyama 2018, eq. 3); or logits of the classes beside
    that of "real" (`auxiliary`: Odena et al. 2017, AC-GAN). `minibatch`: what an image's features say of the others.
    """

    condition: Literal["none", "concatenate", "projection", "auxiliary"] = "none"
    minibatch: Literal["none", "discrimination", "deviation"] = "none"

    def inputs(self, channels: int, classes: int) -> int:
        """The channels that the trunk sees."""
        check_classes("discriminator", self.condition, classes)
        return channels + classes if self.condition == "concatenate" else channels

    def judge(self, trunk: nn.Module, channels: int, pixels: int, classes: int) -> "Judge":
        """`trunk` ends in `channels` maps of `pixels` pixels."""
        return Judge(self, trunk, channels, pixels, classes)


class Heads(nn.Module):
    """Features [N, D] float32 → logits [N, 1]; with `auxiliary` also those of the classes, [N, K]."""

    def __init__(self, features: int, condition: str, classes: int) -> None:
        super().__init__()
        check_classes("discriminator", condition, classes)
        self.logit = nn.Linear(features, 1)
        self.projection = nn.Embedding(classes, features) if condition == "projection" else None
        self.classes = nn.Linear(features, classes) if condition == "auxiliary" else None
        if self.projection is not None:
            nn.init.xavier_uniform_(self.projection.weight)

    def forward(self, features: Tensor, label: Tensor | None) -> DiscriminatorOutput:
        logits = self.logit(features)
        if self.projection is not None:
            assert label is not None
            logits = logits + (self.projection(label) * features).sum(1, keepdim=True)
        return DiscriminatorOutput(logits, features, None if self.classes is None else self.classes(features))


class Judge(nn.Module):
    """Images [N, C, H, W] → what `Heads` say of the features of `trunk`."""

    def __init__(self, config: JudgeConfig, trunk: nn.Module, channels: int, pixels: int, classes: int) -> None:
        super().__init__()
        self.maps = classes if config.condition == "concatenate" else 0
        self.trunk = trunk
        features = channels * pixels
        match config.minibatch:
            case "none":
                self.minibatch: nn.Module = nn.Flatten()
            case "deviation":
                self.minibatch = nn.Sequential(MinibatchDeviation(), nn.Flatten())
                features += pixels
            case "discrimination":
                self.minibatch = nn.Sequential(nn.Flatten(), MinibatchDiscrimination(features))
                features += MinibatchDiscrimination.kernels
        self.heads = Heads(features, config.condition, classes)

    def forward(self, images: Tensor, label: Tensor | None = None) -> DiscriminatorOutput:
        if self.maps:
            assert label is not None
            maps = F.one_hot(label, self.maps).to(images.dtype)[:, :, None, None]  # [N, K, 1, 1]
            images = torch.cat([images, maps.expand(-1, -1, *images.shape[2:])], 1)
        output: DiscriminatorOutput = self.heads(self.minibatch(wide(self.trunk(images))), label)
        return output


class MinibatchDeviation(nn.Module):
    """One more map, everywhere the mean over maps and pixels of their standard deviation over the batch.

    [N, C, ...] → [N, C + 1, ...]: Karras et al. 2018, sec. 3, over the whole batch.
    """

    def forward(self, x: Tensor) -> Tensor:
        deviation = (wide(x).var(0, correction=0) + 1e-8).sqrt().mean()
        return torch.cat([x, deviation.to(x.dtype).expand(len(x), 1, *x.shape[2:])], 1)


class MinibatchDiscrimination(nn.Module):
    """Beside the features f their closeness to the batch: o_b = Σ_j exp(−|M_b − M_jb|₁), M = T f.

    [N, D] → [N, D + kernels]: Salimans et al. 2016, sec. 3.2; as in their code, the sum leaves out the sample itself.
    """

    kernels, dimensions = 100, 5

    def __init__(self, features: int) -> None:
        super().__init__()
        self.tensor = nn.Linear(features, self.kernels * self.dimensions, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.tensor(x).unflatten(1, (self.kernels, self.dimensions))
        distance = (rows[:, None] - rows[None]).abs().sum(3)  # [N, N, kernels]
        return torch.cat([x, torch.exp(-distance).sum(1) - 1], 1)
