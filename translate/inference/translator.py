"""One call from pictures to pictures, whatever runs the network.

Shapes: N pictures or tiles, C channels, H x W pixels.
"""

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from translate.data.channels import Pixels, to_channels
from translate.errors import ModelError
from translate.inference.card import SEEDS, Card
from translate.inference.latents import Labels, Latents, classes, draw
from translate.inference.pictures import Form, Output, Picture, carries_alpha, check, give, read, to_network, to_pixels
from translate.inference.session import Arithmetic, Backend, Inputs, Session, Statistics, open_session
from translate.inference.tiling import Grid, Tile, blend, cut

if TYPE_CHECKING:
    from translate.inference.runtime import Compiled

MEASURED = 64  # tiles of a picture from which its statistics are estimated, at most
Rows = Iterable[tuple[slice, NDArray[np.float32]]]  # [C, rows, W] as the network gives it, from top to bottom


class View(NamedTuple):
    """A tile of a picture, or all of it."""

    pixels: Pixels
    corner: tuple[int, int]  # top, left
    seed: int


class Variation(NamedTuple):
    mean: Output  # in the form of the input
    deviation: NDArray[np.float32]  # [H, W, C]: standard deviation over the seeds; full brightness is 1


@dataclass(frozen=True)
class Translator:
    """Pictures of any size, mode and depth through one network. Any number of threads may use it at once.

    `batch_size` pictures or tiles of one size go through the network at a time. `tile`: larger pictures are cut into
    tiles of so many pixels a side; "auto" does it, with 512, above 1024 x 1024 pixels. `statistics`: networks that
    normalise each picture by its own statistics take those of the whole picture for each tile ("global", which runs
    up to 64 tiles twice) or the tile's ("tile").
    """

    session: Session
    batch_size: int = 1
    tile: Tile = "auto"
    statistics: Literal["global", "tile"] = "global"

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        direction: str | None = None,
        backend: Backend = "auto",
        precision: Arithmetic = "auto",
        threads: int | None = None,
        lanes: int = 1,
        once: bool = False,
        opened: "Future[Compiled] | None" = None,
        batch_size: int = 1,
        tile: Tile = "auto",
        statistics: Literal["global", "tile"] = "global",
    ) -> "Translator":
        """From an .onnx file, a checkpoint or a run folder: `path` to `opened` are as in `open_session`."""
        session = open_session(
            Path(path),
            direction=direction,
            backend=backend,
            precision=precision,
            threads=threads,
            lanes=lanes,
            once=once,
            opened=opened,
        )
        return cls(session, batch_size, tile, statistics)

    def __post_init__(self) -> None:
        if self.card.outputs:
            raise ModelError(
                f"{self.card.name}: names {', '.join(self.card.outputs)}, it makes no pictures: run its ONNX file with "
                "onnxruntime (docs/adaptation.md)"
            )
        if self.card.normalisation is not None:
            raise ModelError(
                f"{self.card.name}: is for detector images, not for pictures: use translate refine or generate"
            )
        if self.batch_size < 1 or not (self.tile in ("auto", "off") or (isinstance(self.tile, int) and self.tile > 0)):
            raise ModelError(
                f"batch_size = {self.batch_size}, tile = {self.tile!r}: batch_size must be at least 1, tile 'auto', "
                "'off' or a number of pixels"
            )

    @property
    def card(self) -> Card:
        return self.session.card

    @overload
    def __call__(self, images: Picture, *, seed: int | None = None) -> Output: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, images: Iterable[Picture], *, seed: int | Sequence[int] | None = None) -> list[Output]: ...
    def __call__(
        self, images: Picture | Iterable[Picture], *, seed: int | Sequence[int] | None = None
    ) -> Output | list[Output]:
        """A picture for a picture, a list for several: same kind, size and depth, the channels of the model's target.

        Paths give Pillow images. Where Pillow has no mode for the result (16 bits or floats in colour), it is an array.
        Floats are in `card.float_range`. `seed`, 0 by default, is one for all or one each; only models with noise use
        it. Raises ImageError for what is no picture, ModelError for a seed that is none and for what the network does.
        """
        if isinstance(images, str | os.PathLike | Image.Image | np.ndarray) or not isinstance(images, Iterable):
            return self([images], seed=seed)[0]
        pictures = list(images)
        forms: list[Form] = []

        def opened() -> Iterator[Pixels]:
            for index, picture in enumerate(pictures):
                pixels, form = read(picture, self.card, f"picture {index}" if len(pictures) > 1 else "the picture")
                forms.append(form)
                yield pixels

        results = self._translate(opened(), _seeds(seed, len(pictures)))
        return [give(pixels, form, self.card) for pixels, form in zip(results, forms, strict=True)]

    def pixels(self, pixels: Pixels, *, seed: int = 0) -> Pixels:
        """[H, W, C] uint8, uint16 or float32 in [0, 1], of any channels that a file may have; the same depth back."""
        check(pixels, self.card, "the picture")
        return self._translate([pixels], _seeds(seed, 1))[0]

    def variation(self, image: Picture, *, count: int = 8, seed: int = 0) -> Variation:
        """Over the seeds from `seed` to `seed + count - 1`. Raises ModelError for a model without noise."""
        if not self.card.noise:
            raise ModelError(f"{self.card.name} has no noise: export it with --noise")
        if count < 2:
            raise ModelError(f"count = {count}: a spread needs at least 2 pictures")
        pixels, form = read(image, self.card)
        mean = np.zeros((self.card.target.channels, *pixels.shape[:2]), np.float32)
        squares = np.zeros_like(mean)
        for number, one in enumerate(_seeds(range(seed, seed + count), count), start=1):  # Welford 1962
            for rows, values in self._rows(pixels, self._grid(pixels), one):
                away = values - mean[:, rows]
                mean[:, rows] += away / number
                squares[:, rows] += away * (values - mean[:, rows])
        low, high = self.card.target.range
        deviation = np.sqrt(squares / np.float32((count - 1) * (high - low) ** 2)).transpose(1, 2, 0)
        return Variation(give(self._finish(pixels, [(slice(0, len(pixels)), mean)]), form, self.card), deviation)

    def generate(
        self, count: int, *, seed: int = 0, label: str | int | None = None, truncation: float | None = None
    ) -> list[Output]:
        """Pictures from random numbers, where the model makes them so; the first are the same whatever `count` is.

        Without `label`, a name or number, a model that has labels takes them in turn. `truncation`: see `latents.draw`.
        """
        seed, *_ = _seeds(seed, 1)
        latents, labels = draw(self.card, count, seed, truncation), classes(self.card, count, label)
        return [give(pixels, "image", self.card) for pixels in self.decode(latents, labels, seed=seed)]

    def decode(self, latents: Latents, labels: Labels, *, seed: int = 0) -> Iterator[Pixels]:
        """Of latents [N, Z], and labels [N] where the model has any, one by one as `pixels` gives them."""
        target = self.card.target
        dtype = np.dtype({16: np.uint16, 32: np.float32}.get(target.bits or 8, np.uint8))
        everything: Inputs = {"latent": latents, "label": labels, "seed": np.full(len(latents), seed, np.int64)}
        for start in range(0, len(latents), self.batch_size):
            some = slice(start, start + self.batch_size)
            for values in self._run({name: everything[name][some] for name in self.card.inputs}):
                yield to_pixels(values, target, dtype)

    def _translate(self, pictures: Iterable[Pixels], seeds: Sequence[int]) -> list[Pixels]:
        """Asks for the pictures one by one, so that no more are held than wait for others of their size."""
        done: dict[int, Pixels] = {}
        waiting: dict[tuple[int, int], dict[int, View]] = {}
        for index, (pixels, seed) in enumerate(zip(pictures, seeds, strict=True)):
            grid = self._grid(pixels)
            if len(grid.corners()) > 1:
                done[index] = self._finish(pixels, self._rows(pixels, grid, seed))
                continue
            group = waiting.setdefault(grid.shape, {})
            group[index] = View(pixels, (0, 0), seed)
            if len(group) == self.batch_size:
                done |= self._together(waiting.pop(grid.shape), grid.shape)
        for shape, group in waiting.items():
            done |= self._together(group, shape)
        return [done[index] for index in range(len(done))]

    def _grid(self, pixels: Pixels) -> Grid:
        height, width, _ = pixels.shape
        return Grid.cover(height, width, self.tile, self.card.multiple)

    def _together(self, group: dict[int, View], shape: tuple[int, int]) -> dict[int, Pixels]:
        outputs = self._run(self._inputs(list(group.values()), shape))
        done = {}
        for (index, view), values in zip(group.items(), outputs, strict=True):
            height, width = view.pixels.shape[:2]
            done[index] = self._finish(view.pixels, [(slice(0, height), values[:, :height, :width])])
        return done

    def _rows(self, pixels: Pixels, grid: Grid, seed: int) -> Rows:
        """Every tile has the same seed: a seed for each leaves as many seams, and differs more from the untiled."""
        views = [View(pixels, corner, seed) for corner in grid.corners()]
        whole: Statistics = []
        if len(views) > 1 and self.card.norm == "image" and self.statistics == "global":
            whole = self._measure(views, grid.shape)
        if len(views) > 1 and self.card.norm == "group":
            warnings.warn(
                f"{self.card.name}: group norm takes each tile's own statistics, so seams may show; larger tiles help",
                stacklevel=2,
            )
        chunks = self._chunks(views)
        tiles = (tile for chunk in chunks for tile in self._run(self._inputs(chunk, grid.shape), whole))
        return blend(grid, tiles, *pixels.shape[:2])

    def _measure(self, views: list[View], shape: tuple[int, int]) -> Statistics:
        """Of each norm [2, C] over the whole picture: the mean over at most MEASURED of its tiles, evenly spread."""
        some = [views[index] for index in np.linspace(0, len(views) - 1, min(len(views), MEASURED)).astype(int)]
        totals: list[NDArray[np.float64]] = []
        for chunk in self._chunks(some):
            _, found = self.session.measure(self._inputs(chunk, shape))
            sums = [norm.sum(axis=0, dtype=np.float64) for norm in found]
            totals = [total + new for total, new in zip(totals, sums, strict=True)] if totals else sums
        return [(total / len(some)).astype(np.float32) for total in totals]

    def _chunks(self, views: list[View]) -> Iterator[list[View]]:
        return (views[start : start + self.batch_size] for start in range(0, len(views), self.batch_size))

    def _inputs(self, views: Sequence[View], shape: tuple[int, int]) -> Inputs:
        source = self.card.source
        assert source is not None
        image = np.empty((len(views), source.channels, *shape), np.float32)
        for view, out in zip(views, image, strict=True):
            tile = cut(view.pixels, view.corner, shape)
            to_network(to_channels(tile, source.channels, self.card.background), source, out)
        noise = {"seed": np.array([view.seed for view in views], np.int64)} if self.card.noise else {}
        return {"image": image, **noise}

    def _run(self, inputs: Inputs, statistics: Statistics = ()) -> NDArray[np.float32]:
        """[N, C, H, W]; `statistics` [2, C] are the same for all N."""
        first = inputs[self.card.inputs[0]]
        output = self.session.run(inputs, [np.repeat(norm[None], len(first), axis=0) for norm in statistics])
        wanted = (len(first), self.card.target.channels, *first.shape[2:])
        if output.shape != wanted and "image" in inputs:
            raise ModelError(f"{self.card.name}: gave {output.shape} where {wanted} was due; export the model again")
        if not np.isfinite([output.min(), output.max()]).all():
            raise ModelError(f"{self.card.name}: gave values that are not finite; use another precision, as fp32")
        return output

    def _finish(self, pixels: Pixels, rows: Rows) -> Pixels:
        channels, alpha = self.card.target.channels, carries_alpha(pixels, self.card)
        result = np.empty((*pixels.shape[:2], channels + alpha), pixels.dtype)
        for where, values in rows:
            result[where, :, :channels] = to_pixels(values, self.card.target, pixels.dtype)
        if alpha:
            result[..., -1] = pixels[..., -1]
        return result


def _seeds(seed: int | Iterable[int] | None, count: int) -> list[int]:
    seeds = list(seed) if isinstance(seed, Iterable) else [0 if seed is None else seed] * count
    if len(seeds) != count:
        raise ModelError(f"{len(seeds)} seeds for {count} pictures: give one for all, or one each")
    for each in seeds:
        if not isinstance(each, int | np.integer) or not 0 <= each < SEEDS:
            raise ModelError(f"seed {each!r}: must be an integer from 0 to {SEEDS - 1}")
    return [int(each) for each in seeds]
