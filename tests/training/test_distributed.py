"""Two processes with gloo are one process with the same global batch."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from translate.checkpoints import load
from translate.training.devices import average
from translate.training.journal import read
from translate.training.start import train

# What is drawn at random differs between processes, so here nothing is.
PLAIN = ["recipe.instance_noise=0", "recipe.labels.flip=0", "precision=fp32", "data.workers=1", "data.batch_size=4"]


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "-m",
        "translate",
        "train",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False, env=environment, timeout=300
    )


SCALES = """
import sys
from pathlib import Path
import torch
import torch.distributed as dist
from translate.config.load import parse
from translate.recipes import find
dist.init_process_group("gloo")
text = "recipe: {kind: shower_gan, generator: {width: 4}, discriminator: {width: 2}}\\ndata: {kind: detector, root: x}"
recipe = find("shower_gan")(parse(text, "x").recipe, {"image": 2}, (4, 4), ("electron",))
recipe.scale_to(torch.full((3, 2, 4, 4), 1.0 + 2 * dist.get_rank()))  # sums of 32 and 96
Path(sys.argv[1], str(dist.get_rank())).write_text(str(recipe.generator.energies.scale.item()))
dist.destroy_process_group()
"""

PRIORS = """
import sys
from pathlib import Path
import torch
import torch.distributed as dist
from translate.adversarial import ClassPriors
dist.init_process_group("gloo")
priors, rank = ClassPriors(2, momentum=0.5), dist.get_rank()
priors.update(torch.tensor([[0, 0], [0, 1]][rank]), torch.tensor([[[9.0, -9.0]], [[0.0, 0.0]]][rank]))
Path(sys.argv[1], str(rank)).write_text(f"{priors.source[0]:.5f} {priors.target[0]:.5f}")
dist.destroy_process_group()
"""

GAINS = """
import sys
from pathlib import Path
import torch
import torch.distributed as dist
from translate.batches import Unpaired
from translate.config.clock import Clock
from translate.config.load import parse
from translate.recipes import find
dist.init_process_group("gloo")
text = "recipe: {kind: refiner, calibrate: true, generator: {width: 4}}\\ndata: {kind: detector, root: x}"
recipe = find("refiner")(parse(text, "x").recipe, {"a": 1, "b": 1}, (4, 4))
torch.nn.init.zeros_(recipe.refiner.last.weight)
images = torch.ones(2, 1, 4, 4)
with torch.no_grad():
    recipe.settle(recipe.deployed(), lambda: Unpaired(images, images * (1 + dist.get_rank())), Clock(1, 0, 1, 2))
Path(sys.argv[1], str(dist.get_rank())).write_text(str(recipe.refiner.gain.item()))
dist.destroy_process_group()
"""


def losses(run: Path) -> dict[tuple[int, str], float]:
    rows = read(run / "metrics.jsonl")
    return {
        (row["step"], key): value for row in rows for key, value in row.items() if key.startswith(("train/", "val/"))
    }


@pytest.mark.parametrize("pool", [0, 8])
def test_two_processes_are_one(pool: int, tiny: Callable[..., str], tmp_path: Path) -> None:
    """With a pool each process keeps its own, so losses agree for as long as both are still filling."""
    config, one, two = tiny("cyclegan"), tmp_path / "one", tmp_path / "two"
    settings = [*PLAIN, f"recipe.pool_size={pool}", "log.every=1", "validation.every=8"]
    steps = 8 if pool == 0 else 2
    train(config, settings, one, steps=steps)
    result = torchrun("--config", config, "--out", two, "--steps", steps, *(f"--set={setting}" for setting in settings))
    assert result.returncode == 0, result.stderr
    a, b = losses(one), losses(two)
    assert a.keys() == b.keys()
    worst = max(abs(a[key] - b[key]) / max(1.0, abs(a[key])) for key in a)
    assert worst < 1e-5


def test_two_processes_resume_to_the_last_bit(tiny: Callable[..., str], tmp_path: Path) -> None:
    """Pools that swap at random, noise and flipped labels included: each process goes on with its own."""
    config, whole, parts = tiny("cyclegan"), tmp_path / "whole", tmp_path / "parts"
    settings = ["--set=data.batch_size=4", "--set=recipe.pool_size=3"]
    for arguments in (
        ("--config", config, "--out", whole, "--steps", 12, *settings),
        ("--config", config, "--out", parts, "--steps", 7, *settings),
        ("--resume", parts, "--steps", 12),
    ):
        result = torchrun(*arguments)
        assert result.returncode == 0, result.stderr
    a, b = (load(run / "checkpoints" / "last.pt") for run in (whole, parts))
    assert len(a["processes"]) == 2
    for key, value in a["recipe"].items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, b["recipe"][key]), key
    assert {key: value for key, value in losses(parts).items() if key in losses(whole)} == losses(whole)

    alone = subprocess.run(
        [sys.executable, "-m", "translate", "train", "--resume", str(parts)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert alone.returncode == 2
    assert "trained by 2 processes" in alone.stderr


def test_a_batch_that_cannot_be_shared_is_refused(tiny: Callable[..., str], tmp_path: Path) -> None:
    result = torchrun("--config", tiny("cyclegan"), "--out", tmp_path / "run", "--set", "data.batch_size=3")
    assert result.returncode != 0
    assert "data.batch_size: 3 cannot be shared equally by 2 processes" in result.stderr


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (SCALES, "8.0"),
        (GAINS, "1.5"),  # of data of 1 and 2, where both simulate 1
        (PRIORS, "0.62500 0.62500"),  # ½ and 3 of 4, ½ and the mean of 1 and ½
    ],
)
def test_processes_agree_on_what_they_find_in_the_data(script: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(script)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*command, str(path), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert [(tmp_path / rank).read_text() for rank in "01"] == [expected] * 2


def test_alone_there_is_nothing_to_average() -> None:
    tensor = torch.ones(3)
    average([tensor], world=1)
    assert tensor.tolist() == [1, 1, 1]
