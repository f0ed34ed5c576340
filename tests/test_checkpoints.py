import os
import pickle
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from translate.checkpoints import VERSION, load, save
from translate.errors import CheckpointError


def test_round_trip_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "last.pt"
    save(path, {"weights": {"a": torch.arange(3)}, "step": 7})
    save(path, {"weights": {"a": torch.arange(4)}, "step": 8})
    state = load(path)
    assert (state["step"], state["weights"]["a"].tolist()) == (8, [0, 1, 2, 3])
    assert [file.name for file in path.parent.iterdir()] == ["last.pt"]


def test_nothing_in_a_checkpoint_can_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'owned'}",)

    path = tmp_path / "evil.pt"
    torch.save({"format": "translate checkpoint", "version": 1, "x": Evil()}, path)
    with pytest.raises(CheckpointError, match="refused"):
        load(path)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError):
        load(tmp_path / "plain.pt")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_cut_file_is_named(share: float, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    save(path, {"a": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(CheckpointError, match=r"x\.pt"):
        load(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of this program"):
        load(path)
    torch.save({"format": "translate checkpoint", "version": VERSION + 1}, path)
    with pytest.raises(CheckpointError, match="later version"):
        load(path)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load(tmp_path / "y.pt")


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: the write fails half-way, as there."""
    path = tmp_path / "last.pt"
    save(path, {"step": 1})
    code = (
        "import resource, torch, sys\nfrom pathlib import Path\nfrom translate.checkpoints import save\n"
        "from translate.errors import CheckpointError\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({200_000}, {resource.RLIM_INFINITY}))\n"
        f"try:\n    save(Path({str(path)!r}), {{'step': 2, 'x': torch.zeros(1_000_000)}})\n"
        "except CheckpointError as error:\n    print(error)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot be written" in result.stdout
    assert f"the one before is kept as {path}" in result.stdout
    assert load(path)["step"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]
