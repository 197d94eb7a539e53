"""Answers that are given again: only true ones, and never more than fits."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from proa.http.answer_cache import AnswerCache

MOST = 20_000

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 30), st.integers(0, 9000)),
        st.tuples(st.just("write"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


class Server:
    """Answers each question with what is true at the time, through a cache."""

    def __init__(self) -> None:
        self.writes = 0
        self.computed = 0
        self.cache = AnswerCache(lambda: self.writes, ("/api/",), most_bytes=MOST)

    async def ask(self, question: int, size: int) -> bytes:
        scope = {"method": "GET", "path": f"/api/{question}", "query_string": b""}
        body = bytearray()

        async def send(message) -> None:
            body.extend(message.get("body", b""))

        key = self.cache.key(scope, "host")
        if not await self.cache.give(key, scope, send):
            self.computed += 1
            answer = self.cache.begin()
            for message in (
                {"type": "http.response.start", "status": 200},
                {"type": "http.response.body", "body": b"%d" % self.writes + b"." * size},
            ):
                answer.add(message)
                await send(message)
            self.cache.keep(key, scope, answer)
        return bytes(body)


@settings(deadline=None)
@given(STEPS)
def test_every_answer_is_true_and_all_together_have_a_bound(steps):
    server = Server()
    for step, question, size in steps:
        if step == "write":
            server.writes += 1
        else:
            answer = asyncio.run(server.ask(question, size))
            assert answer.rstrip(b".") == b"%d" % server.writes
        assert server.cache.size <= MOST
        assert (server.cache.size == 0) is (not server.cache._answers)


def test_what_was_asked_last_is_still_there():
    server = Server()
    for question in range(100):
        asyncio.run(server.ask(question, 4000))
    before = server.computed
    asyncio.run(server.ask(99, 4000))
    assert server.computed == before
    asyncio.run(server.ask(0, 4000))
    assert server.computed == before + 1


def test_what_is_stale_takes_no_memory():
    server = Server()
    for question in range(3):
        asyncio.run(server.ask(question, 100))
    server.writes += 1
    asyncio.run(server.ask(7, 10))
    assert len(server.cache._answers) == 1
