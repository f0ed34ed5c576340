"""Pictures of any kind through a network, whole or in tiles: same kind, size and depth, whatever runs the network."""

import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from translate.errors import ImageError, ModelError
from translate.inference.card import Card, Values
from translate.inference.session import Session
from translate.inference.translator import Translator


class Fake(Session):
    """`function(image [N, C, H, W], seed [N] or None)`; with `norm`, its input is first normalised over H and W."""

    backend = "fake"

    def __init__(self, card: Card, function: Callable) -> None:
        super().__init__(Path("fake.onnx"), card)
        self.function = function
        self.shapes: list[tuple[int, ...]] = []
        self.measured = 0

    def _run(self, inputs, statistics):
        first = inputs[self.card.inputs[0]]
        self.shapes.append(first.shape)
        if self.card.norm == "image":
            mean, squares = (statistics[0] if statistics else moments(first)).transpose(1, 0, 2)[..., None, None]
            first = (first - mean) / np.sqrt(squares - mean**2 + 1e-5)
        return self.function(first, inputs.get("seed"))

    def _measure(self, inputs):
        self.measured += len(inputs["image"])
        return self._run(inputs, ()), [moments(inputs["image"])]


def moments(image: np.ndarray) -> np.ndarray:
    return np.stack([image.mean((2, 3)), (image**2).mean((2, 3))], axis=1)


def same(image, seed):
    return image


def darker_with_seed(image, seed):
    """Darker by `seed` levels of 8 bits."""
    return image - seed.reshape(-1, 1, 1, 1).astype(np.float32) * (2 / 255)


def converting(source: int, target: int) -> Callable:
    """Grey to colour by repetition, colour to grey by the mean, anything by taking the first channel."""
    if source == target:
        return same
    return lambda image, seed: np.repeat(image.mean(1, keepdims=True), target, axis=1)


def translator(
    source: int = 3, target: int = 3, function: Callable | None = None, *, options=None, **changes
) -> Translator:
    card = Card(
        name="m", network="a2b", recipe="cyclegan", source=Values(channels=source), target=Values(channels=target),
        **{"multiple": 4} | changes,
    )  # fmt: skip
    return Translator(Fake(card, function or converting(source, target)), **options or {})


def noise(height: int, width: int, channels: int = 3, dtype=np.uint8) -> np.ndarray:
    rng = np.random.default_rng(height * width + channels)
    if np.dtype(dtype).kind == "f":
        return rng.random((height, width, channels), np.float32)
    return rng.integers(0, np.iinfo(dtype).max, (height, width, channels), dtype, endpoint=True)


SIZES = [(1, 1), (1, 5000), (5000, 1), (2, 3), (17, 31), (255, 257), (1030, 1031)]
TILES = [{"tile": "off"}, {"tile": 48}, {"tile": "auto", "batch_size": 3}]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("options", TILES, ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("channels", [3, 4])
def test_size_depth_and_alpha_are_kept_to_the_last_bit(size, options, dtype, channels):
    if size == (1030, 1031) and (options == TILES[1] or dtype == np.uint16):
        size = (130, 131)  # quicker, the same path
    array = noise(*size, channels, dtype)
    if channels == 4:
        array[..., 3] = np.where(array[..., 3] > array.max() / 2, 1 if dtype == np.float32 else np.iinfo(dtype).max, 0)
    given = array.copy()
    result = translator(options=options)(array)
    assert result.dtype == dtype
    assert result.shape == array.shape
    assert (array == given).all()
    expected = array.copy()
    if channels == 4:  # what cannot be seen is the background to the network
        expected[..., :3][array[..., 3] == 0] = expected[..., 3].max()
        assert (result[..., 3] == array[..., 3]).all()
    if dtype == np.float32:
        np.testing.assert_allclose(result, expected, atol=4e-7)
        assert result.max() <= 1
    else:
        assert (result == expected).all()


MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "I;16", "F"]
OUT = {  # the mode of the answer for a target of 1 and of 3 channels
    "1": "L RGB", "L": "L RGB", "LA": "LA RGBA", "P": "L RGB", "PA": "LA RGBA", "RGB": "L RGB", "RGBA": "LA RGBA",
    "CMYK": "L RGB", "YCbCr": "L RGB", "HSV": "L RGB", "I": "I;16 uint16", "I;16": "I;16 uint16", "F": "F float32",
}  # fmt: skip


