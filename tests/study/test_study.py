import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from translate.checkpoints import load
from translate.cli import main
from translate.errors import ConfigError
from translate.study import study
from translate.study.cells import work

ALL = [
    "source_only",
    "dann",
    "cdan",
    "translated",
    "translated+dann",
    "target_supervised",
    "null_source_only",
    "null_test",
]


def contents(folder: Path) -> Any:
    return json.loads((folder / "study.json").read_text())


def test_every_variant_in_one_table(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["study", "--config", config, "--seeds", "1", "--steps", "40", "--out", str(out)]) == 0
    found = contents(out)
    assert list(found["table"]) == ALL
    rows = found["table"]
    assert rows["source_only"]["source accuracy"]["mean"] > 0.5  # it learnt something
    assert rows["target_supervised"]["accuracy"]["mean"] > 0.5
    cell = found["cells"]["dann"]["0"]
    assert cell["steps"] == 40
    classes = [value for value in cell["labelled"]["classes"] if value is not None]
    assert min(classes) <= cell["labelled"]["accuracy"] <= max(classes)
    assert sum(cell["unlabelled"]["priors"]["em"]) == pytest.approx(1)
    assert found["gap closed"]["source_only"] == 0
    assert found["gap closed"]["target_supervised"] == 1
    assert set(found["selection"]) == {"information", "dev", "entropy"}
    assert set(found["selection"]["dev"]["chosen"].values()) <= {"dann", "cdan", "translated", "translated+dann"}
    page = (out / "study.html").read_text()
    assert "target_supervised" in page
    assert page.count("data:image/png") == 3
    run = out / "cells" / "dann-0"
    assert all(
        (run / name).is_file() for name in ("config.yaml", "report.html", "checkpoints/last.pt", "metrics.jsonl")
    )
    capsys.readouterr()
    assert main(["study", "--config", config, "--seeds", "1", "--steps", "40", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out / 'study.html'}\n"  # nothing is trained again


def test_labels_of_the_target_change_accuracies_alone(config: str, digits: Path, tmp_path: Path) -> None:
    """Training, measures, selection and alarms are the same to the last bit with the target's labels shuffled."""
    chosen = ["source_only", "dann", "cdan", "weighted"]
    variants = "dann: [], cdan: [recipe.condition=prediction], weighted: [recipe.class_weighting=true]"
    sets = [f"study.variants={{{variants}}}"]
    study(config, sets, seeds=1, steps=24, chosen=chosen, out=tmp_path / "true")
    with np.load(digits / "digits.npz") as file:
        arrays = dict(file)
    arrays["mnist_labels"] = np.random.default_rng(1).permutation(arrays["mnist_labels"])
    np.savez(digits / "digits.npz", **arrays)
    study(config, sets, seeds=1, steps=24, chosen=chosen, out=tmp_path / "shuffled")
    one, other = contents(tmp_path / "true"), contents(tmp_path / "shuffled")
    for name in chosen:
        ours, theirs = (
            load(tmp_path / run / "cells" / f"{name}-0/checkpoints/last.pt") for run in ("true", "shuffled")
        )
        for key, value in ours["recipe"].items():
            assert not isinstance(value, torch.Tensor) or torch.equal(value, theirs["recipe"][key])
        assert one["cells"][name]["0"]["unlabelled"] == other["cells"][name]["0"]["unlabelled"]
        assert one["cells"][name]["0"]["labelled"] != other["cells"][name]["0"]["labelled"]
    for criterion, found in one["selection"].items():
        assert found["chosen"] == other["selection"][criterion]["chosen"]
    assert one["alarms"]["unlabelled"] == other["alarms"]["unlabelled"]
    for name, row in one["table"].items():
        for column in row.keys() - {"accuracy", "calibration", "classes", "seconds"}:
            assert row[column] == other["table"][name][column]


def test_goes_on_where_it_was_stopped(config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, whole, parts = ["source_only", "dann"], tmp_path / "whole", tmp_path / "parts"
    study(config, (), seeds=1, steps=30, chosen=chosen, out=whole)
    study(config, (), seeds=1, steps=30, chosen=chosen[:1], out=parts)
    assert list(contents(parts)["table"]) == chosen[:1]

    def stopped(task: Any) -> bool:  # in the middle of the second cell
        work(task._replace(steps=17))
        (task.folder / "cell.json").unlink()
        return False

    monkeypatch.setattr("translate.study.work", stopped)
    assert main(["study", "--config", config, "--seeds", "1", "--steps", "30", "--out", str(parts)]) == 130
    monkeypatch.undo()
    study(config, (), seeds=1, steps=30, chosen=chosen, out=parts)
    one, other = contents(whole), contents(parts)
    for name in chosen:
        a, b = one["cells"][name]["0"], other["cells"][name]["0"]
        assert (a["unlabelled"], a["labelled"]) == (b["unlabelled"], b["labelled"])
    with pytest.raises(ConfigError, match=r"holds a study with other settings"):
        study(config, ("optimizer.lr=1e-4",), seeds=1, steps=30, out=parts)


def test_several_trainings_at_a_time_are_the_same(config: str, tmp_path: Path) -> None:
    for jobs in (1, 2):
        study(config, (), seeds=1, steps=6, chosen=["source_only", "dann"], out=tmp_path / str(jobs), jobs=jobs)
    one, two = (contents(tmp_path / str(jobs))["cells"] for jobs in (1, 2))
    for name, cells in one.items():
        assert cells["0"]["unlabelled"] == two[name]["0"]["unlabelled"]


def test_mistakes(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "--config", config, "--out", str(tmp_path / "x"), "--variants", "dan"]) == 2
    assert "--variants: unknown variant 'dan' (did you mean 'dann'?)" in capsys.readouterr().err
    assert main(["study", "--config", "quickstart"]) == 2
    assert "a study is of dann, not of pix2pix" in capsys.readouterr().err
    assert (
        main(["study", "--config", config, "--set", "study.variants={null_test: []}", "--out", str(tmp_path / "y")])
        == 2
    )
    assert "'null_test' is a variant of every study" in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    shutil.copy(config, tmp_path / "full")
    assert main(["study", "--config", config, "--out", str(tmp_path / "full")]) == 2
    assert "is there already, and is no study" in capsys.readouterr().err
