"""Files of detector images through a network, and files that a network generates: in chunks, in bounded memory."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from translate.config.spec import explain
from translate.detector.files import FileOptions, open_showers, write_showers
from translate.detector.normalisation import Normalisation
from translate.detector.showers import PARTICLES, Showers
from translate.errors import DataError, ModelError, unknown
from translate.inference.card import SEEDS, Card
from translate.inference.session import Session, open_session

CELLS = 1 << 20  # that go through a network together
CHUNK = 1024  # generated showers at a time


def refine(
    source: Path,
    output: Path,
    model: Path,
    *,
    direction: str | None = None,
    options: FileOptions | None = None,
    seed: int = 0,
) -> int:
    """Translates every event of a file of showers, or of a folder of tiles, and gives their number.

    Energies and particle types are kept; integers stay integers. `seed` is for networks with noise. Raises ModelError
    for a network of other images, DataError where the file cannot be read, has cells in other units than the network
    was trained on, or its type cannot hold the result.
    """
    session = open_session(model, direction=direction, precision="fp32")
    card, normalisation = session.card, normalisation_of(session.card)
    if card.source is None:
        raise ModelError(f"{model}: generates showers from noise: use translate generate")
    with closing(open_showers(source, options)) as file:
        size = card.trained_size if card.one_size else None
        if len(file.shapes) != card.source.channels or set(file.shapes) != {size or file.shapes[0]}:
            shapes = ", ".join("x".join(map(str, shape)) for shape in file.shapes)
            equal = "{}x{}".format(*size) if size else "equal"
            raise ModelError(f"{model}: takes {card.source.channels} {equal} layers of cells; {source} has {shapes}")
        if file.units != (taken := card.source.units or file.units):
            raise DataError(
                f"{source}: has cells in {', '.join(file.units)}, but {model} takes {', '.join(taken)}; where the file "
                "does not say, give --unit"
            )

        def chunks() -> Iterator[Showers]:
            done = 0
            for chunk in file.chunks():
                cells = chunk.cells
                images = _run(session, normalisation.forward(cells, chunk.energy), seed + done)
                try:
                    cells = normalisation.inverse(images, chunk.energy, cells.dtype)
                except OverflowError as error:
                    raise DataError(f"{source}: from event {done}: {error}; save the file as floats") from None
                done += chunk.count()
                yield Showers.of(cells, chunk.energy, chunk.particle)

        kind = file.kind if output.suffix.lower() == source.suffix.lower() else None
        written = FileOptions(kind=kind, unit=card.target.units or file.units, binning=file.options.binning)
        return write_showers(output, chunks(), written)


def generate(
    model: Path, output: Path, count: int, *, energy: tuple[float, float], particle: str | None = None, seed: int = 0
) -> int:
    """Writes `count` showers of a conditional generator, of uniform energies in GeV, the types in turn or all one.

    Raises ModelError for a network that is none and for a type that it does not know.
    """
    session = open_session(model, precision="fp32")
    card = session.card
    if card.latent is None or card.energy_unit is None:
        raise ModelError(f"{model}: does not generate showers; to translate some use translate refine")
    if particle is not None and particle not in card.labels:
        raise ModelError(f"--particle: {unknown('particle', particle, card.labels)}")
    if not 0 < energy[0] <= energy[1]:
        raise ModelError(f"--energy: needs 0 < LOW <= HIGH in GeV, got {energy[0]:g} {energy[1]:g}")
    kinds = card.labels if particle is None else (particle,)

    def chunks() -> Iterator[Showers]:
        for start in range(0, count, CHUNK):
            numbers = np.arange(start, min(start + CHUNK, count))
            yield make(session, *_drawn(card, kinds, energy, numbers, seed), seed=seed + start)

    return write_showers(output, chunks(), FileOptions(unit=card.target.units or "MeV"))


def make(session: Session, energy: NDArray[np.float32], label: NDArray[np.int64], *, seed: int = 0) -> Showers:
    """Showers of these energies [N] in GeV and classes [N] of the card, from a conditional generator."""
    card, rng = session.card, np.random.default_rng((seed, 1))
    assert card.latent is not None
    assert card.energy_unit is not None
    noise = rng.standard_normal((len(energy), card.latent - 1), np.float32)
    latent = np.concatenate([noise, np.log10(energy / card.energy_unit, dtype=np.float32)[:, None]], 1)
    images = session.run({"latent": latent} | ({"label": label} if card.labels else {}))
    particle = np.array([PARTICLES.index(name) for name in card.labels] or [-1])[label]
    return Showers.of(normalisation_of(card).inverse(images, energy), energy, particle)


def _drawn(
    card: Card, kinds: tuple[str, ...], energy: tuple[float, float], numbers: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng((seed, int(numbers[0])))
    labels = np.array([card.labels.index(name) for name in kinds] or [0])
    return rng.uniform(*energy, len(numbers)).astype(np.float32), labels[numbers % len(labels)]


def _run(session: Session, images: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    size, outputs = max(1, CELLS // images[0].size), []
    for start in range(0, len(images), size):
        inputs: dict[str, NDArray[Any]] = {"image": np.ascontiguousarray(images[start : start + size])}
        if session.card.noise:
            inputs["seed"] = (seed + start + np.arange(len(inputs["image"]))) % SEEDS
        outputs.append(session.run(inputs))
    result = np.concatenate(outputs)
    if not np.isfinite(result).all():
        raise ModelError(f"{session.path}: gives cells that are not finite for these events: are they in other units?")
    return result


def normalisation_of(card: Card) -> Normalisation:
    if card.normalisation is None:
        raise ModelError(f"{card.name}: was trained on pictures, not on detector images: use translate batch")
    try:
        return Normalisation.model_validate(card.normalisation)
    except ValidationError as error:
        raise ModelError(str(explain(error, Normalisation, {}, f"{card.name}: its normalisation"))) from None
