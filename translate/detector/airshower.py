"""Footprints of air showers on an array of particle detectors at 1400 m (880 g/cm²): signals and arrival times.

N showers, H x W stations. The signal is an electromagnetic and a muonic part, each with the lateral distribution of
water-Cherenkov arrays, (r/1000 m)^β ((r + 700 m)/1700 m)^β; together they give the calibration
E = 0.19 EeV · S₁₀₀₀(38°)^1.025 of the Pierre Auger Observatory. How the parts depend on the primary and on the distance
to the shower maximum are round numbers of ours: Xmax and muons as simulations have them, no substitute for one.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from translate.config.spec import Kinded
from translate.detector.differences import Choice, Differences, read_out
from translate.detector.electromagnetic import Array
from translate.detector.showers import PARTICLES

LIGHT = 0.299792458  # m/ns
OF_AN_ARRAY = {"gain", "cell_miscalibration", "noise", "zero_suppression", "dead", "saturation"}
_GROUND = 880.0  # g/cm²


class Primary(NamedTuple):
    """Xmax at 10 EeV in g/cm², its rise a decade of energy, its deviation; muons relative to protons, deviation."""

    depth: float
    rise: float
    depth_spread: float
    muons: float
    muon_spread: float


PRIMARIES = {
    "proton": Primary(780, 55, 60, 1.0, 0.15),
    "iron": Primary(680, 55, 22, 1.4, 0.05),
    "photon": Primary(1000, 110, 80, 0.15, 0.25),
}


class AirShowerConfig(Kinded):
    """Default: 9x9 stations at 1500 m; the denser array is `stations: 14, spacing: 750`, from 3e8 GeV."""

    kind: Literal["airshower"] = "airshower"
    stations: int = Field(default=9, ge=2, le=200)  # a side of the square array
    spacing: float = Field(default=1500.0, gt=0)  # m
    threshold: float = Field(default=3.0, ge=0)  # VEM: a station with less is silent
    core_spread: float = Field(default=1.0, ge=0)  # spacings: cores are uniform in a square so wide about the middle
    zenith: float = Field(default=60.0, ge=0, le=65)  # degrees: directions are uniform in sin² up to this
    curvature: float = Field(default=10.0, gt=0)  # km: radius of a front at the mean distance to the maximum
    particles: tuple[Literal["proton", "iron", "photon"], ...] = ("proton", "iron")
    energy: tuple[float, float] = (3e9, 1e11)  # GeV
    spectrum: Literal["uniform", "log_uniform"] = "log_uniform"
    differences: Choice = Differences()

    @model_validator(mode="after")
    def _possible(self) -> "AirShowerConfig":
        self.check(self.particles, self.energy, self.differences)
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        return (2, self.stations, self.stations)

    @property
    def units(self) -> tuple[str, ...]:
        return ("VEM", "ns")

    def check(self, particles: tuple[str, ...], energy: tuple[float, float], differences: Differences) -> None:
        """Raises ValueError for what is not simulated."""
        if not particles:
            raise ValueError("particles: name at least one")
        if wrong := sorted(set(particles) - set(PRIMARIES)):
            raise ValueError(f"particles: air showers come from proton, iron or photon here, not from {wrong[0]}")
        if not 1e8 <= energy[0] <= energy[1] <= 1e12:
            raise ValueError(
                f"energy: air showers are simulated from 1e8 to 1e12 GeV, got {energy[0]:g} to {energy[1]:g}"
            )
        if wrong := sorted(set(differences.named()) - OF_AN_ARRAY):
            raise ValueError(
                f"differences: {wrong[0]} is of calorimeters; an array has {', '.join(sorted(OF_AN_ARRAY))}"
            )

    def block(
        self,
        differences: Differences,
        energy: Array,
        particle: NDArray[np.int64],
        stream: Callable[[int], np.random.Generator],
    ) -> NDArray[np.float32]:
        """[N, 2, H, W]: signals in VEM, and times in ns after that of the strongest signal; silent stations are 0."""
        signal, time = _footprints(self, energy, particle, stream(1))
        seen = signal > 0
        signal = np.where(seen, read_out(signal[:, None], differences, stream(3))[:, 0].clip(0), 0.0)
        time = np.where(signal > 0, time - _at_strongest(time, signal), 0.0)
        return np.stack([signal, time], 1).astype(np.float32)


def lateral(r: Array, slope: float) -> Array:
    """1 at 1000 m; constant within 100 m, where stations saturate."""
    r = r.clip(100)
    return (r / 1000) ** slope * ((r + 700) / 1700) ** slope


def distances(points: Array, direction: Array) -> Array:
    """From `points` [N, S, 3] to the axis through 0 along the unit vectors `direction` [N, 3]: [N, S]."""
    along = np.einsum("nsk,nk->ns", points, direction)
    found: Array = np.sqrt(((points - along[..., None] * direction[:, None]) ** 2).sum(-1))
    return found


def expected_signal(energy: Array, distance: Array, muons: Array, r: Array) -> Array:
    """VEM at `r` [N, S] from the axis, for showers `distance` [N] g/cm² after their maximum: half of the signal at
    1000 m of a vertical-equivalent (38°) proton is muons.
    """
    scale = (energy / 0.19e9) ** (1 / 1.025) / 2
    em = np.exp(-((distance + 100) ** 2 - 437**2) / (2 * 500**2))
    return scale[:, None] * (em[:, None] * lateral(r, -2.5) + muons[:, None] * lateral(r, -1.9))


def _footprints(
    config: AirShowerConfig, energy: Array, particle: NDArray[np.int64], rng: np.random.Generator
) -> tuple[Array, Array]:
    """Signal and time [N, H, W], with their fluctuations."""
    count, side = len(energy), config.stations
    sine = np.sqrt(rng.uniform(0, 1, count)) * math.sin(math.radians(config.zenith))
    azimuth, cosine = rng.uniform(0, 2 * np.pi, count), np.sqrt(1 - sine**2)
    direction = np.stack([sine * np.cos(azimuth), sine * np.sin(azimuth), cosine], -1)  # towards the source
    core = config.core_spread * rng.uniform(-0.5, 0.5, (count, 2))
    grid = np.arange(side) - (side - 1) / 2
    points = np.zeros((count, side * side, 3))
    points[..., 0] = np.tile(grid, side) - core[:, :1]
    points[..., 1] = np.repeat(grid, side) - core[:, 1:]
    points *= config.spacing

    primary = [PRIMARIES[PARTICLES[kind]] for kind in particle]
    depth, rise, depth_spread, muons, muon_spread = np.array(primary).T
    depth = depth + rise * np.log10(energy / 1e10) + depth_spread * rng.standard_normal(count)
    muons = muons * np.exp(muon_spread * rng.standard_normal(count))
    distance = _GROUND / cosine - depth
    r = distances(points, direction)
    expected = expected_signal(energy, distance, muons, r)
    signal = rng.standard_gamma(expected)  # mean S, variance S
    signal[signal < config.threshold] = 0.0

    radius = 1000 * config.curvature * (1 + (distance - 337) / 1000).clip(0.4)  # m
    time = (r**2 / (2 * radius[:, None]) - np.einsum("nsk,nk->ns", points, direction)) / LIGHT
    jitter = np.hypot(25.0, 0.15 * r / np.sqrt(signal + 1))  # ns
    time += jitter * rng.standard_normal(time.shape)
    return signal.reshape(count, side, side), time.reshape(count, side, side)


def _at_strongest(time: Array, signal: Array) -> Array:
    """[N, 1, 1]"""
    flat = signal.reshape(len(signal), -1)
    found: Array = time.reshape(flat.shape)[np.arange(len(flat)), flat.argmax(1)][:, None, None]
    return found
