"""Two domains in memory: one with labels, and one whose labels only a study may look at.

Shapes: N examples, C channels, H x W pixels, K numbers to be estimated.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from translate.batches import Adaptation, Unpaired
from translate.config.spec import Spec
from translate.data.source import ArraySplit, Batch


class Domain(NamedTuple):
    images: Tensor  # float32 [N, C, H, W], as the network gets them
    labels: Tensor  # int64 [N], the class; or float32 [N, K]

    def take(self, index: Tensor) -> "Domain":
        return Domain(self.images[index], self.labels[index])


class Domains(NamedTuple):
    """What `Source.domains` of an adaptation kind gives; training never sees the labels of `target`."""

    source: Domain  # to train on
    source_test: Domain  # held out
    target: Domain
    target_test: Domain


class Affine(Spec):
    """Random affine maps of training images of both domains, each image its own; no colour is changed.

    Rotation by up to `rotate` degrees, scale by up to a factor 1 ± `scale`, shear by up to `shear`, shift by up to
    `shift` pixels; bilinear, and what comes in at the edges is as the edge is.
    """

    rotate: float = Field(default=10.0, ge=0, le=180)
    scale: float = Field(default=0.1, ge=0, lt=1)
    shear: float = Field(default=0.1, ge=0, lt=1)
    shift: float = Field(default=2.0, ge=0)

    def __call__(self, images: Tensor, numbers: NDArray[np.float64]) -> Tensor:
        """[N, C, H, W] → the same shape; `numbers` [N, 6] in [0, 1) are all of the randomness."""
        u = torch.from_numpy(numbers * 2 - 1).float()
        angle, height, width = u[:, 0] * np.deg2rad(self.rotate), *images.shape[2:]
        turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
        stretch = torch.diag_embed(1 + self.scale * u[:, 1:3])
        stretch[:, 0, 1] = self.shear * u[:, 3]
        shift = 2 * self.shift * u[:, 4:6] / torch.tensor([width, height])
        grid = F.affine_grid(torch.cat([turn @ stretch, shift[:, :, None]], 2), list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


class AdaptationSplit(ArraySplit):
    """Labelled source examples in turn, each beside a random target one: Adaptation, or Unpaired without the labels.

    For tests (`train` false) nothing is random: the targets come in turn, too.
    """

    aligned = False
    numbers = 13  # the target's place, and six for each affine map

    def __init__(
        self, source: Domain, target: Tensor, *, train: bool, affine: Affine | None = None, labelled: bool = True
    ) -> None:
        self.batch_type: type[Batch] = Adaptation if labelled else Unpaired
        self.source, self.target, self.train, self.affine = source, target, train, affine if train else None

    def __len__(self) -> int:
        return len(self.source.images)

    def batch(self, indices: NDArray[np.int64], numbers: NDArray[np.float64]) -> tuple[Tensor, ...]:
        chosen = torch.from_numpy(indices)
        other = chosen % len(self.target)
        if self.train:
            other = torch.from_numpy((numbers[:, 0] * len(self.target)).astype(np.int64))
        images, targets = self.source.images[chosen], self.target[other]
        if self.affine:
            images, targets = self.affine(images, numbers[:, 1:7]), self.affine(targets, numbers[:, 7:])
        return (images, self.source.labels[chosen], targets) if self.batch_type is Adaptation else (images, targets)

    def name(self, index: int) -> str:
        return str(index)
