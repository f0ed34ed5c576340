"""A sampling calorimeter: layers of absorber and active material, read out in square cells.

N showers, L layers, H x W cells. Cells hold MeV on the scale of electrons: what is seen in the active material, divided
by the share of an electron's energy that is seen there.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from translate.config.spec import Kinded
from translate.detector.differences import Cells, Choice, Differences, read_out
from translate.detector.electromagnetic import Array, Profile, electromagnetic
from translate.detector.hadronic import LOWEST, hadronic
from translate.detector.materials import MATERIALS, Medium, Name, medium
from translate.detector.showers import PARTICLES


class CalorimeterConfig(Kinded):
    """Default: 10 layers of 12x12 cells, 22 X₀ (0.9 λ) of lead and scintillator."""

    kind: Literal["calorimeter"] = "calorimeter"
    absorber: Name = "Pb"
    active: Name | None = "polystyrene"  # None: homogeneous, of the absorber alone
    absorber_thickness: float = Field(default=0.2, gt=0)  # cm
    active_thickness: float = Field(default=0.3, gt=0)  # cm
    samplings: int = Field(default=6, ge=1)  # how often both repeat within a layer
    layers: int = Field(default=10, ge=1, le=1000)
    cells: tuple[int, int] = (12, 12)  # rows and columns of a layer
    cell_size: float = Field(default=0.5, gt=0)
    cell_unit: Literal["moliere", "cm"] = "moliere"
    resolution: float = Field(default=0.11, ge=0, le=1)  # σ/E of the sampling at 1 GeV
    impact_spread: float = Field(default=1.0, ge=0)  # cells: impacts are uniform in a square so wide about the middle
    particles: tuple[Literal["electron", "photon", "pion"], ...] = ("electron", "pion")
    energy: tuple[float, float] = (10.0, 100.0)  # GeV
    spectrum: Literal["uniform", "log_uniform"] = "uniform"
    differences: Choice = Differences()

    @model_validator(mode="after")
    def _possible(self) -> "CalorimeterConfig":
        if not all(1 <= side <= 1000 for side in self.cells):
            raise ValueError(f"cells: a layer has from 1x1 to 1000x1000, got {self.cells[0]}x{self.cells[1]}")
        self.check(self.particles, self.energy, self.differences)
        return self

    def check(self, particles: tuple[str, ...], energy: tuple[float, float], differences: Differences) -> None:
        """Raises ValueError for what is not simulated."""
        if not particles:
            raise ValueError("particles: name at least one")
        if wrong := sorted(set(particles) - {"electron", "photon", "pion"}):
            raise ValueError(f"particles: a calorimeter simulates electron, photon and pion, not {wrong[0]}")
        who, lowest = ("pions", LOWEST) if "pion" in particles else ("electrons and photons", 1.0)
        if not lowest <= energy[0] <= energy[1] <= 1000:
            raise ValueError(
                f"energy: {who} are simulated from {lowest:g} to 1000 GeV, got {energy[0]:g} to {energy[1]:g}"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.layers, *self.cells)

    @property
    def units(self) -> tuple[str, ...]:
        return ("MeV",) * self.layers

    def medium(self) -> Medium:
        active = MATERIALS[self.active] if self.active else None
        return medium(MATERIALS[self.absorber], self.absorber_thickness, active, self.active_thickness)

    @property
    def cell_cm(self) -> float:
        return self.cell_size * (self.medium().moliere if self.cell_unit == "moliere" else 1.0)

    @property
    def layer_cm(self) -> float:
        return self.samplings * (self.absorber_thickness + (self.active_thickness if self.active else 0.0))

    def block(
        self,
        differences: Differences,
        energy: Array,
        particle: NDArray[np.int64],
        stream: Callable[[int], np.random.Generator],
    ) -> NDArray[np.float32]:
        """Cells [N, L, H, W] in MeV; `stream(n)` is the n-th source of random numbers of these events."""
        rng = stream(1)
        centre = self.impact_spread * rng.uniform(-0.5, 0.5, (len(energy), 2))
        cells = deposits(self, differences, energy, particle, centre, rng)
        if differences.pile_up:
            pile_up(cells, self, differences, stream(2))
        return read_out(cells, differences, stream(3)).astype(np.float32)


def deposits(
    config: CalorimeterConfig,
    differences: Differences,
    energy: Array,
    particle: NDArray[np.int64],
    centre: Array,
    rng: np.random.Generator,
) -> Cells:
    """Energy in the cells before any electronics; `centre` [N, 2] is the impact (y, x) in cells from the middle."""
    stuff = config.medium()
    front = differences.upstream_material * stuff.x0
    edges = front + np.arange(config.layers + 1, dtype=np.float64) * config.layer_cm
    pion = particle == PARTICLES.index("pion")
    cells = np.empty((len(energy), *config.shape))
    for chosen in (pion, ~pion):
        if not chosen.any():
            continue
        e = energy[chosen]
        if chosen is pion:
            profile = hadronic(stuff, edges, e, config.resolution, rng)
        else:
            photon = particle[chosen] == PARTICLES.index("photon")
            profile = electromagnetic(stuff, edges, e, photon, config.resolution, rng)
        cells[chosen] = _sampled(profile, config, differences, centre[chosen], rng)
    return cells


def pile_up(cells: Cells, config: CalorimeterConfig, differences: Differences, rng: np.random.Generator) -> None:
    """Adds to each event a Poisson number of low-energy electrons anywhere on the face."""
    event = np.repeat(np.arange(len(cells)), rng.poisson(differences.pile_up, len(cells)))
    energy = 1 + rng.exponential(differences.pile_up_energy, len(event))
    centre = np.array(config.cells) * rng.uniform(-0.5, 0.5, (len(event), 2))
    electron = np.full(len(event), PARTICLES.index("electron"))
    np.add.at(cells, event, deposits(config, differences, energy, electron, centre, rng))


def _sampled(
    profile: Profile, config: CalorimeterConfig, differences: Differences, centre: Array, rng: np.random.Generator
) -> Cells:
    """MeV in the cells: what a layer sees fluctuates as the sampling does, and comes in equal spots (A.2.4)."""
    energy, variance = profile.energy, (config.resolution * differences.resolution) ** 2
    if variance:
        energy = rng.standard_gamma(energy / variance) * variance
    radii = np.stack([profile.core_radius, profile.tail_radius]) * differences.moliere / config.cell_cm
    shifted = centre + np.array([0.0, differences.misalignment])
    core, tail = (cell_shares(radius, shifted, config.cells) for radius in radii)
    core *= profile.core[..., None, None]
    tail *= 1 - profile.core[..., None, None]
    core += tail  # [N, L, H, W]
    shares = np.empty((*energy.shape, core[0, 0].size + 1))
    shares[..., :-1] = core.reshape(*energy.shape, -1).clip(0)
    shares[..., -1] = (1 - shares[..., :-1].sum(-1)).clip(0)  # what leaves by the sides
    spots = np.rint(profile.spots).clip(1).astype(np.int64)
    found = rng.multinomial(spots, shares / shares.sum(-1, keepdims=True))[..., :-1]
    cells: Cells = found * (1000 * energy / spots)[..., None]
    return cells.reshape(core.shape)


def cell_shares(radius: Array, centre: Array, cells: tuple[int, int]) -> Cells:
    """The integral of K(R)/(2π r) over each cell, in closed form: [N, L, H, W] for radii [N, L] and centres [N, 2]
    in cells.
    """
    (height, width), squared = cells, radius[..., None] ** 2
    y = (np.arange(height + 1) - height / 2 - centre[:, :1])[:, None]  # [N, 1, H + 1]
    x = (np.arange(width + 1) - width / 2 - centre[:, 1:])[:, None]
    from_y, from_x = np.sqrt(y**2 + squared), np.sqrt(x**2 + squared)  # [N, L, H + 1], [N, L, W + 1]
    corner = (x / from_x)[..., None, :] * np.arctan(y[..., None] / from_x[..., None, :])
    corner += (y / from_y)[..., None] * np.arctan(x[..., None, :] / from_y[..., None])
    corner /= 2 * np.pi
    shares: Cells = np.diff(np.diff(corner, axis=2), axis=3)
    return shares
