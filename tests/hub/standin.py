"""A stand-in for the Hub on loopback, with the routes that the real client uses."""

import hashlib
import json
import re
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

TOKEN = "hf_" + "Abc0123456789" * 3
"""Not a real token, but of the same form."""
USER = "alice"
LFS_SUFFIXES = (".safetensors", ".bin", ".png", ".jpeg")


@dataclass
class Stored:
    """A repository."""

    files: dict[str, bytes] = field(default_factory=dict)
    private: bool = False
    commits: list[str] = field(default_factory=lambda: ["0" * 39 + "1"])

    @property
    def sha(self) -> str:
        return self.commits[-1]


@dataclass
class Standin:
    """Its repositories, the requests that it received, and how it fails."""

    repos: dict[tuple[str, str], Stored] = field(default_factory=dict)
    """By (model or dataset, id)."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of every request."""
    tokens: set[str] = field(default_factory=set)
    """The bearer tokens of the requests."""
    uploads: dict[str, bytes] = field(default_factory=dict)
    """Large files by SHA-256, until a commit refers to them."""
    fails: dict[str, int] = field(default_factory=dict)
    """The status of the response, by a pattern of the path."""
    delays: dict[str, float] = field(default_factory=dict)
    """Seconds before the response, by a pattern of the path."""
    role: str = "write"
    url: str = ""

    def add(self, kind: str, name: str, folder: Path) -> Stored:
        """Serves the files of a folder as a repository."""
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        self.repos[kind, name] = Stored(files, commits=[hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()])
        return self.repos[kind, name]

    def fetched(self) -> list[str]:
        """Returns the downloaded files."""
        parts = [path.partition("/resolve/")[2] for method, path in self.requests if method == "GET"]
        return [part.partition("/")[2] for part in parts if part]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Standin

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, value: object = None, status: int = 200, body: bytes | None = None, **headers: str) -> None:
        if body is None:
            body, headers = json.dumps(value).encode(), {"Content-Type": "application/json"} | headers
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _serve(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        length = int(self.headers.get("Content-Length") or 0)
        sent = self.rfile.read(length) if length else b""
        hub.requests.append((self.command, path))
        if token := (self.headers.get("Authorization") or "").removeprefix("Bearer "):
            hub.tokens.add(token)
        for pattern, seconds in hub.delays.items():
            if re.search(pattern, path):
                time.sleep(seconds)
        for pattern, status in hub.fails.items():
            if re.search(pattern, path):
                return self._answer({"error": f"status {status}"}, status)
        for method, pattern, action in _ROUTES:
            if self.command in method.split("|") and (match := re.fullmatch(pattern, path)):
                return action(self, sent, **match.groupdict())
        return self._answer({"error": f"no route {self.command} {path}"}, 404)

    do_GET = do_HEAD = do_POST = do_PUT = _serve  # noqa: N815

    def _repo(self, kind: str, name: str, rev: str | None = "main") -> Stored | None:
        """Returns the repository at a revision, or sends an error."""
        stored = self.hub.repos.get((kind.rstrip("s") or "model", name))
        if stored is None or (stored.private and not self.headers.get("Authorization")):
            self._answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
            return None
        if rev not in (None, "main", stored.sha):
            self._answer({"error": "Invalid rev id"}, 404, X_Error_Code="RevisionNotFound")
            return None
        return stored

    def info(self, sent: bytes, kind: str, name: str, rev: str | None = None) -> None:
        if stored := self._repo(kind, name, rev):
            siblings = [{"rfilename": p, "size": len(d), "blobId": _oid(d)} for p, d in stored.files.items()]
            values = {"id": name, "_id": "0", "sha": stored.sha, "private": stored.private, "siblings": siblings}
            self._answer(values | {"tags": [], "downloads": 0, "likes": 0})

    def tree(self, sent: bytes, kind: str, name: str, rev: str) -> None:
        if stored := self._repo(kind, name, rev):
            self._answer([{"type": "file", "path": p, "size": len(d), "oid": _oid(d)} for p, d in stored.files.items()])

    def resolve(self, sent: bytes, kind: str, name: str, rev: str, path: str) -> None:
        stored = self._repo(kind or "models", name, rev)
        if stored is None:
            return None
        if path not in stored.files:
            codes = {"X_Error_Code": "EntryNotFound", "X_Repo_Commit": stored.sha}
            return self._answer({"error": "Entry not found"}, 404, **codes)
        data = stored.files[path]
        return self._answer(body=data, ETag=f'"{_oid(data)}"', X_Repo_Commit=stored.sha, Accept_Ranges="bytes")

    def whoami(self, sent: bytes) -> None:
        if (self.headers.get("Authorization") or "") != f"Bearer {TOKEN}":
            return self._answer({"error": "Invalid credentials in Authorization header"}, 401)
        auth = {"type": "access_token", "accessToken": {"displayName": "t", "role": self.hub.role}}
        return self._answer({"type": "user", "name": USER, "orgs": [{"name": "toys"}], "auth": auth})

    def create(self, sent: bytes) -> None:
        request = json.loads(sent)
        name = f"{request['organization'] or USER}/{request['name']}"
        key = (request.get("type", "model"), name)
        if key in self.hub.repos:
            return self._answer({"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"}, 409)
        self.hub.repos[key] = Stored(private=request.get("visibility") == "private" or bool(request.get("private")))
        return self._answer({"url": f"{self.hub.url}/{name}", "id": "0", "name": name})

    def preupload(self, sent: bytes, kind: str, name: str, rev: str) -> None:
        if self._repo(kind, name, rev):
            paths = [file["path"] for file in json.loads(sent)["files"]]
            modes = {path: "lfs" if path.endswith(LFS_SUFFIXES) else "regular" for path in paths}
            files = [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]
            self._answer({"files": files})

    def batch(self, sent: bytes, name: str) -> None:
        objects = [
            {**requested, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{requested['oid']}"}}}
            for requested in json.loads(sent)["objects"]
        ]
        self._answer({"transfer": "basic", "objects": objects})

    def store(self, sent: bytes, oid: str) -> None:
        assert hashlib.sha256(sent).hexdigest() == oid
        self.hub.uploads[oid] = sent
        self._answer({})

    def commit(self, sent: bytes, kind: str, name: str, rev: str) -> None:
        if not (stored := self._repo(kind, name, rev)):
            return
        for line in map(json.loads, sent.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                stored.files[value["path"]] = b64decode(value["content"])
            elif line["key"] == "lfsFile":
                stored.files[value["path"]] = self.hub.uploads[value["oid"]]
            elif line["key"] == "deletedFile":
                del stored.files[value["path"]]
        stored.commits.append(hashlib.sha1(sent).hexdigest())
        url = f"{self.hub.url}/{name}/commit/{stored.sha}"
        self._answer({"success": True, "commitOid": stored.sha, "commitUrl": url})

    def validate(self, sent: bytes) -> None:
        self._answer({"errors": [], "warnings": []})


_API = r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)"
_ROUTES = (
    ("GET", _API, _Handler.info),
    ("GET", _API + r"/revision/(?P<rev>.+)", _Handler.info),
    ("GET", _API + r"/tree/(?P<rev>[^/]+)/?", _Handler.tree),
    ("GET|HEAD", r"/(?P<kind>datasets)?/?(?P<name>[^/]+/[^/]+)/resolve/(?P<rev>[^/]+)/(?P<path>.+)", _Handler.resolve),
    ("GET", r"/api/whoami-v2", _Handler.whoami),
    ("POST", r"/api/repos/create", _Handler.create),
    ("POST", r"/api/validate-yaml", _Handler.validate),
    ("POST", _API + r"/preupload/(?P<rev>.+)", _Handler.preupload),
    ("POST", _API + r"/commit/(?P<rev>.+)", _Handler.commit),
    ("POST", r"/(?P<name>.+)\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT", r"/lfs/(?P<oid>\w+)", _Handler.store),
)


def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def standing_in() -> Iterator[Standin]:
    """Runs the stand-in at its `url` during the block."""
    hub = Standin()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    server.handle_error = lambda *_: None  # some tests let the client close the connection
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
