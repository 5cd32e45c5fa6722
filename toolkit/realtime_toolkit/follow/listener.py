"""A scope, followed without silent gaps: the socket around a :class:`~realtime_toolkit.replica.replica.Replica`.

The order of joining is connect → join → ``Subscribed to PostgreSQL`` → sync from the cursor, while the
stream is applied already → compare digests → live. Only then the state is ``synced``; whatever throws doubt
on it (a lost connection, a second ``Subscribed``, values withheld, a hole in a text, a slow handler) takes
it back and leads to another sync. Losses that nothing announces are found by comparisons, every few seconds.

Reconnecting never gives up unless told to: full-jitter exponential backoff, short again after a session
that lived.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit
from uuid import uuid4

from realtime_toolkit.errors import (
    ConfigError,
    GaveUp,
    InputError,
    NotFound,
    StoreClosed,
    ToolkitError,
    Unauthorized,
    Unreachable,
)
from realtime_toolkit.events import Event, State, StateChanged
from realtime_toolkit.follow.inbox import Inbox
from realtime_toolkit.follow.keeper import Keeper, OtherShapeError
from realtime_toolkit.follow.session import Ears, Session, Timing, socket_address
from realtime_toolkit.follow.source import Source
from realtime_toolkit.follow.subscription import (
    Mark,
    NoWatermarksError,
    PrivateOnlyError,
    Withheld,
    join_config,
    read_change,
)
from realtime_toolkit.model import Change, RowRef, Scope
from realtime_toolkit.phoenix import Vsn
from realtime_toolkit.replica.replica import Replica
from realtime_toolkit.retry import backoff
from realtime_toolkit.tasks import NotOursError, end, spawn, theirs
from realtime_toolkit.tokens import Token, TokenSource, claims

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Handler", "Listener", "Source", "State", "Stats", "Timing"]

log = logging.getLogger(__name__)

DEFAULT_TIMING = Timing()
_MARK_SENT = 2.0
"""Seconds that sending a mark may take: ``synced`` waits for it."""

Handler = Callable[[Event], Awaitable[Any] | Any]


@dataclass(slots=True)
class Facts:
    """What is known of a listener; its state is derived from these, in :func:`state_of`, and nowhere else."""

    running: bool = False
    dialing: bool = False
    subscribed: bool = False
    whole: bool = False
    """The last comparison with the database agreed, and nothing since throws doubt on it."""
    failure: ToolkitError | None = None
    """What went wrong last, until it goes right."""
    reason: str = "not started"


def state_of(facts: Facts) -> State:
    if facts.failure is not None and not facts.failure.retryable:
        return State.ERROR
    if not facts.running:
        return State.DISCONNECTED
    if facts.subscribed:
        return State.SYNCED if facts.whole else State.SYNCING
    return State.CONNECTING if facts.dialing else State.DISCONNECTED


def is_final(error: Exception, *, synced_before: bool, token_is_over: bool) -> bool:
    """Whether to give up: only a mistake of the caller's is final.

    Once it has been synced, the same words mean that somebody else changed something (a migration takes a table away
    for a moment). A refused token is no mistake, the next one may be good: unless there is none to come.
    """
    if isinstance(error, Unauthorized):
        return token_is_over
    if isinstance(error, StoreClosed):
        return True  # by the caller, who alone could open it again
    return isinstance(error, InputError | ConfigError) and not synced_before


def _check_source(source: Any) -> None:
    lacks = [name for name in ("tables", "sync", "glance", "digest", "rows") if not hasattr(source, name)]
    if lacks:
        raise InputError(
            f"a source is a RestStore or a PostgresStore, or has their {', '.join(lacks)}: not {source!r}"
        )


def _subject(token: str | None) -> str | None:
    """Whose token it is."""
    subject = claims(token).get("sub")
    return subject if isinstance(subject, str) and subject else None


@dataclass(slots=True)
class Stats:
    """Counted since the listener was made."""

    sessions: int = 0
    """Sockets that were opened."""
    changes: int = 0
    """Changes the stream brought."""
    unreadable: int = 0
    """Frames that could not be read."""
    skipped: int = 0
    """Changes left to a sync because the handler was too far behind."""
    comparisons: int = 0
    """Looks at the database's digest."""
    comparison_seconds: float = 0.0
    """What they took of the database, by its own clock."""
    handler_errors: int = 0
    last_handler_error: BaseException | None = None


