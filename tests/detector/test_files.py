"""Every format: there and back bit by bit, in bounded memory, and what is wrong is named."""

import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import uproot
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from translate.detector.files import FileOptions, open_showers, write_showers
from translate.detector.files.binning import Binning, published
from translate.detector.showers import Showers
from translate.errors import DataError

CALOGAN = ((3, 96), (12, 12), (12, 6))
SLATS = Path(__file__).parents[2] / "../shared/data/slats"
KINDS = {"calogan": "x.h5", "calochallenge": "x.hdf5", "npz": "x.npz", "tiles": "x", "root": "x.root", "fits": "x.fits"}
MIXED = ("calogan", "calochallenge", "root", "fits")  # hold layers of different shapes


def made(count: int, shapes=((4, 5), (4, 5), (4, 5)), dtype=np.float32, seed=0) -> Showers:
    """Sparse events with negative cells, −0, subnormal and extreme values."""
    rng = np.random.default_rng(seed)
    layers = []
    for shape in shapes:
        cells = (rng.exponential(50, (count, *shape)) - 10) * (rng.random((count, *shape)) < 0.2)
        layers.append(cells.astype(dtype))
    if count and np.dtype(dtype).kind == "f":
        layers[0][0].flat[:4] = -0.0, np.finfo(dtype).smallest_subnormal, np.finfo(np.float32).max, 1e-30
    energy = (10 ** rng.uniform(-1, 3, count)).astype(np.float32)
    energy[:1] = np.nan
    return Showers(tuple(layers), energy, rng.integers(-1, 5, count))


def chunked(showers: Showers, size: int) -> Iterator[Showers]:
    for start in range(0, showers.count(), size):
        yield showers.take(slice(start, start + size))


def assert_same_bits(found: Showers, expected: Showers) -> None:
    assert len(found.layers) == len(expected.layers)
    pairs = [*zip(found.layers, expected.layers, strict=True), (found.energy, expected.energy)]
    for a, b in [*pairs, (found.particle, expected.particle)]:
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back_bit_by_bit(tmp_path, kind, dtype):
    showers, path = made(23, CALOGAN if kind in MIXED else ((4, 5),) * 3, dtype), tmp_path / KINDS[kind]
    options = FileOptions(kind=kind, unit="ADC" if dtype == np.int16 else None)
    assert write_showers(path, chunked(showers, 7), options) == 23
    assert [child.name for child in tmp_path.iterdir()] == [path.name]
    with open_showers(path) as file:
        assert (file.kind, len(file), file.shapes[0]) == (kind, 23, showers.layers[0].shape[1:])
        assert file.units == ("ADC" if dtype == np.int16 else "MeV",) * 3
        assert_same_bits(file.read(0, 23), showers)
        assert_same_bits(file.read(20, 99), showers.take(slice(20, 23)))
        assert_same_bits(file.read(3, 8), showers.take(slice(3, 8)))  # backwards, too
        assert [chunk.count() for chunk in file.chunks(10)] == [10, 10, 3]
        assert file.read(5, 5).count() == 0


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(sorted(KINDS)),
    bits=st.lists(st.integers(0, 2**32 - 1), min_size=12, max_size=12),
    energies=st.lists(st.floats(2**-40, 2**40, width=32), min_size=2, max_size=2),
)
def test_any_float_comes_back(tmp_path, kind, bits, energies):
    cells = np.array(bits, np.uint32).view(np.float32).reshape(2, 1, 2, 3)
    cells = np.where(np.isfinite(cells), cells, np.float32(1))
    showers = Showers.of(cells, np.array(energies, np.float32), np.array([0, 2]))
    folder = tmp_path / kind
    folder.mkdir(exist_ok=True)
    for old in folder.rglob("*.npz"):
        old.unlink()
    if (folder / KINDS[kind]).is_dir():
        (folder / KINDS[kind]).rmdir()
    write_showers(folder / KINDS[kind], [showers], FileOptions(kind=kind))
    with open_showers(folder / KINDS[kind]) as file:
        found = file.read(0, 2)
    assert_same_bits(found._replace(particle=showers.particle), showers)


