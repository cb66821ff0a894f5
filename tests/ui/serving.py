"""Serves the pages of a folder in this process, for tests in a browser."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

import uvicorn

from tinv.ui.server import create_app


@contextmanager
def serve_pages(root: Path) -> Iterator[str]:
    """Yields the address of the pages of a folder."""
    config = uvicorn.Config(create_app(root), port=0, log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
    thread.start()
    while not server.started:
        sleep(0.02)
    yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    server.should_exit = True
    thread.join(timeout=10)
