"""Archives from the internet, unpacked so that they can do no harm.

Only regular files and folders are written, only below the target, at most so many files and bytes; the sizes are
counted while writing, for an archive can lie about them.
"""

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from translate.errors import DownloadError

MAX_FILES = 500_000
MAX_RATIO = 20  # unpacked over packed: pictures hardly shrink, so more is a bomb
_CHUNK = 1 << 18


class _Member(NamedTuple):
    name: str
    open: Callable[[], IO[bytes] | None] | None  # None for a folder


def extract(archive: Path, folder: Path, *, max_files: int = MAX_FILES, max_bytes: int | None = None) -> None:
    """Unpacks a zip or tar archive into the empty `folder`. Raises DownloadError; what was written stays behind."""
    limit = MAX_RATIO * archive.stat().st_size + (64 << 20) if max_bytes is None else max_bytes
    written = count = 0
    try:
        with closing(_members(archive)) as members:
            for member in members:
                count += 1
                if count > max_files:
                    raise DownloadError(f"{archive}: holds more than {max_files:,} files, so not the published data")
                target = folder / _relative(archive, member.name)
                source = member.open() if member.open else None
                if source is None:
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with source, target.open("xb") as out:
                    while chunk := source.read(_CHUNK):
                        written += len(chunk)
                        if written > limit:
                            size = f"more than {limit >> 20} MB"
                            raise DownloadError(f"{archive}: unpacks to {size}, so not the published data")
                        out.write(chunk)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError) as error:
        raise DownloadError(f"{archive}: is damaged ({error}); delete it and try again") from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise DownloadError(f"{archive}: holds two entries of the same name ({error.filename}); refused") from error
    except RuntimeError as error:  # zipfile's word for a password
        raise DownloadError(f"{archive}: cannot be unpacked ({error})") from error


def _members(archive: Path) -> Generator[_Member, None, None]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise _refused(archive, info.filename, "a link or a device")
                yield _Member(info.filename, None if info.is_dir() else partial(zipped.open, info))
    else:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                if not member.isreg() and not member.isdir():
                    raise _refused(archive, member.name, "a link or a device")
                yield _Member(member.name, partial(tar.extractfile, member) if member.isreg() else None)


def _relative(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name:
        raise _refused(archive, name, "a path that leaves the folder")
    return path


def _refused(archive: Path, name: str, what: str) -> DownloadError:
    return DownloadError(f"{archive}: holds {what} ({name!r}); refused, nothing was kept")
