"""Counters of the server, in the text format of Prometheus."""

import base64
import secrets
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

_FAMILIES = {
    "translate_requests_total": "counter",  # outcome: ok, refused (the visitor's mistake), too_slow, failed (our bug)
    "translate_request_seconds_total": "counter",  # at work, without waiting
    "translate_pictures_total": "counter",  # that came out of a network
    "translate_queue_full_total": "counter",  # requests turned away
    "translate_queue_length": "gauge",
}


class Metrics:
    """Any number of threads may call it at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples = defaultdict[str, float](int, translate_pictures_total=0, translate_queue_full_total=0)

    def add(self, sample: str, value: float = 1) -> None:
        """`sample` is what follows `translate_`, as `requests_total{endpoint="translate",outcome="ok"}`."""
        with self._lock:
            self._samples[f"translate_{sample}"] += value

    def text(self, queued: int) -> str:
        with self._lock:
            samples = {**self._samples, "translate_queue_length": queued}
        lines = []
        for family, kind in _FAMILIES.items():
            lines.append(f"# TYPE {family} {kind}")
            lines += [f"{name} {value}" for name, value in sorted(samples.items()) if name.partition("{")[0] == family]
        return "\n".join(lines) + "\n"


def routes(metrics: Metrics, queued: Callable[[], int], users: Sequence[tuple[str, str]] | None) -> list[Route]:
    """GET /health, for everybody, and GET /metrics, by basic authentication where there is a login."""

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def numbers(request: Request) -> Response:
        given = request.headers.get("authorization", "").encode()
        allowed = [f"Basic {base64.b64encode(':'.join(user).encode()).decode()}".encode() for user in users or ()]
        if users and not sum(secrets.compare_digest(given, one) for one in allowed):
            return PlainTextResponse("not allowed", 401, {"www-authenticate": 'Basic realm="metrics"'})
        return PlainTextResponse(metrics.text(queued()), media_type="text/plain; version=0.0.4")

    return [Route("/health", health), Route("/metrics", numbers)]
