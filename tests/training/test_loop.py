import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from translate.checkpoints import load
from translate.cli import main
from translate.config.run import SGD, Player
from translate.errors import ConfigError, TrainingError
from translate.recipes import Turn
from translate.recipes.pix2pix import Pix2Pix
from translate.training import start
from translate.training.average import Average
from translate.training.devices import Placement
from translate.training.journal import read
from translate.training.start import train
from translate.training.update import Update

Tiny = Callable[..., str]


def test_a_run_leaves_everything_that_was_promised(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["train", "--config", tiny("pix2pix"), "--out", str(run)]) == 0
    rows = read(run / "metrics.jsonl")
    total = math.ceil(4 * 60 / 4)
    assert rows[-1]["step"] == total
    assert [row["epoch"] for row in rows if "train/generator/l1" in row] == sorted(
        row["epoch"] for row in rows if "train/generator/l1" in row
    )
    assert rows[-1]["epoch"] == 4
    assert {"step", "epoch", "images", "seconds"} <= set(rows[0])
    trained = next(row for row in rows if "train/generator/l1" in row)
    assert {
        "train/discriminator/discriminator",
        "train/generator/adversarial",
        "train/lr/generator",
        "train/adversary/logits_real",
    } <= set(trained)
    validated = next(row for row in rows if "val/psnr" in row)
    assert {"val/l1", "val/ssim", "val/input/psnr"} <= set(validated)
    assert all((run / "checkpoints" / name).exists() for name in ("last.pt", "best.pt"))
    samples = sorted((run / "samples").glob("*.png"))
    assert len(samples) == 3
    with Image.open(samples[0]) as picture:
        assert picture.size[0] > 3 * 32
    assert "data:image" in (run / "report.html").read_text()
    assert json.loads((run / "environment.json").read_text())["torch"] == torch.__version__
    output = capsys.readouterr()
    assert "kind: pix2pix" in output.out  # the resolved config
    assert f"step {total}/{total}" in output.err


def test_best_is_the_best(tiny: Tiny, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tiny("pix2pix", ("every: 20", "every: 5")), (), run)
    values = {row["step"]: row["val/psnr"] for row in read(run / "metrics.jsonl") if "val/psnr" in row}
    best = load(run / "checkpoints" / "best.pt")
    assert best["best"] == max(values.values())
    assert values[best["clock"]["step"]] == max(values.values())


def test_pairs_choose_an_unpaired_method_only_when_asked(tiny: Tiny, tmp_path: Path) -> None:
    """They are there to measure it."""
    unasked, asked = tmp_path / "unasked", tmp_path / "asked"
    train(tiny("cyclegan"), (), unasked, steps=20)
    train(tiny("cyclegan"), ("validation.metric=l1",), asked, steps=20)
    for run in (unasked, asked):
        assert [row["step"] for row in read(run / "metrics.jsonl") if "val/l1" in row] == [20]
    assert not (unasked / "checkpoints" / "best.pt").exists()
    row = next(row for row in read(asked / "metrics.jsonl") if "val/l1" in row)
    assert load(asked / "checkpoints" / "best.pt")["best"] == row["val/l1"]


def test_learning_rate_follows_the_schedule(tiny: Tiny, tmp_path: Path) -> None:
    """But not that of a player which is to keep its own."""
    run = tmp_path / "run"
    settings = ("players={discriminator: {rate: 2, decay: false}}",)
    train(tiny("pix2pix", ("log: {every: 4}", "log: {every: 1}")), settings, run)
    rates = {
        row["step"]: (row["train/lr/generator"], row["train/lr/discriminator"])
        for row in read(run / "metrics.jsonl")
        if "train/lr/generator" in row
    }
    assert rates[1] == pytest.approx((2e-4, 4e-4))
    assert rates[59] == pytest.approx((2e-4 * (1 - 3 / 4), 4e-4))


@pytest.mark.parametrize("decay", [True, False])
def test_what_keeps_its_rate_moves_when_the_schedule_is_at_its_end(decay: bool) -> None:
    weight = nn.Linear(1, 1, bias=False)
    cpu = Placement(torch.device("cpu"), None, torch.contiguous_format)
    update = Update([weight], SGD(lr=0.1, momentum=0.0), cpu, Player(rate=2, decay=decay))
    before = weight.weight.item()
    update.at(0.0)
    update(Turn("generator", {"loss": weight.weight.sum()}))
    assert before - weight.weight.item() == pytest.approx(0 if decay else 0.2)


