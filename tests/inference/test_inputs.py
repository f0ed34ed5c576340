import os
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from translate.errors import ConfigError, DataError, ImageError
from translate.inference.inputs import Inputs, Item, Reader, find, renamed


@pytest.fixture
def root(tmp_path) -> Path:
    """Files without content; only names matter for listing."""
    for name in (
        "b.png",
        "a.JPG",
        "notes.txt",
        ".hidden.png",
        "sub/c.tif",
        "sub/deep/d.png",
        ".git/e.png",
        "__MACOSX/f.png",
    ):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "in"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def names(text, output="/nowhere/else", **options) -> list[str]:
    return list(find(str(text), Path(output), "keep", recursive=options.get("recursive", False)).names)


def items(path: Path, format="keep") -> list[Item]:
    return list(Inputs(path.parent, [path.name], format))


def read(item: Item) -> np.ndarray:
    return Reader((0.0, 1.0))(item)


# Listing


def test_folders(root):
    assert names(root) == ["a.JPG", "b.png"]
    assert names(root, recursive=True) == ["a.JPG", "b.png", "sub/c.tif", "sub/deep/d.png"]


def test_a_file_is_taken_whatever_it_is_called(root):
    assert names(root / "notes.txt") == ["notes.txt"]
    assert names(root / ".hidden.png") == [".hidden.png"]


def test_globs(root, monkeypatch):
    assert names(root / "*.png") == ["b.png"]
    assert names(root / "*") == ["a.JPG", "b.png"]
    assert names(root / "**/*.png") == ["b.png", "sub/deep/d.png"]
    assert names(root / "s?b/[cd].tif") == ["s?b/[cd].tif".replace("s?b", "sub").replace("[cd]", "c")]
    monkeypatch.chdir(root)
    assert names("*.png") == ["b.png"]
    found = find("sub/*.tif", Path("/nowhere/else"), "keep", recursive=False)
    assert (found.root, found.names) == (Path("sub"), ["c.tif"])


def test_a_name_that_looks_like_a_glob(root):
    (root / "x[1].png").touch()
    assert names(root / "x[1].png") == ["x[1].png"]


def test_a_bad_pattern(root):
    with pytest.raises(DataError, match="cannot be looked for"):
        names(root / "a**/x.png")


def test_links_to_folders_are_not_followed(root):
    (root / "loop").symlink_to(root)
    (root / "self.png").symlink_to(root / "self.png")
    assert names(root, recursive=True) == ["a.JPG", "b.png", "self.png", "sub/c.tif", "sub/deep/d.png"]
    assert names(root / "**/*.tif") == ["sub/c.tif"]


