"""Published data sets into `data.root`: fetched, checked, unpacked beside it, and put in place in one move."""

import errno
import hashlib
import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from translate.data.catalogue import Archive, published
from translate.data.extract import extract
from translate.data.fetch import Missing, ResumingDownloader, Unreachable, no_space
from translate.errors import ConfigError, DownloadError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def download(
    family: str,
    name: str,
    root: Path,
    *,
    archives: Mapping[str, Mapping[str, Archive]] | None = None,
    progress: bool | None = None,
    pause: float = 0.5,
) -> None:
    """Fills `root` with a published data set, unless there is something in it already.

    An archive that lies beside `root` is used and kept; one fetched here is removed once it is unpacked. Its SHA-256
    is checked; where none is known, the first one seen is recorded beside `root` and compared from then on.
    `progress` is shown when stderr is a terminal; `pause` seconds pass before a second try. Raises DownloadError.
    """
    try:
        archive = published(family, name, archives)
    except ValueError as error:
        raise ConfigError(f"data.download: {error}") from error
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        return
    folder = root.absolute().parent
    file = folder / archive.file_name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        brought = file.exists()
        try:
            if not brought:
                _check_space(archive, folder)
                _fetch(archive, file, root, progress, pause)
            found = _check_hash(archive, file)
            _unpack(file, root)
        finally:
            if not brought:
                file.unlink(missing_ok=True)
        if archive.sha256 is None:
            _record(file).write_text(f"{found}  {file.name}\n")
    except OSError as error:
        if error.errno in _FULL:
            raise no_space(folder, error) from error
        reason = error.strerror or error
        raise DownloadError(f"{folder}: {reason}; set data.root to a folder that can be written") from error


def _check_space(archive: Archive, folder: Path) -> None:
    if archive.size is not None:
        free, needed = shutil.disk_usage(folder).free, int(2.1 * archive.size)  # packed and unpacked
        if free < needed:
            raise DownloadError(
                f"{folder}: {archive.name} needs {needed >> 20} MB, and {free >> 20} MB are free; "
                "free space there or set data.root to another disk"
            )


def _fetch(archive: Archive, file: Path, root: Path, progress: bool | None, pause: float) -> None:
    """The archive from the first mirror that has it, with its hash checked by pooch."""
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    downloader = ResumingDownloader(file.with_name(f"{file.name}.part"), progress=progress, pause=pause)
    failures = []
    for address in archive.addresses:
        try:
            pooch.retrieve(
                address,
                archive.sha256 or (f"md5:{archive.md5}" if archive.md5 else _recorded(file)),
                fname=file.name,
                path=file.parent,
                downloader=downloader,
            )
            return
        except (Missing, Unreachable) as error:
            failures.append(f"{address}: {error}")
        except ValueError as error:  # pooch's word for another hash; it keeps nothing
            raise DownloadError(
                f"{address}: the file has another SHA-256 than the published one; nothing was kept. Try again later, "
                f"or delete {_record(file)} if you trust the new file"
                if archive.known is None
                else f"{address}: the file has another {archive.known} than the published "
                f"{archive.sha256 or archive.md5}; nothing was kept. Try again later, or fetch it from elsewhere"
            ) from error
    raise DownloadError(
        f"{archive.name} could not be downloaded ({'; '.join(failures)}). Without a connection, fetch "
        f"{archive.addresses[0]} by hand, put it at {file} and start again, or unpack it as {root}"
    )


def _check_hash(archive: Archive, file: Path) -> str:
    """The SHA-256 of the archive, brought by hand or not, if it is the published one or the one first seen."""
    with file.open("rb") as data:
        found = {kind: hashlib.file_digest(data, kind).hexdigest() for kind in ("md5", "sha256") if data.seek(0) == 0}
    expected = archive.sha256 or _recorded(file)
    if archive.md5 not in (None, found["md5"]) or found["sha256"] != (expected or found["sha256"]):
        shown = ("MD5", found["md5"], archive.md5) if archive.md5 else ("SHA-256", found["sha256"], expected)
        raise DownloadError(
            f"{file}: has {shown[0]} {shown[1]} where {shown[2]} is expected; delete it and start again"
            + ("" if archive.known else f", or delete {_record(file)} if you trust it")
        )
    return found["sha256"]


def _record(file: Path) -> Path:
    """Readable by `sha256sum --check`."""
    return file.with_name(f"{file.name}.sha256")


def _recorded(file: Path) -> str | None:
    record = _record(file)
    words = record.read_text().split() if record.exists() else []
    return words[0] if words else None


def _unpack(file: Path, root: Path) -> None:
    """`root` appears complete or not at all. A single folder in the archive becomes `root` itself."""
    with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=file.parent, ignore_cleanup_errors=True) as place:
        unpacked = Path(place, "data")
        unpacked.mkdir()
        extract(file, unpacked)
        inside = [path for path in unpacked.iterdir() if path.name != "__MACOSX"]
        if not inside:
            raise DownloadError(f"{file}: is an empty archive; delete it and start again")
        if root.is_dir():
            root.rmdir()  # empty: it was looked at before
        (inside[0] if len(inside) == 1 and inside[0].is_dir() else unpacked).rename(root)
