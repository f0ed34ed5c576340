"""Augmentations by their albumentations names.

albumentations takes three seconds to import and asks a server for its newest version when it is: it is imported only
where a config names an augmentation, and told not to ask.
"""

import inspect
import os
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError

from translate.data.channels import Pixels
from translate.errors import DataError, unknown

Item = dict[str, Any]  # {name: ColorJitter, brightness: 0.2, p: 0.5}


class Augment:
    """The same random change to every picture of a pair: geometry and colour alike."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = list(items)
        self._built: list[Any] | None = None  # built where it is used: workers may be fresh processes

    def __getstate__(self) -> dict[str, Any]:
        return {"items": self.items, "_built": None}

    def __call__(self, images: Sequence[Pixels], rng: np.random.Generator) -> list[Pixels]:
        """[H, W, C] uint8 or float32 in [0, 1], each to the same shape and type. All randomness comes from `rng`.

        Raises DataError where a transform refuses the picture or changes its shape.
        """
        if self._built is None:
            self._built = [build(item) for item in self.items]
        results = [np.ascontiguousarray(image) for image in images]
        for item, transform in zip(self.items, self._built, strict=True):
            seed = int(rng.integers(2**31))  # one for each transform: equal ones would always be applied together
            for position, image in enumerate(results):
                transform.set_random_seed(seed)
                results[position] = _apply(item, transform, image)
        return results


def validate(items: Sequence[Item]) -> None:
    """Raises ValueError for an unknown name or argument, or a value that albumentations refuses."""
    for item in items:
        build(item)


def probe(items: Sequence[Item], channels: Iterable[int], *, square: bool) -> None:
    """Raises ValueError where a transform changes the size of a picture or cannot take its number of channels.

    `square` where the pictures are always square, so that a turn by 90° is fine.
    """
    for item in items:
        transform = build({**item, "p": 1.0})
        for count in sorted(set(channels)):
            image = np.random.default_rng(0).integers(0, 256, (64, 64 if square else 48, count), dtype=np.uint8)
            for seed in range(3):
                transform.set_random_seed(seed)
                try:
                    _apply(item, transform, image)
                except DataError as error:
                    raise ValueError(str(error).removeprefix("data.augment: ")) from error


def build(item: Item) -> Any:
    """The albumentations transform. Raises ValueError for what it does not know or refuses."""
    known = _transforms()
    arguments = dict(item)
    name = arguments.pop("name", None)
    if not isinstance(name, str):
        raise ValueError("each entry needs the name of an albumentations transform, as in {name: ColorJitter, p: 0.5}")
    if name not in known:
        heard = unknown("transform", name, known).partition("; known:")[0]  # there are over a hundred
        raise ValueError(f"{heard}; see the image transforms of https://albumentations.ai")
    accepted = [key for key in inspect.signature(known[name]).parameters if key not in ("args", "kwargs")]
    for key in arguments:
        if key not in accepted:
            raise ValueError(f"{name}: {unknown('argument', str(key), accepted)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return known[name](**arguments)
    except Exception as error:
        raise ValueError(f"{name}: {_detail(error)}") from error


def _transforms() -> dict[str, type[Any]]:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import albumentations
        from albumentations.core.transforms_interface import BasicTransform, ImageOnlyTransform
    bases = (BasicTransform, ImageOnlyTransform, albumentations.DualTransform)
    return {
        name: value
        for name, value in vars(albumentations).items()
        if inspect.isclass(value) and issubclass(value, BasicTransform) and value not in bases and name[0].isupper()
    }


def _apply(item: Item, transform: Any, image: Pixels) -> Pixels:
    name, count = item.get("name"), image.shape[2]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = np.asarray(transform(image=image)["image"])
    except Exception as error:
        raise DataError(
            f"data.augment: {name} does not work on {count}-channel {image.dtype} images ({_detail(error)}); remove it"
        ) from error
    result = result[..., None] if result.ndim == 2 else result
    if result.shape != image.shape:
        raise DataError(
            f"data.augment: {name} changes the shape {image.shape} to {result.shape}; sizes are set by data.preprocess"
        )
    if result.dtype != image.dtype:
        raise DataError(f"data.augment: {name} turns {image.dtype} into {result.dtype}; values are scaled elsewhere")
    return result if result.dtype == np.uint8 else result.clip(0, 1)


def _detail(error: Exception) -> str:
    """The first thing that pydantic or albumentations says, on one line."""
    for each in (error, error.__cause__, error.__context__):
        if isinstance(each, ValidationError):
            first = each.errors()[0]
            place = ".".join(str(part) for part in first["loc"][:1])
            return f"{place}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": ")
    return " ".join(str(error).split())[:160] or type(error).__name__