@pytest.mark.parametrize("sparse", [True, False])
def test_root_in_both_layouts(tmp_path, sparse):
    showers = made(9, CALOGAN)
    write_showers(tmp_path / "x.root", chunked(showers, 4), FileOptions(sparse=sparse))
    with uproot.open(tmp_path / "x.root") as file:
        assert ("cell_503" in file["showers"]) != sparse
    with open_showers(tmp_path / "x.root") as file:
        assert_same_bits(file.read(0, 9), showers)


@pytest.mark.parametrize("kind", ["calogan", "calochallenge", "npz", "fits", "root"])
def test_memory_is_bounded(tmp_path, kind):
    """12 MB in chunks of 0.25 MB."""
    size, path = 64, tmp_path / KINDS[kind]
    one = made(size, ((32, 32),))

    def chunks() -> Iterator[Showers]:
        for _ in range(48):
            yield one

    tracemalloc.start()
    write_showers(path, chunks(), FileOptions(kind=kind))
    written = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    with open_showers(path) as file:
        assert sum(chunk.count() for chunk in file.chunks(size)) == 48 * size
    read = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert written < 4e6
    assert read < 4e6


def test_a_published_calogan_file(tmp_path):
    """No units, float64, energies as [N, 1], overflow; a cell is 480 mm / cells wide."""
    showers = made(6, CALOGAN, np.float64)
    path = tmp_path / "eplus.hdf5"
    energy = np.array([[1.0], [5], [20], [50], [90], [100]])
    with h5py.File(path, "w") as file:
        for place, layer in enumerate(showers.layers):
            file[f"layer_{place}"] = np.abs(layer.clip(0, 500))
        file["energy"], file["overflow"] = energy, np.zeros((6, 3))
    with open_showers(path) as file:
        found = file.read(0, 6)
        assert file.units == ("MeV",) * 3
        assert file.length_unit == "mm"
        np.testing.assert_allclose(file.positions[0][0, 0, [0, -1]], [-237.5, 237.5])  # 96 strips of 5 mm
        np.testing.assert_allclose(file.positions[2][0, 0, :2], [-200, -120])  # 6 of 80 mm
        np.testing.assert_allclose(file.positions[0][1, :, 0], [-160, 0, 160])
    np.testing.assert_array_equal(found.energy, energy[:, 0].astype(np.float32))
    np.testing.assert_array_equal(found.particle, -1)


