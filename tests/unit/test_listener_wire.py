"""The listener against a Realtime server whose every word is the test's: joining, frames, faults, ends."""

from __future__ import annotations

import asyncio
import http
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from realtime_toolkit.errors import (
    ConfigError,
    GaveUp,
    InputError,
    NotFound,
    StoreUnavailable,
    ToolkitError,
    Unauthorized,
    Unreachable,
)
from realtime_toolkit.events import Lost, Recovered, Resynced, RowChanged, State, StateChanged, TextAppended
from realtime_toolkit.follow.listener import Listener
from realtime_toolkit.model import RowRef, Scope
from realtime_toolkit.replica.replica import Replica
from realtime_toolkit.settings import mint_token
from realtime_toolkit.stack.realtime.proxy import TcpProxy
from tests.unit.wire import (
    CHUNKS,
    ITEMS,
    LIMIT,
    MESSAGES,
    QUICK,
    SCOPE,
    Heard,
    Server,
    Shelf,
    follow,
    reaches,
    realtime,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Response

SECRET = "a-secret-of-at-least-thirty-two-characters"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with realtime() as running:
        yield running


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def heard() -> Heard:
    return Heard()


def item(number: int, body: str = "") -> dict[str, Any]:
    return {"id": number, "box": 1, "body": body}


# --- joining ---


async def test_the_join_asks_for_every_table_of_the_scope_and_the_users_watermarks(
    server: Server, heard: Heard
) -> None:
    token = mint_token(SECRET, "some-user")
    async with follow(server, Shelf(ITEMS, CHUNKS), heard, token=lambda: token):
        peer = await server.peer()
        _, _, topic, _, payload = await peer.joining()
    assert peer.query == {"apikey": "key", "vsn": "2.0.0"}
    assert topic.startswith("realtime:")
    assert payload["access_token"] == token
    assert payload["config"]["private"] is False
    assert payload["config"]["postgres_changes"] == [
        {"event": "*", "schema": "public", "table": "items", "filter": "box=eq.1"},
        {"event": "*", "schema": "public", "table": "message_chunks", "filter": "conversation_id=eq.1"},
        {"event": "*", "schema": "public", "table": "realtime_watermarks", "filter": "user_id=eq.some-user"},
    ]


async def test_a_reply_to_the_join_is_not_live_and_neither_is_a_subscription(
    server: Server, shelf: Shelf, heard: Heard
) -> None:
    shelf.put(ITEMS, **item(1))
    async with follow(server, shelf, heard) as listener:
        peer = await server.peer()
        await peer.reply(await peer.joining(), "ok", {"postgres_changes": []})
        await peer.change(shelf.put(ITEMS, **item(2)))
        await heard.event(RowChanged)
        assert listener.state is State.CONNECTING
        assert shelf.calls == ["tables"], "no sync before the subscription: what is committed between is lost"
        shelf.gate.clear()
        await peer.subscribed()
        await reaches(listener, State.SYNCING)
        shelf.gate.set()
        await asyncio.wait_for(listener.synced(), LIMIT)
        await heard.event(Resynced)
        assert heard.versions == [("[2]", 1, "live"), ("[1]", 1, "sync")]
        states = [event.state for event in heard.of(StateChanged)]
        assert states == [State.CONNECTING, State.SYNCING, State.SYNCED]
    assert heard.events[-1] == StateChanged(State.DISCONNECTED, "closed")


async def test_recovered_rows_are_told_before_the_state_is_synced(
    server: Server, shelf: Shelf, heard: Heard
) -> None:
    shelf.put(ITEMS, **item(1))
    async with follow(server, shelf, heard):
        await (await server.peer()).join()
        await heard.until(lambda: StateChanged in map(type, heard.events[3:]))
    kinds = [type(event).__name__ for event in heard.events[2:6]]
    assert kinds == ["RowChanged", "Recovered", "Resynced", "StateChanged"]
    assert heard.of(Recovered) == [Recovered(1)]


async def test_a_second_subscribed_means_that_changes_were_lost(
    server: Server, shelf: Shelf, heard: Heard
) -> None:
    async with follow(server, shelf, heard) as listener:
        peer = await server.peer()
        await peer.join()
        await asyncio.wait_for(listener.synced(), LIMIT)
        shelf.put(ITEMS, **item(1))
        shelf.gate.clear()
        await peer.subscribed()
        await reaches(listener, State.SYNCING)
        shelf.gate.set()
        assert (await heard.event(RowChanged)).via == "sync"
        await asyncio.wait_for(listener.synced(), LIMIT)


REFUSALS = [
    ("JwtSignatureError: Failed to validate JWT signature", Unauthorized),
    ("InvalidJWTToken: Token has expired 3 seconds ago", Unauthorized),
    ("MalformedJWT: The token provided is not a valid JWT", Unauthorized),
    ("ChannelRateLimitReached: Too many channels", Unreachable),
    ("IncreaseConnectionPool: Please increase your connection pool size", Unreachable),
]


@pytest.mark.parametrize(("reason", "kind"), REFUSALS)
async def test_a_refused_join_fails_fast_where_it_is_to(
    server: Server, shelf: Shelf, heard: Heard, reason: str, kind: type[ToolkitError]
) -> None:
    listener = follow(server, shelf, heard, fail_fast=True)
    starting = asyncio.create_task(listener.start())
    peer = await server.peer()
    await peer.reply(await peer.joining(), "error", {"reason": reason})
    with pytest.raises(kind, match=reason.split(":")[0]):
        await asyncio.wait_for(starting, LIMIT)
    await peer.closed()


async def test_a_refused_token_is_an_error_and_the_next_token_is_tried(
    server: Server, shelf: Shelf, heard: Heard
) -> None:
    tokens = iter(["old", "new"])
    async with follow(server, shelf, heard, token=lambda: next(tokens)) as listener:
        first = await server.peer()
        await first.reply(await first.joining(), "error", {"reason": REFUSALS[0][0]})
        await reaches(listener, State.ERROR)
        assert "signature" in listener.reason
        second = await server.peer()
        assert (await second.join())[4]["access_token"] == "new"
        await asyncio.wait_for(listener.synced(), LIMIT)


def unauthorized(socket: ServerConnection) -> Response:
    return socket.respond(http.HTTPStatus.UNAUTHORIZED, json.dumps({"error": "Token has expired"}))


async def test_a_refused_socket_says_why(server: Server, shelf: Shelf, heard: Heard) -> None:
    server.refuse = unauthorized
    with pytest.raises(Unauthorized, match="Token has expired"):
        await asyncio.wait_for(follow(server, shelf, heard, fail_fast=True).start(), LIMIT)


async def test_nobody_there_fails_fast_in_one_line(shelf: Shelf) -> None:
    listener = Listener("http://127.0.0.1:9", "key", "token", SCOPE, shelf, fail_fast=True)
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9") as caught:
        await asyncio.wait_for(listener.start(), LIMIT)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("replied", [False, True])
async def test_a_join_that_leads_nowhere_is_tried_anew(
    server: Server, shelf: Shelf, heard: Heard, replied: bool
) -> None:
    async with follow(server, shelf, heard) as listener:
        first = await server.peer()
        frame = await first.joining()
        if replied:
            await first.reply(frame, "ok", {"postgres_changes": []})
        await (await server.peer()).join()
        await asyncio.wait_for(listener.synced(), LIMIT)


async def test_an_expired_token_ends_the_session_and_not_the_listener(
    server: Server, shelf: Shelf, heard: Heard
) -> None:
    async with follow(server, shelf, heard) as listener:
        peer = await server.peer()
        await peer.join()
        await asyncio.wait_for(listener.synced(), LIMIT)
        await peer.system("Token has expired 0 seconds ago", extension="system")
        await peer.say(peer.join_ref, peer.join_ref, peer.topic, "phx_close", {})
        await reaches(listener, State.ERROR)
        await (await server.peer()).join()
        await asyncio.wait_for(listener.synced(), LIMIT)


async def test_a_system_error_leads_to_another_session(server: Server, shelf: Shelf, heard: Heard) -> None:
    """The server does not try again by itself: the channel would stay silent for ever."""
    async with follow(server, shelf, heard) as listener:
        peer = await server.peer()
        await peer.join()
        await peer.system("Unable to subscribe to changes with given parameters.")
        await (await server.peer()).join()
        await asyncio.wait_for(listener.synced(), LIMIT)


async def test_a_value_that_is_none_of_its_column_ends_the_listener(
    server: Server, shelf: Shelf, heard: Heard
) -> None:
    async with follow(server, shelf, heard) as listener:
        peer = await server.peer()
        await peer.join()
        await peer.system("… ERROR 22P02 (invalid_text_representation) invalid input syntax for type uuid")
        with pytest.raises(InputError, match="22P02"):
            await asyncio.wait_for(listener.wait_closed(), LIMIT)
        assert listener.state is State.ERROR


# --- frames ---


@pytest.mark.parametrize(
    "frame",
    [
        "not json",
        "{}",
        "[]",
        "[null, null, 5, 6, 7]",
        '[null, null, "TOPIC", "postgres_changes", {}]',
        '[null, null, "TOPIC", "postgres_changes", {"data": []}]',
        '[null, null, "TOPIC", "system", 5]',
        "[" * 5000,
        b"",
        b"\x09rubbish",
    ],
    ids=lambda frame: repr(frame)[:30],
)
async def test_a_frame_that_cannot_be_read_may_have_been_a_change(
    server: Server, shelf: Shelf, heard: Heard, frame: str | bytes
) -> None:
    async with follow(server, shelf, heard) as listener:
        peer = await server.peer()
        await peer.join()
        await asyncio.wait_for(listener.synced(), LIMIT)
        shelf.put(ITEMS, **item(1))
        await peer.socket.send(frame.replace("TOPIC", peer.topic) if isinstance(frame, str) else frame)
        assert (await heard.event(RowChanged)).via == "sync"
        assert listener.stats.unreadable == 1
        assert listener.stats.sessions == 1


@pytest.mark.parametrize(
    "frame",
    [
        [None, None, "realtime:other", "postgres_changes", {}],
        [None, None, "realtime:other", "phx_close", {}],
        [None, None, "TOPIC", "no_such_event", {}],
        [None, None, "TOPIC", "presence_state", {}],
        [None, "999", "phoenix", "phx_reply", {"status": "error", "response": {"reason": "unmatched topic"}}],
        ["an earlier join", None, "TOPIC", "phx_close", {}],
        ["an earlier join", None, "TOPIC", "phx_error", {}],
    ],
    ids=str,
)
async def test_frames_that_mean_nothing_to_it_change_nothing(
    server: Server, shelf: Shelf, heard: Heard, frame: list[Any]
) -> None:
    async with follow(server, shelf, heard) as listener:
        peer = await server.peer()
        await peer.join()
        await asyncio.wait_for(listener.synced(), LIMIT)
        await peer.say(*[peer.topic if part == "TOPIC" else part for part in frame])
        await peer.change(shelf.put(ITEMS, **item(1)))
        assert (await heard.event(RowChanged)).via == "live"
        assert (listener.state, listener.stats.sessions) == (State.SYNCED, 1)


@pytest.mark.parametrize("event", ["phx_close", "phx_error"])
async def test_the_end_of_the_channel_leads_to_another_session(
    server: Server, shelf: Shelf, heard: Heard, event: str
) -> None:
    async with follow(server, shelf, heard) as listener:
        peer = await server.peer()
        await peer.join()
        await asyncio.wait_for(listener.synced(), LIMIT)
        await peer.say(peer.join_ref, peer.join_ref, peer.topic, event, {})
        await (await server.peer()).join()
        await asyncio.wait_for(listener.synced(), LIMIT)


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, None])
async def test_however_the_socket_ends_what_was_missed_is_recovered(
    server: Server, shelf: Shelf, heard: Heard, code: int | None
) -> None:
    async with follow(server, shelf, heard) as listener:
        peer = await server.peer()
        await peer.join()
        await asyncio.wait_for(listener.synced(), LIMIT)
        shelf.put(ITEMS, **item(1))
        if code is None:
            peer.socket.transport.abort()
        else:
            await peer.socket.close(code)
        await reaches(listener, State.DISCONNECTED, State.CONNECTING)
        await (await server.peer()).join()
        assert (await heard.event(RowChanged)).via == "sync"


