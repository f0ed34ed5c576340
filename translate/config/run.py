"""What one experiment is: `configs/x.yaml` read and checked."""

import importlib
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationInfo, field_validator, model_validator

from translate.config.clock import Clock
from translate.config.spec import Kinded, Spec
from translate.errors import ConfigError, unknown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor
    from torch.optim import Optimizer


def by_kind(field: str, value: Any) -> type[Kinded]:
    """The Config of the class that `kind:` names in the field `recipe` or `data`.

    Kind x lives in module x of the field's package: no list to edit.
    """
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind is None:
        raise ValueError("needs a 'kind'")
    package = {"recipe": "translate.recipes", "data": "translate.data"}[field]
    config: type[Kinded] = importlib.import_module(package).find(str(kind)).Config
    return config


def _resolve(value: Any, info: ValidationInfo) -> Kinded:
    assert info.field_name is not None
    return value if isinstance(value, Kinded) else by_kind(info.field_name, value).model_validate(value)


class Adam(Spec):
    kind: Literal["adam"] = "adam"
    lr: float = Field(default=2e-4, gt=0)
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = Field(default=0.0, ge=0)

    def build(self, parameters: "Iterable[Tensor]") -> "Optimizer":
        from torch.optim import Adam as Implementation

        return Implementation(parameters, lr=self.lr, betas=self.betas, weight_decay=self.weight_decay, fused=True)


class RMSProp(Spec):
    kind: Literal["rmsprop"] = "rmsprop"
    lr: float = Field(default=5e-5, gt=0)
    alpha: float = Field(default=0.99, ge=0, lt=1)

    def build(self, parameters: "Iterable[Tensor]") -> "Optimizer":
        from torch.optim import RMSprop as Implementation

        return Implementation(parameters, lr=self.lr, alpha=self.alpha, foreach=True)


class SGD(Spec):
    kind: Literal["sgd"] = "sgd"
    lr: float = Field(default=0.01, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)

    def build(self, parameters: "Iterable[Tensor]") -> "Optimizer":
        from torch.optim import SGD as Implementation

        return Implementation(
            parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay, fused=True
        )


class Constant(Spec):
    kind: Literal["constant"] = "constant"
    epochs: int = Field(default=200, ge=1)

    def factor(self, clock: Clock) -> float:
        return 1.0


