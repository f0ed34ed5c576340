"""Showers in cells: geometry, conservation of energy, fluctuations, containment."""

import numpy as np
import pytest
from pydantic import ValidationError

from translate.detector.calorimeter import CalorimeterConfig, cell_shares
from translate.detector.differences import Differences
from translate.detector.electromagnetic import mean_shape
from translate.detector.simulator import simulate

# One layer takes nearly everything: 100 X₀ deep, 600 R_M wide.
BLOCK = CalorimeterConfig(
    absorber="Pb", active=None, samplings=56, absorber_thickness=1.0, layers=1, cells=(3, 3), cell_size=200.0
)


def test_cell_shares_are_the_integral_of_the_density() -> None:
    """Against points drawn by r = R √(u/(1 − u)), off centre; half of the plane is a half, a quadrant a quarter."""
    rng = np.random.default_rng(0)
    r = 1.3 * np.sqrt((u := rng.random(400_000)) / (1 - u))
    angle = rng.uniform(0, 2 * np.pi, len(r))
    y, x = r * np.sin(angle) + 0.4, r * np.cos(angle) - 0.7
    found = cell_shares(np.array([[1.3]]), np.array([[0.4, -0.7]]), (5, 8))[0, 0]
    counted = np.histogram2d(y, x, [np.arange(6) - 2.5, np.arange(9) - 4.0])[0] / len(r)
    assert np.abs(found - counted).max() < 4 * np.sqrt(found.max() / len(r))
    assert found == pytest.approx(counted, rel=0.1)
    quadrants = cell_shares(np.array([[1e-4]]), np.zeros((1, 2)), (2, 2))
    assert quadrants == pytest.approx(np.full((1, 1, 2, 2), 0.25), rel=1e-6)


def test_energy_is_conserved() -> None:
    """Without sampling fluctuations a calorimeter that contains all holds the incident energy, and never more."""
    config = BLOCK.model_copy(update={"resolution": 0.0})
    showers = simulate(config, 300, particle="electron")
    assert showers.cells.sum((1, 2, 3)) / 1000 == pytest.approx(showers.energy, rel=1e-3)
    small = config.model_copy(update={"cell_size": 1.0, "layers": 4, "samplings": 2, "cells": (3, 5)})
    showers = simulate(small, 300)
    assert showers.cells.shape == (300, 4, 3, 5)
    assert (showers.cells >= 0).all()
    assert (showers.cells.sum((1, 2, 3)) / 1000 <= showers.energy * (1 + 1e-5)).all()


@pytest.mark.parametrize("energy", [10.0, 90.0])
def test_the_resolution_is_that_of_the_sampling(energy: float) -> None:
    config = BLOCK.model_copy(update={"resolution": 0.2})
    response = simulate(config, 3000, particle="electron", energy=energy).cells.sum((1, 2, 3)) / 1000 / energy
    assert response.mean() == pytest.approx(1, abs=4 * 0.2 / np.sqrt(energy * 3000))
    assert response.std() == pytest.approx(0.2 / np.sqrt(energy), rel=0.06)


@pytest.mark.parametrize(
    ("absorber", "maximum", "within"), [("Pb", 6.40, 0.899), ("Fe", 5.37, 0.847), ("CsI", 6.05, 0.872)]
)
def test_generated_showers_have_the_published_profile(absorber: str, maximum: float, within: float) -> None:
    """10 GeV: the mean of ln T, from the moments of each shower, and the share within a Molière radius.

    Fluctuations change the mean of the share by less than 0.5 %.
    """
    layer = CalorimeterConfig(absorber=absorber, active=None).medium().x0
    config = CalorimeterConfig(
        absorber=absorber,
        active=None,
        absorber_thickness=layer,
        samplings=1,
        layers=30,
        cells=(20, 20),
        cell_size=0.1,
        resolution=0.0,
        impact_spread=0.0,
    )
    x = (np.arange(20) - 9.5) / 10
    inside = x[:, None] ** 2 + x**2 < 1
    share = simulate(config, 256, particle="electron", energy=10.0).cells[..., inside].sum((1, 2)) / 10_000
    assert share.mean() == pytest.approx(within, abs=0.005 + 4 * share.std() / np.sqrt(len(share)))
    wide = {"absorber_thickness": layer / 2, "layers": 70, "cells": (1, 1), "cell_size": 200.0}
    layers = simulate(config.model_copy(update=wide), 3072, particle="electron", energy=10.0).cells[:, :, 0, 0]
    depth = np.arange(0.25, 35, 0.5)
    mean = layers @ depth / layers.sum(1)
    variance = layers @ depth**2 / layers.sum(1) - mean**2
    log_t = np.log(mean - variance / mean)  # α/β − 1/β
    assert np.exp(log_t.mean()) == pytest.approx(maximum, rel=0.01 + 4 * log_t.std() / np.sqrt(len(log_t)))
    assert np.exp(log_t.mean()) == pytest.approx(mean_shape(config.medium(), np.array([10.0]))[0].item(), rel=0.015)