def test_steps_end_a_run_early_but_not_its_schedule(tiny: Tiny, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tiny("pix2pix"), (), run, steps=3)
    last = read(run / "metrics.jsonl")[-1]
    assert last["step"] == 3
    assert "val/psnr" in last
    assert read(run / "metrics.jsonl")[0]["train/lr/generator"] == 2e-4


CALIBRATED = """
recipe:
  kind: refiner
  generator: {width: 4, blocks: 1}
  discriminator: {kind: shower, width: 2}
  discriminator_updates: 1
  calibrate: true
data:
  kind: detector
  gives: unpaired_energies
  simulation: {simulator: &side {kind: calorimeter, layers: 2, cells: [6, 5]}, count: 32}
  data: {simulator: *side, count: 32, seed: 1}
  batch_size: 8
schedule: {kind: constant, epochs: 1}
ema: 0.5
doctor: false
"""


def test_what_a_method_does_after_its_last_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not before, to what is deployed, and with batches that are not counted."""
    (tmp_path / "refiner.yaml").write_text(CALIBRATED)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(str(tmp_path / "refiner.yaml"), (), parts, steps=3)
    assert "settled" not in capsys.readouterr().err
    assert torch.equal(
        load(parts / "checkpoints" / "last.pt")["average"]["refiner"]["module.gain"], torch.ones(2, 1, 1)
    )
    train(None, resume=parts)
    assert capsys.readouterr().err.count("settled: gain/0 ") == 1
    train(str(tmp_path / "refiner.yaml"), (), whole)
    a, b = (load(run / "checkpoints" / "last.pt") for run in (whole, parts))
    gain = a["average"]["refiner"]["module.gain"]
    assert torch.equal(gain, b["average"]["refiner"]["module.gain"])
    assert (gain != 1).all()
    noted = [row for row in read(whole / "metrics.jsonl") if "settled/gain/0" in row]
    assert [(row["step"], row["settled/gain/1"]) for row in noted] == [(4, gain[1].item())]
    assert torch.equal(a["recipe"]["refiner.gain"], torch.ones(2, 1, 1))
    assert a["clock"]["images"] == 32


def test_dry_run_prints_and_stops(tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", tiny("cyclegan"), "--out", str(tmp_path / "run"), "--dry-run"]) == 0
    assert "kind: cyclegan" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "nothing.yaml"], "error: --config: unknown file 'nothing.yaml'"),
        (["--config", "quickstart", "--set", "recipe.wieghts=1"], "did you mean 'weights'?"),
        (["--config", "quickstart", "--set", "device=cuda"], "error: device: cuda is not available"),
        (["--config", "quickstart", "--set", "precision=fp16"], "error: precision: fp16 is not for a CPU"),
        (["--config", "quickstart", "--set", "data.size=48"], "data.size: 48 is not a multiple of 64"),
        (
            ["--config", "quickstart", "--set", "data.pairs=false"],
            "gives Unpaired images, but recipe.kind: pix2pix takes Paired",
        ),
        (["--config", "cyclegan_horse2zebra", "--set", "data.root=nowhere", "--set", "data.download=null"], "error: "),
        (["--resume", "nowhere"], "error: --resume: nowhere is not a run folder"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Pix2Pix.step

    def poisoned(self, draw, clock):  # type: ignore[no-untyped-def]
        for turn in usual(self, draw, clock):
            if clock.step == 25 and turn.player == "generator":
                turn.losses["l1"] *= math.nan
            yield turn

    monkeypatch.setattr(Pix2Pix, "step", poisoned)
    run = tmp_path / "run"
    with pytest.raises(TrainingError, match=r"step 28: no longer finite.*generator/l1.*last good checkpoint is kept"):
        train(tiny("pix2pix"), (), run)
    state = load(run / "checkpoints" / "last.pt")
    assert state["clock"]["step"] == 20
    assert all(torch.isfinite(p).all() for p in state["recipe"].values() if isinstance(p, torch.Tensor))
    assert read(run / "metrics.jsonl")[-1]["train/generator/l1"] is None


def pictures(folder: Path, count: int) -> None:
    for side in "AB":
        for split in ("train", "test"):
            (folder / f"{split}{side}").mkdir(parents=True)
            for index in range(count):
                noise = np.random.default_rng(index).integers(0, 256, (40, 40, 3), dtype=np.uint8)
                Image.fromarray(noise).save(folder / f"{split}{side}" / f"{index}.png")


FOLDER = """
recipe:
  kind: pix2pix
  generator: {kind: unet, width: 4, depth: 3}
  discriminator: {kind: patchgan, width: 4, layers: 1, norm: batch}
