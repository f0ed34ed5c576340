"""What the data hand to a recipe. A recipe declares which of these it takes; a data kind declares which it gives.

Images are float32 tensors [N, C, H, W] in [-1, 1].
"""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Images(NamedTuple):
    image: "Tensor"


class Paired(NamedTuple):
    source: "Tensor"
    target: "Tensor"  # the same scene, the same height and width


class Unpaired(NamedTuple):
    a: "Tensor"
    b: "Tensor"  # another scene
