"""Each difference does what its name says to generated events, and nothing else; all are off by default."""

import numpy as np
import pytest

from translate.detector.calorimeter import CalorimeterConfig
from translate.detector.differences import Differences, cross_talk
from translate.detector.simulator import simulate

CONFIG = CalorimeterConfig()
COUNT = 512


def events(seed: int = 3, config: CalorimeterConfig = CONFIG, detector: int = 0, **named: float) -> np.ndarray:
    """[N, L, H, W] of 50 GeV electrons."""
    differences = Differences.model_validate({"seed": detector, **named})
    cells = simulate(config, COUNT, seed=seed, particle="electron", energy=50.0, differences=differences).cells
    return cells.astype(float)


@pytest.fixture(scope="module")
def plain() -> np.ndarray:
    return events()


def test_all_are_off_by_default_and_on_in_the_preset(plain: np.ndarray) -> None:
    assert Differences().named() == ()
    knobs = set(Differences.model_fields) - {"seed", "hot_energy", "pile_up_energy"}
    assert set(Differences.data().named()) == knobs
    assert Differences(seed=5, hot_energy=7.0).named() == ()
    assert (events(seed=3, hot_energy=7.0) == plain).all()


def test_gain(plain: np.ndarray) -> None:
    np.testing.assert_allclose(events(gain=0.97), 0.97 * plain, rtol=1e-6)


def test_cell_miscalibration(plain: np.ndarray) -> None:
    """One factor a cell, N(1, 0.03), the same in all events of a detector, another in another detector."""
    data = events(cell_miscalibration=0.03)
    lit = (plain > 0).sum(0) > 5
    factor = np.divide(data.sum(0), plain.sum(0), out=np.ones(CONFIG.shape), where=lit)
    np.testing.assert_allclose(data[:, lit], (factor * plain)[:, lit], rtol=1e-5)
    assert factor[lit].mean() == pytest.approx(1, abs=0.004)
    assert factor[lit].std() == pytest.approx(0.03, rel=0.08)
    again = events(seed=4, cell_miscalibration=0.03)
    np.testing.assert_allclose(again[:, lit], (factor * events(seed=4))[:, lit], rtol=1e-5)
    other = events(detector=1, cell_miscalibration=0.03).sum(0)[lit] / plain.sum(0)[lit]
    assert abs(np.corrcoef(other, factor[lit])[0, 1]) < 0.15


def test_layer_miscalibration(plain: np.ndarray) -> None:
    data = events(layer_miscalibration=0.02)
    factor = data.sum((0, 2, 3)) / plain.sum((0, 2, 3))
    np.testing.assert_allclose(data, factor[:, None, None] * plain, rtol=1e-5)
    assert (np.abs(factor - 1) <= 0.02).all()
    assert factor.std() > 0.004


def test_noise_and_zero_suppression(plain: np.ndarray) -> None:
    noisy = events(noise=10.0)
    noise = noisy - plain
    assert noise.mean() == pytest.approx(0, abs=4 * 10 / np.sqrt(noise.size))
    assert noise.std() == pytest.approx(10, rel=0.01)
    assert np.quantile(noise, 0.8413) == pytest.approx(10, rel=0.02)
    assert abs(np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]) < 0.01
    assert (noise[0] != noise[1]).any()
    suppressed = events(noise=10.0, zero_suppression=25.0)
    assert (suppressed == np.where(noisy < 25, 0, noisy)).all()
    assert (events(zero_suppression=25.0) == np.where(plain < 25, 0, plain)).all()