async def test_a_frame_of_several_megabytes_comes_through(server: Server, shelf: Shelf, heard: Heard) -> None:
    async with follow(server, shelf, heard) as listener:
        peer = await server.peer()
        await peer.join()
        await asyncio.wait_for(listener.synced(), LIMIT)
        await peer.change(shelf.put(ITEMS, **item(1, "x" * 4_000_000)))
        assert len((await heard.event(RowChanged)).change.row["body"]) == 4_000_000
        assert listener.stats.sessions == 1


def withheld(payload: dict[str, Any], error: str, *keep: str) -> dict[str, Any]:
    record = payload["data"]["record"]
    return {
        **payload,
        "data": {**payload["data"], "errors": [error], "record": {name: record[name] for name in keep}},
    }


async def test_a_record_that_was_too_large_is_fetched(server: Server, shelf: Shelf, heard: Heard) -> None:
    async with follow(server, shelf, heard) as listener:
        peer = await server.peer()
        await peer.join()
        await asyncio.wait_for(listener.synced(), LIMIT)
        payload = shelf.put(ITEMS, **item(1, "x" * 2_000_000))
        small = ("id", "box", "version", "changed_in", "created_at")
        await peer.change(withheld(payload, "Error 413: Payload Too Large", *small))
        told = await heard.event(RowChanged)
        assert (told.via, len(told.change.row["body"])) == ("sync", 2_000_000)
        assert shelf.calls[-1] == "rows"
        assert listener.state is State.SYNCED