def image_in(mode: str, size: tuple[int, int]) -> Image.Image:
    colour = Image.fromarray(noise(*size))
    if mode == "PA":
        return colour.convert("P").convert("PA")
    if mode == "I;16":
        return Image.fromarray(noise(*size, 1, np.uint16)[..., 0])
    if mode == "F":
        return Image.fromarray(noise(*size, 1, np.float32)[..., 0])
    return colour.convert(mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (33, 70)], ids=str)
@pytest.mark.parametrize(("source", "target"), [(1, 1), (3, 1), (1, 3), (3, 3)])
def test_pillow_images_give_pillow_images(mode, size, source, target):
    image = image_in(mode, size)
    result = translator(source, target, options={"tile": 64})(image)
    expected = OUT[mode].split()[target == 3]
    if expected in ("uint16", "float32"):  # Pillow has no such mode
        assert result.dtype.name == expected
        assert result.shape == (*size, 3)
    else:
        assert result.mode == expected
        assert result.size == image.size
    if mode in ("L", "I;16", "RGB") and (source == target == 3 or mode != "RGB"):
        reference = np.asarray(image)
        reference = reference[..., None] if mode != "RGB" and target == 3 else reference
        assert (np.asarray(result) == reference).all()


def test_files_give_images_where_pillow_holds_them(tmp_path):
    model = translator()
    rgb = noise(9, 14)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "b.tif", rgb.astype(np.uint16) * 257, photometric="rgb")
    turned = Image.fromarray(rgb)
    turned.getexif()[0x0112] = 3
    turned.save(tmp_path / "c.png", exif=turned.getexif())
    np.save(tmp_path / "d.npy", rgb)
    assert (np.asarray(model(str(tmp_path / "a.png"))) == rgb).all()
    deep = model(tmp_path / "b.tif")
    assert isinstance(deep, np.ndarray)
    assert (deep == rgb.astype(np.uint16) * 257).all()
    assert (np.asarray(model(tmp_path / "c.png")) == rgb[::-1, ::-1]).all()
    assert isinstance(model(tmp_path / "d.npy"), Image.Image)


def test_flat_arrays_stay_flat_where_the_target_is_grey():
    assert translator(1, 1)(np.zeros((5, 6), np.uint8)).shape == (5, 6)
    assert translator(1, 3)(np.zeros((5, 6), np.uint8)).shape == (5, 6, 3)
    assert translator(1, 1)(np.zeros((5, 6, 1), np.uint8)).shape == (5, 6, 1)
    assert translator(1, 1)(np.zeros((5, 6, 2), np.uint8)).shape == (5, 6, 2)


def test_one_for_one_and_a_list_for_several():
    model, picture = translator(), noise(4, 5)
    assert model([]) == []
    assert isinstance(model(picture), np.ndarray)
    assert isinstance(model([picture]), list)
    mixed = model(iter([picture, Image.fromarray(picture), noise(7, 3, 1, np.uint16)[..., 0]]))
    assert [type(each) for each in mixed] == [np.ndarray, Image.Image, np.ndarray]
    assert [np.asarray(each).shape for each in mixed] == [(4, 5, 3), (4, 5, 3), (7, 3, 3)]


def test_pictures_of_one_padded_size_share_a_batch_and_keep_their_order():
    model = translator(options={"batch_size": 2})
    sizes = [(20, 20), (30, 20), (19, 18), (20, 20), (400, 17), (30, 19), (20, 20)]
    pictures = [noise(*size) for size in sizes]
    results = model(pictures)
    assert all((result == picture).all() for result, picture in zip(results, pictures, strict=True))
    shapes = model.session.shapes
    assert sorted(shapes) == sorted([(2, 3, 20, 20), (2, 3, 32, 20), (2, 3, 20, 20), (1, 3, 400, 20)])


