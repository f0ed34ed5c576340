"""Observables against values worked out by hand, and whatever the size of the chunks."""

import numpy as np
import pytest

from translate.detector.observables import (
    RINGS,
    Geometry,
    choose,
    correlation,
    describe,
    observables,
    resolution,
    summarise,
)
from translate.detector.showers import Showers
from translate.errors import DataError


def grid(height: int, width: int) -> np.ndarray:
    y, x = (np.arange(n) - (n - 1) / 2 for n in (height, width))
    return np.stack(np.meshgrid(x, y))


def geometry(*shapes: tuple[int, int], units: tuple[str, ...] | None = None) -> Geometry:
    return Geometry(units or ("MeV",) * len(shapes), tuple(grid(*shape) for shape in shapes), "cells")


def one(cells: list, energy: float = 0.1) -> Showers:
    return Showers.of(np.array([cells], np.float32), np.array([energy], np.float32))


@pytest.fixture
def showers() -> Showers:
    rng = np.random.default_rng(0)
    cells = rng.exponential(20, (50, 3, 4, 4)) * (rng.random((50, 3, 4, 4)) < 0.3)
    cells[7] = 0
    return Showers.of(cells.astype(np.float32), rng.uniform(1, 50, 50), rng.integers(0, 3, 50))


def test_an_event_worked_out_by_hand():
    """Layer 0: 10 MeV at x = −½, 30 at x = +½; layer 1: 60 at (−½, +½); E_inc = 0.1 GeV."""
    found = observables(one([[[10, 30], [0, 0]], [[0, 0], [60, 0]]]), geometry((2, 2), (2, 2)))
    expected = {
        "energy": 100,
        "response": 1,
        "peak": 60,
        "e_ratio": 30 / 90,
        "occupied": 3 / 8,
        "empty": 5 / 8,
        "centre_x": (-5 + 15 - 30) / 100,
        "centre_y": (-5 - 15 + 30) / 100,
        "width_x": np.sqrt(0.25 - 0.04),
        "width_y": np.sqrt(0.25 - 0.01),
        "depth": 0.6,
        "depth_width": np.sqrt(0.6 - 0.36),
        "fraction_0": 0.4,
        "fraction_1": 0.6,
        "width_0": np.sqrt(0.25 - 0.25**2),
        "width_1": 0,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], [value], atol=1e-12, err_msg=name)
    assert set(found) == set(describe(geometry((2, 2), (2, 2))))


def test_layers_of_other_cells_share_one_frame():
    fine, coarse = grid(1, 4) * 10, grid(1, 2) * 20  # mm: both are 40 mm wide
    cells = Showers(
        (np.array([[[0, 0, 0, 5.0]]]), np.array([[[0, 15.0]]])), np.ones(1, np.float32), np.zeros(1, np.int64)
    )
    found = observables(cells, Geometry(("MeV", "MeV"), (fine, coarse), "mm"))
    np.testing.assert_allclose(found["centre_x"], (5 * 15 + 15 * 10) / 20)


def test_rings_are_about_the_centre_of_the_event():
    cells = np.zeros((1, 1, 13, 13))
    cells[0, 0, 6, 6], cells[0, 0, 6, 9], cells[0, 0, 6, 3] = 80, 10, 10
    place = geometry((13, 13))
    np.testing.assert_allclose(place.rings, [0, 1.2, 2.4, 3.6, 4.8, 6, np.inf])
    for shift in (0, 2):  # wherever the shower is
        found = observables(Showers.of(np.roll(cells, shift, 3)), place)
        np.testing.assert_allclose([found[f"ring_{k}"][0] for k in range(RINGS)], [0.8, 0, 0.2, 0, 0, 0], atol=1e-12)


def test_shares_add_up_and_what_is_undefined_is_nan(showers):
    found = observables(showers, geometry(*[(4, 4)] * 3))
    seen = np.arange(50) != 7
    for family, count in (("fraction", 3), ("ring", RINGS)):
        total = sum(found[f"{family}_{place}"] for place in range(count))
        np.testing.assert_allclose(total[seen], 1)
        assert np.isnan(total[7])
    for name in ("centre_x", "width_y", "depth", "e_ratio", "width_1"):
        assert np.isnan(found[name][7])
        assert np.isfinite(found[name][seen]).mean() > 0.9
    assert (found["energy"][7], found["response"][7], found["occupied"][7]) == (0, 0, 0)