@pytest.mark.parametrize("error", ["Error 401: Unauthorized", "Error 400: Bad Request, no primary key"])
async def test_a_record_without_its_key_means_a_sync(
    server: Server, shelf: Shelf, heard: Heard, error: str
) -> None:
    async with follow(server, shelf, heard) as listener:
        peer = await server.peer()
        await peer.join()
        await asyncio.wait_for(listener.synced(), LIMIT)
        await peer.change(withheld(shelf.put(ITEMS, **item(1)), error))
        assert (await heard.event(RowChanged)).via == "sync"
        assert error in (await heard.event(Resynced, 2)).reason


# --- text ---


def chunk(seq: int, body: str) -> dict[str, Any]:
    return {"message_id": "m", "attempt": 1, "seq": seq, "position": seq * len(body), "body": body}


async def test_a_hole_in_a_text_is_waited_for_and_then_fetched(server: Server, heard: Heard) -> None:
    shelf = Shelf(MESSAGES, CHUNKS)
    async with follow(server, shelf, heard) as listener:
        peer = await server.peer()
        await peer.join()
        await asyncio.wait_for(listener.synced(), LIMIT)
        payloads = [shelf.put(CHUNKS, **chunk(seq, f"[{seq}]")) for seq in range(3)]
        await peer.change(payloads[0])
        await peer.change(payloads[2])
        await heard.event(TextAppended, 3)
        assert "".join(event.text for event in heard.of(TextAppended)) == "[0][1][2]"
        assert "hole" in (await heard.event(Resynced, 2)).reason


