"""What the data hand to a recipe, and a discriminator to the game.

A recipe declares which of the batches it takes; a data kind declares which it gives. Images are float32 tensors
[N, C, H, W] in [-1, 1].
"""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Images(NamedTuple):
    image: "Tensor"


class Labelled(NamedTuple):
    image: "Tensor"
    label: "Tensor"  # int64 [N], the class


class Paired(NamedTuple):
    source: "Tensor"
    target: "Tensor"  # the same scene, the same height and width


class Unpaired(NamedTuple):
    a: "Tensor"
    b: "Tensor"  # another scene


class UnpairedEnergies(NamedTuple):
    a: "Tensor"
    b: "Tensor"  # another event
    energy_a: "Tensor"  # float32 [N, 1]: of `a`, log10 of the incident energy, in units that make it of order 1
    energy_b: "Tensor"


class Adaptation(NamedTuple):
    source: "Tensor"  # of the labelled domain, as a simulation
    label: "Tensor"  # of `source`: int64 [N], the class; or float32 [N, K], K numbers to be estimated
    target: "Tensor"  # of the domain without labels, as real data


class Conditioned(NamedTuple):
    image: "Tensor"
    label: "Tensor"  # int64 [N], the class
    condition: "Tensor"  # float32 [N, K]: numbers that belong to the image, as its energy, of order 1


class DiscriminatorOutput(NamedTuple):
    logits: "Tensor"  # [N, ...]: how real
    features: "Tensor | None" = None  # [N, D], for terms that compare samples of a batch
    classes: "Tensor | None" = None  # [N, K]: logits of the classes
