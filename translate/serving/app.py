"""`translate serve`: models into a web page and an API, for this machine alone unless it is told otherwise."""

import hashlib
import os
import signal
import socket
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from starlette.middleware import Middleware

from translate.data.files import list_images
from translate.errors import ConfigError, DataError
from translate.inference.translator import Translator
from translate.serving.limits import Guard
from translate.serving.metrics import Metrics, routes
from translate.serving.service import Model, Service

if TYPE_CHECKING:
    import gradio as gr

EXAMPLES = 24  # at most
SESSIONS = 200  # visitors whose last results are remembered

_GRADIO = {  # read when it is imported, or later
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",  # statistics of its queue, which it would sum up again after each request
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(1 << 60),
}

User = tuple[str, str]  # name, password


@dataclass(frozen=True)
class Options:
    """As on the command line."""

    models: tuple[Path, ...]
    host: str = "127.0.0.1"
    port: int = 7860
    auth: str | None = None
    examples: Path | None = None
    max_upload_mb: int = 32
    max_megapixels: int = 32
    queue: int = 32
    concurrency: int = 1
    time_limit: int = 120


class Running(NamedTuple):
    url: str
    service: Service


def serve(options: Options) -> None:
    """Until Ctrl-C or SIGTERM. Raises TranslateError where a model, an option or the port cannot be used."""
    try:
        # Decoders silence warnings for a moment, each thread for all: what one restores must not wake up another's.
        with warnings.catch_warnings(), running(options) as (url, service):
            warnings.simplefilter("ignore")
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            print(f"{', '.join(service.models)}: {url} (Ctrl-C stops)", flush=True)
            if options.auth is None and options.host not in ("127.0.0.1", "localhost", "::1"):
                print("whoever can reach this address may use it; --auth sets a login", flush=True)
            while True:
                time.sleep(60)
                service.tidy()
    except KeyboardInterrupt:
        print("stopped", flush=True)


@contextmanager
def running(options: Options) -> Iterator[Running]:
    """A server in a thread of its own; one at a time in a process."""
    users = logins(options.auth)
    examples = _examples(options.examples)
    check_port(options.host, options.port)
    with tempfile.TemporaryDirectory(prefix="translate-") as name:
        folder = Path(name).resolve()  # for what visitors send and get, nothing else
        quieten(folder)
        service = Service(
            open_models(options.models, options.concurrency),
            folder,
            max_pixels=options.max_megapixels * 1_000_000,
            seconds=options.time_limit,
            lanes=options.concurrency,
        )
        from translate.serving.page import build  # the seconds that Gradio takes, after everything that may be wrong

        page = build(service, examples, options.concurrency)
        try:
            upload = options.max_upload_mb << 20
            guard = Middleware(Guard, folder=service.folder, upload=upload, metrics=service.metrics)
            host, port = options.host, options.port
            url = launch(page, guard, service.metrics, users, host=host, port=port, queue=options.queue, upload=upload)
            yield Running(url, service)
        finally:
            page.close(verbose=False)
            service.close()


def quieten(folder: Path) -> None:
    """Before Gradio is imported: no statistics to its makers; `folder` is all that it may write to."""
    os.environ.update(_GRADIO, GRADIO_TEMP_DIR=str(folder))


def open_models(paths: Sequence[Path], lanes: int) -> list[Model]:
    """Every network of every path. Raises as Translator.load."""
    models: dict[str, Model] = {}
    for path in paths:
        for direction in _networks(path):
            translator = Translator.load(path, direction=direction, lanes=lanes)
            card, file = translator.card, translator.session.path
            name = f"{card.name} {card.network}".removesuffix(" translator")
            name = name if name not in models else f"{name} {len(models) + 1}"
            with file.open("rb") as content:
                models[name] = Model(name, path, translator, hashlib.file_digest(content, "sha256").hexdigest())
    return list(models.values())


def _networks(path: Path) -> Sequence[str | None]:
    """What to ask `path` for: the networks of a run or checkpoint."""
    exported = [file.stem for file in sorted(path.glob("export/*.onnx")) if "-" not in file.stem]
    if exported or path.suffix.lower() == ".onnx" or not path.exists():
        return exported or [None]
    from translate.inference.networks import load_networks

    return list(load_networks(path))


def launch(
    page: "gr.Blocks",
    guard: Middleware,
    metrics: Metrics,
    users: list[User] | None,
    *,
    host: str,
    port: int,
    queue: int,
    upload: int,
    api: bool = True,
) -> str:
    """The address. Gradio's own launch, for an app that is mounted in another lets every file of the server be read.

    `upload`: bytes of a file; `api`: the page tells of it. Raises ConfigError where the port cannot be used.
    """
    from translate.serving.page import HERE, theme

    page.queue(max_size=queue, api_open=False)
    try:
        _, url, _ = page.launch(
            server_name=host,
            server_port=port,
            auth=users,
            max_file_size=upload,
            state_session_capacity=SESSIONS,
            theme=theme(),
            css_paths=HERE / "page.css",
            footer_links=["api"] if api else [],
            app_kwargs={
                "routes": routes(metrics, lambda: len(page._queue), users),
                "middleware": [guard],
                **dict.fromkeys(("docs_url", "redoc_url", "openapi_url")),
            },
            share=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            run_history=False,
            enable_monitoring=False,
            num_workers=0,
            prevent_thread_lock=True,
            quiet=True,
        )
    except OSError as error:
        raise ConfigError(f"--port {port}: {error}") from None
    return url.rstrip("/")


def check_port(host: str, port: int) -> None:
    """Before anything is loaded; Gradio would try for seconds, and say less."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((host, port), family=family).close()
    except (OSError, OverflowError, UnicodeError) as error:
        reason = str(getattr(error, "strerror", None) or error).partition(" (")[0]
        raise ConfigError(f"{host}, port {port}: {reason}; choose another with --host and --port") from None


def logins(auth: str | None) -> list[User] | None:
    if auth is None:
        return None
    path = Path(auth)
    lines = path.read_text(encoding="utf-8").split() if path.is_file() else [auth]
    users = [(name, password) for name, _, password in (line.partition(":") for line in lines) if name and password]
    if not users or len(users) < len(lines):
        raise ConfigError("--auth: give USER:PASSWORD, or a file with one USER:PASSWORD a line")
    return users


def _examples(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    if not (examples := list_images(folder)):
        raise DataError(f"{folder}: holds no pictures; --examples is a folder of pictures to try")
    return examples[:EXAMPLES]
