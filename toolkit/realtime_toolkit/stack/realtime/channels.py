"""One channel of one socket: what it was joined with, what it may do, and what is pushed to it.

Pushes are dealt with in order; one that must ask the database holds up those behind it, and nobody else.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import psycopg

from realtime_toolkit import phoenix
from realtime_toolkit.phoenix import Message, UserBroadcast, Vsn
from realtime_toolkit.stack.realtime import authorization, tokens
from realtime_toolkit.stack.realtime.access import Reader
from realtime_toolkit.stack.realtime.authorization import Context, Policies
from realtime_toolkit.stack.realtime.framing import frame
from realtime_toolkit.stack.realtime.limits import external_size

if TYPE_CHECKING:
    from realtime_toolkit.stack.realtime.join import JoinConfig
    from realtime_toolkit.stack.realtime.server import Server

log = logging.getLogger("realtime_toolkit.stack.realtime")

_RECHECK = 300.0
"""Seconds after which a token is looked at again at the latest."""

Push = Message | UserBroadcast


class Line(Protocol):
    """What a channel needs of the session that it is one of."""

    vsn: Vsn
    headers: str

    def send_frame(self, data: bytes) -> None: ...
    def forget(self, channel: Channel) -> None: ...


class Channel:
    def __init__(
        self, server: Server, session: Line, topic: str, join_ref: Any, config: JoinConfig, token: str
    ) -> None:
        self.server = server
        self.session = session
        self.topic = topic
        self.name = topic.removeprefix("realtime:")
        self.join_ref = join_ref
        self.config = config
        self.token = token
        self.vsn: Vsn = session.vsn
        self.hub_topic = (self.name, config.private)
        self.policies = Policies()
        self.presence_enabled = config.presence_enabled or server.limits.presence_enabled
        self.replayed: set[str] = set()
        self.pending_replay: list[Push] = []
        self.closed = False
        self.subscription: asyncio.Task[None] | None = None
        self._claims: tokens.Claims | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._mailbox: deque[Push] = deque()
        self._busy: asyncio.Task[None] | None = None
        self._tracked: Any = None
        self._presence_calls = 0
        self._presence_reset = 0.0

    # --- rights -----------------------------------------------------------------------------------

    @property
    def reader(self) -> Reader:
        assert self._claims is not None
        values = self._claims.values
        return Reader(str(values.get("role")), json.dumps(values, ensure_ascii=False))

    @property
    def context(self) -> Context:
        return Context(self.reader, self.name, self.session.headers)

    @property
    def may_read_broadcast(self) -> bool:
        return not self.config.private or self.policies.broadcast_read is not False

    @property
    def refusal(self) -> str:
        return f"You do not have permissions to read from this Channel topic: {self.name}"

    @property
    def may_read_presence(self) -> bool:
        return not self.config.private or self.policies.presence_read is True

    def confirm_token(self) -> None:
        """Check the token and set the alarm for its end. Raises :class:`tokens.TokenError`."""
        now = time.time()
        self._claims = tokens.verify(self.token, self.server.jwt_secret, now)
        if self._expiry is not None:
            self._expiry.cancel()
        delay = min(self._claims.expires_at - now, _RECHECK)
        self._expiry = asyncio.get_running_loop().call_later(max(delay, 0), self._token_due)

    def _token_due(self) -> None:
        try:
            self.confirm_token()
        except tokens.TokenError as error:
            self.shut_down(error.push)

    async def authorize(self) -> Policies:
        """Rights to read this private topic, ``False`` where a policy raised."""
        try:
            async with self.server.auth.use() as connection:
                return await authorization.read(connection, self.context, presence=self.presence_enabled)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            log.error("RlsPolicyError: %s", error)
            return Policies(False, False)

    # --- sending ----------------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        self.send_frame(frame(phoenix.encode_from_server(message, self.vsn)))

    def send_replay(self) -> None:
        """What the join asked for; binary messages only where they can be said."""
        for message in self.pending_replay:
            if isinstance(message, Message):
                self.send(message)
            elif (data := phoenix.encode_user_broadcast(message, self.vsn)) is not None:
                self.send_frame(frame(data))
        self.pending_replay = []

    def send_frame(self, data: bytes) -> None:
        self.session.send_frame(data)

    def reply(self, push: Push, status: str, response: Any) -> None:
        self.send(phoenix.reply(push, status, response, join_ref=self.join_ref))

    def system(self, extension: str, status: str, message: str) -> None:
        if not self.closed:
            self.send(phoenix.system(self.topic, self.join_ref, extension, status, message))

    def deliver(self, data: bytes) -> None:
        """A broadcast's frame: counted, and the channel ends when there are too many."""
        self.send_frame(data)
        self.server.events.add(self.server.clock())
        if self.server.events.triggered:
            self.shut_down("Too many messages per second")

    def shut_down(self, message: str) -> None:
        if self.closed:
            return
        log.warning("ChannelShutdown: %s: %s", self.topic, message)
        self.system("system", "error", message)
        self.close()

    def close(self) -> None:
        """End the channel: ``phx_close``, then the others hear that it left."""
        if not self.closed:
            self.send(phoenix.close(self.topic, self.join_ref))
            self.end()

    def end(self) -> None:
        """Forget the channel; nothing is sent to it."""
        if self.closed:
            return
        self.closed = True
        self._mailbox.clear()
        if self._expiry is not None:
            self._expiry.cancel()
        current = asyncio.current_task() if self._in_task() else None
        for task in (self.subscription, self._busy):
            if task is not None and task is not current:
                task.cancel()
        self.session.forget(self)
        self.server.hub.leave(self.hub_topic, self)
        self.server.feed.unsubscribe(self)
        self._leave_presence()

    @staticmethod
    def _in_task() -> bool:
        try:
            return asyncio.current_task() is not None
        except RuntimeError:
            return False

    # --- pushes -----------------------------------------------------------------------------------

    def push(self, push: Push) -> None:
        """Deal with a push, or put it behind the one that is being dealt with."""
        self._mailbox.append(push)
        if self._busy is None:
            self._work()

    def _work(self) -> None:
        while self._mailbox and not self.closed:
            waiting = self._handle(self._mailbox.popleft())
            if waiting is not None:
                self._busy = self.server.spawn(self._finish(waiting))
                return

    async def _finish(self, waiting: Coroutine[Any, Any, None]) -> None:
        try:
            await waiting
        finally:
            self._busy = None
        self._work()

    def _handle(self, push: Push) -> Coroutine[Any, Any, None] | None:
        if isinstance(push, UserBroadcast):
            return self._broadcast(push)
        match push.event:
            case "phx_leave":
                self.reply(push, "ok", {})
                self.close()
            case "broadcast":
                return self._broadcast(push)
            case "presence":
                return self._presence(push)
            case "access_token":
                return self._access_token(push)
            case _:
                self.server.events.add(self.server.clock())
                log.info("Unexpected message from client of type `%s`", push.event)
        return None

    # --- broadcast --------------------------------------------------------------------------------

    def _broadcast(self, push: Push) -> Coroutine[Any, Any, None] | None:
        if self.config.private and self.policies.broadcast_write is None:
            return self._ask_then(self._broadcast, push, "broadcast")
        if self.config.private and not self.policies.broadcast_write:
            return None
        self.server.events.add(self.server.clock())
        if _payload_size(push) > self.server.limits.max_payload_size_in_kb * 1000 + 500:
            log.error("PayloadSizeExceeded: %s", self.topic)
            if self.config.ack:
                self.reply(push, "error", "payload_size_exceeded")
            return None
        sender = None if self.config.self_ else self
        self.server.hub.broadcast(self.hub_topic, _outgoing(push), sender=sender)
        if self.config.ack:
            self.reply(push, "ok", {})
        return None

    async def _ask_then(self, handler: Any, push: Push, extension: str) -> None:
        """Ask for the right to write, then deal with the push again."""
        try:
            async with self.server.auth.use() as connection:
                if extension == "presence" and self.policies.presence_read is None:
                    read = await authorization.read(connection, self.context, presence=True)
                    self.policies = replace(self.policies, presence_read=read.presence_read)
                policies = await authorization.write(connection, self.context, self.policies, extension)
        except psycopg.Error as error:
            log.error("RlsPolicyError: %s", error)
            if extension == "presence":
                self.reply(push, "error", {})
            return
        self.policies = policies
        waiting = handler(push)
        if waiting is not None:
            await waiting

    # --- presence ---------------------------------------------------------------------------------

    def sync_presence(self) -> None:
        """Send ``presence_state``, to a channel that takes part."""
        if not self.presence_enabled or not self.may_read_presence or self.closed:
            return
        if not self._count_presence():
            return
        state = self.server.hub.presence(self.hub_topic).state()
        self.send(Message(self.topic, "presence_state", state, None, self.join_ref))

    def _count_presence(self) -> bool:
        counter, now = self.server.presence_events, self.server.clock()
        counter.sample(now)
        if counter.average > counter.limit:
            self.shut_down("Too many presence messages per second")
            return False
        counter.add(now)
        return True

    def _presence(self, push: Push) -> Coroutine[Any, Any, None] | None:
        payload = push.payload if isinstance(push.payload, dict) else {}
        event = payload.get("event")
        if not isinstance(event, str):
            self.reply(push, "ok", {})
            return None
        if not self._may_call_presence():
            log.error("ClientPresenceRateLimitReached: %s", self.topic)
            self.shut_down("Client presence rate limit exceeded")
            return None
        return self._presence_event(push, event.lower(), payload)

    def _may_call_presence(self) -> bool:
        limits, now = self.server.limits, time.monotonic()
        if now > self._presence_reset:
            self._presence_calls, self._presence_reset = 0, now + limits.client_presence_window
        self._presence_calls += 1
        return self._presence_calls <= limits.client_presence_calls

    def _presence_event(
        self, push: Push, event: str, payload: dict[str, Any]
    ) -> Coroutine[Any, Any, None] | None:
        if event == "track":
            if self.config.private and self.policies.presence_write is None:
                return self._ask_then(self._track, push, "presence")
            self._track(push)
            return None
        if event == "untrack":
            self._tracked = None
            self.reply(push, "ok", {})
            self._leave_presence()
            return None
        log.error("UnknownPresenceEvent: %s", event)
        self.reply(push, "error", {})
        return None

    def _track(self, push: Push) -> None:
        if self.config.private and not self.policies.presence_write:
            self.reply(push, "error", {})
            return
        assert isinstance(push.payload, dict)
        meta = push.payload.get("payload", {})
        if not isinstance(meta, dict):
            log.error("InvalidPresencePayload: %s", self.topic)
            self.reply(push, "error", {"reason": "Presence track payload must be a map"})
        elif meta == self._tracked:
            self.reply(push, "ok", {})
        elif external_size(meta) > self.server.limits.max_payload_size_in_kb * 1000 + 500:
            self.shut_down("Track message size exceeded")
        elif self._count_presence():
            self._tracked = meta
            self.presence_enabled = True
            self.reply(push, "ok", {})
            diff = self.server.hub.track(self.hub_topic, self, self.config.presence_key, meta)
            self.server.presence_changed(self.hub_topic, diff)

    def _leave_presence(self) -> None:
        diff = self.server.hub.untrack(self.hub_topic, self)
        if diff is not None:
            self.server.presence_changed(self.hub_topic, diff)

    # --- tokens -----------------------------------------------------------------------------------

    def _access_token(self, push: Push) -> Coroutine[Any, Any, None] | None:
        token = push.payload.get("access_token") if isinstance(push.payload, dict) else None
        if not isinstance(token, str) or token.startswith("sb_") or token == self.token:
            return None
        self.token = token
        try:
            self.confirm_token()
        except tokens.TokenError as error:
            self.shut_down(error.push)
            return None
        if self.config.private:
            return self._authorize_again()
        self.server.resubscribe(self)
        return None

    async def _authorize_again(self) -> None:
        try:
            self.policies = await self.authorize()
        except psycopg.OperationalError:
            self.shut_down("Realtime was unable to connect to the project database")
            return
        if not self.policies.broadcast_read and not self.policies.presence_read:
            self.shut_down(self.refusal)
            return
        self.server.resubscribe(self)


def _payload_size(push: Push) -> int:
    return external_size(push.payload)


def _outgoing(push: Push) -> Push:
    """The push as the others get it: without refs, and without the metadata that a client sent."""
    if isinstance(push, UserBroadcast):
        return UserBroadcast(push.topic, push.event, push.payload, push.is_json)
    return Message(push.topic, "broadcast", push.payload)
