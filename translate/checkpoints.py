"""Checkpoints: whole or not there, and nothing in them can run code."""

import os
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from translate.errors import CheckpointError

FORMAT, VERSION = "translate checkpoint", 1


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes to a temporary file, forces it to disk and renames it: a reader, or a machine that lost power at any
    moment, finds the old checkpoint or the new one.

    Raises CheckpointError if the file cannot be written; the old one is then still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save({"format": FORMAT, "version": VERSION, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch reports a failed write as a RuntimeError
        temporary.unlink(missing_ok=True)
        kept = f"; the one before is kept as {path}" if path.exists() else ""
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path}: cannot be written ({reason}){kept}. Make room or access; a run goes on with --resume"
        ) from None


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Raises CheckpointError for a file that is missing, damaged, not a checkpoint, or of a later version."""
    state = read(path, device)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of this program")
    if state["version"] > VERSION:
        raise CheckpointError(f"{path}: written by a later version (format {state['version']}); update this program")
    return state


def read(path: Path, device: torch.device | str = "cpu") -> Any:
    """What any program saved with torch, if it is tensors and plain values alone. Raises CheckpointError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's remarks on a file that it then refuses
            return torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such checkpoint") from None
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        raise CheckpointError(
            f"{path}: refused, since it holds more than tensors and plain values"
            + (f" (it asks for {wanted[1]})" if wanted else " (or is damaged)")
            + ": reading it could run code. Save the state_dict alone"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: damaged or not a checkpoint: {' '.join(str(error).split())[:200]}") from None


def _sync_folder(folder: Path) -> None:
    """A rename is on disk only once its folder is (POSIX; elsewhere the system sees to it)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
