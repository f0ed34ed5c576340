"""What the page and the API do: uploads into files of results, within limits of size, number and time."""

import re
import shutil
import tempfile
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from translate.data.channels import Pixels
from translate.data.decode import read_image
from translate.errors import DataError, ImageError, TranslateError, unknown
from translate.inference.card import SEEDS, Card
from translate.inference.latents import classes, draw, walk
from translate.inference.translator import Translator
from translate.inference.worker import Interruptible, Stopped
from translate.inference.writing import encode, provenance
from translate.serving.limits import inside
from translate.serving.metrics import Metrics

PREVIEW = 1024  # pixels a side
KEPT = 1800  # seconds for which a result can be fetched
_OURS = "request-"

T = TypeVar("T")
Preview = NDArray[np.uint8]  # [H, W] or [H, W, 3 or 4], at most PREVIEW pixels a side


class TooSlow(DataError):
    """The time of a request is over."""


class Model(NamedTuple):
    name: str  # "horse2zebra a2b"
    path: Path  # as given
    translator: Translator
    hash: str  # SHA-256 of the file

    @property
    def card(self) -> Card:
        return self.translator.card


class Result(NamedTuple):
    file: str  # whole size and depth
    preview: str
    seed: int


class Variants(NamedTuple):
    source: str  # its preview
    results: list[Result]
    spread: str | None  # a map of where the results differ
    largest: float  # standard deviation in it, of 255


