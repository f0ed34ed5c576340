"""Pictures from generators: what is drawn, the walks between, the files; and that generators can be exported."""

import io
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from translate import checkpoints
from translate.cli import main
from translate.config.load import parse
from translate.errors import ImageError, ModelError
from translate.inference import sample as sampling
from translate.inference.card import Card, Values
from translate.inference.export import export
from translate.inference.latents import classes, draw, walk
from translate.inference.networks import load_networks
from translate.inference.sample import FRAMES, GAP, animation, grid, sample
from translate.inference.translator import Translator
from translate.recipes import find

CLASSES = ("cat", "dog", "T-shirt/top")
SIDE = 16
RECIPES: dict[str, dict[str, Any]] = {
    "dcgan": {"kind": "gan", "generator": {"kind": "dcgan", "latent": 6, "width": 8}},
    "uniform": {"kind": "gan", "generator": {"kind": "dcgan", "latent": 6, "width": 4}, "prior": "uniform"},
    "residual": {
        "kind": "gan",
        "generator": {"kind": "residual", "latent": 6, "widths": [8, 8, 8], "condition": "batch_norm"},
        "discriminator": {"kind": "residual", "widths": [4, 4, 4], "condition": "projection"},
    },
    "progressive": {
        "kind": "pggan",
        "generator": {"kind": "progressive", "latent": 8, "width": 16},
        "discriminator": {"kind": "progressive", "width": 4},
    },
}
CONDITIONAL = {"residual"}
Make = Callable[[str], Path]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Run folders of generators, untrained but of lively pictures, each as RECIPES says, exported."""
    folder = tmp_path_factory.mktemp("runs")

    def make(name: str) -> Path:
        run = folder / name
        if not run.exists():
            written = {
                "recipe": RECIPES[name],
                "data": {"kind": "dataset", "name": "cifar10", "root": "x", "size": SIDE},
            }
            config = parse(yaml.safe_dump(written), "x")
            torch.manual_seed(0)
            names = CLASSES if name in CONDITIONAL else ()
            recipe = find(config.recipe.kind)(config.recipe, {"image": 3}, (SIDE, SIDE), names)
            for parameter in recipe.parameters():
                parameter.data += torch.randn_like(parameter) * 0.2
            state = {
                "config": config.model_dump(mode="json"),
                "channels": {"image": 3},
                "size": (SIDE, SIDE),
                "classes": names,
                "clock": {"step": 7, "images": 7, "seconds": 1.0},
                "recipe": recipe.state_dict(),
                "average": {},
            }
            (run / "checkpoints").mkdir(parents=True)
            (run / "config.yaml").write_text(yaml.safe_dump(written))
            checkpoints.save(run / "checkpoints" / "last.pt", state)
            export(run)
        return run

    return make


def card(**changes: Any) -> Card:
    values = {"name": "m", "network": "g", "recipe": "gan", "source": None, "target": Values(channels=3), "latent": 4}
    return Card(**(values | changes))


def read(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def load(path: Path) -> Translator:
    return Translator.load(path, precision="fp32")


@pytest.mark.parametrize("name", ["dcgan", "residual", "progressive"])
def test_generators_are_exported(runs: Make, name: str) -> None:
    """Latent in, image out; the label where the generator takes it; the same pictures as PyTorch's."""
    run = runs(name)
    file, network = load(run / "export" / "generator.onnx"), load_networks(run)["generator"].network
    found = file.card
    assert found.source is None
    assert found.prior == "normal"
    assert found.latent == RECIPES[name]["generator"]["latent"]
    assert found.inputs == (("latent", "label") if name in CONDITIONAL else ("latent",))
    assert found.labels == (CLASSES if name in CONDITIONAL else ())
    inputs = {"latent": draw(found, 5, 0), "label": classes(found, 5, None)}
    inputs = {key: inputs[key] for key in found.inputs}
    with torch.inference_mode():
        truth = network(*map(torch.from_numpy, inputs.values()))
    assert truth.shape == (5, 3, SIDE, SIDE)
    assert truth.std() > 0.1
    np.testing.assert_allclose(file.session.run(inputs), truth.numpy(), rtol=0, atol=1e-4)


def test_the_prior_is_in_the_card(runs: Make) -> None:
    assert load_networks(runs("uniform"))["generator"].card.prior == "uniform"
    assert load(runs("uniform")).card.prior == "uniform"


def test_latents_follow_their_prior_and_the_seed() -> None:
    normal, uniform = draw(card(), 5000, 1), draw(card(prior="uniform"), 5000, 1)
    assert normal.shape == uniform.shape == (5000, 4)
    assert normal.dtype == uniform.dtype == np.float32
    assert abs(normal.std() - 1) < 0.02
    assert abs(np.abs(normal).max() - 4) < 0.8
    assert np.abs(uniform).max() <= 1
    assert abs(uniform.var() - 1 / 3) < 0.01
    assert (draw(card(), 5000, 1) == normal).all()
    assert (draw(card(), 5000, 2) != normal).any(1).all()


