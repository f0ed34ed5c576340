"""The small classifier learns, keeps all that it needs in one file, and is a feature space."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from translate.cli import main
from translate.data.dataset import DatasetConfig, DatasetSource
from translate.errors import CheckpointError, ConfigError
from translate.evaluation.classifier import Network, load, source, train
from translate.evaluation.spaces import open_space


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 14 x 14 pixels: upright and level stripes, with noise."""
    root, rng = tmp_path_factory.mktemp("stripes"), np.random.default_rng(0)
    for part, count in (("train", 128), ("test", 20)):
        for name in ("level", "upright"):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                waves = np.sin(np.arange(14) + rng.uniform(0, 6))[:, None].repeat(14, 1) * 80 + 128
                pixels = ((waves.T if name == "upright" else waves) + rng.normal(0, 30, (14, 14))).clip(0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(root / part / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def trained(stripes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classifier") / "stripes.pt"
    data = DatasetSource(DatasetConfig(name="folder", root=stripes, size=16, channels=1))
    card = train(data, path, epochs=8, note=lambda _: None)
    assert card.accuracy is not None
    assert card.accuracy > 0.95
    return path


def test_the_file_holds_all_that_is_needed(trained: Path, stripes: Path) -> None:
    card = load(trained).card
    assert (card.name, card.classes, card.channels, card.size, card.fit) == (
        "stripes",
        ("level", "upright"),
        1,
        16,
        "pad",
    )
    space = open_space(f"classifier:{trained}")
    assert space.name == "classifier:stripes"
    assert space.classes == ("level", "upright")
    files = [*sorted((stripes / "test/level").iterdir())[:5], *sorted((stripes / "test/upright").iterdir())[:5]]
    pictures = [np.asarray(Image.open(file))[..., None].repeat(3, 2) for file in files]  # colour becomes grey, 14 → 16
    found = space(pictures, 3)
    assert found.values.shape == (10, 128)
    assert found.probabilities is not None
    np.testing.assert_allclose(found.probabilities.sum(1), 1, atol=1e-5)
    assert (found.probabilities.argmax(1) == np.repeat([0, 1], 5)).mean() >= 0.9


def test_the_seed_decides_and_the_rest_of_the_program_does_not_notice(stripes: Path, tmp_path: Path) -> None:
    data = DatasetSource(DatasetConfig(name="folder", root=stripes, size=16, channels=1))
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    for name in ("a.pt", "b.pt"):
        train(data, tmp_path / name, epochs=1, note=lambda _: None)
    assert torch.equal(torch.rand(1), expected)
    a, b = (load(tmp_path / name).network.state_dict() for name in ("a.pt", "b.pt"))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_it_takes_any_size_from_four_pixels() -> None:
    for size in (4, 12, 28, 64):
        features, logits = Network(3, size, 5).eval()(torch.zeros(2, 3, size, size, dtype=torch.uint8))
        assert (features.shape, logits.shape) == ((2, 128), (2, 5))


def test_other_files_are_refused(tmp_path: Path) -> None:
    from translate import checkpoints

    checkpoints.save(tmp_path / "x.pt", {"weights": {}})
    with pytest.raises(CheckpointError, match="is no classifier"):
        load(tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="no such"):
        load(tmp_path / "y.pt")


def test_the_command(stripes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "s.pt"
    arguments = ["--data", "folder", "--root", str(stripes), "--size", "16", "--epochs", "1", "-o", str(output)]
    assert main(["classifier", *arguments]) == 0
    assert "2 classes" in capsys.readouterr().out
    assert load(output).card.channels == 3
    config = tmp_path / "c.yaml"
    config.write_text("recipe: {kind: gan}\ndata: {kind: dataset, name: folder, root: x, size: 16, labels: false}")
    assert source(str(config), None, stripes, 32).classes == ("level", "upright")
    assert main(["classifier", "--data", "folder", "-o", str(output)]) == 2
    assert "--root" in capsys.readouterr().err
    config.write_text("recipe: {kind: gan}\ndata: {kind: toy}")
    with pytest.raises(ConfigError, match="labels"):
        source(str(config), None, None, 32)
