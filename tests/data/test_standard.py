"""The published sets in small, and their download from a server on this machine that breaks off and lies as told."""

import gzip
import hashlib
import http.server
import io
import pickle
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from translate.data.dataset import DatasetConfig
from translate.data.standard import fetch, open_set, read_idx
from translate.errors import ConfigError, DataError, DownloadError


def md5(data):
    return hashlib.md5(data).hexdigest()


# MNIST and Fashion-MNIST


@pytest.mark.parametrize("layout", ["", "raw", "MNIST/raw"])
@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_are_read_where_they_lie(tmp_path, mnist_files, layout, packed):
    folder = tmp_path / layout
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in mnist_files.items():
        name = name.replace("-idx", ".idx") if name.startswith("t10k") else name
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(data) if packed else data)
    before = sorted(tmp_path.rglob("*"))
    classes, train, test = open_set("mnist", tmp_path)
    assert classes == tuple("0123456789")
    assert train.pictures.shape == (30, 28, 28, 1)
    assert train.pictures[7, 5, 5, 0] == 7
    assert train.labels.tolist() == [number % 10 for number in range(30)]
    assert test.pictures.shape == (20, 28, 28, 1)
    assert sorted(tmp_path.rglob("*")) == before


def test_real_fashion_mnist(shared):
    classes, train, test = open_set("fashion_mnist", shared / "fashion-mnist")
    assert train.pictures.shape == (60000, 28, 28, 1)
    assert test.pictures.shape == (10000, 28, 28, 1)
    assert [classes[label] for label in train.labels[:3]] == ["Ankle boot", "T-shirt/top", "T-shirt/top"]
    assert np.bincount(train.labels).tolist() == [6000] * 10
    assert train.pictures.mean() == pytest.approx(255 * 0.2860, abs=0.02)  # the published mean


def test_our_names_are_those_of_torchvision():
    from torchvision import datasets

    from translate.data.standard import _IDX, TORCHVISION

    assert _IDX["fashion_mnist"] == tuple(datasets.FashionMNIST.classes)
    for sort, folder in TORCHVISION.values():
        assert getattr(getattr(datasets, sort), "base_folder", sort) == folder


TRAIN, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        (TRAIN, lambda data: data[:-1], r"has 23519 bytes for \(30, 28, 28\) values"),
        (TRAIN, lambda data: data + b"x", "has 23521 bytes"),
        (TRAIN, lambda data: b"", "is no IDX file of bytes in 3 dimensions"),
        (TRAIN, lambda data: b"<html>not found</html>", "is no IDX file"),
        (TRAIN, lambda data: data[:9], "is no IDX file"),
        (TRAIN, lambda data: bytes([0, 0, 13, 3]) + data[4:], "is no IDX file of bytes"),
        (TRAIN, lambda data: gzip.compress(data)[:-20], "is damaged or truncated"),
        (TRAIN, lambda data: gzip.compress(data)[:40] + b"\0" * 40, "is damaged or truncated"),
        (TRAIN, lambda data: data[:4] + b"\xff" * 12 + data[16:], r"has 23520 bytes for \(4294967295"),
        (LABELS, lambda data: data[:-1], r"has 29 bytes for \(30,\) values"),
        (LABELS, lambda data: data[:8] + bytes([10]) * 30, "30 labels up to 10 do not belong to the 30 images"),
        (LABELS, lambda data: data[:7] + bytes([2, 1, 1]), "2 labels up to 1 do not belong to the 30 images"),
    ],
)
def test_damaged_and_foreign_files_are_named(mnist_root, mnist_files, name, damage, message):
    (mnist_root / name).write_bytes(damage(mnist_files[name]))
    with pytest.raises(DataError, match=message) as caught:
        open_set("mnist", mnist_root)
    assert str(mnist_root / name) in str(caught.value)
    assert "fetch" in str(caught.value)


