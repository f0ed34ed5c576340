"""From a run, a checkpoint or an imported model to ONNX files: one a network, with all that using it needs."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import onnx
from torch import nn

from translate import __version__
from translate.errors import ModelError, unknown
from translate.inference.card import PROPERTY, Card, Precision
from translate.inference.mapped import aligned
from translate.inference.networks import Seeded, load_networks, settle
from translate.inference.quantise import pictures_of, quantise
from translate.inference.trace import OPSET, tidy, trace
from translate.inference.verify import Array, verify
from translate.nn.blocks import Dropout
from translate.nn.precision import set_precision


def export(
    source: Path,
    output: Path | None = None,
    *,
    direction: str | None = None,
    precision: Precision = "fp32",
    noise: bool = False,
    licence: str | None = None,
) -> list[Path]:
    """Exports the networks of a run folder, a checkpoint or an imported file, or the one that `direction` names.

    `output`: a folder, or FILE.onnx for one network; by default `export` in the run folder, or beside the file. The
    files are NETWORK.onnx, NETWORK-fp16.onnx, NETWORK-int8.onnx. Raises TranslateError where that cannot be done.
    """
    networks = load_networks(source)
    if direction is not None and direction not in networks:
        raise ModelError(f"--direction: {unknown('network', direction, networks)}")
    chosen = [direction] if direction else list(networks)
    folder = output or (source if source.is_dir() else source.parent) / "export"
    suffix = "" if precision == "fp32" else f"-{precision}"
    paths = [folder / f"{name}{suffix}.onnx" for name in chosen]
    if folder.suffix == ".onnx":
        if len(chosen) > 1:
            raise ModelError(
                f"{folder}: is one file, but {source} has {', '.join(chosen)}: choose a --direction, or name a folder"
            )
        paths = [folder]
    for name, path in zip(chosen, paths, strict=True):
        network, card = networks[name]
        card = card.replace(licence=licence or card.licence)
        pictures = pictures_of(source, card) if precision == "int8" else ()
        export_network(network, card, path, precision=precision, noise=noise, calibration=pictures)
    return paths


def export_network(
    network: nn.Module,
    card: Card,
    path: Path,
    *,
    precision: Precision = "fp32",
    noise: bool = False,
    calibration: Sequence[Array] = (),
) -> Card:
    """Writes one network as ONNX, once the graph is found to do what the network does, and returns its final card.

    `calibration`: pictures [C, H, W] in range, or latents [Z], for int8. Raises ModelError where the network cannot be
    exported so; then nothing is written, and an older file stays.
    """
    if noise and not any(isinstance(layer, Dropout) for layer in network.modules()):
        raise ModelError(f"{card.name}, {card.network}: has no dropout that could be the noise: leave --noise away")
    if precision == "int8" and not calibration:
        raise ModelError(f"{card.name}, {card.network}: int8 needs pictures to be fitted to: choose fp16 or fp32")
    card = card.replace(noise=noise, precision=precision, opset=OPSET, package=__version__)
    settled = settle(network, noise=noise).float().cpu()
    set_precision(settled, None)
    seeded = Seeded(settled) if noise else settled
    model = trace(seeded, card, half=precision == "fp16")
    if precision == "int8":
        model = tidy(quantise(model, card, calibration))
    parity = verify(model.SerializeToString(), seeded, card, calibration)
    card = card.replace(parity=parity)
    model.producer_name, model.producer_version = "translate", __version__
    onnx.helper.set_model_props(model, {PROPERTY: card.text()})
    _write(path, aligned(model.SerializeToString()))
    return card


def _write(path: Path, content: bytearray) -> None:
    """The whole file or none of it; an older one stays until then."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise ModelError(f"{path}: cannot be written ({reason}): free some space, or choose another -o") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
