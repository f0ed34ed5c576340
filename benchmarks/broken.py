"""Which metric catches which broken generator, on Fashion-MNIST: the table of docs/results.md.

    python -m translate classifier --data fashion_mnist --root ../shared/data/fashion-mnist -o fashion-mnist.pt
    python benchmarks/broken.py --classifier fashion-mnist.pt [--count 2000] [--out broken]

The broken generators are made of real pictures, so that what is wrong with each is known: `collapsed` knows three of
the ten classes, `blurred` has a Gaussian of one pixel over it, `noisy` has noise of σ = 0.1 of the range, `memorising`
gives 500 training pictures again and again, each shifted in brightness by up to 2 %. `intact` are real pictures, from which
the blurred and noisy ones are made; none of these, nor of the collapsed set, is a training picture. Each set is judged by
`translate evaluate` against test pictures. A metric catches a fault where its value is worse than the intact set's by more
than three deviations of both.
"""

import argparse
import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from translate.config.load import load
from translate.data import find
from translate.evaluation.classifier import together
from translate.evaluation.command import Options, evaluate

CONFIG = "configs/acgan_fashion.yaml"
METRICS = [
    *("fd", "kd", "precision_recall", "density_coverage", "prd", "mmd", "energy", "sliced_wasserstein", "two_sample"),
    *("two_sample_trees", "inception_score", "classes", "bins", "birthday", "copying"),
]
RISING = {
    *("precision", "recall", "density", "coverage", "prd_f8", "prd_f1_8", "inception_score", "classes_covered"),
    "support_at_least",
}

Pictures = NDArray[np.uint8]  # [N, 32, 32]


def broken(count: int) -> tuple[dict[str, Pictures], Pictures]:
    """The sets of `count` pictures each, and the training pictures."""
    data = load(CONFIG).data
    images, labels = (part.numpy() for part in together(find(data.kind)(data).train))
    images, rng = images[:, 0], np.random.default_rng(0)
    order = rng.permutation(len(images))
    of_three = order[np.isin(labels[order], (0, 1, 2))][:count]  # of the first 4 * count, about
    first, training = images[order[:count]].astype(float), images[order[4 * count :]]
    again = training[rng.integers(0, 500, count)] * rng.uniform(0.98, 1.02, (count, 1, 1))
    sets = {
        "intact": first,
        "collapsed": images[of_three],
        "blurred": gaussian_filter(first, (0, 1, 1)),
        "noisy": first + rng.normal(0, 25.5, first.shape),
        "memorising": again,
    }
    return {name: np.clip(np.round(part), 0, 255).astype(np.uint8) for name, part in sets.items()}, training


def judge(pictures: Pictures, training: Path, classifier: Path, folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "generated.npy", pictures[..., None])
    options = Options(
        reference=CONFIG,
        generated=str(folder / "generated.npy"),
        training=str(training),
        features=(f"classifier:{classifier}",),
        metrics=tuple(METRICS),
        output=folder,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        evaluate(options)
    rows: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())["metrics"]
    return {name.partition("[")[0]: row for name, row in rows.items()}


def caught(name: str, row: dict[str, Any], intact: dict[str, Any]) -> float:
    """By how many deviations the value is worse than that of the intact pictures."""
    deviation = float(np.hypot(row["deviation"] or 0, intact["deviation"] or 0))
    worse = (intact["value"] - row["value"]) * (1 if name in RISING else -1)
    return worse / deviation if deviation else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classifier", type=Path, required=True)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("broken"))
    arguments = parser.parse_args()
    sets, training = broken(arguments.count)
    arguments.out.mkdir(parents=True, exist_ok=True)
    np.save(arguments.out / "training.npy", training[..., None])
    found = {}
    for name, pictures in sets.items():
        found[name] = judge(pictures, arguments.out / "training.npy", arguments.classifier, arguments.out / name)
        print(f"{name}: judged", flush=True)
    print("| metric | " + " | ".join(found) + " |")
    for metric, intact in found["intact"].items():
        cells = [f"{intact['value']:.3g}"]
        for name in list(found)[1:]:
            worse = caught(metric, found[name][metric], intact)
            value = f"{found[name][metric]['value']:.3g}"
            cells.append(f"**{value}** ({worse:.0f} σ)" if worse > 3 else value)
        print(f"| `{metric}` | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
