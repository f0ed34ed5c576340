"""Built-in data: the same characters in two of the fonts that matplotlib ships, black on white.

Split by character. Latin A, Greek Α and Cyrillic А look the same, so characters that share a rendering in either font
are one group, and a group stands on one side of the split: no test picture was seen in training, on either side.
"""

import functools
import hashlib
import unicodedata
from collections import defaultdict
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from translate.batches import Paired, Unpaired
from translate.data.augment import probe
from translate.data.source import Batch, Source, SourceConfig, Split
from translate.data.transforms import to_tensor
from translate.errors import ConfigError, DataError, unknown

Range = tuple[int, int]  # first and last code point
Pages = NDArray[np.uint8]  # [N, size, size], 255 is paper


class GlyphsConfig(SourceConfig):
    kind: Literal["glyphs"] = "glyphs"
    font_a: str = "DejaVuSans"
    font_b: str = "DejaVuSerif-BoldItalic"
    pairs: bool = True  # Paired batches, else Unpaired
    size: int = Field(default=64, ge=8, le=1024)
    channels: int = Field(default=3, ge=1, le=4)
    characters: tuple[Range, ...] = (
        (0x21, 0x2FFFF),
    )  # of these, letters, digits, punctuation and symbols in both fonts
    test_share: float = Field(default=0.1, ge=0, lt=1)
    shift: int = Field(default=0, ge=0)  # training: moved by up to so many pixels, a pair together
    scale: float = Field(default=0.0, ge=0, le=0.5)  # training: scaled by up to this factor up or down, a pair together

    @field_validator("font_a", "font_b")
    @classmethod
    def _shipped(cls, name: str) -> str:
        fonts = _fonts()
        if name not in fonts:
            raise ValueError(unknown("font", name, fonts))
        return name

    @model_validator(mode="after")
    def _augmentations(self) -> "GlyphsConfig":
        if self.augment:
            try:
                probe(self.augment, [self.channels], square=True)
            except ValueError as error:
                raise ValueError(f"augment: {error}") from error
        return self


class Glyphs(NamedTuple):
    """Rendered characters: `a[i]` and `b[i]` are `characters[i]`; `group[i]` is equal for look-alikes."""

    characters: list[str]
    a: Pages
    b: Pages
    group: list[str]  # the first character of the group


