"""Files of detector images through networks: what comes out is what the network says of each event, in its own units."""

import shutil

import numpy as np
import pytest
import torch
import yaml

from translate.cli import main
from translate.detector.files import FileOptions, open_showers, write_showers
from translate.detector.normalisation import Normalisation
from translate.detector.showers import PARTICLES, Showers
from translate.errors import DataError, ModelError
from translate.inference.export import export
from translate.inference.networks import load_networks
from translate.inference.session import open_session
from translate.inference.showers import generate, make, refine
from translate.inference.translator import Translator
from translate.training.start import train

COMMON = {"schedule": {"kind": "constant", "epochs": 1}, "log": {"every": 50}, "doctor": False}
SIDE = {"simulator": {"kind": "calorimeter", "layers": 2, "cells": [6, 5]}, "count": 32}


def trained(folder, **written):
    """The run folder of one step."""
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(COMMON | written))
    train(str(config), out=folder / "run", steps=1)
    return folder / "run"


@pytest.fixture(scope="module")
def refiner(tmp_path_factory):
    """Of 2 layers, with noise."""
    recipe = {
        "kind": "refiner",
        "generator": {"width": 4, "blocks": 1, "compress": 5.0, "noise": 1},
        "discriminator": {"kind": "shower", "width": 2},
        "discriminator_updates": 1,
    }
    data = {"kind": "detector", "simulation": SIDE, "data": SIDE, "normalisation": {"scale": 10.0}, "batch_size": 8}
    run = trained(tmp_path_factory.mktemp("refiner"), recipe=recipe, data=data)
    path = run / "checkpoints" / "last.pt"
    state = torch.load(path, weights_only=True)
    for key in ("refiner.last.weight", "refiner.last.bias"):  # an effect that is seen
        state["recipe"][key] = state["recipe"][key] + 0.05
    torch.save(state, path)
    return run


@pytest.fixture(scope="module")
def cyclegan(tmp_path_factory):
    """Of signed tiles, in symlog."""
    folder = tmp_path_factory.mktemp("cyclegan")
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for side in "ab":
            (folder / "tiles" / part / side).mkdir(parents=True)
            for name in "xyz":
                tile = rng.integers(-100, 100, (16, 16)).astype(np.int16) * (rng.random((16, 16)) < 0.2)
                np.savez(folder / "tiles" / part / side / f"{name}.npz", tile)
    recipe = {
        "kind": "cyclegan",
        "generator": {"kind": "resnet", "width": 2, "blocks": 1, "norm": "none", "output": "linear"},
        "discriminator": {"kind": "patchgan", "width": 2, "layers": 1, "norm": "none"},
    }
    symlog = {"kind": "symlog", "scale": 20.0, "threshold": 2.0}
    data = {"kind": "detector", "root": str(folder / "tiles"), "normalisation": symlog}
    return trained(folder, recipe=recipe, data=data), folder / "tiles"


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    recipe = {
        "kind": "shower_gan",
        "generator": {"latent": 3, "width": 4, "compress": 0.001},
        "discriminator": {"width": 2},
        "discriminator_updates": 1,
    }
    data = {
        "kind": "detector",
        "gives": "conditioned",
        "simulation": SIDE,
        "normalisation": {"scale": 0.01, "by_energy": True},
        "energy_unit": 20.0,
        "batch_size": 8,
    }
    return trained(tmp_path_factory.mktemp("generator"), recipe=recipe, data=data)


@pytest.fixture
def showers(tmp_path):
    rng = np.random.default_rng(1)
    cells = rng.exponential(50, (40, 2, 6, 5)).astype(np.float32) * (rng.random((40, 2, 6, 5)) < 0.4)
    made = Showers.of(cells, rng.uniform(10, 100, 40), np.arange(40) % 3)
    write_showers(tmp_path / "in.h5", [made])
    return made, tmp_path / "in.h5"