@pytest.mark.parametrize("truncation", [None, 0.5])
def test_the_first_latents_are_the_same_whatever_the_count(truncation: float | None) -> None:
    assert (draw(card(), 100, 3, truncation)[:7] == draw(card(), 7, 3, truncation)).all()


def test_truncation_draws_the_tails_again() -> None:
    """A normal variable within ±T has the variance 1 − 2 T φ(T) / (2 Φ(T) − 1); what was within stays."""
    plain, cut, t = draw(card(), 20_000, 0), draw(card(), 20_000, 0, 0.7), 0.7
    assert np.abs(cut).max() <= t
    density, inside = math.exp(-(t**2) / 2) / math.sqrt(2 * math.pi), math.erf(t / math.sqrt(2))
    assert cut.var() == pytest.approx(1 - 2 * t * density / inside, rel=0.02)
    within = np.abs(plain) <= t
    assert (cut[within] == plain[within]).all()
    with pytest.raises(ModelError, match=r"truncation: m has a uniform prior, without tails"):
        draw(card(prior="uniform"), 1, 0, 0.7)
    for wrong in (0.0, -1.0, math.nan):
        with pytest.raises(ModelError, match=r"must be at least 0\.01"):
            draw(card(), 1, 0, wrong)


def test_classes_by_name_number_or_turn() -> None:
    three = card(labels=("2", "0", "dog"))
    assert classes(three, 5, None).tolist() == [0, 1, 2, 0, 1]
    assert classes(three, 2, "dog").tolist() == [2, 2]
    assert classes(three, 1, "0").tolist() == [1]  # a name comes before a number
    assert classes(three, 1, "1").tolist() == classes(three, 1, 1).tolist() == [1]
    for wrong in ("cow", "3", "-1", "²"):
        with pytest.raises(ModelError, match=r"unknown label '.+'.*; known: 0, 2, dog; or a number from 0 to 2"):
            classes(three, 1, wrong)
    with pytest.raises(ModelError, match="m knows no classes"):
        classes(card(), 1, "dog")


def test_a_walk_on_the_sphere_stays_on_it_in_equal_steps_and_comes_back() -> None:
    corners = np.array([[2, 0, 0], [0, 2, 0], [0, 0, 2]], np.float32)
    way = walk(corners, 8, sphere=True)
    assert way.shape == (24, 3)
    np.testing.assert_allclose(way[::8], corners, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(way, axis=1), 2, atol=1e-6)
    steps = np.linalg.norm(np.diff(way, axis=0, append=way[:1]), axis=1)  # the last one closes the walk
    np.testing.assert_allclose(steps, 2 * 2 * math.sin(math.pi / 2 / 8 / 2), atol=1e-6)  # chords of 90° / 8


def test_a_straight_walk_cuts_the_corner() -> None:
    way = walk(np.array([[2, 0], [0, 2]], np.float32), 4, sphere=False)
    np.testing.assert_allclose(way[:5], [[2, 0], [1.5, 0.5], [1, 1], [0.5, 1.5], [0, 2]], atol=1e-6)
    # Where there is no one great circle (opposite, equal, in one dimension), the sphere's walk is straight, too.
    opposite = np.array([[1, 0], [-1, 0]], np.float32)
    np.testing.assert_allclose(walk(opposite, 4, sphere=True), walk(opposite, 4, sphere=False), atol=1e-6)
    assert np.isfinite(walk(np.zeros((2, 1), np.float32), 4, sphere=True)).all()


def test_a_grid_goes_row_by_row_on_white() -> None:
    pictures = [np.full((3, 4, 1), value, np.uint8) for value in (10, 20, 30)]
    whole = grid(pictures, 2)
    assert whole.shape == (2 * 3 + 3 * GAP, 2 * 4 + 3 * GAP, 1)
    assert [int(whole[GAP, GAP, 0]), int(whole[GAP, -GAP - 1, 0]), int(whole[-GAP - 1, GAP, 0])] == [10, 20, 30]
    assert whole[0].min() == whole[-GAP - 1, -GAP - 1, 0] == 255
    assert grid([np.zeros((1, 1, 3), np.uint16)], 1).max() == 65535