async def test_a_hole_that_the_database_has_too_is_reported_once(server: Server, heard: Heard) -> None:
    shelf = Shelf(MESSAGES, CHUNKS)
    async with follow(server, shelf, heard) as listener:
        peer = await server.peer()
        await peer.join()
        await asyncio.wait_for(listener.synced(), LIMIT)
        await peer.change(shelf.put(CHUNKS, **chunk(2, "late")))
        lost = await heard.event(Lost)
        assert lost.rows == (RowRef("public.messages", '["m"]'),)
        assert "character 0" in lost.reason
        await heard.event(Resynced, 2)
        await peer.change(shelf.put(CHUNKS, **chunk(3, "more")))
        await asyncio.wait_for(listener.resync(), LIMIT)
        assert len(heard.of(Lost)) == 1


# --- heartbeats ---


async def test_heartbeats_are_sent_and_their_answers_are_needed(
    server: Server, shelf: Shelf, heard: Heard
) -> None:
    async with follow(server, shelf, heard) as listener:
        peer = await server.peer()
        await peer.join()
        await asyncio.wait_for(listener.synced(), LIMIT)
        await peer.heartbeats(3)
        assert listener.stats.sessions == 1
        peer.answers_heartbeats = False
        await reaches(listener, State.DISCONNECTED, State.CONNECTING)
        assert any("heartbeat" in event.reason for event in heard.of(StateChanged))
        await (await server.peer()).join()