data: {kind: paired, root: ROOT, load_size: 36, crop_size: 32, batch_size: 2, workers: WORKERS}
schedule: {kind: constant, epochs: 40}
validation: {every: 1000, count: 2, samples: 1}
log: {every: 1}
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_goes_away_is_named_and_the_run_goes_on(
    workers: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, config, run = tmp_path / "data", tmp_path / "x.yaml", tmp_path / "run"
    pictures(root, 4)
    config.write_text(FOLDER.replace("ROOT", str(root)).replace("WORKERS", str(workers)))
    train(str(config), (), run, steps=1)
    (root / "trainA" / "2.png").unlink()
    (root / "trainB" / "3.png").write_bytes(b"no picture")
    # The list of files is read again at the start: pretend that the file went after that.
    usual = start.find_data

    def opened(kind: str):  # type: ignore[no-untyped-def]
        (root / "trainA" / "2.png").write_bytes(b"")
        return usual(kind)

    start.find_data = opened  # type: ignore[assignment]
    try:
        assert train(None, resume=run, steps=12).finished
    finally:
        start.find_data = usual
    named = (run / "problems.txt").read_text()
    assert "2.png" in named
    assert "3.png" in named
    assert len(named.splitlines()) == 2
    assert "skipped" in capsys.readouterr().err


def test_on_error_fail_stops_with_the_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, config = tmp_path / "data", tmp_path / "x.yaml"
    pictures(root, 2)
    (root / "trainB" / "1.png").write_bytes(b"no picture")
    config.write_text(FOLDER.replace("ROOT", str(root)).replace("WORKERS", "2"))
    assert main(["train", "--config", str(config), "--out", str(tmp_path / "run"), "--set", "data.on_error=fail"]) == 2
    assert "1.png" in capsys.readouterr().err.splitlines()[-1]


def test_wrong_size_for_the_network_is_told(tmp_path: Path) -> None:
    root, config = tmp_path / "data", tmp_path / "x.yaml"
    pictures(root, 2)
    config.write_text(
        FOLDER.replace("ROOT", str(root)).replace("WORKERS", "0").replace("crop_size: 32", "crop_size: 36")
    )
    with pytest.raises(ConfigError, match="crop_size: 36 is not a multiple of 8"):
        train(str(config), (), tmp_path / "run", steps=1)


def test_wandb_offline_needs_no_account(tiny: Tiny, tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = tiny("pix2pix", ("log: {every: 4}", "log: {every: 4, wandb: offline}"))
    result = subprocess.run(
        [sys.executable, "-m", "translate", "train", "--config", config, "--out", str(run), "--steps", "4"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert list((run / "wandb").glob("offline-run-*"))


def test_bf16_follows_fp32(tiny: Tiny, tmp_path: Path) -> None:
    curves = {}
    for precision in ("fp32", "bf16"):
        run = tmp_path / precision
        train(tiny("pix2pix"), [f"precision={precision}"], run, steps=30)
        curves[precision] = [
            row["train/generator/l1"] for row in read(run / "metrics.jsonl") if "train/generator/l1" in row
        ]
    assert curves["fp32"] != curves["bf16"]
    np.testing.assert_allclose(curves["fp32"], curves["bf16"], rtol=0.1)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # the compiler looks, and says so
def test_compile_trains_the_same(tiny: Tiny, tmp_path: Path) -> None:
    curves = []
    for flag in ("false", "true"):
        run = tmp_path / flag
        settings = ["precision=fp32", f"compile={flag}", "recipe.generator.depth=2", "recipe.generator.dropout=0"]
        train(tiny("pix2pix"), settings, run, steps=2)
        curves.append([row["train/generator/l1"] for row in read(run / "metrics.jsonl") if "train/generator/l1" in row])
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-4)


def test_the_running_mean_is_torchs() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    mine, torchs = Average(network, 0.9), AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for _ in range(4):
        with torch.no_grad():
            for tensor in (*network.parameters(), network[1].running_mean):
                tensor.add_(torch.randn_like(tensor))
        mine.update_parameters(network)
        torchs.update_parameters(network)
        for key, value in torchs.state_dict().items():
            assert torch.equal(mine.state_dict()[key], value), key
