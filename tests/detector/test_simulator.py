"""Events are functions of (seed, number): whatever the chunks. The command that writes them."""

from pathlib import Path

import numpy as np
import pytest

from translate.cli import main
from translate.detector.airshower import AirShowerConfig
from translate.detector.calorimeter import CalorimeterConfig
from translate.detector.differences import Differences
from translate.detector.files import open_showers
from translate.detector.showers import PARTICLES
from translate.detector.simulator import BLOCK, Detector, read_detector, simulate, simulate_chunks
from translate.errors import ConfigError

SMALL = CalorimeterConfig(layers=3, cells=(4, 5), cell_size=1.0, differences=Differences.data())


@pytest.mark.parametrize("config", [SMALL, AirShowerConfig()], ids=lambda config: config.kind)
def test_events_do_not_depend_on_chunks(config: Detector) -> None:
    whole = simulate(config, 300, seed=5)
    for start, count in ((0, 1), (7, 3), (BLOCK - 1, 2), (BLOCK, BLOCK), (100, 200)):
        part = simulate(config, count, seed=5, start=start)
        assert part.count() == count
        for field, expected in zip(
            (*part.layers, part.energy, part.particle), (*whole.layers, whole.energy, whole.particle), strict=True
        ):
            np.testing.assert_array_equal(field, expected[start : start + count])
    chunks = list(simulate_chunks(config, 290, seed=5, start=10, size=64))
    assert [chunk.count() for chunk in chunks] == [64] * 4 + [34]
    np.testing.assert_array_equal(np.concatenate([chunk.cells for chunk in chunks]), whole.cells[10:])
    assert whole.layers[0].dtype == np.float32


def test_seeds_and_blocks_differ() -> None:
    first, second = simulate(SMALL, 2 * BLOCK, seed=0), simulate(SMALL, 2 * BLOCK, seed=1)
    assert not np.isin(first.energy, second.energy).any()
    assert len(np.unique(first.energy)) == 2 * BLOCK


def test_mixtures_and_spectra() -> None:
    showers = simulate(SMALL, 2000)
    assert set(showers.particle) == {PARTICLES.index("electron"), PARTICLES.index("pion")}
    assert (showers.particle == PARTICLES.index("pion")).mean() == pytest.approx(0.5, abs=0.05)
    assert (showers.energy.min(), showers.energy.max()) == (pytest.approx(10, abs=0.3), pytest.approx(100, abs=0.3))
    assert showers.energy.mean() == pytest.approx(55, abs=4 * 26 / np.sqrt(2000))
    steep = simulate(SMALL.model_copy(update={"spectrum": "log_uniform"}), 2000)
    assert np.log(steep.energy).mean() == pytest.approx(np.log(10 * 100) / 2, abs=4 * 0.66 / np.sqrt(2000))
    one = simulate(SMALL, 10, particle="photon", energy=7.0)
    assert set(one.particle) == {PARTICLES.index("photon")}
    assert set(one.energy) == {7.0}
    assert simulate(SMALL, 50, energy=(20.0, 21.0)).energy.min() >= 20


def test_data_and_simulation_are_pairs() -> None:
    """`differences` takes the place of the config's; with the same seed the particles are the same."""
    data, plain = simulate(SMALL, 50), simulate(SMALL, 50, differences=Differences())
    np.testing.assert_array_equal(data.energy, plain.energy)
    np.testing.assert_array_equal(data.particle, plain.particle)
    assert (data.cells != plain.cells).any()
    np.testing.assert_array_equal(
        plain.cells, simulate(SMALL.model_copy(update={"differences": Differences()}), 50).cells
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"count": 0}, "count >= 1"),
        ({"start": -1}, "start >= 0"),
        ({"energy": 2.0}, "pions are simulated from 5"),
        ({"particle": "proton"}, "electron, photon and pion, not proton"),
    ],
)
def test_impossible_requests_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        simulate(SMALL, **{"count": 1, **wrong})  # type: ignore[arg-type]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "small.yaml"
    config.write_text("kind: calorimeter\nlayers: 3\ncells: [4, 5]\ncell_size: 1.0\n")
    file = tmp_path / "sim.npz"
    assert main(["simulate", str(config), str(file), "--count", "150", "--seed", "2", "--set", "differences=data"]) == 0
    assert "150 events, calorimeter, differences: gain, cell_miscalibration" in capsys.readouterr().out
    with open_showers(file) as opened:
        assert len(opened) == 150
        read = opened.read(0, 150)
        assert set(opened.units) == {"MeV"}
    expected = simulate(SMALL, 150, seed=2)
    np.testing.assert_array_equal(read.cells, expected.cells)
    np.testing.assert_array_equal(read.energy, expected.energy)
    file = tmp_path / "array.npz"
    assert main(["simulate", "airshower", str(file), "--count", "20", "--start", "5"]) == 0
    with open_showers(file) as opened:
        assert opened.units == ("VEM", "ns")
        np.testing.assert_array_equal(opened.read(0, 20).cells, simulate(AirShowerConfig(), 20, start=5).cells)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["calorimetre"], "unknown detector 'calorimetre' (did you mean 'calorimeter'?)"),
        (
            ["calorimeter", "--set", "differences.gian=2"],
            "calorimeter: differences: unknown key 'gian' (did you mean 'gain'?)",
        ),
        (["calorimeter", "--set", "energy=[1,2]"], "pions are simulated from 5 to 1000 GeV"),
        (["airshower", "--set", "differences=data"], "is of calorimeters"),
        (["airshower", "--start", "-3"], "start >= 0"),
    ],
)
def test_mistakes_end_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *rest = arguments
    assert main(["simulate", name, str(tmp_path / "x.npz"), "--count", "3", *rest]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    config = tmp_path / "x.yaml"
    config.write_text("layers: 3\n")
    with pytest.raises(ConfigError, match="unknown kind 'None'; known: airshower, calorimeter"):
        read_detector(str(config))
