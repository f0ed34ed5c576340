"""Measures how a run is doing at the lines of its journal and at validations; `alarms` judges the numbers.

What is trained does not change: every step sets its own seed, and networks are asked in eval mode.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from translate.adversarial import Adversary, GradientPenalty, Objective
from translate.adversarial.objectives import Logistic
from translate.adversarial.penalties import squared_slope
from translate.config.run import Run
from translate.data.source import Split, size_of
from translate.errors import ImageError
from translate.processes import mean_over_processes
from translate.recipes import Recipe
from translate.training.alarms import LINES, VALIDATIONS, Rules
from translate.training.devices import Placement
from translate.training.update import Update
from translate.training.validation import Validator, evaluating

POINTS, PICTURES = 8, 32  # of a batch: where the slope is measured, and what is compared with each other
KNOWN, HELD_OUT, SIDE = 1000, 100, 16  # training and held-out images that samples are compared with; pixels a side

Note = Callable[[str], None]
Found = dict[str, float | str]  # for the journal: numbers, and alarms


class Doctor:
    def __init__(
        self, run: Run, recipe: Recipe, updates: Mapping[str, Update], placement: Placement, validator: Validator
    ) -> None:
        self.run, self.recipe, self.updates = run, recipe, updates
        self.placement, self.validator = placement, validator
        self.adversaries = {name: module for name, module in recipe.named_modules() if isinstance(module, Adversary)}
        self.from_noise = any(source is None for source, _ in recipe.sides().values())
        self.rules = Rules(run.model_dump(mode="json"))
        self._known: tuple[Tensor, Tensor] | None = None  # low-resolution training and held-out images

    def watch(self, step: int) -> None:
        """Before step `step` (from 1): discriminators keep what it shows them if it will be examined."""
        for adversary in self.adversaries.values():
            adversary.watched = self.run.doctor and step % self.run.log.every == 0

    def at_line(self, step: int, means: Mapping[str, float], note: Note) -> Found:
        """`means`: of the meter. All processes call this."""
        if not self.run.doctor or step % self.run.log.every:
            return {}
        measured = self._line()
        numbers = mean_over_processes(torch.stack(list(measured.values()))).tolist()
        values = dict(zip(measured, numbers, strict=True))
        for name, adversary in self.adversaries.items():
            adversary.kept.clear()
            logits = {side: means.get(f"{name}/logits_{side}", math.nan) for side in ("real", "fake")}
            if all(map(math.isfinite, logits.values())) and not adversary.config.objective.needs_lipschitz:
                values |= {f"{side}/{name}": verdict(adversary.config.objective, x) for side, x in logits.items()}
        return self._found(step, values, LINES, note)

    def _line(self) -> dict[str, Tensor]:
        """Float32 scalars of this process."""
        values = {}
        for player, update in self.updates.items():
            gradients = [parameter.grad for parameter in update.parameters if parameter.grad is not None]
            values[f"weights/{player}"] = get_total_norm([parameter.detach() for parameter in update.parameters])
            values |= {f"gradient/{player}": get_total_norm(gradients)} if gradients else {}
        for name, adversary in self.adversaries.items():
            kept = adversary.kept
            if "gradient" in kept:  # whatever the batch size, the loss's weight and the loss scaling
                values[f"received/{name}"] = kept["gradient"].float().flatten(1).norm(dim=1).sum() / kept["factor"]
            if "fake" in kept and self.from_noise and len(kept["fake"]) > 1:
                values["diversity/generator"] = spread(kept["fake"]) / spread(kept["real"])
            for penalty in adversary.config.penalties if "fake" in kept else ():  # the other constraints cannot fail
                if isinstance(penalty, GradientPenalty) and penalty.lipschitz and penalty.target > 0:
                    values[f"slope/{name}"] = self._slope(adversary) / penalty.target
        return values

    def _slope(self, adversary: Adversary) -> Tensor:
        """The mean at random points between real and generated images: see `penalties`."""
        kept = {name: tensor[:POINTS] for name, tensor in adversary.kept.items() if tensor.dim()}
        with evaluating({"discriminator": adversary.discriminator}, self.run.seed):
            between = torch.rand(len(kept["real"]), *[1] * (kept["real"].dim() - 1), device=kept["real"].device)
            points = kept["real"].float().lerp(kept["fake"].float(), between)
            squared = squared_slope(lambda images: adversary.judge(images, kept.get("label")).logits, points)
        return squared.detach().sqrt().mean()

    @torch.inference_mode()
    def at_validation(self, step: int, networks: Mapping[str, nn.Module], note: Note) -> Found:
        """Of the deployed networks, on the images that are shown. The first process alone calls this."""
        if not self.run.doctor:
            return {}
        with evaluating(networks, self.run.seed):
            values = self._copies(networks) if self.from_noise else self._translations(networks)
        return self._found(step, values, VALIDATIONS, note)

    def _translations(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        parts: dict[str, list[tuple[Tensor, ...]]] = defaultdict(list)
        for batch in self.validator.shown():
            for name, images in self.recipe.compare(networks, batch).items():
                parts[name].append((_numbers(*images), *map(_small, images)))
        values = {}
        for name, found in parts.items():
            numbers, *small = map(torch.cat, zip(*found, strict=True))
            inputs, outputs, truths = (spread(images).item() for images in small)
            values[f"diversity/{name}"] = outputs / max(min(inputs, truths), 1e-6)
            change, apart, correlation, wanted = numbers.mean(0).tolist()
            values |= {f"change/{name}": change / max(apart, 1e-6)}
            values |= {f"correlation/{name}": correlation, f"wanted/{name}": wanted}
        return values

    def _copies(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        """How near samples lie to training images or their mirrors, against held-out images: medians."""
        train, test = self.validator.source.train, self.validator.source.test
        if test is None or (size_of(self.validator.source.config) or (1, 1)) == (1, 1):  # points are no pictures
            return {}
        known, held_out = self._known = self._known or (_pictures(train, KNOWN), _pictures(test, HELD_OUT))
        columns = [list(self.recipe.preview(networks, batch).values())[1:] for batch in self.validator.shown()]
        made = _small(torch.cat([images for column in columns for images in column]))
        known, held_out = (F.adaptive_avg_pool2d(images, made.shape[-1]) for images in (known, held_out))
        known = torch.cat([known, known.flip(3)]).flatten(1)
        ours, theirs = (torch.cdist(images.flatten(1), known).amin(1).median().item() for images in (made, held_out))
        return {"nearest/generator": ours / max(theirs, 1e-6)}

    def _found(self, step: int, values: dict[str, float], patience: int, note: Note) -> Found:
        told = self.rules.judge(step, values, patience)
        for key, text in told.items():
            note(f"step {step}: {key}: {text}")
        return {f"train/doctor/{key}": value for key, value in values.items() if math.isfinite(value)} | told


def verdict(objective: Objective, logit: float) -> float:
    """How real, from 0 to 1: the probability of the logistic objectives, else the share of the loss as a fake."""
    x = torch.tensor(logit)
    as_real, as_fake = objective.as_real(x), objective.as_fake(x)
    return (x.sigmoid() if isinstance(objective, Logistic) else as_fake / (as_real + as_fake)).item()


def spread(images: Tensor) -> Tensor:
    """The mean distance between two images of [N, …], root mean square over pixels; NaN for one."""
    flat = images[:PICTURES].detach().float().flatten(1)
    total: Tensor = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist").sum()
    return total / (len(flat) * (len(flat) - 1) * math.sqrt(flat.shape[1]))


def _numbers(source: Tensor, output: Tensor, truth: Tensor) -> Tensor:
    """[N, 4]: mean absolute change by the output and wanted, correlation of output and of truth with the input."""
    if not source.shape == output.shape == truth.shape:
        return torch.full((len(source), 4), math.nan)
    x, y, z = (images.float().flatten(1).cpu() for images in (source, output, truth))
    changes = [(x - y).abs().mean(1), (x - z).abs().mean(1)]
    x, y, z = (images - images.mean(1, keepdim=True) for images in (x, y, z))
    return torch.stack([*changes, F.cosine_similarity(x, y), F.cosine_similarity(x, z)], 1)


def _small(images: Tensor) -> Tensor:
    """[N, C, H, W] → at most 16 pixels a side, on the CPU."""
    return F.adaptive_avg_pool2d(images.float().cpu(), (min(images.shape[2], SIDE), min(images.shape[3], SIDE)))


def _pictures(split: Split, count: int) -> Tensor:
    """Up to `count` images of a split, evenly spaced, small: [N, C, h, w]."""
    found = []
    for index in np.linspace(0, len(split) - 1, min(count, len(split))).astype(int).tolist():
        with suppress(ImageError):
            found.append(_small(split.sample(index, np.random.default_rng((0, index)))[0][None]))
    return torch.cat(found)
