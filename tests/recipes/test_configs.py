"""The zoo of configs: each file, at the size that it says, takes one step in which each player moves in its own turn."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from translate.batches import Images, Labelled
from translate.config.clock import Clock
from translate.config.load import load
from translate.config.run import Run
from translate.data import find as find_data
from translate.data.dataset import DatasetConfig
from translate.data.source import FolderConfig, Source, SourceConfig, size_of
from translate.errors import DataError
from translate.nn.latent import SelfAttention
from translate.recipes import find
from translate.training.devices import Placement
from translate.training.update import Update

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
COUNT = 2  # samples in a batch


def opened(run: Run, multiple: int) -> Source | None:
    """The data themselves, where they are built in or at hand."""
    assert isinstance(run.data, SourceConfig)
    try:
        return find_data(run.data.kind)(run.data, multiple)
    except DataError:
        return None


def stand_in(run: Run, multiple: int) -> tuple[dict[str, int], tuple[str, ...], Any]:
    """Channels, classes and a batch of the shapes that the data have, which are not here."""
    if isinstance(run.data, DatasetConfig):
        count, side = run.data.count_channels(), run.data.size
        images = torch.rand(COUNT, count, side, side) * 2 - 1
        if not run.data.labelled:
            return {"image": count}, (), Images(images)
        classes = tuple("0123456789")[: 2 if run.data.name == "celeba" else 10]
        return {"image": count}, classes, Labelled(images, torch.arange(COUNT))
    assert isinstance(run.data, FolderConfig), f"say here what a batch of data.kind: {run.data.kind} looks like"
    batch_type = find(run.recipe.kind).batch_type
    assert isinstance(batch_type, type)
    side = max(multiple, 64)
    fields = batch_type._fields  # type: ignore[attr-defined]
    return dict.fromkeys(fields, 3), (), batch_type(*(torch.rand(1, 3, side, side) * 2 - 1 for _ in fields))


def drawn(source: Source) -> Any:
    rng = torch.Generator().manual_seed(0)
    indices = torch.randint(len(source.train), (COUNT,), generator=rng).tolist()
    samples = [source.train.sample(index, np.random.default_rng(index)) for index in indices]
    return source.batch_type(*(torch.stack(field) for field in zip(*samples, strict=True)))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_step_of_every_config(path: Path) -> None:
    run = load(str(path))
    method = find(run.recipe.kind)
    multiple = method.multiple(run.recipe)
    source = opened(run, multiple)
    if source is not None:
        channels, classes, batch = source.channels, source.classes, drawn(source)
    else:
        channels, classes, batch = stand_in(run, multiple)
    torch.manual_seed(0)
    recipe = method(run.recipe, channels, size_of(run.data), classes).train()  # type: ignore[arg-type]
    place = Placement(torch.device("cpu"), None, torch.contiguous_format)
    players = recipe.players()
    updates = {name: Update(modules, run.optimizer, place) for name, modules in players.items()}
    parameters = {name: [p for module in modules for p in module.parameters()] for name, modules in players.items()}
    first = before = {name: [p.detach().clone() for p in group] for name, group in parameters.items()}
    clipped = "weight_clip" in str(run.recipe)  # which acts after the discriminator's turn
    for turn in recipe.step(lambda: batch, Clock(2, COUNT, 4)):
        assert all(torch.isfinite(loss) for loss in turn.losses.values()), turn
        updates[turn.player](turn)
        for name in set(players) - {turn.player}:
            assert clipped or moved(parameters[name], before[name]) == 0, (turn.player, name)
        before = {name: [p.detach().clone() for p in group] for name, group in parameters.items()}
    for name, group in parameters.items():
        assert all(p.isfinite().all() for p in group)
        least = 1 / 3 if run.recipe.kind == "pggan" else 0.8  # which is half-way
        attention = [m for module in players[name] for m in module.modules() if isinstance(m, SelfAttention)]
        waiting = 4 * len(attention)  # weights each, while gamma is 0
        assert moved(group, first[name]) >= least * (len(group) - waiting), name


def moved(parameters: list[Tensor], before: list[Tensor]) -> int:
    return sum(not torch.equal(p, old) for p, old in zip(parameters, before, strict=True))