def test_units_are_converted(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["layer_0"], file["layer_1"] = np.full((2, 1, 2), 0.25, "f4"), np.full((2, 1, 2), 1500, "i4")
        file["energy"] = np.array([2000.0, 1e5])
        file["layer_0"].attrs["unit"], file["layer_1"].attrs["units"] = "GeV", b"keV"
        file["energy"].attrs["unit"] = "MeV"
    with open_showers(path) as file:
        found = file.read(0, 2)
    np.testing.assert_array_equal(found.layers[0], np.full((2, 1, 2), 250, "f4"))
    np.testing.assert_array_equal(found.layers[1], np.full((2, 1, 2), 1.5, "f4"))
    np.testing.assert_array_equal(found.energy, np.array([2, 100], "f4"))
    assert {layer.dtype for layer in found.layers} == {np.dtype("f4")}


def test_calochallenge_voxels_are_layers_of_alpha_and_r(tmp_path):
    assert {size: binning.particle for size, binning in published().items()} == {
        368: "photon",
        533: "pion",
        6480: "electron",
        40500: "electron",
    }
    path = tmp_path / "dataset_2.hdf5"
    voxel = np.arange(6480, dtype=np.float32)[None] * 1e-3
    with h5py.File(path, "w") as file:
        file["showers"], file["incident_energies"] = voxel, np.array([[65536.0]])
    with open_showers(path) as file:
        found = file.read(0, 1)
        x, y = file.positions[0]
    assert (file.kind, len(found.layers), found.layers[0].shape) == ("calochallenge", 45, (1, 16, 9))
    assert found.layers[2][0, 3, 4] == voxel[0, 2 * 144 + 3 * 9 + 4]
    assert found.energy[0] == np.float32(65.536)
    assert found.particle[0] == 0
    np.testing.assert_allclose(np.hypot(x, y)[5], 4.65 * (np.arange(9) + 0.5))
    np.testing.assert_allclose(np.arctan2(y, x)[:, 8], -np.pi + (np.arange(16) + 0.5) * np.pi / 8)


def test_binning_from_xml(tmp_path):
    xml, path = tmp_path / "binning.xml", tmp_path / "x.hdf5"
    xml.write_text(
        '<Bins><Bin pid="211" name="pion"><Layer id="0" r_edges="0,1,3" n_bin_alpha="2" />'
        '<Layer id="1" r_edges="0" n_bin_alpha="1"/><Layer id="2" r_edges="0,2" n_bin_alpha="1" /></Bin></Bins>'
    )
    with h5py.File(path, "w") as file:
        file["showers"], file["incident_energies"] = np.ones((3, 5), "f4"), np.full((3, 1), 20.0)
    with open_showers(path, FileOptions(binning=xml)) as file:
        assert (file.shapes, file.read(0, 3).particle[0]) == (((2, 2), (1, 1)), 2)
    with pytest.raises(DataError, match=r"showers: 5 voxels are no published binning .*give `binning`"):
        open_showers(path)
    with h5py.File(path, "a") as file:
        del file["showers"]
        file["showers"] = np.ones((3, 6), "f4")
    with pytest.raises(DataError, match=r"showers: has 6 voxels where .*binning.xml has 5 bins"):
        open_showers(path, FileOptions(binning=xml))
    for text in ("<Bins", "<Bins/>", "<Bins><Bin><Layer r_edges='0,2,1' n_bin_alpha='1'/></Bin></Bins>"):
        xml.write_text(text)
        with pytest.raises(DataError, match=r"binning.xml: is no binning"):
            Binning.read(xml)


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((5, 9, 9, 2), None, (2, 9, 9)),
        ((5, 2, 9, 9), None, (2, 9, 9)),
        ((5, 9, 7, 9), "NLHW", (9, 7, 9)),
        ((5, 9, 9), None, (1, 9, 9)),
    ],
)
def test_where_the_layers_of_an_npz_are(tmp_path, shape, layout, expected):
    maps = np.random.default_rng(0).random(shape, np.float32)
    np.savez_compressed(tmp_path / "x.npz", shower_maps=maps, energy=np.full(5, 0.1))
    with open_showers(tmp_path / "x.npz", FileOptions(layout=layout, unit="MeV")) as file:
        found = file.read(1, 4)
    assert (len(found.layers), *found.layers[0].shape[1:]) == expected
    expected_cells = {
        2: maps[..., :1],
        9: maps[:, 0, :, :, None] if len(shape) == 4 else maps[..., None],
        1: maps[..., None],
    }
    if shape[1] == 2:
        expected_cells[2] = maps[:, 0, :, :, None]
    np.testing.assert_array_equal(found.layers[0], expected_cells[expected[0]][1:4, ..., 0])


@pytest.mark.skipif(not SLATS.is_dir(), reason=f"{SLATS} is not there")
def test_tiles_of_slats():
    with open_showers(SLATS / "test/a") as file:
        found = file.read(0, 3)
        assert (file.kind, file.units, file.shapes) == ("tiles", ("ADC",), ((256, 256),))
        first = np.load(file.files[0])["arr_0"]
    assert found.layers[0].dtype == np.int16
    assert found.layers[0].min() < 0
    np.testing.assert_array_equal(found.layers[0][0], first)
    with open_showers(file.files[0]) as one:
        np.testing.assert_array_equal(one.read(0, 1).layers[0][0], first)


def test_a_fits_picture_and_a_cube_of_cubes(tmp_path):
    cube = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)
    for data, shape in ((cube, (2, 3)), (cube[0], (3, 1)), (cube[0, 0], (1, 1))):
        fits.PrimaryHDU(data).writeto(tmp_path / "x.fits", overwrite=True)
        with open_showers(tmp_path / "x.fits") as file:
            found = file.read(0, 9)
            assert (len(file), len(file.shapes)) == shape
        np.testing.assert_array_equal(np.stack(found.layers, 1).squeeze(), data)


