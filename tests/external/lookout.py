"""Knows when a genuine server has disturbed a test, which is then run once more."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING
from uuid import uuid4

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from realtime_toolkit import phoenix
from realtime_toolkit.follow.session import socket_address
from realtime_toolkit.phoenix import Vsn

if TYPE_CHECKING:
    from realtime_toolkit.stack import LocalStack
    from realtime_toolkit.testing import ExternalProject

    Project = ExternalProject | LocalStack

TOPIC = "realtime:toolkit-lookout"
RESUBSCRIBED = 4.0
"""Seconds within which everybody has been told, after all subscriptions were dropped (1 to 3 s were measured)."""
HEARTBEAT = 20.0
DAY = 86_400


class Lookout(threading.Thread):
    """A channel of its own, which is told when the server drops all subscriptions and makes them anew.

    It does that when its look at the published tables, once a minute, finds others than before: a test that made one
    was at work. What is committed meanwhile reaches nobody. (Somebody who is connected also keeps the server awake,
    which makes the day's partition of ``realtime.messages`` only then.)
    """

    def __init__(self, project: Project, *, within: float = RESUBSCRIBED) -> None:
        super().__init__(name="lookout", daemon=True)
        self._address = socket_address(project.url, project.anon_key, Vsn.V2)
        self._token = project.token(str(uuid4()), expires_in=DAY)
        self._over = threading.Event()
        self._within = within
        self._told: list[float] = []
        self.subscribed = threading.Event()

    def disturbed(self, since: float) -> bool:
        """Whether that happened after this moment (``time.monotonic``); waits until it would be known."""
        time.sleep(self._within)
        return any(at > since - self._within for at in self._told)

    def run(self) -> None:
        while not self._over.is_set():
            try:
                self._listen()
            except (OSError, WebSocketException):  # if that is for good, the tests will say so
                self._over.wait(1)

    def _listen(self) -> None:
        nothing = {
            "event": "*",
            "schema": "public",
            "table": "conversations",
            "filter": f"id=eq.{uuid4()}",
        }
        with connect(self._address, close_timeout=1) as socket:
            asked = phoenix.join(TOPIC, "1", {"postgres_changes": [nothing]}, self._token)
            socket.send(phoenix.encode(asked, Vsn.V2))
            self.subscribed.clear()
            beat = time.monotonic()
            while not self._over.is_set():
                if time.monotonic() - beat > HEARTBEAT:
                    beat = time.monotonic()
                    socket.send(phoenix.encode(phoenix.heartbeat("2"), Vsn.V2))
                try:
                    frame = socket.recv(timeout=0.5)
                except TimeoutError:
                    continue
                if "Subscribed to PostgreSQL" in str(frame):
                    if self.subscribed.is_set():
                        self._told.append(time.monotonic())
                    self.subscribed.set()

    def stop(self) -> None:
        self._over.set()
        self.join()
