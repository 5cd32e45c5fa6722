"""``agent``, ``listen`` and ``reconcile``: write a stream, follow it, prove it."""

from __future__ import annotations

import asyncio
import codecs
import json
import os
import stat
import time
from asyncio import FIRST_COMPLETED
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import jwt

from realtime_toolkit.cli.shell import (
    FILE,
    as_scope,
    emit,
    json_flag,
    option,
    quiet,
    run,
    say,
    settings,
    user_option,
)
from realtime_toolkit.errors import ConfigError, InputError, NotFound, Unauthorized
from realtime_toolkit.model import RowRef, Scope
from realtime_toolkit.shown import shown_once

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import BinaryIO, TextIO

    from realtime_toolkit.events import Event
    from realtime_toolkit.follow.listener import Listener
    from realtime_toolkit.model import Verdict
    from realtime_toolkit.settings import Settings
    from realtime_toolkit.store import RestStore
    from realtime_toolkit.tokens import Token

_PIECE = 1 << 16


# --- who acts ----------------------------------------------------------------------------------------


def user_token(config: Settings, user: str | None) -> str:
    """A token of this user: signed with the JWT secret, or the user's own from the environment."""
    if user is not None:
        return config.token_for(user)
    if config.access_token is not None:
        return config.access_token
    raise ConfigError("say who is asking: --user ID (needs SUPABASE_JWT_SECRET), or SUPABASE_ACCESS_TOKEN")


def token_of(config: Settings, user: str | None) -> Token:
    """As :func:`user_token`: signed anew whenever it is asked for, or the one that there is, which cannot be renewed."""
    given = user_token(config, user)
    return given if user is None else lambda: user_token(config, user)


def store_for(config: Settings, user: str | None) -> RestStore:
    """PostgREST as this user, or, for a worker without one, as ``service_role``."""
    from realtime_toolkit.store import RestStore

    if user is None and config.access_token is None:
        return RestStore(config.require("url"), config.require("service_role_key"))
    refuse_expired(user_token(config, user), now=time.time())
    return RestStore(config.require("url"), config.require("anon_key"), token_of(config, user))


def refuse_expired(token: str, *, now: float) -> None:
    """Say at once what PostgREST would not within 30 s of the end; raises :class:`Unauthorized`."""
    try:
        ends = jwt.decode(token, options={"verify_signature": False}).get("exp")
    except jwt.InvalidTokenError as error:
        raise Unauthorized(f"SUPABASE_ACCESS_TOKEN is no token of a user: {error}") from None
    if isinstance(ends, int | float) and ends <= now:
        raise Unauthorized(f"SUPABASE_ACCESS_TOKEN expired {now - ends:.0f} s ago")


# --- agent -------------------------------------------------------------------------------------------


@click.group()
def agent() -> None:
    """Run work that streams into rows."""


@agent.command("run")
@option("--conversation", required=True, type=as_scope, metavar="ID", help="The conversation to answer in.")
@user_option
@option("--create", is_flag=True, help="Make the conversation first, if it is not there.")
@option("--mode", type=click.Choice(["chunks", "row"]), default="chunks", show_default=True)
@option("--interval", type=click.FloatRange(0, 60), metavar="SECONDS", help="Time between two writes.")
@option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="Tokens per second; default: as they come.",
)
@json_flag
@click.argument("file", type=click.File("rb"))
@click.pass_context
def agent_run(
    ctx: click.Context,
    /,
    conversation: Scope,
    user: str | None,
    create: bool,
    rate: float | None,
    as_json: bool,
    file: BinaryIO,
    **options: Any,
) -> None:
    """Stream the text of FILE (- for stdin) into a conversation, as an agent's answer.

    Ctrl-C stores what was streamed so far and marks task and message cancelled.
    """
    from realtime_toolkit.write.agent import paced, stream_text

    if conversation.kind != "conversation":
        raise click.BadParameter(f"{conversation} is not a conversation", param_hint="--conversation")
    config = settings(ctx)
    pieces = read_text(file)

    async def job() -> Any:
        async with store_for(config, user) as store:
            try:
                await store.conversation(conversation.value)
            except NotFound:
                if not create:
                    raise
                await store.create_conversation(id=conversation.value, user_id=user)
            return await stream_text(store, conversation.value, paced(pieces, rate), **options)

    outcome = run(job())
    if as_json:
        emit({"status": outcome.status, "task": outcome.task_id, "message": outcome.message_id,
              "attempt": outcome.attempt, "length": outcome.length, "writes": outcome.writes})  # fmt: skip
    else:
        click.echo(f"{outcome.status}: message {outcome.message_id}, {outcome.length} characters")
    ctx.exit(0 if outcome.status == "completed" else 1)


