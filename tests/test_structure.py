"""Imports point one way; nothing heavy is imported before it is needed; files stay short."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "translate"

# Who may import whom, besides errors, batches, checkpoints and processes.
ALLOWED = {
    "errors": set(),
    "batches": set(),
    "processes": set(),
    "checkpoints": set(),
    "config": set(),
    "nn": {"config"},
    "adversarial": {"config"},
    "detector": {"config"},
    "data": {"config", "detector"},
    "evaluation": {"config", "detector", "data", "inference"},
    "recipes": {"config", "nn", "adversarial"},
    "training": {"config", "nn", "adversarial", "data", "evaluation", "recipes"},
    "toy": {"config", "nn", "adversarial", "data", "evaluation", "recipes", "training"},
    "inference": {"config", "nn", "detector", "data", "recipes"},
    "serving": {"config", "data", "inference"},
    "study": {"config", "nn", "adversarial", "detector", "data", "evaluation", "recipes", "training", "inference"},
    "cli": {"config", "data", "detector", "evaluation", "training", "toy", "inference", "serving", "study"},
    "__main__": {"cli"},
    "__init__": set(),
}


def rooms(path: Path) -> set[str]:
    """The parts of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [
                f"{node.module}.{alias.name}" if node.module == "translate" else str(node.module)
                for alias in node.names
            ]
        found |= {name.split(".")[1] for name in names if name.startswith("translate.")}
    return found - {"__version__"}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert rooms(path) <= ALLOWED[room] | {room, "errors", "batches", "checkpoints", "processes"}


def test_the_package_stays_readable() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    assert sum(lengths.values()) < 25_000
    assert [str(path) for path, length in lengths.items() if length > 330] == []


@pytest.mark.parametrize(
    "command",
    [["train", "--help"], ["--version"], ["data", "check", "--help"], ["toy", "--help"], ["evaluate", "--help"]],
)
def test_help_imports_nothing_heavy(command: list[str]) -> None:
    code = (
        "import sys\nfrom translate.cli import main\n"
        f"try:\n    main({command!r})\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'torchvision', 'albumentations', 'numpy', 'PIL', 'pydantic', 'wandb', 'matplotlib', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_a_config_is_checked_without_torchvision_or_albumentations() -> None:
    code = (
        "import sys\nfrom translate.config.load import load\nload('cyclegan_horse2zebra')\n"
        "print(sorted({'torchvision', 'albumentations', 'torchmetrics', 'wandb', 'matplotlib'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