class GlyphsSplit(Split):
    aligned = True  # but for unpaired training

    def __init__(self, config: GlyphsConfig, glyphs: Glyphs, *, train: bool) -> None:
        self.config = config
        self.glyphs = glyphs
        self.train = train
        self.batch_type = Paired if config.pairs else Unpaired
        self.aligned = config.pairs or not train
        self._augment = config.augmentation() if train else None

    def __len__(self) -> int:
        return len(self.glyphs.characters)

    def sample(self, index: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        if self.aligned:
            return self._tensors([self.glyphs.a[index], self.glyphs.b[index]], rng)
        other = int(rng.integers(len(self)))
        return self._tensors([self.glyphs.a[index]], rng) + self._tensors([self.glyphs.b[other]], rng)

    def name(self, index: int) -> str:
        """The character with its code point: `U+0041 A`."""
        character = self.glyphs.characters[index]
        return f"U+{ord(character):04X} {character}"

    def _tensors(self, pages: list[Pages], rng: np.random.Generator) -> tuple[Tensor, ...]:
        if self.train and (self.config.shift or self.config.scale):
            x, y = rng.integers(-self.config.shift, self.config.shift, 2, endpoint=True)
            factor = 1 + rng.uniform(-self.config.scale, self.config.scale)
            pages = [_moved(page, float(x), float(y), factor) for page in pages]
        pictures = [np.repeat(page[..., None], self.config.channels, axis=2) for page in pages]  # [H, W, C]
        if self._augment:
            pictures = self._augment(pictures, rng)
        return tuple(to_tensor(picture) for picture in pictures)


class GlyphsSource(Source):
    """Fields `source` and `target`, or `a` and `b` where `data.pairs` is false."""

    Config: ClassVar[type[SourceConfig]] = GlyphsConfig
    config: GlyphsConfig

    def __init__(self, config: GlyphsConfig, size_multiple: int = 1) -> None:
        if config.size % size_multiple:
            raise ConfigError(f"data.size: {config.size} is not a multiple of {size_multiple}, as the network needs")
        self.config = config
        batch_type: type[Batch] = Paired if config.pairs else Unpaired
        self.batch_type = batch_type
        self.channels = dict.fromkeys(batch_type._fields, config.channels)
        glyphs = render(config.font_a, config.font_b, config.size, config.characters)
        held_out = [_share(group) < config.test_share for group in glyphs.group]
        train = [index for index, test in enumerate(held_out) if not test][: config.limit]
        test = [index for index, test in enumerate(held_out) if test]
        if not train:
            raise DataError("data.characters: no such character is in both fonts; name other ranges or fonts")
        self.train = GlyphsSplit(config, _chosen(glyphs, train), train=True)
        self.test = GlyphsSplit(config, _chosen(glyphs, test), train=False) if test else None

    def describe(self) -> str:
        tests = f"{len(self.test)} test" if self.test else "no test"
        fonts = f"{self.config.font_a} and {self.config.font_b}"
        return f"glyphs: {len(self.train)} training, {tests} characters in {fonts}, {self.config.size} pixels square"


def render(font_a: str, font_b: str, size: int, ranges: tuple[Range, ...]) -> Glyphs:
    """Every character of `ranges` that both fonts draw, each look once.

    Blank and missing glyphs are left out, and so are those that both fonts draw alike: nothing to translate.
    """
    paths = _fonts()
    codes = sorted(_characters(paths[font_a]) & _characters(paths[font_b]))
    characters = [chr(code) for code in codes if any(first <= code <= last for first, last in ranges)]
    a, b = _pages(paths[font_a], characters, size), _pages(paths[font_b], characters, size)
    missing_a, missing_b = (_pages(paths[font], ["\U0010fffe"], size)[0].tobytes() for font in (font_a, font_b))
    looks: dict[tuple[bytes, bytes], int] = {}
    for index in range(len(characters)):
        look = a[index].tobytes(), b[index].tobytes()
        blank = a[index].min() == 255 or b[index].min() == 255
        if not blank and look[0] not in (missing_a, look[1]) and look[1] != missing_b:
            looks.setdefault(look, index)  # a second character of the same looks would only count double
    kept = list(looks.values())
    names = [characters[index] for index in kept]
    return Glyphs(names, a[kept], b[kept], _groups(names, list(looks)))


def _groups(characters: list[str], looks: list[tuple[bytes, bytes]]) -> list[str]:
    """The first character of every character's group: those linked by an equal rendering in either font."""
    leader = list(range(len(characters)))

    def find(index: int) -> int:
        while leader[index] != index:
            index = leader[index] = leader[leader[index]]
        return index

    same: dict[bytes, list[int]] = defaultdict(list)  # a rendering in A may equal one in B: that links them too
    for index, look in enumerate(looks):
        for page in look:
            same[page].append(index)
    for members in same.values():
        for member in members[1:]:
            one, two = sorted((find(members[0]), find(member)))
            leader[two] = one
    return [characters[find(index)] for index in range(len(characters))]


def _pages(path: Path, characters: list[str], size: int) -> Pages:
    """[N, size, size]: each character drawn with its ink in the middle, smaller where it would not fit."""
    pages = np.full((len(characters), size, size), 255, np.uint8)
    room = size - 2 * max(size // 32, 1)
    for page, character in zip(pages, characters, strict=True):
        points = round(size / 2)
        ink = _ink(path, points, character)
        while max(ink.size) > room and points > 4:
            points = min(points - 1, int(points * room / max(ink.size)))
            ink = _ink(path, points, character)
        canvas = Image.new("L", (size, size))
        canvas.paste(ink, ((size - ink.width) // 2, (size - ink.height) // 2))
        page -= np.asarray(canvas)
    return pages


def _ink(path: Path, points: int, character: str) -> Image.Image:
    """The character white on black, cut to its ink; empty where there is none."""
    canvas = Image.new("L", (6 * points, 4 * points))
    ImageDraw.Draw(canvas).text((2 * points, points), character, fill=255, font=_font(path, points))
    return canvas.crop(canvas.getbbox() or (0, 0, 0, 0))


@functools.lru_cache(maxsize=64)
def _font(path: Path, points: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), points, layout_engine=ImageFont.Layout.BASIC)


def _characters(path: Path) -> set[int]:
    """The code points of letters, numbers, punctuation and symbols that the font has a glyph for."""
    from matplotlib.ft2font import FT2Font

    return {code for code in FT2Font(str(path)).get_charmap() if unicodedata.category(chr(code))[0] in "LNPS"}


def _fonts() -> dict[str, Path]:
    import matplotlib

    return {path.stem: path for path in sorted(Path(matplotlib.get_data_path(), "fonts", "ttf").glob("*.ttf"))}


def _chosen(glyphs: Glyphs, indices: list[int]) -> Glyphs:
    characters, group = ([column[index] for index in indices] for column in (glyphs.characters, glyphs.group))
    return Glyphs(characters, glyphs.a[indices], glyphs.b[indices], group)


def _moved(page: Pages, x: float, y: float, factor: float) -> Pages:
    """Scaled about the middle, then moved by (x, y) pixels; paper comes in at the edges."""
    middle = page.shape[0] / 2
    affine = (1 / factor, 0, middle - (middle + x) / factor, 0, 1 / factor, middle - (middle + y) / factor)
    image = Image.fromarray(page)
    return np.asarray(
        image.transform(image.size, Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC, fillcolor=255)
    )


def _share(name: str) -> float:
    """A number in [0, 1) that depends on the character alone, the same on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
