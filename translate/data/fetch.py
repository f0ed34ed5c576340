"""One file from one address, taken up again where a broken connection left it."""

import re
import sys
import time
from pathlib import Path
from typing import Any

from translate.errors import DownloadError

_TRIES = 4  # in a row without a byte of progress
_CHUNK = 1 << 13  # bytes: what is lost when a connection breaks


class Missing(Exception):
    """The server answers, but not with this file: another try is pointless, another mirror is not."""


class Unreachable(Exception):
    """No answer, or one that breaks off again and again."""


class ResumingDownloader:
    """A downloader for pooch: fills FILE.part across connections and runs, then moves it to where pooch wants it.

    Raises Missing or Unreachable; the partial file stays for the next run.
    """

    def __init__(self, part: Path, *, progress: bool | None = None, pause: float = 0.5, timeout: float = 30.0) -> None:
        self.part = part
        self.progress = sys.stderr.isatty() if progress is None else progress
        self.pause = pause  # seconds before the second try, doubling
        self.timeout = timeout  # seconds without a byte

    def __call__(self, address: str, output_file: str, pooch: Any) -> None:
        import requests
        from tqdm import tqdm

        failures = 0
        with (
            requests.Session() as session,
            tqdm(desc=self.part.stem, unit="B", unit_scale=True, unit_divisor=1024, disable=not self.progress) as bar,
        ):
            while True:
                before = self._have()
                try:
                    reason = self._receive(session, address, bar)
                    if reason is None:
                        break
                except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                    reason = _short(error)
                except requests.RequestException as error:
                    raise Missing(_short(error)) from error
                failures = 0 if self._have() > before else failures + 1
                if failures >= _TRIES:
                    raise Unreachable(reason)
                time.sleep(self.pause * 2**failures)
        self.part.replace(output_file)

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _receive(self, session: Any, address: str, bar: Any) -> str | None:
        """One connection. None when the file is complete, else why it is not."""
        have = self._have()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with session.get(address, headers=headers, stream=True, timeout=self.timeout) as response:
            if response.status_code == 416:  # nothing after what we have
                if _total(response) == have:
                    return None
                self.part.unlink(missing_ok=True)
                return "the file on the server is shorter than what was fetched before"
            answer = f"the server answers {response.status_code} {response.reason}"
            if response.status_code >= 500 or response.status_code == 429:
                return answer
            if response.status_code not in (200, 206):
                raise Missing(answer)
            resumed = response.status_code == 206 and _start(response) == have
            if response.status_code == 206 and not resumed:
                self.part.unlink()
                return "the server sent another part of the file than asked for"
            total = _total(response) if resumed else _length(response)
            bar.total, bar.n = total, have if resumed else 0
            with self.part.open("ab" if resumed else "wb") as file:
                for chunk in response.iter_content(_CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
        return None if total in (None, self._have()) else "the connection broke"


def _length(response: Any) -> int | None:
    value = response.headers.get("Content-Length", "")
    return int(value) if value.isdigit() else None


def _start(response: Any) -> int | None:
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _total(response: Any) -> int | None:
    found = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _short(error: Exception) -> str:
    """`Name or service not known` out of four wrapped exceptions."""
    text = str(error)
    found = re.search(r"\[Errno [-\d]+\] ([\w ]+)", text)
    return found[1] if found else " ".join(text.split())[:120] or type(error).__name__


def no_space(folder: Path, error: OSError) -> DownloadError:
    return DownloadError(f"{folder}: {error.strerror or error}; free space there or set data.root to another disk")