def test_a_grid_of_a_checkpoint_and_of_its_file(runs: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runs("residual")
    path = sample(run / "checkpoints" / "last.pt", tmp_path / "a.png", count=7, seed=5)
    with Image.open(path) as image:
        assert image.size == (3 * (SIDE + GAP) + GAP, 3 * (SIDE + GAP) + GAP)  # a column a class
        note, pixels = json.loads(image.info["translate"]), np.asarray(image).astype(int)
    assert note | {"model_hash": ""} == {
        "model": "residual",
        "network": "generator",
        "model_hash": "",
        "config_hash": load_networks(run)["generator"].card.config_hash,
        "seed": 5,
        "version": "0.1.0",
    }
    monkeypatch.setattr(sampling, "BATCH", 1)
    other = read(sample(run, tmp_path / "b.png", count=7, seed=5))
    assert np.abs(pixels - other).max() <= 1  # another batch size and ONNX Runtime: the same up to rounding
    assert np.abs(pixels - read(sample(run, tmp_path / "c.png", count=7, seed=6))).max() > 20


def test_a_folder_has_one_file_a_picture(runs: Make, tmp_path: Path) -> None:
    folder = sample(runs("residual"), tmp_path / "made", count=4)
    assert sorted(path.name for path in folder.iterdir()) == [
        "0000-cat.png",
        "0001-dog.png",
        "0002-T-shirt_top.png",
        "0003-cat.png",
    ]
    truth = load(runs("residual")).generate(4)[2]
    assert np.abs(read(folder / "0002-T-shirt_top.png") - np.asarray(truth)).max() <= 1
    dogs = sample(runs("residual"), tmp_path / "dogs", count=2, label="dog")
    assert sorted(path.name for path in dogs.iterdir()) == ["0000-dog.png", "0001-dog.png"]
    assert (sample(runs("dcgan"), tmp_path / "plain", count=1) / "0000.png").is_file()


def test_commands(runs: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = runs("dcgan")
    assert main(["sample", str(run), "--count", "4", "--truncation", "0.7", "-o", str(tmp_path / "x.png")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'x.png'}\n"
    with Image.open(tmp_path / "x.png") as image:
        assert image.size == (2 * (SIDE + GAP) + GAP, 2 * (SIDE + GAP) + GAP)
    assert main(["sample", str(run), "--count", "1"]) == 0
    assert (run / "sample.png").is_file()
    assert main(["sample", str(run), "--count", "2", "--interpolate", "slerp"]) == 0
    assert (run / "sample.webp").is_file()
    for arguments, message in (
        (["--label", "cat"], "dcgan knows no classes"),
        (["-o", "x.xyz"], "x.xyz: cannot hold a grid: name a file .png"),
        (["--interpolate", "slerp", "-o", "x.png"], "x.png: a walk is an animation: name a file .webp or .gif"),
        (["-o", str(tmp_path / "x.png" / "y.png")], "cannot be written"),
    ):
        assert main(["sample", str(run), *arguments]) == 2
        assert message in capsys.readouterr().err
    assert main(["sample", str(runs("uniform")), "--interpolate", "slerp"]) == 2
    assert "choose --interpolate lerp" in capsys.readouterr().err


def test_a_model_that_takes_pictures_is_refused(tiny_onnx: Path) -> None:
    with pytest.raises(ModelError, match="translates pictures; it makes none from random numbers"):
        sample(tiny_onnx, count=1)


@pytest.mark.parametrize(("name", "way"), [("walk.webp", "slerp"), ("walk.gif", "lerp")])
def test_a_walk_is_an_endless_film(runs: Make, tmp_path: Path, name: str, way: Any) -> None:
    with Image.open(sample(runs("dcgan"), tmp_path / name, count=3, interpolate=way, seed=2)) as film:
        assert film.n_frames == 3 * FRAMES  # type: ignore[attr-defined]
        assert film.size == (SIDE, SIDE)
        assert film.info["loop"] == 0
        frames = []
        for number in range(film.n_frames):  # type: ignore[attr-defined]
            film.seek(number)
            frames.append(np.asarray(film.convert("RGB")).astype(int))
    stations = load(runs("dcgan")).generate(3, seed=2)
    for frame, station in zip(frames[::FRAMES], stations, strict=True):
        assert np.abs(frame - np.asarray(station)).mean() < (1 if name == "walk.webp" else 16)  # GIF has 256 colours
    steps = [np.abs(a - b).mean() for a, b in zip(frames, [*frames[1:], frames[0]], strict=True)]
    assert max(steps) < np.abs(frames[0] - frames[FRAMES]).mean()


def test_films_of_other_depths_and_channels() -> None:
    deep = [np.full((4, 4, 1), value, np.uint16) for value in (0, 65535)]
    with Image.open(io.BytesIO(animation(deep, card(), "webp", "note"))) as film:
        film.seek(1)
        assert film.convert("RGB").getpixel((2, 2)) == (255, 255, 255)
    with pytest.raises(ImageError, match="m: a picture has 5 channels where 3 are wanted for an animation"):
        animation([np.zeros((4, 4, 5), np.uint8)], card(), "gif", "note")


def test_a_file_is_sampled_without_torch(runs: Make, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom translate.cli import main\n"
        f"assert main(['sample', {str(runs('dcgan') / 'export' / 'generator.onnx')!r}, '--count', '2',"
        f" '--interpolate', 'slerp', '-o', {str(tmp_path / 'x.webp')!r}]) == 0\n"
        "print(sorted({'torch', 'torchvision', 'albumentations', 'scipy'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("total", "side"), [(7, 16), (100, 4), (15, 8)])
def test_a_progressive_checkpoint_stands_where_its_training_does(
    runs: Make, tmp_path: Path, total: int, side: int
) -> None:
    state = checkpoints.load(runs("progressive") / "checkpoints" / "last.pt")
    state["clock"]["total"] = total  # of which 7 steps are done; the phases are 4, fade, 8, fade, 16
    checkpoints.save(tmp_path / "half.pt", state)
    network = load_networks(tmp_path / "half.pt")["generator"].network
    assert network(torch.zeros(1, 8)).shape == (1, 3, side, side)
