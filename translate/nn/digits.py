"""Classifiers in two parts, features and a head, and the discriminator of domains that judges the features.

Shapes: N images, C channels, H x W pixels, D features, K classes or numbers to be estimated.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from translate.config.spec import Spec
from translate.errors import ConfigError, unknown
from translate.nn.blocks import BatchNorm, Conv2d, GroupNorm
from translate.nn.latent import wide
from translate.nn.mlp import hidden

Size = tuple[int, int] | None
Norm = Literal["none", "batch", "group"]


class Classifier(nn.Module):
    """[N, C, H, W] → [N, K]: logits of classes, or estimates. `features` gives [N, width] in float32."""

    def __init__(self, features: nn.Module, width: int, head: nn.Module) -> None:
        super().__init__()
        self.features, self.width, self.head = features, width, head

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.features(images))
        return out

    def on(self, target: bool) -> Self:
        """From now on, batch norm uses the statistics of the target, or of the source."""
        for layer in self.modules():
            if isinstance(layer, DomainBatchNorm):
                layer.of_target = target
        return self


class DomainBatchNorm(BatchNorm):
    """Batch norm with one set of weights, and running statistics for each domain: Li et al. 2017 (AdaBN), sec. 3.2."""

    of_target: bool = False
    target_mean: Tensor
    target_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.register_buffer("target_mean", torch.zeros(channels))
        self.register_buffer("target_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        if not self.of_target:
            return super().forward(x)
        momentum = self.momentum or 0.1
        kept = self.track_running_stats or not self.training
        mean, var = (self.target_mean, self.target_var) if kept else (None, None)
        return F.batch_norm(x, mean, var, self.weight, self.bias, self.training, momentum, self.eps)


@contextmanager
def untracked(module: nn.Module) -> Iterator[None]:
    """Inside, batch norm in training leaves its running statistics as they are: for images that are not the data's."""
    layers = [layer for layer in module.modules() if isinstance(layer, BatchNorm)]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


class _Wide(nn.Module):
    """The end of the features: [N, …] → [N, D] in float32."""

    def forward(self, x: Tensor) -> Tensor:
        return wide(x).flatten(1)


def _norm(kind: Norm, channels: int) -> list[nn.Module]:
    match kind:
        case "batch":
            return [DomainBatchNorm(channels)]
        case "group":
            return [GroupNorm(channels)]
    return []


class _Convolutional(Spec):
    norm: Norm = "none"
    dropout: float = Field(default=0.0, ge=0, lt=1)  # before each layer of the label head but the last
    cut: Literal["convolutions", "hidden"] = "convolutions"  # the features end there, or at the last hidden layer

    def assembled(self, trunk: list[nn.Module], size: Size, channels: int, widths: list[int], out: int) -> Classifier:
        """`trunk` and fully connected layers of `widths`."""
        flat = _count(trunk, size, channels)
        layers: list[nn.Module] = []
        for before, width in zip([flat, *widths], widths, strict=False):
            layers += [nn.Dropout(self.dropout)] if self.dropout else []
            layers += [nn.Linear(before, width), nn.ReLU()]
        last = nn.Linear(widths[-1], out)
        if self.cut == "hidden":
            return Classifier(nn.Sequential(*trunk, _Wide(), *layers), widths[-1], last)
        return Classifier(nn.Sequential(*trunk, _Wide()), flat, nn.Sequential(*layers, last))


@torch.no_grad()
def _count(trunk: list[nn.Module], size: Size, channels: int) -> int:
    """How many numbers `trunk` makes of an image."""
    if size is None:
        raise ConfigError("recipe.network: takes images of one size; use network: {kind: residual}")
    network = nn.Sequential(*trunk).eval()
    try:
        return int(network(torch.zeros(1, channels, *size)).numel())
    except RuntimeError:
        small = f"{size[1]}x{size[0]} pixels are too few"
        raise ConfigError(f"recipe.network: {small}; use network: {{kind: residual}}") from None
    finally:
        network.train()


class MNISTConfig(_Convolutional):
    """Ganin et al. 2016, figure 4a (LeNet-5): the domain discriminator branches off the convolutions.

    ReLU comes after the pooling: the same values for less work.
    """

    kind: Literal["mnist"] = "mnist"
    widths: tuple[int, int, int] = (32, 48, 100)  # of both convolutions and the hidden layers

    def build(self, channels: int, size: Size, out: int) -> Classifier:
        first, second, full = self.widths
        trunk: list[nn.Module] = []
        for before, after in ((channels, first), (first, second)):
            trunk += [Conv2d(before, after, 5), *_norm(self.norm, after), nn.MaxPool2d(2), nn.ReLU()]
        return self.assembled(trunk, size, channels, [full, full], out)


