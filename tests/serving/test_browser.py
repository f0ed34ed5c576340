"""The page in headless Chromium. Without /usr/bin/chromium (apt install chromium) these tests fail."""

import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from translate.serving.app import Running

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser, server: Running, request: pytest.FixtureRequest) -> Iterator[Page]:
    """Opened. Afterwards: it asked nobody but the server for anything, and its scripts complained about nothing."""
    page = chromium.new_page(**getattr(request, "param", {}))
    page.set_default_timeout(20_000)
    expect.set_options(timeout=20_000)  # five seconds are short where other tests share the machine
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda one: None if one.url.startswith((server.url, "data:", "blob:")) else complaints.append(one.url),
    )
    page.goto(server.url)
    expect(page.locator("#go")).to_be_visible()
    yield page
    page.close()
    assert complaints == []


def upload(page: Page, path: Path) -> None:
    page.set_input_files("#picture input[type=file]", path)


def shown(image: Locator) -> Image.Image:
    """The pixels that the browser loaded."""
    expect(image).to_be_visible()
    answer = image.page.request.get(image.get_attribute("src") or "")
    return Image.open(io.BytesIO(answer.body())).convert("RGB")


def before_and_after(page: Page) -> tuple[Image.Image, Image.Image]:
    images = page.locator("#result img")
    expect(images).to_have_count(2)
    first, second = shown(images.nth(0)), shown(images.nth(1))
    return first, second


def test_an_upload_is_translated_and_can_be_downloaded(page: Page, photo: Path) -> None:
    upload(page, photo)
    images = [np.asarray(image) for image in before_and_after(page)]
    original = np.asarray(Image.open(photo))
    assert {tuple(image[0, 0]) for image in images} == {tuple(original[0, 0]), tuple(255 - original[0, 0])}
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "photo-translator.png"
    np.testing.assert_array_equal(np.asarray(Image.open(download.value.path())), 255 - original)


