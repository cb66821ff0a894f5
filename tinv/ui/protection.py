"""Refuses requests that the user's own page did not make, and limits those that it may make.

A page of another site may send requests to a server on this machine. It cannot read the answers, but could start a run.
Its requests have another `Origin`, or, if it renamed its own host to 127.0.0.1 (DNS rebinding), another `Host`.
"""

import hmac
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
MAX_JSON_BYTES = 1_000_000
"""Of the body of a request that is no upload."""
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",  # the address contains the token
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Protection:
    """Middleware around the whole application."""

    def __init__(self, app: ASGIApp, *, token: str, hosts: Collection[str], max_upload_bytes: int):
        """Args:
        token: the first part of every path; empty if there is none.
        hosts: names in the header `Host` that the server answers to, without ports; empty allows all.
        max_upload_bytes: of the body of an upload.
        """
        self.app, self.token, self.hosts, self.max_upload_bytes = app, token, hosts, max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        problem = self._find_problem(scope, headers)
        if problem:
            status, text = problem
            await PlainTextResponse(text, status, headers=_HEADERS)(scope, receive, send)
            return
        if self.token:
            scope = {**scope, "root_path": f"{scope.get('root_path', '')}/{self.token}"}
        limit = self.max_upload_bytes if headers.get("content-type") == "application/octet-stream" else MAX_JSON_BYTES
        await self.app(scope, _limit_body(receive, limit), _add_headers(send))

    def _find_problem(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Returns the status and the text of the refusal."""
        host = headers.get("host", "")
        if self.hosts and _host_name(host) not in self.hosts:
            return 403, f"This server does not answer to the name {host[:100]!r}."
        first = scope["path"].split("/")[1] if scope["path"].startswith("/") else ""
        if self.token and not hmac.compare_digest(first.encode(), self.token.encode()):
            return 403, "The address needs the token that `tinv ui` printed."
        is_reading = scope["method"] in ("GET", "HEAD")
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405, "Only GET and POST."
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "Requests of other pages are refused."
        is_visit = is_reading and headers.get("sec-fetch-mode") == "navigate"
        if site not in ("same-origin", "none") and not is_visit:
            return 403, "Requests of other pages are refused."
        if not is_reading:
            kind = headers.get("content-type", "").partition(";")[0]
            if kind not in ("application/json", "application/octet-stream"):  # a form of another page has neither
                return 415, "Send JSON or a file."
            length = headers.get("content-length", "")
            if not length.isdecimal():
                return 411, "Send the length."
            if int(length) > (self.max_upload_bytes if kind == "application/octet-stream" else MAX_JSON_BYTES):
                return 413, "Too large."
        return None


def _host_name(host: str) -> str:
    """`127.0.0.1:7860` -> `127.0.0.1`; `[::1]:7860` -> `::1`."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _limit_body(receive: Receive, limit: int) -> Receive:
    """Ends the connection of a client that sends more than it said."""
    total = 0

    async def limited() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        return message if total <= limit else {"type": "http.disconnect"}

    return limited


def _add_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name for name, _ in message["headers"]}
            extra = [(n.encode(), v.encode()) for n, v in _HEADERS.items() if n.encode() not in present]
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return sending