def test_each_event_in_its_units(refiner, showers, tmp_path):
    made, path = showers
    assert refine(path, tmp_path / "out.h5", refiner, seed=3) == 40
    deployed = load_networks(refiner)["refiner"]
    assert deployed.card.normalisation["scale"] == 10.0
    assert deployed.card.noise
    with open_showers(tmp_path / "out.h5") as file:
        found = file.read(0, 40)
    np.testing.assert_array_equal(found.energy, made.energy)
    session = open_session(refiner, precision="fp32")
    inputs = {"image": made.cells / np.float32(10), "seed": 3 + np.arange(40)}
    np.testing.assert_allclose(found.cells, 10 * session.run(inputs), rtol=1e-4, atol=1e-3)
    assert not np.allclose(found.cells, made.cells, rtol=0.01)
    assert found.cells.min() >= 0


def test_chunks_and_batches_change_nothing(refiner, showers, tmp_path, monkeypatch):
    _, path = showers
    refine(path, tmp_path / "whole.npz", refiner)
    monkeypatch.setattr("translate.inference.showers.CELLS", 7 * 60)
    monkeypatch.setattr("translate.detector.files.base.CHUNK", 11 * 8 * 60)
    refine(path, tmp_path / "pieces.npz", refiner)
    whole, pieces = (open_showers(tmp_path / f"{name}.npz").read(0, 40) for name in ("whole", "pieces"))
    np.testing.assert_allclose(whole.cells, pieces.cells, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(whole.particle, pieces.particle)


def test_an_exported_refiner_does_the_same(refiner, showers, tmp_path):
    _, path = showers
    (onnx,) = export(refiner, tmp_path / "export", noise=True)
    refine(path, tmp_path / "torch.h5", refiner, seed=5)
    refine(path, tmp_path / "onnx.h5", onnx, seed=5)
    first, second = (open_showers(tmp_path / f"{name}.h5").read(0, 40) for name in ("torch", "onnx"))
    np.testing.assert_allclose(first.cells, second.cells, rtol=1e-3, atol=0.01)


def test_a_refiner_that_knows_each_cell_takes_its_own_size_and_has_its_gains(refiner, showers, tmp_path):
    recipe = {
        "kind": "refiner",
        "generator": {"width": 4, "blocks": 1, "compress": 5.0, "mix": 3, "each_cell": True},
        "discriminator": {"kind": "shower", "width": 2, "each_cell": True},
        "discriminator_updates": 1,
        "calibrate": True,
    }
    data = {"kind": "detector", "gives": "unpaired_energies", "simulation": SIDE, "data": SIDE, "batch_size": 8}
    run = trained(tmp_path, recipe=recipe, data=data)
    last = run / "checkpoints" / "last.pt"
    state = torch.load(last, weights_only=True)
    state["recipe"]["refiner.gain"] = torch.tensor([2.0, 0.5])[:, None, None]
    torch.save(state, last)
    card = load_networks(run)["refiner"].card
    assert (card.one_size, card.trained_size) == (True, (6, 5))
    assert not load_networks(refiner)["refiner"].card.one_size
    made, path = showers
    (onnx,) = export(run, tmp_path / "export")
    refine(path, tmp_path / "torch.h5", run)
    refine(path, tmp_path / "onnx.h5", onnx)
    first, second = (open_showers(tmp_path / f"{name}.h5").read(0, 40) for name in ("torch", "onnx"))
    np.testing.assert_allclose(first.cells, second.cells, rtol=1e-3, atol=0.01)
    gains = first.cells.sum((0, 2, 3)) / made.cells.sum((0, 2, 3))
    np.testing.assert_allclose(gains, [2.0, 0.5], rtol=0.1)  # of a network that does nothing else yet
    other = np.zeros((3, 2, 5, 6), np.float32)
    for model in (run, onnx):
        with pytest.raises(ModelError, match=r"image must be float32 \[N, 2, 6, 5\].*not float32 \[3, 2, 5, 6\]"):
            open_session(model, precision="fp32").run({"image": other})
    write_showers(tmp_path / "other.npz", [Showers.of(other, np.ones(3), np.zeros(3, int))])
    with pytest.raises(ModelError, match=r"run: takes 2 6x5 layers of cells; .*other\.npz has 5x6, 5x6"):
        refine(tmp_path / "other.npz", tmp_path / "out.npz", run)
    assert not (tmp_path / "out.npz").exists()


def test_signed_tiles_stay_whole_counts(cyclegan, tmp_path):
    run, tiles = cyclegan
    arguments = ["refine", str(tiles / "test" / "a"), str(tmp_path / "out"), "--model", str(run), "--direction", "a2b"]
    assert main(arguments) == 0
    with open_showers(tmp_path / "out") as file:
        found = file.read(0, 3).cells
    assert found.dtype == np.int16
    normalisation = Normalisation.model_validate(load_networks(run)["a2b"].card.normalisation)
    with open_showers(tiles / "test" / "a") as file:
        counts = file.read(0, 3).cells
    output = open_session(run, direction="a2b", precision="fp32").run({"image": normalisation.forward(counts)})
    np.testing.assert_array_equal(found, normalisation.inverse(output, dtype=np.int16))


def test_counts_that_do_not_fit(cyclegan, tmp_path):
    run, _ = cyclegan
    path = run / "checkpoints" / "last.pt"
    state = torch.load(path, weights_only=True)
    last = [key for key in state["recipe"] if key.startswith("a2b.") and key.endswith(".bias")][-1]
    state["recipe"][last] += 20
    torch.save(state, tmp_path / "model.pt")
    np.savez(tmp_path / "in.npz", np.zeros((1, 16, 16), np.int16))
    with pytest.raises(DataError, match="do not fit into int16; save the file as floats"):
        refine(tmp_path / "in.npz", tmp_path / "out.npz", tmp_path / "model.pt", direction="a2b")
    assert not (tmp_path / "out.npz").exists()


def test_generated_showers(generator, tmp_path, capsys):
    out = tmp_path / "made.npz"
    assert main(["generate", str(generator), str(out), "--count", "50", "--energy", "20", "40", "--seed", "1"]) == 0
    assert "50 showers" in capsys.readouterr().out
    with open_showers(out) as file:
        found = file.read(0, 50)
    assert found.cells.shape == (50, 2, 6, 5)
    assert found.cells.min() >= 0
    assert 20 <= found.energy.min() < 25 < 35 < found.energy.max() <= 40
    assert found.particle.tolist() == [PARTICLES.index(name) for name in ("electron", "pion")] * 25
    generate(generator, tmp_path / "pions.npz", 10, energy=(30, 30), particle="pion")
    pions = open_showers(tmp_path / "pions.npz").read(0, 10)
    assert set(pions.particle.tolist()) == {PARTICLES.index("pion")}
    assert set(pions.energy.tolist()) == {30}
    assert not np.array_equal(pions.cells[0], pions.cells[1])


def test_generated_footprints_are_signals_and_times(tmp_path):
    recipe = {
        "kind": "shower_gan",
        "generator": {"latent": 3, "width": 4, "compress": 0.05, "signed": [1], "suppress": 0.03},
        "discriminator": {"width": 2},
        "discriminator_updates": 1,
    }
    simulation = {"simulator": {"kind": "airshower", "stations": 5}, "count": 32}
    normalisation = {"scale": [100.0, 1000.0]}
    data = {"kind": "detector", "gives": "conditioned", "simulation": simulation, "normalisation": normalisation}
    run = trained(tmp_path, recipe=recipe, data=data | {"batch_size": 8})
    (onnx,) = export(run, tmp_path / "export")
    for model in (run, onnx):
        generate(model, tmp_path / "made.h5", 6, energy=(1e10, 1e10))
        with open_showers(tmp_path / "made.h5") as file:
            assert file.units == ("VEM", "ns")
            assert file.read(0, 6).cells.shape == (6, 2, 5, 5)


def test_an_exported_generator_of_large_cells_does_the_same(generator, tmp_path):
    """Rounding of cells of 10⁴ is more than 10⁻⁴ of a unit, and no fault of the graph."""
    run = shutil.copytree(generator, tmp_path / "run")
    path = run / "checkpoints" / "last.pt"
    state = torch.load(path, weights_only=True)
    state["recipe"]["generator.energies.scale"] *= 300
    torch.save(state, path)
    (onnx,) = export(run, tmp_path / "export")
    first, second = (
        make(open_session(model, precision="fp32"), np.full(20, 30, np.float32), np.arange(20) % 2, seed=1)
        for model in (run, onnx)
    )
    assert first.cells.max() > 1e6  # MeV
    np.testing.assert_allclose(first.cells, second.cells, rtol=1e-4, atol=1e-6 * first.cells.max())


def test_a_generated_shower_is_that_of_its_energy(generator):
    """Cells are shares of the incident energy: the generator's output times scale times E."""
    session = open_session(generator, precision="fp32")
    energy, label = np.array([20.0, 50.0], np.float32), np.array([0, 1])
    showers = make(session, energy, label, seed=2)
    noise = np.random.default_rng((2, 1)).standard_normal((2, 3), np.float32)
    latent = np.concatenate([noise, np.log10(energy / 20)[:, None]], 1).astype(np.float32)
    images = session.run({"latent": latent, "label": label})
    np.testing.assert_allclose(showers.cells, images * 0.01 * 1000 * energy[:, None, None, None], rtol=1e-5)


def test_a_normalisation_of_later_versions_is_named(generator):
    session = open_session(generator, precision="fp32")
    session.card = session.card.replace(normalisation={"kind": "logit"})
    with pytest.raises(ModelError, match=r"its normalisation: kind: .*'linear', 'log' or 'symlog' \(got 'logit'\)"):
        make(session, np.array([20.0], np.float32), np.array([0]), seed=2)


def test_mistakes(refiner, generator, cyclegan, showers, tmp_path, capsys):
    _, path = showers
    with pytest.raises(ModelError, match="use translate generate"):
        refine(path, tmp_path / "out.h5", generator)
    with pytest.raises(ModelError, match="use translate refine"):
        generate(refiner, tmp_path / "out.h5", 1, energy=(1, 2))
    with pytest.raises(ModelError, match="did you mean 'pion'"):
        generate(generator, tmp_path / "out.h5", 1, energy=(1, 2), particle="poin")
    with pytest.raises(ModelError, match="0 < LOW <= HIGH"):
        generate(generator, tmp_path / "out.h5", 1, energy=(2, 1))
    with pytest.raises(ModelError, match=r"takes 1 equal layers of cells; .* has 6x5, 6x5"):
        refine(path, tmp_path / "out.h5", cyclegan[0], direction="a2b")
    tiles = cyclegan[1] / "test" / "a"
    np.savez(tmp_path / "counts.npz", np.zeros((12, 2, 6, 5), np.int16))
    with pytest.raises(DataError, match=r"counts.npz: has cells in ADC, ADC, but .* takes MeV, MeV; .* give --unit"):
        refine(tmp_path / "counts.npz", tmp_path / "out.h5", refiner)
    assert refine(tiles, tmp_path / "tiles", cyclegan[0], direction="b2a", options=FileOptions(unit="ADC")) == 3
    with pytest.raises(ModelError, match="for detector images, not for pictures"):
        Translator.load(refiner)
    assert main(["refine", str(tmp_path / "nothing.h5"), str(tmp_path / "o.h5"), "--model", str(refiner)]) == 2
    assert "no such file" in capsys.readouterr().err


def test_the_kind_of_the_file_is_kept(refiner, showers, tmp_path):
    made, _ = showers
    write_showers(tmp_path / "in.root", [made])
    refine(tmp_path / "in.root", tmp_path / "out.root", refiner, options=FileOptions())
    with open_showers(tmp_path / "out.root") as file:
        assert (file.kind, len(file)) == ("root", 40)
