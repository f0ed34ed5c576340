"""Against a server on this machine that breaks off, refuses and lies as told."""

import errno
import hashlib
import io
import re
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from translate.data.catalogue import ARCHIVES, Archive, published
from translate.data.download import download
from translate.data.unpaired import UnpairedConfig, UnpairedSource
from translate.errors import ConfigError, DownloadError


class Server:
    """Files by path. `drop_after[path]`: bytes until the next connections break, one number each."""

    def __init__(self):
        self.files, self.requests = {}, []
        self.drop_after, self.status, self.ranges = {}, {}, True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *_arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def url(self, path):
        return f"http://127.0.0.1:{self.http.server_port}/{path}"

    def answer(self, request):
        path, wanted = request.path[1:], request.headers.get("Range")
        self.requests.append((path, wanted))
        data = self.files.get(path)
        statuses = self.status.get(path, [])
        if data is None or statuses:
            request.send_error(statuses.pop(0) if statuses else 404)
            return
        start = int(re.match(r"bytes=(\d+)-", wanted)[1]) if wanted and self.ranges else 0
        if start >= len(data):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(data)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(206 if wanted and self.ranges else 200)
        request.send_header("Content-Length", str(len(data) - start))
        if wanted and self.ranges:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        request.end_headers()
        drops = self.drop_after.get(path, [])
        request.wfile.write(data[start : start + drops.pop(0)] if drops else data[start:])
        request.close_connection = True


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    running = Server()
    yield running
    running.http.shutdown()
    running.thread.join()
    running.http.server_close()


def picture(seed):
    buffer = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()