class SVHNConfig(_Convolutional):
    """Ganin et al. 2016, figure 4b; convolutions keep the size."""

    kind: Literal["svhn"] = "svhn"
    widths: tuple[int, int, int] = (64, 64, 128)  # of the convolutions

    def build(self, channels: int, size: Size, out: int) -> Classifier:
        trunk: list[nn.Module] = []
        for before, after in zip((channels, *self.widths), self.widths, strict=False):
            trunk += [nn.MaxPool2d(3, 2, 1)] if trunk else []
            trunk += [Conv2d(before, after, 5, padding=2), *_norm(self.norm, after), nn.ReLU()]
        return self.assembled(trunk, size, channels, [3072, 2048], out)


class ResidualConfig(Spec):
    """A small ResNet of any size of image: He et al. 2016, sec. 4.2; a stage a width, halving the sides."""

    kind: Literal["residual"] = "residual"
    widths: Annotated[tuple[int, ...], Field(min_length=1)] = (16, 32, 64)
    blocks: int = Field(default=1, ge=1)  # a stage
    norm: Norm = "batch"

    def build(self, channels: int, size: Size, out: int) -> Classifier:
        layers: list[nn.Module] = [Conv2d(channels, self.widths[0], 3, padding=1, bias=self.norm == "none")]
        layers += [*_norm(self.norm, self.widths[0]), nn.ReLU()]
        before = self.widths[0]
        for stage, width in enumerate(self.widths):
            for block in range(self.blocks):
                layers.append(_Block(before, width, 2 if stage and not block else 1, self.norm))
                before = width
        trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), _Wide())
        return Classifier(trunk, before, nn.Linear(before, out))


class _Block(nn.Module):
    def __init__(self, before: int, width: int, stride: int, norm: Norm) -> None:
        super().__init__()
        bias = norm == "none"
        self.model = nn.Sequential(
            Conv2d(before, width, 3, stride, 1, bias=bias),
            *_norm(norm, width),
            nn.ReLU(),
            Conv2d(width, width, 3, 1, 1, bias=bias),
            *_norm(norm, width),
        )
        same = stride == 1 and before == width
        self.shortcut = nn.Identity() if same else Conv2d(before, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.model(x) + self.shortcut(x))


class TorchvisionConfig(Spec):
    """A classifier of torchvision, its last linear layer replaced; it computes in float32."""

    kind: Literal["torchvision"] = "torchvision"
    name: str = "resnet18"
    weights: Literal["none", "default"] | Path = "none"  # default: those that torchvision downloads; or a state_dict

    def build(self, channels: int, size: Size, out: int) -> Classifier:
        from torchvision import models

        if self.name not in models.list_models(models):
            raise ConfigError(f"recipe.network.name: {unknown('model', self.name, models.list_models(models))}")
        if channels not in (1, 3):
            raise ConfigError(f"recipe.network: torchvision's take 1 or 3 channels, not {channels}; use kind: residual")
        model = models.get_model(self.name, weights="DEFAULT" if self.weights == "default" else None)
        if isinstance(self.weights, Path):
            _load(model, self.weights)
        linear = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
        if not linear:
            raise ConfigError(f"recipe.network.name: {self.name} does not end in a linear layer; name another")
        name, last = linear[-1]
        model.set_submodule(name, nn.Identity())
        _split_norms(model)
        features = nn.Sequential(_Photograph(), model, _Wide())
        return Classifier(features, last.in_features, nn.Linear(last.in_features, out))


class _Photograph(nn.Module):
    """[−1, 1] to what networks trained on ImageNet expect; grey to RGB."""

    def forward(self, x: Tensor) -> Tensor:
        mean, std = (x.new_tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        return ((x + 1) / 2 - mean) / std


def _load(model: nn.Module, path: Path) -> None:
    from translate import checkpoints
    from translate.errors import CheckpointError

    if next(model.parameters()).is_meta:  # its numbers are not wanted
        return
    try:
        model.load_state_dict(checkpoints.read(path.expanduser()))
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"recipe.network.weights: {path}: do not fit this network: {reason}") from None


def _split_norms(model: nn.Module) -> None:
    """Every batch norm of `model` becomes one with statistics of each domain."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.BatchNorm2d):
            own = DomainBatchNorm(layer.num_features)
            own.eps, own.momentum = layer.eps, layer.momentum
            statistics = {"target_mean": layer.running_mean, "target_var": layer.running_var}
            own.load_state_dict(layer.state_dict() | statistics)
            model.set_submodule(name, own)


ClassifierNetwork = Annotated[
    MNISTConfig | SVHNConfig | ResidualConfig | TorchvisionConfig, Field(discriminator="kind")
]


class DomainDiscriminatorConfig(Spec):
    """Fully connected; the paper has one hidden layer of 100 for MNIST, two of 1024 for SVHN."""

    width: int = Field(default=100, ge=1)
    layers: int = Field(default=1, ge=1)  # hidden ones

    def build(self, inputs: int) -> nn.Module:
        return nn.Sequential(*hidden(inputs, self.width, self.layers, "relu"), nn.Linear(self.width, 1))