async def test_a_slow_handler_does_not_hold_up_heartbeats(server: Server, shelf: Shelf) -> None:
    release, heard = asyncio.Event(), Heard()

    async def slow(event: Any) -> None:
        heard(event)
        if isinstance(event, RowChanged):
            await release.wait()

    async with follow(server, shelf, slow) as listener:
        peer = await server.peer()
        await peer.join()
        await asyncio.wait_for(listener.synced(), LIMIT)
        await peer.change(shelf.put(ITEMS, **item(1)))
        await heard.event(RowChanged)
        await peer.heartbeats(3)
        assert listener.stats.sessions == 1
        release.set()


# --- tokens ---


async def test_a_token_is_replaced_before_it_expires(server: Server, shelf: Shelf, heard: Heard) -> None:
    def token() -> str:
        return mint_token(SECRET, "u", expires_in=2, claims={"jti": str(time.monotonic())})

    async with follow(server, shelf, heard, token=token):
        peer = await server.peer()
        first = (await peer.join())[4]["access_token"]
        join_ref, _, topic, event, payload = await peer.receive()
        assert (join_ref, topic, event) == (peer.join_ref, peer.topic, "access_token")
        assert payload["access_token"] != first


@pytest.mark.parametrize("error", [Unauthorized("signed out"), ValueError("no idea")])
async def test_no_token_to_be_had_is_an_error_and_is_asked_again(
    server: Server, shelf: Shelf, heard: Heard, error: Exception
) -> None:
    answers: list[Any] = [error, "good"]

    async def token() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    async with follow(server, shelf, heard, token=token) as listener:
        await (await server.peer()).join()
        await asyncio.wait_for(listener.synced(), LIMIT)


# --- handlers ---


@pytest.mark.parametrize("error", [ValueError("oops"), asyncio.CancelledError()])
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_handler_that_raises_changes_nothing(
    server: Server, shelf: Shelf, error: BaseException, is_async: bool
) -> None:
    heard = Heard()

    def bad(event: Any) -> None:
        heard(event)
        raise error

    async def bad_async(event: Any) -> None:
        bad(event)

    async with follow(server, shelf, bad_async if is_async else bad) as listener:
        peer = await server.peer()
        await peer.join()
        await asyncio.wait_for(listener.synced(), LIMIT)
        await peer.change(shelf.put(ITEMS, **item(1)))
        await heard.event(RowChanged)
        assert listener.stats.last_handler_error is error
        assert listener.stats.handler_errors >= 4
        assert listener.state is State.SYNCED