class Listener:
    """Follows ``scope`` and calls ``on_event`` with every :data:`~realtime_toolkit.events.Event`, in order.

    ``url`` is the project's address (``https://…``), or a Realtime server's own (``wss://…``). ``token`` is
    a JWT or a callable that gives one (sync or async); it is asked again before one expires and for
    every session. ``source`` reads the same scope as the same user. ``replica`` is a stored one to come
    back with (:meth:`Replica.load <realtime_toolkit.replica.replica.Replica.load>`).

    ``synced`` is a claim that something stands behind: a socket that is dead without a word is noticed by the
    next heartbeat (``timing.heartbeat`` + ``timing.reply``), a change that the server dropped without a word by
    the next comparison, which for a scope of a thousand rows comes every 2 s (``timing.check``). A key whose
    latest change came incomplete is being fetched meanwhile.

    An exception in the handler is logged and counted (:attr:`stats`) and changes nothing. A handler that
    falls behind by ``max_queue`` events is not waited for: further changes are left out, the state is
    ``syncing`` until it has caught up by half, and then a sync brings what was left out. So memory stays
    bounded and heartbeats go on. ``replica`` is ahead of the handler by what is queued.

    ``fail_fast`` lets :meth:`start` wait for the first sync and raise what goes wrong before it.
    ``max_attempts`` sessions in a row that did not live ``timing.lived`` seconds end it with
    :class:`GaveUp`. ``user_id`` is whose watermarks to hear of, by default the token's ``sub``.

    ``private`` joins a private channel, ``topic`` by name (by default the scope's own text): the user needs a policy on
    ``realtime.messages`` that lets them read from it. By default that is done where the project allows no other.
    """

    def __init__(
        self,
        url: str,
        apikey: str,
        token: Token,
        scope: Scope | str,
        source: Source,
        *,
        on_event: Handler | None = None,
        replica: Replica | None = None,
        backoff: tuple[float, float] = (1.0, 60.0),
        max_attempts: int | None = None,
        fail_fast: bool = False,
        max_queue: int = 10_000,
        max_size: int = 16 * 2**20,
        page_size: int = 5000,
        timing: Timing = DEFAULT_TIMING,
        vsn: Vsn = Vsn.V2,
        user_id: str | None = None,
        private: bool | None = None,
        topic: str | None = None,
    ) -> None:
        # What is wrong with the call is said here, where it is made.
        socket_address(url, apikey, vsn)
        _check_source(source)
        if on_event is not None and not callable(on_event):
            raise InputError(f"on_event is called with every event, and {on_event!r} cannot be called")
        self.scope = scope = Scope.of(scope)
        if replica is not None and replica.scope != scope:
            raise InputError(f"the stored cursor is of {replica.scope}, not of {scope}")
        self.replica = replica or Replica(scope)
        self.stats = Stats()
        self.timing = timing
        self.user_id = user_id
        self.marks: dict[str, Callable[[], None]] = {}
        """Called when a watermark of this name passes in the stream, between the changes around it."""
        self._url, self._apikey, self._source = url, apikey, source
        self._tokens = TokenSource(token, within=timing.token)
        self._last_token: str | None = None
        self._private, self._topic = bool(private), topic
        self._may_go_private = private is None
        self._hears_marks = True
        self._own_mark: str | None = None
        self._synced_before = self.replica.cursor is not None
        self._synced_since_dialing = False
        self._on_event, self._backoff, self._max_attempts = on_event, backoff, max_attempts
        self._fail_fast, self._max_size, self._vsn = fail_fast, max_size, vsn
        self._given_user = user_id
        self._facts = Facts()
        self._closing = False
        self._state = State.DISCONNECTED
        self._changed = asyncio.Event()
        self._inbox = Inbox(max_queue)
        self._keeper = Keeper(
            self.replica,
            source,
            self._inbox,
            timing=timing,
            page_size=page_size,
            note=self._note,
            mark=self._send_mark,
            is_final=self._is_final,
            compared=self._compared,
        )
        self._subscribed_at: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._dispatcher: asyncio.Task[None] | None = None

    @classmethod
    def from_client(cls, client: Any, scope: Scope | str, source: Source, **options: Any) -> Self:
        """With address, key and token of a ``supabase`` client (sync or async) that the user already has.

        The token is that of the client's session, or its key while nobody is signed in.
        """

        async def token() -> str:
            get = client.auth.get_session
            session = await (get() if inspect.iscoroutinefunction(get) else asyncio.to_thread(get))
            return str(session.access_token if session else client.supabase_key)

        return cls(str(client.supabase_url), client.supabase_key, token, scope, source, **options)

    # --- life -----------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Begin to follow; with ``fail_fast``, raises what goes wrong before the first sync is done."""
        if self._task is not None:
            raise RuntimeError("a listener is started once")
        if self._on_event is not None:
            dispatching = self._dispatch(self._on_event)
            self._dispatcher = spawn(dispatching, f"handler of {self.scope}", self._dispatcher_ended)
        self._facts.running = True
        self._task = spawn(self._run(), f"listener of {self.scope}", self._ended)
        if self._fail_fast:
            try:
                await self._until(lambda: self.state is State.SYNCED or self._facts.failure is not None)
                if self._facts.failure is not None:
                    raise self._facts.failure
            except BaseException:
                await self.close()
                raise

    async def close(self) -> None:
        """Leave and close, in bounded time; events that are queued still reach the handler, if it is quick."""
        self._closing = True
        try:
            await self._end(self._task, 0)
        finally:
            if self._facts.running:
                self._note(
                    "closed", running=False, dialing=False, subscribed=False, whole=False, failure=None
                )
            self._inbox.close()
            await self._end(self._dispatcher, self.timing.close)

    async def _end(self, task: asyncio.Task[None] | None, grace: float) -> None:
        """Unless it is the task that closes us, as a handler may: it cannot wait for itself."""
        if task is not None and task is not asyncio.current_task():
            try:
                await asyncio.wait([task], timeout=grace)
            finally:
                await end([task])

    async def wait_closed(self) -> None:
        """Until :meth:`close`, or raises what made it end: :class:`GaveUp`, or the caller's own mistake."""
        await self._until(lambda: not self._facts.running)
        if self._facts.failure is not None:
            raise self._facts.failure

    @property
    def state(self) -> State:
        return self._state

    @property
    def reason(self) -> str:
        """Why the state is what it is."""
        return self._facts.reason

    async def synced(self) -> None:
        """Until the copy is what the database shows; raises what made the listener end."""
        await self._until(lambda: self.state is State.SYNCED or not self._facts.running)
        if self.state is not State.SYNCED:
            raise self._facts.failure or Unreachable(f"not following {self.scope}: {self.reason}")

    async def resync(self, reason: str = "asked for") -> None:
        """Compare with the database now, and wait until that is done."""
        done = self._keeper.ask(reason)
        await self._until(lambda: done.is_set() or not self._facts.running)

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Every event since the start (up to ``max_queue`` if iteration begins late) until the listener ends.

        Raises what made it end. Not together with ``on_event``.
        """
        if self._on_event is not None:
            raise RuntimeError("events go to on_event already")
        try:
            while (event := await self._inbox.take()) is not None:
                yield event
        finally:
            self._inbox.leave()  # soon after the reader has left the loop
        if self._facts.failure is not None:
            raise self._facts.failure

    def doubt(self, reason: str, rows: Iterable[RowRef] = ()) -> None:
        """Take ``synced`` back, for this reason, ask for these rows, and compare with the database now."""
        if self._facts.running:
            for ref in rows:
                self.replica.doubt(ref)
            self._distrust(reason)

    @property
    def hears_watermarks(self) -> bool:
        """Whether the proof's marks are heard: not before the first session, nor where they are not published."""
        return self._hears_marks and self.user_id is not None

    def __repr__(self) -> str:
        return f"<Listener of {self.scope} at {urlsplit(self._url).netloc}: {self.state} ({self.reason})>"

    # --- state ----------------------------------------------------------------------------------------

    def _note(self, reason: str, **facts: Any) -> None:
        """Facts have changed: the one place where the state does."""
        for name, value in facts.items():
            setattr(self._facts, name, value)
        self._facts.reason = reason
        before, self._state = self._state, state_of(self._facts)
        if self._state is State.SYNCED:
            self._synced_before = self._synced_since_dialing = True
        if self._state is not before:
            log.info("%s: %s → %s (%s)", self.scope, before, self._state, reason)
            self._inbox.put([StateChanged(self._state, reason)])
        waiting, self._changed = self._changed, asyncio.Event()
        waiting.set()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()

    # --- sessions -------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._sessions()
        except ToolkitError as error:
            self._note(str(error), running=False, dialing=False, subscribed=False, whole=False, failure=error)

    def _ended(self, error: BaseException | None) -> None:
        """The task is over, whatever ended it: no claim outlives it."""
        if self._closing:
            return
        if self._facts.running:
            failure = ToolkitError(f"the listener ended: {error!r}")
            log.error("%s: %s", self.scope, failure, exc_info=error)
            self._note(
                str(failure), running=False, dialing=False, subscribed=False, whole=False, failure=failure
            )
        self._inbox.close()

    def _dispatcher_ended(self, error: BaseException | None) -> None:
        if error is not None and not self._closing:
            self._handler_failed(error)
            log.error("%s: no event reaches the handler any more", self.scope)

    async def _sessions(self) -> None:
        clock = asyncio.get_running_loop().time
        pauses, failures = backoff(*self._backoff), 0
        while True:
            self._subscribed_at, self._synced_since_dialing = None, False
            try:
                await self._session()
            except (OtherShapeError, PrivateOnlyError, NoWatermarksError) as ended:
                if self._adapts(ended):
                    log.info("%s: %s", self.scope, ended)
                    self._note(str(ended), dialing=False, subscribed=False, whole=False)
                    continue
                error: ToolkitError = ended
            except Exception as ended:
                error = ended if isinstance(ended, ToolkitError) else self._mistake(ended)
            if self._subscribed_at is not None and clock() - self._subscribed_at >= self.timing.lived:
                pauses, failures = backoff(*self._backoff), 0
            else:
                failures += 1
            if self._is_final(error):
                raise error from None
            if failures == self._max_attempts:
                raise GaveUp(f"gave up after {failures} attempts: {error}") from error
            log.warning("%s: %s", self.scope, error)
            self._note(str(error), dialing=False, subscribed=False, whole=False, failure=error)
            await asyncio.sleep(next(pauses))

    def _mistake(self, error: Exception) -> ToolkitError:
        """A bug of ours ends a session, never the listener."""
        log.error("%s: the session failed", self.scope, exc_info=error)
        return ToolkitError(f"the session failed: {error!r}")

    async def _session(self) -> None:
        """One session from dialing to its end; always raises."""
        self._note("connecting", dialing=True)
        self._last_token = token = await self._tokens.current()
        self.user_id = self._given_user or _subject(token)
        await self._learn_tables()
        session = Session(
            self._url,
            self._apikey,
            self._tokens,
            topic=self._channel(),
            timing=self.timing,
            vsn=self._vsn,
            max_size=self._max_size,
        )
        async with session.open():
            self.stats.sessions += 1
            ears = Ears(self._keeper.run, self._on_subscribed, self._on_changes, self._on_unreadable)
            marks_of = self.user_id if self._hears_marks else None
            tables = list(self.replica.tables.values())
            await session.run(join_config(self.scope, tables, marks_of, private=self._private), token, ears)

    def _channel(self) -> str:
        if self._private:
            return f"realtime:{self._topic or self.scope}"
        return f"realtime:toolkit-{hashlib.sha256(str(self.scope).encode()).hexdigest()[:16]}"

    def _adapts(self, refused: ToolkitError) -> bool:
        """Whether to come back at once, joining otherwise."""
        if isinstance(refused, PrivateOnlyError):
            self._private, before = self._private or self._may_go_private, self._private
            return self._private and not before
        if isinstance(refused, NoWatermarksError):
            self._hears_marks, before = False, self._hears_marks
            if before:
                log.warning(
                    "%s: no watermarks can be heard, so nothing can be proven: %s", self.scope, refused
                )
            return before
        return self._synced_since_dialing

    def _is_final(self, error: Exception) -> bool:
        expiry = claims(self._last_token).get("exp")
        over = isinstance(expiry, int | float) and expiry < time.time()
        return is_final(
            error,
            synced_before=self._synced_before,
            token_is_over=over and not self._tokens.renewable,
        )

    def _compared(self, seconds: float) -> None:
        self.stats.comparisons += 1
        self.stats.comparison_seconds += seconds

    async def _send_mark(self, passed: Callable[[], None]) -> bool:
        """Send a watermark to ourselves; false where none would come back."""
        watermark = getattr(self._source, "watermark", None)
        if not self.hears_watermarks or watermark is None:
            return False
        if self._own_mark is not None:
            self.marks.pop(self._own_mark, None)  # lost like any change, or late: it decides nothing any more
        self._own_mark = mark = str(uuid4())
        self.marks[mark] = passed
        try:
            await theirs(lambda: watermark(self.user_id, mark), "sending a mark", within=_MARK_SENT)
        except Exception as error:
            self.marks.pop(mark, None)
            log.info("%s: no mark could be sent: %s", self.scope, error)
            return False
        return True

    async def _learn_tables(self) -> None:
        """Which tables to subscribe to; those known from before will do while the source is away."""
        try:
            found = await theirs(
                lambda: self._source.tables(self.scope.kind), "the source", within=self.timing.answer
            )
        except ToolkitError as error:
            if not self.replica.tables or not error.retryable:
                raise
            log.warning("%s: %s", self.scope, error)
            return
        except (NotOursError, TimeoutError) as error:
            raise Unreachable(str(error)) from error
        if not found:
            raise NotFound(f"this user may follow no table under the kind {self.scope.kind!r}")
        self.replica.tables = {table.name: table for table in found}

    # --- what a session hears (session.Ears) -----------------------------------------------------------

    def _on_subscribed(self) -> None:
        first = not self._facts.subscribed
        self._subscribed_at = self._subscribed_at or asyncio.get_running_loop().time()
        # The second means that the server had dropped the subscription, and what was committed before is lost.
        self._distrust("subscribed" if first else "the server subscribed anew", subscribed=True, failure=None)

    def _on_unreadable(self, error: Exception) -> None:
        log.warning("%s: %s", self.scope, error)
        self.stats.unreadable += 1
        self._distrust(f"a frame could not be read: {error}")

    def _on_changes(self, payload: bytes) -> None:
        match read_change(payload, self.replica.tables):
            case Change() as change:
                self._on_change(change)
            case Withheld(table, errors):
                self._distrust(f"a change of {table} was withheld: {', '.join(errors)}")
            case Mark(mark) if mark in self.marks:
                self.marks.pop(mark)()

    def _on_change(self, change: Change) -> None:
        self.stats.changes += 1
        if self._inbox.full:
            self.stats.skipped += 1
            self._distrust("the handler is slower than the stream")
            return
        if change.new_shape:
            self._keeper.compare_soon()
        self._inbox.put(self.replica.apply(change))
        self._keeper.heard()

    def _distrust(self, reason: str, **facts: Any) -> None:
        self._keeper.ask(reason)
        self._note(reason, whole=False, **facts)

    # --- handlers ---------------------------------------------------------------------------------------

    async def _dispatch(self, handler: Handler) -> None:
        taken = 0
        while (event := await self._inbox.take()) is not None:
            await self._call(handler, event)
            taken += 1
            if taken % 64 == 0:
                await asyncio.sleep(0)

    async def _call(self, handler: Handler, event: Event) -> None:
        try:
            result = handler(event)
        except (
            Exception,
            asyncio.CancelledError,
        ) as error:  # a call is cancelled by nobody: it raised that itself
            self._handler_failed(error)
            return
        if result is not None and inspect.isawaitable(result):
            try:
                await theirs(lambda: result, "the handler")
            except NotOursError as error:
                self._handler_failed(error.__cause__ or error)
            except Exception as error:
                self._handler_failed(error)

    def _handler_failed(self, error: BaseException) -> None:
        self.stats.handler_errors += 1
        self.stats.last_handler_error = error
        log.error("%s: the handler raised", self.scope, exc_info=error)
