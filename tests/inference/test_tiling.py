"""Tiles cover every picture, their weights sum to one, and what is blended from them has no seams."""

from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.parser
import pytest
from onnx import numpy_helper

from translate.inference.card import PROPERTY, Card, Values
from translate.inference.tiling import AUTO_ABOVE, ROWS, Axis, Grid, Tile, blend, cut, padded
from translate.inference.translator import Translator

CASES = [
    *(
        (size, 64, multiple)
        for size in (1, 15, 16, 63, 64, 65, 100, 127, 128, 129, 500, 1023)
        for multiple in (1, 4, 32)
    ),
    *((size, 512, 256) for size in (1, 512, 513, 600, 640, 641, 900, 1024, 5000)),  # a deep U-Net
    (1000, 100, 6),
    (1000, 7, 17),
]


@pytest.mark.parametrize(("size", "tile", "multiple"), CASES)
def test_an_axis_is_covered_by_overlapping_tiles(size, tile, multiple):
    axis = Axis.cover(size, tile, multiple)
    assert axis.starts[0] == 0
    assert axis.length >= size
    assert axis.starts[-1] == 0 or axis.starts[-1] < size
    assert axis.tile % multiple == 0
    assert axis.tile <= max(padded(tile, multiple), 16)
    steps = np.diff(axis.starts)
    assert (steps > 0).all()
    assert (steps <= 0.8 * axis.tile).all()  # a quarter, less what the network's grid costs
    if multiple <= axis.tile // 4:
        assert all(start % multiple == 0 for start in axis.starts)


@pytest.mark.parametrize(("size", "tile", "multiple"), CASES)
def test_weights_sum_to_one_and_vanish_at_inner_edges(size, tile, multiple):
    axis = Axis.cover(size, tile, multiple)
    total = np.zeros(axis.length)
    for start, weights in zip(axis.starts, axis.weights, strict=True):
        total[start : start + axis.tile] += weights
    np.testing.assert_allclose(total, 1, atol=2e-7)
    assert (axis.weights >= 0).all()
    inner = [*axis.weights[1:, 0], *axis.weights[:-1, -1]]
    assert max(inner, default=0) < 0.15
    assert np.abs(np.diff(axis.weights, axis=1)).max() < 0.4  # 16 px tiles fade within 4


def test_tiles_are_no_more_than_needed():
    assert Axis.cover(1024, 512, 4).starts == [0, 256, 512]
    assert Axis.cover(896, 512, 4).starts == [0, 384]
    assert Axis.cover(10_000, 512, 4).starts[1] == 376
    assert Axis.cover(600, 512, 256).starts == [0, 128]  # aligned to 128 where 256 would double the work


def test_auto_tiles_above_a_megapixel_of_what_the_network_sees():
    assert Grid.cover(1024, 1024, "auto", 4).shape == (1024, 1024)
    assert Grid.cover(1024, 1025, "auto", 4).shape == (512, 512)
    assert Grid.cover(1, AUTO_ABOVE // 16, "auto", 4).shape == (16, AUTO_ABOVE // 16)
    assert Grid.cover(1, AUTO_ABOVE // 16, "auto", 32).shape == (32, 512)  # padded, it is too large
    assert Grid.cover(3000, 2000, "off", 4).shape == (3000, 2000)
    assert Grid.cover(3000, 100, 250, 4).shape == (252, 100)


@pytest.mark.parametrize("tile", [64, 150])
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (301, 1), (97, 130), (64, 64), (200, 65)])
def test_cut_tiles_blend_into_the_picture_that_they_were_cut_from(shape, tile):
    pixels = np.random.default_rng(0).random((*shape, 3), np.float32)
    grid = Grid.cover(*shape, tile, 4)
    tiles = [cut(pixels, corner, grid.shape).transpose(2, 0, 1) for corner in grid.corners()]
    assert {tile.shape for tile in tiles} == {(3, *grid.shape)}
    result = np.full((3, *shape), np.nan, np.float32)
    ends = []
    for rows, values in blend(grid, tiles, *shape):
        assert values.shape[1] <= min(grid.shape[0], ROWS)
        result[:, rows] = values
        ends.append(rows.stop)
    assert ends == sorted(ends)
    np.testing.assert_allclose(result, pixels.transpose(2, 0, 1), atol=3e-7)


def test_what_a_tile_lacks_is_reflected():
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    tile = cut(pixels, (0, 1), (4, 4))
    assert tile[..., 0].tolist() == [[1, 2, 1, 2], [4, 5, 4, 5], [1, 2, 1, 2], [4, 5, 4, 5]]
    assert cut(pixels[:1, :1], (0, 0), (3, 2)).ravel().tolist() == [0] * 6