async def test_a_handler_that_falls_behind_misses_nothing_in_the_end(server: Server, shelf: Shelf) -> None:
    release, heard = asyncio.Event(), Heard()

    async def stuck(event: Any) -> None:
        heard(event)
        if isinstance(event, RowChanged):
            await release.wait()

    async with follow(server, shelf, stuck, max_queue=20) as listener:
        peer = await server.peer()
        await peer.join()
        await asyncio.wait_for(listener.synced(), LIMIT)
        for number in range(100):
            await peer.change(shelf.put(ITEMS, **item(number)))
        await reaches(listener, State.SYNCING)
        assert listener.reason == "the handler is slower than the stream"
        release.set()
        await heard.event(RowChanged, 100)
        await asyncio.wait_for(listener.synced(), LIMIT)
        assert {key for key, _, _ in heard.versions} == {f"[{number}]" for number in range(100)}
        assert len(heard.versions) == 100, "each once"
        assert listener.stats.skipped > 50
        assert listener.stats.sessions == 1


async def test_a_handler_may_close_its_listener(server: Server, shelf: Shelf) -> None:
    async def handler(event: Any) -> None:
        if isinstance(event, Resynced):
            await listener.close()

    listener = follow(server, shelf, handler)
    await listener.start()
    await (await server.peer()).join()
    await asyncio.wait_for(listener.wait_closed(), LIMIT)
    assert listener.state is State.DISCONNECTED


async def test_events_can_be_iterated_from_the_start(server: Server, shelf: Shelf) -> None:
    shelf.put(ITEMS, **item(1))
    async with Listener(server.url, "key", None, SCOPE, shelf, timing=QUICK) as listener:
        await (await server.peer()).join()
        await asyncio.wait_for(listener.synced(), LIMIT)
        seen = []
        async for event in listener:
            seen.append(event)
            if isinstance(event, StateChanged) and event.state is State.SYNCED:
                await listener.close()
    assert [type(event).__name__ for event in seen] == [
        "StateChanged", "StateChanged", "RowChanged", "Recovered", "Resynced", "StateChanged", "StateChanged",
    ]  # fmt: skip
    with pytest.raises(RuntimeError):
        [event async for event in follow(server, shelf, print)]


# --- sources ---


async def test_a_source_that_is_away_is_asked_again(server: Server, shelf: Shelf, heard: Heard) -> None:
    async with follow(server, shelf, heard) as listener:
        peer = await server.peer()
        frame = await peer.joining()
        shelf.failures.extend([StoreUnavailable("away"), Unauthorized("expired"), ValueError("a bug")])
        await peer.reply(frame, "ok", {"postgres_changes": []})
        await peer.subscribed()
        await asyncio.wait_for(listener.synced(), LIMIT)
        reasons = [(event.state, event.reason) for event in heard.of(StateChanged)]
        assert (State.ERROR, "sync failed: expired") in reasons
        assert listener.stats.sessions == 1
        await peer.change(shelf.put(ITEMS, **item(1)))
        assert (await heard.event(RowChanged)).via == "live"


async def test_the_stream_goes_on_while_the_source_is_away(
    server: Server, shelf: Shelf, heard: Heard
) -> None:
    async with follow(server, shelf, heard) as listener:
        peer = await server.peer()
        shelf.failures.extend([StoreUnavailable("away")] * 3)
        await peer.join()
        await peer.change(shelf.put(ITEMS, **item(1)))
        assert (await heard.event(RowChanged)).via == "live"
        assert listener.state is not State.SYNCED
        await asyncio.wait_for(listener.synced(), LIMIT)


async def test_the_tables_known_from_before_will_do_while_the_source_is_away(
    server: Server, shelf: Shelf, heard: Heard
) -> None:
    async with follow(server, shelf, heard) as listener:
        peer = await server.peer()
        await peer.join()
        await asyncio.wait_for(listener.synced(), LIMIT)
        shelf.broken = {"tables"}
        await peer.socket.close()
        await (await server.peer()).join()
        await asyncio.wait_for(listener.synced(), LIMIT)