def zip_of(names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for index, name in enumerate(names):
            archive.writestr(name, picture(index))
    return buffer.getvalue()


NAMES = [f"tiny/{folder}/{index}.png" for folder in ("trainA", "trainB", "testA", "testB") for index in range(5)]
DATA = zip_of(NAMES)


@pytest.fixture
def fetch(server, tmp_path):
    """`fetch(data, hashed=True, mirrors=1)` downloads `data` to tmp_path/set/tiny; gives the root."""

    def run(data=DATA, *, sha256="right", mirrors=1, size=None, suffix="zip", root=None, serve=True):
        paths = [f"mirror{index}/tiny.{suffix}" for index in range(mirrors)]
        if serve:
            server.files[paths[-1]] = data
        known = hashlib.sha256(data).hexdigest() if sha256 == "right" else sha256
        archive = Archive("tiny", tuple(server.url(path) for path in paths), size, known)
        root = root or tmp_path / "set" / "tiny"
        download("cyclegan", "tiny", root, archives={"cyclegan": {"tiny": archive}}, progress=False, pause=0.001)
        return root

    return run


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def check_complete(root):
    assert sorted(path.relative_to(root.parent).as_posix() for path in root.rglob("*.png")) == sorted(NAMES)
    assert (root / "trainB" / "0.png").read_bytes() == picture(5)


def test_full_download(fetch, server, capfd):
    root = fetch()
    check_complete(root)
    assert left(root.parent) == ["tiny"]  # the archive and what was made on the way are gone
    assert UnpairedSource(UnpairedConfig(root=root)).describe().startswith("unpaired: 5 + 5 training, 5 + 5 test")
    assert capfd.readouterr() == ("", "")


def test_what_is_there_is_not_fetched_again(fetch, server):
    fetch()
    fetch()
    assert len(server.requests) == 1


def test_broken_connection_is_taken_up_where_it_broke(fetch, server):
    server.drop_after["mirror0/tiny.zip"] = [8192, 16384]
    check_complete(fetch())
    assert server.requests == [
        ("mirror0/tiny.zip", None),
        ("mirror0/tiny.zip", "bytes=8192-"),
        ("mirror0/tiny.zip", "bytes=24576-"),
    ]


def test_partial_file_of_an_earlier_run_is_used(fetch, server, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "tiny.zip.part").write_bytes(DATA[:5000])
    check_complete(fetch())
    assert server.requests == [("mirror0/tiny.zip", "bytes=5000-")]


def test_partial_file_that_is_complete(fetch, server, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "tiny.zip.part").write_bytes(DATA)
    check_complete(fetch())
    assert len(server.requests) == 1


def test_partial_file_that_is_too_long_is_started_again(fetch, server, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "tiny.zip.part").write_bytes(DATA + b"more")
    check_complete(fetch())
    assert [wanted for _, wanted in server.requests] == [f"bytes={len(DATA) + 4}-", None]


def test_server_without_ranges(fetch, server):
    server.ranges = False
    server.drop_after["mirror0/tiny.zip"] = [10_000]
    check_complete(fetch())
    assert len(server.requests) == 2


def test_busy_server_is_asked_again(fetch, server):
    server.status["mirror0/tiny.zip"] = [503, 429]
    check_complete(fetch())
    assert len(server.requests) == 3


def test_connection_that_breaks_again_and_again_keeps_what_it_has(fetch, server, tmp_path):
    server.drop_after["mirror0/tiny.zip"] = [8192] + [0] * 20
    with pytest.raises(DownloadError, match="could not be downloaded"):
        fetch()
    assert left(tmp_path / "set") == ["tiny.zip.part"]
    assert (tmp_path / "set" / "tiny.zip.part").read_bytes() == DATA[:8192]
    server.drop_after.clear()
    check_complete(fetch())


def test_second_mirror_where_the_first_has_no_such_file(fetch, server):
    check_complete(fetch(mirrors=2))
    assert [path for path, _ in server.requests] == ["mirror0/tiny.zip", "mirror1/tiny.zip"]


def test_no_mirror_has_it(fetch, server, tmp_path):
    with pytest.raises(DownloadError, match="404") as caught:
        fetch(mirrors=2, serve=False)
    assert server.url("mirror1/tiny.zip") in str(caught.value)
    assert left(tmp_path / "set") == []


def test_offline(fetch, server, tmp_path):
    server.http.socket.close()
    with pytest.raises(DownloadError) as caught:
        fetch(mirrors=2, serve=False)
    message = str(caught.value)
    assert "tiny could not be downloaded" in message
    assert f"fetch {server.url('mirror0/tiny.zip')} by hand, put it at {tmp_path / 'set' / 'tiny.zip'}" in message
    assert f"unpack it as {tmp_path / 'set' / 'tiny'}" in message
    assert "\n" not in message
    assert len(message) < 700


def test_archive_brought_by_hand_is_used_and_kept(fetch, server, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "tiny.zip").write_bytes(DATA)
    check_complete(fetch(serve=False))
    assert server.requests == []
    assert left(tmp_path / "set") == ["tiny", "tiny.zip"]


def test_archive_brought_by_hand_is_checked(fetch, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "tiny.zip").write_bytes(DATA[:-1])
    with pytest.raises(DownloadError, match=r"tiny\.zip: has SHA-256 [0-9a-f]+ where [0-9a-f]+ is expected; delete it"):
        fetch(serve=False)


def test_wrong_hash_keeps_nothing(fetch, tmp_path):
    with pytest.raises(DownloadError, match=r"another SHA-256 than the published 0000.*nothing was kept"):
        fetch(sha256="0" * 64)
    assert left(tmp_path / "set") == []


def test_first_hash_is_recorded_and_compared(fetch, server, tmp_path):
    root = fetch(sha256=None)
    record = tmp_path / "set" / "tiny.zip.sha256"
    assert record.read_text() == f"{hashlib.sha256(DATA).hexdigest()}  tiny.zip\n"
    root.rename(tmp_path / "first")
    fetch(sha256=None)
    root.rename(tmp_path / "second")
    with pytest.raises(DownloadError, match=rf"another SHA-256.*delete {re.escape(str(record))}"):
        fetch(zip_of(NAMES[:3]), sha256=None)
    assert left(tmp_path / "set") == ["tiny.zip.sha256"]


def test_tar_gz(fetch, tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for index, name in enumerate(NAMES):
            info = tarfile.TarInfo(name)
            info.size = len(picture(index))
            archive.addfile(info, io.BytesIO(picture(index)))
    check_complete(fetch(buffer.getvalue(), suffix="tar.gz"))


def test_archive_without_a_folder_of_its_own(fetch):
    root = fetch(zip_of([name.removeprefix("tiny/") for name in NAMES] + ["__MACOSX/x.png"]))
    assert len(list((root / "trainA").iterdir())) == 5
    root = fetch(zip_of([*NAMES, "__MACOSX/x.png"]), root=root.parent / "other")
    assert left(root) == ["testA", "testB", "trainA", "trainB"]


def test_empty_root_is_filled(fetch, tmp_path):
    (tmp_path / "set" / "tiny").mkdir(parents=True)
    check_complete(fetch())


@pytest.mark.parametrize("data", [zip_of(["../evil.png"]), zip_of([]), b"<html>wrong page</html>", DATA[:-100]])
def test_hostile_or_broken_archives_leave_nothing(fetch, tmp_path, data):
    with pytest.raises(DownloadError):
        fetch(data, sha256=None)
    assert [path.name for path in tmp_path.rglob("*")] == ["set"]


def test_no_room_is_said_before_it_starts(fetch, server):
    with pytest.raises(DownloadError, match=r"tiny needs \d+ MB, and \d+ MB are free; free space there"):
        fetch(size=10**18)
    assert server.requests == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_disk_that_fills_up(fetch, monkeypatch, number, tmp_path):
    def full(*_arguments, **_options):
        raise OSError(number, "No space left on device")

    monkeypatch.setattr("translate.data.download.extract", full)
    with pytest.raises(DownloadError, match=r"No space left on device; free space there or set data.root"):
        fetch()
    assert left(tmp_path / "set") == []


def test_folder_that_cannot_be_written(fetch, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match=r"set data\.root to a folder that can be written"):
        fetch(root=tmp_path / "file" / "set" / "tiny")


def test_progress_is_shown(server, tmp_path, capfd):
    server.files["tiny.zip"] = DATA
    archive = Archive("tiny", (server.url("tiny.zip"),), None, None)
    download("cyclegan", "tiny", tmp_path / "tiny", archives={"cyclegan": {"tiny": archive}}, progress=True)
    shown = capfd.readouterr().err
    assert "tiny.zip" in shown
    assert "100%" in shown


def test_published_sets():
    assert len(ARCHIVES["cyclegan"]) == 11
    assert len(ARCHIVES["pix2pix"]) == 6
    for family, archives in ARCHIVES.items():
        for name, archive in archives.items():
            assert published(family, name) is archive
            assert all(name in address for address in archive.addresses)
            assert archive.sha256 is None or re.fullmatch("[0-9a-f]{64}", archive.sha256)
    facades = published("cyclegan", "facades"), published("pix2pix", "facades")
    assert [archive.file_name for archive in facades] == ["facades.zip", "facades.tar.gz"]


def test_unknown_name(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.download: unknown data set 'horse' .*known: apple2orange"):
        download("cyclegan", "horse", tmp_path / "x")


def test_prepare_goes_by_the_config(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("translate.data.download.download", lambda *arguments: calls.append(arguments))
    UnpairedConfig(root=tmp_path / "x", download="facades").prepare()
    UnpairedConfig(root=tmp_path / "x").prepare()
    assert calls == [("cyclegan", "facades", tmp_path / "x")]


def test_an_archive_known_by_its_md5(server, tmp_path):
    """As the liquid-argon tracks, whose publishers give no SHA-256."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for folder in ("train/a", "train/b", "test/a", "test/b"):
            tile = io.BytesIO()
            np.savez(tile, np.full((4, 4), -7, np.int16))
            archive.writestr(f"slats_tiles/{folder}/sample_1_tile_2.npz", tile.getvalue())
    server.files["slats_tiles.zip"] = buffer.getvalue()
    address = server.url("slats_tiles.zip")
    for md5, root in ((hashlib.md5(buffer.getvalue()).hexdigest(), tmp_path / "good"), ("0" * 32, tmp_path / "bad")):
        known = {"detector": {"slats": Archive("slats", (address,), md5=md5)}}
        if root.name == "good":
            download("detector", "slats", root, archives=known, progress=False, pause=0)
            assert np.load(root / "train" / "a" / "sample_1_tile_2.npz")["arr_0"].dtype == np.int16
        else:
            with pytest.raises(DownloadError, match=f"another MD5 than the published {md5}; nothing was kept"):
                download("detector", "slats", root, archives=known, progress=False, pause=0)
            assert not root.exists()


def test_the_published_tracks_are_known():
    archive = published("detector", "slats")
    assert archive.addresses[0].startswith("https://zenodo.org/record/7809108/files/")
    assert (archive.known, archive.md5) == ("MD5", "fcab8ff8525bcb00a9aa33b604fb11ff")
