"""Tells pages that files have changed, as server-sent events."""

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import suppress

POLL_S = 1.0
"""Runs write at most once a second."""
_KEEP_ALIVE_S = 20.0


class _Topic:
    def __init__(self) -> None:
        self.version, self.listeners = 0, 0
        self.changed = asyncio.Condition()
        self.task: asyncio.Task[None] | None = None

    async def wait_beyond(self, version: int) -> None:
        """Waits until the version is another one."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.version != version)


class ChangeStream:
    """Polls what pages watch, once for all of them, and nothing that no page watches."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}

    async def listen(
        self, name: str, signature: Callable[[], Hashable], *, poll_s: float | None = None
    ) -> AsyncIterator[bytes]:
        """Yields an event at each change, and a comment from time to time, so that a lost client is noticed.

        Args:
            name: of what is watched.
            signature: returns something else after a change; called in a thread.
            poll_s: seconds between two calls; None is POLL_S.
        """
        topic = self._topics.setdefault(name, _Topic())
        topic.listeners += 1
        if topic.task is None:
            topic.task = asyncio.create_task(_poll(topic, signature, poll_s or POLL_S))
        seen = topic.version
        try:
            yield b"retry: 1500\n\n"
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(topic.wait_beyond(seen), _KEEP_ALIVE_S)
                is_new, seen = topic.version != seen, topic.version
                yield b"event: change\ndata: %d\n\n" % seen if is_new else b": alive\n\n"
        finally:
            topic.listeners -= 1
            if not topic.listeners and topic.task:
                topic.task.cancel()
                self._topics.pop(name, None)


async def _poll(topic: _Topic, signature: Callable[[], Hashable], poll_s: float) -> None:
    before = await asyncio.to_thread(signature)
    while True:
        await asyncio.sleep(poll_s)
        now = await asyncio.to_thread(signature)
        if now != before:
            before = now
            topic.version += 1
            async with topic.changed:
                topic.changed.notify_all()