async def test_a_kind_that_nobody_tracks_ends_the_listener(server: Server, heard: Heard) -> None:
    nothing = Shelf()
    nothing.known = {}
    async with follow(server, nothing, heard) as listener:
        with pytest.raises(NotFound, match="box"):
            await asyncio.wait_for(listener.synced(), LIMIT)
        assert listener.state is State.ERROR
        with pytest.raises(NotFound):
            await listener.wait_closed()


async def test_a_silent_loss_is_found_by_the_regular_comparison(
    server: Server, shelf: Shelf, heard: Heard
) -> None:
    """Above its rate limit Realtime drops rows and says nothing."""
    async with follow(server, shelf, heard, timing=replace(QUICK, check=0.1)) as listener:
        peer = await server.peer()
        await peer.join()
        await asyncio.wait_for(listener.synced(), LIMIT)
        await peer.change(shelf.put(ITEMS, **item(1)))
        await heard.event(RowChanged)
        shelf.drop(ITEMS, id=1)
        gone = await heard.event(RowChanged, 2)
        assert (gone.change.type, gone.via) == ("DELETE", "sync")
        found = await heard.event(Recovered)
        assert found.rows == 1
        assert any("behind the database" in event.reason for event in heard.of(StateChanged))


async def test_keys_in_doubt_do_not_put_off_the_regular_comparison(
    server: Server, shelf: Shelf, heard: Heard
) -> None:
    async with follow(server, shelf, heard, timing=replace(QUICK, check=0.2)) as listener:
        peer = await server.peer()
        await peer.join()
        await asyncio.wait_for(listener.synced(), LIMIT)
        shelf.put(ITEMS, **item(0))
        for number in range(1, 40):
            payload = shelf.put(ITEMS, **item(number))
            await peer.change(withheld(payload, "Error 413", "id", "version", "changed_in", "created_at"))
            await heard.event(RowChanged, number)
            if ("[0]", 1, "sync") in heard.versions:
                return
            await asyncio.sleep(0.02)
        raise AssertionError("no comparison in 0.8 s")


async def test_what_is_doubted_while_a_sync_runs_needs_another_sync(
    server: Server, shelf: Shelf, heard: Heard
) -> None:
    async with follow(server, shelf, heard) as listener:
        peer = await server.peer()
        await peer.join()
        await asyncio.wait_for(listener.synced(), LIMIT)
        shelf.permits = asyncio.Semaphore(0)
        asked = asyncio.create_task(listener.resync("first"))
        await shelf.until_called("sync")
        await peer.subscribed()
        await reaches(listener, State.SYNCING)
        shelf.permits.release()
        await shelf.until_called("sync")
        assert listener.state is State.SYNCING
        shelf.permits.release()
        await asyncio.wait_for(listener.synced(), LIMIT)
        await asyncio.wait_for(asked, LIMIT)


async def test_resync_waits_for_a_comparison_that_began_after_it(
    server: Server, shelf: Shelf, heard: Heard
) -> None:
    async with follow(server, shelf, heard) as listener:
        peer = await server.peer()
        await peer.join()
        await asyncio.wait_for(listener.synced(), LIMIT)
        shelf.put(ITEMS, **item(1))
        await asyncio.wait_for(listener.resync("to be sure"), LIMIT)
        assert RowRef("public.items", "[1]") in listener.replica
        assert (await heard.event(Resynced, 2)).reason == "to be sure"


# --- ends ---


