import base64
import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from translate.errors import DataError
from translate.training.journal import Journal
from translate.training.report import BUDGET, SAMPLES, Axis, axis, number, write_report

VOID = {"meta", "link", "br", "img", "input", "path"}
HOSTILE = "</title><script>alert(1)</script>'\"><img src=x onerror=alert(2)>&amp;"


class Page(HTMLParser):
    """Checks that tags nest, and collects attributes and text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []  # (tag, name, value)
        self.inside: dict[str, list[str]] = {}
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.inside.setdefault(tag, []).append(data)

    def text(self, tag: str = "body") -> str:
        return " ".join(" ".join(self.inside.get(tag, [])).split())

    def values(self, tag: str, name: str) -> list[str]:
        return [value for t, n, value in self.attributes if (t, n) == (tag, name)]


def _run(folder: Path, name: str = "emoji_pix2pix", steps: int = 200) -> Path:
    """A run folder as `translate train` leaves it."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(f"# {name}\nrecipe:\n  kind: pix2pix\nseed: 7  # https://example.org/seed\n")
    (folder / "environment.json").write_text(
        json.dumps({"started": "now", "command": ["train.py", "<b>"], "gpu": None})
    )
    with Journal(folder / "metrics.jsonl") as journal:
        for step in range(1, steps + 1):
            values = {
                "train/discriminator/real": 0.5,
                "train/generator/adversarial": 0.9,
                "train/generator/l1": 40 / step,
            }
            values |= {"train/lr/generator": 2e-4, "train/lr/discriminator": 2e-4, "train/adversary/logits_real": 0.1}
            journal.write(step, step // 20 + 1, 8 * step, 0.5 * step, values)
            if step % 50 == 0:
                psnr = 20 - abs(step - 150) / 100
                values = {"val/psnr": psnr, "val/l1": 3 - psnr / 10, "val/input/psnr": 11.75, "val/input/l1": 2.25}
                journal.write(step, step // 20 + 1, 8 * step, 0.5 * step, values)
    return folder


def _sample(run: Path, step: int, size: tuple[int, int] = (40, 20)) -> None:
    (run / "samples").mkdir(exist_ok=True)
    Image.new("RGB", size, (step % 256, 0, 0)).save(run / "samples" / f"step-{step:08d}.png")


def test_shows_values_settings_environment_and_problems(tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    _sample(run, 100)
    (run / "problems.txt").write_text("a&b.png: truncated\n")
    assert write_report(run) == run / "report.html"
    page = Page(run / "report.html")
    body = page.text()
    assert page.text("title") == page.text("h1") == "emoji_pix2pix"
    for part in (
        *("pix2pix method", "200 steps", "11 epoch", "1,600 images seen", "0:01:40 time", "16 images/s"),
        "PSNR ↑ 20 dB 150 19.5 11.75",  # best, its step, last, unchanged input
        "L1 ↓ 1 150 1.05 2.25",
        *("unchanged input 11.75", "log scale", "generator, discriminator 2e-4", "seed: 7", "train.py <b>"),
        *("a&b.png: truncated", "Skipped files 1", "logits_real 0.1", "not minimised"),
    ):
        assert part in body
    assert "not a finite number" not in body
    assert "gpu" not in page.text("table")
    assert [item.name for item in run.iterdir() if item.name.startswith(".")] == []


def test_needs_nothing_from_outside(tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    for step in (1, 2):
        _sample(run, step)
    page = Page(write_report(run))
    for name in ("src", "href", "srcset", "action", "poster", "data", "xlink:href"):
        for value in (value for _, n, value in page.attributes if n == name):
            assert value.startswith("data:")
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
    code = page.source.replace("# https://example.org/seed", "")
    assert not re.search(
        r"https?://|url\(|@import|fetch\(|XMLHttpRequest|//[a-z]+\.", re.sub(r"base64,[\w+/=]+", "", code)
    )
    assert "default-src 'none'" in page.source


def test_a_hostile_name_stays_text_everywhere(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", HOSTILE, steps=3)
    (run / "problems.txt").write_text(HOSTILE)
    _sample(run, 1)
    (run / "samples" / "columns.json").write_text(json.dumps([HOSTILE, 3]))
    (run / "environment.json").write_text(json.dumps({HOSTILE: HOSTILE, "list": [HOSTILE, 1], "started": HOSTILE}))
    with Journal(run / "metrics.jsonl") as journal:
        journal.write(
            4, 1, 1, 1.0, {f"train/{HOSTILE}/{HOSTILE}": 1.0, f"train/lr/{HOSTILE}": 1.0, f"val/{HOSTILE}": 1.0}
        )
    page = Page(write_report(run))
    assert page.text("h1") == page.text("title") == HOSTILE
    assert len(page.values("img", "src")) == 1
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
    assert page.source.count("<script") == 1
    for chart in page.values("figure", "data-chart"):
        assert json.loads(chart)["lines"]


def test_pictures_are_embedded_exactly_first_to_last(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", steps=1)
    for step in range(0, 5000, 100):
        _sample(run, step)
    (run / "samples" / "step-notes.png").write_bytes(b"no step")
    page = Page(write_report(run))
    steps = [int(step) for step in page.values("figure", "data-step")]
    assert (len(steps), steps[0], steps[-1]) == (SAMPLES, 0, 4900)
    gaps = np.diff(steps)
    assert gaps.max() - gaps.min() <= 100
    for step, uri in zip(steps, page.values("img", "src"), strict=True):
        kind, _, content = uri.partition(",")
        assert kind == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(content))).getpixel((0, 0)) == (step % 256, 0, 0)


def test_large_grids_are_recompressed_to_a_file_that_can_be_sent(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", steps=1)
    _sample(run, 0)
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), dtype=np.uint8)
    for step in (1, 2):
        Image.fromarray(noise).save(run / "samples" / f"step-{step:08d}.png", compress_level=0)
    report = write_report(run)
    assert report.stat().st_size < 4 / 3 * BUDGET + 100_000 < 5_000_000
    page = Page(report)
    kinds = [uri.partition(";")[0] for uri in page.values("img", "src")]
    assert kinds == ["data:image/png", "data:image/webp", "data:image/webp"]
    assert page.values("img", "width") == ["40", "1200", "1200"]


def test_a_damaged_picture_is_left_out(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", steps=1)
    for step in (1, 2, 3):
        _sample(run, step, (200, 200))
    cut = run / "samples" / "step-00000002.png"
    cut.write_bytes(cut.read_bytes()[:-40])
    (run / "samples" / "step-00000003.png").write_bytes(b"")
    assert Page(write_report(run)).values("figure", "data-step") == ["1"]


def test_works_from_an_empty_folder_and_from_an_empty_journal(tmp_path: Path) -> None:
    page = Page(write_report(tmp_path))
    assert page.text("h1") == tmp_path.name
    assert "Nothing has been logged yet" in page.text()
    (tmp_path / "metrics.jsonl").touch()
    assert "Nothing has been logged yet" in Page(write_report(tmp_path)).text()


def test_works_with_a_cut_last_line_and_damaged_files(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", steps=60)
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 61, "train/gen')
    (run / "environment.json").write_text('{"python": ')
    (run / "config.yaml").write_bytes(b"recipe: [\xff")
    page = Page(write_report(run))
    assert "60 steps" in page.text()
    assert page.text("h1") == "run"


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -1.0, 1e-30, 1e30, 5.0])
def test_any_values_can_be_drawn(tmp_path: Path, value: float) -> None:
    keys = ("train/g/a", "train/lr/g", "val/psnr", "val/a2b/psnr", "val/input/psnr", "train/plain")
    with Journal(tmp_path / "metrics.jsonl") as journal:
        for step in (1, 2, 3):
            journal.write(step, 1, step, 0.0, dict.fromkeys(keys, value if step != 2 else 1.0))
    page = Page(write_report(tmp_path))
    assert not re.search(r"\b(nan|inf)\b", " ".join(page.values("path", "d") + page.values("span", "style")).lower())
    assert ("train/g/a was not a finite number at 2 logged steps, first at step 1" in page.text()) == (
        not math.isfinite(value)
    )


def test_several_directions_share_a_chart(tmp_path: Path) -> None:
    with Journal(tmp_path / "metrics.jsonl") as journal:
        journal.write(1, 1, 1, 1.0, {"val/ssim": 0.5, "val/a2b/ssim": 0.6, "val/b2a/ssim": 0.4, "val/input/ssim": 0.3})
    page = Page(write_report(tmp_path))
    assert len(page.values("figure", "data-chart")) == 1
    assert "SSIM ↑ higher is better mean 0.5 a2b 0.6 b2a 0.4 unchanged input 0.3" in page.text()


def test_the_report_is_a_function_of_the_folder(tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    _sample(run, 1)
    assert write_report(run).read_bytes() == write_report(run).read_bytes()
    with pytest.raises(DataError, match="no such run folder"):
        write_report(tmp_path / "none")


def test_axes_have_round_ticks_inside_and_turn_logarithmic() -> None:
    assert axis([[(1, 0.12), (2, 0.93)]]).ticks() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    wide = axis([[(1, 0.5), (2, 40.0)]])
    assert wide.log
    assert wide.ticks() == [0.5, 1, 2, 5, 10, 20]
    assert Axis(1, 1e6, log=True).ticks() == [10.0**power for power in range(7)]
    assert Axis(1, 100, log=True).at(10) == pytest.approx(50)
    assert not axis([[(1, -0.5), (2, 40.0)]]).log
    assert axis([[(1, 1.0), (2, 2e-6)]], zero=True).low == 0
    assert axis([[]]) == axis([[(1, None)]])
    spiked = [(step, 1e9 if step == 500 else 1.0 + step / 1000) for step in range(1000)]
    assert axis([spiked]).high > 1e7  # the mean around a spike is shown whole


def test_numbers_are_short() -> None:
    shown = [
        number(value) for value in (0, 12, 12345, 0.123456, 12.3456, 1234.56, 2e-4, 1.5e-7, 2e6, -3.5, None, math.nan)
    ]
    assert shown == ["0", "12", "12,345", "0.1235", "12.35", "1,235", "2e-4", "1.5e-7", "2e6", "-3.5", "–", "–"]
