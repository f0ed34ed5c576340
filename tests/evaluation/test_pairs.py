"""Pictures against their partners, one by one, whatever their sizes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from translate.errors import DataError, EvaluationError
from translate.evaluation.pairs import label_rows, per_picture, rows
from translate.evaluation.pictures import Folder, matched

SIZES = [(16, 16), (16, 16), (20, 12), (16, 16)]


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Folder, Folder]:
    """Pictures, and the same with 51 = 0.2 · 255 added."""
    for number, (width, height) in enumerate(SIZES):
        pixels = np.random.default_rng(number).integers(0, 200, (height, width, 3), dtype=np.uint8)
        for name, values in (("a", pixels + 51), ("b", pixels)):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(tmp_path / name / f"{number}.png")
    return Folder(tmp_path / "a"), Folder(tmp_path / "b")


def test_each_picture_has_its_number_in_order(sets: tuple[Folder, Folder]) -> None:
    Image.fromarray(sets[1].read([2])[0]).save(sets[0].files[2])  # made equal
    found = per_picture(["l1", "psnr", "ssim", "ms_ssim"], *sets, matched(*sets), 3)
    np.testing.assert_allclose(found["l1"], [0.2, 0.2, 0, 0.2], atol=1e-6)
    np.testing.assert_allclose(found["psnr"], [13.9794, 13.9794, 100, 13.9794], atol=1e-3)
    assert found["ssim"][2] == pytest.approx(1)
    assert "ms_ssim" not in found  # it wants more than 160 pixels
    table = rows(found, {"l1": np.full(4, 0.5)})
    assert table["l1"].rising is False
    assert table["psnr"].rising is True
    assert table["l1"].beside is not None
    assert table["l1"].beside.what == "unchanged input"


def test_partners_of_unlike_sizes_are_named(sets: tuple[Folder, Folder]) -> None:
    with pytest.raises(DataError, match="2: is 20x12 and its partner 16x16"):
        per_picture(["l1"], *sets, [0, 1, 1, 3], 3)


def test_label_maps_are_scored_over_all_pixels(tmp_path: Path) -> None:
    """100 pixels of red, of which 25 came out green, 60 of green, all right: nearly so in colour."""
    truth = np.zeros((16, 10, 3), np.uint8)
    truth[:10, :, 0], truth[10:, :, 1] = 255, 255
    output = truth.copy()
    output[:5, :5] = (20, 250, 3)
    for name, pixels in (("a", output), ("b", truth)):
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "1.png")
    palette = tmp_path / "palette.txt"
    palette.write_text("#ff0000 a red one\n\n#00ff00 green\n#0000ff nothing\n")
    found, lines = label_rows(palette, Folder(tmp_path / "a"), Folder(tmp_path / "b"), [0])
    assert found["pixel_accuracy"].value == pytest.approx(135 / 160)
    assert found["class_accuracy"].value == pytest.approx((0.75 + 1) / 2)
    assert found["class_iou"].value == pytest.approx((75 / 100 + 60 / 85) / 2)
    assert lines[0] == "a red one: accuracy 0.750, IoU 0.750"
    palette.write_text("reddish\n")
    with pytest.raises(EvaluationError, match="--palette"):
        label_rows(palette, Folder(tmp_path / "a"), Folder(tmp_path / "b"), [0])