class Linear(Spec):
    """Constant up to `decay_from`, then linearly towards 0: Zhu et al. 2017, appendix 7.1.

    The factor of the 1-based epoch e is 1 − max(0, e − decay_from) / (epochs − decay_from + 1).
    """

    kind: Literal["linear"] = "linear"
    epochs: int = Field(default=200, ge=1)
    decay_from: int = Field(default=100, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> "Linear":
        if self.decay_from > self.epochs:
            raise ConfigError(f"decay_from {self.decay_from} is after the last of {self.epochs} epochs")
        return self

    def factor(self, clock: Clock) -> float:
        return max(0.0, 1.0 - max(0, clock.epoch - self.decay_from) / (self.epochs - self.decay_from + 1))


class Cosine(Spec):
    """Half a cosine from 1 to `final`: Loshchilov & Hutter 2017, eq. 5, without restarts."""

    kind: Literal["cosine"] = "cosine"
    epochs: int = Field(default=200, ge=1)
    final: float = Field(default=0.0, ge=0, le=1)

    def factor(self, clock: Clock) -> float:
        from math import cos, pi

        return self.final + (1 - self.final) * (1 + cos(pi * clock.fraction)) / 2


class Inverse(Spec):
    """(1 + α p)^−β at the progress p: Ganin et al. 2016, sec. 5.2.2, for lr 0.01 and SGD with momentum 0.9."""

    kind: Literal["inverse"] = "inverse"
    epochs: int = Field(default=200, ge=1)
    alpha: float = Field(default=10.0, ge=0)
    beta: float = Field(default=0.75, ge=0)

    def factor(self, clock: Clock) -> float:
        return float((1 + self.alpha * clock.fraction) ** -self.beta)


class Validation(Spec):
    """Every `every` steps (None: once an epoch): metrics on up to `count` test images, and a sample grid.

    `metrics` compare sets of images: METRIC[FEATURES], as fd[pixels]; `metric` is what the best checkpoint is best in:
    psnr if none is given and the method learns from true pairs. Others are not to be chosen by pairs unasked.
    """

    every: int | None = Field(default=None, ge=1)
    count: int | None = Field(default=200, ge=1)
    batch_size: int = Field(default=8, ge=1)
    samples: int = Field(default=6, ge=1, le=64)
    metrics: tuple[str, ...] = ()
    metric: str | None = None

    @field_validator("metrics", "metric")
    @classmethod
    def _named(cls, value: tuple[str, ...] | str | None, info: ValidationInfo) -> tuple[str, ...] | str | None:
        single = ("psnr", "ssim", "l1", "accuracy", "loss") if info.field_name == "metric" else ()
        for name in (value,) if isinstance(value, str) else value or ():
            if name not in single and not re.fullmatch(r"\w+\[.+\]", name):
                raise ValueError(f"{unknown('metric', name, single)}, or METRIC[FEATURES] as fd[pixels]")
        return value


class Player(Spec):
    """How one player differs from the others: two time scales (Heusel et al. 2017), and balanced updates."""

    rate: float = Field(default=1.0, gt=0)  # times optimizer.lr
    decay: bool = True  # whether `schedule` is its schedule, too; false keeps its learning rate as it is
    above: float | None = None  # updated only while its loss, summed over its terms, is above this
    below: float | None = None


class Log(Spec):
    every: int = Field(default=50, ge=1)
    # YAML reads a bare `off` as false.
    wandb: Annotated[
        Literal["off", "online", "offline"], BeforeValidator(lambda value: "off" if value is False else value)
    ] = "off"


class Export(Spec):
    """ONNX files of a finished run, as `translate export` makes them."""

    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    noise: bool = False  # keep dropout, driven by a seed
    licence: str | None = None  # of the training data, kept in the files


class Study(Spec):
    """What `translate study` compares with training on the source alone, and with the labelled target."""

    # By name, what of the config is to be different, as in --set. The first also trains on translated images.
    variants: dict[str, tuple[str, ...]] = Field(
        default={"dann": ("recipe.condition=none",), "cdan": ("recipe.condition=prediction",)}, min_length=1
    )
    translator: str | None = None  # the config of a method that makes source images look like the target's
    translator_set: tuple[str, ...] = ()  # what of that config is to be different

    @model_validator(mode="after")
    def _of_a_translator(self) -> Self:
        if self.translator_set and not self.translator:
            raise ValueError("translator_set: is of a translator; set translator, too")
        return self


class Run(Spec):
    recipe: Annotated[SerializeAsAny[Kinded], BeforeValidator(_resolve)]
    data: Annotated[SerializeAsAny[Kinded], BeforeValidator(_resolve)]
    optimizer: Annotated[Adam | RMSProp | SGD, Field(discriminator="kind")] = Adam()
    schedule: Annotated[Constant | Linear | Cosine | Inverse, Field(discriminator="kind")] = Linear()
    validation: Validation = Validation()
    log: Log = Log()
    players: dict[str, Player] = Field(default={})  # by name, as discriminator: {rate: 4}
    seed: int = Field(default=0, ge=0)
    ema: float | None = Field(default=None, gt=0, lt=1)  # decay per step of the averaged copy of what is deployed
    save_every: int | None = Field(default=None, ge=1)  # steps; None: at each validation
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    channels_last: Literal["auto"] | bool = "auto"
    compile: bool = False
    cuda_graph: bool = True  # on a GPU a step is recorded once and replayed, where that is possible
    doctor: bool = True  # looks for what goes wrong at each line of the log and each validation, and says so
    export: Export | None = None
    study: Study | None = None
