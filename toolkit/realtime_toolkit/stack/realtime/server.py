"""The Realtime server behind its sockets: one database, one WAL stream, every channel."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import json
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import psycopg

from realtime_toolkit import tasks
from realtime_toolkit.phoenix import Message, UserBroadcast
from realtime_toolkit.stack.realtime import bindings, messages, publication, subscriptions
from realtime_toolkit.stack.realtime.access import ask_settled
from realtime_toolkit.stack.realtime.bindings import BindingError
from realtime_toolkit.stack.realtime.changes import ChangeFeed, GroupKey
from realtime_toolkit.stack.realtime.database import Link
from realtime_toolkit.stack.realtime.distortion import Distortion
from realtime_toolkit.stack.realtime.hub import Hub, Member, Topic
from realtime_toolkit.stack.realtime.join import JoinError
from realtime_toolkit.stack.realtime.limits import Limits, RateCounter
from realtime_toolkit.stack.realtime.pace import Pace, draw
from realtime_toolkit.stack.realtime.phash import phash2
from realtime_toolkit.tasks import Deadline, happens
from realtime_toolkit.wal import decoder as wal
from realtime_toolkit.wal.reader import ReplicationReader

if TYPE_CHECKING:
    from realtime_toolkit.stack.realtime.access import Reader
    from realtime_toolkit.stack.realtime.faults import Faults
    from realtime_toolkit.stack.realtime.join import JoinConfig
    from realtime_toolkit.stack.realtime.presence import Diff

log = logging.getLogger("realtime_toolkit.stack.realtime")


class Subscriber(Member, Protocol):
    """What the server needs of a channel."""

    topic: str
    name: str
    join_ref: Any
    config: JoinConfig
    closed: bool
    subscription: asyncio.Task[None] | None

    @property
    def reader(self) -> Reader: ...
    @property
    def refusal(self) -> str: ...
    def system(self, extension: str, status: str, message: str) -> None: ...


class Server:
    def __init__(
        self,
        database_url: str,
        jwt_secret: str,
        api_keys: Mapping[str, str],
        limits: Limits,
        pace: Pace,
        faults: Faults,
        on_failure: Callable[[str], None],
    ) -> None:
        self.faults = faults
        self._on_failure = on_failure
        self._stopping = False
        self.jwt_secret = jwt_secret
        self.limits = limits
        self.pace = pace
        self.hub = Hub()
        self.feed: ChangeFeed[Subscriber] = ChangeFeed(limits.max_record_bytes)
        self._distortion = Distortion(faults, self._lose_batch)
        self.feed.distort = self._distortion.rows
        self.users: set[object] = set()
        """Sessions with a channel."""
        self.auth = Link(database_url, "realtime_connect")
        self._admin = Link(database_url, "realtime_subscription_manager")
        self._rls = Link(database_url, "realtime_rls")
        self._api_keys = api_keys
        self._tasks: set[asyncio.Task[Any]] = set()
        self._catalog_changed = asyncio.Event()
        self._deaf_until = 0.0
        self._mute_until = 0.0
        self._withheld_until = 0.0
        self.clock: Callable[[], float] = time.monotonic
        """By which rates are measured, in seconds."""
        self._known_losses = 0
        self._subscribed_before = False
        self._dropping = False
        self._met = False
        streams = (publication.STREAM, publication.STREAM_INSERTS, messages.STREAM)
        self.reader = ReplicationReader(database_url, streams, self._send_message)
        self.reset_counters()

    def reset_counters(self) -> None:
        """Rates start anew, with the limits of now."""
        limits, tick = self.limits, self.limits.rate_tick
        self.events = RateCounter(limits.max_events_per_second, tick)
        self.joins = RateCounter(limits.max_joins_per_second, tick)
        self.presence_events = RateCounter(limits.max_presence_events_per_second, tick)
        self.database_events = RateCounter(limits.max_events_per_second, tick, fixed=True)

    # --- life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Returns when the WAL is being read. Raises :class:`psycopg.Error`."""
        self._stopping = False
        await self._follow_publication(keep=False)
        async with self._admin.use() as connection:
            await messages.make_stream(connection)
        await self._make_partitions()
        self.keep(self._read(), "reader of the WAL")
        self.keep(self._pump(), "stream of changes")
        self.keep(self._watch_publication(), "watch over the publication")
        self.keep(self._keep_partitions(), "keeper of partitions")
        async with Deadline(15):
            await self.reader.connected.wait()

    async def stop(self) -> None:
        self._stopping = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(psycopg.Error):
            await self._slot_gone()
        for link in (self.auth, self._admin, self._rls):
            await link.close()

    async def _slot_gone(self) -> None:
        """The slot ends with its walsender, a moment after the connection."""
        query = "select from pg_catalog.pg_replication_slots where slot_name = %s"
        async with self._admin.use() as connection:
            for _ in range(500):
                if not (await connection.execute(query, [self.reader.slot])).rowcount:
                    return
                await asyncio.sleep(0.005)

    def keep(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        """Start what the server is nothing without: if it ends before the server does, the server has failed."""

        def ended(error: BaseException | None) -> None:
            self._tasks.discard(task)
            if not self._stopping:
                self._on_failure(f"the Realtime server's {name} ended: {error!r}")

        task = tasks.spawn(work, name, ended)
        self._tasks.add(task)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a task of the Realtime server failed", exc_info=error)

    # --- keys and ids -----------------------------------------------------------------------------

    def jwt_of(self, token: str) -> str:
        """The JWT that an opaque key stands for; any other token as it is."""
        return self._api_keys.get(token, token)

    @staticmethod
    def binding_id(params: dict[str, Any]) -> int:
        return phash2(params)

    def heard(self) -> bool:
        """Whether a heartbeat is answered."""
        return not (self.faults.armed and self.faults.strike("mute-heartbeats"))

    # --- the WAL ----------------------------------------------------------------------------------

    async def _read(self) -> None:
        await self.reader.run(lambda: draw(self.pace.reconnect), self._reconnected)

    async def _reconnected(self, restarted: bool) -> None:
        """After an outage the publication may differ. Channels subscribe again, and so hear of it, only if the other
        connections were lost, too, and the database did not restart: seen on the genuine server."""
        self._mute_until = time.monotonic() + draw(self.pace.messages_after)
        await self._follow_publication(keep=False)
        before, self._known_losses = self._known_losses, self._admin.losses
        if before != self._known_losses and not restarted:
            for channel in self.feed.subscribers():
                self.resubscribe(channel)

    def lose_connections(self) -> None:
        """Cut every connection but that of the WAL (for faults)."""
        for link in (self.auth, self._admin, self._rls):
            link.lose()

    async def _pump(self) -> None:
        while True:
            if self.pace.poll and not self.reader.waiting:
                await asyncio.sleep(self.pace.poll)
                continue
            batch = await self.reader.take()
            try:
                await self._process(batch.items)
            except psycopg.Error as error:
                self._lose_batch(str(error).strip())
            except Exception as error:  # a mistake of ours must not end the stream
                log.exception("a batch of changes cannot be dealt with")
                self._lose_batch(repr(error))
            self.reader.done(batch)

    def _lose_batch(self, why: str) -> None:
        log.error("PoolingReplicationError: a batch of changes is lost: %s", why)
        self.deafen(draw(self.pace.after_failed_batch))

    async def _process(self, items: list[wal.RowChange | wal.LogicalMessage]) -> None:
        for item in items:
            if isinstance(item, wal.LogicalMessage):
                await self._notice(item)
        changes = self.feed.wanted(items)
        if changes and self._distortion.active:
            changes = await self._distortion.batch(changes)
        if not changes or time.monotonic() < self._deaf_until or self._too_many_events():
            return
        async with self._rls.use() as connection:
            frames = await self.feed.process(connection, changes)
        for channels, parts in frames:
            self._deliver([channel for channel in channels if not channel.closed], parts)

    async def _notice(self, message: wal.LogicalMessage) -> None:
        if message.prefix == "toolkit":  # the catalogue has changed
            async with self._rls.use() as connection:
                await ask_settled(connection, [message.xid], [])
                published = await publication.follow(connection, look_only=True)
            self.feed.published = published.oids
            self.feed.forget_catalog()
            self._catalog_changed.set()

    def _send_message(self, item: wal.RowChange | wal.LogicalMessage) -> bool:
        """Broadcasts go out as they arrive, past the changes that wait: the genuine server has a slot for each."""
        if not isinstance(item, wal.RowChange) or not messages.is_message(item):
            return False
        if time.monotonic() >= self._mute_until:
            self._broadcast(item)
        return True

    def _broadcast(self, change: wal.RowChange) -> None:
        sent = messages.read(change)
        if sent is not None and not (self.faults.armed and self.faults.strike("send-swallowed")):
            messages.send(self.hub, sent)

    def _deliver(self, channels: list[Subscriber], frames: list[bytes]) -> None:
        if not frames:
            return
        data = b"".join(frames)
        for channel in channels:
            channel.send_frame(data)
        self.database_events.add(self.clock(), len(frames) * len(channels))

    def deafen(self, seconds: float) -> None:
        """Lose all changes that come within so many seconds."""
        self._deaf_until = max(self._deaf_until, time.monotonic() + seconds)

    def withhold_tables(self, seconds: float) -> None:
        """Do not decode tables published from now on, for so many seconds."""
        self._withheld_until = time.monotonic() + seconds
        asyncio.get_running_loop().call_later(seconds, self._catalog_changed.set)

    def _too_many_events(self) -> bool:
        triggered = self.database_events.sample(self.clock())
        if triggered and not self._dropping:  # once a penalty, not once a batch
            log.error("MessagePerSecondRateLimitReached: Too many postgres changes messages per second")
        self._dropping = triggered
        return triggered

    # --- subscriptions ----------------------------------------------------------------------------

    async def subscribe(self, channel: Subscriber) -> bool:
        """Subscribe the channel's bindings, and tell it. Tries again only while the database is away."""
        if not self._subscribed_before:
            self._subscribed_before = True
            await asyncio.sleep(draw(self.pace.first_subscription))
        if self.faults.armed and (late := self.faults.strike("late-subscription")):
            await asyncio.sleep(late.number)
        while not channel.closed:
            try:
                await self._subscribe(channel)
            except BindingError as error:
                log.warning("RealtimeDisabledForConfiguration: %s", error)
                channel.system("postgres_changes", "error", str(error))
                return False
            except psycopg.Error as error:
                log.warning("RealtimeDisabledForConfiguration: %s", error)
                await asyncio.sleep(self.pace.database_timeout)
                channel.system("postgres_changes", "error", '{:error, "Too many database timeouts"}')
                await asyncio.sleep(draw(self.pace.retry_subscription))
            else:
                channel.system("postgres_changes", "ok", "Subscribed to PostgreSQL")
                return True
        return False

    async def _subscribe(self, channel: Subscriber) -> None:
        params = channel.config.changes
        parsed = [bindings.parse(item) for item in params]
        reader = channel.reader
        bound = []
        await self._follow_publication()
        await self.reader.connected.wait()
        async with self._admin.use() as connection:
            for item, binding in reversed(list(zip(params, parsed, strict=True))):
                id_ = self.binding_id(item)
                found = await subscriptions.subscribe(connection, binding, reader.role)
                bound += [(id_, subscription) for subscription in found]
        if channel.closed:
            return
        oids = tuple(subscription.oid for _, subscription in bound)
        text = json.dumps(params)
        key = GroupKey(channel.topic, channel.vsn, channel.config.new_api, reader, text, oids)
        self.feed.subscribe(channel, key, bound)

    def resubscribe(self, channel: Subscriber, *, lapses: bool = False) -> None:
        """Subscribe again, after the pace's delay; until then the old subscription goes on. If it cannot be
        had again, the old one goes on still, or else ``lapses``."""
        if channel.closed or not channel.config.changes:
            return
        if channel.subscription is not None:
            channel.subscription.cancel()
        channel.subscription = self.spawn(self._resubscribe(channel, lapses=lapses))

    async def _resubscribe(self, channel: Subscriber, *, lapses: bool) -> None:
        await asyncio.sleep(draw(self.pace.resubscribe))
        if not await self.subscribe(channel) and lapses:
            self.feed.unsubscribe(channel)

    # --- the publication --------------------------------------------------------------------------

    async def _follow_publication(self, *, keep: bool = True) -> None:
        async with self._admin.use() as connection:
            withheld = time.monotonic() < self._withheld_until
            published = await publication.follow(connection, look_only=withheld, keep=keep)
        self.feed.announced, self.feed.published = published.announced, published.oids

    async def _watch_publication(self) -> None:
        """Newly published tables are streamed at once; running subscriptions learn of them at a check."""
        known = self.feed.published
        check_at = time.monotonic() + self.pace.publication_check
        while True:
            await happens(self._catalog_changed, max(check_at - time.monotonic(), 0.01))
            try:
                if self._catalog_changed.is_set():
                    self._catalog_changed.clear()
                    await self._follow_publication()
                if time.monotonic() >= check_at:
                    check_at = time.monotonic() + self.pace.publication_check
                    known = await self._check_publication(known)
            except psycopg.Error as error:
                log.warning("the publication cannot be looked at: %s", str(error).strip())

    async def _check_publication(self, known: frozenset[int]) -> frozenset[int]:
        """Everybody subscribes again if other tables are published than at the last check."""
        if not self.feed.announced or known != self.feed.published:
            await self._follow_publication(keep=False)
        if known != self.feed.published:
            self._resubscribe_all()
        return self.feed.published

    def _resubscribe_all(self) -> None:
        channels = self.feed.subscribers()
        if self.pace.resubscribe != (0.0, 0.0):  # the genuine server deletes all subscriptions first
            for channel in channels:
                self.feed.unsubscribe(channel)
        for channel in channels:
            self.resubscribe(channel, lapses=True)

    # --- private topics ---------------------------------------------------------------------------

    async def replay(self, channel: Subscriber) -> list[Message | UserBroadcast]:
        """What the join asks to have repeated. Raises :class:`JoinError`."""
        config = channel.config
        if not config.has_replay:
            return []
        if not channel.may_read_broadcast:
            raise JoinError(f"Unauthorized: {channel.refusal}")
        try:
            replay = messages.parse_replay(
                config.replay, private=config.private, maximum=self.limits.replay_limit
            )
            if replay is None:
                return []
            if self.faults.armed and (cap := self.faults.strike("replay-capped")):
                replay = dataclasses.replace(replay, limit=int(cap.number))
            async with self.auth.use() as connection:
                found = await messages.stored(connection, channel.name, replay, channel.join_ref)
        except messages.ReplayError as error:
            raise JoinError(str(error)) from None
        except psycopg.Error:
            text = "UnableToReplayMessages: Realtime was unable to replay messages"
            raise JoinError(text) from None
        channel.replayed = {id_ for id_, _ in found}
        return [message for _, message in found]

    async def tell_replication_ready(self, channel: Subscriber) -> None:
        await self.reader.connected.wait()
        channel.system("system", "ok", "Replication connection established")

    def presence_changed(self, topic: Topic, diff: Diff) -> None:
        now = self.clock()
        self.hub.presence_diff(topic, diff, lambda: self.presence_events.add(now))

    def meet(self) -> None:
        """A client has come: the first one has the publication of messages made, as on the genuine server."""
        if not self._met:
            self._met = True
            self.spawn(self._make_genuine())

    async def _make_genuine(self) -> None:
        try:
            async with self._admin.use() as connection:
                await messages.make_genuine(connection)
        except psycopg.Error as error:
            self._met = False
            log.warning("%s cannot be made: %s", messages.GENUINE, str(error).strip())

    async def _make_partitions(self) -> None:
        async with self._admin.use() as connection:
            await messages.make_partitions(connection, datetime.datetime.now(datetime.UTC).date())

    async def _keep_partitions(self) -> None:
        while True:
            await asyncio.sleep(3600)
            try:
                await self._make_partitions()
            except psycopg.Error as error:
                log.warning("CreatePartitionFailed: %s", str(error).strip())