def test_foreign_root_trees(tmp_path):
    path = tmp_path / "x.root"
    with uproot.recreate(path) as file:
        tree = file.mktree("hits", {"id": "var * int64", "edep": "var * float64", "E0": "f8"})
        tree.extend({"id": [[0, 5, 5], []], "edep": [[1.0, 2, 3], []], "E0": np.array([0.01, 0.02])})
        cells = file.mktree("fancy", {f"cell_{place}": "f4" for place in range(507)} | {"TotalEnergy": "f8"})
        cells.extend(
            {f"cell_{place}": np.full(2, place, "f4") for place in range(507)} | {"TotalEnergy": np.array([50.0, 60])}
        )
    names = {"index": "id", "value": "edep", "energy": "E0"}
    with open_showers(path, FileOptions(tree="hits", branches=names, shapes=((2, 3),))) as file:
        found = file.read(0, 2)
    np.testing.assert_array_equal(found.layers[0], [[[1, 0, 0], [0, 0, 5]], np.zeros((2, 3))])  # two hits are added
    with open_showers(path, FileOptions(tree="fancy")) as file:
        found = file.read(0, 2)
        assert file.shapes == CALOGAN
    assert (found.layers[1][0, 0, 0], found.layers[2][1, 11, 5]) == (288, 503)
    np.testing.assert_array_equal(found.energy, np.array([50, 60], "f4"))
    with pytest.raises(DataError, match=r"unknown tree ''; known: fancy, hits; give `tree`"):
        open_showers(path)
    short = FileOptions(tree="hits", branches=names, shapes=((2, 2),))
    with pytest.raises(DataError, match=r"hits/id: cells 0 to 5, but .* has 4"), open_showers(path, short) as file:
        file.read(0, 2)
    with pytest.raises(DataError, match=r"fancy: has 507 branches cell_…, layers \[\(2, 3\)\] 6 cells"):
        open_showers(path, FileOptions(tree="fancy", shapes=((2, 3),)))


def test_units_that_are_wrong(tmp_path):
    path = tmp_path / "x.h5"

    def written(unit: str | None, energy_unit: str | None = None, scale: float = 1.0) -> None:
        with h5py.File(path, "w") as file:
            file["layer_0"], file["energy"] = np.full((10, 2, 2), 2500 * scale), np.full((10, 1), 10.0)
            for name, value in (("layer_0", unit), ("energy", energy_unit)):
                if value is not None:
                    file[name].attrs["unit"] = value

    written("gev")
    with pytest.raises(DataError, match=r"x.h5: layer_0: unknown unit 'gev'; known: 1, ADC, GeV"):
        open_showers(path)
    written("MeV")
    with pytest.raises(DataError, match="layer_0: the file says MeV, `unit` says GeV"):
        open_showers(path, FileOptions(unit="GeV"))
    with pytest.raises(DataError, match="unit: 2 were given, but the file has 1 layers"):
        open_showers(path, FileOptions(unit=("MeV", "ns")))
    written("MeV", "ADC")
    with pytest.raises(DataError, match="energy: 'ADC' is no unit of energy"):
        open_showers(path)
    for scale, median in ((1e-4, "0.0001"), (1e3, "1e\\+03")):  # GeV taken for MeV, MeV for GeV
        written(None, scale=scale)
        with pytest.raises(DataError, match=f"layer_0: says no unit, .* {median} times the energy in GeV; give `unit`"):
            open_showers(path)
    assert open_showers(path, FileOptions(unit="keV")).read(0, 1).layers[0][0, 0, 0] == 2500
    with pytest.raises(DataError, match="unit: energies are written in MeV, not in GeV"):
        write_showers(tmp_path / "y.h5", [made(2)], FileOptions(unit="GeV"))


