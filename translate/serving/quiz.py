"""`translate quiz`: which of two pictures is real? People's answer, as pix2pix and CycleGAN were judged.

Isola et al. 2017, sec. 3.2.1: a pair is seen for one second, then the answer may take its time; the first pairs are for
practice and tell whether the answer was right.
"""

import base64
import csv
import html
import io
import secrets
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image
from starlette.middleware import Middleware

from translate.data.channels import maximum
from translate.data.decode import read_image
from translate.data.files import list_images, looked_at
from translate.errors import ConfigError, DataError, ImageError
from translate.serving.app import check_port, launch, logins, quieten
from translate.serving.limits import Guard
from translate.serving.metrics import Metrics

if TYPE_CHECKING:
    import gradio as gr

SIDE = 512  # pixels a side that are sent, at most
HASTE = 0.4  # seconds; an answer sooner than this is the second half of a double click
UPLOAD = 1 << 10  # bytes; nothing is uploaded
COLUMNS = ("finished", "name", "real", "fake", "practice", "pairs", "fooled", "rate", "low", "high", "seed")


@dataclass(frozen=True)
class Options:
    """As on the command line."""

    real: Path
    fake: Path
    pairs: int = 40
    practice: int = 10
    name: str | None = None
    results: Path = Path("quiz.csv")
    seed: int | None = None
    host: str = "127.0.0.1"
    port: int = 7861
    auth: str | None = None


class Trial(NamedTuple):
    real: Path
    fake: Path
    real_is_left: bool


class Rate(NamedTuple):
    value: float
    low: float
    high: float


@dataclass
class Game:
    """One player's."""

    name: str
    seed: int
    trials: list[Trial]
    practice: int
    place: int = 0  # of the trial that is shown
    fooled: int = 0  # counted trials in which the fake was taken for real
    shown: float = field(default_factory=time.monotonic)

    def answer(self, left: bool) -> bool | None:
        """Whether that is right, on to the next trial; None: too soon to be meant."""
        if time.monotonic() - self.shown < HASTE or self.over:
            return None
        right = left == self.trials[self.place].real_is_left
        self.fooled += not right and self.place >= self.practice
        self.place, self.shown = self.place + 1, time.monotonic()
        return right

    @property
    def over(self) -> bool:
        return self.place == len(self.trials)

    @property
    def rate(self) -> Rate:
        return fooling_rate(self.fooled, len(self.trials) - self.practice)


class Quiz:
    """The pictures, and where results go. Raises DataError for a folder without pictures, ConfigError for the file."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.real, self.fake = (list_images(folder) for folder in (options.real, options.fake))
        for folder, files in ((options.real, self.real), (options.fake, self.fake)):
            if not files:
                raise DataError(f"{folder}: no pictures found: {looked_at(folder)}")
        try:
            options.results.parent.mkdir(parents=True, exist_ok=True)
            options.results.open("a").close()
        except OSError as error:
            raise ConfigError(f"--results: {options.results}: cannot be written ({error.strerror})") from None
        self._lock = threading.Lock()

    def begin(self, name: str) -> Game:
        """No picture comes again before all have been shown."""
        seed = secrets.randbelow(1 << 31) if self.options.seed is None else self.options.seed
        rng, count = np.random.default_rng(seed), self.options.practice + self.options.pairs
        sides = rng.random(count) < 0.5
        chosen = [_drawn(files, count, rng) for files in (self.real, self.fake)]
        trials = [Trial(real, fake, bool(left)) for real, fake, left in zip(*chosen, sides, strict=True)]
        return Game((self.options.name or name).strip()[:60], seed, trials, self.options.practice)

    def record(self, game: Game) -> None:
        """Appends a line to the results."""
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        name = game.name.lstrip("=+-@\t\r")  # a spreadsheet would calculate it
        counted = len(game.trials) - game.practice
        sets = (self.options.real, self.options.fake)
        rate = [f"{number:.4f}" for number in game.rate]
        with self._lock, self.options.results.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if not file.tell():
                writer.writerow(COLUMNS)
            writer.writerow([now, name, *sets, game.practice, counted, game.fooled, *rate, game.seed])


def fooling_rate(fooled: int, pairs: int) -> Rate:
    """The share of pairs in which the fake was taken for real, ½ at best, with Wilson's interval of 95 % (1927)."""
    from scipy.stats import binomtest

    interval = binomtest(fooled, pairs).proportion_ci(0.95, "wilson")
    return Rate(fooled / pairs, float(interval.low), float(interval.high))


def quiz(options: Options) -> None:
    """Until Ctrl-C or SIGTERM. Raises TranslateError where a folder, an option or the port cannot be used."""
    try:
        with running(options) as url:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            print(f"which one is real? {url} (Ctrl-C stops); results: {options.results}", flush=True)
            while True:
                time.sleep(60)
    except KeyboardInterrupt:
        print("stopped", flush=True)


