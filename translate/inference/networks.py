"""The trained networks of a run, a checkpoint or an imported file, ready for inference, each with its card.

This is the torch side of inference: running an ONNX file does not import it.
"""

import copy
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, TypeAdapter, ValidationError
from torch import Tensor, nn

from translate import __version__, checkpoints
from translate.config.clock import Clock
from translate.config.run import Run, by_kind
from translate.config.spec import explain
from translate.data.source import SourceConfig, size_of
from translate.errors import CheckpointError, ConfigError
from translate.inference.card import Card, Norm, Values
from translate.nn import Generator
from translate.nn.blocks import BatchNorm, Dropout, GroupNorm, InstanceNorm, Noise
from translate.nn.refiner import EachCell
from translate.recipes import Recipe, find


class Deployed(NamedTuple):
    network: nn.Module  # in eval mode, float32, on the CPU
    card: Card


class Seeded(nn.Module):
    """A settled network whose dropout follows from `seed`, int64 [N]: one a picture."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, seed: Tensor) -> Tensor:
        layers = [layer for layer in self.network.modules() if isinstance(layer, Dropout)]
        for layer in layers:
            layer.seed = seed
        try:
            output: Tensor = self.network(image)
        finally:
            for layer in layers:
                layer.seed = None
        return output


def settle(network: nn.Module, *, noise: bool) -> nn.Module:
    """A copy for inference: dropout on or off as `noise` says, its layers numbered, so that no two masks are alike."""
    network = copy.deepcopy(network).eval().requires_grad_(False)
    for number, layer in enumerate(layer for layer in network.modules() if isinstance(layer, Dropout)):
        layer.at_test, layer.layer, layer.seed = noise, number, None
    return network


def load_networks(path: Path) -> dict[str, Deployed]:
    """The networks of a run folder (of its best checkpoint if it has one, else the last), of a checkpoint, or of a file
    that `save_model` wrote: name → network and card. Averaged weights where the run has them.

    Raises CheckpointError where the file, its config or its weights cannot be used.
    """
    checkpoint = _checkpoint(path)
    state = checkpoints.load(checkpoint)
    try:
        return _imported(checkpoint, state) if "card" in state else _trained(checkpoint, state)
    except KeyError as error:
        raise CheckpointError(f"{checkpoint}: not a whole checkpoint: {error} is missing") from None


def data_of(path: Path, network: str) -> tuple[SourceConfig, str | None] | None:
    """The data that a network was trained on, and the field of their batches that it takes; None of an imported file.

    Raises CheckpointError where the file cannot be used.
    """
    checkpoint = _checkpoint(path)
    state = checkpoints.load(checkpoint)
    if "recipe" not in state:
        return None
    run = _run(checkpoint, state)
    assert isinstance(run.data, SourceConfig)
    return run.data, _recipe(checkpoint, run, state).sides()[network][0]


def save_model(path: Path, network: nn.Module, config: Generator, card: Card) -> None:
    """Writes one network as a file that `load_networks` reads: its config, weights and card."""
    state = {
        "card": card.text(),
        "generator": config.model_dump(mode="json"),
        "weights": network.state_dict(),
    }
    checkpoints.save(path, state)


def load_weights(network: nn.Module, weights: Mapping[str, Any], where: str) -> None:
    """Puts `weights` into a network that may have been built on the meta device.

    Raises CheckpointError that names the first keys which are missing, too many or of another shape.
    """
    own = network.state_dict()
    faults = {
        "missing": [key for key in own if key not in weights],
        "unexpected": [key for key in weights if key not in own],
        "of another shape": [
            f"{key} {_shape(weights[key])} instead of {_shape(own[key])}"
            for key in own
            if key in weights and _shape(weights[key]) != _shape(own[key])
        ],
    }
    if any(faults.values()):
        told = (f"{what}: {', '.join(keys[:3])}{' …' * (len(keys) > 3)}" for what, keys in faults.items() if keys)
        raise CheckpointError(f"{where}: its weights do not fit the network ({'; '.join(told)})")
    fitting = {key: weights[key].to(own[key].dtype, memory_format=torch.contiguous_format) for key in own}
    network.load_state_dict(fitting, assign=True)


def norm_of(network: nn.Module) -> Norm:
    """Whose statistics its norms use in eval mode, as a card says it."""
    layers = list(network.modules())
    statistics = {layer.statistics for layer in layers if isinstance(layer, BatchNorm)}
    if any(isinstance(layer, InstanceNorm) for layer in layers) or "image" in statistics:
        return "image"
    if any(isinstance(layer, GroupNorm) for layer in layers):
        return "group"
    return "running" if statistics else "none"


def _shape(value: Any) -> list[int] | str:
    return list(value.shape) if isinstance(value, Tensor) else type(value).__name__


def _checkpoint(path: Path) -> Path:
    if not path.is_dir():
        return path
    if not (path / "config.yaml").is_file():
        raise CheckpointError(f"{path}: not a run folder: it has no config.yaml")
    for name in ("best", "last"):
        if (checkpoint := path / "checkpoints" / f"{name}.pt").is_file():
            return checkpoint
    raise CheckpointError(f"{path}: has no checkpoint yet: train it first, or go on with --resume {path}")


def _imported(path: Path, state: Mapping[str, Any]) -> dict[str, Deployed]:
    card = Card.parse(state["card"], str(path))
    assert card.source is not None
    try:
        config: Generator = TypeAdapter(Generator).validate_python(state["generator"])
    except ValidationError as error:
        reason = explain(error, BaseModel, state["generator"], f"{path}: generator")
        raise CheckpointError(f"{reason}; was it written by another version of this program?") from None
    with torch.device("meta"):
        network = config.build(card.source.channels, card.target.channels)
    load_weights(network, state["weights"], str(path))
    return {card.network: Deployed(network.eval().requires_grad_(False), card)}


def _trained(path: Path, state: Mapping[str, Any]) -> dict[str, Deployed]:
    run = _run(path, state)
    recipe = _recipe(path, run, state)
    places = {id(module): f"{name}." for name, module in recipe.named_modules()}
    clock = state["clock"]
    recipe.stand(Clock(clock["step"], clock["images"], clock.get("total", clock["step"])))  # older ones have no total
    result = {}
    for name, network in recipe.deployed().items():
        average = state["average"].get(name)
        stored, prefix = (state["recipe"], places[id(network)]) if average is None else (average, "module.")
        weights = {key.removeprefix(prefix): value for key, value in stored.items() if key.startswith(prefix)}
        load_weights(network, weights, str(path))
        result[name] = Deployed(network.eval().requires_grad_(False), _card(path, run, recipe, name, state))
    return result


def _run(path: Path, state: Mapping[str, Any]) -> Run:
    try:
        return Run.model_validate(state["config"])
    except ValidationError as error:
        reason: Exception = explain(error, Run, state["config"], f"{path}: config", by_kind)
    except ConfigError as error:
        reason = error
    raise CheckpointError(f"{reason}; was it written by another version of this program?") from None


def _recipe(path: Path, run: Run, state: Mapping[str, Any]) -> Recipe:
    """Without numbers in it: the discriminators are never needed."""
    try:
        with torch.device("meta"):
            return find(run.recipe.kind)(run.recipe, state["channels"], state.get("size"), state.get("classes", ()))
    except (ConfigError, KeyError) as error:
        raise CheckpointError(f"{path}: its networks cannot be built: {error}") from None


def _card(path: Path, run: Run, recipe: Recipe, name: str, state: Mapping[str, Any]) -> Card:
    folder = path.resolve().parent.parent
    of_run = path.resolve().parent.name == "checkpoints" and (folder / "config.yaml").is_file()
    source, target = recipe.sides()[name]
    assert isinstance(run.data, SourceConfig)
    step, size, units = state["clock"]["step"], size_of(run.data), state.get("units", {})
    layers = list(recipe.deployed()[name].modules())
    made: dict[str, Any] = {}
    if source is None:  # from noise
        prior = getattr(run.recipe, "prior", "normal")
        made = {"latent": recipe.latents(), "labels": recipe.labels(), "prior": prior}
    return Card(
        name=folder.name if of_run else path.stem,
        network=name,
        recipe=run.recipe.kind,
        source=None if source is None else Values(channels=state["channels"][source], units=units.get(source, ())),
        target=Values(channels=len(recipe.outputs()) or state["channels"][target], units=units.get(target, ())),
        outputs=recipe.outputs(),
        **made,
        multiple=recipe.multiple(run.recipe),
        trained_size=size,
        one_size=size is not None and (bool(recipe.outputs()) or any(isinstance(layer, EachCell) for layer in layers)),
        **run.data.model_dump(include={"preprocess", "background", "float_range", "normalisation", "energy_unit"}),
        norm=norm_of(recipe.deployed()[name]),
        noise=any(isinstance(layer, Noise) for layer in layers),
        step=step,
        metrics=_metrics(folder / "metrics.jsonl", step) if of_run else {},
        config_hash=config_hash(state["config"]),
        package=__version__,
    )


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of a resolved config as JSON with sorted keys and no spaces."""
    text = json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _metrics(path: Path, step: int) -> dict[str, float]:
    """The last validation up to `step`; none where the journal is missing or says nothing."""
    found: dict[str, float] = {}
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue  # a cut line
        if isinstance(row, dict) and row.get("step", math.inf) <= step:
            values = {key: value for key, value in row.items() if key.startswith("val/") and value is not None}
            found = values or found
    return found
