"""The quiz, played in headless Chromium from start to end. Without /usr/bin/chromium these tests fail."""

import base64
import csv
import io
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from translate.errors import ConfigError, DataError
from translate.serving import quiz
from translate.serving.quiz import Game, Options, Quiz, Trial, fooling_rate, running


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Bright pictures are real, dark ones are not."""
    rng = np.random.default_rng(0)
    for name, low in (("real", 180), ("fake", 0)):
        (tmp_path / name).mkdir()
        for number in range(4):
            pixels = rng.integers(low, low + 60, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    return tmp_path / "real", tmp_path / "fake"


@pytest.fixture
def options(folders: tuple[Path, Path], tmp_path: Path, free: int) -> Options:
    return Options(*folders, pairs=3, practice=2, results=tmp_path / "out" / "quiz.csv", port=free)


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page()
        expect.set_options(timeout=20_000)
        yield page
        browser.close()


def real_side(page: Page) -> str:
    """By the pixels that were sent."""
    sources = page.locator("#stage img").evaluate_all("images => images.map(image => image.src)")
    means = [np.asarray(Image.open(io.BytesIO(base64.b64decode(s.partition(",")[2])))).mean() for s in sources]
    assert len(means) == 2
    return "left" if means[0] > means[1] else "right"


def results(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_game_from_start_to_end(page: Page, options: Options) -> None:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    with running(options) as url:
        page.on("request", lambda one: None if one.url.startswith((url, "data:")) else complaints.append(one.url))
        page.goto(url)
        page.get_by_label("Your name").fill("=Ada")
        page.click("#start")
        first = page.locator("#stage img").first
        expect(first).to_be_visible()  # half a second after the click
        seen = time.monotonic()
        expect(first).to_be_hidden()
        assert 0.5 < time.monotonic() - seen < 3
        expected = ["practice 1 of 2", "practice 2 of 2", "1 of 3", "2 of 3", "3 of 3"]
        for place, (progress, lie) in enumerate(zip(expected, (False, True, True, False, False), strict=True)):
            expect(page.locator("#progress")).to_contain_text(progress)
            feedback = {1: "right", 2: "wrong"}.get(place)  # of the answer before, while it was practice
            if feedback:
                expect(page.locator("#feedback b")).to_have_text(feedback)
            else:
                expect(page.locator("#feedback")).to_have_count(0)
            page.wait_for_timeout(500)
            assert str(options.real.parent) not in page.content()
            side = real_side(page)
            page.click("#" + ({"left": "right", "right": "left"}[side] if lie else side))
        expect(page.locator("#result")).to_contain_text("1 of 3")
        expect(page.locator("#result")).to_contain_text("33%")
        expect(page.locator("#left")).to_be_hidden()
    assert complaints == []
    (row,) = results(options.results)
    assert (row["name"], row["pairs"], row["fooled"], row["practice"]) == ("Ada", "3", "1", "2")
    assert (row["rate"], row["low"], row["high"]) == ("0.3333", "0.0615", "0.7923")  # Wilson: 1 of 3


def test_nobody_else_is_let_in_nor_any_file_out(options: Options) -> None:
    with running(Options(**vars(options) | {"auth": "ada:secret"})) as url:
        assert requests.get(f"{url}/gradio_api/file={options.real}/0.png", timeout=20).status_code in (401, 403, 404)
        assert requests.post(f"{url}/gradio_api/run/predict", json={}, timeout=20).status_code in (401, 404)
        answer = requests.get(f"{url}/config", timeout=20)
        assert answer.status_code == 401
        assert "frame-ancestors" in answer.headers["content-security-policy"]


def test_results_are_appended(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiz, "HASTE", 0)
    asked = Quiz(Options(**vars(options) | {"name": "Eve", "seed": 3}))
    for _ in range(2):
        game = asked.begin("not asked")
        while not game.over:
            game.answer(left=True)
        asked.record(game)
    rows = results(options.results)
    assert [row["name"] for row in rows] == ["Eve", "Eve"]
    assert rows[0]["fooled"] == rows[1]["fooled"]  # the seed decides the pairs
    assert rows[0]["seed"] == "3"


def test_only_counted_answers_count_and_a_double_click_is_one_answer() -> None:
    trial = Trial(Path("a"), Path("b"), real_is_left=True)
    game = Game("", 0, [trial] * 3, practice=1)
    assert game.answer(left=False) is None  # the pair is not even in sight
    for right in (False, False, True):
        game.shown = 0.0
        assert game.answer(left=right) is right
        assert game.answer(left=right) is None
    assert game.over
    assert game.fooled == 1


def test_every_picture_is_shown_before_any_is_shown_again_and_sides_change(options: Options) -> None:
    asked = Quiz(Options(**vars(options) | {"pairs": 40, "practice": 0, "seed": 1}))
    trials = asked.begin("").trials
    assert {trial.real for trial in trials[:4]} == set(asked.real)
    assert {trial.fake for trial in trials[4:8]} == set(asked.fake)
    assert 8 < sum(trial.real_is_left for trial in trials) < 32


def test_a_picture_that_cannot_be_read_is_left_out(options: Options, capsys: pytest.CaptureFixture[str]) -> None:
    broken = options.real / "0.png"
    broken.write_bytes(b"no picture")
    trials = Quiz(options).begin("").trials
    assert broken not in {trial.real for trial in trials}
    assert "0.png" in capsys.readouterr().out


def test_wilson() -> None:
    """Wilson 1927; the numbers of Brown, Cai & DasGupta 2001's formula by hand."""
    for fooled, pairs in ((0, 10), (5, 10), (40, 40)):
        z, p = 1.959964, fooled / pairs
        centre, scale = (p + z * z / (2 * pairs)), 1 + z * z / pairs
        half = z * np.sqrt(p * (1 - p) / pairs + z * z / (4 * pairs**2))
        wanted = (p, max(0, (centre - half) / scale), min(1, (centre + half) / scale))
        np.testing.assert_allclose(fooling_rate(fooled, pairs), wanted, atol=1e-6)


def test_mistakes_are_told(options: Options, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no pictures found"):
        Quiz(Options(**vars(options) | {"fake": tmp_path / "empty"}))
    with pytest.raises(ConfigError, match="--results"):
        Quiz(Options(**vars(options) | {"results": tmp_path}))
