"""One socket's conversation: frames in, channels by topic, frames out.

A join is answered before anything behind it is looked at, as on the genuine server; everything else goes
to its channel at once.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import psycopg

from realtime_toolkit import phoenix
from realtime_toolkit.errors import ProtocolError
from realtime_toolkit.phoenix import Message, UserBroadcast, Vsn
from realtime_toolkit.stack.front.bodies import is_text
from realtime_toolkit.stack.realtime import join, tokens
from realtime_toolkit.stack.realtime.channels import Channel, Push
from realtime_toolkit.stack.realtime.framing import frame
from realtime_toolkit.stack.realtime.join import JoinError

if TYPE_CHECKING:
    from realtime_toolkit.stack.realtime.server import Server

log = logging.getLogger("realtime_toolkit.stack.realtime")

_PREFIX = "realtime:"


class Transport(Protocol):
    """What a session needs of its socket."""

    def send_frame(self, data: bytes) -> None: ...
    def close(self, code: int, reason: str = "") -> None: ...


class Session:
    def __init__(
        self, server: Server, transport: Transport, vsn: Vsn, token: str, headers: dict[str, str]
    ) -> None:
        self.server = server
        self.transport = transport
        self.vsn = vsn
        self.token = token
        self.headers = json.dumps(headers)
        self.channels: dict[str, Channel] = {}
        self.closed = False
        self._inbox: deque[Push] = deque()
        self._joining: asyncio.Task[None] | None = None

    # --- out --------------------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        self.send_frame(frame(phoenix.encode_from_server(message, self.vsn)))

    def send_frame(self, data: bytes) -> None:
        if not self.closed:
            self.transport.send_frame(data)

    # --- in ---------------------------------------------------------------------------------------

    def receive(self, data: str | bytes) -> None:
        """A whole message from the client. What cannot be read is ignored."""
        try:
            self._inbox.append(_decoded(data, self.vsn))
            if self._joining is None:
                self._work()
        except (ProtocolError, RecursionError) as error:
            log.warning("MalformedWebSocketMessage: %s", error)

    def _work(self) -> None:
        while self._inbox and not self.closed:
            push = self._inbox.popleft()
            if isinstance(push, Message) and push.event == "phx_join" and _is_channel(push.topic):
                self._joining = self.server.spawn(self._join_then_work(push))
                return
            self._dispatch(push)

    def _dispatch(self, push: Push) -> None:
        channel = self.channels.get(push.topic) if isinstance(push.topic, str) else None
        if push.topic == "phoenix" and push.event == "heartbeat":
            if self.server.heard():
                self.send(phoenix.reply(push, "ok", {}))
        elif channel is not None:
            channel.push(push)
        elif push.event == "phx_leave":
            self.send(phoenix.reply(push, "ok", {}, join_ref=_join_ref(push)))
        else:
            log.debug("Ignoring unmatched topic %r", push.topic)
            self.send(phoenix.unmatched(push))

    async def _join_then_work(self, push: Message) -> None:
        faults = self.server.faults
        try:
            if faults.armed and (late := faults.strike("join-late")):
                await asyncio.sleep(late.number)
            if not (faults.armed and faults.strike("join-never")):
                await self._join(push)
        except Exception:  # never silence: the client would wait for ever
            log.exception("UnknownErrorOnChannel")
            reason = {"reason": "Unknown Error on Channel"}
            self.send(phoenix.reply(push, "error", reason, join_ref=push.join_ref))
        finally:
            self._joining = None
        self._work()

    # --- joining ----------------------------------------------------------------------------------

    async def _join(self, push: Message) -> None:
        join_ref = push.join_ref
        try:
            channel = await self._admit(push)
        except JoinError as error:
            log.error("%s", error)
            await asyncio.sleep(self.server.pace.refused_join)
            reply = phoenix.reply(push, "error", {"reason": str(error)}, join_ref=join_ref)
            self.send(reply)
            if str(error).startswith("ClientJoinRateLimitReached"):
                self.transport.close(1001)
            return
        if self.closed:
            channel.end()
            return
        before = self.channels.get(push.topic)
        self.channels[push.topic] = channel
        if before is not None:
            self.server.hub.leave(before.hub_topic, before)
        self.server.hub.join(channel.hub_topic, channel)
        bindings = [{"id": self.server.binding_id(params), **params} for params in channel.config.changes]
        channel.reply(push, "ok", {"postgres_changes": bindings})
        if before is not None:
            before.close()
        await self._joined(channel)

    async def _joined(self, channel: Channel) -> None:
        self.server.users.add(self)
        self.server.meet()
        channel.send_replay()
        channel.sync_presence()
        if channel.config.replication_ready:
            self.server.spawn(self.server.tell_replication_ready(channel))
        if channel.config.changes:
            channel.subscription = self.server.spawn(self.server.subscribe(channel))

    async def _admit(self, push: Message) -> Channel:
        """The checks, in the genuine server's order. Raises :class:`JoinError`."""
        server, name = self.server, push.topic.removeprefix(_PREFIX)
        if not name:
            raise JoinError("TopicNameRequired: You must provide a topic name")
        config = join.parse(push.payload, name)
        self._check_limits(push.topic, private=config.private)
        shown = join.token_of(push.payload)
        token = server.jwt_of(self.token if shown is None else shown)
        channel = Channel(server, self, push.topic, push.join_ref, config, token)
        try:
            channel.confirm_token()
        except tokens.TokenError as error:
            raise JoinError(error.join) from None
        try:
            if config.private:
                await self._check_rights(channel)
            channel.pending_replay = await server.replay(channel)
        except BaseException:
            channel.end()
            raise
        return channel

    def _check_limits(self, topic: str, *, private: bool) -> None:
        limits, joins, now = self.server.limits, self.server.joins, self.server.clock()
        if limits.private_only and not private:
            raise JoinError("PrivateOnly: This project only allows private channels")
        if self not in self.server.users and len(self.server.users) >= limits.max_concurrent_users:
            raise JoinError("ConnectionRateLimitReached: Too many connected users")
        if joins.sample(now):
            raise JoinError("ClientJoinRateLimitReached: Too many joins per second")
        joins.add(now)
        if len(self.channels) - (topic in self.channels) >= limits.max_channels_per_client:
            raise JoinError("ChannelRateLimitReached: Too many channels")

    async def _check_rights(self, channel: Channel) -> None:
        try:
            channel.policies = await channel.authorize()
        except psycopg.OperationalError:
            await asyncio.sleep(self.server.pace.database_timeout - self.server.pace.refused_join)
            raise JoinError("IncreaseConnectionPool: Please increase your connection pool size") from None
        if not channel.policies.broadcast_read and not channel.policies.presence_read:
            raise JoinError(f"Unauthorized: {channel.refusal}")

    # --- end --------------------------------------------------------------------------------------

    def forget(self, channel: Channel) -> None:
        if self.channels.get(channel.topic) is channel:
            del self.channels[channel.topic]
        if not self.channels:
            self.server.users.discard(self)

    def end(self) -> None:
        """The socket is gone: every channel leaves."""
        if self.closed:
            return
        self.closed = True
        self._inbox.clear()
        if self._joining is not None:
            self._joining.cancel()
        for channel in list(self.channels.values()):
            channel.end()
        self.server.users.discard(self)

    def disconnect(self) -> None:
        """The server's operator wants every client to come back: told to each channel, then 1012."""
        payload = {"message": "Server requested disconnect", "status": "ok", "extension": "system"}
        for channel in self.channels.values():
            channel.send(Message(channel.topic, "system", payload, None, channel.join_ref))
        self.transport.close(1012)


def _decoded(data: str | bytes, vsn: Vsn) -> Push:
    """Raises :class:`ProtocolError`, also for strings that are no Unicode."""
    push = phoenix.decode_push(data, vsn)
    if isinstance(push, Message) and isinstance(data, str):
        told = [push.topic, push.event, push.payload, push.ref, push.join_ref]
        if not is_text(data, told):
            raise ProtocolError("half a surrogate pair")
    return push


def _is_channel(topic: Any) -> bool:
    return isinstance(topic, str) and topic.startswith(_PREFIX)


def _join_ref(push: Push) -> Any:
    return push.join_ref if isinstance(push, Message | UserBroadcast) else None