def test_cross_talk(plain: np.ndarray) -> None:
    """The share goes to each neighbour, also at edges; nothing is lost."""
    one = np.zeros((2, 1, 4, 5))
    one[0, 0, 1, 2], one[1, 0, 0, 0] = 100.0, 100.0
    found = cross_talk(one, 0.015)
    assert found[0, 0, 1, 2] == pytest.approx(94)
    assert [found[0, 0, y, x] for y, x in ((0, 2), (2, 2), (1, 1), (1, 3))] == pytest.approx([1.5] * 4)
    assert found[1, 0, :2, :2].ravel() == pytest.approx([97, 1.5, 1.5, 0])
    assert np.count_nonzero(found) == 8
    data = events(cross_talk=0.015)
    np.testing.assert_allclose(data, cross_talk(plain, 0.015), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(data.sum((2, 3)), plain.sum((2, 3)), rtol=1e-5)


def test_dead_and_hot_cells(plain: np.ndarray) -> None:
    """Half a percent of 1440 cells read 0 in every event; hot ones have an exponential energy more; never the same."""
    data = events(dead=0.005)
    dead = (data == 0).all(0)
    changed = (data != plain).any(0)
    assert changed.sum() == 7
    assert dead[changed].all()
    hot = events(hot=0.003, hot_energy=200.0)
    extra = hot - plain
    where = (np.abs(extra) > 1e-3).any(0)
    assert where.sum() == 4
    assert not (where & changed).any()
    assert extra[:, where].mean() == pytest.approx(200, rel=0.1)
    assert extra[:, where].std() == pytest.approx(200, rel=0.15)
    assert extra[:, where].min() > 0
    assert ((events(dead=1e-6) != plain).any(0)).sum() == 1  # at least one


def test_saturation(plain: np.ndarray) -> None:
    assert (plain > 2000).any()
    np.testing.assert_array_equal(events(saturation=2000.0), plain.clip(None, 2000))


def test_pile_up(plain: np.ndarray) -> None:
    """A share exp(−0.7) of events has none; those of the others are of 2 GeV each, all over the face."""
    extra = events(pile_up=0.7) - plain
    none = (np.abs(extra) < 1e-2).all((1, 2, 3))
    assert none.mean() == pytest.approx(np.exp(-0.7), abs=4 * 0.5 / np.sqrt(COUNT))
    assert extra.min() > -1e-2
    total = extra.sum((1, 2, 3))
    assert 0.7 * 1300 < total.mean() < 0.7 * 2000  # some leaks by the sides
    x = extra.sum((0, 1, 2)) / extra.sum()
    assert (x > 0.04).all()


def test_upstream_material() -> None:
    """0.3 X₀ in front: each shower is so much further on where it meets the first layer."""
    steady = CONFIG.model_copy(update={"resolution": 0.0, "cell_size": 100.0, "layers": 40, "samplings": 1})
    plain, data = (events(config=steady, upstream_material=x).sum((2, 3)) for x in (0.0, 0.3))
    pitch = steady.layer_cm / steady.medium().x0
    depth = (np.arange(40) + 0.5) * pitch
    before = plain.cumsum(1)
    shifted = np.stack([np.interp(depth + pitch / 2 + 0.3, depth + pitch / 2, row) for row in before])
    lost = np.array([np.interp(0.3, np.r_[0, depth + pitch / 2], np.r_[0, row]) for row in before])
    inner = slice(0, 38)
    np.testing.assert_allclose(data.cumsum(1)[:, inner], (shifted - lost[:, None])[:, inner], atol=60)  # of 50,000 MeV
    assert np.abs(data.cumsum(1) - before)[:, inner].max() > 1000
    assert (data.sum(1) <= 50_000 * (1 + 1e-5)).all()


def test_resolution() -> None:
    """Fluctuations of the sampling are wider by the factor; at 0 there are none."""
    wide = CONFIG.model_copy(update={"cell_size": 100.0, "layers": 1, "samplings": 240})
    plain, worse, none = (
        np.concatenate([events(seed, wide, resolution=factor).sum((1, 2, 3)) for seed in range(6)])
        for factor in (1.0, 1.2, 0.0)
    )
    assert plain.std() / 50_000 == pytest.approx(0.11 / np.sqrt(50), rel=0.06)
    assert worse.std() / plain.std() == pytest.approx(1.2, rel=0.02)  # the same random numbers
    assert worse.mean() == pytest.approx(plain.mean(), rel=1e-3)
    assert none == pytest.approx(50_000, rel=1e-3)


def test_moliere() -> None:
    """Wider showers are as smaller cells: bit by bit the same numbers."""
    base = CONFIG.model_copy(update={"impact_spread": 0.0, "cell_size": 1.05})
    smaller = base.model_copy(update={"cell_size": 1.0})
    np.testing.assert_array_equal(events(config=base, moliere=1.05), events(config=smaller))
    assert (events(config=base) != events(config=smaller)).any()


def test_misalignment(plain: np.ndarray) -> None:
    """The centre of energy moves by half a cell along x, not along y, and the energy stays what it was."""
    data = events(misalignment=0.5)
    place = np.arange(12) - 5.5
    x, y = (
        (data.sum((0, 1, axis)) @ place / data.sum()) - (plain.sum((0, 1, axis)) @ place / plain.sum())
        for axis in (2, 3)
    )
    assert x == pytest.approx(0.5, abs=0.04)
    assert y == pytest.approx(0, abs=0.02)
    assert data.sum() == pytest.approx(plain.sum(), rel=0.005)


def test_the_electronics_leave_the_showers_alone(plain: np.ndarray) -> None:
    """With the same seed, simulation and data are pairs: bright cells keep their places under all of read-out."""
    data = events(gain=0.97, cell_miscalibration=0.03, layer_miscalibration=0.02, noise=10.0, cross_talk=0.015)
    bright = plain > 500
    assert np.corrcoef(data[bright], plain[bright])[0, 1] > 0.99