async def test_max_attempts_in_a_row_are_the_end(server: Server, shelf: Shelf, heard: Heard) -> None:
    server.refuse = unauthorized
    async with follow(server, shelf, heard, max_attempts=3) as listener:
        with pytest.raises(GaveUp, match=r"3 attempts.*expired"):
            await asyncio.wait_for(listener.synced(), LIMIT)
        assert server.attempts == 3
        assert listener.state is State.ERROR
    assert heard.of(StateChanged)[-1].state is State.ERROR


async def test_a_session_that_lived_begins_the_count_anew(server: Server, shelf: Shelf, heard: Heard) -> None:
    timing = replace(QUICK, lived=0.05)
    async with follow(server, shelf, heard, max_attempts=2, timing=timing) as listener:
        for _ in range(4):
            peer = await server.peer()
            await peer.join()
            await asyncio.wait_for(listener.synced(), LIMIT)
            await asyncio.sleep(0.06)
            await peer.socket.close()
            await peer.closed()
        peer = await server.peer()
        await peer.socket.close()  # not subscribed at all
        peer = await server.peer()
        await peer.socket.close()
        with pytest.raises(GaveUp):
            await asyncio.wait_for(listener.wait_closed(), LIMIT)


async def test_leaving_says_so(server: Server, shelf: Shelf, heard: Heard) -> None:
    async with follow(server, shelf, heard) as listener:
        peer = await server.peer()
        await peer.join()
        await asyncio.wait_for(listener.synced(), LIMIT)
    assert (await peer.receive())[3] == "phx_leave"
    assert await peer.closed() == 1000
    assert listener.state is State.DISCONNECTED
    with pytest.raises(Unreachable, match="closed"):
        await listener.synced()


async def test_leaving_a_server_that_does_not_answer_takes_bounded_time(shelf: Shelf, heard: Heard) -> None:
    async with realtime() as server:
        port = int(server.url.rpartition(":")[2])
        async with TcpProxy("127.0.0.1", port) as proxy:
            listener = Listener(f"http://127.0.0.1:{proxy.port}", "key", None, SCOPE, shelf, timing=QUICK)
            await listener.start()
            await (await server.peer()).join()
            await asyncio.wait_for(listener.synced(), LIMIT)
            proxy.freeze()
            began = asyncio.get_running_loop().time()
            await listener.close()
            assert asyncio.get_running_loop().time() - began < 1.0


@pytest.mark.parametrize("stage", ["dialing", "joining", "syncing"])
async def test_cancelled_at_any_stage_it_leaves_nothing_behind(
    server: Server, shelf: Shelf, heard: Heard, stage: str
) -> None:
    before = asyncio.all_tasks()
    if stage == "dialing":
        shelf.gate.clear()
    async with follow(server, shelf, heard):
        if stage != "dialing":
            peer = await server.peer()
            frame = await peer.joining()
        if stage == "syncing":
            shelf.gate.clear()
            await peer.reply(frame, "ok", {"postgres_changes": []})
            shelf.called.clear()
            await peer.subscribed()
            await asyncio.wait_for(shelf.called.wait(), LIMIT)
    if stage != "dialing":
        await peer.closed()
    await asyncio.sleep(0)
    assert {
        name for name in map(_code_of, asyncio.all_tasks() - before) if "realtime_toolkit" in name
    } == set()


def _code_of(task: asyncio.Task[Any]) -> str:
    """Where the coroutine of a task was written."""
    coroutine: Any = task.get_coro()
    return str(getattr(getattr(coroutine, "cr_code", None), "co_filename", ""))


# --- callers' mistakes ---


@pytest.mark.parametrize("url", ["", "localhost", "ftp://x", "http://"])
def test_a_malformed_address_is_refused_at_once(shelf: Shelf, url: str) -> None:
    with pytest.raises(ConfigError):
        Listener(url, "key", None, SCOPE, shelf)


def test_a_cursor_of_another_scope_is_refused_at_once(shelf: Shelf) -> None:
    with pytest.raises(InputError, match="box:2"):
        Listener("http://x", "key", None, SCOPE, shelf, replica=Replica(Scope("box", "2")))
