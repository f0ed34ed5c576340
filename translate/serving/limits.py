"""What a visitor may send, and where it may lie: checked before Gradio reads a request."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from starlette.responses import PlainTextResponse

from translate.serving.metrics import Metrics

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

JSON = 2 << 20  # bytes of a request that is no upload; a drawing comes inside one
_API = "/gradio_api/"
_ROUTES = {
    *("app_id", "call", "cancel", "heartbeat", "info", "login_check", "queue", "reset", "run", "startup-events"),
    *("theme.css", "upload", "upload_progress", "user"),
}
_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'",
    ),
    (b"x-content-type-options", b"nosniff"),
]


def inside(folder: Path, path: object) -> bool:
    """Whether `path` is the name of something below `folder`, links followed."""
    return isinstance(path, str) and "\0" not in path and folder in Path(path).resolve().parents


class Guard:
    """ASGI middleware: the routes of Gradio that the page needs and no others; bounded bodies; files of `folder` alone.

    A file is named by its path in JSON: Gradio would fetch an address there, and its parameters without a component
    take any path at all. The policy in the headers keeps the browser from asking other hosts for anything.
    """

    def __init__(self, app: App, folder: Path, upload: int, metrics: Metrics) -> None:
        self.app, self.folder, self.upload, self.metrics = app, folder, upload, metrics

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS]
                if message["status"] == 503:
                    self.metrics.add("queue_full_total")
            await send(message)

        refusal, receive = await self._check(scope, receive)
        await (refusal or self.app)(scope, receive, answer)

    async def _check(self, scope: Message, receive: Receive) -> tuple[App | None, Receive]:
        path: str = scope["path"]
        if scope["type"] != "http" or not self._known(path):
            return PlainTextResponse("not found", 404), receive
        if scope["method"] in ("GET", "HEAD"):
            return None, receive
        length = dict(scope["headers"]).get(b"content-length", b"").decode()
        uploads = path == f"{_API}upload"
        if not length.isdecimal():
            return PlainTextResponse("say the length of the content", 411), receive
        if int(length) > (self.upload + (1 << 16) if uploads else JSON):  # some bytes of multipart are around a file
            return PlainTextResponse(f"more than the {self.upload >> 20} MB that may be sent", 413), receive
        if uploads or not path.startswith(_API):
            return None, receive
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if not self._harmless(body):
            return PlainTextResponse("send files themselves, not their addresses", 403), receive
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        return None, replay

    def _known(self, path: str) -> bool:
        if not path.startswith(_API):
            return not path.startswith("/monitoring")
        route = path.removeprefix(_API)
        if route.startswith("file="):
            return inside(self.folder, route.removeprefix("file="))
        return route.partition("/")[0] in _ROUTES

    def _harmless(self, body: bytes) -> bool:
        """Whether every file that the JSON text `body` names is an upload."""
        try:
            waiting = [json.loads(body or b"null")]
        except (ValueError, RecursionError):
            return False
        while waiting:
            value = waiting.pop()
            if isinstance(value, dict):
                if value.get("path") is not None and not inside(self.folder, value["path"]):
                    return False
                waiting += value.values()
            elif isinstance(value, list):
                waiting += value
        return True
