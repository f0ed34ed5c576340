import time

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from translate.batches import Paired, Unpaired
from translate.data.glyphs import GlyphsConfig, GlyphsSource, render
from translate.data.stream import batches
from translate.errors import ConfigError, DataError

ASCII = {"characters": [[0x21, 0x7E]]}


@pytest.fixture(scope="module")
def data():
    return GlyphsSource(GlyphsConfig())


def test_enough_characters_and_a_tenth_for_the_test(data):
    assert len(data.train) + len(data.test) >= 1500
    assert 0.07 < len(data.test) / (len(data.train) + len(data.test)) < 0.13
    assert data.describe().startswith(
        f"glyphs: {len(data.train)} training, {len(data.test)} test characters in DejaVuSans"
    )


def test_opens_at_once():
    start = time.process_time()
    GlyphsSource(GlyphsConfig())
    assert time.process_time() - start < 5  # 0.7 s measured; the rest is for slow machines


@pytest.mark.parametrize(
    "fonts", [("DejaVuSans", "DejaVuSerif-BoldItalic"), ("DejaVuSans", "DejaVuSans-Bold"), ("STIXGeneral", "cmr10")]
)
def test_no_rendering_stands_on_both_sides(fonts):
    data = GlyphsSource(GlyphsConfig(font_a=fonts[0], font_b=fonts[1], test_share=0.3))
    train, test = ({page.tobytes() for page in (*split.glyphs.a, *split.glyphs.b)} for split in (data.train, data.test))
    assert len(test) > 10
    assert not train & test


def test_look_alikes_are_one_group(data):
    group = {
        character: name
        for split in (data.train, data.test)
        for character, name in zip(split.glyphs.characters, split.glyphs.group, strict=True)
    }
    assert "A" in group
    assert "Α" not in group or group["Α"] == group["A"]  # Greek
    everything = render("DejaVuSans", "STIXGeneral", 64, ((0x21, 0x4FF),))
    found = dict(zip(everything.characters, everything.group, strict=True))
    assert found.get("А", "A") == "A"  # Cyrillic
    assert found["B"] != found["A"]


def test_each_look_once_and_none_blank_or_alike_in_both_fonts(data):
    for split in (data.train, data.test):
        looks = {(a.tobytes(), b.tobytes()) for a, b in zip(split.glyphs.a, split.glyphs.b, strict=True)}
        assert len(looks) == len(split)
        assert all(a != b for a, b in looks)
        for pages in (split.glyphs.a, split.glyphs.b):
            assert (pages.min(axis=(1, 2)) < 200).all()
            assert (pages.max(axis=(1, 2)) == 255).all()


def test_missing_glyphs_are_left_out():
    boxes = render("LastResortHE-Regular", "DejaVuSans", 32, ((0x41, 0x5A),))
    assert len(boxes.characters) <= 26
    only = render("cmr10", "DejaVuSans", 32, ((0x400, 0x4FF),))  # no Cyrillic in Computer Modern
    assert only.characters == []


def test_ink_is_inside_and_in_the_middle(data):
    for pages in (data.test.glyphs.a, data.test.glyphs.b):
        dark = pages < 128
        edges = np.concatenate([dark[:, 0], dark[:, -1], dark[:, :, 0], dark[:, :, -1]], axis=1)
        assert not edges.any()
        for ink in pages < 255:
            rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
            assert abs((rows[0] + rows[-1]) / 2 - 31.5) <= 0.5
            assert abs((columns[0] + columns[-1]) / 2 - 31.5) <= 0.5


def test_samples(data, rng):
    source, target = data.train.sample(0, rng)
    assert source.shape == target.shape == (3, 64, 64)
    assert source.dtype == torch.float32
    assert source.max() == 1
    assert torch.equal(source[0], source[2])
    assert data.train.name(0).startswith("U+00")
    assert data.batch_type is data.train.batch_type is Paired
    assert data.channels == {"source": 3, "target": 3}


def test_unchanged_input_is_far_from_the_target(data):
    ratios = [
        10 * torch.log10(4 / (batch.source - batch.target).square().mean((1, 2, 3))).mean()
        for _, batch in batches(data.test, len(data.test))
    ]
    assert 16.5 < float(ratios[0]) < 18  # dB: room for a network to gain


def test_unpaired(rng):
    data = GlyphsSource(GlyphsConfig(pairs=False, size=32, channels=1, **ASCII))
    assert data.batch_type is data.train.batch_type is data.test.batch_type is Unpaired
    assert data.channels == {"a": 1, "b": 1}
    assert not data.train.aligned
    assert data.test.aligned
    others = {data.train.sample(0, np.random.default_rng(seed))[1].numpy().tobytes() for seed in range(50)}
    assert len(others) > 10
    assert len({data.train.sample(0, np.random.default_rng(seed))[0].numpy().tobytes() for seed in range(5)}) == 1


def test_shift_and_scale_are_shared_and_only_for_training():
    data = GlyphsSource(GlyphsConfig(font_b="DejaVuSans-Bold", size=32, shift=3, scale=0.2, **ASCII))
    index = data.train.glyphs.characters.index("H")
    plain = GlyphsSource(GlyphsConfig(font_b="DejaVuSans-Bold", size=32, **ASCII)).train.sample(
        index, np.random.default_rng(0)
    )

    def middle(image):
        ink = (1 - image[0]) / 2
        grid = torch.arange(32.0)
        return torch.stack([(ink.sum(1) * grid).sum(), (ink.sum(0) * grid).sum()]) / ink.sum()

    moves = []
    for seed in range(10):
        moved = data.train.sample(index, np.random.default_rng(seed))
        shifts = [middle(new) - middle(old) for new, old in zip(moved, plain, strict=True)]
        torch.testing.assert_close(shifts[0], shifts[1], atol=0.3, rtol=0)
        moves.append(shifts[0])
        assert moved[0][0, 0].min() > 0.9  # paper at the edge
    assert torch.stack(moves).abs().max() > 1
    test = [data.test.sample(0, np.random.default_rng(seed))[0] for seed in range(2)]
    assert torch.equal(*test)


def test_augmentations(rng):
    data = GlyphsSource(GlyphsConfig(size=32, augment=[{"name": "Rotate", "limit": [90, 90], "p": 1.0}], **ASCII))
    plain = GlyphsSource(GlyphsConfig(size=32, **ASCII))
    assert not torch.equal(data.train.sample(0, rng)[0], plain.train.sample(0, rng)[0])
    with pytest.raises(ValidationError, match="changes the shape"):
        GlyphsConfig(augment=[{"name": "Resize", "height": 3, "width": 3}])


def test_mistakes():
    with pytest.raises(ValidationError, match=r"unknown font 'DejaVuSan' \(did you mean 'DejaVuSans'\?\)"):
        GlyphsConfig(font_a="DejaVuSan")
    with pytest.raises(DataError, match=r"data\.characters"):
        GlyphsSource(GlyphsConfig(characters=[[0xE000, 0xE010]]))
    with pytest.raises(ConfigError, match=r"data\.size: 48 is not a multiple of 64"):
        GlyphsSource(GlyphsConfig(size=48), size_multiple=64)


def test_limit():
    assert len(GlyphsSource(GlyphsConfig(limit=7, **ASCII)).train) == 7