def test_shapes_that_are_wrong(tmp_path):
    path = tmp_path / "x.h5"

    def written(**datasets: np.ndarray) -> Path:
        with h5py.File(path, "w") as file:
            for name, value in datasets.items():
                file[name] = value
        return path

    cases = [
        ({"layer_0": np.ones((5, 2))}, r"layer_0: is float64 \[5, 2\]; a layer is numbers \[events, height, width\]"),
        ({"layer_0": np.ones((5, 2, 2)), "layer_1": np.ones((4, 2, 2))}, "layer_1: has 4 events where others have 5"),
        (
            {"layer_0": np.ones((5, 2, 2)), "layer_2": np.ones((5, 2, 2))},
            "layer_1: is missing; the file has layer_0, layer_2",
        ),
        ({"layer_0": np.ones((5, 2, 2)), "energy": np.ones((5, 3))}, r"energy: is \[5, 3\]; with 5 events"),
        ({"showers": np.ones((5, 2, 2))}, "showers: is float64 .*expected numbers"),
        ({"pictures": np.ones((5, 2, 2))}, r"neither 'layer_0', .* nor 'showers' \(CaloChallenge\), but pictures"),
        ({"layer_0": np.array([[[1.0, np.nan]]])}, "layer_0: event 0 is not finite"),
    ]
    for datasets, message in cases:
        with pytest.raises(DataError, match=message), open_showers(written(**datasets)) as file:
            file.read(0, 1)
    for arrays, message in [
        ({"x": np.ones(3)}, "neither shower_maps nor arr_0, but x"),
        ({"shower_maps": np.ones(3)}, r"shower_maps: is float64 \[3\]"),
        ({"shower_maps": np.ones((3, 4, 4)), "energy": np.ones(2)}, r"energy: is \[2\]; with 3 events"),
        ({"shower_maps": np.ones((3, 4, 4, 4))}, r"shower_maps: where the layers of \[3, 4, 4, 4\] are cannot be told"),
        ({"shower_maps": np.array([[object()]])}, "shower_maps: holds Python objects"),
    ]:
        np.savez(tmp_path / "x.npz", **arrays)
        with pytest.raises(DataError, match=message):
            open_showers(tmp_path / "x.npz")
    fits.PrimaryHDU(np.ones(7, "f4")).writeto(tmp_path / "x.fits")
    with pytest.raises(DataError, match="has no image"):
        open_showers(tmp_path / "x.fits")
    for first, kind, message in [
        (made(2, ((2, 3), (3, 2))), "npz", "layers differ in shape"),
        (Showers.of(np.ones((2, 1, 2, 2), np.float16)), "fits", "FITS has no float16"),
    ]:
        with pytest.raises(DataError, match=message):
            write_showers(tmp_path / "y", [first], FileOptions(kind=kind))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "tiles"])
def test_a_file_that_is_cut(tmp_path, kind):
    path = tmp_path / KINDS[kind]
    write_showers(path, [made(200)], FileOptions(kind=kind))
    whole = path.read_bytes()
    for share in (0.0, 0.3, 0.9):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DataError, match=r"x\.\w+: .*(copy it again|has no image)"), open_showers(path) as file:
            file.read(0, 200)


@pytest.mark.parametrize(
    ("kind", "place"), [("calogan", "layer_0"), ("calochallenge", "showers"), ("root", "showers/hit_value")]
)
def test_damage_inside_is_named(tmp_path, kind, place):
    """The compressed values are overwritten; a checksum, or the unpacking, finds it."""
    path = tmp_path / KINDS[kind]
    showers = made(300, ((20, 20),))
    write_showers(path, [showers], FileOptions(kind=kind))
    data = bytearray(path.read_bytes())
    middle = slice(int(0.3 * len(data)), int(0.7 * len(data)))
    data[middle] = np.random.default_rng(0).bytes(len(data[middle]))
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"{place}: cannot be read \(.*copy it again"), open_showers(path) as file:
        file.read(0, 300)


def test_a_compressed_npz_that_is_damaged(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, shower_maps=np.random.default_rng(0).random((50, 8, 8)))
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("shower_maps.npy").header_offset
    data = bytearray(path.read_bytes())
    data[start + 500 : start + 900] = bytes(400)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"shower_maps: cannot be read"), open_showers(path) as file:
        file.read(0, 50)


def test_writing_leaves_the_whole_file_or_none(tmp_path):
    path = tmp_path / "x.h5"

    def broken() -> Iterator[Showers]:
        yield made(3)
        raise RuntimeError("the generator fell over")

    with pytest.raises(RuntimeError, match="fell over"):
        write_showers(path, broken())
    assert list(tmp_path.iterdir()) == []
    write_showers(path, [made(3)])
    with pytest.raises(DataError, match="after 3 events layers change"):
        write_showers(path, [made(3), made(2, ((1, 2),))])
    assert len(open_showers(path)) == 3  # the one before is still there
    with pytest.raises(DataError, match="there are no showers to write"):
        write_showers(path, [])
    with pytest.raises(DataError, match=r"unknown suffix '.h6' \(did you mean '.h5'\?\)"):
        write_showers(tmp_path / "x.h6", [made(1)])
    with pytest.raises(DataError, match="there is no such file"):
        open_showers(tmp_path / "none.h5")
    with pytest.raises(DataError, match=r"has no .npz files"):
        open_showers(tmp_path)