@pytest.mark.parametrize("multiple", [1, 4, 32, 256, 17])
def test_networks_get_multiples_of_what_they_take(multiple):
    model = translator(multiple=multiple, options={"tile": 600})
    for size in [(1, 1), (100, 700), (3, 2000)]:
        picture = noise(*size)
        assert (model(picture) == picture).all()
    assert all(side % multiple == 0 and side >= 16 for shape in model.session.shapes for side in shape[2:])


def test_large_pictures_are_tiled_by_themselves():
    model = translator()
    model([np.zeros((1024, 1024, 3), np.uint8), np.zeros((1025, 1024, 3), np.uint8)])
    assert model.session.shapes == [(1, 3, 1024, 1024)] + [(1, 3, 512, 512)] * 9


def test_transparent_parts_are_laid_on_the_background():
    picture = np.array([[[10, 20, 30, 0], [10, 20, 30, 255]]], np.uint8)
    result = translator(background=(1, 2, 3))(picture)
    assert result.tolist() == [[[1, 2, 3, 0], [10, 20, 30, 255]]]


def test_networks_with_alpha_of_their_own():
    four = np.array([[[10, 20, 30, 40]]], np.uint8)
    assert translator(4, 4)(four).tolist() == four.tolist()
    assert translator(4, 4)(four[..., :3]).tolist() == [[[10, 20, 30, 255]]]
    assert translator(3, 4)(four).shape == (1, 1, 4)
    assert translator(4, 3)(four).shape == (1, 1, 3)
    assert translator(5, 2)(np.zeros((3, 3, 5), np.uint8)).shape == (3, 3, 2)


@pytest.mark.parametrize("ends", [(0.0, 1.0), (-3.0, 1.0)])
def test_ranges_of_both_sides(ends):
    side, picture = Values(channels=1, range=ends), noise(16, 16, 1)
    seen = []
    card = Card(name="m", network="a2b", recipe="x", source=side, target=side)

    def function(image, seed):
        seen.append(image)
        return image

    assert (Translator(Fake(card, function))(picture) == picture).all()
    assert (seen[0].min(), seen[0].max()) == pytest.approx(ends, abs=0.05)


def test_seeds():
    model = translator(function=darker_with_seed, noise=True, options={"batch_size": 2})
    picture = np.full((4, 4, 3), 100, np.uint8)
    assert (model(picture) == 100).all()
    assert (model(picture, seed=7) == 93).all()
    assert [int(each[0, 0, 0]) for each in model([picture] * 3, seed=7)] == [93] * 3
    assert [int(each[0, 0, 0]) for each in model([picture] * 3, seed=[1, 2, 3])] == [99, 98, 97]
    assert [int(each[0, 0, 0]) for each in model([picture] * 2, seed=np.array([4, 5]))] == [96, 95]
    assert (model.pixels(picture, seed=9) == 91).all()
    assert (translator(options={"tile": 16}, function=darker_with_seed, noise=True)(noise(50, 50) // 2 + 50, seed=50) ==
            noise(50, 50) // 2).all()  # fmt: skip


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (-1, "seed -1: must be an integer from 0 to 2147483647"), (2**31, "seed 2147483648"), (0.5, "seed 0.5"),
        ([1], "1 seeds for 2 pictures: give one for all, or one each"), ([1, -2], "seed -2"), ("ab", "seed 'a'"),
    ],
)  # fmt: skip
def test_seeds_that_are_none(seed, message):
    with pytest.raises(ModelError) as caught:
        translator()([noise(2, 2)] * 2, seed=seed)
    assert message in str(caught.value)


def test_a_model_without_noise_takes_any_seed():
    picture = noise(4, 4)
    assert (translator()(picture, seed=5) == picture).all()


def test_variation_is_the_mean_and_spread_over_seeds():
    model = translator(function=darker_with_seed, noise=True)
    picture = noise(20, 30) // 2 + 100
    found = model.variation(picture, count=5, seed=10)
    assert found.mean.dtype == np.uint8
    assert (found.mean == picture - 12).all()
    assert found.deviation.dtype == np.float32
    assert found.deviation.shape == (20, 30, 3)
    np.testing.assert_allclose(found.deviation, np.std([10, 11, 12, 13, 14], ddof=1) / 255, rtol=1e-3)
    image = model.variation(Image.fromarray(np.dstack([picture, picture[..., :1]])), count=2)
    assert image.mean.mode == "RGBA"
    assert image.deviation.shape == (20, 30, 3)