def read_text(file: BinaryIO) -> AsyncIterator[str]:
    """The pieces of a file as they come. What need not be waited for (a regular file, /dev/null) is read
    and checked first, so that nothing half-done begins.

    Raises :class:`InputError` where the bytes are not UTF-8.
    """
    mode = os.fstat(file.fileno()).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or file.isatty():
        return _decoded(_piped(file), file.name)
    try:
        return _given(file.read().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _not_utf8(file.name, error.start) from None


async def _given(text: str) -> AsyncIterator[str]:
    yield text


async def _piped(file: BinaryIO) -> AsyncIterator[bytes]:
    """Read without a thread: one that waits for input could not be ended."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_PIECE)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    try:
        while data := await reader.read(_PIECE):
            yield data
    finally:
        transport.close()


async def _decoded(pieces: AsyncIterator[bytes], name: str) -> AsyncIterator[str]:
    decoder, read = codecs.getincrementaldecoder("utf-8-sig")(), 0
    async for piece in _and_the_end(pieces):
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            raise _not_utf8(name, read + error.start) from None
        read += len(piece)
        if text:
            yield text


async def _and_the_end(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for piece in pieces:
        yield piece
    yield b""


def _not_utf8(name: str, at: int) -> InputError:
    return InputError(f"{name} is not UTF-8 text (about byte {at})")


# --- listen ------------------------------------------------------------------------------------------


class Follower:
    """A store and a listener for one scope as one user, for the commands that read."""

    def __init__(self, config: Settings, scope: Scope, user: str | None, **options: Any) -> None:
        self._config, self._scope, self._user, self._options = config, scope, user, options
        self._exits = AsyncExitStack()
        self.store: RestStore
        self.listener: Listener

    async def __aenter__(self) -> Follower:
        from realtime_toolkit.follow.listener import Listener

        config, user = self._config, self._user
        token = token_of(config, user)
        self.store = await self._exits.enter_async_context(store_for(config, user))
        self.listener = Listener(
            config.require("url"),
            config.require("anon_key"),
            token,
            self._scope,
            self.store,
            fail_fast=True,
            **self._options,
        )
        await self._exits.enter_async_context(self.listener)
        return self

    async def __aexit__(self, *failure: Any) -> None:
        await self._exits.aclose()


@click.command()
@click.argument("scope", type=as_scope)
@user_option
@option("--cursor", type=FILE, help="Come back from this file, and store there where we are.")
@option("--for", "seconds", type=click.FloatRange(min=0), help="Stop after so many seconds.")
@json_flag
@click.pass_context
def listen(
    ctx: click.Context,
    /,
    scope: Scope,
    user: str | None,
    cursor: Path | None,
    seconds: float | None,
    as_json: bool,
) -> None:
    """Follow SCOPE (kind:value, or a conversation's UUID) and print what happens, a line each."""
    quiet()
    config = settings(ctx)

    async def job() -> None:
        check_writable(cursor)
        printer = Printer(print_json if as_json else print_plain)
        async with Follower(config, scope, user, on_event=printer, replica=load_cursor(cursor)) as follower:
            ended = asyncio.create_task(follower.listener.wait_closed())
            try:
                await asyncio.wait((ended, printer.failed), timeout=seconds, return_when=FIRST_COMPLETED)
            finally:
                ended.cancel()
                if cursor is not None and not printer.failed.done():
                    save_cursor(cursor, follower.listener)
            for over in (printer.failed, ended):
                if over.done():
                    over.result()

    run(job(), on_signal=0)


class Printer:
    """Prints until stdout takes no more, which ends the listening: the listener would only log it."""

    def __init__(self, show: Callable[[Event], None]) -> None:
        self._show = show
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __call__(self, event: Event) -> None:
        if self.failed.done():
            return
        try:
            self._show(event)
        except OSError as error:
            self.failed.set_exception(error)
            self.failed.exception()  # seen, should the listening end for another reason


def load_cursor(path: Path | None) -> Any:
    from realtime_toolkit.replica.replica import Replica

    if path is None or not path.exists():
        return None
    try:
        return Replica.load(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a stored cursor: {error}") from None


def save_cursor(path: Path, listener: Listener) -> None:
    """Written beside and moved into place, so that a crash leaves the old one."""
    beside = _beside(path)
    with _private(beside) as file:
        file.write(json.dumps(listener.replica.dump(), ensure_ascii=False))
    beside.replace(path)


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _private(path: Path) -> TextIO:
    """A new file that only its owner may read: it is to hold the user's rows."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")


def check_writable(path: Path | None) -> None:
    """Raises :class:`OSError` now rather than when there is something to lose."""
    if path is not None:
        _private(_beside(path)).close()
        _beside(path).unlink()


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def print_json(event: Event) -> None:
    emit({"at": now(), **as_fields(event)})


def print_plain(event: Event) -> None:
    fields = as_fields(event)
    kind = fields.pop("type")
    click.echo(
        f"{now()} {kind:9} "
        + " ".join(f"{name}={shown_once(str(value))}" for name, value in fields.items() if value is not None)
    )


def as_fields(event: Event) -> dict[str, Any]:
    """An event as the JSON lines show it: ``type`` and what belongs to it."""
    from realtime_toolkit import events

    match event:
        case events.StateChanged(state, reason):
            return {"type": "state", "state": state, "reason": reason}
        case events.RowChanged(change, via):
            return {"type": "change", "via": via, "op": change.type, "table": change.table, "key": change.key,
                    "version": change.version, "row": change.row}  # fmt: skip
        case events.TextAppended(message_id, attempt, position, text):
            return {
                "type": "text",
                "message": message_id,
                "attempt": attempt,
                "position": position,
                "text": text,
            }
        case events.TextReset(message_id, attempt):
            return {"type": "text_reset", "message": message_id, "attempt": attempt}
        case events.Recovered(rows):
            return {"type": "recovered", "rows": rows}
        case events.Resynced(reason):
            return {"type": "resynced", "reason": reason}
        case events.Lost(lost, reason):
            return {"type": "lost", "rows": [as_ref(row) for row in lost], "reason": reason}


# --- reconcile ---------------------------------------------------------------------------------------


@click.command()
@click.argument("scope", type=as_scope)
@user_option
@option("--once", is_flag=True, help="Sync, compare, and say (the default).")
@option("--for", "seconds", type=click.FloatRange(min=0), help="Watch so long and report the delivery ratio.")
@option("--every", type=click.FloatRange(min=0, min_open=True), help="Compare at this interval until Ctrl-C.")
@json_flag
@click.pass_context
def reconcile(
    ctx: click.Context,
    /,
    scope: Scope,
    user: str | None,
    once: bool,
    seconds: float | None,
    every: float | None,
    as_json: bool,
) -> None:
    """Prove that a subscriber of SCOPE has exactly what the database says it may see.

    Exits 1 and names the rows that differ where it has not.
    """
    if sum((once, seconds is not None, every is not None)) > 1:
        raise click.UsageError("--once, --for and --every exclude each other")
    quiet()
    config = settings(ctx)
    verdicts: list[Verdict] = []

    def report(verdict: Verdict) -> None:
        verdicts.append(verdict)
        print_verdict(verdict, as_json)
        if verdict.ok and not verdict.rows:
            say(f"note: {scope} at {config.url} has no rows that are visible to this user")

    async def job() -> None:
        from realtime_toolkit.prove import reconcile

        async with Follower(config, scope, user) as follower:
            if seconds is not None:
                report(await reconcile.watch(follower.listener, follower.store, seconds))
            elif every is None:
                report(await reconcile.reconcile(follower.listener, follower.store))
            while every is not None:
                report(await reconcile.watch(follower.listener, follower.store, every))

    run(job(), on_signal=0 if every is not None else None)
    ctx.exit(0 if all(verdict.ok for verdict in verdicts) else 1)


def as_ref(row: RowRef) -> dict[str, str]:
    return {"table": row.table, "key": row.key}


def print_verdict(verdict: Verdict, as_json: bool) -> None:
    ratio = verdict.live / verdict.committed if verdict.committed else None
    differing = {
        name: [as_ref(row) for row in getattr(verdict, name)] for name in ("missing", "stale", "extra")
    }
    if as_json:
        emit({"verdict": verdict.kind, "ok": verdict.ok, "scope": str(verdict.scope), "rows": verdict.rows,
              "committed": verdict.committed, "live": verdict.live, "recovered": verdict.recovered,
              "lost": verdict.lost, "delivery_ratio": ratio, "lag_ms": verdict.lag_ms, **differing})  # fmt: skip
        return
    click.echo(shown_once(f"{verdict.kind}: {verdict.scope}, {verdict.rows} rows"))
    for name, rows in differing.items():
        for row in rows:
            click.echo(shown_once(f"  {name:8} {row['table']} {row['key']}"))
    if verdict.committed:
        say(
            f"{verdict.committed} changes: {verdict.live} live, {verdict.recovered} recovered by a sync, "
            f"{verdict.lost} lost; delivery ratio {ratio:.4f}"
        )
    if verdict.lag_ms is not None:
        with suppress(ValueError):
            say(f"a mark took {verdict.lag_ms:.1f} ms from commit to subscriber")
