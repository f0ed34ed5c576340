"""How good the generators of Fashion-MNIST are: the table of docs/results.md.

    python -m translate classifier --data fashion_mnist --root ../shared/data/fashion-mnist -o fashion-mnist.pt
    python benchmarks/fashion.py runs/dcgan_fashion runs/acgan_fashion ... --classifier fashion-mnist.pt [--count 10000]

For each run, against the test pictures in the classifier's features: what `translate evaluate` says (which is written to
RUN/evaluation). Of generators that take a class also: the share of `--train` generated ones that the classifier finds
to be of the class asked for, and the accuracy on real test pictures of a network of its kind that is trained on them, and of
the same network trained on as many real ones.
"""

import argparse
import contextlib
import io
import json
from pathlib import Path

import numpy as np
import torch

from translate.data import find
from translate.evaluation.classifier import accuracy, fit, together
from translate.evaluation.classifier import load as load_classifier
from translate.evaluation.command import Options, evaluate
from translate.inference.latents import classes, draw
from translate.inference.networks import load_networks
from translate.training.journal import read

CONFIG = "configs/acgan_fashion.yaml"  # whose test pictures are the reference of all
NAMES = ("fd", "inception_score", "precision", "recall", "classes_covered", "class_kl")


def made(run: Path, count: int) -> tuple[torch.Tensor, torch.Tensor] | None:
    """uint8 [N, C, S, S] and labels [N] of a conditional generator, as many of each class; None of another."""
    network, card = load_networks(run)["generator"]
    if not card.labels:
        return None
    latents, labels = torch.from_numpy(draw(card, count, 0)), torch.from_numpy(classes(card, count, None))
    with torch.inference_mode():
        images = [network(*part) for part in zip(latents.split(500), labels.split(500), strict=True)]
    return torch.cat(images).add(1).mul(127.5).round().clamp(0, 255).byte(), labels


def real(part: str) -> tuple[torch.Tensor, torch.Tensor]:
    from translate.config.load import load

    data = load(CONFIG).data
    return together(getattr(find(data.kind)(data), part))


def scores(images: torch.Tensor, labels: torch.Tensor, test: tuple[torch.Tensor, torch.Tensor], seeds: int) -> str:
    """Accuracy on `test` of networks trained on these."""
    found = [accuracy(fit(images, labels, 10, epochs=2, seed=seed), *test) for seed in range(seeds)]
    return f"{np.mean(found):.3f} ± {np.std(found):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--classifier", type=Path, required=True)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--train", type=int, default=60_000)
    parser.add_argument("--seeds", type=int, default=3, help="of the networks that are trained (4 minutes each)")
    arguments = parser.parse_args()
    space = f"classifier:{arguments.classifier}"
    classifier, test, ceiling = load_classifier(arguments.classifier).network, real("test"), ""
    print("| run | " + " | ".join(NAMES) + " | of their class | trained on generated | on real | training time |")
    for run in arguments.runs:
        options = Options(
            reference=CONFIG,
            model=run,
            count=arguments.count,
            features=(space,),
            metrics=("fd", "inception_score", "precision_recall", "classes"),
            output=run / "evaluation",
        )
        with contextlib.redirect_stdout(io.StringIO()):
            evaluate(options)
        rows = json.loads((run / "evaluation" / "evaluation.json").read_text())["metrics"]
        values = {name.partition("[")[0]: row for name, row in rows.items()}
        cells = [f"{values[name]['value']:.3g} ({values[name]['beside']['value']:.3g})" for name in NAMES]
        synthetic = made(run, arguments.train)
        named = "" if synthetic is None else f"{accuracy(classifier, *synthetic):.3f}"
        trained = "" if synthetic is None else scores(*synthetic, test, arguments.seeds)
        if synthetic is not None and not ceiling:
            images, labels = real("train")
            ceiling = scores(images[: arguments.train], labels[: arguments.train], test, arguments.seeds)
        minutes = read(run / "metrics.jsonl")[-1]["seconds"] / 60
        print(
            f"| {run.name} | {' | '.join(cells)} | {named} | {trained} | {ceiling if trained else ''} | {minutes:.0f} min |",
            flush=True,
        )


if __name__ == "__main__":
    main()
