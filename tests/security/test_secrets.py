"""What users read is chosen, and what is logged is scrubbed."""

from __future__ import annotations

import logging
import os
import re
import socket
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4, uuid5

import pytest

from realtime_toolkit.scrub import scrub
from realtime_toolkit.store import RestStore
from realtime_toolkit.write.agent import run_task, stream_text, worker_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from realtime_toolkit.stack import LocalStack

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "text",
    [
        "401 for https://api.llm.test/v1?key=S3CRET&x=1",
        "db postgres://svc:S3CRET@10.0.0.5/prod is away",
        "db postgresql://svc:p@S3CRET@10.0.0.5:5432/prod",
        f"bad token {JWT.replace('c2lnbmF0dXJl', 'S3CRET')}",
        "Authorization: Bearer S3CRETtoken",
        "{'authorization': 'Bearer S3CRET', 'x': 1}",
        "headers={'apikey': 'S3CRET'}",
        "OPENAI_API_KEY=S3CRET",
        "password='S3CRET with blanks'",
        'connection: host=h user=u password="S3CRET"',
        "Incorrect API key provided: sk-S3CRET1234",
        "sb_secret_S3CRET",
        "bearer S3CRETS3CRET",
        "client_secret: S3CRET",
    ],
)
def test_secrets_are_scrubbed(text: str) -> None:
    assert "S3CRET" not in scrub(text)
    assert "***" in scrub(text)


def test_a_log_takes_whatever_it_is() -> None:
    text = scrub("a\0b\x1b[2J \ud83d \u009b é😀\n\tc")
    assert text == "a\\x00b\\x1b[2J \\ud83d \\x9b é😀\n\tc"
    text.encode()


def test_the_rest_of_a_text_stays() -> None:
    text = "append_chunk at db.test:5432: no answer in time; the key of task 8d0f5d66 is (id)=(7), tokens: closed"
    assert scrub(text.replace("tokens: ", "")) == text.replace("tokens: ", "")


def test_a_workers_name_tells_nothing_of_the_machine_but_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    name = worker_name()
    assert re.fullmatch(r"worker-[0-9a-f]{12}", name)
    assert socket.gethostname() not in name
    assert f"{name} is process {os.getpid()} on {socket.gethostname()}" in caplog.text


async def failing() -> AsyncIterator[str]:
    yield "hello "
    raise RuntimeError(
        "401 for https://api.llm.test/v1?key=sk-live-S3CRET (postgres://svc:S3CRET@10.0.0.5/prod)"
    )


async def test_an_exceptions_text_is_for_the_log_scrubbed(
    stack: LocalStack, conversation: str, user: str, caplog: pytest.LogCaptureFixture
) -> None:
    """cases/security/08"""
    caplog.set_level(logging.INFO)
    async with RestStore(stack.url, stack.service_role_key) as store:
        with pytest.raises(RuntimeError):
            await stream_text(store, conversation, failing(), agent_role=(role := uuid4().hex))
    async with RestStore(stack.url, stack.anon_key, stack.token(user)) as own:
        (task,) = await own._select("tasks", ("agent_role", "eq", role))
    assert (task["status"], task["error"]) == ("failed", "RuntimeError")
    assert "api.llm.test" in caplog.text
    assert "S3CRET" not in caplog.text


async def words() -> AsyncIterator[str]:
    yield "the secret answer"


async def test_nobody_can_prepare_the_place_of_an_answer(
    stack: LocalStack, conversation: str, db: Any
) -> None:
    """cases/security/04"""
    mallory = str(uuid4())
    async with RestStore(stack.url, stack.service_role_key) as store:
        theirs = (await store.create_conversation(user_id=mallory))["id"]
        task = (await store.create_task(conversation))["id"]
        prepared = str(uuid5(UUID(task), "answer"))
        async with RestStore(stack.url, stack.anon_key, stack.token(mallory)) as attacker:
            await attacker.create_message(theirs, id=prepared)
            outcome = await run_task(store, task, words())
            assert (await attacker.message(prepared))["content"] == ""
        answer = await store.message(outcome.message_id)
        assert (answer["conversation_id"], answer["content"]) == (conversation, "the secret answer")
