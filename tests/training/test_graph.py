"""When a step is recorded, and what becomes of it if that is not possible. The recording itself needs a GPU: test_cuda."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from translate.adversarial import ImagePool
from translate.batches import Paired
from translate.config.clock import Clock, Ramp
from translate.config.load import parse
from translate.config.run import Player
from translate.recipes import find
from translate.training.devices import Placement
from translate.training.graph import ROOM, WARM_UP, HostDecides, StepGraph, Told, Values, possible
from translate.training.update import Update

CPU = Placement(torch.device("cpu"), None, torch.contiguous_format)
GPU = CPU._replace(device=torch.device("cuda"))


class Game:
    """pix2pix, with a graph or without."""

    def __init__(self, graph: bool, pool: int = 0, **weights: Any) -> None:
        options = {
            "generator": {"kind": "unet", "width": 4, "depth": 2},
            "discriminator": {"kind": "patchgan", "width": 4, "layers": 1},
            "pool_size": pool,
        }
        run = parse(
            yaml.safe_dump({"recipe": {"kind": "pix2pix"} | options | weights, "data": {"kind": "glyphs"}}), "x"
        )
        torch.manual_seed(0)
        self.recipe = find("pix2pix")(run.recipe, {"source": 1, "target": 1})
        self.updates = {name: Update(m, run.optimizer, CPU) for name, m in self.recipe.players().items()}
        self.notes: list[str] = []
        self.count, self.drawn = 0, 0
        self.size = 8
        self.play_or_replay = (
            StepGraph(self.play, self.recipe, self.updates, CPU, self.notes.append) if graph else self.play
        )

    def play(self, draw: Any, clock: Clock) -> Values:
        losses: dict[str, Tensor] = {}
        for turn in self.recipe.step(draw, clock):
            self.updates[turn.player](turn)
            losses |= turn.losses
        return tuple(losses), torch.stack([loss.detach() for loss in losses.values()])

    def draw(self) -> Paired:
        self.drawn += 1
        images = torch.rand(2, 2, 1, self.size, self.size, generator=torch.Generator().manual_seed(self.drawn))
        return Paired(*images)

    def step(self) -> list[float]:
        torch.manual_seed(self.count)
        names, values = self.play_or_replay(self.draw, Clock(self.count, 2 * self.count, 100))
        assert len(names) == len(values)
        self.count += 1
        return values.tolist()


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """In place of CUDA: what is played while recording is computed, and replays do nothing."""
    told: list[str] = []

    class Graph:
        def replay(self) -> None:
            told.append("replay")

    @contextmanager
    def recording(graph: Graph, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        told.append("record")
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    return told


def test_it_is_recorded_when_sizes_stay_and_pools_are_full(recorder: list[str]) -> None:
    game = Game(True)
    for size in (8, 8, 8, 16, *[8] * (1 + WARM_UP)):
        game.size = size
        game.step()
    assert recorder == []  # three of one size in a row after the first of them
    for _ in range(3):
        game.step()
    assert recorder == ["record", *["replay"] * 3]
    assert game.drawn == game.count
    assert len(game.notes) == 1
    full = Game(True, pool=17)
    for _ in range(9):
        full.step()
    assert recorder[4:] == []
    full.step()
    assert recorder[4:] == ["record", "replay"]


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({"penalties": [{"kind": "r1", "every": 2}]}, "it depends on the step of training"),
        ({"instance_noise": {"start": 0.1, "end": 0.0}}, None),
    ],
)
def test_without_a_graph_it_goes_on_as_if_nothing_had_been_tried(
    weights: dict[str, Any], reason: str | None, recorder: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason is None:  # what CUDA says of a step that waits for it
        reason = "operation not permitted when stream is capturing"

        @contextmanager
        def refusing(graph: Any, capture_error_mode: str) -> Iterator[None]:
            raise RuntimeError(f"{reason}\nand more")
            yield

        monkeypatch.setattr(torch.cuda, "graph", refusing)
    tried, plain = Game(True, pool=4, **weights), Game(False, pool=4, **weights)
    assert [tried.step() for _ in range(9)] == [plain.step() for _ in range(9)]
    assert "replay" not in recorder
    assert tried.notes == [f"a step cannot be one CUDA graph: {reason} (cuda_graph: false does not try)"]
    assert tried.drawn == plain.drawn == 9


def test_random_numbers_of_the_host_cannot_be_recorded(recorder: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    game = Game(True)
    play = game.play
    monkeypatch.setattr(game.play_or_replay, "play", lambda draw, clock: (torch.rand(()), play(draw, clock))[1])
    for _ in range(WARM_UP + 2):
        game.step()
    assert game.notes == [
        "a step cannot be one CUDA graph: it draws random numbers on the host (cuda_graph: false does not try)"
    ]


def test_images_of_another_size_end_it(recorder: list[str]) -> None:
    game = Game(True, pool=2)
    for size in (*[8] * (WARM_UP + 2), 16, 8):
        game.size = size
        game.step()
    assert recorder == ["record", "replay"]
    assert game.notes[1:] == [
        "a step cannot be one CUDA graph: images change their size (cuda_graph: false does not try)"
    ]
    assert game.drawn == game.count


def test_numbers_are_told_in_the_order_in_which_they_were_asked_for() -> None:
    told = Told[Ramp](torch.float32, torch.device("cpu"))
    ramps = [Ramp(start=start, end=0) for start in (0.5, 1.0)]
    places = [told.place(ramps[which], count) for which, count in ((1, 1), (0, 2), (1, 1))]
    told.tell(lambda ramp, count: [ramp.start] * count)
    assert [place.tolist() for place in places] == [[1.0], [0.5, 0.5], [1.0]]
    with pytest.raises(HostDecides, match="more than 1024"):
        told.place(ramps[0], ROOM)


def test_what_is_worth_recording() -> None:
    updates = Game(False).updates
    assert possible(updates, GPU)
    assert not possible(updates, CPU)
    assert not possible(updates, GPU._replace(world=2))
    waiting = Update(
        [torch.nn.Linear(1, 1)],
        parse("recipe: {kind: pix2pix}\ndata: {kind: glyphs}", "x").optimizer,
        CPU,
        Player(above=0.1),
    )
    assert not possible(updates | {"waiting": waiting}, GPU)


def test_a_pool_goes_on_after_it_was_bound() -> None:
    pool = ImagePool(2)
    pool(torch.zeros(2, 1, 2, 2))
    pool.bind(lambda count: torch.zeros(count, dtype=torch.long))
    assert pool(torch.ones(1, 1, 2, 2)).sum() == 0
    pool.unbind()
    assert sorted(image.sum().item() for image in pool.get_extra_state()["stored"]) == [0.0, 4.0]
