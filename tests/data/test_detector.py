import numpy as np
import pytest
import torch
from pydantic import ValidationError

from translate.batches import Adaptation, Conditioned, Images, Labelled, Paired, Unpaired, UnpairedEnergies
from translate.data.detector import DetectorConfig, DetectorSource
from translate.data.source import size_of
from translate.data.stream import Stream, batches
from translate.detector.files import write_showers
from translate.detector.showers import PARTICLES, Showers
from translate.errors import ConfigError, DataError

CALORIMETER = {"kind": "calorimeter", "layers": 2, "cells": [6, 5]}


def showers(start, stop, layers=2, factor=1.0, particle=True):
    """Event i has i + 1 in all of its cells, energy 10 (i + 1) GeV and is an electron or a pion in turn."""
    number = np.arange(start, stop)
    cells = factor * (number + 1.0)[:, None, None, None] * np.ones((1, layers, 6, 5))
    kinds = np.array([PARTICLES.index("electron"), PARTICLES.index("pion")])[number % 2]
    return Showers.of(cells.astype(np.float32), 10.0 * (number + 1), kinds if particle else None)


@pytest.fixture
def sides(tmp_path):
    """`sides(**options)`: a config of 40 simulated events and 40 of data, whose cells are negative."""
    write_showers(tmp_path / "simulation.npz", [showers(0, 40)])
    write_showers(tmp_path / "data.npz", [showers(0, 40, factor=-1.0)])

    def make(**options):
        files = {"simulation": {"files": tmp_path / "simulation.npz"}, "data": {"files": tmp_path / "data.npz"}}
        return DetectorConfig(**files | options)

    return make


