"""What is measured and shown at intervals: metrics on the test split, and a grid of samples."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from translate.batches import Paired
from translate.config.run import Run
from translate.data.source import Source
from translate.data.stream import batches
from translate.evaluation import PAIRED, paired_metrics
from translate.recipes import Recipe
from translate.training import samples
from translate.training.devices import Placement
from translate.training.sets import SetMetrics

RISING = PAIRED | {"accuracy": True, "loss": False}  # of Recipe.measure


class Validator:
    """Calls the deployed networks on the same images each time, with the same noise."""

    def __init__(self, run: Run, recipe: Recipe, source: Source, placement: Placement) -> None:
        self.settings, self.recipe, self.source, self.placement = run.validation, recipe, source, placement
        self.seed = run.seed
        self.split = source.test or source.train
        self.scored = source.test is not None and source.test.aligned
        self.measured = source.test is not None and type(recipe).measure is not Recipe.measure
        self.batch_size = min(run.validation.batch_size, source.config.batch_size)
        self._unchanged: dict[str, float] = {}  # the metrics of the input itself, which never change
        self.sets = SetMetrics(run.validation, recipe, self.split, self.batch_size, placement)
        self.metric = run.validation.metric or ("psnr" if recipe.batch_type is Paired else None)

    @torch.inference_mode()
    def metrics(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        """`val/psnr` …, the mean over images and directions; with several directions also `val/a2b/psnr` ….

        `val/input/psnr` … are those of the unchanged input; only where the test images are true pairs, or the method
        measures something else of them. `val/fd[pixels]` …: `validation.metrics`.
        """
        if self.sets.named:
            with evaluating(networks, self.seed):
                return self.sets(networks) | self._means(networks)
        return self._means(networks)

    def _means(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        if not (self.scored or self.measured):
            return {}
        values: dict[str, list[Tensor]] = defaultdict(list)
        with evaluating(networks, self.seed):
            for _, batch in batches(self.split, self.batch_size, self.settings.count):
                batch = self.placement.move(batch)
                for metric, value in self.recipe.measure(networks, batch).items():
                    values[f"val/{metric}"].append(value)
                compared = self.recipe.compare(networks, batch) if self.scored else {}
                for name, (source, output, truth) in compared.items():
                    for metric, value in self.paired(output, truth).items():
                        values[f"val/{metric}"].append(value)
                        if len(compared) > 1:
                            values[f"val/{name}/{metric}"].append(value)
                    if not self._unchanged and source.shape == truth.shape:
                        for metric, value in self.paired(source, truth).items():
                            values[f"val/input/{metric}"].append(value)
        means = {key: torch.cat(parts).nanmean().item() for key, parts in values.items()}
        self._unchanged = self._unchanged or {key: means[key] for key in means if key.startswith("val/input/")}
        return means | self._unchanged

    def paired(self, output: Tensor, truth: Tensor) -> dict[str, Tensor]:
        return self.source.measure(output, truth) or paired_metrics(output, truth)

    @torch.inference_mode()
    def sample(self, networks: Mapping[str, nn.Module], path: Path) -> None:
        """Writes a picture of the first samples of the test split, or of the training split if there is no other."""
        columns: dict[str, list[Tensor]] = defaultdict(list)
        with evaluating(networks, self.seed):
            for batch in self.shown():
                for title, images in self.recipe.preview(networks, batch).items():
                    columns[title] += images
        samples.write(path, self.source.picture(columns) or samples.grid(columns))

    def shown(self) -> Iterator[Any]:
        """The batches of which samples are shown."""
        for _, batch in batches(self.split, self.batch_size, self.source.samples or self.settings.samples):
            yield self.placement.move(batch)

    def better(self, metrics: Mapping[str, float], best: float | None) -> float | None:
        """What `validation.metric` is, where it improved on `best`."""
        if self.metric is None:
            return None
        value = metrics.get(f"val/{self.sets.named.get(self.metric, self.metric)}")
        if value is None or value != value:
            return None
        rising = self.sets.rising(self.metric) if "[" in self.metric else RISING[self.metric]
        return value if best is None or (value > best if rising else value < best) else None


@contextmanager
def evaluating(networks: Mapping[str, nn.Module], seed: int) -> Iterator[None]:
    """Eval mode and a fixed seed inside; the modes that it found after."""
    modes = [(layer, layer.training) for network in networks.values() for layer in network.modules()]
    for network in networks.values():
        network.eval()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        for layer, mode in modes:
            layer.training = mode
