import numpy as np
import pytest
from PIL import Image

from translate.data.check import check, report
from translate.errors import DataError


def test_unpaired(unpaired_root, save):
    save(unpaired_root / "trainA" / "large.png", seed=77, width=64, height=48)
    (unpaired_root / "trainA" / "notes.txt").touch()
    found = check(unpaired_root)
    train_a = next(folder for folder in found.folders if folder.name == "trainA")
    assert train_a.count == 6
    assert train_a.sizes == {(24, 20): 5, (64, 48): 1}
    assert train_a.modes == {"RGB 8-bit": 6}
    assert train_a.others == {".txt": 1}
    text = str(found)
    assert "trainA: 6 images" in text
    assert "24x20 (5), 64x48 (1)" in text
    assert ".txt (1)" in text


def test_clean_folder_has_no_problems(tmp_path, save):
    for folder, start in (("trainA", 0), ("trainB", 10), ("testA", 20), ("testB", 30)):
        for index in range(2):
            save(tmp_path / folder / f"{index}.png", seed=start + index)
    found = check(tmp_path)
    assert not found.problems
    assert str(found).endswith("\nno problems found")
    assert "trainA: 2 pairs of the same name, 0 files without a partner" in str(found)


def test_names_that_have_nothing_in_common_are_no_problem(tmp_path, save):
    save(tmp_path / "trainA" / "a.png")
    save(tmp_path / "trainB" / "b.png", seed=1)
    found = check(tmp_path)
    assert not found.problems
    assert "no name in common with the other side: unpaired data" in str(found)


def test_partners_that_are_missing(unpaired_root):
    found = check(unpaired_root)
    assert [path.name for path in found.unmatched] == ["5.png", "6.png"]
    assert found.problems
    assert "2 files without a partner: trainB/5.png, trainB/6.png" in str(found)


def test_ambiguous_names(tmp_path, save):
    for name in ("trainA/x.png", "trainA/x.jpg", "trainB/x.png"):
        save(tmp_path / name)
    assert "have the same name" in report(tmp_path)


def test_unreadable_files_with_their_reasons(tmp_path, save):
    whole = save(tmp_path / "train" / "good.png").read_bytes()
    (tmp_path / "train" / "cut.png").write_bytes(whole[:100])
    (tmp_path / "train" / "empty.jpg").touch()
    (tmp_path / "train" / "text.png").write_text("hello")
    found = check(tmp_path)
    assert found.problems
    assert len(found.unreadable) == 3
    text = str(found)
    assert "3 files that cannot be used" in text
    assert "cut.png: is damaged or truncated" in text
    assert "empty.jpg: is empty" in text
    assert "text.png: is not an image" in text
    assert "train: 4 images" in text


def test_duplicates_between_train_and_test_in_any_format(tmp_path, pixels):
    grey = pixels(channels=1)[..., 0]
    for folder in ("train", "test"):
        (tmp_path / folder).mkdir()
    Image.fromarray(grey).save(tmp_path / "train" / "x.png")
    Image.fromarray(grey).save(tmp_path / "train" / "again.bmp")  # twice in training is no leak
    Image.fromarray(np.repeat(grey[..., None], 3, 2)).save(tmp_path / "test" / "other.tif")
    Image.fromarray(255 - grey).save(tmp_path / "test" / "new.png")
    found = check(tmp_path)
    assert [(a.name, b.name) for a, b in found.duplicates] == [("again.bmp", "other.tif")]
    assert "1 test images that are in the training data too:\n    train/again.bmp = test/other.tif" in str(found)
    assert found.problems


@pytest.mark.parametrize("form", ["A/{} B/{}", "{}/a {}/b", "{}/A {}/B", "{}A {}B", "{}"])
def test_every_layout(tmp_path, save, form):
    for part in ("train", "test"):
        for seed, folder in enumerate(form.replace("{}", part).split()):
            save(tmp_path / folder / "x.png", seed=seed)
    found = check(tmp_path)
    assert sum(folder.count for folder in found.folders) == (4 if "A" in form or "a" in form else 2)
    assert len(found.duplicates) == (2 if "A" in form or "a" in form else 1)


def test_plain_folder(tmp_path, save):
    save(tmp_path / "x.png")
    found = check(tmp_path)
    assert found.layout == "images"
    assert not found.problems


def test_floats_need_no_range_here(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[-7.0, 300.0]], np.float32))
    np.save(tmp_path / "n.npy", np.zeros((4, 4, 9), np.uint16))
    found = check(tmp_path)
    assert found.unreadable == []
    assert "note: floats or signed integers: set data.float_range to their range" in str(found)
    assert "9 channels uint16" in str(found)


def test_many_sizes_are_summed_up(tmp_path, save):
    for side in range(10, 16):
        save(tmp_path / f"{side}.png", width=side, height=2 * side)
    assert "and 3 more; 10-15 wide, 20-30 high" in report(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        check(tmp_path / "none")
    found = check(tmp_path)
    assert found.problems
    assert "no images at all" in str(found)


def test_progress(tmp_path, save, capfd):
    save(tmp_path / "x.png")
    report(tmp_path, progress=True)
    assert "reading" in capfd.readouterr().err
    report(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_real_data(shared):
    found = check(shared / "emoji64")
    assert [folder.count for folder in found.folders] == [192, 192, 1719, 1719]
    assert found.unreadable == found.unmatched == []
    assert "P 8-bit" in str(found)
    assert "LA 8-bit" in str(found)
    assert len(found.duplicates) == 1  # two families of the same look in Twemoji, one in either part
    assert "transparency" in str(found)
    assert ".npz (100)" in report(shared / "slats")
