"""The statements themselves, whatever carries them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self, TypeVar
from uuid import uuid4

from realtime_toolkit.errors import ContentMismatch, NotFound, StoreError, Unauthorized
from realtime_toolkit.exact import loads
from realtime_toolkit.model import Digest, Glance, Row, Scope, SyncedRow, SyncPage, TrackedTable
from realtime_toolkit.store.arguments import check
from realtime_toolkit.store.failures import one_line
from realtime_toolkit.store.pages import Answer, Item, Page, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

T = TypeVar("T")

_PAGE, _PART = Answer(Page), Answer(Part)

Filter = tuple[str, str, Any]
"""(column, ``eq`` | ``gte`` | ``lt``, value)"""

_PREFIXES = 1000  # asked for at once; the functions take 5,000
PAGE = 500  # rows per select; below PostgREST's usual cap (Supabase: 1,000), which cuts without a word


class Store(ABC):
    """The statements. Safe for concurrent use; every call may be cancelled."""

    where: str
    """The address as error messages show it: no user, no password, no key."""

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    # Following a scope

    async def tables(self, kind: str) -> tuple[TrackedTable, ...]:
        """The tables tracked under ``kind`` of which this user may read key, scope and version."""
        found = await self._call("tracked_tables", kind=kind)
        return tuple(_tracked_table(table) for table in found)

    async def sync(
        self,
        scope: Scope,
        since: int | None,
        epoch: str | None,
        page_size: int = 5000,
        after: str | None = None,
    ) -> SyncPage:
        """What changed since the cursor; ``after`` is that of the page before, if that was cut.

        See :class:`~realtime_toolkit.model.SyncPage`.
        """
        page = await self._ask(
            _PAGE,
            "sync_scope",
            kind=scope.kind,
            value=scope.value,
            since=None if since is None else str(since),
            epoch=epoch,
            page_size=page_size,
            after=after,
        )
        return _sync_page(page)

    async def digest(
        self, scope: Scope, prefixes: Sequence[str] = ("",), salt: str = ""
    ) -> dict[str, Digest]:
        """Fingerprints of all visible rows by ``key_hash`` prefix: the non-empty children of each prefix.

        ``salt``, letters and digits, goes into each row's hash: see :func:`~realtime_toolkit.model.row_hash`.
        """
        found: dict[str, Digest] = {}
        for start in range(0, len(prefixes), _PREFIXES):
            part = await self._call(
                "digest_scope",
                kind=scope.kind,
                value=scope.value,
                prefixes=list(prefixes[start : start + _PREFIXES]),
                salt=salt,
            )
            found |= {bucket["prefix"]: _digest(bucket) for bucket in part["buckets"]}
        return found

    async def glance(self, scope: Scope, whole: bool = True) -> Glance:
        """The digest of all that is visible (unless not ``whole``), epoch, pulse, and what it cost the database."""
        seen = await self._call("glance_scope", kind=scope.kind, value=scope.value, whole=whole)
        digest = None if seen["digest"] is None else _digest(seen["digest"])
        return Glance(seen["epoch"], seen["pulse"], int(seen["cursor"]), digest, float(seen["ms"]) / 1000)

    async def rows(
        self, scope: Scope, prefixes: Sequence[str], keys_only: bool = False
    ) -> tuple[int, tuple[SyncedRow, ...]]:
        """The horizon of the first snapshot, and every visible row whose ``key_hash`` starts with one of the prefixes.

        Asked for in parts of about 8 MB, each a snapshot of its own.
        """
        left, cursor = list(prefixes), None
        rows: list[SyncedRow] = []
        while left:
            part = await self._ask(
                _PART,
                "rows_scope",
                kind=scope.kind,
                value=scope.value,
                prefixes=left[:_PREFIXES],
                keys_only=keys_only,
            )
            cursor = int(part.cursor) if cursor is None else cursor
            rows += map(_synced_row, part.rows)
            unanswered = part.left
            if unanswered and not part.rows:  # even the first is too large: its children, then
                first, *others = unanswered
                unanswered = [*(first + digit for digit in "0123456789abcdef"), *others]
            left = unanswered + left[_PREFIXES:]
        return cursor or 0, tuple(rows)

    async def watermark(self, user_id: str, mark: str) -> str:
        """Commit a watermark row addressed to this user; returns its id."""
        row = {"id": str(uuid4()), "user_id": user_id, "mark": mark}
        check(f"insert into realtime_watermarks at {self.where}", {"user": user_id, "mark": mark})
        made = await self._insert("realtime_watermarks", row)
        return str((made or row)["id"])

    async def clear_watermarks(self, user_id: str, older_than: float) -> int:
        """Delete this user's watermarks of more than ``older_than`` seconds ago; returns how many."""
        limit = (datetime.now(UTC) - timedelta(seconds=older_than)).isoformat()
        return await self._delete(
            "realtime_watermarks", ("user_id", "eq", user_id), ("created_at", "lt", limit)
        )

    # Conversations and tasks

    async def create_conversation(
        self, title: str | None = None, *, user_id: str | None = None, id: str | None = None
    ) -> Row:
        """A new conversation; ``user_id`` is the caller where it is not given.

        A service must give it; :class:`~realtime_toolkit.errors.InputError` where it does not.
        """
        return await self._create(
            "conversations", {"id": id or str(uuid4()), "user_id": user_id, "title": title}
        )

    async def conversation(self, conversation: str) -> Row:
        """One conversation; raises :class:`~realtime_toolkit.errors.NotFound`."""
        return await self._one("conversations", conversation)

    async def create_task(
        self,
        conversation: str,
        *,
        agent_role: str = "assistant",
        prompt: str = "",
        id: str | None = None,
    ) -> Row:
        """A pending task; :class:`~realtime_toolkit.errors.NotFound` for a conversation the caller cannot see."""
        row = {"id": id or str(uuid4()), "conversation_id": conversation, "agent_role": agent_role}
        return await self._create_in_conversation("tasks", {**row, "prompt": prompt})

    async def task(self, task: str) -> Row:
        return await self._one("tasks", task)

    async def claim_task(
        self,
        worker: str,
        lease_seconds: int = 30,
        task: str | None = None,
        roles: Sequence[str] | None = None,
    ) -> Row | None:
        """Take the oldest pending task (or ``task``) under a lease; ``None`` if there is none."""
        wanted = None if roles is None else list(roles)
        found = await self._call(
            "claim_task", worker=worker, lease_seconds=lease_seconds, task=task, roles=wanted
        )
        return None if found is None else self._row("claim_task", found, "id", "conversation_id", "attempt")

    async def renew_task(
        self,
        task: str,
        worker: str,
        attempt: int,
        lease_seconds: int = 30,
        progress: float | None = None,
    ) -> Row:
        """Extend the lease: ``{"status", "lease_expires_at"}``, where ``cancelled`` may be seen."""
        renewed = await self._call(
            "renew_task",
            task=task,
            worker=worker,
            attempt=attempt,
            lease_seconds=lease_seconds,
            progress=progress,
        )
        return self._row("renew_task", renewed, "status")

    async def finish_task(
        self, task: str, worker: str, attempt: int, status: str, error: str | None = None
    ) -> Row:
        """Set the final status, which ends the task's messages, too; the same outcome again is no error."""
        finished = await self._call(
            "finish_task", task=task, worker=worker, attempt=attempt, status=str(status), error=error
        )
        return self._row("finish_task", finished, "status")

    async def cancel_task(self, task: str) -> Row:
        """What a user says who wants no more of it: the task, which is as it was if it had ended before.

        Its messages end with the text that is stored; a task whose answer is complete is completed.
        """
        return self._row("cancel_task", await self._call("cancel_task", task=task), "status")

    async def reap_tasks(self, max: int = 100) -> list[str]:
        """Return tasks with expired leases to ``pending``, with the next attempt; their ids."""
        return list(self._typed("reap_tasks", await self._call("reap_tasks", max=max), list))

    # Messages

    async def create_message(
        self,
        conversation: str,
        *,
        role: str = "assistant",
        task: str | None = None,
        attempt: int = 1,
        id: str | None = None,
    ) -> Row:
        """A pending message; errors as :meth:`create_task`."""
        row = {"id": id or str(uuid4()), "conversation_id": conversation, "role": role}
        later = {"attempt": attempt} if attempt != 1 else {}
        return await self._create_in_conversation("messages", {**row, "task_id": task, **later})

    async def begin_answer(self, task: str, worker: str, attempt: int) -> Row:
        """The message for the answer of a task that this worker has, made if need be; without its content."""
        begun = await self._call("begin_answer", task=task, worker=worker, attempt=attempt)
        return self._row("begin_answer", begun, "id", "status")

    async def message(self, message: str) -> Row:
        return await self._one("messages", message)

    async def answer_of(self, task: str) -> Row | None:
        """The task's assistant message, if it has one yet."""
        check("select from messages", {"task_id": task})
        found = await self._select("messages", ("task_id", "eq", task), ("role", "eq", "assistant"), limit=1)
        return found[0] if found else None

    async def start_message(self, message: str, attempt: int) -> Any:
        return await self._call("start_message", message=message, attempt=attempt)

    async def append_chunk(self, message: str, attempt: int, seq: int, position: int, body: str) -> bool:
        """Store one chunk; false if this very chunk was there already."""
        done = await self._call(
            "append_chunk", message=message, attempt=attempt, seq=seq, position=position, body=body
        )
        return bool(self._row("append_chunk", done, "stored")["stored"])

    async def checkpoint_message(self, message: str, attempt: int, content: str | None = None) -> Any:
        """Rewrite ``content`` while streaming; without ``content``, from the chunks stored so far."""
        return await self._call("checkpoint_message", message=message, attempt=attempt, content=content)

    async def finish_message(
        self, message: str, attempt: int, status: str, length: int, sha256: str, content: str | None = None
    ) -> Row:
        """Check the whole text (``length`` in code points, SHA-256 of its UTF-8 in hex), set the status."""
        finished = await self._call(
            "finish_message",
            message=message,
            attempt=attempt,
            status=str(status),
            length=length,
            sha256=sha256,
            content=content,
        )
        return self._row("finish_message", finished, "status")

    async def resume_message(self, message: str, attempt: int) -> Row:
        """What is stored for this attempt: ``{"attempt", "next_seq", "length"}``."""
        stored = await self._call("resume_message", message=message, attempt=attempt)
        return self._row("resume_message", stored, "next_seq", "length")

    async def chunk_bodies(self, message: str, attempt: int, count: int) -> list[str]:
        """The bodies of chunks 0 to ``count`` − 1, in order."""
        check("select from message_chunks", {"message_id": message, "attempt": attempt})
        bodies: list[str] = []
        while len(bodies) < count:
            page = await self._select(
                "message_chunks",
                ("message_id", "eq", message),
                ("attempt", "eq", attempt),
                ("seq", "gte", len(bodies)),
                ("seq", "lt", count),
                columns=("seq", "body"),
                order="seq",
                limit=PAGE,
            )
            expected = range(len(bodies), len(bodies) + len(page))
            if not page or [row["seq"] for row in page] != list(expected):
                raise ContentMismatch(f"chunk {len(bodies)} of message {message} is missing at {self.where}")
            bodies += [row["body"] for row in page]
        return bodies

    # Shared

    async def _one(self, table: str, id: str) -> Row:
        check(f"select from {table} at {self.where}", {"id": id})
        found = await self._select(table, ("id", "eq", id), limit=1)
        if not found:
            raise NotFound(
                f"{table.removesuffix('s')} {id} at {self.where}: not there, or not visible to this user"
            )
        return found[0]

    async def _create(self, table: str, row: Row) -> Row:
        """Insert; a row with this id (the same call, whose answer was lost) is returned as it is.

        Raises :class:`~realtime_toolkit.errors.NotFound` where the row of this id is in another conversation.
        """
        given = {column: value for column, value in row.items() if value is not None}
        check(f"insert into {table} at {self.where}", given)
        made = await self._insert(table, given)
        if made is not None:
            return made
        found = await self._one(table, row["id"])
        if found.get("conversation_id") != row.get("conversation_id"):
            raise NotFound(
                f"{table.removesuffix('s')} {row['id']} at {self.where} is of another conversation"
            )
        return found

    async def _create_in_conversation(self, table: str, row: Row) -> Row:
        try:
            return await self._create(table, row)
        except Unauthorized:
            # A policy says the same no to a stranger's conversation and to one that does not exist.
            await self.conversation(row["conversation_id"])
            raise

    async def _call(self, function: str, **args: Any) -> Any:
        return await self._ask(loads, function, **args)

    async def _ask(self, read: Callable[[bytes], T], function: str, **args: Any) -> T:
        check(f"{function} at {self.where}", args)
        return self._read(function, read, await self._run(function, args))

    def _read(self, what: str, read: Callable[[bytes], T], text: bytes) -> T:
        try:
            return read(text)
        except (ValueError, RecursionError, ArithmeticError) as error:
            # A gateway may answer for a while with a page of its own.
            passes = _is_no_json(text)
            detail = (
                "is not JSON; is it a Supabase address?"
                if passes
                else f"cannot be read: {one_line(str(error))}"
            )
            raise StoreError(f"{what} at {self.where}: the answer {detail}", retryable=passes) from error

    def _row(self, function: str, answer: Any, *columns: str) -> Row:
        """The answer, if it is an object with these; a server that is none of ours may say anything."""
        row: Row = self._typed(function, answer, dict)
        if missing := [column for column in columns if column not in row]:
            raise StoreError(f"{function} at {self.where}: the answer has no {', '.join(missing)}")
        return row

    def _typed(self, function: str, answer: Any, kind: type) -> Any:
        if not isinstance(answer, kind):
            raise StoreError(f"{function} at {self.where}: the answer is no {kind.__name__}")
        return answer

    @abstractmethod
    async def _run(self, function: str, args: Mapping[str, Any]) -> bytes:
        """Call a function of schema ``public`` and return its answer, as JSON."""

    @abstractmethod
    async def _insert(self, table: str, row: Row) -> Row | None:
        """Insert and return the row; ``None`` if one with its key is there."""

    @abstractmethod
    async def _select(
        self,
        table: str,
        *where: Filter,
        columns: Sequence[str] = (),
        order: str | None = None,
        limit: int = PAGE,
    ) -> list[Row]: ...

    @abstractmethod
    async def _delete(self, table: str, *where: Filter) -> int: ...


def _is_no_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return True
    except (ValueError, RecursionError):
        return False
    return False


def _digest(data: Row) -> Digest:
    return Digest(int(data["count"]), int(data["total"]))


def _synced_row(item: Item) -> SyncedRow:
    row = bytes(item.row)
    body = None if row == b"null" else row
    return SyncedRow(item.table, item.key, item.version, int(item.changed_in), body, item.error)


def _sync_page(page: Page) -> SyncPage:
    return SyncPage(
        epoch=page.epoch,
        cursor=int(page.cursor),
        full=page.full,
        more=page.more,
        digest=None if page.digest is None else _digest(page.digest),
        rows=tuple(map(_synced_row, page.rows)),
        after=page.after,
    )


def _tracked_table(data: Row) -> TrackedTable:
    return TrackedTable(
        data["schema"],
        data["table"],
        data["scope_column"],
        tuple(data["key_columns"]),
        tuple(data.get("columns") or ()),
        frozenset(data.get("altered") or ()),
        frozenset(data.get("nulled") or ()),
    )