def test_idx_in_the_wrong_number_of_dimensions(mnist_root):
    with pytest.raises(DataError, match="in 1 dimensions"):
        read_idx(mnist_root / TRAIN, 1)


def test_missing_files(tmp_path, mnist_root):
    (mnist_root / LABELS).unlink()
    with pytest.raises(DataError, match=rf"{LABELS}: is missing, with and without \.gz; fetch it again"):
        open_set("mnist", mnist_root)
    message = r"does not hold mnist: there is no such folder; expected .*MNIST/raw; or set data.download: true"
    with pytest.raises(DataError, match=message):
        open_set("mnist", tmp_path / "nowhere")
    (tmp_path / "FashionMNIST" / "raw").mkdir(parents=True)
    with pytest.raises(DataError, match=r"remove .*FashionMNIST and set data\.download: true"):
        open_set("fashion_mnist", tmp_path)


# CIFAR-10


@pytest.fixture
def cifar(monkeypatch):
    """The files of a CIFAR-10 of 4 pictures a batch, whose hashes torchvision takes for the published ones."""
    from torchvision import datasets

    files = {}
    for number, name in enumerate([*(f"data_batch_{index}" for index in range(1, 6)), "test_batch"]):
        planes = np.zeros((4, 3, 32, 32), np.uint8)
        planes[:, 0], planes[:, 1, 0], planes[:, 2, :, 0] = number, 100, 200  # red, the top row green, the left blue
        content = {"data": planes.reshape(4, -1), "labels": [0, 3, 9, number]}
        files[name] = pickle.dumps(content, protocol=2)
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    files["batches.meta"] = pickle.dumps({"label_names": names}, protocol=2)
    listed = [[name, md5(data)] for name, data in files.items()]
    monkeypatch.setattr(datasets.CIFAR10, "train_list", listed[:5])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", listed[5:6])
    monkeypatch.setattr(datasets.CIFAR10, "meta", datasets.CIFAR10.meta | {"md5": listed[6][1]})
    return files


def put(folder, files):
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def test_cifar10(tmp_path, cifar):
    put(tmp_path / "cifar-10-batches-py", cifar)
    classes, train, test = open_set("cifar10", tmp_path)
    assert classes[3] == "cat"
    assert train.labels[:8].tolist() == [0, 3, 9, 0, 0, 3, 9, 1]
    assert train.pictures.shape == (20, 32, 32, 3)
    assert train.pictures[4, 0, 5].tolist() == [1, 100, 0]
    assert train.pictures[4, 5, 0].tolist() == [1, 0, 200]
    assert test.labels.tolist() == [0, 3, 9, 5]


def test_damaged_cifar10_is_named_and_never_unpickled(tmp_path, cifar):
    class Evil:
        def __reduce__(self):
            return (pytest.fail, ("a pickle of unknown origin was loaded",))

    put(tmp_path / "cifar-10-batches-py", cifar | {"data_batch_3": pickle.dumps(Evil())})
    with pytest.raises(DataError, match=r"data_batch_3: is missing or not the published one; remove .*-py and set"):
        open_set("cifar10", tmp_path)
    with pytest.raises(DataError, match=r"does not hold cifar10: it holds .*expected the folder cifar-10-batches-py"):
        open_set("cifar10", tmp_path / "cifar-10-batches-py")


# CelebA


