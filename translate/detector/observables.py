"""What physicists look at in a shower: numbers of one event each, streamed over chunks of any size.

N events, L layers, H x W cells, D observables. E is the value of a cell, in MeV unless the file has another unit (ADC,
VEM); `unit` stands for it, `length` for the unit of positions. What an event does not define, as the centre of no
energy, is NaN. Cells of at most `threshold` count as 0 where that is above 0; moments weigh with E where E > 0.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from translate.detector.showers import Showers
from translate.errors import DataError, unknown

Array = NDArray[np.float64]
Values = dict[str, Array]  # by observable, [N]

RINGS = 6


class Observable(NamedTuple):
    unit: str
    meaning: str


_CALORIMETER = {
    "energy": Observable("unit", "ΣE over all cells"),
    "response": Observable("", "R = ΣE / E_inc, in the same unit; its mean against E_inc is the linearity"),
    "peak": Observable("unit", "the largest cell"),
    "e_ratio": Observable("", "(E₁ − E₂) / (E₁ + E₂) of the two largest cells"),
    "occupied": Observable("", "share of the cells with E > threshold (the sparsity of CaloGAN)"),
    "empty": Observable("", "1 − occupied (the sparsity of the CaloChallenge)"),
    "centre_x": Observable("length", "⟨x⟩ = ΣxE / ΣE over all layers; x runs along W, 0 is the middle"),
    "centre_y": Observable("length", "⟨y⟩ = ΣyE / ΣE over all layers; y runs along H"),
    "width_x": Observable("length", "√max(0, ⟨x²⟩ − ⟨x⟩²)"),
    "width_y": Observable("length", "√max(0, ⟨y²⟩ − ⟨y⟩²)"),
    "depth": Observable("layers", "Σ l·E_l / ΣE, l from 0"),
    "depth_width": Observable("layers", "√(Σ l²·E_l / ΣE − depth²)"),
    "fraction_*": Observable("", "E_l / ΣE of layer l"),
    "width_*": Observable("length", "√(width_x² + width_y²) of layer l alone"),
    "ring_*": Observable("", "share of ΣE in the ring about the centre of the event: the radial profile"),
}
_FOOTPRINT = {
    "signal": Observable("VEM", "ΣS over all stations"),
    "response": Observable("VEM/EeV", "ΣS / E_inc"),
    "peak": Observable("VEM", "the strongest station"),
    "e_ratio": Observable("", "(S₁ − S₂) / (S₁ + S₂) of the two strongest stations"),
    "stations": Observable("", "number with S > threshold"),
    "occupied": Observable("", "share of the stations with S > threshold"),
    "empty": Observable("", "1 − occupied"),
    "centre_x": Observable("length", "⟨x⟩ = ΣxS / ΣS; x runs along W, 0 is the middle"),
    "centre_y": Observable("length", "⟨y⟩ = ΣyS / ΣS; y runs along H"),
    "width_x": Observable("length", "√max(0, ⟨x²⟩ − ⟨x⟩²)"),
    "width_y": Observable("length", "√max(0, ⟨y²⟩ − ⟨y⟩²)"),
    "ring_*": Observable("", "share of ΣS in the ring about the centre of the event: the radial profile"),
    "time_spread": Observable("time", "deviation of the arrival times of stations with a signal"),
    "front_x": Observable("time/length", "a of the plane t = a·x + b·y + c through them (least squares, 4 or more)"),
    "front_y": Observable("time/length", "b of that plane"),
    "front_rms": Observable("time", "deviation of the times from that plane: curvature and jitter"),
}
REDUNDANT = ("empty",)  # known from another: calculated where asked for


class Geometry(NamedTuple):
    """Of one detector."""

    units: tuple[str, ...]  # of the cells, a layer
    positions: tuple[Array, ...]  # a layer [2, H, W]
    length: str  # unit of positions

    @property
    def footprint(self) -> bool:
        """Two layers on the same stations: signals and arrival times."""
        return len(self.units) == 2 and self.units[1] in ("ns", "us")

    @property
    def rings(self) -> Array:
        """[RINGS + 1] edges from 0: equal steps to half of the shorter side of the detector; the last ring is open."""
        side = min(float(np.ptp(axis)) or 1.0 for layer in self.positions for axis in layer)
        return np.append(np.linspace(0, side / 2, RINGS), np.inf)


def describe(geometry: Geometry) -> dict[str, Observable]:
    """All observables of this detector, in order, with their units."""
    kinds, layers = (_FOOTPRINT if geometry.footprint else _CALORIMETER), len(geometry.units)
    words = {"unit": geometry.units[0], "length": geometry.length, "time": geometry.units[-1]}
    found: dict[str, Observable] = {}
    for name, (unit, meaning) in kinds.items():
        known = Observable("/".join(words.get(word, word) for word in unit.split("/")), meaning)
        if name.endswith("*"):
            count = RINGS if name == "ring_*" else layers
            found |= {name.replace("*", str(place)): known for place in range(count)}
        else:
            found[name] = known
    return found


def choose(geometry: Geometry, names: Sequence[str] | None) -> dict[str, Observable]:
    """Those of `names`, where `ring` stands for all rings; None: all that are not redundant. Raises DataError."""
    known = describe(geometry)
    if names is None:
        return {name: known[name] for name in known if name not in REDUNDANT}
    chosen: dict[str, Observable] = {}
    for name in names:
        family = [one for one in known if one == name or re.fullmatch(rf"{re.escape(name)}_\d+", one)]
        if not family:
            raise DataError(unknown("observable", name, known))
        chosen |= {one: known[one] for one in family}
    return chosen


def observables(showers: Showers, geometry: Geometry, threshold: float = 0.0) -> Values:
    """Every observable of `describe`, [N] each in float64."""
    cells = [layer.astype(np.float64).reshape(len(layer), -1) for layer in showers.layers]
    places = [layer.reshape(2, -1) for layer in geometry.positions]
    if geometry.footprint:
        return _footprint(cells, places, showers.energy, geometry, threshold)
    return _calorimeter(cells, places, showers.energy, geometry, threshold)


def _calorimeter(
    layers: list[Array], places: list[Array], energy: NDArray[Any], geometry: Geometry, threshold: float
) -> Values:
    if threshold > 0:
        layers = [np.where(layer > threshold, layer, 0.0) for layer in layers]
    sums = np.stack([layer.sum(1) for layer in layers], 1)  # [N, L]
    cells, total, number = np.concatenate(layers, 1), sums.sum(1), np.arange(len(layers))
    found, centre, _ = _plane(cells, np.concatenate(places, 1), threshold)
    weights = sums.clip(0)
    depth = _ratio(weights @ number, weights.sum(1))
    found |= {
        "energy": total,
        "response": total / (1e3 * energy.astype(np.float64)),
        "depth": depth,
        "depth_width": np.sqrt((_ratio(weights @ number**2, weights.sum(1)) - depth**2).clip(0)),
    }
    for layer, place in enumerate(places):
        found[f"fraction_{layer}"] = _ratio(sums[:, layer], total)
        found[f"width_{layer}"] = np.hypot(*_moments(layers[layer].clip(0), place)[1])
    return found | _rings(cells, np.concatenate(places, 1), centre, geometry.rings)


def _footprint(
    layers: list[Array], places: list[Array], energy: NDArray[Any], geometry: Geometry, threshold: float
) -> Values:
    signal, time = layers
    hit = signal > max(threshold, 0.0)
    signal = np.where(hit, signal, 0.0)
    found, centre, total = _plane(signal, places[0], threshold)
    found |= {"signal": total, "response": total / (energy.astype(np.float64) / 1e9), "stations": hit.sum(1) * 1.0}
    return found | _rings(signal, places[0], centre, geometry.rings) | _front(time, hit, places[0])


def _plane(cells: Array, places: Array, threshold: float) -> tuple[Values, Array, Array]:
    """What all cells [N, V] at `places` [2, V] give together; their centre [2, N] and sum [N]."""
    (x, y), (width_x, width_y) = centre, _ = _moments(cells.clip(0), places)
    largest = np.partition(cells, -2, axis=1)[:, -2:] if cells.shape[1] > 1 else np.pad(cells, ((0, 0), (1, 0)))
    occupied = (cells > threshold).mean(1)
    found = {
        "peak": largest[:, 1],
        "e_ratio": _ratio(largest[:, 1] - largest[:, 0], largest.sum(1)),
        "occupied": occupied,
        "empty": 1 - occupied,
        "centre_x": x,
        "centre_y": y,
        "width_x": width_x,
        "width_y": width_y,
    }
    return found, centre, cells.sum(1)


def _moments(weights: Array, places: Array) -> tuple[Array, Array]:
    """Weights [N, V] ≥ 0 at `places` [2, V] → mean and width, [2, N] each."""
    total = weights.sum(1)
    mean = _ratio(places @ weights.T, total)
    return mean, np.sqrt((_ratio(places**2 @ weights.T, total) - mean**2).clip(0))


def _rings(cells: Array, places: Array, centre: Array, edges: Array) -> Values:
    weights = cells.clip(0)
    distance = np.hypot(places[0] - centre[0][:, None], places[1] - centre[1][:, None])  # [N, V]
    ring = (np.searchsorted(edges, np.nan_to_num(distance), "right") - 1).clip(0, RINGS - 1)
    flat = np.bincount((ring + RINGS * np.arange(len(cells))[:, None]).ravel(), weights.ravel(), RINGS * len(cells))
    shares = _ratio(flat.reshape(-1, RINGS).T, weights.sum(1))
    return {f"ring_{place}": share for place, share in enumerate(shares)}


def _front(time: Array, hit: NDArray[np.bool_], places: Array) -> Values:
    count = hit.sum(1)
    mean = _ratio((time * hit).sum(1), count)
    rows = np.concatenate([places, np.ones((1, places.shape[1]))])  # [3, V]
    matrix = np.einsum("nv,iv,jv->nij", hit * 1.0, rows, rows, optimize=True)
    good = count > 3
    good[good] = np.linalg.matrix_rank(matrix[good], hermitian=True) == 3
    plane = np.full((len(time), 3), np.nan)
    plane[good] = np.linalg.solve(matrix[good], ((time * hit) @ rows.T)[good][..., None])[..., 0]
    residual = (time - plane @ rows) * hit
    return {
        "time_spread": np.sqrt(_ratio(np.where(hit, time - mean[:, None], 0) ** 2 @ np.ones(hit.shape[1]), count)),
        "front_x": plane[:, 0],
        "front_y": plane[:, 1],
        "front_rms": np.sqrt(_ratio((residual**2).sum(1), count)),
    }


def _ratio(above: NDArray[Any], below: NDArray[Any]) -> Array:
    """NaN where nothing positive is below."""
    return np.where(below > 0, above / np.where(below > 0, below, 1), np.nan)


class Summary(NamedTuple):
    """Of a sample, without its cells: of order N·D."""

    values: Values
    energy: Array  # [N], GeV
    particle: NDArray[np.int64]  # [N]
    images: tuple[Array, ...]  # a layer [2, H, W]: the mean over events of even and of odd number

    @property
    def mean(self) -> tuple[Array, ...]:
        even, count = (len(self.energy) + 1) // 2, len(self.energy)
        return tuple((even * image[0] + (count - even) * image[1]) / count for image in self.images)

    def table(self, names: Iterable[str]) -> Array:
        """[N, D]; what is not defined is 0."""
        return np.stack([np.nan_to_num(self.values[name], nan=0.0) for name in names], 1)


def summarise(
    chunks: Iterable[Showers], geometry: Geometry, names: Iterable[str], *, events: int, threshold: float = 0.0
) -> Summary:
    """The observables `names` of the first `events`. Reads one chunk at a time. Raises DataError for no events."""
    values: dict[str, list[Array]] = {name: [] for name in names}
    energies, particles, count = [], [], 0
    sums = [np.zeros(layer.shape) for layer in geometry.positions]  # [2, H, W]
    for chunk in chunks:
        chunk = chunk.take(slice(0, events - count))
        found = observables(chunk, geometry, threshold)
        for name, parts in values.items():
            parts.append(found[name])
        for total, layer in zip(sums, chunk.layers, strict=True):
            for odd in (0, 1):
                total[odd] += layer[(odd - count) % 2 :: 2].sum(0, dtype=np.float64)
        energies.append(chunk.energy.astype(np.float64))
        particles.append(chunk.particle)
        count += chunk.count()
        if count >= events:
            break
    if count < 2:
        raise DataError("a sample has to have at least 2 events")
    divide = np.array([(count + 1) // 2, count // 2])[:, None, None]
    joined = {name: np.concatenate(parts) for name, parts in values.items()}
    return Summary(joined, np.concatenate(energies), np.concatenate(particles), tuple(total / divide for total in sums))


class Resolution(NamedTuple):
    """By bin of incident energy, [K]."""

    energy: Array  # mean, GeV
    response: Array  # mean R
    response_error: Array
    resolution: Array  # σ(R) / mean R
    resolution_error: Array


def resolution(energy: Array, response: Array, edges: Array) -> Resolution:
    """Linearity and resolution in bins of `energy`; bins with fewer than 10 events are NaN. Errors as of Gaussians."""
    known = np.isfinite(energy) & np.isfinite(response)
    place = np.where(known, np.searchsorted(edges, energy, "right") - 1, -1)
    rows = []
    for bin in range(len(edges) - 1):
        x = response[place == bin]
        if len(x) < 10 or x.mean() <= 0:
            rows.append((np.nan,) * 5)
            continue
        mean, width = x.mean(), x.std(ddof=1) / x.mean()
        rows.append(
            (energy[place == bin].mean(), mean, mean * width / len(x) ** 0.5, width, width / (2 * len(x)) ** 0.5)
        )
    return Resolution(*np.array(rows).T)


def correlation(table: NDArray[Any]) -> Array:
    """Pearson's, [D, D] of observables [N, D]; of one that does not vary 0, and 1 with itself."""
    centred = table - table.mean(0)
    norm = np.sqrt((centred**2).sum(0))
    scaled = centred / np.where(norm > 1e-12 * (1 + np.abs(table).max(0)), norm, np.inf)
    matrix: Array = scaled.T @ scaled
    np.fill_diagonal(matrix, 1.0)
    return matrix