def test_a_folder_that_cannot_be_listed_is_named(root, monkeypatch):
    scan = os.scandir

    def deny(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", deny)
    found = find(str(root), Path("/nowhere/else"), "keep", recursive=True)
    assert found.total == 3
    first, *rest = found
    assert first.name == "sub"
    assert "Permission denied" in first.error
    assert [item.name for item in rest] == ["a.JPG", "b.png"]
    with pytest.raises(DataError, match="cannot be listed"):
        names(root / "sub")


def test_outputs_are_no_inputs(root):
    assert names(root, output=root / "sub", recursive=True) == ["a.JPG", "b.png"]
    assert names(root / "**/*", output=root / "sub/deep") == ["a.JPG", "b.png", "sub/c.tif"]
    assert names(root / "b.png", output=root / "sub") == ["b.png"]
    (root / "link").symlink_to(root / "sub/deep")
    assert names(root, output=root / "link", recursive=True) == ["a.JPG", "b.png", "sub/c.tif"]
    assert names(root / "sub", output=root) == ["c.tif"]
    with pytest.raises(ConfigError, match="is the folder of the inputs"):
        names(root, output=root / "sub" / "..")
    (root / "sub/sub").mkdir()
    (root / "sub/sub/c.tif").touch()
    with pytest.raises(ConfigError, match="among the inputs"):
        names(root / "sub", output=root, recursive=True)


# Names of outputs


@pytest.mark.parametrize(
    ("given", "format", "expected"),
    [
        (["a.png", "a.jpg"], "keep", {}),
        (["a.png", "a.jpg"], "png", {"a.jpg": "a.jpg"}),
        (["a.bmp", "a.gif"], "keep", {"a.gif": "a.gif"}),
        (["a.jpg", "A.png"], "png", {"a.jpg": "a.jpg"}),
        (["A.PNG", "a.png"], "keep", {"a.png": "a.png"}),
        (["a.jpg", "a.png", "a.jpg.png"], "png", {"a.jpg": "a.jpg~2"}),
        (["a.jpg", "a.jpeg", "a.webp"], "tiff", {"a.jpg": "a.jpg", "a.webp": "a.webp"}),
        (["x.jpg", "x.png/y.jpg"], "png", {"x.jpg": "x.jpg"}),
        (["d/a.png", "e/a.jpg", "a.tif"], "png", {}),
    ],
)
def test_no_two_inputs_have_one_output(given, format, expected):
    assert renamed(sorted(given), format) == expected
    found = [item.output.lower() for item in Inputs(Path("/none"), sorted(given), format)]
    assert len(set(found)) == len(given)


@pytest.mark.parametrize(
    ("name", "keep", "png"),
    [
        ("a.png", "a.png", "a.png"),
        ("a.JPEG", "a.JPEG", "a.png"),
        ("a.tiff", "a.tiff", "a.png"),
        ("a.gif", "a.png", "a.png"),
        ("a.bmp", "a.png", "a.png"),
        ("a.pfm", "a.tif", "a.png"),
        ("a.b.jp2", "a.b.png", "a.b.png"),
        ("scan.v2", "scan.v2.png", "scan.v2.png"),
        ("scan", "scan.png", "scan.png"),
    ],
)
def test_suffixes(tmp_path, name, keep, png):
    assert items(tmp_path / name)[0].output == keep
    assert items(tmp_path / name, "png")[0].output == png


# Arrays


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_an_npy_of_one_picture(tmp_path, rng, shape):
    values = rng.integers(0, 256, shape, dtype=np.uint8)
    np.save(tmp_path / "x.npy", values)
    (item,) = items(tmp_path / "x.npy")
    assert (item.name, item.output) == ("x.npy", "x.npy")
    np.testing.assert_array_equal(read(item), values.reshape(4, 5, -1))


def test_an_npy_of_many(tmp_path, rng):
    values = rng.integers(0, 65536, (12, 4, 5, 3), dtype=np.uint16)
    np.save(tmp_path / "x.npy", values)
    inputs = Inputs(tmp_path, ["x.npy"], "png")
    assert inputs.total == 1
    found = list(inputs)
    assert inputs.total == 12
    assert (found[11].name, found[11].output) == ("x.npy/00011", "x.npy/00011.png")
    assert found[0].size == (tmp_path / "x.npy").stat().st_size
    reader = Reader((0.0, 1.0))
    for place in (0, 11, 3):
        np.testing.assert_array_equal(reader(found[place]), values[place])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz(tmp_path, rng, save):
    stack, one, grey = (
        rng.random((6, 4, 5, 3)),
        rng.integers(0, 2, (4, 5, 1)).astype(bool),
        rng.random((7, 3), np.float32),
    )
    save(
        tmp_path / "x.npz",
        stack=stack,
        one=one,
        **{"deep/grey": np.asfortranarray(grey)},
        labels=np.arange(6),
        text=np.array(["a"]),
    )
    found = items(tmp_path / "x.npz")
    assert [item.name for item in found] == [
        *(f"x.npz/stack/{i:05d}" for i in range(6)),
        "x.npz/one",
        "x.npz/deep/grey",
    ]
    assert [item.output for item in found[-2:]] == ["x.npz/one.npy", "x.npz/deep/grey.npy"]
    reader = Reader((0.0, 1.0))
    for place in (1, 2, 5, 0, 4):  # forwards, and back
        np.testing.assert_allclose(reader(found[place]), stack[place], rtol=1e-6)
    np.testing.assert_array_equal(reader(found[6]), one * np.uint8(255))
    np.testing.assert_array_equal(reader(found[7])[..., 0], grey)
    np.testing.assert_allclose(reader(found[0]), stack[0], rtol=1e-6)


def test_a_stack_in_fortran_order(tmp_path, rng):
    np.savez(tmp_path / "x.npz", stack=np.asfortranarray(rng.random((3, 4, 5, 3))))
    with pytest.raises(ImageError, match="ascontiguousarray"):
        read(items(tmp_path / "x.npz")[0])
    values = np.asfortranarray(rng.integers(0, 256, (3, 4, 5, 3), dtype=np.uint8))
    np.save(tmp_path / "x.npy", values)
    np.testing.assert_array_equal(read(items(tmp_path / "x.npy")[1]), values[1])


def test_hdf5(tmp_path, rng):
    stack, grey = rng.integers(0, 256, (5, 4, 6, 3), dtype=np.uint8), rng.integers(0, 256, (4, 6), dtype=np.uint8)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("images/day", data=stack, chunks=(2, 4, 6, 3), compression="gzip")
        file["mask"] = grey
        file["labels"] = np.arange(5)
        file["names"] = ["a", "b"]
        file["scale"] = 3.0
        file["empty"] = h5py.Empty("f")
        file["other"] = h5py.ExternalLink("elsewhere.h5", "/x")
    found = items(tmp_path / "x.h5", "png")
    assert [item.output for item in found] == [*(f"x.h5/images/day/{i:05d}.png" for i in range(5)), "x.h5/mask.png"]
    np.testing.assert_array_equal(read(found[3]), stack[3])
    np.testing.assert_array_equal(read(found[5])[..., 0], grey)


def test_only_the_slice_is_read(tmp_path):
    """6 GB that are not there: the files are sparse."""
    shape = (2_000, 1024, 1024, 3)
    np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, shape)
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file.create_dataset("stack", shape, np.uint8, chunks=(1, 1024, 1024, 3))
    for name in ("x.npy", "x.hdf5"):
        inputs = Inputs(tmp_path, [name], "keep")
        item = next(iter(inputs))
        assert read(item).shape == (1024, 1024, 3)
        assert inputs.total == 2_000