class Service:
    """Any number of threads may call it at once; `lanes` pictures are at work at a time.

    It reads from and writes to `folder` alone, takes `max_pixels` a picture and `seconds` a request. An upload is what
    Gradio makes of a file (`path`, `orig_name`), or a drawing as a data URL. Messages of a TranslateError hold no paths
    of the server.
    """

    def __init__(self, models: Sequence[Model], folder: Path, *, max_pixels: int, seconds: float, lanes: int) -> None:
        self.models = {model.name: model for model in models}
        self.metrics = Metrics()
        self.folder, self.max_pixels, self.seconds = folder, max_pixels, seconds
        self._pool = ThreadPoolExecutor(lanes, "picture")

    def translate(self, upload: Any, name: str, seed: int) -> Path:
        """The file of the result, of the size and depth of the upload."""
        with self.request("translate") as deadline:
            model, target = self.model(name), self.new_folder()
            path, title = self.received(upload, target)
            pixels = self.read(deadline, model, path, title)
            return self.convert(deadline, model, pixels, seed, target / PurePosixPath(title).stem)[1]

    def variants(self, upload: Any, name: str, seed: int, count: int) -> Variants:
        """`count` results, of as many seeds from `seed` on, where the model has noise; else one. All with previews."""
        with self.request("variants") as deadline:
            model, target = self.model(name), self.new_folder()
            path, title = self.received(upload, target)
            pixels = self.read(deadline, model, path, title)
            previews, results = [], []
            for number in [(seed + index) % SEEDS for index in range(count if model.card.noise else 1)]:
                output, file = self.convert(deadline, model, pixels, number, target / PurePosixPath(title).stem)
                previews.append(_preview(output))
                results.append(Result(str(file), _save(previews[-1], target / f"{number}.preview.png"), number))
            source = _save(_preview(pixels), target / "source.preview.png")
            spread = _spread(previews, target / "spread.preview.png") if len(previews) > 1 else (None, 0.0)
            return Variants(source, results, *spread)

    def walk(self, name: str, label: str | None, start: int, end: int, steps: int) -> tuple[str, list[str]]:
        """From the latent numbers of one seed to those of another: an animation there and back, and each picture."""
        with self.request("walk") as deadline:
            model, target = self.model(name, image=False), self.new_folder()
            card = model.card
            corners = np.concatenate([draw(card, 1, seed) for seed in (start, end)])
            latents = walk(corners, steps, sphere=card.prior == "normal")[: steps + 1]  # the rest leads back
            labels = classes(card, len(latents), label or next(iter(card.labels), None))
            pictures = model.translator.decode(latents, labels, seed=start)
            frames = [_preview(self._within(deadline, partial(next, pictures))) for _ in latents]
            self.metrics.add("pictures_total", len(frames))
            images = [Image.fromarray(frame) for frame in [*frames, *frames[-2:0:-1]]]
            images[0].save(target / "walk.webp", save_all=True, append_images=images[1:], duration=120, loop=0)
            return str(target / "walk.webp"), [_save(frame, target / f"{i}.png") for i, frame in enumerate(frames)]

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def request(self, endpoint: str) -> Iterator[float]:
        """Counts what becomes of a request, and gives the time at which it must be done."""
        start, outcome = time.monotonic(), "failed"
        try:
            yield start + self.seconds
            outcome = "ok"
        except TranslateError as error:
            outcome = "too_slow" if isinstance(error, TooSlow) else "refused"
            raise DataError(self.public(str(error))) from error
        finally:
            self.metrics.add(f'requests_total{{endpoint="{endpoint}",outcome="{outcome}"}}')
            self.metrics.add(f'request_seconds_total{{endpoint="{endpoint}"}}', time.monotonic() - start)

    def _within(self, deadline: float, work: Callable[[], T]) -> T:
        """What `work` returns, or TooSlow. What is in hand then is not lost to others: its lane ends with the tile."""
        future = self._pool.submit(work)
        try:
            return future.result(max(0.0, deadline - time.monotonic()))
        except (TimeoutError, Stopped):
            future.cancel()
            raise TooSlow(f"this took longer than the {self.seconds} s that a request may take") from None

    def model(self, name: str, *, image: bool = True) -> Model:
        name = name or next(iter(self.models))
        if name not in self.models:
            raise DataError(unknown("model", name, self.models))
        if (self.models[name].card.source is not None) != image:
            raise DataError(f"{name} makes pictures from {'latent numbers' if image else 'pictures'} alone")
        return self.models[name]

    def new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(prefix=_OURS, dir=self.folder))

    def tidy(self, age: float = KEPT) -> None:
        """Removes what requests left `age` seconds ago, some time after Gradio removed the files that it knows of."""
        for folder in self.folder.iterdir():
            with suppress(OSError):
                if folder.stat().st_mtime < time.time() - age - 120:
                    shutil.rmtree(folder) if folder.name.startswith(_OURS) else folder.rmdir()  # if it is empty

    def received(self, upload: Any, target: Path) -> tuple[Path, str]:
        """The file, and what its sender calls it."""
        if isinstance(upload, str) and upload.startswith("data:image/png;base64,"):
            (target / "drawing").write_bytes(b64decode(upload.partition(",")[2]))
            return target / "drawing", "drawing.png"
        if not isinstance(upload, dict) or not inside(self.folder, upload.get("path")):
            raise DataError("no file was sent")
        name = PurePosixPath(str(upload.get("orig_name") or upload["path"])).name
        return Path(upload["path"]), re.sub(r"[^\w.\- ]+", "_", name)[-80:].lstrip(". ") or "picture"

    def read(self, deadline: float, model: Model, path: Path, name: str) -> Pixels:
        work = partial(read_image, path, float_range=model.card.float_range, max_pixels=self.max_pixels)
        try:
            return self._within(deadline, work)
        except ImageError as error:
            message = re.sub(r"data\.max_pixels = ([\d,]+ pixels) .*", r"the \1 that may be sent", str(error))
            raise ImageError(message.replace(str(path), name)) from error

    def convert(self, deadline: float, model: Model, pixels: Pixels, seed: int, stem: Path) -> tuple[Pixels, Path]:
        """The result, and its file: PNG for integers of up to 4 channels, else .npy."""
        session = Interruptible(model.translator.session, lambda: time.monotonic() > deadline)

        def work() -> tuple[Pixels, Path]:
            output = replace(model.translator, session=session).pixels(pixels, seed=seed)
            suffix = ".png" if output.dtype.kind == "u" and output.shape[2] <= 4 else ".npy"
            file = stem.with_name(f"{stem.name}-{model.card.network}{f'-{seed}' * model.card.noise}{suffix}")
            file.write_bytes(encode(output, file.name, model.card, provenance(model.card, model.hash, seed)))
            return output, file

        done = self._within(deadline, work)
        self.metrics.add("pictures_total")
        return done

    def public(self, message: str) -> str:
        """`message` without paths of this machine."""
        for model in self.models.values():
            for path in (model.translator.session.path, model.path):
                message = message.replace(str(path), model.name)
        return re.sub(r"(?<![\w.])/(?:[^\s/:;,()'\"]+/)+", "", message)


def _preview(pixels: Pixels) -> Preview:
    channels = pixels.shape[2]
    pixels = pixels[..., : channels if channels in (3, 4) else 3 if channels > 4 else 1]
    step = max(1, max(pixels.shape[:2]) // (2 * PREVIEW))  # thins very large pictures before they are averaged
    pixels = pixels[::step, ::step]
    if pixels.dtype.kind == "f":
        pixels = np.rint(pixels * 255)
    elif pixels.dtype == np.uint16:
        pixels = pixels >> 8
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels, np.uint8))
    image.thumbnail((PREVIEW, PREVIEW))
    return np.asarray(image)


def _spread(previews: Sequence[Preview], path: Path) -> tuple[str, float]:
    """The standard deviation of the results at each pixel as a picture, and the largest."""
    import matplotlib

    deviation = np.std(np.stack(previews), axis=0, dtype=np.float32)
    deviation = deviation.mean(axis=2) if deviation.ndim == 3 else deviation
    largest = float(deviation.max())
    colours: Preview = matplotlib.colormaps["inferno"](deviation / (largest or 1.0), bytes=True)
    return _save(colours[..., :3], path), largest


def _save(picture: Preview, path: Path) -> str:
    Image.fromarray(np.ascontiguousarray(picture)).save(path, compress_level=1)
    return str(path)