def test_variation_of_a_tiled_picture():
    model = translator(function=darker_with_seed, noise=True, options={"tile": 32, "batch_size": 2})
    picture = noise(70, 41, dtype=np.uint16) // 2 + 20_000
    found = model.variation(picture, count=3, seed=1)
    assert np.abs(found.mean.astype(int) - (picture.astype(int) - 2 * 257)).max() <= 1
    np.testing.assert_allclose(found.deviation, 1 / 255, rtol=1e-3)


def test_variation_needs_noise_and_two_pictures():
    with pytest.raises(ModelError, match="m has no noise: export it with --noise"):
        translator().variation(noise(2, 2))
    noisy = translator(noise=True, function=darker_with_seed)
    with pytest.raises(ModelError, match="count = 1"):
        noisy.variation(noise(2, 2), count=1)
    with pytest.raises(ModelError, match="seed 2147483648"):
        noisy.variation(noise(2, 2), seed=2**31 - 2)


def test_tiles_share_the_statistics_of_the_whole_picture():
    """A brightness ramp, normalised: its tiles fit together only if they are normalised alike."""
    ramp = np.linspace(0, 1, 200, dtype=np.float32)[:, None, None] * np.ones((1, 210, 3), np.float32)

    def function(image, seed):
        return image / 4

    whole = translator(function=function, norm="image", options={"tile": "off"})(ramp)
    tiled = translator(function=function, norm="image", options={"tile": 64, "batch_size": 5})
    alone = translator(function=function, norm="image", options={"tile": 64, "statistics": "tile"})
    assert np.abs(tiled(ramp) - whole).max() < 0.02  # the tiles that overlap count twice in it
    assert np.abs(alone(ramp) - whole).max() > 0.2
    assert tiled.session.measured == 20
    assert alone.session.measured == 0


def test_tiles_of_group_norm_are_warned_of():
    model = translator(norm="group", options={"tile": 16})
    model(noise(16, 16))  # a single tile
    with pytest.warns(UserWarning, match="m: group norm takes each tile's own statistics"):
        model(noise(20, 16))


def test_statistics_come_from_a_bounded_number_of_tiles():
    model = translator(function=lambda image, seed: image / 8, norm="image", options={"tile": 16})
    model(noise(200, 200))
    assert model.session.measured == 64
    plain = translator(options={"tile": 16})
    plain(noise(200, 200))
    assert plain.session.measured == 0


def test_a_batch_of_pictures_keeps_each_ones_own_statistics():
    model = translator(function=lambda image, seed: image / 4, norm="image", options={"batch_size": 2})
    dark, bright = noise(20, 20) // 4, noise(20, 20) // 4 + 180
    together = model([dark, bright])
    assert all((each == model(picture)).all() for each, picture in zip(together, (dark, bright), strict=True))
    assert np.abs(together[0].astype(int) - together[1]).max() <= 1


def generator(**changes) -> Translator:
    target = Values(channels=3, bits=changes.pop("bits", None))
    card = Card(name="m", network="g", recipe="gan", source=None, target=target, latent=5, **changes)
    return Translator(
        Fake(card, lambda latent, seed: np.tanh(latent[:, :3, None, None] * np.ones((1, 1, 8, 8)))), batch_size=2
    )


def test_generated_pictures():
    model = generator()
    images = model.generate(5, seed=3)
    assert [image.mode for image in images] == ["RGB"] * 5
    assert images[0].size == (8, 8)
    first, second = (np.asarray(image) for image in images[:2])
    assert (first != second).any()
    assert (np.asarray(model.generate(1, seed=3)[0]) == first).all()
    assert (np.asarray(model.generate(1, seed=4)[0]) != first).any()
    assert model.session.shapes[:3] == [(2, 5), (2, 5), (1, 5)]
    assert model.generate(1)[0].size == (8, 8)
    assert generator(bits=16).generate(1)[0].dtype == np.uint16