def test_the_slider_moves(page: Page, photo: Path) -> None:
    upload(page, photo)
    expect(page.locator("#result img")).to_have_count(2)
    for place in (0, 1):  # until they are there the handle lies elsewhere
        expect(page.locator("#result img").nth(place)).to_have_js_property("complete", True)
    box = page.locator("#result img").first.bounding_box()
    assert box is not None
    handle = page.locator("#result .icon-wrap").first
    before = handle.bounding_box()
    assert before is not None
    page.mouse.move(before["x"] + before["width"] / 2, before["y"] + before["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, before["y"] + before["height"] / 2, steps=4)
    page.mouse.up()
    page.wait_for_function(
        "least => document.querySelector('#result .icon-wrap').getBoundingClientRect().x > least",
        arg=before["x"] + box["width"] / 4,
    )


def test_a_drawing_is_translated(page: Page) -> None:
    page.get_by_role("tab", name="Draw").click()
    canvas = page.locator("#pad canvas")
    expect(canvas).to_have_js_property("width", 256)  # its script has run
    page.locator("#pad input[type=range]").fill("20")  # scrolls
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    page.click("#go")
    images = [np.asarray(image.convert("L")) for image in before_and_after(page)]
    paper, negative = sorted(images, key=lambda image: -image.mean())
    assert paper.shape == (256, 256)
    assert (paper[128, 128], paper[20, 20]) == (0, 255)  # the line, the paper
    assert (negative[128, 128], negative[20, 20]) == (255, 0)
    page.locator("#pad").get_by_role("button", name="Undo").click()
    blank = "canvas => canvas.getContext('2d').getImageData(128, 128, 1, 1).data[0]"
    assert canvas.evaluate(blank) == 255


def test_variants_of_a_model_with_noise(page: Page, photo: Path) -> None:
    page.get_by_label("noisy").check()
    expect(page.locator("#variants")).to_be_visible()
    page.get_by_label("Seed").fill("2")
    upload(page, photo)
    variants = page.locator("#gallery img")
    expect(variants).to_have_count(4)
    expect(page.locator("#gallery")).to_contain_text("seed 5")
    expect(page.locator("#spread img")).to_be_visible()
    third = np.asarray(shown(variants.nth(2)))
    first = np.asarray(shown(variants.nth(0)))
    assert (third != first).any()
    variants.nth(2).click()
    source = variants.nth(2).get_attribute("src")
    expect(page.locator(f"#result img[src='{source}']")).to_have_count(1)
    page.get_by_label("negative").check()
    expect(page.locator("#variants")).to_be_hidden()


def test_a_zip_comes_back(page: Page, photo: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.write(photo, "a/photo.png")
        archive.writestr("b.txt", "no picture")
    page.get_by_role("tab", name="Folder").click()
    page.set_input_files("#zip input[type=file]", tmp_path / "in.zip")
    expect(page.locator("#zip")).to_contain_text("in")
    page.click("#go-zip")
    link = page.locator("#zipped a[download]").first
    expect(link).to_be_visible()
    answer = page.request.get(link.get_attribute("href") or "")
    with zipfile.ZipFile(io.BytesIO(answer.body())) as archive:
        assert archive.namelist() == ["a/photo.png", "report.csv"]


def test_a_broken_file_is_named_and_the_page_lives(page: Page, photo: Path, tmp_path: Path) -> None:
    broken = tmp_path / "<b>broken.png"
    broken.write_bytes(photo.read_bytes()[:-30])
    upload(page, broken)
    message = page.locator(".toast-body.error")
    expect(message).to_contain_text("broken.png: is damaged or truncated")
    assert "/" not in message.inner_text()
    page.locator("#picture").get_by_label("Remove Image").click()
    upload(page, photo)
    expect(page.locator("#result img")).to_have_count(2)


def test_a_picture_that_comes_while_another_is_at_work_is_not_lost(
    page: Page, server: Running, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, variants = threading.Event(), threading.Event(), server.service.variants

    def slow(*arguments: Any) -> Any:
        begun.set()
        assert go_on.wait(20)
        return variants(*arguments)

    monkeypatch.setattr(server.service, "variants", slow)
    Image.new("RGB", (64, 64), (200, 10, 10)).save(tmp_path / "second.png")
    upload(page, photo)
    assert begun.wait(20)
    page.locator("#picture").get_by_label("Remove Image").click()
    upload(page, tmp_path / "second.png")
    expect(page.locator("#picture img")).to_be_visible()
    page.wait_for_timeout(500)
    go_on.set()
    page.wait_for_timeout(3000)
    assert {tuple(np.asarray(image)[0, 0]) for image in before_and_after(page)} == {(200, 10, 10), (55, 245, 245)}


def test_an_example_is_one_click_away(page: Page) -> None:
    page.locator(".gallery-item").first.click()
    expect(page.locator("#picture img")).to_be_visible()
    expect(page.locator("#result img")).to_have_count(2)


def test_each_model_is_explained(page: Page) -> None:
    page.get_by_role("tab", name="About").click()
    expect(page.locator("#card")).to_contain_text("1,200")
    page.get_by_label("h2z a2b").check()
    expect(page.locator("#card")).to_contain_text("cyclegan")
    assert shown(page.locator("#samples img")).getpixel((20, 10)) == (0, 128, 0)  # of the last step


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_a_phone_shows_the_button_and_does_not_scroll_sideways(page: Page, photo: Path) -> None:
    box = page.locator("#go").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= 844
    upload(page, photo)
    expect(page.locator("#result img")).to_have_count(2)
    sideways = "document.documentElement.scrollWidth > innerWidth"
    assert not page.evaluate(sideways)
    for tab in ("Draw", "Folder", "About"):
        page.get_by_role("tab", name=tab).click()
        assert not page.evaluate(sideways), tab