def test_threshold_and_negative_cells():
    event = one([[[5, -2], [1, 0]]])
    plain, cut = (observables(event, geometry((2, 2)), threshold) for threshold in (0.0, 1.0))
    assert (plain["energy"][0], plain["occupied"][0]) == (4, 0.5)
    np.testing.assert_allclose(plain["centre_x"], -0.5)  # −2 weighs nothing
    assert (cut["energy"][0], cut["occupied"][0], cut["width_y"][0]) == (5, 0.25, 0)


def test_arrival_times_of_a_plane_front():
    place, rng = geometry((9, 9), (9, 9), units=("VEM", "ns")), np.random.default_rng(1)
    x, y = place.positions[0]
    signal = np.where(np.hypot(x, y) < 3, 10.0, 0.0)
    residual = np.where(signal > 0, rng.normal(0, 20, (9, 9)), 0)
    time = np.where(signal > 0, 300 * x - 120 * y + 55 + residual, 0)
    found = observables(Showers.of(np.stack([signal, time])[None], np.array([1e10])), place)
    hit = signal > 0
    design = np.stack([x[hit], y[hit], np.ones(hit.sum())], 1)
    (a, b, c), *_ = np.linalg.lstsq(design, time[hit], rcond=None)
    np.testing.assert_allclose([found["front_x"][0], found["front_y"][0]], [a, b])
    np.testing.assert_allclose(found["front_rms"], np.sqrt(np.mean((time[hit] - design @ [a, b, c]) ** 2)))
    np.testing.assert_allclose(found["time_spread"], time[hit].std())
    assert (found["stations"][0], found["signal"][0], found["response"][0]) == (25, 250, 25)
    assert set(found) == set(describe(place))


def test_a_front_needs_four_stations_that_are_not_in_a_line():
    place, cells = geometry((9, 9), (9, 9), units=("VEM", "ns")), np.zeros((3, 2, 9, 9))
    cells[0, :, 0, :3] = 5
    cells[1, :, 4, :] = 5  # a line
    found = observables(Showers.of(cells), place)
    assert np.isnan(found["front_x"]).all()
    assert list(found["stations"]) == [3, 9, 0]
    assert np.isnan(found["time_spread"][2])


@pytest.mark.parametrize("size", [1, 7, 50])
def test_chunks_of_any_size_give_the_same(showers, size):
    place = geometry(*[(4, 4)] * 3)
    names = list(choose(place, None))
    chunks = (showers.take(slice(start, start + size)) for start in range(0, 50, size))
    found, whole = summarise(chunks, place, names, events=45), observables(showers.take(slice(0, 45)), place)
    for name in names:
        np.testing.assert_array_equal(found.values[name], whole[name])
    for layer in range(3):
        cells = showers.layers[layer][:45].astype(np.float64)
        np.testing.assert_allclose(found.images[layer], [cells[::2].mean(0), cells[1::2].mean(0)])
        np.testing.assert_allclose(found.mean[layer], cells.mean(0))
    assert found.table(names).shape == (45, len(names))
    assert np.isfinite(found.table(names)).all()


def test_names_stand_for_families():
    place = geometry((4, 4), (4, 4))
    assert list(choose(place, ["energy", "fraction"])) == ["energy", "fraction_0", "fraction_1"]
    assert list(choose(place, ["width_1", "width"])) == ["width_1", "width_0"]
    assert "empty" not in choose(place, None)
    assert choose(place, ["empty", "centre_x"])["centre_x"].unit == "cells"
    with pytest.raises(DataError, match=r"unknown observable 'enrgy' \(did you mean 'energy'\?\)"):
        choose(place, ["enrgy"])
    assert describe(geometry((9, 9), (9, 9), units=("VEM", "us")))["front_x"].unit == "us/cells"


def test_linearity_and_resolution():
    rng = np.random.default_rng(0)
    energy = rng.uniform(10, 100, 40_000)
    response = rng.normal(0.9, 0.9 * 0.5 / np.sqrt(energy))
    found = resolution(energy, response, np.array([10.0, 20, 40, 100, 200]))
    np.testing.assert_allclose(found.response[:3], 0.9, atol=0.01)
    for place, (low, high) in enumerate([(10, 20), (20, 40), (40, 100)]):
        expected = 0.5 * np.sqrt(np.log(high / low) / (high - low))  # σ² averaged over the bin
        assert abs(found.resolution[place] - expected) < 4 * found.resolution_error[place]
    assert np.isnan(found.response[3])


def test_correlation():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 1000))
    matrix = correlation(np.stack([a, a + b, np.full(1000, 3.3), -a], 1))
    np.testing.assert_allclose(matrix[:2, :2], np.corrcoef(a, a + b))
    np.testing.assert_allclose(matrix[2], [0, 0, 1, 0])
    np.testing.assert_allclose(matrix[0, 3], -1)
