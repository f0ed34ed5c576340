"""What is measured of a trained classifier, in two functions: one never sees a label of the target."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from translate.data.adaptation import Domain, Domains
from translate.evaluation import adaptation as measured
from translate.evaluation.classifiers import Model
from translate.recipes.dann import DANN
from translate.training.devices import Placement
from translate.training.validation import evaluating

LARGEST = 4000  # training images of a domain that are looked at
FEWEST = 20  # examples of a class in each domain that a probe of this class needs


class View(NamedTuple):
    """What the network makes of a domain."""

    features: NDArray[np.float32]  # [N, D]
    probabilities: NDArray[np.float64]  # [N, K]

    @property
    def classes(self) -> NDArray[np.int64]:
        classes: NDArray[np.int64] = self.probabilities.argmax(1)
        return classes


@torch.inference_mode()
def look(
    recipe: DANN, networks: Mapping[str, nn.Module], place: Placement, part: Domain, *, target: bool, most: int | None
) -> View:
    features, probabilities = [], []
    with evaluating(networks, 0):
        for images in part.images[:most].split(250):
            view = recipe.ask(networks, place.move_tensor(images), target)
            features.append(view.features.float().cpu())
            probabilities.append(view.output.double().softmax(1).cpu())
    return View(torch.cat(features).numpy(), torch.cat(probabilities).numpy())


def unlabelled_measures(
    recipe: DANN, networks: Mapping[str, nn.Module], place: Placement, domains: Domains, seed: int
) -> dict[str, Any]:
    """All that can be known without labels of the target; `domains` does not even have them."""
    source, source_test, target, target_test = (
        look(recipe, networks, place, part, target=number > 1, most=most)
        for number, (part, most) in enumerate(zip(domains, (LARGEST, None, LARGEST, None), strict=True))
    )
    labels = domains.source_test.labels.numpy()
    count = source.probabilities.shape[1]
    own = np.maximum(np.bincount(domains.source.labels.numpy(), minlength=count) / len(domains.source.labels), 1e-9)
    losses = -np.log(np.maximum(source_test.probabilities[np.arange(len(labels)), labels], 1e-12))
    weights = measured.density_ratio(source.features, target.features, source_test.features, seed=seed)
    risk = measured.deep_embedded_validation(losses, weights)
    return {
        "source": {
            "accuracy": float((source_test.classes == labels).mean()),
            "classes": _by_class(source_test.classes == labels, labels, count),
            "loss": float(losses.mean()),
            "calibration": measured.calibration_error(source_test.probabilities, labels),
            "priors": own.tolist(),
        },
        "information": measured.information(target.probabilities),
        "dev": {"value": risk.value, "effective": risk.effective, "of": len(losses)},
        "entropy": measured.entropy(target.probabilities),
        "logistic": _probe(source_test, target_test, "logistic", seed),
        "trees": _probe(source_test, target_test, "trees", seed),
        "class distances": _class_distances(source_test, labels, target_test, count, seed),
        "shares": (np.bincount(target.classes, minlength=count) / len(target.classes)).tolist(),
        "priors": {
            "em": measured.priors_by_em(target.probabilities, own).tolist(),
            "bbse": measured.priors_by_confusion(source_test.classes, labels, target.classes, count).tolist(),
        },
    }


def labelled(recipe: DANN, networks: Mapping[str, nn.Module], place: Placement, domains: Domains) -> dict[str, Any]:
    """What the labels of the target say, for the table alone."""
    view = look(recipe, networks, place, domains.target_test, target=True, most=None)
    seen = look(recipe, networks, place, domains.target, target=True, most=None)
    labels, count = domains.target_test.labels.numpy(), view.probabilities.shape[1]
    return {
        "accuracy": float((view.classes == labels).mean()),
        "of": len(labels),
        "classes": _by_class(view.classes == labels, labels, count),
        "calibration": measured.calibration_error(view.probabilities, labels),
        "accuracy on training images": float((seen.classes == domains.target.labels.numpy()).mean()),
        "priors": (np.bincount(domains.target.labels.numpy(), minlength=count) / len(domains.target.labels)).tolist(),
    }


def _probe(source: View, target: View, model: Model, seed: int) -> dict[str, Any]:
    probe = measured.domain_probe(source.features, target.features, model=model, seed=seed)
    low, high = probe.distance.low, probe.distance.high
    return {"error": probe.error, "distance": probe.distance.value, "low": low, "high": high, "of": probe.tested}


def _class_distances(
    source: View, labels: NDArray[np.int64], target: View, count: int, seed: int
) -> list[float | None]:
    """Logistic probes within a class: of the source as labelled, of the target as predicted."""
    found: list[float | None] = []
    for number in range(count):
        ours, theirs = source.features[labels == number], target.features[target.classes == number]
        few = min(len(ours), len(theirs)) < FEWEST
        found.append(None if few else measured.domain_probe(ours, theirs, seed=seed).distance.value)
    return found


def _by_class(right: NDArray[np.bool_], labels: NDArray[np.int64], count: int) -> list[float | None]:
    return [float(right[labels == number].mean()) if (labels == number).any() else None for number in range(count)]
