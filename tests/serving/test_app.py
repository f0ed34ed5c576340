import csv
import io
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE
from typing import Any

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from translate.cli import main
from translate.errors import ConfigError, DataError
from translate.inference.card import Card, Values
from translate.inference.session import Session
from translate.inference.translator import Translator
from translate.serving import app
from translate.serving.app import Options, Running, running
from translate.serving.service import Model


@pytest.fixture(scope="module")
def client(server: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    client = Client(server.url, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))
    yield client
    client.close()


def pixels(path: str | Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image)


def test_the_api_translates(client: Client, photo: Path) -> None:
    result = client.predict(image=handle_file(photo), api_name="/translate")
    assert Path(result).name == "photo-translator.png"
    np.testing.assert_array_equal(pixels(result), 255 - pixels(photo))
    same = client.predict(image=handle_file(photo), model="h2z b2a", api_name="/translate")
    np.testing.assert_array_equal(pixels(same), pixels(photo))


def test_the_seed_of_the_api_chooses_the_variant(client: Client, photo: Path) -> None:
    one, again, other = (
        pixels(client.predict(image=handle_file(photo), model="noisy", seed=seed, api_name="/translate"))
        for seed in (2, 2, 3)
    )
    np.testing.assert_array_equal(one, again)
    assert np.abs(one.astype(int) - other).max() > 20


def test_the_api_takes_a_zip(client: Client, photo: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.write(photo, "sub/photo.png")
        archive.writestr("notes.txt", "no picture")
    result = client.predict(archive=handle_file(tmp_path / "in.zip"), model="negative", api_name="/translate_zip")
    with zipfile.ZipFile(result) as archive:
        rows = list(csv.reader(io.TextIOWrapper(archive.open("report.csv"), encoding="utf-8")))
    assert rows[1] == ["sub/photo.png", "sub/photo.png", "ok"]
    assert rows[2][:2] == ["notes.txt", ""]


def test_the_api_is_documented_and_nothing_else_is_public(client: Client) -> None:
    endpoints: Any = client.view_api(return_format="dict", print_info=False)
    assert set(endpoints["named_endpoints"]) == {"/translate", "/translate_zip", "/models"}
    assert endpoints["unnamed_endpoints"] == {}
    assert [one["name"] for one in client.predict(api_name="/models")] == ["negative", "noisy", "h2z a2b", "h2z b2a"]


def test_errors_say_what_was_wrong_without_a_path(client: Client, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(photo.read_bytes()[:-30])
    with pytest.raises(AppError, match=r"^broken\.png: is damaged") as caught:
        client.predict(image=handle_file(tmp_path / "broken.png"), api_name="/translate")
    assert "/" not in str(caught.value)
    with pytest.raises(AppError, match=r"unknown model 'noisi' \(did you mean 'noisy'\?\)"):
        client.predict(image=handle_file(photo), model="noisi", api_name="/translate")
    Image.new("L", (1001, 1000)).save(tmp_path / "large.png")
    with pytest.raises(AppError, match=r"large\.png: is 1001x1000, more than the 1,000,000 pixels that may be sent"):
        client.predict(image=handle_file(tmp_path / "large.png"), api_name="/translate")


def test_our_own_mistakes_are_admitted_and_not_shown(
    client: Client, server: Running, photo: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server.service, "convert", lambda *_: 1 / 0)
    with pytest.raises(AppError, match=r"^Something went wrong on the server; its log says what\.$"):
        client.predict(image=handle_file(photo), api_name="/translate")
    assert "ZeroDivisionError" in capfd.readouterr().err
    assert (
        'translate_requests_total{endpoint="translate",outcome="failed"} 1' in httpx.get(f"{server.url}/metrics").text
    )


def call(url: str, endpoint: str, *data: Any) -> tuple[int, str]:
    """Without the checks of gradio_client."""
    answer = httpx.post(f"{url}/gradio_api/call/{endpoint}", json={"data": data}, timeout=30)
    if answer.status_code != 200:
        return answer.status_code, answer.text
    return 200, httpx.get(f"{url}/gradio_api/call/{endpoint}/{answer.json()['event_id']}", timeout=30).text


@pytest.mark.parametrize("meta", [{"meta": {"_type": "gradio.FileData"}}, {}])
@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "serve.py",
        str(Path(__file__)),
        "http://127.0.0.1:9/x",
        "https://example.org/x.png",
        "//x/y",
        "file:///etc/passwd",
    ],
)
def test_no_file_of_the_server_and_no_address_is_read_for_a_visitor(
    server: Running, path: str, meta: dict[str, Any]
) -> None:
    file = {"path": path, "orig_name": "x.png", **meta}
    assert call(server.url, "translate", file, "", 0) == (403, "send files themselves, not their addresses")
    joined = {"data": [file, "negative"], "fn_index": 0, "session_hash": "x"}
    assert httpx.post(f"{server.url}/gradio_api/queue/join", json=joined).status_code == 403


