"""Metrics of sets of images at each validation, as `fd[pixels]`: also for methods without any true pairs."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from torch import Tensor, nn

from translate.config.run import Validation
from translate.data.source import Split
from translate.data.stream import batches
from translate.errors import ConfigError, TranslateError, unknown
from translate.evaluation.measure import FALLING, METRICS, Labelled, Metric, named, taken
from translate.evaluation.spaces import Floats, Space, open_space
from translate.evaluation.statistics import whole
from translate.recipes import Recipe
from translate.training.devices import Placement


class Chosen(NamedTuple):
    metric: Metric
    place: int  # among its names
    space: Space


class SetMetrics:
    """The images that networks make against those of the test split, or of the training split where there is no other.

    Raises ConfigError for what cannot be computed, before training starts.
    """

    def __init__(
        self, settings: Validation, recipe: Recipe, split: Split, batch_size: int, placement: Placement
    ) -> None:
        self.recipe, self.split, self.batch_size, self.placement = recipe, split, batch_size, placement
        self.count = settings.count
        self.chosen: dict[str, Chosen] = {}
        spaces: dict[str, Space] = {}
        for text in (*settings.metrics, settings.metric or ""):
            name, bracket, features = text.removesuffix("]").partition("[")
            if not bracket:
                continue
            known = {n: m for m in METRICS.values() if m.takes != "labelled" for n in m.names if n[:4] != "copy"}
            if name not in known:
                raise ConfigError(f"validation: {unknown('metric', name, known)}")
            try:
                spaces[features] = spaces.get(features) or open_space(features)
            except TranslateError as error:
                raise ConfigError(f"validation: {text}: {error}") from None
            self.chosen[text] = Chosen(known[name], known[name].names.index(name), spaces[features])
        self.named = {text: named(text.partition("[")[0], chosen.space.name) for text, chosen in self.chosen.items()}
        self._try()

    def _try(self) -> None:
        if not self.chosen:
            return
        if type(self.recipe).imitate is Recipe.imitate and type(self.recipe).compare is Recipe.compare:
            raise ConfigError(f"validation: {', '.join(self.chosen)}: this recipe makes no images of a set")
        _, batch = next(batches(self.split, 1, 1))
        for text, chosen in self.chosen.items():
            try:
                found = chosen.space(_pictures(batch[-1] if batch[-1].dim() == 4 else batch[0]), batch[0].shape[1])
            except TranslateError as error:
                raise ConfigError(f"validation: {text}: {error}") from None
            if chosen.metric.takes != "features" and found.probabilities is None:
                raise ConfigError(f"validation: {text}: these features name no classes; choose classifier:FILE")

    def rising(self, text: str) -> bool:
        """Whether more is better."""
        chosen = self.chosen[text]
        return bool(chosen.metric.rising) and chosen.metric.names[chosen.place] not in FALLING

    def __call__(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        """`val/fd[pixels]` …, the mean over the networks; with several of them also `val/a2b/fd[pixels]` …."""
        pictures: dict[str, tuple[list[Floats], list[Floats]]] = {}
        for _, batch in batches(self.split, self.batch_size, self.count):
            for name, sides in self.recipe.imitate(networks, self.placement.move(batch)).items():
                for kept, images in zip(pictures.setdefault(name, ([], [])), sides, strict=True):
                    kept += _pictures(images)
        values: dict[str, list[float]] = {}
        for name, (made, real) in pictures.items():
            for text, value in self._measured(made, real).items():
                values.setdefault(f"val/{self.named[text]}", []).append(value)
                if len(pictures) > 1:
                    values[f"val/{name}/{self.named[text]}"] = [value]
        return {key: float(np.mean(parts)) for key, parts in values.items()}

    def _measured(self, made: list[Floats], real: list[Floats]) -> dict[str, float]:
        found = {}
        spaces = {chosen.space.name: chosen.space for chosen in self.chosen.values()}
        features = {name: [whole(space, side) for side in (real, made)] for name, space in spaces.items()}
        for text, (metric, place, space) in self.chosen.items():
            samples = (taken(metric, Labelled(each)) for each in features[space.name])
            found[text] = float(metric.compute(*samples)[place])
        return found


def _pictures(images: Tensor) -> list[Floats]:
    """[N, C, H, W] in [−1, 1] to float32 [H, W, C], black 0, white 1."""
    return list(images.float().add(1).div(2).permute(0, 2, 3, 1).contiguous().cpu().numpy())
