"""The keys that all kinds share, and finding a kind by its name."""

import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

from translate.data import find, kinds
from translate.data.images import ImagesConfig
from translate.data.source import size_of
from translate.data.unpaired import UnpairedConfig
from translate.errors import ConfigError


def refused(**keys):
    with pytest.raises(ValidationError) as caught:
        ImagesConfig(**({"kind": "images", "root": "x"} | keys))
    return caught.value.errors()[0]["msg"]


def test_kinds_are_the_modules():
    assert kinds() == ["dataset", "detector", "digits", "glyphs", "images", "paired", "toy", "unpaired"]
    for kind in kinds():
        assert find(kind).Config.model_fields["kind"].default == kind


@pytest.mark.parametrize("name", ["unpared", "stream", "source", "", "../paired"])
def test_unknown_kind(name):
    with pytest.raises(
        ConfigError,
        match=r"data\.kind: unknown kind .*known: dataset, detector, digits, glyphs, images, paired, toy, unpaired",
    ):
        find(name)
    if name == "unpared":
        with pytest.raises(ConfigError, match="did you mean 'unpaired'"):
            find(name)


def test_the_package_alone_loads_nothing_heavy():
    code = (
        "import sys, translate.data, translate.data.decode;"
        "print([m for m in ('torch','albumentations','matplotlib','pooch','tifffile','requests') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_sources_load_only_what_they_use(unpaired_root):
    code = (
        "import sys; from translate.data import find; s = find('unpaired');"
        f"s = s(s.Config(kind='unpaired', root={str(unpaired_root)!r}));"
        "import numpy; s.train.sample(0, numpy.random.default_rng(0));"
        "print([m for m in ('albumentations','matplotlib','pooch','tifffile','requests') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("written", "colour"),
    [("white", (255, 255, 255)), ("#102030", (16, 32, 48)), ([1, 2, 3], (1, 2, 3)), ("rgb(9,8,7)", (9, 8, 7))],
)
def test_background(written, colour):
    assert ImagesConfig(root="x", background=written).background == colour


def test_bad_background():
    assert "unknown colour 'whte' (did you mean 'white'?)" in refused(background="whte")
    assert "less than or equal to 255" in refused(background=[0, 0, 256])
    assert refused(background=[0, 0])


def test_bad_values_are_named():
    assert "load_size 100 is smaller than crop_size 256" in refused(load_size=100)
    assert "[lowest, highest]" in refused(float_range=[1, 0])
    assert "unknown transform" in refused(augment=[{"name": "Rotat"}])
    assert "changes the shape" in refused(augment=[{"name": "RandomCrop", "height": 9, "width": 9}])
    assert refused(batch_size=0)
    assert refused(workers=-1)
    assert refused(limit=0)
    assert refused(on_error="ignore")
    assert refused(preprocess="resize")
    assert "Extra inputs" in refused(crop=5)


@pytest.mark.parametrize("mode", ["crop", "scale_width", "none"])
def test_load_size_matters_only_where_it_is_used(mode):
    assert ImagesConfig(root="x", preprocess=mode, load_size=10).load_size == 10


def test_channels_are_probed():
    with pytest.raises(ValidationError, match="ISONoise does not work on 1-channel"):
        UnpairedConfig(root="x", channels_b=1, augment=[{"name": "ISONoise"}])


def test_saved_config_reads_back():
    config = UnpairedConfig(root="~/x", background="red", download="horse2zebra", augment=[{"name": "Rotate"}])
    again = UnpairedConfig.model_validate(json.loads(config.model_dump_json()))
    assert again == config
    assert "~" not in str(again.root)


def test_unknown_download_is_refused_by_family():
    with pytest.raises(ValidationError, match=r"unknown data set 'horse2zebr' \(did you mean 'horse2zebra'\?\)"):
        UnpairedConfig(root="x", download="horse2zebr")
    with pytest.raises(ValidationError, match="unknown data set 'edges2shoes'"):
        UnpairedConfig(root="x", download="edges2shoes")


def test_crop_that_the_network_cannot_take(unpaired_root):
    source = find("unpaired")
    config = source.Config(kind="unpaired", root=unpaired_root, load_size=24, crop_size=20)
    with pytest.raises(ConfigError, match=r"data\.crop_size: 20 is not a multiple of 8"):
        source(config, size_multiple=8)


def test_size_of():
    assert size_of(UnpairedConfig(root="x")) == (256, 256)
    assert size_of(UnpairedConfig(root="x", preprocess="none")) is None
    assert size_of(find("glyphs").Config(kind="glyphs", size=32)) == (32, 32)