def test_odd_parameters_break_nothing(server: Running) -> None:
    for data in (["/etc/passwd", "", 0], [None, [], {}], [{}, {"a": 1}, "x"], [[[[]]], None, None], [], [1, 2, 3, 4]):
        status, text = call(server.url, "translate", *data)
        assert status in (200, 422, 500)
        assert "root:" not in text
        assert "Traceback" not in text
    deep = "[" * 100_000 + "]" * 100_000
    assert httpx.post(f"{server.url}/gradio_api/call/translate", content=deep).status_code == 403
    assert httpx.get(f"{server.url}/health").json() == {"status": "ok"}


@pytest.mark.parametrize(
    "path",
    [
        "gradio_api/file=/etc/passwd",
        "gradio_api/file=serve.py",
        "gradio_api/file=../../../../../../etc/passwd",
        "gradio_api/file=%2e%2e%2f%2e%2e%2fetc/passwd",
        "gradio_api/file=%2Fetc%2Fpasswd",
        "gradio_api/file=http://example.org/",
        "gradio_api/file=/etc/passwd%00.png",
        "gradio_api/file//etc/passwd",
        "gradio_api/proxy=http://127.0.0.1:22/",
        "gradio_api/stream/a/b/c/playlist.m3u8",
        "gradio_api/vibe-code",
        "gradio_api/deep_link?session_hash=x",
        "gradio_api/runs",
        "static/../../../../etc/passwd",
        "static/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "assets/..%2f..%2f..%2fetc%2fpasswd",
        "svelte/..%2f..%2f..%2fetc%2fpasswd",
        "monitoring",
        "docs",
        "openapi.json",
    ],
)
def test_nothing_else_is_served(server: Running, path: str) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:  # no client tidies the path
        connection.sendall(f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert int(answer.split()[1]) in (403, 404)
    assert b"root:" not in answer


def test_results_and_uploads_lie_in_one_folder_that_goes_with_the_server(server: Running) -> None:
    made = server.service.new_folder()
    (made / "x.png").write_bytes(b"x")
    assert httpx.get(f"{server.url}/gradio_api/file={made}/x.png").content == b"x"
    beside = server.service.folder.parent / "beside.txt"
    beside.write_text("secret")
    (made / "link").symlink_to(beside)
    assert httpx.get(f"{server.url}/gradio_api/file={made}/link").status_code == 404
    beside.unlink()


def test_uploads_are_bounded(server: Running) -> None:
    def upload(size: int) -> int:
        return httpx.post(f"{server.url}/gradio_api/upload", files={"files": ("a.bin", bytes(size))}).status_code

    assert upload(1 << 20) == 200
    assert upload((1 << 20) + 1) == 413  # Gradio's own limit, of each file
    assert upload(3 << 20) == 413
    url = f"{server.url}/gradio_api/call/translate"
    assert httpx.post(url, content=b" " * (5 << 20)).status_code == 413
    assert httpx.post(url, content=iter([b"{}"])).status_code == 411  # chunked: no length


def test_health_metrics_and_headers(server: Running) -> None:
    answer = httpx.get(f"{server.url}/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert answer.headers["x-content-type-options"] == "nosniff"
    text = httpx.get(f"{server.url}/metrics").text
    assert "# TYPE translate_requests_total counter\n" in text
    assert "\ntranslate_queue_length 0\n" in text
    assert text.endswith("\n")
    for line in text.splitlines():
        assert line.startswith("#") or float(line.rpartition(" ")[2]) >= 0


def test_the_page_says_what_the_model_is(server: Running) -> None:
    page = httpx.get(server.url).text
    assert "1,200" in page


class Slow(Session):
    backend = "slow"

    def _run(self, inputs: Any, statistics: Any) -> Any:
        time.sleep(0.5)
        return inputs["image"]

    _measure = _run


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Model:
    values = Values(channels=3)
    card = Card(name="slow", network="translator", recipe="none", source=values, target=values)
    model = Model("slow", Path("slow.onnx"), Translator(Slow(Path("slow.onnx"), card)), "")
    monkeypatch.setattr(app, "open_models", lambda *_: [model])
    return model


def test_a_full_queue_turns_requests_away_and_says_so(slow: Model, free: int, photo: Path, negative: Path) -> None:
    with running(Options((negative,), port=free, queue=2)) as server:
        client = Client(server.url, verbose=False)
        jobs = [client.submit(image=handle_file(photo), api_name="/translate") for _ in range(7)]
        errors = [str(error) for error in (job.exception(30) for job in jobs) if error]
        client.close()
        assert 2 <= len(errors) <= 5
        assert all("queue is full" in error.lower() for error in errors)
        text = httpx.get(f"{server.url}/metrics").text
        assert f"translate_queue_full_total {len(errors)}\n" in text
        assert f'outcome="ok"}} {7 - len(errors)}\n' in text


def test_a_request_that_takes_too_long_is_told_so_and_the_next_one_served(
    slow: Model, free: int, photo: Path, negative: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(Options((negative,), port=free, time_limit=1)) as server:
        monkeypatch.setattr(server.service, "seconds", 0.2)
        client = Client(server.url, verbose=False)
        with pytest.raises(AppError, match=r"^this took longer than the 0\.2 s that a request may take$"):
            client.predict(image=handle_file(photo), api_name="/translate")
        monkeypatch.setattr(server.service, "seconds", 5)
        np.testing.assert_array_equal(
            pixels(client.predict(image=handle_file(photo), api_name="/translate")), pixels(photo)
        )
        client.close()


def test_a_login_guards_all_but_health(negative: Path, photo: Path, free: int, tmp_path: Path) -> None:
    (tmp_path / "users").write_text("ada:se:cret\nbob:other\n")
    with running(Options((negative,), port=free, auth=str(tmp_path / "users"))) as server:
        folder = server.service.folder
        assert httpx.get(f"{server.url}/health").status_code == 200
        assert httpx.get(f"{server.url}/metrics").status_code == 401
        assert httpx.get(f"{server.url}/metrics", auth=("ada", "other")).status_code == 401
        assert httpx.get(f"{server.url}/metrics", auth=("ada", "se:cret")).status_code == 200
        for path in (
            "config",
            "gradio_api/info",
            f"gradio_api/file={folder}/x",
            "gradio_api/queue/data?session_hash=x",
        ):
            assert httpx.get(f"{server.url}/{path}").status_code == 401, path
        assert call(server.url, "translate", {}, "", 0)[0] == 401
        assert httpx.post(f"{server.url}/gradio_api/upload", files={"files": b"x"}).status_code == 401
        client = Client(server.url, verbose=False, auth=("ada", "se:cret"))
        assert pixels(client.predict(image=handle_file(photo), api_name="/translate")).shape == (32, 48, 3)
        client.close()
    assert not folder.exists()


@pytest.mark.parametrize("auth", ["ada", "ada:", ":x", ""])
def test_a_login_that_is_none_is_a_mistake_that_is_not_repeated(auth: str, negative: Path, free: int) -> None:
    with (
        pytest.raises(ConfigError, match=r"^--auth: give USER:PASSWORD, or a file"),
        running(Options((negative,), port=free, auth=auth)),
    ):
        pass


def test_examples_must_be_pictures(negative: Path, free: int, tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match="holds no pictures"),
        running(Options((negative,), port=free, examples=tmp_path)),
    ):
        pass


def test_a_supervisor_stops_it_with_one_line(negative: Path, free: int) -> None:
    command = [sys.executable, "serve.py", "--model", str(negative), "--port", str(free)]
    environment = os.environ | {"GRADIO_SHARE": "true", "GRADIO_ALLOWED_PATHS": "/"}
    process = subprocess.Popen(
        command, stdout=PIPE, stderr=PIPE, text=True, cwd=Path(__file__).parents[2], env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == f"negative: http://127.0.0.1:{free} (Ctrl-C stops)\n"
    assert httpx.get(f"http://127.0.0.1:{free}/gradio_api/file=/etc/passwd").status_code == 404
    process.send_signal(signal.SIGTERM)  # as Ctrl-C
    out, error = process.communicate(timeout=30)
    assert (process.returncode, out, error) == (0, "stopped\n", "")


def test_mistakes_take_one_line_and_status_2(
    negative: Path, free: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", free)):
        assert main(["serve", "--model", str(negative), "--port", str(free)]) == 2
    reason = "Address already in use; choose another with --host and --port"
    assert capsys.readouterr().err == f"error: 127.0.0.1, port {free}: {reason}\n"
    assert main(["serve", "--model", str(tmp_path / "no.onnx"), "--port", str(free)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'no.onnx'}: ")
    assert error.count("\n") == 1
    assert main(["serve", "--model", str(negative), "--host", "no.such.host.invalid"]) == 2
    assert capsys.readouterr().err.startswith("error: no.such.host.invalid, port 7860: ")
