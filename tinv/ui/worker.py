"""A child process that does what needs torch, started when it is needed and ended when it has been idle."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from tinv.errors import UserError
from tinv.runs.parent_process import parent_variable

_MAX_LINE = 64_000_000
"""Bytes of a part of an answer; an image of 2048 pixels takes a tenth of it."""


class Worker:
    """Does one operation at a time; further ones wait. `worker_operations.py` has them."""

    def __init__(self, keep_s: float):
        """keep_s: seconds without work after which the process ends."""
        self.keep_s = keep_s
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.returncode is None

    async def stream(self, operation: str, **arguments: Any) -> AsyncIterator[Any]:
        """Yields the parts of the answer as they are made. An operation that nobody waits for is canceled.

        Raises:
            UserError: with the message of the operation, or because the process died.
        """
        async with self._lock:
            process = await self._start()
            assert process.stdin and process.stdout
            process.stdin.write(json.dumps({"operation": operation, "arguments": arguments}).encode() + b"\n")
            is_at_end = False
            try:
                await process.stdin.drain()
                while not is_at_end:
                    message = await self._read(process)
                    is_at_end = "part" not in message
                    if "error" in message:
                        raise UserError(message["error"])
                    if not is_at_end:
                        yield message["part"]
            finally:
                if not is_at_end and self.is_running:
                    await asyncio.shield(self._cancel(process))
                if self.is_running:
                    self._timer = asyncio.get_running_loop().call_later(self.keep_s, self.stop)

    async def call(self, operation: str, **arguments: Any) -> Any:
        """Returns the last part of an answer."""
        result = None
        async for part in self.stream(operation, **arguments):
            result = part
        return result

    def stop(self) -> None:
        """Ends the process."""
        if self._timer:
            self._timer.cancel()
        if self.is_running and self._process:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def close(self) -> None:
        """Ends the process, and waits until it has ended."""
        self.stop()
        if self._process:
            await self._process.wait()

    async def _start(self) -> asyncio.subprocess.Process:
        if self._timer:
            self._timer.cancel()
        if self._process is None or not self.is_running:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tinv.ui.worker_process"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, **parent_variable()},
                limit=_MAX_LINE,
            )
        return self._process

    async def _read(self, process: asyncio.subprocess.Process) -> dict[str, Any]:
        assert process.stdout
        line = await process.stdout.readline()
        if not line:
            await process.wait()
            raise UserError(f"The process that draws and checks ended with code {process.returncode}; see the console.")
        message: dict[str, Any] = json.loads(line)
        return message

    async def _cancel(self, process: asyncio.subprocess.Process) -> None:
        """Asks for the end of an operation, and reads what it still answers."""
        assert process.stdin
        process.stdin.write(b'{"cancel": true}\n')
        with suppress(UserError, TimeoutError):
            async with asyncio.timeout(60):
                while "part" in await self._read(process):
                    pass
                return
        self.stop()