def test_one_tile_is_left_as_it_is():
    tile = np.random.default_rng(0).normal(size=(3, 40, 60)).astype(np.float32)
    rows, values = next(blend(Grid.cover(40, 60, "off", 4), [tile], 39, 58))
    assert rows == slice(0, 39)
    assert (values == tile[:, :39, :58]).all()


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    """Soft convolutions of random weights with instance norm between them; halves the size and doubles it again."""
    rng = np.random.default_rng(0)
    shapes = {"w0": (6, 3, 3), "w1": (8, 6, 4), "w2": (8, 6, 4), "w3": (3, 6, 3)}
    bell = {3: np.outer([1, 2, 1], [1, 2, 1]) / 16, 4: np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16}
    weights = {name: rng.normal(0, 0.5, (a, b, 1, 1)) * bell[side] for name, (a, b, side) in shapes.items()}
    weights |= {"one6": np.ones(6), "zero6": np.zeros(6), "one8": np.ones(8), "zero8": np.zeros(8)}
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["": 20]>
        tiny (float[N, 3, H, W] image) => (float[N, 3, H, W] output) {
            c0 = Conv <pads = [1, 1, 1, 1]> (image, w0)
            n0 = InstanceNormalization <epsilon = 0.00001> (c0, one6, zero6)
            r0 = Relu (n0)
            c1 = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (r0, w1)
            n1 = InstanceNormalization <epsilon = 0.00001> (c1, one8, zero8)
            r1 = Relu (n1)
            c2 = ConvTranspose <pads = [1, 1, 1, 1], strides = [2, 2]> (r1, w2)
            n2 = InstanceNormalization <epsilon = 0.00001> (c2, one6, zero6)
            r2 = Relu (n2)
            c3 = Conv <pads = [1, 1, 1, 1]> (r2, w3)
            half = Constant <value_float: float = 0.3> ()
            scaled = Mul (c3, half)
            output = Tanh (scaled)
        }""")
    model.graph.initializer.extend(numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items())
    side = Values(channels=3)
    card = Card(name="tiny", network="a2b", recipe="cyclegan", source=side, target=side, multiple=2, norm="image")
    onnx.helper.set_model_props(model, {PROPERTY: card.text()})
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """Soft waves under a light that falls off strongly from one corner to the other, float32 [300, 320, 3]."""
    y, x = np.mgrid[0:300, 0:320].astype(np.float32)
    light = 0.08 + 0.9 * (y / 300 + x / 320) / 2
    waves = np.stack([np.sin(x / 9), np.sin(y / 11), np.sin((x + y) / 13)], axis=2)
    return (light[..., None] * (1 + 0.08 * waves)).clip(0, 1).astype(np.float32)


def seams(picture: np.ndarray, edges: list[int]) -> float:
    """The mean jump from row to row at the edges of tiles, over that elsewhere: 1 where they cannot be told apart."""
    jumps = np.abs(np.diff(picture, axis=0)).mean((1, 2))
    at = np.isin(np.arange(1, len(picture)), edges)
    return float(jumps[at].mean() / jumps[~at].mean())


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((a - b) ** 2)))


def load(path: Path, tile: Tile, **options) -> Translator:
    return Translator.load(path, backend="onnxruntime", threads=1, tile=tile, **options)


def test_blending_and_common_statistics_leave_no_seams(network, scene):
    tile = 64
    axis = Axis.cover(300, tile, 2)
    edges = [*axis.starts[1:], *(start + tile for start in axis.starts[:-1])]
    alone = load(network, "off")
    whole = alone(scene)
    pasted = np.concatenate(
        [
            np.concatenate([alone(scene[y : y + 64, x : x + 64]) for x in range(0, 320, 64)], 1)
            for y in range(0, 300, 64)
        ]
    )
    blended = load(network, tile, statistics="tile")(scene)
    joined = load(network, tile, batch_size=7)(scene)
    assert seams(whole, edges) == pytest.approx(1, abs=0.15)
    assert seams(pasted, list(range(64, 300, 64))) > 5
    assert seams(blended, edges) == pytest.approx(1, abs=0.25)  # no edge, but every tile has a brightness of its own
    assert psnr(blended, whole) < 25
    assert seams(joined, edges) == pytest.approx(seams(whole, edges), abs=0.1)
    assert psnr(joined, whole) > psnr(blended, whole) + 8


def test_the_whole_picture_measured_as_one_tile_is_the_whole_picture(network, scene):
    model = load(network, "off")
    image = np.ascontiguousarray(scene.transpose(2, 0, 1)[None]) * 2 - 1
    output, statistics = model.session.measure({"image": image})
    np.testing.assert_allclose(model.session.run({"image": image}, statistics), output, atol=1e-4)


def test_depth_alpha_padding_and_tiles_together(network, scene):
    floats = np.concatenate([scene[:201, :133], np.ones((201, 133, 1), np.float32)], axis=2)
    floats[50:60, :, 3] = 0.25
    deep = np.rint(floats * 65535).astype(np.uint16)
    model = load(network, 64)
    result = model(deep)
    assert result.dtype == np.uint16
    assert (result[..., 3] == deep[..., 3]).all()
    np.testing.assert_allclose(result / 65535, model(floats), atol=1e-3)
    assert psnr(result[:, :, :3] / 65535, load(network, "off")(floats)[..., :3]) > 25
