"""Metrics of sets of images at validations: values, the best checkpoint, and what they must not change."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from translate import checkpoints
from translate.config.load import parse
from translate.data import find
from translate.errors import ConfigError
from translate.evaluation.distributions import frechet_distance
from translate.recipes import find as find_recipe
from translate.training.devices import Placement
from translate.training.sets import SetMetrics
from translate.training.start import train
from translate.training.validation import Validator

RING = """
recipe:
  kind: gan
  generator: {{kind: mlp, latent: 2, width: 16, layers: 2}}
  discriminator: {{kind: mlp, width: 16, layers: 2}}
data: {{kind: toy, name: ring, batch_size: 64, count: 1280}}
schedule: {{kind: constant, epochs: 2}}
validation: {{every: 10, count: 300, batch_size: 64, {}}}
log: {{every: 10}}
"""


def rows(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if any(key.startswith("val/") for key in line)]


def ring(tmp_path: Path, settings: str, name: str) -> Path:
    config = tmp_path / f"{name}.yaml"
    config.write_text(RING.format(settings))
    assert train(str(config), out=tmp_path / name).finished
    return tmp_path / name


def test_a_generator_has_a_best_checkpoint(tmp_path: Path) -> None:
    plain = ring(tmp_path, "samples: 2", "plain")
    scored = ring(tmp_path, "samples: 2, metrics: ['recall[pixels]'], metric: 'fd[pixels]'", "scored")
    assert not (plain / "checkpoints/best.pt").exists()
    values = rows(scored)
    assert [row["step"] for row in values] == [10, 20, 30, 40]
    assert all({"val/fd[pixels]", "val/recall[pixels]"} <= set(row) for row in values)
    best = checkpoints.load(scored / "checkpoints/best.pt")
    assert best["clock"]["step"] == min(values, key=lambda row: row["val/fd[pixels]"])["step"]
    assert best["best"] == min(row["val/fd[pixels]"] for row in values)
    page = (scored / "report.html").read_text()
    assert "fd[pixels]" in page
    one, other = (checkpoints.load(run / "checkpoints/last.pt")["recipe"] for run in (plain, scored))
    assert all(
        torch.equal(one[key], other[key]) for key in one if isinstance(one[key], torch.Tensor)
    )  # what is trained does not change


def test_the_value_is_that_of_what_the_generator_makes(tmp_path: Path) -> None:
    run = parse(RING.format("metric: 'fd[pixels]'"), "x")
    source = find("toy")(run.data)
    recipe = find_recipe("gan")(run.recipe, source.channels, (1, 1), ())
    place = Placement(torch.device("cpu"), None, torch.contiguous_format)
    validator = Validator(run, recipe, source, place)
    networks = recipe.deployed()
    first, again = validator.metrics(networks), validator.metrics(networks)
    assert first == again
    torch.manual_seed(run.seed)
    made = torch.cat([networks["generator"](torch.randn(size, 2), None) for size in (64, 64, 64, 64, 44)])
    real = np.stack([source.test.sample(i, np.random.default_rng((0, i)))[0].numpy() for i in range(300)])
    expected = frechet_distance((real.reshape(300, 2) + 1) / 2, (made.detach().numpy().reshape(300, 2) + 1) / 2)
    assert first == {"val/fd[pixels]": pytest.approx(expected, rel=1e-4)}
    assert validator.better(first, None)
    assert validator.better(first, first["val/fd[pixels]"] + 1)
    assert not validator.better(first, first["val/fd[pixels]"])


def test_translators_have_one_a_direction_and_keep_the_paired_ones(tiny, tmp_path: Path) -> None:
    config = tiny("cyclegan", ("samples: 2", "samples: 2, metrics: ['energy[pixels:8]', 'precision[pixels:8]']"))
    train(config, out=tmp_path / "run", steps=20)
    (row,) = rows(tmp_path / "run")
    assert "val/psnr" in row
    for name in ("energy", "precision"):
        each = [row[f"val/{side}/{name}[pixels:8]"] for side in ("a2b", "b2a")]
        assert row[f"val/{name}[pixels:8]"] == pytest.approx(np.mean(each))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("metric: psnrr", r"did you mean 'psnr'.*METRIC\[FEATURES\]"),
        ("metrics: [psnr]", r"METRIC\[FEATURES\]"),
        ("metric: 'fid[pixels]'", "did you mean 'fd'"),
        ("metric: 'fd[pixel]'", "did you mean 'pixels'"),
        ("metric: 'inception_score[pixels]'", "name no classes"),
        ("metric: 'fd[onnx:x.onnx]'", r"x\.onnx"),
    ],
)
def test_mistakes_are_told_before_training(tmp_path: Path, settings: str, message: str) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(RING.format(settings))
    with pytest.raises(ConfigError, match=message):
        train(str(config), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_pictures_that_are_too_large_are_told_before_training() -> None:
    run = parse(
        "recipe: {kind: cyclegan}\ndata: {kind: glyphs, pairs: false, size: 128, characters: [[48, 90]]}\nvalidation: {metric: 'fd[pixels]'}",
        "x",
    )
    source = find("glyphs")(run.data)
    recipe = find_recipe("cyclegan")(run.recipe, source.channels)
    place = Placement(torch.device("cpu"), None, torch.contiguous_format)
    with pytest.raises(ConfigError, match=r"fd\[pixels\].*choose pixels:32"):
        SetMetrics(run.validation, recipe, source.train, 1, place)
