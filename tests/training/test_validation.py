"""The sample picture, and batches with labels on their way to the device."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from translate.batches import Images, Labelled
from translate.config.load import parse
from translate.data import find
from translate.recipes import Recipe
from translate.training.devices import Placement
from translate.training.samples import grid
from translate.training.validation import Validator

TEXT = """
recipe: {kind: cyclegan}
data: {kind: toy, name: ring, batch_size: 32}
validation: {batch_size: 16, samples: 3}
"""


class Shown:
    """A recipe that shows the data and their mirror image."""

    batch_type = Images
    measure = Recipe.measure

    def preview(self, networks: Mapping[str, nn.Module], batch: Any) -> dict[str, Tensor]:
        return {"data": batch.image, "mirrored": networks["mirror"](batch.image)}


class Mirror(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return -x


def place(layout: torch.memory_format = torch.contiguous_format) -> Placement:
    return Placement(torch.device("cpu"), None, layout)


def test_the_source_may_draw_the_samples_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = parse(TEXT, "x")
    source = find("toy")(run.data)
    counted: dict[str, int] = {}
    draw = source.picture

    def watched(columns: Mapping[str, Sequence[Tensor]]) -> Any:
        counted.update({title: len(images) for title, images in columns.items()})
        return draw(columns)

    monkeypatch.setattr(source, "picture", watched)
    Validator(run, Shown(), source, place()).sample({"mirror": Mirror()}, tmp_path / "samples" / "1.png")
    assert counted == {"data": 500, "mirrored": 500}
    with Image.open(tmp_path / "samples" / "1.png") as picture:
        assert picture.size == (500, 500)


def test_other_samples_are_a_grid(tmp_path: Path) -> None:
    glyphs = "{kind: glyphs, pairs: false, size: 16, characters: [[48, 90]]}"
    run = parse(TEXT.replace("{kind: toy, name: ring, batch_size: 32}", glyphs), "x")
    recipe = Shown()
    recipe.preview = lambda networks, batch: {"a": batch.a, "b": batch.b}
    Validator(run, recipe, find("glyphs")(run.data), place()).sample({}, tmp_path / "1.png")
    with Image.open(tmp_path / "1.png") as picture:
        assert picture.size == (2 * 16 + 3 * 2, 14 + 3 * 16 + 4 * 2)


def test_titles_of_narrow_columns_stand_beside_each_other() -> None:
    white = [torch.ones(1, 8, 8)]
    ink = [int((255 - np.asarray(grid({title: white}))).sum()) for title in ("generated", "unchanged")]
    assert (255 - np.asarray(grid({"generated": white, "unchanged": white}))).sum() == sum(
        ink
    )  # no letter hides another


def test_labels_keep_their_type_whatever_the_layout_of_images() -> None:
    batch = Labelled(torch.rand(4, 3, 8, 8), torch.arange(4))
    moved = place(torch.channels_last).move(batch)
    assert type(moved) is Labelled
    assert moved.image.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(moved.image, batch.image)
    assert moved.label.dtype == torch.int64
    assert moved.label.tolist() == [0, 1, 2, 3]
