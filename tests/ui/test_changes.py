"""Pages hear of changes, and nobody polls for nobody."""

import asyncio

from tinv.ui import changes
from tinv.ui.changes import ChangeStream


def test_all_listeners_hear_each_change_and_polling_ends_with_them(monkeypatch):
    monkeypatch.setattr(changes, "POLL_S", 0.01)
    state, polls = [0], [0]

    def signature() -> int:
        polls[0] += 1
        return state[0]

    async def listen() -> None:
        stream = ChangeStream()
        listeners = [stream.listen("run", signature) for _ in range(3)]
        assert [await anext(listener) for listener in listeners] == [b"retry: 1500\n\n"] * 3
        for version in (1, 2):
            waiting = [asyncio.ensure_future(anext(listener)) for listener in listeners]
            await asyncio.sleep(0.05)
            state[0] = version
            assert await asyncio.gather(*waiting) == [b"event: change\ndata: %d\n\n" % version] * 3
        for listener in listeners:
            await listener.aclose()
        before = polls[0]
        await asyncio.sleep(0.05)
        assert polls[0] <= before + 1 and not stream._topics

    asyncio.run(listen())


def test_a_quiet_stream_sends_comments(monkeypatch):
    monkeypatch.setattr(changes, "_KEEP_ALIVE_S", 0.01)

    async def listen() -> None:
        listener = ChangeStream().listen("run", lambda: 0)
        assert [await anext(listener) for _ in range(3)][1:] == [b": alive\n\n"] * 2
        await listener.aclose()

    asyncio.run(listen())
