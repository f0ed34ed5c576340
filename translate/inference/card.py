"""What has to be known to use a network, carried inside its file as one JSON text.

In an ONNX file it is the metadata property `translate`; in a checkpoint it is built from the config. The signature:

| input   | type    | shape        |                                                                            |
| image   | float32 | [N, C, H, W] | in `source.range`; H and W multiples of `multiple`                          |
| latent  | float32 | [N, Z]       | instead of `image`, in a network that generates from noise: of `prior`      |
| label   | int64   | [N]          | the class, where `labels` are given: an index into them                     |
| seed    | int64   | [N]          | where `noise` is on: 0 ≤ seed < 2³¹, one a picture; its noise follows from it|

and one output, `output`, float32 [N, C', H', W'] in `target.range`.
"""

from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta, Struct

from translate.errors import ModelError

PROPERTY = "translate"
SEEDS = 1 << 31

Precision = Literal["fp32", "fp16", "int8"]
# Whose statistics the norms use: each picture's own, by channels or by groups of them, or those of the training.
Norm = Literal["image", "group", "running", "none"]


Count = Annotated[int, Meta(ge=1)]


class Values(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the channels of one side mean."""

    channels: Count
    range: tuple[float, float] = (-1.0, 1.0)  # what darkest and brightest are for the network
    bits: Literal[8, 16, 32] | None = None  # of the pictures it was trained on; 32: float
    units: tuple[str, ...] = ()  # of detector images, where known, one a channel: ("VEM", "ns")

    @property
    def colour(self) -> str:
        return {1: "grey", 3: "RGB", 4: "RGBA"}.get(self.channels, f"{self.channels} channels")


class Card(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Types and limits hold for what `parse` reads."""

    version: Literal[1] = 1
    name: str  # of the run
    network: str  # among the networks of its recipe: "translator", "a2b", "b2a"
    recipe: str  # "pix2pix"; "imported" for published weights
    source: Values | None  # None: generated from `latent` numbers
    target: Values
    latent: Count | None = None
    prior: Literal["normal", "uniform"] = "normal"  # of the latent numbers: N(0, 1), or uniform in [-1, 1]
    labels: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()  # where the output is no picture but [N, K]: logits of these classes, or estimates
    multiple: Count = 1  # height and width must be multiples of this
    trained_size: tuple[int, int] | None = None  # height and width of the training pictures
    one_size: bool = False  # takes pictures of `trained_size` alone
    preprocess: str | None = None  # how they came to that size: data.preprocess
    resize: str = "bicubic, antialiased"
    background: tuple[int, int, int] = (255, 255, 255)  # what transparent pictures are laid on
    float_range: tuple[float, float] = (0.0, 1.0)  # the values of float pictures that are black and white
    normalisation: dict[str, Any] | None = None  # a detector.Normalisation, of images which have no `range`
    energy_unit: float | None = None  # GeV; the last latent number of a shower generator is log10 of E in this unit
    norm: Norm = "none"
    noise: bool = False  # takes `seed`: dropout is on, its masks a function of the seed
    precision: Precision = "fp32"
    opset: int | None = None
    step: int | None = None  # of training
    metrics: dict[str, float] = {}  # of the last validation: val/psnr, …
    parity: dict[str, float] = {}  # largest difference from PyTorch; PSNR of lower precisions in dB
    licence: str | None = None  # of the training data, where given
    config_hash: str | None = None  # SHA-256 of the resolved config
    package: str = ""  # the version of this program

    @property
    def inputs(self) -> tuple[str, ...]:
        first = "image" if self.latent is None else "latent"
        return (first, *(["label"] if self.labels else []), *(["seed"] if self.noise else []))

    def replace(self, **update: Any) -> Self:
        return msgspec.structs.replace(self, **update)

    def text(self) -> str:
        """JSON, for `parse`."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def parse(cls, text: str, where: str) -> Self:
        """Raises ModelError where `text` is no card of this program."""
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError as error:
            raise ModelError(
                f"{where}: its metadata cannot be used ({PROPERTY}: {error}); update this program, or export the model "
                "again"
            ) from None