@pytest.fixture
def celeba(monkeypatch):
    """The text files of a CelebA of 6 faces: 3 training, 1 validation, 2 test."""
    from torchvision.datasets import CelebA

    names = [f"{number:06}.jpg" for number in range(1, 7)]
    smiling = [1, -1, 1, 1, -1, 1]
    lines = {
        "list_attr_celeba.txt": ["6", "Bald Smiling "]
        + [f"{name} -1 {s:2d}" for name, s in zip(names, smiling, strict=True)],
        "identity_CelebA.txt": [f"{name} 1" for name in names],
        "list_bbox_celeba.txt": ["6", "image_id x y w h"] + [f"{name} 0 0 9 9" for name in names],
        "list_landmarks_align_celeba.txt": ["6", "a b"] + [f"{name} 1 2" for name in names],
        "list_eval_partition.txt": [f"{name} {part}" for name, part in zip(names, (0, 0, 0, 1, 2, 2), strict=True)],
    }
    files = {name: ("\n".join(text) + "\n").encode() for name, text in lines.items()}
    listed = [("id", md5(data), name) for name, data in files.items()]
    monkeypatch.setattr(CelebA, "file_list", [("zip", "0", "img_align_celeba.zip"), *listed])
    return files


@pytest.fixture
def celeba_root(tmp_path, celeba):
    put(tmp_path / "celeba", celeba)
    (tmp_path / "celeba" / "img_align_celeba").mkdir()
    for number in range(1, 7):
        face = np.full((218, 178, 3), 10 * number, np.uint8)
        Image.fromarray(face).save(tmp_path / "celeba" / "img_align_celeba" / f"{number:06}.jpg")
    return tmp_path


def test_celeba(celeba_root):
    classes, train, test = open_set("celeba", celeba_root, "Smiling")
    assert classes == ("not Smiling", "Smiling")
    assert [path.name for path in train.pictures] == ["000001.jpg", "000002.jpg", "000003.jpg"]
    assert train.labels.tolist() == [1, 0, 1]
    assert test.labels.tolist() == [0, 1]
    assert open_set("celeba", celeba_root).train.labels.tolist() == [0, 0, 0]
    with pytest.raises(ConfigError, match=r"data\.attribute: unknown attribute 'Smile' \(did you mean 'Smiling'\?\)"):
        open_set("celeba", celeba_root, "Smile")


def test_celeba_with_a_changed_file(celeba_root):
    (celeba_root / "celeba" / "identity_CelebA.txt").write_text("000001.jpg 2\n")
    with pytest.raises(DataError, match=r"identity_CelebA\.txt: is missing or not the published one"):
        open_set("celeba", celeba_root)
    (celeba_root / "celeba" / "img_align_celeba").rename(celeba_root / "elsewhere")
    (celeba_root / "celeba" / "identity_CelebA.txt").write_text("".join(f"{n:06}.jpg 1\n" for n in range(1, 7)))
    with pytest.raises(DataError, match="img_align_celeba: is missing"):
        open_set("celeba", celeba_root)


# Folders


def test_folders_by_class(class_root):
    classes, train, test = open_set("folder", class_root)
    assert classes == ("cat", "dog")
    names = [f"{path.parent.name}{path.stem}" for path in train.pictures]
    assert names == ["cat0", "dog0", "cat1", "dog1", "cat2", "cat3"]
    assert train.labels.tolist() == [0, 1, 0, 1, 0, 0]
    assert test.labels.tolist() == [0, 1]
    assert open_set("folder", class_root / "train").test is None
    with pytest.raises(
        DataError, match=r"does not hold folder: it holds 0\.png, .*expected images in one folder a class"
    ):
        open_set("folder", class_root / "train" / "cat")


# Downloads