def test_cells_fluctuate_as_spots_do() -> None:
    """The share of a cell with probability p in a layer of n equal spots varies by p(1 − p)/n."""
    config = BLOCK.model_copy(update={"resolution": 0.0, "cell_size": 1.0, "cells": (2, 2), "impact_spread": 0.0})
    energy = 20.0
    cells = simulate(config, 3000, particle="electron", energy=energy).cells[:, 0]
    share = cells[:, 0, 0] / 1000 / energy
    spots = 93 * np.log(82) * energy**0.876
    assert share.std() == pytest.approx(np.sqrt(share.mean() * (1 - share.mean()) / spots), rel=0.06)
    parts = cells / (1000 * energy / round(spots))
    assert parts == pytest.approx(np.rint(parts), abs=0.01)  # whole spots


def test_pions_are_late_wide_and_weak() -> None:
    config = CalorimeterConfig()
    electron, pion = (simulate(config, 512, particle=name, energy=50.0).cells for name in ("electron", "pion"))
    assert pion.sum() < 0.4 * electron.sum()
    depth = np.arange(10)
    assert (pion.sum((0, 2, 3)) @ depth / pion.sum()) > (electron.sum((0, 2, 3)) @ depth / electron.sum()) + 1
    centre = (slice(None), slice(None), slice(5, 7), slice(5, 7))
    assert pion[centre].sum() / pion.sum() < electron[centre].sum() / electron.sum() - 0.1


def test_impacts_are_spread_about_the_middle() -> None:
    config = BLOCK.model_copy(update={"cell_size": 0.05, "cells": (41, 41), "impact_spread": 20.0, "resolution": 0.0})
    cells = simulate(config, 256, particle="electron").cells[:, 0]
    y, x = np.unravel_index(cells.reshape(256, -1).argmax(1), (41, 41))
    for place in (y, x):
        assert 8 <= place.min() < 14 < 26 < place.max() <= 32
        assert place.mean() == pytest.approx(20, abs=4 * 20 / np.sqrt(12 * 256))
    assert abs(np.corrcoef(y, x)[0, 1]) < 0.25


def test_units_of_cells_and_layers() -> None:
    config = CalorimeterConfig()
    assert config.cell_cm == pytest.approx(0.5 * config.medium().moliere)
    assert CalorimeterConfig(cell_size=2.0, cell_unit="cm").cell_cm == 2.0
    assert config.layer_cm == pytest.approx(3.0)
    assert CalorimeterConfig(active=None).layer_cm == pytest.approx(1.2)
    assert config.layers * config.layer_cm / config.medium().x0 == pytest.approx(21.8, abs=0.05)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"energy": (1.0, 10.0)}, "pions are simulated from 5 to 1000 GeV, got 1 to 10"),
        ({"energy": (20.0, 10.0), "particles": ("electron",)}, "electrons and photons are simulated from 1"),
        ({"particles": ()}, "name at least one"),
        ({"particles": ("proton",)}, "'electron', 'photon' or 'pion'"),
        ({"cells": (0, 4)}, "from 1x1 to 1000x1000, got 0x4"),
        ({"absorber": "Fr"}, "'Fe'"),
        ({"differences": "many"}, "Differences"),
    ],
)
def test_impossible_detectors_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CalorimeterConfig.model_validate(wrong)


def test_preset_of_differences() -> None:
    assert CalorimeterConfig.model_validate({"differences": "data"}).differences == Differences.data()
    assert CalorimeterConfig.model_validate({"differences": "none"}).differences == Differences()
