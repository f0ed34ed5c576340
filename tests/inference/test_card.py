"""What a file says of its network: back as it was written, and what is no card is named."""

import json
import math
from typing import Any

import pytest

from translate.errors import ModelError
from translate.inference.card import Card, Values

CARD = Card(
    name="run",
    network="a2b",
    recipe="cyclegan",
    source=Values(channels=3, bits=8),
    target=Values(channels=1, range=(0.0, 255.0)),
    labels=("cat", "Zürich"),
    trained_size=(64, 32),
    normalisation={"kind": "log", "scale": (1.0, 2.5)},
    metrics={"val/psnr": 1 / 3},
)


def test_it_comes_back_as_it_was_written() -> None:
    found = Card.parse(CARD.text(), "m.onnx")
    assert found == CARD.replace(normalisation={"kind": "log", "scale": [1.0, 2.5]})
    assert found.metrics["val/psnr"] == 1 / 3
    assert Card.parse(CARD.replace(source=None, latent=8).text(), "m.onnx").inputs == ("latent", "label")


def test_what_is_not_said_has_its_default() -> None:
    shortest = {"name": "a", "network": "b", "recipe": "c", "source": {"channels": 3}, "target": {"channels": 3}}
    found = Card.parse(json.dumps(shortest), "m.onnx")
    assert (found.multiple, found.norm, found.background, found.metrics) == (1, "none", (255, 255, 255), {})
    assert found.source is not None
    assert found.source.range == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, r"2.*\$\.version"),
        ({"frobnicate": 1}, "unknown field `frobnicate`"),
        ({"target": {"channels": 0}}, r">= 1.*\$\.target\.channels"),
        ({"source": {"channels": 3, "bits": 12}}, r"12.*\$\.source\.bits"),
        ({"multiple": "8"}, r"int.*str.*\$\.multiple"),
        ({"trained_size": [1, 2, 3]}, r"length 2.*\$\.trained_size"),
        ({"norm": "batch"}, r"batch.*\$\.norm"),
        ({"float_range": [0.0, math.nan]}, "malformed"),
    ],
)
def test_what_it_cannot_mean_is_named(change: dict[str, Any], said: str) -> None:
    text = json.dumps(json.loads(CARD.text()) | change)
    with pytest.raises(
        ModelError, match=rf"m\.onnx: its metadata cannot be used \(translate: .*{said}.*export the model"
    ):
        Card.parse(text, "m.onnx")


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ModelError, match="missing required field `name`"):
        Card.parse("{}", "m.onnx")
    with pytest.raises(ModelError, match=r"m\.onnx: its metadata"):
        Card.parse(CARD.text()[:-1], "m.onnx")
