"""A small classifier of labelled pictures: a feature space where no downloaded weights are at hand or fit the data.

Its file holds the weights, the names of the classes and how pictures are prepared; reading it runs no code.
Shapes: N pictures, C channels, S pixels a side, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from torch import Tensor, nn

from translate import __version__, checkpoints
from translate.batches import Labelled
from translate.config.spec import Spec, explain
from translate.data.channels import Pixels
from translate.data.dataset import DatasetConfig
from translate.data.source import Source, SourceConfig, Split
from translate.data.stream import batches
from translate.errors import CheckpointError, ConfigError
from translate.evaluation.spaces import float32

FEATURES, BATCH, RATE = 128, 128, 3e-3
Note = Callable[[str], None]


class Card(Spec):
    name: str  # of the file without its suffix: in the names of metrics
    classes: tuple[str, ...]
    channels: int = Field(ge=1)
    size: int = Field(ge=4)
    fit: Literal["pad", "resize"]
    crop: int | None = None
    accuracy: float | None = None  # on the test part
    data: str = ""  # that it was trained on
    epochs: int = 0
    package: str = ""

    def prepared(self, pictures: Pixels) -> Tensor:
        """uint8 [N, H, W, C] as `data.kind: dataset` fits them: uint8 [N, C, S, S]."""
        config = DatasetConfig(
            name="folder", root=Path(), size=self.size, fit=self.fit, crop=self.crop, channels=_known(self.channels)
        )
        return torch.from_numpy(np.ascontiguousarray(config.fitted(pictures).transpose(0, 3, 1, 2)))


class Network(nn.Module):
    """Convolutions that halve down to 4 x 4, a layer of FEATURES rectified units, and one unit a class."""

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
        width, side = 32, size // 2
        while side >= 8:
            wider = min(2 * width, 128)
            layers += [nn.Conv2d(width, wider, 3, 1, 1, bias=False), nn.BatchNorm2d(wider), nn.ReLU(), nn.MaxPool2d(2)]
            width, side = wider, side // 2
        layers += [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.3), nn.Linear(16 * width, FEATURES), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.last = nn.Linear(FEATURES, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [N, C, S, S] → features [N, FEATURES], logits [N, K]."""
        features = self.features(images.to(torch.float32).div(127.5).sub(1))
        return features, self.last(features)


class Answer(NamedTuple):
    features: NDArray[np.float32]  # [N, FEATURES]
    probabilities: NDArray[np.float32]  # [N, K]


@dataclass(frozen=True)
class Classifier:
    path: Path
    card: Card
    network: Network

    @torch.inference_mode()
    def __call__(self, pictures: Pixels) -> Answer:
        """uint8 [N, H, W, C]."""
        device = self.network.last.weight.device
        with float32():
            features, logits = self.network(self.card.prepared(pictures).to(device))
        return Answer(features.cpu().numpy(), logits.softmax(1).cpu().numpy())


def load(path: Path) -> Classifier:
    """Raises CheckpointError for what is no classifier of this program."""
    state = checkpoints.load(path, device := _device())
    try:
        card = Card.model_validate(state["classifier"])
        network = Network(card.channels, card.size, len(card.classes))
        network.load_state_dict(state["weights"])
    except ValidationError as error:
        raise CheckpointError(str(explain(error, Card, state["classifier"], str(path)))) from None
    except (KeyError, RuntimeError):
        raise CheckpointError(f"{path}: is no classifier: make one with translate classifier") from None
    return Classifier(path, card, network.eval().requires_grad_(False).to(device))


def source(config: str | None, data: str | None, root: Path | None, size: int) -> Source:
    """The data of a config, or a set of pictures by its name. Raises TranslateError for what cannot be used."""
    from translate.config.load import load as load_config
    from translate.config.load import parse
    from translate.data import find

    if config is not None:
        at = [] if root is None else [f"data.root={root}"]
        chosen = load_config(config, [*at, "data.labels=true"]).data
    else:
        if root is None:
            raise ConfigError("--data: needs --root, the folder where they are")
        text = f"recipe: {{kind: gan}}\ndata: {{kind: dataset, name: {data}, size: {size}}}"
        chosen = parse(text, "--data", [f"data.root={root}"]).data
    assert isinstance(chosen, SourceConfig)
    return find(chosen.kind)(chosen)


def train(source: Source, output: Path, *, epochs: int = 2, seed: int = 0, note: Note = print) -> Card:
    """Trains on the training part of labelled pictures of one size, tests on the other, and writes `output`.

    Raises ConfigError where the data have no classes.
    """
    config = source.config
    if not isinstance(config, DatasetConfig) or not source.classes:
        raise ConfigError("data: a classifier needs data.kind: dataset with classes (data.labels: true)")
    images, labels = together(source.train)
    note(f"{source.describe()}; {epochs} epochs")
    network = fit(images, labels, len(source.classes), epochs=epochs, seed=seed, note=note)
    card = Card(
        name=output.stem,
        classes=source.classes,
        channels=images.shape[1],
        size=config.size,
        fit=config.fit,
        crop=config.crop,
        accuracy=None if source.test is None else accuracy(network, *together(source.test)),
        data=source.describe(),
        epochs=epochs,
        package=__version__,
    )
    checkpoints.save(output, {"classifier": card.model_dump(mode="json"), "weights": network.cpu().state_dict()})
    return card


def fit(images: Tensor, labels: Tensor, classes: int, *, epochs: int, seed: int, note: Note | None = None) -> Network:
    """Of images uint8 [N, C, S, S] with labels [N]: cross-entropy, Adam, one cycle of the learning rate."""
    device, steps = _device(), max(1, len(images) // BATCH)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Network(images.shape[1], images.shape[2], classes).to(device)
        optimiser = torch.optim.Adam(network.parameters(), lr=RATE, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=epochs * steps)
        for epoch in range(epochs):
            total = torch.zeros((), device=device)
            for batch in torch.randperm(len(images))[: steps * BATCH].chunk(steps):
                _, logits = network(images[batch].to(device))
                loss = F.cross_entropy(logits, labels[batch].to(device))
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                total += loss.detach()
            if note is not None:
                note(f"epoch {epoch + 1} of {epochs}: loss {total.item() / steps:.3f}")
    return network.eval().requires_grad_(False)


@torch.inference_mode()
def accuracy(network: Network, images: Tensor, labels: Tensor) -> float:
    """The share of images uint8 [N, C, S, S] that are given their label."""
    device = network.last.weight.device
    named = [network(some.to(device))[1].argmax(1).cpu() for some in images.split(1000)]
    return (torch.cat(named) == labels).double().mean().item()


def together(split: Split) -> tuple[Tensor, Tensor]:
    """uint8 [N, C, S, S] and labels [N]."""
    images, labels = [], []
    for _, batch in batches(split, 1000):
        assert isinstance(batch, Labelled)
        images.append(batch.image.add(1).mul(127.5).round().byte())
        labels.append(batch.label)
    return torch.cat(images), torch.cat(labels)


def _known(channels: int) -> Literal[1, 3]:
    return 1 if channels == 1 else 3


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
