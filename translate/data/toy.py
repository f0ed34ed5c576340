"""Built-in distributions in one and two dimensions, on which the classical failures of the game can be seen.

Drawn endlessly: a sample is a function of the seed, the epoch and its index. The last three are as in the toy program
that Gulrajani et al. 2017 (WGAN-GP) published, with its scaling to about unit variance a coordinate:

| name          | before the scaling                                                            | divided by |
| two_gaussians | means −1 and 1, σ 0.1                                                         | 1          |
| ring          | 8 Gaussians on a circle of radius 2, σ 0.02: from Metz et al. 2017            | √2         |
| grid          | 25 Gaussians, both coordinates of the means in −4, −2, 0, 2, 4, σ 0.05        | √8         |
| swiss_roll    | t (cos t, sin t), t uniform in [1.5π, 4.5π], σ 0.25: scikit-learn's, from its end | 7.5    |
"""

import io
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, model_validator
from torch import Tensor

from translate.batches import Images
from translate.data.source import ArraySplit, Source, SourceConfig

_SIGMA = {"two_gaussians": 0.1, "ring": 0.02 / math.sqrt(2), "grid": 0.05 / math.sqrt(8), "swiss_roll": 0.25 / 7.5}
_TEST = 10_000  # samples
_EDGE = 2.2  # of the picture: always the same, so that pictures can be compared


class ToyConfig(SourceConfig):
    kind: Literal["toy"] = "toy"
    name: Literal["two_gaussians", "ring", "grid", "swiss_roll"] = "ring"
    sigma: float | None = Field(default=None, gt=0)  # after the scaling; None: the published one
    count: int = Field(default=100_000, ge=1)  # samples that are called an epoch
    batch_size: int = Field(default=256, ge=1)
    workers: int = Field(default=0, ge=0)
    size: ClassVar[int] = 1

    @model_validator(mode="after")
    def _endless(self) -> "ToyConfig":
        for key in ("limit", "augment"):
            if getattr(self, key):
                raise ValueError(f"{key}: toy data are drawn endlessly and are no pictures; leave it out")
        return self


class Modes(NamedTuple):
    """The Gaussians that a distribution is a mixture of, all alike."""

    centres: Tensor  # [K, D] float64
    sigma: float  # of each coordinate


class ToySplit(ArraySplit):
    batch_type = Images
    aligned = False
    numbers = 3

    def __init__(self, modes: Modes | None, sigma: float, count: int) -> None:
        self.modes, self.sigma, self.count = modes, sigma, count

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: NDArray[np.int64], numbers: NDArray[np.float64]) -> tuple[Tensor, ...]:
        """[N, D, 1, 1]. Normal numbers by Box & Muller 1958."""
        radius, turn, place = np.sqrt(-2 * np.log1p(-numbers[:, 0])), 2 * np.pi * numbers[:, 1], numbers[:, 2]
        noise = self.sigma * radius[:, None] * _circle(turn)  # [N, 2]
        if self.modes is None:
            t = 1.5 * np.pi * (1 + 2 * place)
            points = t[:, None] / 7.5 * _circle(t) + noise
        else:
            centres = self.modes.centres.numpy()
            points = centres[(place * len(centres)).astype(int)] + noise[:, : centres.shape[1]]
        return (torch.from_numpy(points.astype(np.float32))[..., None, None],)

    def name(self, index: int) -> str:
        return str(index)


class ToySource(Source):
    """Field `image`: points as pictures of one pixel, [2, 1, 1] or [1, 1, 1]."""

    Config: ClassVar[type[SourceConfig]] = ToyConfig
    config: ToyConfig
    batch_type = Images
    samples = 500

    def __init__(self, config: ToyConfig, size_multiple: int = 1) -> None:
        self.config = config
        sigma = config.sigma or _SIGMA[config.name]
        centres = _centres(config.name)
        self.modes = None if centres is None else Modes(torch.from_numpy(centres), sigma)
        self.channels = {"image": 2 if centres is None else centres.shape[1]}
        self.train = ToySplit(self.modes, sigma, config.count)
        self.test = ToySplit(self.modes, sigma, _TEST)

    def describe(self) -> str:
        return f"toy: {self.config.name}, {self.config.count} new points an epoch"

    def picture(self, columns: Mapping[str, Sequence[Tensor]]) -> Image.Image:
        """The first column, the data, and all others together as points; in one dimension their histograms."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5, 5), dpi=100, layout="constrained")
        axes = figure.subplots()
        real, *others = columns.values()
        for title, images in (("data", real), ("generated", [image for column in others for image in column])):
            points = torch.stack(list(images)).flatten(1).float().cpu().numpy()  # [N, D]
            if points.shape[1] == 1:
                bins = np.linspace(-_EDGE, _EDGE, 89).tolist()
                axes.hist(points[:, 0], bins=bins, density=True, alpha=0.6, label=title)
            else:
                axes.scatter(points[:, 0], points[:, 1], s=4, alpha=0.6, linewidths=0, label=title)
                axes.set(ylim=(-_EDGE, _EDGE), aspect="equal")
        axes.set(xlim=(-_EDGE, _EDGE))
        axes.legend(loc="upper right", markerscale=3)
        content = io.BytesIO()
        figure.savefig(content, format="png")
        return Image.open(content).convert("RGB")


def _centres(name: str) -> NDArray[np.float64] | None:
    """[K, D], scaled; None where the distribution is no mixture."""
    match name:
        case "two_gaussians":
            return np.array([[-1.0], [1.0]])
        case "ring":
            return math.sqrt(2) * _circle(2 * np.pi * np.arange(8) / 8)
        case "grid":
            return np.stack(np.meshgrid(*[np.arange(-4, 5, 2)] * 2), axis=-1).reshape(-1, 2) / math.sqrt(8)
    return None


def _circle(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)
