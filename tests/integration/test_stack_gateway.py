"""The one port: keys, CORS, and what PostgREST sees and answers through it."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from realtime_toolkit.stack.auth.keys import Keys
from realtime_toolkit.stack.front.gateway import NO_KEY, WRONG_KEY, bearer
from realtime_toolkit.stack.front.safeupdate import whole_table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import psycopg

    from realtime_toolkit.stack import LocalStack
    from realtime_toolkit.testing import TestUser

pytestmark = pytest.mark.needs_stack("about the stack's own gateway")

KEYS = Keys.make()


@pytest.fixture
async def http(stack: LocalStack) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=stack.url) as client:
        yield client


# --- keys -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "query", "seen"),
    [
        ({}, b"", NO_KEY),
        ({b"authorization": b"Bearer x"}, b"select=id", NO_KEY),
        ({b"apikey": b"sb_secret_guessed"}, b"", WRONG_KEY),
        ({b"apikey": KEYS.anon.encode()}, b"", f"Bearer {KEYS.anon}"),
        ({}, f"apikey={KEYS.anon}".encode(), f"Bearer {KEYS.anon}"),
        ({b"apikey": KEYS.publishable.encode()}, b"", f"Bearer {KEYS.anon}"),
        ({b"apikey": KEYS.secret.encode()}, b"", f"Bearer {KEYS.service_role}"),
        (
            {b"apikey": KEYS.secret.encode(), b"authorization": f"Bearer {KEYS.secret}".encode()},
            b"",
            f"Bearer {KEYS.service_role}",
        ),
        ({b"apikey": KEYS.publishable.encode(), b"authorization": b"Bearer user"}, b"", "Bearer user"),
        ({b"apikey": KEYS.anon.encode(), b"authorization": b"Bearer user"}, b"", "Bearer user"),
    ],
)
def test_what_a_service_is_told(headers: dict[bytes, bytes], query: bytes, seen: object) -> None:
    assert bearer(headers, query, KEYS) == seen


def test_keys_do_not_show_in_a_repr() -> None:
    assert not any(value in repr(KEYS) for value in KEYS.dump().values())


@pytest.mark.parametrize("path", ["/rest/v1/messages", "/rest/v1/", "/auth/v1/user", "/auth/v1/health"])
async def test_without_a_key(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path)
    assert answer.status_code == 401
    assert answer.json() == {
        "message": "No API key found in request",
        "hint": "No `apikey` request header or url param was found.",
    }


async def test_with_a_wrong_key(http: httpx.AsyncClient) -> None:
    answer = await http.get("/rest/v1/messages", headers={"apikey": "nonsense"})
    assert (answer.status_code, answer.json()["message"]) == (401, "Invalid API key")


@pytest.mark.parametrize("key", ["service_role_key", "secret_key"])
async def test_service_keys_see_everything(
    http: httpx.AsyncClient, stack: LocalStack, key: str, conversation: str
) -> None:
    answer = await http.get(
        "/rest/v1/conversations", params={"id": f"eq.{conversation}"}, headers={"apikey": getattr(stack, key)}
    )
    assert [row["id"] for row in answer.json()] == [conversation]


@pytest.mark.parametrize("key", ["anon_key", "publishable_key"])
async def test_public_keys_are_anon(http: httpx.AsyncClient, stack: LocalStack, key: str) -> None:
    answer = await http.get("/rest/v1/conversations", headers={"apikey": getattr(stack, key)})
    assert (answer.status_code, answer.json()["code"]) == (401, "42501")


async def test_a_key_in_the_address_is_not_taken_for_a_filter(
    http: httpx.AsyncClient, stack: LocalStack, conversation: str
) -> None:
    params = {"apikey": stack.service_role_key, "id": f"eq.{conversation}", "select": "id,title"}
    answer = await http.get("/rest/v1/conversations", params=params)
    assert answer.json() == [{"id": conversation, "title": "test"}]


async def test_an_expired_token_is_told_by_postgrest(http: httpx.AsyncClient, stack: LocalStack) -> None:
    token = stack.token(str(uuid.uuid4()), expires_in=-60)
    headers = {"apikey": stack.anon_key, "authorization": f"Bearer {token}"}
    answer = await http.get("/rest/v1/conversations", headers=headers)
    assert (answer.status_code, answer.json()["message"]) == (401, "JWT expired")


@pytest.mark.parametrize("path", ["/", "/storage/v1/object", "/rest/v1x", "/functions/v1/hello"])
async def test_what_is_not_there(http: httpx.AsyncClient, stack: LocalStack, path: str) -> None:
    answer = await http.get(path, headers={"apikey": stack.anon_key})
    assert (answer.status_code, answer.json()) == (404, {"message": "no Route matched with those values"})


# --- CORS -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/rest/v1/messages", "/auth/v1/token?grant_type=password"])
async def test_a_preflight_needs_no_key(http: httpx.AsyncClient, path: str) -> None:
    headers = {
        "origin": "http://localhost:3000",
        "access-control-request-method": "POST",
        "access-control-request-headers": "apikey,authorization,content-type,prefer",
    }
    answer = await http.options(path, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == headers["access-control-request-headers"]


async def test_every_answer_allows_every_origin_once(http: httpx.AsyncClient, stack: LocalStack) -> None:
    for path in ("/rest/v1/", "/auth/v1/health", "/nowhere"):
        headers = {"apikey": stack.service_role_key, "origin": "http://localhost:3000"}
        answer = await http.get(path, headers=headers)
        assert answer.headers.get_list("access-control-allow-origin") == ["*"], path
        assert "Content-Range" in answer.headers["access-control-expose-headers"]


# --- PostgREST behind it ----------------------------------------------------------------------------------


@pytest.fixture
def alice(as_user: Callable[..., TestUser]) -> TestUser:
    return as_user()


async def test_insert_and_select_under_rls(http: httpx.AsyncClient, as_user: Callable[..., TestUser]) -> None:
    alice, mallory = as_user(), as_user()
    answer = await http.post(
        "/rest/v1/conversations",
        json={"title": "hers"},
        headers={**alice.headers, "prefer": "return=representation"},
    )
    assert answer.status_code == 201
    (row,) = answer.json()
    assert row["user_id"] == alice.id
    assert len((await http.get("/rest/v1/conversations", headers=alice.headers)).json()) == 1
    assert (await http.get("/rest/v1/conversations", headers=mallory.headers)).json() == []
    refused = await http.post("/rest/v1/conversations", json={"user_id": alice.id}, headers=mallory.headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "42501")


async def test_head_count_and_range(http: httpx.AsyncClient, alice: TestUser) -> None:
    rows = [{"title": str(number)} for number in range(5)]
    assert (await http.post("/rest/v1/conversations", json=rows, headers=alice.headers)).status_code == 201
    headers = {**alice.headers, "prefer": "count=exact", "range": "1-2"}
    answer = await http.get("/rest/v1/conversations?order=title&select=title", headers=headers)
    assert answer.status_code == 206
    assert answer.headers["content-range"] == "1-2/5"
    assert answer.json() == [{"title": "1"}, {"title": "2"}]
    head = await http.head("/rest/v1/conversations", headers={**alice.headers, "prefer": "count=exact"})
    assert (head.content, head.headers["content-range"]) == (b"", "0-4/5")


async def test_the_answers_own_headers_and_status_pass(http: httpx.AsyncClient, alice: TestUser) -> None:
    headers = {**alice.headers, "prefer": "return=headers-only,resolution=merge-duplicates"}
    made = await http.post("/rest/v1/conversations", json={"title": "x"}, headers=headers)
    assert made.headers["location"].startswith("/conversations?id=eq.")
    assert len(made.headers.get_list("date")) == 1
    single = {**alice.headers, "accept": "application/vnd.pgrst.object+json"}
    none = await http.get(f"/rest/v1/conversations?id=eq.{uuid.uuid4()}", headers=single)
    assert (none.status_code, none.json()["code"]) == (406, "PGRST116")


async def test_a_large_body_streams_through(http: httpx.AsyncClient, alice: TestUser) -> None:
    title = "ü" * 3_000_000

    async def pieces() -> AsyncIterator[bytes]:
        body = json.dumps({"title": title}, ensure_ascii=False).encode()
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    headers = {**alice.headers, "content-type": "application/json"}
    made = await http.post("/rest/v1/conversations", content=pieces(), headers=headers)
    assert made.status_code == 201
    (row,) = (await http.get("/rest/v1/conversations?select=title", headers=alice.headers)).json()
    assert row["title"] == title


async def test_odd_characters_in_the_address_arrive(http: httpx.AsyncClient, alice: TestUser) -> None:
    title = 'a "b", (c) & d=100% + é/?#'
    await http.post("/rest/v1/conversations", json={"title": title}, headers=alice.headers)
    for value in (f"eq.{title}", 'in.("a \\"b\\", (c) & d=100% + é/?#")'):
        found = await http.get("/rest/v1/conversations", params={"title": value}, headers=alice.headers)
        assert [row["title"] for row in found.json()] == [title], value


async def test_many_requests_at_once(http: httpx.AsyncClient, alice: TestUser) -> None:
    answers = await asyncio.gather(
        *(http.get("/rest/v1/conversations", headers=alice.headers) for _ in range(100))
    )
    assert {answer.status_code for answer in answers} == {200}


async def test_a_new_table_is_served_without_asking_for_a_reload(
    http: httpx.AsyncClient, stack: LocalStack, db: psycopg.AsyncConnection[Any]
) -> None:
    name = f"made_{uuid.uuid4().hex}"
    headers = {"apikey": stack.service_role_key}
    await db.execute(f"create table {name} (id int primary key); create view {name}_view as select 1 as one")
    await db.execute(f"comment on table {name} is 'x'")
    try:
        deadline = time.monotonic() + 10
        # Embedding needs the schema cache, a plain select does not: only a reload makes this answer change.
        while f"/{name}" not in (await http.get("/rest/v1/", headers=headers)).json()["paths"]:
            assert time.monotonic() < deadline
    finally:
        await db.execute(f"drop table {name} cascade; drop view {name}_view")


# --- the whole of a table -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "query", "statement"),
    [
        ("DELETE", "/t", "", "DELETE"),
        ("DELETE", "/t", "select=id&order=id.asc", "DELETE"),
        ("PATCH", "/t", "columns=a&on_conflict=id", "UPDATE"),
        ("PATCH", "/t/", "author.name=eq.x&author.order=name", "UPDATE"),
        ("DELETE", "/t", "id=eq.1", None),
        ("DELETE", "/t", "id=", None),
        ("DELETE", "/t", "or=(a.eq.1,b.eq.2)", None),
        ("DELETE", "/t", "not.and=(a.eq.1)", None),
        ("PATCH", "/t", "data-%3E%3Ea.b=eq.1", None),
        ("PATCH", "/t", "%22a.b%22=eq.1", None),
        ("DELETE", "/t", "limit=1&order=id", None),
        ("DELETE", "/rpc/f", "", None),
        ("DELETE", "/", "", None),
        ("GET", "/t", "", None),
        ("POST", "/t", "", None),
    ],
)
def test_what_is_for_a_whole_table(method: str, path: str, query: str, statement: str | None) -> None:
    assert whole_table(method, path, query, {}) == statement


@pytest.mark.parametrize(("method", "statement"), [("DELETE", "DELETE"), ("PATCH", "UPDATE")])
async def test_a_whole_table_is_not_changed_over_the_api(
    http: httpx.AsyncClient, stack: LocalStack, conversation: str, method: str, statement: str
) -> None:
    """Not even by service_role: the library is in every session of PostgREST's."""
    headers = {"apikey": stack.service_role_key}
    body = {"title": "changed"} if method == "PATCH" else None
    answer = await http.request(method, "/rest/v1/conversations", headers=headers, json=body)
    assert (answer.status_code, answer.json()) == (
        400,
        {"code": "21000", "details": None, "hint": None, "message": f"{statement} requires a WHERE clause"},
    )
    params = {"id": f"eq.{conversation}", "select": "title"}
    assert (await http.get("/rest/v1/conversations", params=params, headers=headers)).json() == [
        {"title": "test"}
    ]
    headers["prefer"] = "return=representation"
    answer = await http.request(method, "/rest/v1/conversations", params=params, headers=headers, json=body)
    assert answer.json() == [{"title": "changed" if body else "test"}]


async def test_what_comes_before_that_is_told_first(http: httpx.AsyncClient, stack: LocalStack) -> None:
    key = {"apikey": stack.anon_key}
    expired = {**key, "authorization": f"Bearer {stack.token(str(uuid.uuid4()), expires_in=-60)}"}
    answer = await http.delete("/rest/v1/conversations", headers=expired)
    assert (answer.status_code, answer.json()["message"]) == (401, "JWT expired")
    answer = await http.delete("/rest/v1/nothing", headers=key)
    assert (answer.status_code, answer.json()["code"]) == (404, "42P01")
    answer = await http.delete(
        "/rest/v1/conversations", headers=key
    )  # no privilege either: the library comes first
    assert (answer.status_code, answer.json()["code"]) == (400, "21000")
    answer = await http.patch("/rest/v1/conversations", headers=key, json={})
    assert answer.json()["code"] != "21000"
