"""A zip of pictures into a zip of results. The zip is a stranger's: none of its names becomes the name of a file."""

import csv
import io
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from translate.errors import DataError, TranslateError
from translate.serving.service import Service, TooSlow

MAX_FILES = 1000
MAX_RATIO = 20  # unpacked over packed, beyond the first 64 MB, as for downloads
MAX_RESULT = 1 << 30  # bytes

Progress = Callable[[tuple[int, int], str], object]  # done of all, and the name of the next

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)  # last: a password


def translate_zip(service: Service, upload: Any, name: str, seed: int, progress: Progress | None = None) -> str:
    """The new zip: the same folders, and `report.csv`, which names every input and what became of it."""
    with service.request("translate_zip") as deadline:
        model, target = service.model(name), service.new_folder()
        archive, title = service.received(upload, target)
        file = target / f"{PurePosixPath(title).stem}-{model.card.network}.zip"
        report: list[tuple[str, str, str]] = []

        def one(packed: zipfile.ZipFile, member: zipfile.ZipInfo, results: zipfile.ZipFile) -> tuple[str, str]:
            """The name in the new zip, and "ok" or why there is none."""
            path, inner = target / "member", PurePosixPath(member.filename)
            if inner.is_absolute() or ".." in inner.parts or re.search(r"[\\:\0]", member.filename):
                return "", "refused: its name leaves the folder"
            try:
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others know no bound
                    raise NotImplementedError("a method other than deflate")
                with packed.open(member) as content:
                    data = content.read(member.file_size)  # _members has added up what the zip says
            except _DAMAGED as error:
                return "", f"cannot be unpacked ({error})"
            path.write_bytes(data)
            try:
                pixels = service.read(deadline, model, path, inner.name)
                _, result = service.convert(deadline, model, pixels, seed, path)
            except TooSlow:
                raise
            except TranslateError as error:
                return "", service.public(str(error))
            entry = str(inner.with_suffix(result.suffix))
            while entry in results.NameToInfo:
                entry = f"{entry.removesuffix(result.suffix)}_{result.suffix}"
            results.write(result, entry)  # stored: pictures are compressed
            return entry, "ok"

        try:
            with zipfile.ZipFile(archive) as packed, zipfile.ZipFile(file, "x") as results:
                members = _members(packed, archive)
                for index, member in enumerate(members):
                    if progress:
                        progress((index, len(members)), PurePosixPath(member.filename).name)
                    report.append((member.filename, *one(packed, member, results)))
                    if file.stat().st_size > MAX_RESULT:
                        raise DataError(f"{title}: its results take more than 1 GB; send fewer pictures at a time")
                text = io.StringIO()
                csv.writer(text).writerows([("input", "output", "status"), *report])
                results.writestr("report.csv", text.getvalue())
        except TooSlow as error:
            raise TooSlow(
                f"{error}; {len(report)} of {len(members)} were done: send fewer pictures at a time"
            ) from None
        except zipfile.BadZipFile as error:
            raise DataError(f"{title}: is no zip, or a damaged one ({error})") from error
        return str(file)


def _members(packed: zipfile.ZipFile, archive: Path) -> list[zipfile.ZipInfo]:
    members = []
    for member in packed.infolist():
        name = PurePosixPath(member.filename)
        if not member.is_dir() and name.name and not name.name.startswith(".") and "__MACOSX" not in name.parts:
            members.append(member)
    if not 0 < len(members) <= MAX_FILES:
        raise DataError(f"the zip holds {len(members):,} files; it may hold from 1 to {MAX_FILES:,}")
    if sum(member.file_size for member in members) > MAX_RATIO * archive.stat().st_size + (64 << 20):
        raise DataError("the zip unpacks to far more than pictures would; pack them as PNG or JPEG")
    return members
