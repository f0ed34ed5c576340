import pickle

import numpy as np
import pytest
from pydantic import ValidationError

from translate.detector import events as module
from translate.detector.calorimeter import CalorimeterConfig
from translate.detector.events import Events, Reader
from translate.detector.files import write_showers
from translate.detector.showers import Showers
from translate.detector.simulator import simulate
from translate.errors import DataError

SMALL = CalorimeterConfig(layers=2, cells=(3, 4))


def numbered(start, stop):
    """Event i has i in all of its cells, energy i + 1 and particle i % 3."""
    number = np.arange(start, stop)
    cells = np.broadcast_to(number[:, None, None, None], (len(number), 2, 3, 4)).astype(np.float32)
    return Showers.of(cells, (number + 1).astype(np.float32), number % 3)


@pytest.fixture
def files(tmp_path):
    """Events 0 to 6 and 7 to 19."""
    for name, start, stop in (("one.npz", 0, 7), ("two.npz", 7, 20)):
        write_showers(tmp_path / name, [numbered(start, stop)])
    return tmp_path / "one.npz", tmp_path / "two.npz"


@pytest.fixture
def tiny(monkeypatch):
    """Blocks of 3 events, 2 of which are kept."""
    monkeypatch.setattr(module, "BLOCK", 3)
    monkeypatch.setattr(module, "KEPT_BYTES", 2 * 3 * 2 * 3 * 4 * 4)


def test_events_of_several_files_at_random(files):
    reader = Reader(Events(files=files))
    assert (reader.count, reader.shape) == (20, (2, 3, 4))
    wanted = np.array([19, 0, 6, 7, 7, 12])
    taken = reader.take(wanted)
    np.testing.assert_array_equal(taken.cells[:, 1, 2, 3], wanted)
    np.testing.assert_array_equal(taken.energy, wanted + 1)
    np.testing.assert_array_equal(taken.particle, wanted % 3)


def test_an_epoch_reads_each_block_once_and_keeps_few(files, tiny, monkeypatch):
    reader = Reader(Events(files=files))
    read = []
    original = Reader._read
    monkeypatch.setattr(Reader, "_read", lambda self, a, b: read.append((a, b)) or original(self, a, b))
    groups = reader.order(np.random.default_rng(0))
    order = np.concatenate(groups)
    np.testing.assert_array_equal(np.sort(order), np.arange(20))
    assert not np.array_equal(order, np.sort(order))
    for number in order:
        assert reader.take(np.array([number])).cells[0, 0, 0, 0] == number
        assert len(reader._mine()[1]) <= reader.group + 1
    assert sorted(read) == [(start, min(start + 3, 20)) for start in range(0, 20, 3)]


def test_the_order_is_mixed_throughout_where_all_fits(files):
    (group,) = Reader(Events(files=files)).order(np.random.default_rng(0))
    assert abs(np.corrcoef(group, np.arange(20))[0, 1]) < 0.5


def test_simulated_events_are_those_of_the_simulator(tiny):
    reader = Reader(Events(simulator=SMALL, count=50, seed=3))
    whole = simulate(SMALL, 50, seed=3)
    wanted = np.array([49, 0, 17])
    taken = reader.take(wanted)
    np.testing.assert_array_equal(taken.cells, whole.cells[wanted])
    np.testing.assert_array_equal(taken.energy, whole.energy[wanted])
    np.testing.assert_array_equal(taken.particle, whole.particle[wanted])


def test_a_reader_travels_without_open_files(files):
    reader = Reader(Events(files=files))
    reader.take(np.array([3]))
    other = pickle.loads(pickle.dumps(reader))
    assert other.take(np.array([12])).cells[0, 0, 0, 0] == 12


def test_tiles_are_called_as_their_files(tmp_path):
    for name in ("b", "a"):
        np.savez(tmp_path / f"{name}.npz", np.zeros((4, 4), np.int16))
    reader = Reader(Events(files=(tmp_path,)))
    assert reader.tiles
    assert [reader.name(0), reader.name(1)] == ["a", "b"]
    assert reader.take(np.array([1])).cells.dtype == np.int16


def test_mistakes(tmp_path, files):
    with pytest.raises(ValidationError, match="either files or a simulator"):
        Events()
    with pytest.raises(ValidationError, match="either files or a simulator"):
        Events(files=files, simulator=SMALL)
    with pytest.raises(DataError, match="no such file"):
        Reader(Events(files=("nowhere.h5",)))
    layers = (np.ones((2, 3, 4), np.float32), np.ones((2, 5, 5), np.float32))
    write_showers(tmp_path / "odd.h5", [Showers(layers, np.ones(2, np.float32), np.zeros(2, np.int64))])
    with pytest.raises(DataError, match=r"3x4, 5x5 cells are not one image"):
        Reader(Events(files=(tmp_path / "odd.h5",)))
    write_showers(tmp_path / "other.npz", [Showers.of(np.ones((2, 1, 3, 4), np.float32))])
    with pytest.raises(DataError, match="differ in their layers"):
        Reader(Events(files=(files[0], tmp_path / "other.npz")))
    shape = Reader(Events(files=files[:1])).shape
    write_showers(tmp_path / "counts.npz", [Showers.of(np.ones((2, *shape), np.int16))])
    with pytest.raises(DataError, match=r"differ in their units: \[\('ADC', .*\('MeV', "):
        Reader(Events(files=(files[0], tmp_path / "counts.npz")))