@contextmanager
def running(options: Options) -> Iterator[str]:
    """A server in a thread of its own; its address."""
    users, asked = logins(options.auth), Quiz(options)
    check_port(options.host, options.port)
    shapes = [read_image(files[0]).shape for files in (asked.real, asked.fake)]
    if shapes[0] != shapes[1]:
        print(f"real pictures are {list(shapes[0])}, fake ones {list(shapes[1])} [H, W, C]: that may show", flush=True)
    with tempfile.TemporaryDirectory(prefix="translate-") as name:
        folder, metrics = Path(name).resolve(), Metrics()
        quieten(folder)
        page = build(asked)
        guard = Middleware(Guard, folder=folder, upload=UPLOAD, metrics=metrics)
        try:
            host, port = options.host, options.port
            yield launch(page, guard, metrics, users, host=host, port=port, queue=64, upload=UPLOAD, api=False)
        finally:
            page.close(verbose=False)


def build(asked: Quiz) -> "gr.Blocks":
    import gradio as gr

    options = asked.options
    page: gr.Blocks
    quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    with gr.Blocks(title="Which one is real?", analytics_enabled=False) as page:
        gr.HTML("<h1>Which one is real?</h1>", elem_id="title")
        game = gr.State(None)
        with gr.Column() as intro:
            gr.HTML(_rules(options))
            name = gr.Textbox(
                label="Your name, if you like", visible=options.name is None, max_length=60, elem_id="name"
            )
            start = gr.Button("Start", variant="primary", size="lg", elem_id="start")
        with gr.Column(visible=False) as play:
            stage = gr.HTML(elem_id="stage")
            with gr.Row():
                left = gr.Button("Left is real", size="lg", elem_id="left")
                right = gr.Button("Right is real", size="lg", elem_id="right")
        result = gr.HTML(visible=False, elem_id="result")
        outputs = [game, intro, play, stage, result]

        def begin(who: str) -> list[Any]:
            begun = asked.begin(who or "")
            shown = gr.update(value=_pair(begun, None))
            return [begun, gr.update(visible=False), gr.update(visible=True), shown, gr.skip()]

        def answer(known: Game | None, is_left: bool) -> list[Any]:
            answered = known.answer(is_left) if known is not None else None
            if known is None or answered is None:
                return [gr.skip()] * len(outputs)
            if not known.over:
                return [known, gr.skip(), gr.skip(), gr.update(value=_pair(known, answered)), gr.skip()]
            asked.record(known)
            told = gr.update(value=_verdict(known), visible=True)
            return [known, gr.skip(), gr.update(visible=False), gr.update(value=""), told]

        start.click(begin, name, outputs, **quick)
        left.click(lambda known: answer(known, True), game, outputs, **quick)
        right.click(lambda known: answer(known, False), game, outputs, **quick)
    return page


def _rules(options: Options) -> str:
    practice = (
        f"The first {options.practice} are for practice and tell you the answer; then " if options.practice else ""
    )
    return (
        f"<p>Two pictures appear for one second: one is real, one was made by a machine. Then say which one is real; "
        f"take your time. {practice}{options.pairs} count.</p>"
    )


def _pair(game: Game, answered: bool | None) -> str:
    """`answered`: whether the last answer was right. The pictures say nothing of where they come from."""
    place, trial = game.place, game.trials[game.place]
    practising = place < game.practice
    count = f"practice {place + 1} of {game.practice}"
    if not practising:
        count = f"{place - game.practice + 1} of {len(game.trials) - game.practice}"
    feedback = ""
    if answered is not None and place <= game.practice:
        feedback = "<b class='yes'>right</b>" if answered else "<b class='no'>wrong</b>"
        feedback = f"<span id='feedback'>The last answer was {feedback}.</span>"
    files = (trial.real, trial.fake) if trial.real_is_left else (trial.fake, trial.real)
    pictures = "".join(f'<img src="{_uri(file)}" alt="">' for file in files)
    return f"<p id='progress'>{count} {feedback}</p><div class='pair' data-place='{place}'>{pictures}</div>"


def _verdict(game: Game) -> str:
    rate, counted = game.rate, len(game.trials) - game.practice
    thanks = f"Thank you, {html.escape(game.name)}." if game.name else "Thank you."
    return (
        f"<h2>{thanks}</h2><p>You took the machine's picture for real in {game.fooled} of {counted} pairs: "
        f"<b>{rate.value:.0%}</b> (95 % interval {rate.low:.0%} to {rate.high:.0%}). "
        "50% would mean that nobody can tell them apart.</p>"
    )


def _drawn(files: list[Path], count: int, rng: np.random.Generator) -> list[Path]:
    """Those that turn out not to be readable are taken out of `files`. Raises DataError where none is left."""
    while files:
        rounds = [rng.permutation(len(files)) for _ in range(-(-count // len(files)))]
        chosen = [files[place] for place in np.concatenate(rounds)[:count]]
        if not (broken := {path for path in set(chosen) if not _readable(path)}):
            return chosen
        files[:] = [path for path in files if path not in broken]
    raise DataError("none of the pictures can be read")


def _readable(path: Path) -> bool:
    try:
        read_image(path, channels=3)
    except ImageError as error:
        print(f"left out: {error}", flush=True)
        return False
    return True


def _uri(path: Path) -> str:
    """PNG without metadata, whatever the file is."""
    pixels = read_image(path, channels=3)
    image = Image.fromarray(np.rint(pixels * (255 / maximum(pixels))).astype(np.uint8))
    image.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
