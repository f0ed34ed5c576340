"""Footprints of air showers: lateral distribution, geometry, what distinguishes primaries."""

import numpy as np
import pytest
from pydantic import ValidationError

from translate.detector.airshower import LIGHT, AirShowerConfig, distances, expected_signal, lateral
from translate.detector.differences import Differences
from translate.detector.simulator import simulate
from translate.errors import ConfigError

ARRAY = AirShowerConfig()


def test_lateral_distribution() -> None:
    """1 at 1000 m; (1/2)^β (1200/1700)^β at 500 m; (2)^β (2700/1700)^β at 2000 m; flat within 100 m."""
    found = lateral(np.array([1000.0, 500.0, 2000.0, 30.0, 100.0]), -2.2)
    assert found[:3] == pytest.approx([1, (6 / 17) ** -2.2, (54 / 17) ** -2.2])
    assert found[3] == found[4] == pytest.approx((0.1 * 8 / 17) ** -2.2)


def test_signal_at_1000_m_is_the_calibration() -> None:
    """A mean proton at 38°, whose maximum is 337 g/cm² above: E = 0.19 EeV · S^1.025."""
    signal = expected_signal(np.array([1e10]), np.array([337.0]), np.ones(1), np.array([[1000.0]])).item()
    assert 0.19e9 * signal**1.025 == pytest.approx(1e10)
    muons = expected_signal(np.array([1e10]), np.array([337.0]), np.array([1.4]), np.array([[1000.0]])).item()
    assert muons / signal == pytest.approx(1.2)


def test_distances_to_the_axis() -> None:
    """Vertical: the distance on the ground; inclined by θ along x: shorter by cos θ along x, as it is along y."""
    points = np.array([[[3.0, 4.0, 0.0], [2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]])
    assert distances(points, np.array([[0.0, 0.0, 1.0]])) == pytest.approx(np.array([[5.0, 2.0, 2.0]]))
    inclined = np.array([[np.sin(1.0), 0.0, np.cos(1.0)]])
    assert distances(points, inclined)[0, 1:] == pytest.approx([2 * np.cos(1.0), 2.0])


def test_footprints() -> None:
    showers = simulate(ARRAY, 600, particle="proton", energy=3e10)
    signal, time = showers.layers
    assert signal.shape == time.shape == (600, 9, 9)
    silent = signal == 0
    assert (signal[~silent] >= 3).all()
    assert (time[silent] == 0).all()
    strongest = signal.reshape(600, -1).argmax(1)
    assert (time.reshape(600, -1)[np.arange(600), strongest] == 0).all()
    y, x = np.unravel_index(strongest, (9, 9))
    assert ((np.abs(y - 4) <= 1) & (np.abs(x - 4) <= 1)).mean() > 0.97
    assert 10 < (~silent).sum((1, 2)).mean() < 30


def test_times_are_a_plane_with_curvature() -> None:
    """Vertical showers: r²/2Rc after the core, in ns. Inclined ones: at most sin θ / c across the array."""
    vertical = AirShowerConfig(zenith=0.0, core_spread=0.0, particles=("proton",), energy=(1e11, 1e11))
    showers = simulate(vertical, 400)
    signal, time = (layer.astype(float) for layer in showers.layers)
    seen = signal[:, 4, 5] > 0
    radius = 10_000 * (1 + (880 - (780 + 55) - 337) / 1000)  # m, of the mean shower
    assert time[seen, 4, 5].mean() == pytest.approx(1500**2 / (2 * radius) / LIGHT, rel=0.02)
    inclined = simulate(AirShowerConfig(core_spread=0.0), 400, energy=1e11)
    step = (inclined.layers[1][:, 4, 6] - inclined.layers[1][:, 4, 2])[
        (inclined.layers[0][:, 4, 6] > 0) & (inclined.layers[0][:, 4, 2] > 0)
    ]
    assert np.abs(step).max() <= 6000 * np.sin(np.pi / 3) / LIGHT + 3000
    assert step.std() > 3000


def test_primaries() -> None:
    """Iron has more muons than protons and so the larger signal far out; photons have the fewest stations."""
    stations = [
        (simulate(ARRAY, 600, particle=name, energy=3e10).layers[0] > 0).sum() for name in ("photon", "proton", "iron")
    ]
    assert stations[0] < 0.8 * stations[1] < 0.9 * stations[2]


def test_energy_raises_the_signal_and_the_dense_array_sees_lower_ones() -> None:
    low, high = (simulate(ARRAY, 300, particle="iron", energy=e).layers[0].sum() for e in (1e10, 1e11))
    assert high / low == pytest.approx(10 ** (1 / 1.025), rel=0.25)
    dense = AirShowerConfig(stations=14, spacing=750.0, energy=(3e8, 1e10))
    assert simulate(dense, 10).layers[0].shape == (10, 14, 14)
    assert (simulate(dense, 200, energy=1e9).layers[0] > 0).sum((1, 2)).mean() > 4


def test_differences_touch_signals_alone() -> None:
    plain = simulate(ARRAY, 200)
    data = simulate(ARRAY, 200, differences=Differences(gain=0.9, dead=0.05, saturation=300.0))
    dead = (data.layers[0] == 0).all(0) & (plain.layers[0] > 0).any(0)
    assert 1 <= dead.sum() <= 4
    np.testing.assert_allclose(data.layers[0][:, ~dead], (0.9 * plain.layers[0][:, ~dead]).clip(None, 300), rtol=1e-5)
    assert (data.layers[1][data.layers[0] == 0] == 0).all()
    noisy = simulate(ARRAY, 200, differences=Differences(noise=1.0))
    assert (noisy.layers[0][plain.layers[0] == 0] == 0).all()
    assert (noisy.layers[0] - plain.layers[0])[plain.layers[0] > 10].std() == pytest.approx(1, rel=0.1)


def test_impossible_arrays_are_refused() -> None:
    with pytest.raises(ValidationError, match="moliere is of calorimeters; an array has cell_miscalibration, dead"):
        AirShowerConfig(differences=Differences(moliere=1.1))
    with pytest.raises(ValidationError, match="from 1e8 to 1e12 GeV, got 10 to 100"):
        AirShowerConfig(energy=(10.0, 100.0))
    with pytest.raises(ConfigError, match="proton, iron or photon here, not from pion"):
        simulate(ARRAY, 1, particle="pion")
