"""The published data sets: where they are, how large, and what they must hash to."""

from collections.abc import Mapping
from dataclasses import dataclass

from translate.errors import unknown


@dataclass(frozen=True)
class Archive:
    """A data set in one file. `size` in bytes, `sha256` or `md5` where they are known."""

    name: str
    addresses: tuple[str, ...]  # tried in this order
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None

    @property
    def known(self) -> str | None:
        """What the published hash is, for people."""
        return "SHA-256" if self.sha256 else "MD5" if self.md5 else None

    @property
    def file_name(self) -> str:
        return self.addresses[0].rsplit("/", 1)[1]


def published(family: str, name: str, archives: "Mapping[str, Mapping[str, Archive]] | None" = None) -> Archive:
    """The archive of that name in a family ("cyclegan", "pix2pix", "detector"). Raises ValueError for no such name."""
    known = (ARCHIVES if archives is None else archives)[family]
    if name not in known:
        raise ValueError(unknown("data set", name, known))
    return known[name]


def _cyclegan(name: str, size: int, sha256: str) -> Archive:
    return Archive(
        name,
        (
            f"https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/{name}.zip",
            f"https://people.eecs.berkeley.edu/~taesung_park/CycleGAN/datasets/{name}.zip",
        ),
        size,
        sha256,
    )


def _pix2pix(name: str) -> Archive:
    return Archive(name, (f"http://efrosgans.eecs.berkeley.edu/pix2pix/datasets/{name}.tar.gz",))


# Sizes and hashes as recorded by TensorFlow Datasets.
_CYCLEGAN = [
    _cyclegan("apple2orange", 78456409, "845a191e9af8926408ea597001cd03a452e3300a1f44a79fe329b3d59f6e3eb8"),
    _cyclegan("cezanne2photo", 279885071, "3a6c10ca21f9485862f1cbd707744b9dc258954a04631271d23a3605eeb63cff"),
    _cyclegan("cityscapes", 279601602, "d2f6910fd056c1ee9873777ae838e7ac4a2c833598ae62a04188e5ab2f4ea036"),
    _cyclegan("facades", 35135868, "9a31ebf3a31b9b5cd195dd5bf62e9308e00cb94604d1019e3889ac84248695c0"),
    _cyclegan("horse2zebra", 116867962, "a74d9d392eecca9966b51287a76ca126af473d9de4f3e8fc0e9cda08fa1730a1"),
    _cyclegan("iphone2dslr_flower", 339964458, "8fcb5e374d631b107e1d961b8c4cd0a186aa2a4ff3e279923f4c426128de7113"),
    _cyclegan("maps", 1476754427, "639534f69dbf9f36bef8d6292a7698006361221f83f0285d7c9ca78afe6e8a9e"),
    _cyclegan("monet2photo", 305231073, "88f91b00fc228f97c9411fbf1880ec1d119c98f1722e4cfcfaa2fb35fac05b04"),
    _cyclegan("summer2winter_yosemite", 132640856, "167fe1726807a9d22bd106b4a6c0bd7953b688af924ac1bf967439c4961e49f9"),
    _cyclegan("ukiyoe2photo", 292946532, "02a2a2fb5ecf425ca1bf86aca7304377da64a2a1d3b86df54eb65e4068bf3b08"),
    _cyclegan("vangogh2photo", 306590349, "362c3473e70be0944bda08d49d660eafdc2854df55d697835b8186d1d79caaff"),
]
_PIX2PIX = [_pix2pix(name) for name in ("facades", "cityscapes", "maps", "night2day", "edges2handbags", "edges2shoes")]
# Huang et al. 2023, the tiles; address and MD5 as in their own download script.
_SLATS = Archive(
    "slats", ("https://zenodo.org/record/7809108/files/slats_tiles.zip",), md5="fcab8ff8525bcb00a9aa33b604fb11ff"
)
ARCHIVES: Mapping[str, Mapping[str, Archive]] = {
    "cyclegan": {archive.name: archive for archive in _CYCLEGAN},
    "pix2pix": {archive.name: archive for archive in _PIX2PIX},
    "detector": {"slats": _SLATS},
}
