import io
import stat
import tarfile
import zipfile

import pytest

from translate.data.extract import extract
from translate.errors import DownloadError


@pytest.fixture
def folder(tmp_path):
    """The place to unpack into, inside another, so that anything beside it would show."""
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    return tmp_path / "outer" / "inner"


def zipped(path, files, **attributes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.writestr(info, data)
    return path


def tarred(path, files, **attributes):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return path


PACKERS = pytest.mark.parametrize("pack", [zipped, tarred])


def refused(archive, folder, match, **limits):
    with pytest.raises(DownloadError, match=match) as caught:
        extract(archive, folder, **limits)
    assert str(archive) in str(caught.value)
    assert [path for path in folder.parent.rglob("*") if path.is_file() or path.is_symlink()] == []


@PACKERS
def test_files_and_folders(pack, tmp_path, folder):
    extract(pack(tmp_path / "archive", [("set/a.txt", b"one"), ("set/sub/b.txt", b"two"), ("top.txt", b"")]), folder)
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == {"set/a.txt": b"one", "set/sub/b.txt": b"two", "top.txt": b""}


@PACKERS
@pytest.mark.parametrize("name", ["../evil.txt", "set/../../evil.txt", "/tmp/evil.txt", "..\\evil.txt", "C:/evil.txt"])
def test_paths_that_leave_the_folder(pack, name, tmp_path, folder):
    refused(pack(tmp_path / "archive", [(name, b"evil")]), folder, "leaves the folder")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_tar(kind, tmp_path, folder):
    refused(tarred(tmp_path / "archive", [("x", b"")], type=kind, linkname="/etc/passwd"), folder, "a link or a device")


def test_links_in_zip(tmp_path, folder):
    archive = zipped(tmp_path / "archive", [("x", b"/etc/passwd")], external_attr=(stat.S_IFLNK | 0o777) << 16)
    refused(archive, folder, "a link or a device")


@PACKERS
def test_bomb_by_size(pack, tmp_path, folder):
    archive = pack(tmp_path / "archive", [("zeros", b"\0" * 5_000_000)])
    assert archive.stat().st_size < 20_000
    with pytest.raises(DownloadError, match="unpacks to more than"):
        extract(archive, folder, max_bytes=1_000_000)
    assert sum(path.stat().st_size for path in folder.rglob("*")) <= 1_000_000


def test_default_limit_follows_the_size_of_the_archive(tmp_path, folder):
    archive = tarred(tmp_path / "archive", [(f"{index}", b"\0" * 30_000_000) for index in range(3)])
    with pytest.raises(DownloadError, match=r"unpacks to more than \d+ MB"):
        extract(archive, folder)


def test_zip_that_lies_about_its_size(tmp_path, folder):
    archive = zipped(tmp_path / "archive", [("x", b"\0" * 100_000)])
    data = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = data.index(signature) + offset
        data[place : place + 4] = (10).to_bytes(4, "little")
    archive.write_bytes(data)
    with pytest.raises(DownloadError, match="is damaged"):
        extract(archive, folder)
    assert sum(path.stat().st_size for path in folder.rglob("*")) <= 10


@PACKERS
def test_bomb_by_count(pack, tmp_path, folder):
    archive = pack(tmp_path / "archive", [(f"{index}", b"") for index in range(20)])
    with pytest.raises(DownloadError, match="more than 10 files"):
        extract(archive, folder, max_files=10)


@PACKERS
def test_same_name_twice(pack, tmp_path, folder):
    with pytest.warns(UserWarning, match="Duplicate") if pack is zipped else _nothing():
        archive = pack(tmp_path / "archive", [("x", b"one"), ("x", b"two")])
    with pytest.raises(DownloadError, match="two entries of the same name"):
        extract(archive, folder)
    with pytest.raises(DownloadError, match="two entries of the same name"):
        extract(pack(tmp_path / "other", [("y", b"one"), ("y/z", b"two")]), folder)


class _nothing:
    def __enter__(self):
        return None

    def __exit__(self, *_details):
        return False


@PACKERS
def test_damaged(pack, tmp_path, folder):
    archive = pack(tmp_path / "archive", [("x", bytes(range(256)) * 400)])
    whole = archive.read_bytes()
    for bad in (whole[: len(whole) // 2], b"not an archive", whole[:60] + b"\xff" * 60 + whole[120:]):
        archive.write_bytes(bad)
        with pytest.raises(DownloadError, match="is damaged"):
            extract(archive, folder)
        for path in folder.iterdir():
            path.unlink()


def test_password(tmp_path, folder):
    archive = zipped(tmp_path / "archive", [("x", b"secret")])
    data = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    archive.write_bytes(data)
    with pytest.raises(DownloadError, match=r"cannot be unpacked .*password"):
        extract(archive, folder)
