"""`translate evaluate` from end to end, on pictures and models whose numbers can be told in advance."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from translate.cli import main
from translate.errors import EvaluationError
from translate.evaluation.command import compare
from translate.inference.card import PROPERTY, Card, Values

GREY = Values(channels=1, bits=8)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSLATE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """real/ and good/: 120 pictures each of one distribution; bad/: brighter ones; negative/: 255 − real."""
    rng = np.random.default_rng(0)
    for name, brightness in (("real", 0), ("good", 0), ("bad", 80)):
        (tmp_path / name).mkdir()
        for number in range(120):
            pixels = np.clip(rng.normal(90 + brightness, 30, (6, 6)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number:03}.png")
    (tmp_path / "negative").mkdir()
    for path in sorted((tmp_path / "real").iterdir()):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(tmp_path / "negative" / path.name)
    return tmp_path


def model(path: Path, card: Card, inputs: list[Any], nodes: list[Any], **constants: Any) -> Path:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", "D", "H", "W"])],
        [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(made, {PROPERTY: card.text()})
    onnx.save(made, path)
    return path


def evaluate(*arguments: Any, output: Path) -> dict[str, Any]:
    assert main(["evaluate", *map(str, arguments), "-o", str(output)]) == 0
    return json.loads((output / "evaluation.json").read_bytes())


def test_the_same_files_give_the_same_digits_with_and_without_the_cache(
    sets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = [
        evaluate(
            "--reference", sets / "real", "--generated", sets / "bad", "--features", "pixels", *more, output=sets / name
        )
        for name, more in (("1", []), ("2", []), ("3", ["--cache", "off"]))
    ]
    assert reports[0] == reports[1] == reports[2]
    assert len({(sets / name / "evaluation.html").read_bytes() for name in "123"}) == 1
    report = reports[0]
    row = report["metrics"]["fd[pixels]"]
    assert row["value"] > 10 * row["beside"]["value"]
    assert (row["generated"], row["reference"], row["beside"]["pictures"]) == (120, 120, 60)
    assert "120 pictures where 10,000 are needed" in row["warning"]
    assert report["spaces"]["pixels"]["preparation"] == "not resized; black 0, white 1"
    assert report["generated"]["size"] == "6x6"
    assert report["channels"] == 1
    printed = capsys.readouterr().out
    assert "fd[pixels]" in printed
    assert str(sets / "3/evaluation.html") in printed
    page = (sets / "1/evaluation.html").read_text()
    assert "fd[pixels]" in page
    assert page.count("data:image/png") == 40 + 40 + 1
    assert "http" not in page.replace("http-equiv", "")  # nothing is fetched


def test_two_models_are_compared(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--reference", sets / "real", "--features", "pixels", "--metrics", "fd,energy"]
    evaluate(*common, "--generated", sets / "bad", output=sets / "1")
    against = ["--against", sets / "1/evaluation.json"]
    better = evaluate(*common, *against, "--generated", sets / "good", output=sets / "2")
    same = evaluate(*common, *against, "--generated", sets / "bad", output=sets / "3")
    assert better["against"]["metrics"]["fd[pixels]"]["note"] == "better"
    assert better["against"]["metrics"]["energy[pixels]"]["note"] == "better"
    assert same["against"]["metrics"]["fd[pixels]"]["note"] == "no more than the noise"
    assert "better" in capsys.readouterr().out
    assert "Against" in (sets / "2/evaluation.html").read_text()
    with pytest.raises(EvaluationError, match="other reference pictures"):
        compare(better | {"reference": {"sha256": "x"}}, better)


def test_the_noise_of_pairs_is_that_of_their_differences() -> None:
    """Two models 0.01 apart in each picture, whose pictures differ by 1: seen only picture by picture."""

    def report(values: np.ndarray, count: int) -> dict[str, Any]:
        row = {"value": values.mean(), "deviation": 0.2, "generated": count, "rising": False, "depends_on_count": False}
        names = [str(number) for number in range(len(values))]
        fd = {"value": 1.0, "deviation": 0.0, "generated": count, "rising": False, "depends_on_count": True}
        return {
            "reference": {"sha256": "a"},
            "spaces": {},
            "metrics": {"l1": row, "fd[x]": fd},
            "per_picture": {"names": names, "l1": values.tolist()},
        }

    base = np.random.default_rng(0).normal(5, 1, 50)
    ours = report(base - 0.01 + np.random.default_rng(1).normal(0, 0.01, 50), 50)
    found = compare(ours, report(base, 60))["metrics"]
    assert found["l1"]["note"] == "better"
    assert found["l1"]["noise"] == pytest.approx(0.01 / np.sqrt(50), rel=0.4)
    assert "not comparable: of 50 and 60 pictures" in found["fd[x]"]["note"]


def test_a_translator_is_scored_against_partners_and_against_doing_nothing(sets: Path) -> None:
    card = Card(name="n", network="translator", recipe="pix2pix", source=GREY, target=GREY)
    image = ("image", TensorProto.FLOAT, ["N", 1, "H", "W"])
    path = model(sets / "n.onnx", card, [image], [helper.make_node("Neg", ["image"], ["output"])])
    report = evaluate(
        *("--model", path, "--input", sets / "negative", "--reference", sets / "real", "--paired"), output=sets / "out"
    )
    assert report["metrics"]["l1"]["value"] < 1e-6
    assert report["metrics"]["psnr"]["value"] == pytest.approx(100)
    assert report["metrics"]["l1"]["beside"]["what"] == "unchanged input"
    assert report["metrics"]["l1"]["beside"]["value"] > 0.2
    assert set(report["metrics"]) == {"l1", "psnr"}  # SSIM wants 11 pixels, and no feature space was asked for
    assert report["per_picture"]["names"][:2] == ["000", "001"]
    page = (sets / "out/evaluation.html").read_text()
    assert "Best by psnr (input, output, truth, from the top)" in page


def test_a_stochastic_translator_is_asked_for_its_spread(sets: Path) -> None:
    """Output: seed/10, as grey values in [−1, 1]; two of four seeds are 1/6 · (3·0.1 + 2·0.2 + 0.3) / 2 apart."""
    card = Card(name="n", network="translator", recipe="pix2pix", source=GREY, target=GREY, noise=True)
    inputs = [("image", TensorProto.FLOAT, ["N", 1, "H", "W"]), ("seed", TensorProto.INT64, ["N"])]
    nodes = [
        helper.make_node("Cast", ["seed"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["number", "tenth"], ["level"]),
        helper.make_node("Reshape", ["level", "shape"], ["grey"]),
        helper.make_node("Mul", ["image", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "grey"], ["output"]),
    ]
    path = model(sets / "n.onnx", card, inputs, nodes, tenth=np.float32(0.1), zero=np.float32(0), shape=[-1, 1, 1, 1])
    report = evaluate(
        *("--model", path, "--input", sets / "real", "--reference", sets / "real", "--metrics", "spread"),
        output=sets / "out",
    )
    assert report["metrics"]["spread"]["value"] == pytest.approx(1 / 6 * (0.3 + 0.4 + 0.3) / 2, abs=0.003)


def test_a_generator_is_asked_for_as_many_as_are_wanted(sets: Path) -> None:
    card = Card(name="g", network="generator", recipe="gan", source=None, target=GREY, latent=36)
    nodes = [helper.make_node("Reshape", ["latent", "shape"], ["output"])]
    path = model(sets / "g.onnx", card, [("latent", TensorProto.FLOAT, ["N", 36])], nodes, shape=[-1, 1, 6, 6])
    common = ["--model", path, "--reference", sets / "real", "--features", "pixels", "--metrics", "energy"]
    report = evaluate(*common, "--count", 50, output=sets / "out")
    assert report["generated"]["count"] == 50
    assert "50 pictures, seed 0" in report["generated"]["what"]
    other = evaluate(*common, "--count", 50, "--seed", 1, output=sets / "out")
    assert other["generated"]["sha256"] != report["generated"]["sha256"]
    assert other["metrics"] != report["metrics"]


def test_offline_the_weight_free_metrics_are_named_as_such(
    sets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(sets / "hub"))
    report = evaluate(
        *("--reference", sets / "real", "--generated", sets / "good", "--metrics", "energy"), output=sets / "out"
    )
    assert list(report["metrics"]) == ["energy[pixels]"]
    assert "inception-v3-tf: its weights could not be downloaded (no route to host)" in report["notes"][0]
    assert "left out: inception-v3-tf" in capsys.readouterr().err
    assert "inception-v3-tf@FILE" in (sets / "out/evaluation.html").read_text()


def test_copies_of_training_pictures_are_found_and_shown(sets: Path) -> None:
    (sets / "copies").mkdir()
    for path in sorted((sets / "good").iterdir())[:60]:
        (sets / "copies" / path.name).write_bytes(path.read_bytes())
    common = ["--reference", sets / "real", "--training", sets / "good", "--features", "pixels", "--metrics", "copying"]
    report = evaluate(*common, "--generated", sets / "copies", output=sets / "out")
    assert report["metrics"]["nearer_to_training[pixels]"]["value"] == 1
    assert "Nearest to training pictures" in (sets / "out/evaluation.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--generated", "good", "--metrics", "fid"], "unknown metric 'fid' (did you mean 'fd'?)"),
        (["--generated", "good", "--metrics", "l1"], "add --paired"),
        (["--generated", "good", "--metrics", "copying"], "give --training"),
        (["--generated", "nothing"], "there is no such folder"),
        (["--generated", "good", "--features", "onnx:x.onnx"], "x.onnx"),
        (["--generated", "good", "--against", "x.json"], "--against: x.json"),
        (["--model", "x.onnx"], "with --input (a translator) or --count (a generator)"),
        (["--generated", "good", "--features", "pixels", "--metrics", "train_on"], "nothing could be measured"),
    ],
)
def test_mistakes_take_one_line(
    sets: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(sets)
    assert main(["evaluate", "--reference", "real", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("evaluation").exists()
