import pytest

from translate.data.files import Sides, list_files, list_images, looked_at, match, some, stem, test_folders, two_folders
from translate.errors import DataError

test_folders.__test__ = False  # a function of the package, not a test


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def names(root, paths):
    return [path.relative_to(root).as_posix() for path in paths]


def test_images_are_found_by_suffix_in_any_case_and_sorted(tmp_path):
    touch(tmp_path, "b.png", "a.JPG", "sub/c.Tiff", "notes.txt", "d.npy", "._a.jpg", ".hidden/e.png", "__MACOSX/f.png")
    assert names(tmp_path, list_images(tmp_path)) == ["a.JPG", "b.png", "d.npy", "sub/c.Tiff"]
    assert names(tmp_path, list_images(tmp_path, recursive=False)) == ["a.JPG", "b.png", "d.npy"]
    assert "notes.txt" in names(tmp_path, list_files(tmp_path))


def test_no_folder_no_images(tmp_path):
    assert list_images(tmp_path / "none") == []


def test_folder_named_like_an_image_is_looked_into(tmp_path):
    touch(tmp_path, "x.png/a.png")
    assert names(tmp_path, list_images(tmp_path)) == ["x.png/a.png"]


def test_circles_of_links_end(tmp_path):
    touch(tmp_path, "a.png")
    (tmp_path / "again").symlink_to(tmp_path)
    assert names(tmp_path, list_images(tmp_path)) == ["a.png"]


def test_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    def deny(_path):
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr("os.scandir", deny)
    with pytest.raises(DataError, match="cannot be listed"):
        list_files(tmp_path)


@pytest.mark.parametrize("form", ["{}A {}B", "A/{} B/{}", "{}/A {}/B", "{}/a {}/b"])
def test_layouts_of_two_folders(tmp_path, form):
    for part in ("train", "val"):
        touch(tmp_path, *(f"{folder}/x.png" for folder in form.replace("{}", part).split()))
    expected_train = [tmp_path / folder for folder in form.replace("{}", "train").split()]
    expected_test = [tmp_path / folder for folder in form.replace("{}", "val").split()]
    assert list(two_folders(tmp_path, "train") or ()) == expected_train
    assert list(test_folders(tmp_path) or ()) == expected_test


def test_test_comes_before_val(tmp_path):
    touch(tmp_path, "testA/x.png", "testB/x.png", "valA/x.png", "valB/x.png")
    assert test_folders(tmp_path) == Sides(tmp_path / "testA", tmp_path / "testB")


def test_two_bare_folders_are_for_training(tmp_path):
    touch(tmp_path, "A/x.png", "B/x.png")
    assert two_folders(tmp_path, "train") == Sides(tmp_path / "A", tmp_path / "B")
    assert test_folders(tmp_path) is None
    touch(tmp_path, "A/test/x.png")
    assert two_folders(tmp_path, "train") is None


def test_match_by_name_without_suffix(tmp_path):
    touch(
        tmp_path, "A/b.png", "A/a.jpg", "A/alone.png", "A/sub/c.png", "B/a.png", "B/b.png", "B/sub/c.tif", "B/other.png"
    )
    sides = Sides(tmp_path / "A", tmp_path / "B")
    found = match(sides, list_images(sides.a), list_images(sides.b))
    assert [(stem(a, sides.a), stem(b, sides.b)) for a, b in found.pairs] == [
        ("a", "a"),
        ("b", "b"),
        ("sub/c", "sub/c"),
    ]
    assert names(tmp_path, found.unmatched) == ["A/alone.png", "B/other.png"]


def test_one_name_twice_is_ambiguous(tmp_path):
    touch(tmp_path, "A/a.jpg", "A/a.png", "B/a.png")
    sides = Sides(tmp_path / "A", tmp_path / "B")
    with pytest.raises(DataError, match=r"a\.jpg and .*a\.png have the same name"):
        match(sides, list_images(sides.a), list_images(sides.b))


def test_names_with_dots(tmp_path):
    touch(tmp_path, "A/x.1.png", "A/x.2.png", "B/x.1.jpg", "B/x.2.jpg")
    sides = Sides(tmp_path / "A", tmp_path / "B")
    assert len(match(sides, list_images(sides.a), list_images(sides.b)).pairs) == 2


def test_words(tmp_path):
    assert some(["a", "b"]) == "a, b"
    assert some(list("abcde")) == "a, b, c and 2 more"
    assert looked_at(tmp_path / "none") == "there is no such folder"
    assert looked_at(tmp_path) == "it is empty"
    touch(tmp_path, "x.txt", "sub/y")
    assert looked_at(tmp_path) == "it holds sub/, x.txt"
    assert looked_at(tmp_path / "x.txt") == "it is not a folder"
