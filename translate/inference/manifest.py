"""OUTPUT/manifest.jsonl: what became of each input, one JSON object a line; of several for one input, the last counts.

A line {"run": …, "model": …, "settings": …} says what the rows with this "run" were made with.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, Self

from translate.errors import DataError
from translate.inference.inputs import Item

NAME = "manifest.jsonl"

Status = Literal["done", "skipped", "failed"]


class Row(NamedTuple):
    input: str
    output: str | None  # None: none was written
    status: Status
    seconds: float
    error: str | None
    seed: int | None  # None: the model has no noise
    size: int  # of the input's file, bytes
    modified: int  # ns since 1970


class Manifest:
    """Open for appending, by one process at a time.

    `run` is all that decides how an output looks. Raises DataError where the file cannot be used or written.
    """

    def __init__(self, folder: Path, run: Mapping[str, Any]) -> None:
        self.path = folder / NAME
        self.run = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:16]
        self._header: Mapping[str, Any] | None = {"run": self.run, **run}  # written when there is a first row
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with ExitStack() as stack:
                self._file = stack.enter_context(self.path.open("a+b"))
                _lock(self._file)
                self._done = self._read()
                stack.pop_all()  # all is well: it stays open
        except BlockingIOError:
            raise DataError(f"{folder}: another run is writing there; wait for it, or choose another OUTPUT") from None
        except OSError as error:
            raise unwritable(folder, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # a full disk has been reported by then
            self._file.close()

    def finished(self, item: Item, seed: int | None) -> bool:
        """Whether its last output came from this very input, model, seed and settings, and is still there."""
        made_from = _made_from(self.run, item.output, seed, item.size, item.modified)
        return self._done.get(item.name) == made_from and (self.path.parent / item.output).is_file()

    def add(self, row: Row) -> None:
        lines = [self._header] if self._header else []
        self._header = None
        try:
            self._file.write(b"".join(_line(value) for value in (*lines, {"run": self.run, **row._asdict()})))
            self._file.flush()
        except OSError as error:
            raise unwritable(self.path, error) from error

    def _read(self) -> dict[str, int]:
        """Input → a hash of what its output was made from. A line that a kill has cut is ended, and ignored."""
        done, line = {}, b"\n"
        self._file.seek(0)
        for line in self._file:
            with suppress(ValueError, KeyError, TypeError):
                row = json.loads(line)
                if row["status"] == "done":
                    made_from = (row[key] for key in ("run", "output", "seed", "size", "modified"))
                    done[row["input"]] = _made_from(*made_from)
        if not line.endswith(b"\n"):
            self._file.write(b"\n")
        return done


def unwritable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: cannot be written ({error.strerror or error}); mend that and run the same command again")


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _made_from(run: str, output: str, seed: int | None, size: int, modified: int) -> int:
    return hash((run, output, seed, size, modified))


def _lock(file: IO[bytes]) -> None:
    """Released with the file, even by a kill. Without effect where the system or the disk has no such locks."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except (ImportError, OSError):
        pass