class Server(http.server.ThreadingHTTPServer):
    """Files by path; `cut[path]`: bytes after which the connection breaks."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cut, self.asked = {}, {}, []
        self.url = f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, *_):
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path[1:]
        self.server.asked.append(name)
        data = self.server.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: self.server.cut.get(name)])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def published(server, mnist_files, monkeypatch):
    """MNIST on the server, its hashes published."""
    from torchvision import datasets

    server.files = {f"{name}.gz": gzip.compress(data) for name, data in mnist_files.items()}
    monkeypatch.setattr(datasets.MNIST, "mirrors", [server.url])
    monkeypatch.setattr(datasets.MNIST, "resources", [(name, md5(data)) for name, data in server.files.items()])
    return server


def test_mnist_is_downloaded_once(tmp_path, published, capfd):
    config = DatasetConfig(name="mnist", root=tmp_path / "deep" / "mnist", download=True)
    config.prepare()
    assert open_set("mnist", config.root).train.labels.tolist()[:3] == [0, 1, 2]
    assert [path.name for path in config.root.iterdir()] == ["MNIST"]
    asked = len(published.asked)
    config.prepare()
    assert len(published.asked) == asked
    assert capfd.readouterr() == ("", "")


def test_files_that_are_there_are_not_fetched(mnist_root, published):
    fetch("mnist", mnist_root)
    assert published.asked == []


def test_without_download_nothing_is_fetched(tmp_path, published):
    DatasetConfig(name="mnist", root=tmp_path).prepare()
    assert published.asked == []


def test_wrong_hash_and_broken_connection_leave_nothing(tmp_path, published, mnist_files):
    name = "t10k-images-idx3-ubyte.gz"
    whole = published.files[name]
    published.files[name] = gzip.compress(b"something else")
    with pytest.raises(DownloadError) as caught:
        fetch("mnist", tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}: mnist could not be downloaded (Error downloading {name}: Tried")
    assert "nothing was kept. Try again later, or put train-images-idx3-ubyte.gz, " in message
    assert message.endswith(f"of {published.url} into {tmp_path}")
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []
    published.files[name], published.cut[name] = whole, 50
    with pytest.raises(DownloadError, match="nothing was kept"):
        fetch("mnist", tmp_path)
    assert list(tmp_path.iterdir()) == []
    published.cut.clear()
    fetch("mnist", tmp_path)
    assert len(open_set("mnist", tmp_path).test.labels) == 20


def test_no_server_and_no_folder(tmp_path, published, monkeypatch):
    from torchvision.datasets import MNIST

    with monkeypatch.context() as patch:
        patch.setattr(MNIST, "mirrors", ["http://127.0.0.1:1/"])
        with pytest.raises(DownloadError, match=r"Connection refused.*Try again later, or put"):
            fetch("mnist", tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match="could not be downloaded"):
        fetch("mnist", tmp_path / "file" / "mnist")


def test_cifar10_is_downloaded(tmp_path, server, cifar, monkeypatch):
    from torchvision.datasets import CIFAR10

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in cifar.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    server.files["cifar.tar.gz"] = buffer.getvalue()
    monkeypatch.setattr(CIFAR10, "url", f"{server.url}cifar.tar.gz")
    monkeypatch.setattr(CIFAR10, "tgz_md5", "0" * 32)
    with pytest.raises(DownloadError, match=rf"corrupted.*; nothing was kept.*unpack {server.url}cifar\.tar\.gz in"):
        fetch("cifar10", tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(buffer.getvalue()))
    fetch("cifar10", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-10-batches-py"]
    assert len(open_set("cifar10", tmp_path).train.labels) == 20


def test_celeba_is_downloaded(tmp_path, celeba, monkeypatch):
    """Its files come through gdown, which stands in here."""
    from torchvision.datasets import CelebA

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("img_align_celeba/000001.jpg", b"")
    packed = buffer.getvalue()
    listed = [("img_align_celeba.zip", md5(packed), "img_align_celeba.zip")]
    listed += [(name, hashed, name) for _, hashed, name in CelebA.file_list[1:]]
    monkeypatch.setattr(CelebA, "file_list", listed)
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(DownloadError, match=r"pip install gdown.*nothing was kept.*put the files of https://mmlab"):
        fetch("celeba", tmp_path)

    class Gdown:
        @staticmethod
        def download(id, output, **_):
            Path(output).write_bytes(packed if id.endswith("zip") else celeba[id])

    monkeypatch.setitem(sys.modules, "gdown", Gdown)
    fetch("celeba", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["celeba"]
    assert len(open_set("celeba", tmp_path).train.labels) == 3