def test_labels_of_generated_pictures():
    model = generator(labels=("cat", "dog"), noise=True)
    given = []
    model.session.function = lambda latent, seed: np.zeros((len(latent), 3, 4, 4), np.float32)
    run = model.session._run
    model.session._run = lambda inputs, statistics: given.extend(inputs["label"]) or run(inputs, statistics)
    model.generate(3)
    model.generate(2, label="dog")
    assert given == [0, 1, 0, 1, 1]
    with pytest.raises(ModelError, match="unknown label 'cow'"):
        model.generate(1, label="cow")


def test_models_of_the_other_kind():
    with pytest.raises(ModelError, match=r"takes none: use Translator\.generate"):
        generator()(noise(2, 2))
    with pytest.raises(ModelError, match=r"takes none: use Translator\.generate"):
        generator().pixels(noise(2, 2))
    with pytest.raises(ModelError, match="m translates pictures; it makes none from random numbers"):
        translator().generate(1)


def test_errors_name_the_picture(tmp_path):
    (tmp_path / "x.png").write_bytes(b"")
    cases: Sequence[tuple[object, str]] = [
        ([noise(2, 2), np.zeros((2, 2, 7))], "picture 1: has 7 channels where 3 are wanted; m takes RGB pictures"),
        (np.full((2, 2), np.nan), "the picture: holds NaN or infinite values"),
        (tmp_path / "x.png", "x.png: is empty (0 bytes)"),
        ([str(tmp_path / "none.png")], "none.png: no such file"),
        (tmp_path, "is a folder"),
        (7, "the picture: is a int"),
        (None, "the picture: is a NoneType"),
        ([noise(2, 2), [1, 2]], "picture 1: is a list"),
    ]
    for given, message in cases:
        with pytest.raises(ImageError) as caught:
            translator()(given)
        assert message in str(caught.value)


def test_outputs_that_cannot_be_used():
    with pytest.raises(ModelError, match="not finite"):
        translator(function=lambda image, seed: image * np.float32(np.nan))(noise(4, 4))
    with pytest.raises(ModelError, match=r"gave \(1, 3, 8, 16\) where \(1, 3, 16, 16\) was due"):
        translator(function=lambda image, seed: image[:, :, ::2])(noise(4, 4))


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"tile": 0}, {"tile": "of"}, {"tile": -5}])
def test_options_that_make_no_sense(options):
    with pytest.raises(ModelError, match="batch_size must be at least 1, tile 'auto', 'off' or a number of pixels"):
        translator(options=options)


def test_many_threads_get_what_one_gets():
    model = translator(function=darker_with_seed, noise=True, options={"tile": 32})
    pictures = [noise(30 + index, 80 - index) // 2 + 100 for index in range(8)]
    results: dict[int, np.ndarray] = {}

    def work(index: int) -> None:
        for _ in range(5):
            results[index] = model(pictures[index], seed=index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((results[index] == pictures[index] - index).all() for index in range(8))


MEMORY = """
import sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from PIL import Image
from translate.inference.card import Card, Values
from translate.inference.session import Session
from translate.inference.translator import Translator

class Half(Session):
    backend = "fake"
    def _run(self, inputs, statistics):
        return inputs["image"] * 0.5
    def _measure(self, inputs):
        return inputs["image"], []

side = Values(channels=3)
card = Card(name="m", network="a", recipe="x", source=side, target=side, multiple=4, norm="image")

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

before = peak()
result = Translator(Half(Path("x"), card))({path!r})
assert result.size == ({width}, {height}) and result.getpixel((7, {height} - 1)) == (96, 64, 191), result.getpixel((7, 9))
assert not {{"torch", "scipy"}} & set(sys.modules)
print(before, peak() - before)
"""


def memory(path: Path, width: int, height: int) -> float:
    """MiB that a translation of a picture of one colour takes at most, beyond what the program takes."""
    Image.new("RGB", (width, height), (64, 0, 255)).save(path, compress_level=1)
    code = MEMORY.format(path=str(path), width=width, height=height, folder=str(Path(__file__).parents[2]))
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return int(result.stdout.split()[1]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux")
def test_memory_of_a_large_picture_is_a_few_times_its_pixels(tmp_path):
    """Of 72 MiB of pixels, 286 MiB as float32. It grows with the pixels: 100 megapixels take 4 times that, < 2 GB."""
    assert memory(tmp_path / "x.png", 5000, 5000) < 300
