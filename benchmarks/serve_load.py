"""Many clients at once against `serve.py`: does it answer right, and does its memory stay?

    python benchmarks/serve_load.py [--model M] [--clients 50] [--seconds 120] [--queue 32] [--concurrency 1]

Without --model: a ResNet with one block of width 4. Each client sends pictures of four sizes to /translate, one after
the other. Prints what became of the requests, whether each answer equals, byte for byte, what a
single client got before, and the resident memory of the server at the start, in the middle and at the end. Exit status
1 if any answer differs or any error is not "queue is full".
"""

import argparse
import json
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import psutil
from PIL import Image

ROOT = Path(__file__).parents[1]
SIZES = ((64, 64), (96, 64), (128, 160), (255, 257))


def tiny(folder: Path) -> Path:
    import torch

    from translate.inference.card import Card, Values
    from translate.inference.export import export_network
    from translate.nn import ResNetConfig

    torch.manual_seed(0)
    config, values = ResNetConfig(blocks=1, width=4), Values(channels=3)
    card = Card(
        name="tiny",
        network="translator",
        recipe="random",
        source=values,
        target=values,
        multiple=config.multiple,
        norm="image",
    )
    export_network(config.build(3, 3).eval(), card, folder / "tiny.onnx")
    return folder / "tiny.onnx"


class Load:
    """What the clients share."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.outcomes: Counter[str] = Counter()
        self.expected: list[bytes] = []
        rng = np.random.default_rng(0)
        self.pictures = [folder / f"{index}.png" for index in range(len(SIZES))]
        for path, size in zip(self.pictures, SIZES, strict=True):
            Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(path)

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=120)

    def ask(self, client: httpx.Client, index: int) -> bytes:
        """Upload, ask, wait, fetch: what gradio_client does, without its half second of work in this process."""
        with self.pictures[index].open("rb") as file:
            path = client.post("/gradio_api/upload", files={"files": file}).raise_for_status().json()[0]
        picture = {"path": path, "orig_name": f"{index}.png", "meta": {"_type": "gradio.FileData"}}
        joined = client.post("/gradio_api/call/translate", json={"data": [picture, "", 0]})
        if joined.status_code == 503:
            raise RuntimeError(joined.json()["detail"])
        event = joined.raise_for_status().json()["event_id"]
        answer = client.get(f"/gradio_api/call/translate/{event}").raise_for_status().text
        if not (found := re.search(r"event: complete\ndata: (.*)", answer)):
            raise RuntimeError(answer)
        return client.get(json.loads(found[1])[0]["url"]).raise_for_status().content

    def run(self, number: int, end: float) -> None:
        client, index = self.client(), number
        while time.monotonic() < end:
            index = (index + 1) % len(SIZES)
            try:
                outcome = "equal" if self.ask(client, index) == self.expected[index] else "DIFFERENT"
            except Exception as error:
                outcome = (
                    "queue is full" if "queue is full" in str(error).lower() else f"{type(error).__name__}: {error}"
                )
                time.sleep(0.2)
            self.outcomes[outcome] += 1
        client.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--queue", type=int, default=32)
    parser.add_argument("--concurrency", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        model = options.model or tiny(folder)
        settings = ["--queue", str(options.queue), "--concurrency", str(options.concurrency)]
        command = [sys.executable, str(ROOT / "serve.py"), "--model", str(model), "--port", str(port), *settings]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            print(server.stdout.readline(), end="")
            return measure(
                Load(f"http://127.0.0.1:{port}", folder), psutil.Process(server.pid), options.clients, options.seconds
            )
        finally:
            server.terminate()  # SIGINT is ignored where this was started in the background
            server.wait(30)


def measure(load: Load, server: psutil.Process, clients: int, seconds: float) -> int:
    single = load.client()
    load.ask(single, 0)  # imports what it needs
    start = time.monotonic()
    load.expected = [load.ask(single, index) for index in range(len(SIZES))]
    print(f"one client: {len(SIZES) / (time.monotonic() - start):.1f} requests/s")
    memory = [server.memory_info().rss]
    end = time.monotonic() + seconds
    threads = [threading.Thread(target=load.run, args=(number + 1, end)) for number in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 2)
    memory.append(server.memory_info().rss)
    for thread in threads:
        thread.join()
    memory.append(server.memory_info().rss)
    print(f"{clients} clients, {seconds:g} s: {load.outcomes.total() / seconds:.1f} requests/s")
    for outcome, count in load.outcomes.most_common():
        print(f"  {count:6d}  {outcome}")
    print(
        "resident memory at the start, in the middle, at the end:",
        ", ".join(f"{size / 2**20:.0f} MB" for size in memory),
    )
    print(
        f"alone again: {'equal' if [load.ask(single, index) for index in range(len(SIZES))] == load.expected else 'DIFFERENT'}"
    )
    return 0 if set(load.outcomes) <= {"equal", "queue is full"} else 1


if __name__ == "__main__":
    raise SystemExit(main())
