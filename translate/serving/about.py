"""What a model is, for people: its card as a table, and the samples of its training."""

import html
from pathlib import Path

from translate.inference.card import Card, Values

_NORM = {
    "image": "each picture's own statistics",
    "group": "each picture's own statistics, by groups of channels",
    "running": "the statistics of the training",
    "none": "none that depends on the picture",
}


def table(card: Card, backend: str) -> str:
    """HTML. Everything in a card may come from a stranger, so it is escaped."""
    rows = {
        "Model": f"{card.name}: {card.network}",
        "Recipe": card.recipe,
        "Takes": f"{card.latent} latent numbers" if card.source is None else _values(card.source),
        "Gives": _values(card.target),
        "Classes": ", ".join(card.labels),
        "Trained at": card.trained_size
        and f"{card.trained_size[1]} × {card.trained_size[0]} pixels ({card.preprocess})",
        "Steps of training": card.step and f"{card.step:,}",
        "Sizes": card.source and "any" + (f"; padded to multiples of {card.multiple}" if card.multiple > 1 else ""),
        "Noise": "yes: each seed gives another variant" if card.noise else "none: the same picture every time",
        "Normalisation": _NORM[card.norm],
        "Validation": _numbers(card.metrics),
        "Precision": f"{card.precision}, run by {backend}",
        "Against PyTorch": _numbers(card.parity),
        "Licence of the data": card.licence or "not given",
        "Config": card.config_hash,
        "Written by": card.package and f"translate {card.package}" + (f", opset {card.opset}" if card.opset else ""),
    }
    cells = "".join(
        f"<tr><td>{key}</td><td>{html.escape(str(value))}</td></tr>" for key, value in rows.items() if value
    )
    return f"<table>{cells}</table>"


def samples(path: Path) -> str | None:
    """The last grid of samples of the run that `path` is, or lies in: RUN/export/a2b.onnx, RUN/checkpoints/last.pt."""
    for folder in (path, *path.resolve().parents[:2]):
        if grids := sorted(folder.glob("samples/step-*.png")):
            return str(grids[-1])
    return None


def _values(values: Values) -> str:
    return f"{values.colour} pictures" + (f", trained on {values.bits} bits" if values.bits else "")


def _numbers(numbers: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
