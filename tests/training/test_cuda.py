"""On a GPU: the same game as on a CPU, whose steps never wait for the device."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from translate.batches import Paired
from translate.checkpoints import load
from translate.config.load import load as load_config
from translate.data.source import SourceConfig
from translate.data.stream import Stream
from translate.training.devices import placement
from translate.training.graph import StepGraph
from translate.training.journal import read
from translate.training.loop import Trainer
from translate.training.start import _build, train

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="of pytest -m gpu, on a GPU")]

Tiny = Callable[..., str]
CONFIGS = (
    "quickstart",
    "wgan_gp_ring",
    "wgan_calorimeter",
    "refiner_calorimeter",
    "cyclegan_calorimeter",
    "dann_calorimeter",
)
WITHOUT_CHANCE = ("  instance_noise: {start: 0.1, end: 0.0}\n  labels: {flip: 0.1}\n  pool_size: 6\n", "")


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers each time."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)


def losses(run: Path) -> list[list[float]]:
    rows = [row for row in read(run / "metrics.jsonl") if "train/lr/generators" in row]
    return [[value for key, value in row.items() if key.count("/") == 2 and "doctor" not in key] for row in rows]


def test_the_losses_are_those_of_the_cpu(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny("cyclegan", WITHOUT_CHANCE, ("every: 4", "every: 1"))
    for device in ("cpu", "cuda"):
        train(config, [f"device={device}", "precision=fp32"], tmp_path / device, steps=3)
    a, b = (losses(tmp_path / device) for device in ("cpu", "cuda"))
    assert len(a) == 3
    torch.testing.assert_close(torch.tensor(a), torch.tensor(b), rtol=1e-4, atol=1e-5)


@contextmanager
def trainer(config: str, settings: list[str], folder: Path) -> Iterator[tuple[Trainer, Callable[[], object]]]:
    """And what draws its batches: those of the first steps are read before."""
    run = load_config(config, settings)
    assert isinstance(run.data, SourceConfig)
    with placement(run) as place:
        made = _build(run, folder, place)
        with Stream(made.source.train, run.data.batch_size, run.seed, 0, pin_memory=True) as stream:
            batches = [next(iter(stream)) for _ in range(24)]
            yield made, lambda: place.move(batches.pop())


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("config", CONFIGS)
def test_a_step_does_not_wait_for_the_gpu(config: str, precision: str, tmp_path: Path) -> None:
    """But to see whether fp16 gradients overflowed."""
    settings = [f"precision={precision}", "data.batch_size=4", "doctor=false"]
    with trainer(config, settings, tmp_path) as (made, draw):
        made.one_step(draw)  # makes the optimisers' states
        torch.cuda.synchronize()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, of the mode itself
            torch.cuda.set_sync_debug_mode("default" if precision == "fp16" else "error")
        try:
            made.one_step(draw)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        values = made.meter.means()
        assert all(torch.isfinite(torch.tensor(value)) for value in values.values()), values


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_a_recorded_step_is_the_step(optimizer: str, exact: None, tiny: Tiny, tmp_path: Path) -> None:
    """With pools, ramps, an average, and the doctor at every line."""
    settings = [f"optimizer={{kind: {optimizer}, lr: 1e-4}}", "log.every=1", "ema=0.9", "validation.every=9"]
    for graph in ("true", "false"):
        for kind in ("cyclegan", "pix2pix"):
            train(
                tiny(kind), [*settings, "precision=fp32", f"cuda_graph={graph}"], tmp_path / f"{kind}-{graph}", steps=20
            )
    for kind in ("cyclegan", "pix2pix"):
        a, b = (read(tmp_path / f"{kind}-{graph}" / "metrics.jsonl") for graph in ("true", "false"))
        assert [row.keys() for row in a] == [row.keys() for row in b]
        for one, other in zip(a, b, strict=True):
            numbers = {key: value for key, value in one.items() if isinstance(value, float) and key != "seconds"}
            doctor = {key for key in numbers if "doctor" in key}  # gradients differ sooner than losses
            for keys, tolerance in ((numbers.keys() - doctor, 5e-3), (doctor, 5e-2)):
                mine, others = ({key: row[key] for key in keys} for row in (one, other))
                assert mine == pytest.approx(others, rel=tolerance, abs=1e-3), one["step"]
        states = [load(tmp_path / f"{kind}-{graph}" / "checkpoints" / "last.pt") for graph in ("true", "false")]
        assert all(int(state["average"][name]["n_averaged"]) == 20 for state in states for name in state["average"])
        pools = [state["processes"][0]["pools"] for state in states]
        for name in pools[0]:
            a_images, b_images = (torch.stack(pool[name]["stored"]) for pool in pools)
            torch.testing.assert_close(a_images, b_images, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("config", CONFIGS)
def test_it_goes_on_as_without_a_graph(
    config: str, exact: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for graph in (True, False):
        settings = [f"cuda_graph={graph}", "precision=fp32", "log.every=1", "recipe.pool_size=0", "data.batch_size=8"]
        train(config, settings, tmp_path / str(graph), steps=8)
        assert ("recorded as a CUDA graph" in capsys.readouterr().err) == graph
        rows = [row for row in read(tmp_path / str(graph) / "metrics.jsonl") if "train/lr" in str(row)]
        found.append([{k: v for k, v in row.items() if k.startswith("train/") and "doctor" not in k} for row in rows])
    for step, (one, other) in enumerate(zip(*found, strict=True), 1):
        assert one == pytest.approx(other, rel=1e-3 if step <= 5 else 1e-2, abs=1e-4 if step <= 5 else 1e-3), step


def test_images_of_other_sizes_end_it(tiny: Tiny, tmp_path: Path) -> None:
    with trainer(tiny("pix2pix", ("pool_size: 6", "pool_size: 0")), ["data.workers=0"], tmp_path) as (made, draw):
        notes: list[str] = []
        made.graph = StepGraph(made.play, made.recipe, made.updates, made.placement, notes.append)
        for _ in range(6):
            made.one_step(draw)
        assert "recorded" in notes[0]
        made.one_step(lambda: Paired(*(images[:, :, :16, :16] for images in draw())))
        assert notes[1:] == [
            "a step cannot be one CUDA graph: images change their size (cuda_graph: false does not try)"
        ]
        made.one_step(draw)


def test_compiled_it_does_the_same(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny("cyclegan", WITHOUT_CHANCE, ("every: 4", "every: 1"))
    for compiled in ("true", "false"):
        train(config, [f"compile={compiled}", "precision=fp32"], tmp_path / compiled, steps=3)
    a, b = (losses(tmp_path / compiled) for compiled in ("true", "false"))
    torch.testing.assert_close(torch.tensor(a), torch.tensor(b), rtol=1e-3, atol=1e-4)


def test_a_checkpoint_can_be_used_without_a_gpu(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny("pix2pix"), (), tmp_path / "run", steps=4)
    state = load(tmp_path / "run" / "checkpoints" / "last.pt")
    tensors = [value for value in state["recipe"].values() if isinstance(value, torch.Tensor)]
    assert {tensor.device.type for tensor in tensors} == {"cpu"}
