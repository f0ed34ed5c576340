"""What the training loop asks of a method, and nothing more."""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from translate.config.clock import Clock
from translate.config.spec import Kinded
from translate.errors import ConfigError, unknown

Losses = dict[str, Tensor]  # name → a weighted scalar; an update goes down their sum


class Turn(NamedTuple):
    """One update: this player's parameters go down the gradient of the sum of these losses."""

    player: str
    losses: Losses


class Comparison(NamedTuple):
    """What a paired metric needs: images [N, C, H, W] in [−1, 1] that show the same scenes."""

    input: Tensor
    output: Tensor
    truth: Tensor


class Recipe(nn.Module, ABC):
    """A method. Kind x lives in translate/recipes/x.py; nothing else has to know of it."""

    known: ClassVar[dict[str, type["Recipe"]]] = {}
    Config: ClassVar[type[Kinded]]
    batch_type: ClassVar[
        type | tuple[type, ...]
    ]  # of translate.batches; checked against the data before training starts
    draws: int = 1  # batches that one step takes

    def __init_subclass__(cls, kind: str) -> None:
        super().__init_subclass__()
        cls.known[kind] = cls

    def __init__(
        self,
        config: Any,
        channels: Mapping[str, int],
        size: tuple[int, int] | None = None,
        classes: tuple[str, ...] = (),
    ) -> None:
        """`channels`: how many each field of images in the batch has; `size`: their height and width, None where they
        vary; `classes`: the names of the labels, where there are any."""
        super().__init__()

    @staticmethod
    def multiple(config: Any) -> int:
        """Heights and widths of images must be multiples of this."""
        return 1

    @abstractmethod
    def players(self) -> dict[str, list[nn.Module]]:
        """Who is trained: name → the modules that its optimiser owns."""

    @abstractmethod
    def step(self, draw: Callable[[], Any], clock: Clock) -> Iterator[Turn]:
        """One iteration of the paper's algorithm. The loop updates the player at each `yield`."""

    @abstractmethod
    def deployed(self) -> dict[str, nn.Module]:
        """What is averaged, evaluated, exported and served: name → network."""

    def stand(self, clock: Clock) -> None:
        """Gives the networks the form that they have at `clock`, where the method changes it as it goes on."""

    def settle(self, networks: Mapping[str, nn.Module], draw: Callable[[], Any], clock: Clock) -> dict[str, float]:
        """Once, after the last step: what the deployed networks need and no gradient gives, as torch's `update_bn`.

        `networks`: as from `deployed`, in eval mode; `draw`: batches for training. Returns what it found, by name.
        """
        return {}

    @abstractmethod
    def sides(self) -> Mapping[str, tuple[str | None, str]]:
        """The fields of the batch that a deployed network takes (None: noise) and imitates: name → (source, target)."""

    def latents(self) -> int:
        """How many numbers of noise the networks take whose source is None."""
        raise NotImplementedError

    def labels(self) -> tuple[str, ...]:
        """The classes that these networks are told, if they are."""
        return ()

    def outputs(self) -> tuple[str, ...]:
        """Of networks that give numbers [N, K] for an image, not another image: their names, as of classes."""
        return ()

    @abstractmethod
    def preview(self, networks: Mapping[str, nn.Module], batch: Any) -> dict[str, Tensor]:
        """Columns of a sample grid: title → images [N, C, H, W]. `networks`: as from `deployed`."""

    def measure(self, networks: Mapping[str, nn.Module], batch: Any) -> dict[str, Tensor]:
        """Of a held-out batch, by name, one number an example [N]: `accuracy`, `loss`; of methods that have a truth."""
        return {}

    def compare(self, networks: Mapping[str, nn.Module], batch: Any) -> dict[str, Comparison]:
        """Outputs beside the truth, for a batch of true pairs; empty where a method has none."""
        return {}

    def imitate(self, networks: Mapping[str, nn.Module], batch: Any) -> dict[str, tuple[Tensor, Tensor]]:
        """Images [N, C, H, W] that the networks make, and those that they should look like as a set; by network."""
        return {name: (output, truth) for name, (_, output, truth) in self.compare(networks, batch).items()}


def find(kind: str) -> type[Recipe]:
    package = importlib.import_module("translate.recipes")
    kinds = {module.name for module in pkgutil.iter_modules(package.__path__)} - {"base"}
    if kind not in kinds:
        raise ConfigError(f"recipe.kind: {unknown('recipe', kind, kinds)}")
    importlib.import_module(f"translate.recipes.{kind}")
    return Recipe.known[kind]


def l1(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).abs().mean()


def halved(losses: Losses, suffix: str = "") -> Losses:
    """The discriminator's objective × ½, which slows it against the generator; its penalties as they are."""
    return {f"{name}{suffix}": loss / 2 if name == "discriminator" else loss for name, loss in losses.items()}