def test_values_are_checked(tmp_path):
    np.savez(tmp_path / "x.npz", bad=np.array([[np.nan]]), far=np.full((3, 3), 7.0))
    nan, far = items(tmp_path / "x.npz")
    with pytest.raises(ImageError, match=r"x.npz/bad: holds NaN"):
        read(nan)
    with pytest.raises(ImageError, match="lie outside"):
        read(far)
    assert Reader((0.0, 10.0))(far)[0, 0, 0] == pytest.approx(0.7)


def unusable(path: Path, *words: str) -> None:
    (item,) = items(path)
    with pytest.raises(ImageError) as caught:
        read(item)
    for word in (str(path), *words):
        assert word in str(caught.value)


def test_arrays_that_cannot_be_used(tmp_path):
    np.savez(tmp_path / "none.npz", labels=np.arange(3))
    unusable(tmp_path / "none.npz", "holds no array", "[N, H, W, C]")
    np.save(tmp_path / "object.npy", np.array([[None]], object), allow_pickle=True)
    unusable(tmp_path / "object.npy", "cannot be read as arrays")
    for name in ("x.npy", "x.npz", "x.h5"):
        (tmp_path / name).write_bytes(b"not at all")
        unusable(tmp_path / name, "cannot be read as arrays")
        (tmp_path / name).unlink()
        os.mkfifo(tmp_path / name)
        unusable(tmp_path / name, "is not a file")
    np.savez(tmp_path / "y.npz", a=np.zeros((2, 2)))
    (tmp_path / "y.npz").rename(tmp_path / "y.npy")
    unusable(tmp_path / "y.npy", ".npz by its content")


def test_truncated_arrays(tmp_path, rng):
    values = rng.integers(0, 256, (3, 20, 20, 3), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", stack=values)
    np.save(tmp_path / "x.npy", values)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["stack"] = values
    for name in ("x.npz", "x.npy", "x.h5"):
        data = (tmp_path / name).read_bytes()
        for share in (0.01, 0.3, 0.9):
            (tmp_path / name).write_bytes(data[: int(len(data) * share)])
            unusable(tmp_path / name, "cannot be read as arrays")


def test_a_member_whose_data_are_damaged(tmp_path, rng):
    values = rng.integers(0, 256, (2, 200, 200, 3), dtype=np.uint8)
    np.savez_compressed(tmp_path / "x.npz", stack=values)
    data = bytearray((tmp_path / "x.npz").read_bytes())
    data[200_000:200_100] = b"\0" * 100
    (tmp_path / "x.npz").write_bytes(data)
    found = items(tmp_path / "x.npz")
    assert len(found) == 2
    with pytest.raises(ImageError, match=r"x\.npz: cannot be read as arrays"):
        read(found[1])


@pytest.mark.parametrize("member", ["../evil", "/evil", "a/../../evil", "c:evil"])
def test_members_stay_below_the_output(tmp_path, member):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive, archive.open(f"{member}.npy", "w") as file:
        np.save(file, np.zeros((2, 2)))
    unusable(tmp_path / "x.npz", "could leave the output folder")


def test_a_header_that_announces_too_much(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", (100_000, 100_000), np.uint8, chunks=(100, 100))
    with pytest.raises(ImageError, match="100000x100000"):
        read(items(tmp_path / "x.h5")[0])