@pytest.fixture
def tiles(tmp_path):
    """Signed tiles {train,test}/{a,b}: 4 + 4 of the same names, b twice a."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in "wxyz":
            tile = rng.integers(-100, 100, (16, 16)).astype(np.int16)
            for side, factor in (("a", 1), ("b", 2)):
                (tmp_path / part / side).mkdir(parents=True, exist_ok=True)
                np.savez(tmp_path / part / side / f"{name}.npz", (factor * tile).astype(np.int16))
    return tmp_path


def first(source, size=16, workers=0):
    with Stream(source.train, size, 0, workers) as stream:
        return next(iter(stream))


def numbers_of(images):
    return images[:, 0, 0, 0].abs().long() - 1


def test_unpaired(sides):
    source = DetectorSource(sides())
    assert source.channels == {"a": 2, "b": 2}
    assert source.describe() == "detector: 36 + 36 training, 4 + 4 test events of 2x6x5 cells"
    batch = first(source, 36)
    assert isinstance(batch, Unpaired)
    assert batch.a.shape == (36, 2, 6, 5)
    assert sorted(numbers_of(batch.a).tolist()) == [n for n in range(40) if n % 10]
    assert set(numbers_of(batch.b).tolist()) <= {n for n in range(40) if n % 10}
    assert len(set(numbers_of(batch.b).tolist())) > 15  # drawn with replacement
    assert (numbers_of(batch.a) != numbers_of(batch.b)).sum() > 20
    assert (batch.b < 0).all()
    assert not source.train.aligned
    assert not source.test.aligned  # nobody said that they are pairs


def test_the_held_out_events_are_never_trained_on(sides):
    source = DetectorSource(sides(test_share=0.25))
    train = set(numbers_of(source.train.batch(np.arange(30), np.zeros((30, 3)))[0]).tolist())
    test = {int(numbers_of(batch.a)) for _, batch in batches(source.test, 1)}
    assert test == {0, 4, 8, 12, 16, 20, 24, 28, 32, 36}
    assert train == set(range(40)) - test
    assert DetectorSource(sides(test_share=0.0)).test is None


def test_pairs(sides):
    source = DetectorSource(sides(gives="paired"))
    batch = first(source)
    assert isinstance(batch, Paired)
    torch.testing.assert_close(batch.source, -batch.target)
    unpaired = DetectorSource(sides(pairs=True))
    assert not unpaired.train.aligned
    assert unpaired.test.aligned
    for _, one in batches(unpaired.test, 4):
        torch.testing.assert_close(one.a, -one.b)


def test_labels_conditions_and_one_side(sides):
    options = {"classes": ["electron", "pion"]}
    adaptation = first(DetectorSource(sides(gives="adaptation", **options)))
    assert isinstance(adaptation, Adaptation)
    torch.testing.assert_close(adaptation.label, numbers_of(adaptation.source) % 2)
    assert (adaptation.target < 0).all()
    source = DetectorSource(sides(gives="conditioned", energy_unit=100.0, **options))
    conditioned = first(source)
    assert isinstance(conditioned, Conditioned)
    assert source.classes == ("electron", "pion")
    expected = torch.log10((numbers_of(conditioned.image) + 1) / 10)[:, None]
    torch.testing.assert_close(conditioned.condition, expected)
    source = DetectorSource(sides(gives="unpaired_energies", energy_unit=100.0))
    assert source.channels == {"a": 2, "b": 2, "energy": 1}
    unpaired = first(source)
    assert isinstance(unpaired, UnpairedEnergies)
    for cells, energy in ((unpaired.a, unpaired.energy_a), (unpaired.b, unpaired.energy_b)):
        torch.testing.assert_close(energy, torch.log10((numbers_of(cells) + 1) / 10)[:, None])
    assert not torch.equal(unpaired.energy_a, unpaired.energy_b)
    images = first(DetectorSource(sides(gives="images")))
    assert isinstance(images, Images)
    assert (images.image > 0).all()
    swapped = first(DetectorSource(sides(gives="labelled", classes=["pion", "electron"])))
    assert isinstance(swapped, Labelled)
    torch.testing.assert_close(swapped.label, 1 - numbers_of(swapped.image) % 2)
    only = sides(gives="images").model_copy(update={"simulation": None})
    assert (first(DetectorSource(only)).image < 0).all()


def test_domains_have_all_labels_and_training_none_of_the_target(sides):
    source = DetectorSource(sides(gives="adaptation", classes=["electron", "pion"]))
    found = source.domains()
    assert [len(domain.images) for domain in found] == [36, 4, 36, 4]
    for domain in found:
        torch.testing.assert_close(domain.labels, numbers_of(domain.images) % 2)
    assert (found.target.images < 0).all()
    with pytest.raises(ConfigError, match="a study needs adaptation"):
        DetectorSource(sides()).domains()


def test_normalisation(sides):
    options = {"kind": "linear", "scale": 0.5, "by_energy": True}
    batch = first(DetectorSource(sides(normalisation=options)))
    torch.testing.assert_close(batch.a, torch.full_like(batch.a, 1 / 1e4 / 0.5))  # n MeV of 10 n GeV
    with pytest.raises(DataError, match="choose symlog"):
        first(DetectorSource(sides(normalisation={"kind": "log"})))


def test_a_folder_of_tiles(tiles):
    config = DetectorConfig(root=tiles, crop=(8, 4), normalisation={"scale": 10.0})
    source = DetectorSource(config)
    assert size_of(config) == (8, 4)
    assert source.test.aligned
    assert source.test.name(1) == "x"
    batch = first(source, 4)
    assert batch.a.shape == (4, 1, 8, 4)
    whole = DetectorSource(DetectorConfig(root=tiles, normalisation={"scale": 10.0}))
    images = whole.train.batch(np.arange(4), np.zeros((4, 3)))[0]
    patches = images.unfold(2, 8, 1).unfold(3, 4, 1).reshape(-1, 8, 4)  # of every place
    assert all((patches == crop).all((1, 2)).any() for crop in batch.a[:, 0])
    ((_, test),) = batches(source.test, 4)
    assert test.a.shape == (4, 1, 16, 16)
    torch.testing.assert_close(test.b, 2 * test.a)
    pairs = first(DetectorSource(DetectorConfig(root=tiles, gives="paired", crop=8)), 4)
    torch.testing.assert_close(pairs.target, 2 * pairs.source)
    back = first(DetectorSource(DetectorConfig(root=tiles, gives="paired", direction="b2a")), 4)
    torch.testing.assert_close(back.source, 2 * back.target)


def test_metrics_are_in_counts(tiles):
    source = DetectorSource(
        DetectorConfig(root=tiles, normalisation={"kind": "symlog", "scale": 50.0, "threshold": 2.0})
    )
    ((_, batch),) = batches(source.test, 4)
    found = source.measure(batch.a, batch.b)
    counts = np.stack([np.load(tiles / "test" / "a" / f"{name}.npz")["arr_0"] for name in "wxyz"]).astype(float)
    np.testing.assert_allclose(found["l1"], np.abs(counts).mean((1, 2)), rtol=1e-4)
    np.testing.assert_allclose(found["l2"], (counts**2).mean((1, 2)), rtol=1e-4)
    picture = source.picture({"a": list(batch.a), "b": list(batch.b)})
    assert picture.size[0] > 200


def test_liquid_argon_tracks(shared):
    root = shared / "slats"
    if not root.is_dir():
        pytest.skip(f"{root} is missing")
    source = DetectorSource(DetectorConfig(root=root, crop=64, normalisation={"kind": "symlog", "scale": 100.0}))
    assert source.describe() == "detector: 100 + 100 training, 58 + 58 test events of 1x256x256 cells"
    assert source.test.aligned
    assert source.test.name(0) == "sample_104_tile_2"
    ((_, batch),) = batches(source.test, 1, 1)
    counts = np.load(root / "test" / "a" / "sample_104_tile_2.npz")["arr_0"]
    np.testing.assert_array_equal(source.config.normalisation.inverse(batch.a.numpy(), dtype=np.int16)[0, 0], counts)


def test_batches_do_not_depend_on_the_workers(sides):
    source = DetectorSource(sides())
    for here, there in zip(first(source), first(source, workers=2), strict=True):
        torch.testing.assert_close(here, there, rtol=0, atol=0)


def test_built_in_showers():
    simulated = {"simulator": CALORIMETER, "count": 60}
    data = {"simulator": CALORIMETER | {"differences": {"gain": 0.5}}, "count": 60}
    config = DetectorConfig(simulation=simulated, data=data, gives="paired", limit=20)
    source = DetectorSource(config)
    assert size_of(config) == (6, 5)
    assert len(source.train) == 20
    batch = first(source)
    torch.testing.assert_close(batch.target, batch.source / 2)
    labelled = DetectorSource(DetectorConfig(simulation=simulated, gives="labelled"))
    assert labelled.classes == ("electron", "pion")
    assert set(first(labelled).label.tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either root, or simulation and data"),
        ({"root": "x", "simulation": {"files": "y"}}, "either root, or simulation and data"),
        ({"simulation": {"files": "y"}}, "unpaired needs both"),
        ({"simulation": {"files": "y"}, "gives": "images", "download": "slats"}, "are of root"),
        ({"root": "x", "augment": [{"name": "Rotate"}]}, "use crop alone"),
        ({"root": "x", "classes": ["electorn"]}, "did you mean 'electron'"),
        (
            {
                "gives": "paired",
                "simulation": {"simulator": CALORIMETER, "seed": 1},
                "data": {"simulator": CALORIMETER, "seed": 2},
            },
            "one seed",
        ),
    ],
)
def test_mistakes_in_the_config(options, message):
    with pytest.raises(ValidationError, match=message):
        DetectorConfig(**options)


def test_mistakes_in_the_data(sides, tiles, tmp_path):
    with pytest.raises(ConfigError, match=r"no multiples of 4.*choose a refiner"):
        DetectorSource(sides(), size_multiple=4)
    with pytest.raises(ConfigError, match=r"data\.crop: 7x7 is larger than the images, 6x5"):
        DetectorSource(sides(crop=7))
    with pytest.raises(ConfigError, match=r"data\.classes: name the particle types"):
        DetectorSource(sides(gives="labelled"))
    with pytest.raises(DataError, match="there are events of pion particles"):
        first(DetectorSource(sides(gives="labelled", classes=["electron"])))
    with pytest.raises(DataError, match=r"expected tiles in train/a and train/b; or set data\.download: slats"):
        DetectorSource(DetectorConfig(root=tmp_path / "nothing"))
    (tiles / "train" / "b" / "w.npz").rename(tiles / "train" / "b" / "v.npz")
    with pytest.raises(DataError, match="tiles of other names"):
        DetectorSource(DetectorConfig(root=tiles, gives="paired"))
    unknown = tmp_path / "unknown.npz"
    write_showers(unknown, [showers(0, 40, particle=False)])
    config = DetectorConfig(simulation={"files": unknown}, gives="labelled", classes=["electron"])
    with pytest.raises(DataError, match="events of unknown particles"):
        first(DetectorSource(config))
